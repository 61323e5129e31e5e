//! Tables too large for one reply: tools of 5.3 and later ask for them in pages.

use crate::base::metadata::DataVersion;
use crate::wire::Value;

/// Which part of a table an asker wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    skip: usize,
    take: usize,
}

/// Rows of a page whose asker does not say.
const ROWS: usize = 2000;

impl Page {
    /// The page asked for, or None for the whole table. A table that has changed since
    /// the asker's first page is begun anew.
    pub fn of(
        from: Option<i32>,
        rows: Option<i32>,
        seen: Option<Value>,
        version: DataVersion,
    ) -> Option<Self> {
        let from = from?;
        let seen = seen.and_then(|text| serde_json::from_str::<DataVersion>(&text.text()).ok());
        let skip = if seen == Some(version) { usize::try_from(from).unwrap_or(0) } else { 0 };
        let take = rows.and_then(|rows| usize::try_from(rows).ok()).unwrap_or(ROWS);
        Some(Self { skip, take })
    }

    /// The rows of this page, out of all in their order.
    pub fn cut<T>(page: Option<Self>, rows: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
        let Self { skip, take } = page.unwrap_or(Self { skip: 0, take: usize::MAX });
        rows.skip(skip).take(take)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_while_the_table_stays() {
        let version = DataVersion { counter: 3, state_version: 0, timestamp: 9 };
        let text = serde_json::to_string(&version).unwrap();
        let page = |from, seen| Page::of(Some(from), Some(4), seen, version);
        let rows = |page| Page::cut(page, 0..10).collect::<Vec<_>>();
        assert_eq!(rows(page(0, None)), [0, 1, 2, 3]);
        assert_eq!(rows(page(8, Some(Value::of(&text)))), [8, 9]);
        assert_eq!(rows(page(8, Some(Value::of("{\"counter\":2}")))), [0, 1, 2, 3]);
        assert_eq!(rows(Page::of(None, Some(4), None, version)).len(), 10);
    }
}
