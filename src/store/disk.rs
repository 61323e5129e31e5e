//! How full the disk is, and which segments go for it.

use std::collections::VecDeque;

use crate::base::{LogOffset, Now};
use crate::log::retention::{
    DiskUse, Expired, RetentionConfig, SegmentFacts, expire, refuses_writes,
};

/// The log's segments and the disk, as they were seen last.
#[derive(Debug)]
pub struct DiskState {
    pub rules: RetentionConfig,
    disk: DiskUse,
    /// Base and newest store time of each segment, in log order.
    segments: VecDeque<(LogOffset, i64)>,
    checked_us: u64,
    next_check_us: u64,
    asked: bool,
    /// Something was appended since the last look.
    grown: bool,
}

/// How often the disk is looked at, and old segments with it: a log that grows by a
/// gigabyte a second must not wait ten seconds for room, nor senders that are refused
/// until there is some; a log that rests need not ask.
const CHECK_GROWING_US: u64 = 1_000_000;
const CHECK_RESTING_US: u64 = 10_000_000;

impl DiskState {
    /// `segments`: base and newest store time, in log order.
    pub fn new(
        rules: RetentionConfig,
        disk: DiskUse,
        segments: impl IntoIterator<Item = (LogOffset, i64)>,
    ) -> Self {
        let segments = segments.into_iter().collect();
        Self { rules, disk, segments, checked_us: 0, next_check_us: 0, asked: false, grown: false }
    }

    pub fn disk(&self) -> DiskUse {
        self.disk
    }

    pub fn accepts_writes(&self) -> Result<(), String> {
        if !refuses_writes(&self.rules, self.disk) {
            return Ok(());
        }
        Err(format!(
            "the disk is {}.{} % full: from {} % on (--disk-refuse-at) no message is stored, \
             until segments expire or space is made",
            self.disk.0 / 10,
            self.disk.0 % 10,
            self.rules.refuse_at.0 / 10
        ))
    }

    /// The log has reached the segment at `base`; the one before it is complete.
    pub(super) fn on_appended(&mut self, base: LogOffset, store_ms: i64) {
        if !std::mem::replace(&mut self.grown, true) {
            self.next_check_us = self.next_check_us.min(self.checked_us + CHECK_GROWING_US);
        }
        match self.segments.back_mut() {
            Some((last, newest)) if *last == base => *newest = store_ms,
            _ => self.segments.push_back((base, store_ms)),
        }
    }

    pub(super) fn check_is_due(&mut self, now: Now) -> bool {
        if self.asked || now.mono_us < self.next_check_us {
            return false;
        }
        self.asked = true;
        true
    }

    pub(super) fn next_check_us(&self) -> u64 {
        if self.asked { u64::MAX } else { self.next_check_us }
    }

    pub(super) fn on_checked(&mut self, disk: DiskUse, now: Now) {
        let before = refuses_writes(&self.rules, self.disk);
        let after = refuses_writes(&self.rules, disk);
        if before != after {
            tracing::warn!(thousandths = disk.0, refuses = after, "disk use crossed the limit");
        }
        self.disk = disk;
        self.asked = false;
        let grown = std::mem::take(&mut self.grown);
        let wait_us = if grown || after { CHECK_GROWING_US } else { CHECK_RESTING_US };
        self.checked_us = now.mono_us;
        self.next_check_us = now.mono_us + wait_us;
    }

    /// The segments that go now: at most as many as are wanted to be used again, or all.
    /// `kept` is the first offset that must stay: what is not flushed, or not in a durable
    /// index.
    pub(super) fn take_expired(
        &mut self,
        kept: LogOffset,
        segment_bytes: u64,
        now: Now,
        wanted: Option<usize>,
    ) -> Vec<Expired> {
        let facts: Vec<SegmentFacts> = self
            .segments
            .iter()
            .map(|(base, newest_store_ms)| SegmentFacts {
                base: *base,
                newest_store_ms: *newest_store_ms,
                // Readers copy what they need into the pool; the engine unlinks instead of
                // recycling while a read of the file is under way.
                held: false,
                active: *base + segment_bytes > kept,
            })
            .collect();
        let (rules, deficit) = (&self.rules, wanted.unwrap_or(0));
        let mut expired = expire(rules, &facts, now.unix_ms, self.disk, deficit);
        expired.truncate(wanted.unwrap_or(usize::MAX));
        self.segments.drain(..expired.len());
        expired
    }

    /// The lowest offset that is still there.
    pub(super) fn log_min(&self) -> Option<LogOffset> {
        self.segments.front().map(|(base, _)| *base)
    }
}
