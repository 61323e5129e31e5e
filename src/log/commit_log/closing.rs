//! The running group: where the next batch goes, when the group closes, and how.

use super::CommitLog;
use super::stopping::Stop;
use crate::base::limits::BLOCK_BYTES;
use crate::base::memory::LogRing;
use crate::base::{LogOffset, Now};
use crate::log::footer::{ChainEnd, Footer};
use crate::log::groups::Group;
use crate::log::policy::{
    AckLevel, FlushMethod, GROUP_AGE_MAX_US, GROUP_AGE_SOME_US, GROUP_BYTES_ENOUGH,
    GROUP_BYTES_ENOUGH_BEHIND, GROUP_BYTES_MAX, GROUP_BYTES_SOME, GROUPS_IN_FLIGHT_FLUSHED_MAX,
    GROUPS_IN_FLIGHT_MAX,
};
use crate::log::record::blank_record;

/// The group that takes appends.
#[derive(Debug)]
pub(super) struct RunningGroup {
    /// Where it begins, and what it goes on from.
    pub from: ChainEnd,
    /// CRC of its records below the appended edge, seeded.
    pub crc: u32,
    /// When its first record came.
    pub since_us: u64,
    /// The highest level that somebody waits for.
    pub demand: AckLevel,
}

/// Where a batch would go.
pub(super) struct Way {
    /// The running group closes first.
    pub close: bool,
    /// … as the last of its segment.
    pub leave_segment: bool,
    /// Where the batch begins.
    pub at: LogOffset,
    /// Where its group could be closed, at the latest.
    pub group_end: LogOffset,
}

impl CommitLog {
    pub(super) fn running_len(&self) -> u64 {
        self.marks.appended() - self.running.from.at
    }

    /// Where a batch of `total` bytes goes: into the running group, into a new one, or
    /// into the next segment.
    pub(super) fn way_for(&self, total: u64) -> Way {
        let mut way = Way {
            close: false,
            leave_segment: false,
            at: self.marks.appended(),
            group_end: LogOffset(0),
        };
        let start = self.running.from.at;
        let grows_too_long = self.geometry.footer_end(way.at + total) - start > GROUP_BYTES_MAX;
        if self.running_len() > 0 && grows_too_long {
            way.close = true;
            way.at = self.end_of_closed(false).1;
        }
        if !self.geometry.fits(way.at, way.at + total) {
            way.close = true;
            way.leave_segment = true;
            way.at = self.geometry.end(start);
        }
        let end = self.geometry.footer_end(way.at + total);
        let last = self.geometry.must_be_last(way.at, end);
        way.group_end = if last { self.geometry.end(way.at) } else { end };
        way
    }

    /// Where the running group's footer would end and the next group begin.
    fn end_of_closed(&self, leave_segment: bool) -> (LogOffset, LogOffset) {
        let end = self.geometry.footer_end(self.marks.appended());
        let start = self.running.from.at;
        match leave_segment || self.geometry.must_be_last(start, end) {
            true => (end, self.geometry.end(start)),
            false => (end, end),
        }
    }

    /// Writes footer and blank record into the ring and hands the group over to be
    /// written. The published edge moves before any of it can reach the disk, so that a
    /// start never finds more on disk than the edge covers.
    pub(super) fn close_group(&mut self, leave_segment: bool, ring: &mut dyn LogRing) {
        let records_end = self.marks.appended();
        let start = self.running.from.at;
        let (footer_end, next) = self.end_of_closed(leave_segment);
        let mut footer = Footer {
            start,
            records_end,
            end: footer_end,
            sequence: self.running.from.sequence + 1,
            life: self.life,
            flushed: self.marks.flushed(),
            store_ms: self.last_store_ms,
            seed: self.running.from.crc,
            crc: 0,
            last_of_segment: next != footer_end,
        };
        footer.crc = footer.group_crc(self.running.crc);
        footer.encode(ring.writable(records_end, footer.len()));
        let mut write_end = footer_end;
        if footer.last_of_segment {
            write_end = footer_end + BLOCK_BYTES;
            let block = ring.writable(footer_end, BLOCK_BYTES as usize);
            block.fill(0);
            let blank = blank_record((next - footer_end) as u32);
            block[..blank.len()].copy_from_slice(&blank);
        }
        ring.seal(next);
        self.marks.advance_appended(next);
        ring.publish(next);

        let chain = ChainEnd::behind(&footer, next);
        let flushed = self.running.demand == AckLevel::Flushed;
        let durable = flushed && self.flush.method == FlushMethod::Dsync;
        if flushed {
            self.flush.want(next);
        }
        self.flush.groups_since_sync += 1;
        self.groups.push(Group { start, write_end, chain, durable });
        self.running = RunningGroup::new(chain);
        self.stats.groups += 1;
    }

    /// Whether the groups in flight leave room for one more.
    pub(super) fn may_close(&self) -> bool {
        if self.running.demand < AckLevel::Flushed {
            return self.groups.len() < GROUPS_IN_FLIGHT_MAX;
        }
        // While an fdatasync runs, one group at most is made ready for the next.
        let gathered = self.flush.method == FlushMethod::Fdatasync
            && self.flush.is_syncing()
            && self.flush.groups_since_sync > 0;
        self.groups.len() < GROUPS_IN_FLIGHT_FLUSHED_MAX && !gathered
    }

    /// When the running group is to close; it holds something.
    pub(super) fn close_at_us(&self) -> u64 {
        let len = self.running_len();
        let age = match self.running.demand {
            AckLevel::Written | AckLevel::Flushed => 0,
            AckLevel::Appended if len >= self.enough() => 0,
            AckLevel::Appended if len >= GROUP_BYTES_SOME => GROUP_AGE_SOME_US,
            AckLevel::Appended => GROUP_AGE_MAX_US,
        };
        self.running.since_us + age
    }

    /// What a group shall hold that nobody waits for: one full write while others are
    /// under way, since each costs an interrupt; less where the disk would idle.
    fn enough(&self) -> u64 {
        if self.groups.is_empty() { GROUP_BYTES_ENOUGH } else { GROUP_BYTES_ENOUGH_BEHIND }
    }

    pub(super) fn close_is_due(&self, now: Now) -> bool {
        if self.running_len() == 0 {
            return false;
        }
        self.stop != Stop::No || (self.may_close() && now.mono_us >= self.close_at_us())
    }
}

impl RunningGroup {
    pub fn new(from: ChainEnd) -> Self {
        Self { from, crc: from.crc, since_us: 0, demand: AckLevel::Appended }
    }
}
