//! Which parts of the log ring are lent to replies.

use crate::base::LogOffset;

/// Pins by page of the ring.
pub struct Pins {
    pages: Vec<u32>,
}

const PAGE_BYTES: u64 = 64 * 1024;

impl Pins {
    pub fn new(ring_bytes: u64) -> Self {
        assert!(ring_bytes.is_multiple_of(PAGE_BYTES));
        Self { pages: vec![0; (ring_bytes / PAGE_BYTES) as usize] }
    }

    pub fn add(&mut self, at: LogOffset, len: u32) {
        self.each(at, len, |count| *count += 1);
    }

    /// Two pinned ranges that meet at `at` will be unpinned as one: a page that both
    /// reach into counts once.
    pub fn join(&mut self, at: LogOffset) {
        if !at.0.is_multiple_of(PAGE_BYTES) {
            let index = self.index(at.0 / PAGE_BYTES);
            self.pages[index] -= 1;
        }
    }

    pub fn remove(&mut self, at: LogOffset, len: u32) {
        self.each(at, len, |count| *count -= 1);
    }

    /// The start of the lowest pinned page that reaches into `from..to`.
    pub fn lowest(&self, from: LogOffset, to: LogOffset) -> Option<LogOffset> {
        let mut page = from.0 / PAGE_BYTES;
        while page * PAGE_BYTES < to.0 {
            if self.pages[self.index(page)] > 0 {
                return Some(LogOffset(page * PAGE_BYTES));
            }
            page += 1;
        }
        None
    }

    fn each(&mut self, at: LogOffset, len: u32, change: impl Fn(&mut u32)) {
        assert!(len > 0);
        for page in at.0 / PAGE_BYTES..=(at.0 + u64::from(len) - 1) / PAGE_BYTES {
            let index = self.index(page);
            change(&mut self.pages[index]);
        }
    }

    fn index(&self, page: u64) -> usize {
        (page % self.pages.len() as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_pinned_page_is_found_across_the_wrap() {
        let mut pins = Pins::new(4 * PAGE_BYTES);
        let at = LogOffset(7 * PAGE_BYTES + 100);
        pins.add(at, PAGE_BYTES as u32);
        pins.add(LogOffset(8 * PAGE_BYTES + 5), 1);
        let all = (LogOffset(5 * PAGE_BYTES), LogOffset(9 * PAGE_BYTES));
        assert_eq!(pins.lowest(all.0, all.1), Some(LogOffset(7 * PAGE_BYTES)));
        assert_eq!(pins.lowest(all.0, LogOffset(7 * PAGE_BYTES)), None);
        pins.remove(at, PAGE_BYTES as u32);
        assert_eq!(pins.lowest(all.0, all.1), Some(LogOffset(8 * PAGE_BYTES)));
    }
}
