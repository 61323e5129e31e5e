//! The order of a start: from what the last life left behind to a store that goes on.
//!
//! 1. The run mark, the boot and the arena decide ([`crate::log::recovery`]'s table).
//! 2. Index runs are taken back; they say from where the log is to be scanned.
//! 3. The log is scanned, from a place that is known to be flushed; each record of a
//!    living topic that no run covers is indexed again.
//! 4. After a crash of the process the old arena is replayed up to its published edge.
//! 5. Next offsets of queues without messages come from the table of bases; where
//!    acknowledged messages may be gone, every queue goes on 2^20 offsets higher.
//!
//! All of it reads only. What has to be written before anything is served stands in
//! [`BeforeServing`], in its order, and doing it again after a crash in between is
//! harmless. Nothing here depends on ack levels: whatever a start finds is made durable
//! before it is shown.

mod error;
mod index;
mod old_ring;
mod recovered;
mod scan_start;

use std::io;

use crate::base::metadata::TopicRecord;
use crate::base::{LogOffset, QueueOffset, TopicId};
use crate::log::recovery::{ArenaFound, Decision, Situation};
use crate::log::replay::Replay;
use crate::log::run_mark::{BootId, RunMark};
use crate::log::scan::{Scan, Scanned, SegmentSource, ends_with, scan};
use crate::log::{ChainEnd, Geometry};
use crate::queue::{Bases, QueueIndex, QueueKey, ReadAt};

pub use error::StartError;
use index::{Indexing, Owners, load_runs};
use old_ring::OldRing;
pub use recovered::{BeforeServing, Recovered, Report};
use scan_start::scan_start;

/// Offsets that each queue leaves out after acknowledged messages were given up, so that
/// no consumer's position ever lies above new messages.
pub const OFFSETS_SKIPPED: u64 = 1 << 20;

/// Misplaced records that are reported one by one; the rest is counted.
const MISPLACED_REPORTS_MAX: usize = 16;

/// What the last life left behind, and what the start goes by.
pub struct Remains<'a> {
    /// None: there is none, or it is damaged. One of another version refuses the start
    /// before this is called.
    pub mark: Option<RunMark>,
    pub segments: &'a dyn SegmentSource,
    pub index: &'a dyn IndexFiles,
    /// What lies at the arena's place,
    pub arena: ArenaFound,
    /// … and its content, if its header can be read.
    pub old_arena: Option<&'a dyn OldArena>,
    /// The topics as the metadata has them.
    pub topics: &'a [TopicRecord],
    /// The highest position that any group has committed, by queue.
    pub committed: &'a [(QueueKey, QueueOffset)],
    pub geometry: Geometry,
    pub boot: BootId,
    pub accept_loss: bool,
}

/// The arena of an earlier life. Nothing in it changes any more.
pub trait OldArena {
    /// The lowest log offset whose bytes are whole.
    fn start(&self) -> LogOffset;
    /// Below it everything was published; at or above `start`, at most a ring above it.
    fn edge(&self) -> LogOffset;
    /// Bytes between `start` and `edge`.
    fn log(&self, at: LogOffset, len: usize) -> &[u8];
    /// The journal's entries, oldest first.
    fn journal(&self, visit: &mut dyn FnMut(&[u8]));
}

/// The index files of a shard.
pub trait IndexFiles {
    /// The starts of all runs, ascending.
    fn runs(&self) -> io::Result<Vec<LogOffset>>;
    fn open_run(&self, start: LogOffset) -> io::Result<Box<dyn ReadAt + '_>>;
    /// The table of bases, if there is one.
    fn open_bases(&self) -> io::Result<Option<Box<dyn ReadAt + '_>>>;
}

/// The log as it was found, with the index that was made of it.
struct Rebuilt {
    scanned_from: LogOffset,
    scanned: Scanned,
    replay: Option<Replay>,
    index: QueueIndex,
    unlink_runs: Vec<LogOffset>,
    of_nobody: u64,
    misplaced: Vec<String>,
    misplaced_total: u64,
}

/// Finds out how the shard goes on. Reads only.
pub fn recover(remains: &Remains) -> Result<Recovered, StartError> {
    let log_exists = !remains.segments.segments().is_empty();
    let Remains { boot, arena, accept_loss, .. } = *remains;
    let mark = remains.mark.as_ref();
    let mut decision = Situation::judge(mark, log_exists, boot, arena, accept_loss).decide();
    if decision == Decision::CleanStart {
        let clean = mark.and_then(|mark| mark.clean).expect("the decision rests on it");
        match go_on_at(remains, clean)? {
            Some(rebuilt) => return finish(remains, decision, rebuilt),
            None => decision = Decision::after_wrong_clean_end(accept_loss),
        }
    }
    if decision == Decision::Replay {
        let arena = remains.old_arena.expect("an arena that is ours can be read");
        // Before anything was published there may be prepared segments, in any order,
        // but no log.
        let rebuilt = match arena.edge() {
            LogOffset(0) => rebuild(remains, None, Some(ChainEnd::default())),
            _ => rebuild(remains, Some(arena), None),
        };
        match rebuilt {
            Ok(rebuilt) => return finish(remains, decision, rebuilt),
            Err(StartError::Replay(error)) => {
                decision = Decision::after_refused_replay(accept_loss);
                if let Decision::Refuse(_) = decision {
                    return Err(StartError::Replay(error));
                }
            }
            Err(error) => return Err(error),
        }
    }
    match decision {
        Decision::Refuse(refusal) => Err(StartError::Refused(refusal)),
        _ => finish(remains, decision, rebuild(remains, None, None)?),
    }
}

/// After a clean stop: nothing to scan, if the index is whole. None when the log does
/// not end there.
fn go_on_at(remains: &Remains, clean: ChainEnd) -> Result<Option<Rebuilt>, StartError> {
    if !ends_with(remains.segments, remains.geometry, clean).map_err(StartError::Log)? {
        return Ok(None);
    }
    let rebuilt = rebuild(remains, None, Some(clean))?;
    let end = rebuilt.scanned.end;
    let same = (end.at, end.crc, end.sequence) == (clean.at, clean.crc, clean.sequence);
    Ok(same.then_some(rebuilt))
}

/// Takes the index back, scans and replays. `clean`: the log's end, where it is known.
fn rebuild(
    remains: &Remains,
    arena: Option<&dyn OldArena>,
    clean: Option<ChainEnd>,
) -> Result<Rebuilt, StartError> {
    let owners = Owners::new(remains.topics);
    let mut log_end = clean.map_or(LogOffset(i64::MAX as u64), |clean| clean.at);
    loop {
        let (index, unlink_runs) = load_runs(remains, &owners, log_end)?;
        let covered = index.dispatched();
        let mut indexing = Indexing::new(index, remains.geometry, &owners);
        if let Some(clean) = clean.filter(|clean| clean.at == covered) {
            let scanned = nothing_scanned(clean);
            return Ok(Rebuilt::new(clean.at, scanned, None, indexing, unlink_runs));
        }
        let from =
            scan_start(remains.segments, remains.geometry, covered).map_err(StartError::Log)?;
        let request = Scan {
            geometry: remains.geometry,
            from: from.from,
            arena_start: arena.map(OldArena::start),
        };
        let scanned = scan(remains.segments, request, &mut |found| indexing.take(&found));
        let scanned = scanned.map_err(StartError::Log)?;
        let replay = match arena {
            Some(arena) => {
                let life = next_life(remains, &scanned.end);
                let ring = OldRing(arena);
                let geometry = remains.geometry;
                Some(Replay::check(&ring, geometry, &scanned, life, &mut |found| {
                    indexing.take(&found);
                })?)
            }
            None => None,
        };
        let end = replay.as_ref().map_or(scanned.end.at, |replay| replay.end.at);
        if end < covered {
            // The log has lost a tail that a run speaks of: without that run, again.
            log_end = end;
            continue;
        }
        indexing.end_at(end);
        return Ok(Rebuilt::new(from.at, scanned, replay, indexing, unlink_runs));
    }
}

/// Everything that follows from the log and the index.
fn finish(
    remains: &Remains,
    decision: Decision,
    rebuilt: Rebuilt,
) -> Result<Recovered, StartError> {
    let Rebuilt { scanned, replay, mut index, .. } = rebuilt;
    let chain = replay.as_ref().map_or(scanned.end, |replay| replay.end);
    let bases = read_bases(remains)?;
    let gave_up = decision == Decision::Scan { gave_up: true } || bases.is_none();
    let mut bases = bases.unwrap_or_default();
    let owners = Owners::new(remains.topics);
    let keep = |topic: TopicId| owners.is_known(topic);
    bases.retain(keep);
    // Behind the log's own records: a table only ever raises what they say.
    index.load_bases(&bases, keep);
    if gave_up {
        bases.raise(raised(remains, &index));
        index.load_bases(&bases, keep);
    }
    let bases_len = bases.rows().len();
    let all = remains.segments.segments();
    let log_min = all.first().copied().unwrap_or(chain.at).min(chain.at);
    let fold_runs = index.truncate_front(log_min);
    let scans = matches!(decision, Decision::Scan { .. } | Decision::Replay);
    let first = remains.geometry.base(scanned.flushed);
    let unsynced = |base: &&LogOffset| scans && **base >= first && **base <= chain.at;
    let before = BeforeServing {
        sync: all.iter().filter(unsynced).copied().collect(),
        unlink_runs: rebuilt.unlink_runs,
        cut_metadata: matches!(decision, Decision::Scan { .. }).then_some(chain.at),
        bases: (gave_up && bases_len > 0).then_some(bases),
        fold_runs,
        replay,
    };
    let report = Report {
        decision,
        scanned_from: rebuilt.scanned_from,
        log_end: chain.at,
        records_scanned: scanned.records,
        records_replayed: before.replay.as_ref().map_or(0, |replay| replay.records),
        bytes_replayed: before.replay.as_ref().map_or(0, |replay| replay.bytes),
        records_of_nobody: rebuilt.of_nobody,
        rot: scanned.rot,
        rot_total: scanned.rot_total,
        misplaced: rebuilt.misplaced,
        misplaced_total: rebuilt.misplaced_total,
        gave_up,
    };
    Ok(Recovered {
        life: next_life(remains, &chain),
        chain,
        before,
        journal: journal(remains, decision),
        report,
        geometry: remains.geometry,
        ready_end: ready_end(all, remains.geometry, chain.at),
        log_min,
        segments: segment_times(all, remains.geometry, &index, &chain),
        index,
    })
}

impl Rebuilt {
    fn new(
        scanned_from: LogOffset,
        scanned: Scanned,
        replay: Option<Replay>,
        indexing: Indexing,
        unlink_runs: Vec<LogOffset>,
    ) -> Self {
        let Indexing { index, of_nobody, misplaced, misplaced_total, .. } = indexing;
        Self {
            scanned_from,
            scanned,
            replay,
            index,
            unlink_runs,
            of_nobody,
            misplaced,
            misplaced_total,
        }
    }
}

fn nothing_scanned(end: ChainEnd) -> Scanned {
    Scanned {
        end,
        records_end: None,
        flushed: end.at,
        groups: 0,
        records: 0,
        rot: Vec::new(),
        rot_total: 0,
        stopped_by: None,
    }
}

/// One above everything that has ever written to this log.
fn next_life(remains: &Remains, end: &ChainEnd) -> u64 {
    remains.mark.as_ref().map_or(0, |mark| mark.life).max(end.life) + 1
}

/// The table of bases; None if it is damaged and the operator accepts that.
fn read_bases(remains: &Remains) -> Result<Option<Bases>, StartError> {
    let Some(file) = remains.index.open_bases().map_err(StartError::Index)? else {
        return Ok(Some(Bases::default()));
    };
    match Bases::read(&*file) {
        Ok(bases) => Ok(Some(bases)),
        Err(_) if remains.accept_loss => Ok(None),
        Err(error) => Err(StartError::Bases(error)),
    }
}

/// Where every queue goes on after a loss: those too whose messages are all gone.
fn raised(remains: &Remains, index: &QueueIndex) -> Vec<(QueueKey, QueueOffset)> {
    let mut rows: Vec<_> = index.nexts().collect();
    for topic in remains.topics {
        let queues = topic.config.read_queues.max(topic.config.write_queues);
        let keys = (0..queues).map(|queue| QueueKey { topic: topic.id, queue });
        rows.extend(keys.map(|key| (key, QueueOffset(0))));
    }
    rows.extend_from_slice(remains.committed);
    rows.iter_mut().for_each(|(_, next)| *next = *next + OFFSETS_SKIPPED);
    rows
}

/// The journal counts when its arena does.
fn journal(remains: &Remains, decision: Decision) -> Vec<Vec<u8>> {
    let killed = matches!(decision, Decision::Replay);
    let mut entries = Vec::new();
    if let Some(arena) = remains.old_arena.filter(|_| killed) {
        arena.journal(&mut |entry| entries.push(entry.to_vec()));
    }
    entries
}

/// The end of the unbroken row of segments that begins with the one that holds `at`.
fn ready_end(all: &[LogOffset], geometry: Geometry, at: LogOffset) -> LogOffset {
    let mut end = geometry.base(at);
    while all.binary_search(&end).is_ok() {
        end = geometry.end(end);
    }
    end
}

/// The log's segments with their newest store times, as far as runs know them; a segment
/// without a message of its own is as old as the one before.
fn segment_times(
    all: &[LogOffset],
    geometry: Geometry,
    index: &QueueIndex,
    chain: &ChainEnd,
) -> Vec<(LogOffset, i64)> {
    let mut runs = index.runs_times().peekable();
    let mut newest = i64::MIN;
    let mut out = Vec::new();
    for base in all.iter().copied().filter(|base| *base < chain.at) {
        while let Some((_, ms)) = runs.next_if(|(start, _)| *start < geometry.end(base)) {
            newest = newest.max(ms.unwrap_or(newest));
        }
        out.push((base, newest));
    }
    if let Some((_, newest)) = out.last_mut() {
        *newest = chain.store_ms;
    }
    out
}
