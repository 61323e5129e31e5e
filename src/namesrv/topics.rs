//! Topics, and of each its queues on every broker that has it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::base::topic::{PERM_READ, PERM_WRITE};

pub(super) const READ: i32 = PERM_READ as i32;
pub(super) const WRITE: i32 = PERM_WRITE as i32;
const FLAG_UNIT: i32 = 1;
const FLAG_UNIT_SUB: i32 = 2;

#[derive(Default)]
pub(super) struct Topics {
    /// Rows are in order of their brokers' names; no topic is without rows.
    topics: BTreeMap<Box<str>, Vec<Row>>,
    rows: usize,
}

/// A topic's queues on one broker.
pub(super) struct Row {
    pub broker: Arc<str>,
    pub queues: Queues,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Queues {
    pub read: i32,
    pub write: i32,
    pub perm: i32,
    pub sys_flag: i32,
}

impl Topics {
    /// Rows of all topics together.
    pub fn row_count(&self) -> usize {
        self.rows
    }

    pub fn has(&self, topic: &str, broker: &str) -> bool {
        self.rows_of(topic).binary_search_by(|row| (*row.broker).cmp(broker)).is_ok()
    }

    /// The topic's rows; none if nobody has it.
    pub fn rows_of(&self, topic: &str) -> &[Row] {
        self.topics.get(topic).map_or(&[], Vec::as_slice)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.topics.keys().map(|topic| &**topic)
    }

    /// Topics whose rows are `wanted`.
    pub fn names_where(&self, wanted: impl Fn(&[Row]) -> bool) -> impl Iterator<Item = &str> {
        let found = self.topics.iter().filter(move |(_, rows)| wanted(rows));
        found.map(|(topic, _)| &**topic)
    }

    /// Takes a row over if it is new or `replace` says so.
    pub fn take(&mut self, topic: &str, broker: &Arc<str>, queues: Queues, replace: bool) {
        if !self.topics.contains_key(topic) {
            self.topics.insert(topic.into(), Vec::new());
        }
        let rows = self.topics.get_mut(topic).expect("made above");
        match rows.binary_search_by(|row| row.broker.cmp(broker)) {
            Ok(at) if replace => rows[at].queues = queues,
            Ok(_) => {}
            Err(at) => {
                rows.insert(at, Row { broker: Arc::clone(broker), queues });
                self.rows += 1;
            }
        }
    }

    /// Changes the permissions of all rows of a broker; how many there are.
    pub fn change_permissions(&mut self, broker: &str, change: impl Fn(i32) -> i32) -> usize {
        let mut count = 0;
        for rows in self.topics.values_mut() {
            if let Ok(at) = rows.binary_search_by(|row| (*row.broker).cmp(broker)) {
                rows[at].queues.perm = change(rows[at].queues.perm);
                count += 1;
            }
        }
        count
    }

    /// Forgets a topic, everywhere or on some brokers.
    pub fn delete(&mut self, topic: &str, brokers: Option<&BTreeSet<Arc<str>>>) {
        let Some(rows) = self.topics.get_mut(topic) else { return };
        let before = rows.len();
        rows.retain(|row| brokers.is_some_and(|brokers| !brokers.contains(&row.broker)));
        self.rows -= before - rows.len();
        if rows.is_empty() {
            self.topics.remove(topic);
        }
    }

    pub fn remove(&mut self, gone: impl Fn(&str, &Row) -> bool) {
        let mut removed = 0;
        self.topics.retain(|topic, rows| {
            let before = rows.len();
            rows.retain(|row| !gone(topic, row));
            removed += before - rows.len();
            !rows.is_empty()
        });
        self.rows -= removed;
    }
}

impl Queues {
    pub fn is_unit(&self) -> bool {
        self.sys_flag & FLAG_UNIT != 0
    }

    pub fn has_unit_sub(&self) -> bool {
        self.sys_flag & FLAG_UNIT_SUB != 0
    }

    pub fn is_writable(&self) -> bool {
        self.perm & WRITE != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUES: Queues = Queues { read: 4, write: 4, perm: 6, sys_flag: 0 };

    #[test]
    fn rows_are_counted_whichever_way_they_come_and_go() {
        let mut topics = Topics::default();
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        for topic in ["T", "U", "V"] {
            topics.take(topic, &b, QUEUES, false);
            topics.take(topic, &a, QUEUES, false);
            topics.take(topic, &a, Queues { read: 1, ..QUEUES }, topic == "U");
        }
        assert_eq!(topics.row_count(), 6);
        assert_eq!(
            (topics.rows_of("T")[0].queues.read, topics.rows_of("U")[0].queues.read),
            (4, 1)
        );
        topics.delete("T", Some(&BTreeSet::from([Arc::clone(&a)])));
        assert!(topics.has("T", "b") && !topics.has("T", "a"));
        topics.delete("U", None);
        topics.remove(|topic, row| topic == "V" && row.broker == b);
        assert_eq!((topics.row_count(), topics.names().collect::<Vec<_>>()), (2, vec!["T", "V"]));
        topics.remove(|_, _| true);
        assert_eq!((topics.row_count(), topics.names().count()), (0, 0));
    }
}
