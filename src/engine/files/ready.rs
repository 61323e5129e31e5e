//! Which segments must be made ahead of the log. A value: it decides, a helper makes.

use std::collections::BTreeSet;

use crate::base::LogOffset;
use crate::base::limits::READY_SEGMENTS;

/// The segments ahead of the active one.
#[derive(Debug)]
pub struct ReadyPool {
    segment_bytes: u64,
    active: LogOffset,
    ready: BTreeSet<LogOffset>,
    pending: BTreeSet<LogOffset>,
}

/// What to do with a segment that has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It becomes the ready segment that starts here; the pool counts on it.
    Recycle {
        to: LogOffset,
    },
    Unlink,
}

impl ReadyPool {
    /// A pool behind the active segment, given all segments that exist.
    pub fn new(segment_bytes: u64, active: LogOffset, existing: &[LogOffset]) -> Self {
        let ready = existing.iter().copied().filter(|start| *start > active).collect();
        Self { segment_bytes, active, ready, pending: BTreeSet::new() }
    }

    pub fn active(&self) -> LogOffset {
        self.active
    }

    /// The next segment to make; it counts as under way until `on_ready` or `on_failed`.
    pub fn begin(&mut self) -> Option<LogOffset> {
        let missing = self.missing()?;
        self.pending.insert(missing);
        Some(missing)
    }

    pub fn on_ready(&mut self, start: LogOffset) {
        assert!(self.pending.remove(&start), "segment {start} was not under way");
        self.ready.insert(start);
    }

    pub fn on_failed(&mut self, start: LogOffset) {
        assert!(self.pending.remove(&start), "segment {start} was not under way");
    }

    /// Moves the log on to the next segment; `None` while that one is not ready.
    pub fn advance(&mut self) -> Option<LogOffset> {
        let next = self.active + self.segment_bytes;
        self.ready.remove(&next).then(|| {
            self.active = next;
            next
        })
    }

    /// Whether the segment after the active one is there.
    pub fn is_next_ready(&self) -> bool {
        self.ready.contains(&(self.active + self.segment_bytes))
    }

    /// An expired segment fills the pool where it is short; not while the disk is
    /// filling up, and not while a reader may still send the old bytes.
    pub fn bury(&mut self, is_held: bool, is_disk_filling: bool) -> Fate {
        if is_held || is_disk_filling {
            return Fate::Unlink;
        }
        self.begin().map_or(Fate::Unlink, |to| Fate::Recycle { to })
    }

    fn missing(&self) -> Option<LogOffset> {
        (1..=READY_SEGMENTS as u64)
            .map(|ahead| self.active + ahead * self.segment_bytes)
            .find(|start| !self.ready.contains(start) && !self.pending.contains(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 100;

    fn at(number: u64) -> LogOffset {
        LogOffset(number * SIZE)
    }

    #[test]
    fn the_pool_stays_two_segments_ahead_of_the_log() {
        let mut pool = ReadyPool::new(SIZE, at(3), &[at(2), at(3)]);
        assert_eq!((pool.begin(), pool.begin(), pool.begin()), (Some(at(4)), Some(at(5)), None));
        assert_eq!(pool.advance(), None, "segment 4 is still under way");
        pool.on_ready(at(5));
        assert_eq!(pool.advance(), None, "never past a segment that is not there");
        pool.on_ready(at(4));
        assert!(pool.is_next_ready());
        assert_eq!(pool.advance(), Some(at(4)));
        assert_eq!(pool.begin(), Some(at(6)));
        pool.on_failed(at(6));
        assert_eq!(pool.begin(), Some(at(6)), "tried again");
    }

    #[test]
    fn segments_found_at_a_start_count_as_ready() {
        let mut pool = ReadyPool::new(SIZE, at(0), &[at(0), at(1), at(2)]);
        assert_eq!(pool.begin(), None);
        assert_eq!(pool.advance(), Some(at(1)));
    }

    #[test]
    fn an_expired_segment_is_recycled_only_into_a_gap() {
        let mut pool = ReadyPool::new(SIZE, at(5), &[at(0), at(5), at(6)]);
        assert_eq!(pool.bury(true, false), Fate::Unlink, "a reader holds it");
        assert_eq!(pool.bury(false, true), Fate::Unlink, "the disk needs the space");
        assert_eq!(pool.bury(false, false), Fate::Recycle { to: at(7) });
        assert_eq!(pool.bury(false, false), Fate::Unlink, "nothing is missing any more");
    }
}
