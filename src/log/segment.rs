//! Segments: the files of the CommitLog. All have one size, fixed when the data
//! directory is made, and are named by the log offset at which they begin.
//!
//! No record and no write group spans two segments. Each segment ends with Apache's
//! blank record, at a block's start, so its last group must end a block earlier:
//!
//! ```text
//!   base                                               base + size
//!   | group … | group … | last group, footer | blank … |
//! ```

use crate::base::LogOffset;
use crate::base::limits::BLOCK_BYTES;

use super::footer::FOOTER_BYTES_MIN;

/// Segments that are kept prepared beyond the one that is written.
const SEGMENTS_AHEAD: usize = 2;

/// The size of a log's segments, and where things lie in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    segment_bytes: u64,
}

impl Geometry {
    /// `segment_bytes` is a multiple of the block, and at least four blocks.
    pub fn new(segment_bytes: u64) -> Self {
        assert!(segment_bytes.is_multiple_of(BLOCK_BYTES) && segment_bytes >= 4 * BLOCK_BYTES);
        assert!(u32::try_from(segment_bytes).is_ok(), "Apache's blank record holds an i32");
        Self { segment_bytes }
    }

    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// Where the segment that holds `at` begins.
    pub fn base(&self, at: LogOffset) -> LogOffset {
        LogOffset(at.0 - at.0 % self.segment_bytes)
    }

    /// Where the segment that holds `at` ends, and the next one begins.
    pub fn end(&self, at: LogOffset) -> LogOffset {
        self.base(at) + self.segment_bytes
    }

    /// The byte of its segment's file at which `at` lies.
    pub fn position(&self, at: LogOffset) -> u64 {
        at - self.base(at)
    }

    /// Where the footer of a group ends whose records end at `records_end`.
    pub fn footer_end(&self, records_end: LogOffset) -> LogOffset {
        (records_end + FOOTER_BYTES_MIN as u64).align_up(BLOCK_BYTES)
    }

    /// Whether records of a group that starts in the segment of `start` may end at
    /// `records_end`: footer and blank record fit behind them.
    pub fn fits(&self, start: LogOffset, records_end: LogOffset) -> bool {
        self.footer_end(records_end) + BLOCK_BYTES <= self.end(start)
    }

    /// Whether a group with this footer end must be its segment's last: behind it not
    /// even an empty group would fit with the blank record.
    pub fn must_be_last(&self, start: LogOffset, footer_end: LogOffset) -> bool {
        footer_end + 2 * BLOCK_BYTES > self.end(start)
    }

    /// The most that the records of a group can take: those of a segment's only group.
    pub fn records_bytes_max(&self) -> u64 {
        self.segment_bytes - BLOCK_BYTES - FOOTER_BYTES_MIN as u64
    }
}

/// Which segments may be written: the current one and those prepared ahead of it.
#[derive(Debug)]
pub struct ReadySegments {
    geometry: Geometry,
    /// Base of the first slot.
    current: LogOffset,
    slots: [Slot; SEGMENTS_AHEAD + 1],
    /// Until then segments are wanted as they are.
    behind_until_us: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Missing,
    /// A preparation failed; asked for again at this time.
    RetryAt(u64),
    Requested,
    /// Requested, and needed soon.
    Hurried,
    Ready,
}

/// After a preparation was overtaken, the next ones are hurried for this long: the disk
/// has no time for zeros.
const BEHIND_US: u64 = 1_000_000;
/// After a failed preparation the next is asked for this much later.
const PREPARE_RETRY_US: u64 = 1_000_000;

impl ReadySegments {
    /// The log goes on at `at`; segments before `ready_end` are there already.
    pub fn new(geometry: Geometry, at: LogOffset, ready_end: LogOffset) -> Self {
        let current = geometry.base(at);
        let slots = std::array::from_fn(|i| {
            let base = current + i as u64 * geometry.segment_bytes;
            if base < ready_end { Slot::Ready } else { Slot::Missing }
        });
        Self { geometry, current, slots, behind_until_us: 0 }
    }

    /// Whether the segment that holds `at` may be written.
    pub fn is_ready(&self, at: LogOffset) -> bool {
        self.slot_of(self.geometry.base(at)).is_some_and(|i| self.slots[i] == Slot::Ready)
    }

    /// The next segment that somebody should be asked to prepare, marked as asked for, and
    /// whether it is wanted as it is.
    pub fn request(&mut self, now_us: u64) -> Option<(LogOffset, bool)> {
        let due = |slot: &Slot| match slot {
            Slot::Missing => true,
            Slot::RetryAt(at) => *at <= now_us,
            Slot::Requested | Slot::Hurried | Slot::Ready => false,
        };
        let i = self.slots.iter().position(due)?;
        let hurried = now_us < self.behind_until_us;
        self.slots[i] = if hurried { Slot::Hurried } else { Slot::Requested };
        Some((self.current + i as u64 * self.geometry.segment_bytes, hurried))
    }

    /// The next segment, if it is still being prepared though half of the current one is
    /// full at `at`; only once.
    pub fn overdue(&mut self, at: LogOffset, now_us: u64) -> Option<LogOffset> {
        let (next, half) =
            (self.current + self.geometry.segment_bytes, self.geometry.segment_bytes / 2);
        let overdue = self.slots[1] == Slot::Requested && at >= self.current + half;
        overdue.then(|| {
            self.slots[1] = Slot::Hurried;
            self.behind_until_us = now_us + BEHIND_US;
            next
        })
    }

    /// The segment at `base` has its size, its extents and its name, durably.
    pub fn on_ready(&mut self, base: LogOffset) {
        if let Some(i) = self.slot_of(base) {
            self.slots[i] = Slot::Ready;
        }
    }

    /// The segment at `base` could not be prepared, for instance on a full disk.
    pub fn on_unavailable(&mut self, base: LogOffset, now_us: u64) {
        if let Some(i) = self.slot_of(base).filter(|i| self.slots[*i] != Slot::Ready) {
            self.slots[i] = Slot::RetryAt(now_us + PREPARE_RETRY_US);
        }
    }

    /// The log has entered the segment that holds `at`.
    pub fn enter(&mut self, at: LogOffset) {
        while self.current < self.geometry.base(at) {
            self.current = self.current + self.geometry.segment_bytes;
            self.slots.rotate_left(1);
            self.slots[SEGMENTS_AHEAD] = Slot::Missing;
        }
    }

    /// When a failed preparation is due again.
    pub fn next_deadline(&self) -> Option<u64> {
        let times = self.slots.iter().filter_map(|slot| match slot {
            Slot::RetryAt(at) => Some(*at),
            _ => None,
        });
        times.min()
    }

    fn slot_of(&self, base: LogOffset) -> Option<usize> {
        let distance = base.0.checked_sub(self.current.0)?;
        if !distance.is_multiple_of(self.geometry.segment_bytes) {
            return None;
        }
        let i = usize::try_from(distance / self.geometry.segment_bytes).ok()?;
        (i < self.slots.len()).then_some(i)
    }
}
