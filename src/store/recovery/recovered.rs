//! What a start has found, and what must be done before it serves.

use std::io;

use super::OldArena;
use super::old_ring::OldRing;
use crate::base::LogOffset;
use crate::base::memory::Arena;
use crate::log::recovery::Decision;
use crate::log::replay::Replay;
use crate::log::retention::{DiskUse, RetentionConfig};
use crate::log::run_mark::{ArenaId, BootId, RunMark};
use crate::log::scan::Rot;
use crate::log::{ChainEnd, CommitLog, FlushMethod, Geometry, LogConfig, LogStart};
use crate::queue::{Bases, QueueIndex};
use crate::store::{DiskState, Store};

/// A start that may go on once `before` is done.
pub struct Recovered {
    /// This life's number.
    pub life: u64,
    /// Where the log goes on; the ring of the new arena begins there.
    pub chain: ChainEnd,
    pub before: BeforeServing,
    /// Consumer offsets that were committed and not made durable, oldest first, as the
    /// broker has encoded them.
    pub journal: Vec<Vec<u8>>,
    pub report: Report,
    pub(super) geometry: Geometry,
    /// Segments from the one that holds the log's end on are there up to here.
    pub(super) ready_end: LogOffset,
    pub(super) index: QueueIndex,
    pub(super) log_min: LogOffset,
    /// Base and newest store time of the log's segments.
    pub(super) segments: Vec<(LogOffset, i64)>,
}

/// What must be durable before anything is served, in this order:
///
/// 1. what [`Recovered::write_replay`] hands out, then an fdatasync of each of `sync`;
/// 2. `unlink_runs`: a run left behind would speak of a log that is no more;
/// 3. in the metadata: `cut_metadata`, and the positions of the journal;
/// 4. `bases`, in place of the table that is there;
/// 5. the run mark [`Recovered::mark_recovered`], if there is one: from here on a start
///    needs neither arena nor replay;
/// 6. the new arena at its place, the old one unlinked;
/// 7. the run mark [`Recovered::mark_running`]; only after it segments are prepared.
///
/// `fold_runs` are a helper's work at any time, as after `Store`'s own `FoldRun`.
/// A `PrepareSegment` for one that is there already is answered at once.
#[derive(Debug, Default)]
pub struct BeforeServing {
    /// What is written from the arena.
    pub(super) replay: Option<Replay>,
    /// Segments whose bytes may not be durable.
    pub sync: Vec<LogOffset>,
    /// Index runs that cannot be used.
    pub unlink_runs: Vec<LogOffset>,
    /// The log has lost its tail and ends here: births and deletions of topics beyond
    /// are brought back to it.
    pub cut_metadata: Option<LogOffset>,
    pub bases: Option<Bases>,
    /// Index runs of expired log: folded into the bases, then unlinked.
    pub fold_runs: Vec<LogOffset>,
}

/// What the start found, for operators and tests.
#[derive(Clone, Debug)]
pub struct Report {
    pub decision: Decision,
    /// Where the scan began and where the log ends; equal when nothing was scanned.
    pub scanned_from: LogOffset,
    pub log_end: LogOffset,
    pub records_scanned: u64,
    /// Records that only the arena had.
    pub records_replayed: u64,
    pub bytes_replayed: u64,
    /// Records that belong to no topic, or to a deleted namesake of one.
    pub records_of_nobody: u64,
    /// Damage in flushed bytes; the first ones one by one.
    pub rot: Vec<Rot>,
    pub rot_total: u64,
    /// Records that do not fit their queue, by what is wrong; not served.
    pub misplaced: Vec<String>,
    pub misplaced_total: u64,
    /// Acknowledged messages may be gone: queues go on `OFFSETS_SKIPPED` higher.
    pub gave_up: bool,
}

impl Recovered {
    /// Hands out what a replay writes, in order: block aligned, each piece inside one
    /// segment. `arena` is the one that `recover` was given.
    pub fn write_replay(
        &self,
        arena: &dyn OldArena,
        write: &mut dyn FnMut(LogOffset, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let Some(replay) = &self.before.replay else { return Ok(()) };
        replay.writes(&OldRing(arena)).try_for_each(|(at, bytes)| write(at, bytes))
    }

    /// Whether `write_replay` has anything to write.
    pub fn replays(&self) -> bool {
        self.before.replay.is_some()
    }

    /// The log is whole on disk up to its end, and nobody writes yet. None where the run
    /// mark says so already, or there is no log.
    pub fn mark_recovered(&self, boot: BootId) -> Option<RunMark> {
        match self.report.decision {
            Decision::Fresh | Decision::CleanStart => None,
            _ => Some(RunMark { life: self.life, boot, arena: None, clean: Some(self.chain) }),
        }
    }

    /// From here on acknowledged bytes may lie in this arena only. None: there is no
    /// arena that outlives the process, so nothing is acknowledged before it is written.
    pub fn mark_running(&self, boot: BootId, arena: Option<ArenaId>) -> RunMark {
        RunMark { life: self.life, boot, arena, clean: None }
    }

    /// The store, once all of `before` is done. The ring of `arena` is empty and begins
    /// at `chain.at`.
    pub fn into_store(
        self,
        flush_method: FlushMethod,
        retention: RetentionConfig,
        disk: DiskUse,
        arena: &dyn Arena,
    ) -> Store {
        let config = LogConfig { geometry: self.geometry, flush_method, life: self.life };
        let start = LogStart { chain: self.chain, ready_end: self.ready_end };
        let log = CommitLog::new(config, start, arena);
        let disk = DiskState::new(retention, disk, self.segments);
        Store::new(log, self.index, self.log_min, disk, arena)
    }
}
