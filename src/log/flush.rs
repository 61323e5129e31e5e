//! From *written* to *flushed*: when an fdatasync starts, what it covers, and what
//! durable writes add.
//!
//! A plainly written group is flushed only by an fdatasync that began after it was
//! written. A durable write advances *flushed* only where everything before it is
//! flushed; until then its group waits here as a run.

use std::collections::VecDeque;

use crate::base::LogOffset;

use super::footer::ChainEnd;
use super::groups::Group;
use super::intent::{Cause, Failure, OpId};
use super::policy::{FlushMethod, SYNC_AGE_MAX_US, SYNC_BYTES_MAX};
use super::segment::Geometry;
use super::watermarks::Watermarks;

#[derive(Debug)]
pub(super) struct Flush {
    geometry: Geometry,
    pub method: FlushMethod,
    sync: Option<Sync>,
    /// Durable groups above the flushed edge, neighbours joined; the last field is the
    /// chain behind the run.
    durable: VecDeque<(LogOffset, ChainEnd)>,
    /// When the earliest plain write was handed out that no fdatasync covers.
    since_us: Option<u64>,
    /// Somebody waits until the log is flushed to here.
    wanted: LogOffset,
    /// Groups closed since the last fdatasync began.
    pub groups_since_sync: u32,
    /// The newest chain end that is known to be flushed.
    chain: ChainEnd,
    /// The chain end at the written edge.
    written_chain: ChainEnd,
}

#[derive(Clone, Copy, Debug)]
struct Sync {
    op: OpId,
    segment: LogOffset,
    covers: LogOffset,
    /// The chain at `covers`, unless that is a segment's end with more behind it.
    chain: Option<ChainEnd>,
}

impl Flush {
    pub fn new(geometry: Geometry, method: FlushMethod, chain: ChainEnd) -> Self {
        Self {
            geometry,
            method,
            sync: None,
            durable: VecDeque::new(),
            since_us: None,
            wanted: chain.at,
            groups_since_sync: 0,
            chain,
            written_chain: chain,
        }
    }

    /// A chain end at or below the flushed edge: a place to start a scan from.
    pub fn chain(&self) -> ChainEnd {
        self.chain
    }

    pub fn want(&mut self, edge: LogOffset) {
        self.wanted = self.wanted.max(edge);
    }

    pub fn is_syncing(&self) -> bool {
        self.sync.is_some()
    }

    /// A plain write was handed out.
    pub fn on_plain_issued(&mut self, now_us: u64) {
        self.since_us = Some(self.since_us.map_or(now_us, |since| since.min(now_us)));
    }

    /// The written edge has passed `group`.
    pub fn on_group_written(&mut self, group: &Group, marks: &mut Watermarks) {
        self.written_chain = group.chain;
        if !group.durable {
            return;
        }
        match self.durable.back_mut() {
            Some((_, chain)) if chain.at == group.start => *chain = group.chain,
            _ => self.durable.push_back((group.start, group.chain)),
        }
        self.settle(marks);
    }

    /// The segment to fdatasync now, as `op`, if it is time. `plain_since` is when the
    /// earliest plain write was handed out that has not completed.
    pub fn start_sync(
        &mut self,
        op: OpId,
        now_us: u64,
        marks: &Watermarks,
        plain_since: Option<u64>,
    ) -> Option<LogOffset> {
        if self.sync.is_some() || marks.flushed() == marks.written() {
            return None;
        }
        let asked = self.wanted > marks.flushed();
        let much = marks.written() - marks.flushed() >= SYNC_BYTES_MAX;
        if !asked && !much && self.since_us.is_none_or(|since| now_us < since + SYNC_AGE_MAX_US) {
            return None;
        }
        // One file at a time: what lies in the next segment waits for its own turn,
        // which comes at once, since `since_us` stays as it is.
        let segment = self.geometry.base(marks.flushed());
        let covers = marks.written().min(self.geometry.end(segment));
        let whole = covers == marks.written();
        if whole {
            self.since_us = plain_since;
        }
        self.groups_since_sync = 0;
        let chain = whole.then_some(self.written_chain);
        self.sync = Some(Sync { op, segment, covers, chain });
        Some(segment)
    }

    /// The fdatasync has ended. It is never tried again.
    pub fn on_synced(
        &mut self,
        op: OpId,
        result: Result<(), i32>,
        marks: &mut Watermarks,
    ) -> Result<(), Failure> {
        let sync = self.sync.take().expect("a flush completes once");
        assert_eq!(sync.op, op);
        if let Err(errno) = result {
            return Err(Failure::Sync { segment: sync.segment, cause: Cause::Errno(errno) });
        }
        marks.advance_flushed(sync.covers.max(marks.flushed()));
        if let Some(chain) = sync.chain.filter(|chain| chain.at >= self.chain.at) {
            self.chain = chain;
        }
        self.settle(marks);
        Ok(())
    }

    /// The fdatasync has ended, and nobody cares how.
    pub fn forget_sync(&mut self) {
        self.sync = None;
    }

    /// When an fdatasync becomes due by age.
    pub fn next_deadline(&self, marks: &Watermarks) -> Option<u64> {
        if self.sync.is_some() || marks.flushed() == marks.written() {
            return None; // A completion comes first.
        }
        self.since_us.map(|since| since + SYNC_AGE_MAX_US)
    }

    /// Durable runs that the flushed edge has reached carry it on.
    fn settle(&mut self, marks: &mut Watermarks) {
        while let Some((start, chain)) = self.durable.front().copied() {
            if start > marks.flushed() {
                return;
            }
            self.durable.pop_front();
            marks.advance_flushed(chain.at.max(marks.flushed()));
            if chain.at >= self.chain.at {
                self.chain = chain;
            }
        }
        if marks.flushed() == marks.written() && self.sync.is_none() {
            self.chain = self.written_chain;
        }
    }
}
