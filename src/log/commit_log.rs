//! A running CommitLog. One turn of its shard goes:
//!
//! 1. [`CommitLog::room_for`] all records of the turn; without room the turn's sends wait.
//! 2. [`CommitLog::begin_batch`], one [`CommitLog::append`] per record in stored order,
//!    [`CommitLog::end_batch`]: the records are sealed and the published edge moves.
//! 3. [`CommitLog::demand`] if somebody waits for more than *appended*.
//! 4. [`CommitLog::poll`]: groups close, intents come out.
//!
//! Completions come back by `on_…`, in any order. Nothing allocates per message.
//!
//! **Who reclaims the ring.** The store, since it alone knows the pins: before a batch
//! it asks [`CommitLog::reclaim_edge`], lowers the answer to its lowest pin and calls
//! `ring.reclaim`. This room never does.

mod closing;
mod stopping;

use std::collections::VecDeque;

use crate::base::checksum::chained_crc;
use crate::base::limits::BLOCK_BYTES;
use crate::base::memory::LogRing;
use crate::base::{LogOffset, Now};

use super::flush::Flush;
use super::footer::ChainEnd;
use super::groups::{Groups, check_write};
use super::intent::{Appended, Cause, Extents, Failure, LogIntent, LogStats, NoRoom, OpId};
use super::policy::{
    AckLevel, FlushMethod, GROUP_BYTES_MAX, UNFLUSHED_BYTES_MAX, batch_share, unwritten_max,
};
use super::record::{NewRecord, Placement};
use super::segment::{Geometry, ReadySegments};
use super::watermarks::Watermarks;
use closing::RunningGroup;
use stopping::Stop;

/// The CommitLog of one shard.
#[derive(Debug)]
pub struct CommitLog {
    geometry: Geometry,
    life: u64,
    ring_bytes: u64,
    marks: Watermarks,
    running: RunningGroup,
    batch: Option<Batch>,
    groups: Groups,
    flush: Flush,
    ready: ReadySegments,
    /// Segments whose extents were only reserved, until they are flushed to their end.
    reserved: VecDeque<LogOffset>,
    last_store_ms: i64,
    next_op: u64,
    failure: Option<Failure>,
    stop: Stop,
    stats: LogStats,
}

/// What stays the same while the process lives.
#[derive(Clone, Copy, Debug)]
pub struct LogConfig {
    pub geometry: Geometry,
    pub flush_method: FlushMethod,
    /// This life's number, as in its run mark.
    pub life: u64,
}

/// Where the log goes on. After recovery all of it below `chain.at` is durable.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogStart {
    pub chain: ChainEnd,
    /// Segments that begin before this one's base are prepared, from the one that
    /// holds `chain.at` on.
    pub ready_end: LogOffset,
}

#[derive(Clone, Copy, Debug)]
struct Batch {
    head: LogOffset,
    end: LogOffset,
    store_ms: i64,
}

impl CommitLog {
    /// Goes on at `start`; `ring` must be empty and begin there.
    pub fn new(config: LogConfig, start: LogStart, ring: &dyn LogRing) -> Self {
        let at = start.chain.at;
        assert_eq!(ring.sealed(), at, "the ring goes on where the log does");
        assert_eq!(at, at.align_down(BLOCK_BYTES), "a group begins at a block's edge");
        assert!(config.life >= start.chain.life, "lives are counted upwards");
        Self {
            geometry: config.geometry,
            life: config.life,
            ring_bytes: ring.size(),
            marks: Watermarks::at(at),
            running: RunningGroup::new(start.chain),
            batch: None,
            groups: Groups::default(),
            flush: Flush::new(config.geometry, config.flush_method, start.chain),
            ready: ReadySegments::new(config.geometry, at, start.ready_end),
            reserved: VecDeque::new(),
            last_store_ms: start.chain.store_ms,
            next_op: 0,
            failure: None,
            stop: Stop::No,
            stats: LogStats::default(),
        }
    }

    // ----- Appending ---------------------------------------------------------------

    /// The most that one batch may hold. A turn with more makes several.
    pub fn batch_bytes_max(&self) -> u64 {
        let group = (GROUP_BYTES_MAX - 2 * BLOCK_BYTES).min(self.geometry.records_bytes_max());
        group.min(batch_share(self.ring_bytes))
    }

    /// Whether a batch of `total` bytes can be appended now.
    pub fn room_for(&self, total: u64, ring: &dyn LogRing) -> Result<(), NoRoom> {
        if let Some(failure) = self.failure {
            return Err(NoRoom::Failed(failure));
        }
        if self.stop != Stop::No {
            return Err(NoRoom::Stopping);
        }
        let way = self.way_for(total);
        if !self.ready.is_ready(way.at) {
            return Err(NoRoom::SegmentNotReady);
        }
        let unwritten = way.group_end - self.marks.written();
        let end = ring.reclaimed() + self.ring_bytes;
        if unwritten > unwritten_max(self.ring_bytes) || way.group_end > end {
            return Err(NoRoom::ArenaFull);
        }
        Ok(())
    }

    /// Up to where the store should reclaim the ring, pins permitting, so that a batch
    /// of `total` bytes finds room: not more than needed, since the ring is also the
    /// cache of the log's tail, and never above what is written.
    pub fn reclaim_edge(&self, total: u64) -> LogOffset {
        let ahead = self.ring_bytes / 8;
        let wanted = self.way_for(total).group_end.0 + ahead;
        let edge = wanted.saturating_sub(self.ring_bytes);
        LogOffset(edge).align_up(BLOCK_BYTES).min(self.marks.written())
    }

    /// Begins a batch of exactly `total` bytes, for which there is room. It will lie
    /// inside one write group.
    pub fn begin_batch(&mut self, total: u64, now: Now, ring: &mut dyn LogRing) {
        assert!(self.batch.is_none() && self.failure.is_none() && self.stop == Stop::No);
        assert!(total <= self.batch_bytes_max(), "a batch larger than a group may be");
        let way = self.way_for(total);
        if way.close {
            self.close_group(way.leave_segment, ring);
        }
        if self.running_len() == 0 {
            self.running.since_us = now.mono_us;
        }
        self.ready.enter(way.at);
        assert!(self.ready.is_ready(way.at), "room_for has promised the segment");
        let head = self.marks.appended();
        assert_eq!(head, way.at);
        // Replies and searches rely on store times that never go back.
        self.last_store_ms = self.last_store_ms.max(now.unix_ms);
        self.batch = Some(Batch { head, end: head + total, store_ms: self.last_store_ms });
    }

    /// Places one record of the batch and encodes it there.
    pub fn append(&mut self, ring: &mut dyn LogRing, record: &NewRecord<'_>) -> Appended {
        let batch = self.batch.as_mut().expect("append happens inside a batch");
        let (at, len) = (batch.head, record.stored_len());
        assert!(at + len as u64 <= batch.end, "a batch holds what it was begun for");
        let placement = Placement { at, store_ms: batch.store_ms };
        record.encode(placement, ring.writable(at, len));
        batch.head = at + len as u64;
        self.stats.records += 1;
        Appended { at, len: len as u32, store_ms: batch.store_ms }
    }

    /// Ends the batch: its records will never change, and survive this process.
    pub fn end_batch(&mut self, ring: &mut dyn LogRing) {
        let batch = self.batch.take().expect("a batch was begun");
        assert_eq!(batch.head, batch.end, "a batch holds what it was begun for");
        let from = self.marks.appended();
        let len = batch.end - from;
        ring.seal(batch.end);
        self.running.crc = chained_crc(self.running.crc, ring.readable(from, len as usize));
        self.stats.record_bytes += len;
        self.marks.advance_appended(batch.end);
        ring.publish(batch.end);
    }

    /// Somebody waits until all that is appended reaches `level`: the running group
    /// closes at the end of this turn, as far as groups in flight allow.
    pub fn demand(&mut self, level: AckLevel) {
        assert!(self.batch.is_none(), "a demand follows the batch it is for");
        let level = match level {
            AckLevel::Written if !self.marks.is_settled() => AckLevel::Flushed,
            level => level,
        };
        if self.running_len() > 0 {
            self.running.demand = self.running.demand.max(level);
        } else if level == AckLevel::Flushed {
            self.flush.want(self.marks.appended());
        }
    }

    // ----- Turning -----------------------------------------------------------------

    /// Once per turn, after its batch: closes groups and says what is to be done.
    pub fn poll(&mut self, now: Now, ring: &mut dyn LogRing, out: &mut Vec<LogIntent>) {
        assert!(self.batch.is_none(), "a batch ends before its turn does");
        if self.failure.is_some() {
            return;
        }
        if self.close_is_due(now) {
            self.close_group(false, ring);
        }
        if self.stop != Stop::No {
            self.go_on_stopping(ring, out);
        }
        self.issue_writes(now, out);
        self.issue_sync(now, out);
        if self.stop == Stop::No {
            let late = self.ready.overdue(self.marks.appended(), now.mono_us);
            out.extend(late.map(|base| LogIntent::HurrySegment { base }));
            while let Some((base, hurried)) = self.ready.request(now.mono_us) {
                out.push(LogIntent::PrepareSegment { base });
                out.extend(hurried.then_some(LogIntent::HurrySegment { base }));
            }
        }
    }

    /// When `poll` has something to do although nothing happens before.
    pub fn next_deadline(&self) -> Option<u64> {
        if self.failure.is_some() || self.stop == Stop::Done {
            return None;
        }
        let close = (self.running_len() > 0 && self.may_close()).then(|| self.close_at_us());
        let sync = self.flush.next_deadline(&self.marks);
        let prepare = self.ready.next_deadline().filter(|_| self.stop == Stop::No);
        [close, sync, prepare].into_iter().flatten().min()
    }

    /// A write has ended, with its byte count or an errno. `true`: watermarks moved.
    pub fn on_written(&mut self, op: OpId, result: Result<u32, i32>) -> bool {
        let before = self.marks;
        if self.stop == Stop::ZeroBlock(op) {
            match check_write(self.marks.appended(), BLOCK_BYTES as u32, result) {
                Ok(()) => self.stop = Stop::Flushing,
                Err(failure) => {
                    self.stop = Stop::Draining; // Where it stays: nothing is polled now.
                    self.fail(failure);
                }
            }
            return false;
        }
        if let Err(failure) = self.groups.on_written(op, result) {
            self.fail(failure);
        }
        if self.failure.is_some() {
            return false;
        }
        while let Some(group) = self.groups.pop_written() {
            self.marks.advance_written(group.chain.at);
            self.flush.on_group_written(&group, &mut self.marks);
        }
        self.settle();
        self.marks != before
    }

    /// An fdatasync has ended. `true`: watermarks moved.
    pub fn on_synced(&mut self, op: OpId, result: Result<(), i32>) -> bool {
        let before = self.marks;
        if self.stop == Stop::LastSync(op) {
            match result {
                Ok(()) => self.stop = Stop::Done,
                Err(errno) => {
                    self.stop = Stop::Flushing;
                    let segment = self.geometry.base(self.marks.appended());
                    self.fail(Failure::Sync { segment, cause: Cause::Errno(errno) });
                }
            }
            return false;
        }
        if self.failure.is_some() {
            self.flush.forget_sync(); // Late news of a log that has ended.
            return false;
        }
        if let Err(failure) = self.flush.on_synced(op, result, &mut self.marks) {
            self.fail(failure);
        }
        self.settle();
        self.marks != before
    }

    /// The segment at `base` is prepared.
    pub fn on_segment_ready(&mut self, base: LogOffset, extents: Extents) {
        self.ready.on_ready(base);
        if extents == Extents::Reserved && !self.reserved.contains(&base) {
            let at = self.reserved.partition_point(|other| *other < base);
            self.reserved.insert(at, base);
            self.settle();
        }
    }

    /// Reserved segments that are flushed to their end are like any other.
    fn settle(&mut self) {
        let flushed = self.marks.flushed();
        while self.reserved.front().is_some_and(|base| self.geometry.end(*base) <= flushed) {
            self.reserved.pop_front();
        }
        self.marks.settle_to(self.reserved.front().copied().unwrap_or(LogOffset(u64::MAX)));
    }

    /// The segment at `base` could not be prepared; it is asked for again later.
    pub fn on_segment_unavailable(&mut self, base: LogOffset, now: Now) {
        self.ready.on_unavailable(base, now.mono_us);
    }

    // ----- Asking ------------------------------------------------------------------

    pub fn watermarks(&self) -> Watermarks {
        self.marks
    }

    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// What ended this log, if anything did.
    pub fn failed(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// A chain end at or below *flushed*, the newest that is known: where a scan may
    /// begin once everything derived is durable up to there. After a clean stop, the end.
    pub fn checkpoint(&self) -> ChainEnd {
        self.flush.chain()
    }

    pub fn last_store_ms(&self) -> i64 {
        self.last_store_ms
    }

    pub fn stats(&self) -> LogStats {
        self.stats
    }

    // ----- How it is done ----------------------------------------------------------

    fn issue_writes(&mut self, now: Now, out: &mut Vec<LogIntent>) {
        let limit = self.marks.flushed() + UNFLUSHED_BYTES_MAX;
        loop {
            let op = OpId(self.next_op);
            let Some((at, len, durable)) = self.groups.next_write(op, limit, now.mono_us) else {
                return;
            };
            self.next_op += 1;
            self.stats.writes += 1;
            self.stats.written_bytes += u64::from(len);
            if !durable {
                self.flush.on_plain_issued(now.mono_us);
            }
            out.push(LogIntent::Write { op, at, len, durable });
        }
    }

    fn issue_sync(&mut self, now: Now, out: &mut Vec<LogIntent>) {
        let op = OpId(self.next_op);
        let since = self.groups.plain_since();
        if let Some(segment) = self.flush.start_sync(op, now.mono_us, &self.marks, since) {
            self.next_op += 1;
            self.stats.syncs += 1;
            out.push(LogIntent::Sync { op, segment });
        }
    }

    fn take_op(&mut self) -> OpId {
        let op = OpId(self.next_op);
        self.next_op += 1;
        op
    }

    fn fail(&mut self, failure: Failure) {
        // The first one counts: what follows is mostly its echo.
        self.failure.get_or_insert(failure);
    }
}
