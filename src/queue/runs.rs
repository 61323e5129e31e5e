//! The life of runs: active, frozen, written, expired; and their way back at a start.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use super::file::ReadAt;
use super::format::{Directory, Header};
use super::pool::RawEntry;
use super::run::{FrozenRun, MemoryRun};
use super::slots::{Extent, QueueSlot};
use super::{IndexError, QueueIndex, TopicId};
use crate::base::limits::{INDEX_FROZEN_RUNS_MAX, INDEX_RUN_LOG_BYTES_MAX, INDEX_SPARE_RUNS_MAX};
use crate::base::{LogOffset, QueueOffset};

/// All runs, numbered from the first of this process on. The active one has the
/// number after the last of `older`.
#[derive(Default)]
pub(super) struct Runs {
    older: VecDeque<Run>,
    /// Number of the first of `older`.
    first: u32,
    /// Runs below are expired, wherever they are.
    pub live: u32,
    /// The first run that has not been handed out to be written.
    handed: u32,
    /// The first run that is not in a file.
    unwritten: u32,
    pub active: MemoryRun,
    spares: Vec<MemoryRun>,
}

enum Run {
    /// Being written; memory serves its reads.
    Frozen(Arc<FrozenRun>),
    /// In a file; here is where.
    Written(Directory),
}

/// Where a run's entries are now.
pub(super) enum Place<'a> {
    Memory(&'a MemoryRun),
    File(&'a Directory),
}

impl QueueIndex {
    /// Everything below `edge` has been dispatched, also where it made no entries. The
    /// active run ends when it covers enough.
    pub fn dispatched_to(&mut self, edge: LogOffset) {
        let active = &mut self.runs.active;
        assert!(edge >= active.end, "dispatch never goes back");
        active.end = edge;
        if edge - active.start >= INDEX_RUN_LOG_BYTES_MAX {
            self.runs.roll(edge);
        }
    }

    /// Ends the active run at `edge`: the end of a log segment, or of the log when the
    /// broker stops. To be followed by `take_frozen`.
    pub fn roll(&mut self, edge: LogOffset) {
        self.runs.roll(edge);
    }

    /// The next run that a helper is to write, each once. Runs end by `roll`, by
    /// `dispatched_to` and by `append`, so ask every turn. A write that failed is tried
    /// again with the same run, which memory serves until then.
    pub fn take_frozen(&mut self) -> Option<Arc<FrozenRun>> {
        let runs = &mut self.runs;
        let Some(Run::Frozen(run)) = runs.older.get((runs.handed - runs.first) as usize) else {
            return None;
        };
        runs.handed += 1;
        Some(Arc::clone(run))
    }

    /// `run` lies durably in its file, of which `directory` is kept instead.
    pub fn on_run_persisted(&mut self, run: Arc<FrozenRun>, directory: Directory) {
        self.runs.set_written(&run, directory);
        if let Ok(FrozenRun(mut memory)) = Arc::try_unwrap(run)
            && self.runs.spares.len() < INDEX_SPARE_RUNS_MAX
        {
            memory.restart(LogOffset(0));
            self.runs.spares.push(memory);
        }
    }

    /// Whether so many runs wait to be written that sends are to wait too.
    pub fn is_behind(&self) -> bool {
        (self.runs.active_number() - self.runs.unwritten) as usize >= INDEX_FROZEN_RUNS_MAX
    }

    /// Up to where files cover the log: a start after a crash scans it from here. Log
    /// at and above it must not be unlinked, or next offsets could be lost.
    pub fn checkpoint(&self) -> LogOffset {
        let first = self.runs.older.get((self.runs.unwritten - self.runs.first) as usize);
        first.map_or(self.runs.active.start, Run::start)
    }

    /// Start and latest store time of each run, in log order; None without an entry.
    pub fn runs_times(&self) -> impl Iterator<Item = (LogOffset, Option<i64>)> {
        self.runs.older.iter().map(|run| match run {
            Run::Frozen(run) => (run.start(), run.0.last_ms()),
            Run::Written(directory) => (directory.start, directory.last_ms()),
        })
    }

    /// The log now begins at `log_min`. Minimum offsets move at once, without a look at
    /// any queue. Returns the runs whose files are to be folded into the bases and then
    /// unlinked, each once; one that is still being written comes with a later call.
    pub fn truncate_front(&mut self, log_min: LogOffset) -> Vec<LogOffset> {
        let runs = &mut self.runs;
        while runs
            .older
            .get((runs.live - runs.first) as usize)
            .is_some_and(|run| run.end() <= log_min)
        {
            runs.live += 1;
        }
        let mut expired = Vec::new();
        while runs.first < runs.live && matches!(runs.older.front(), Some(Run::Written(_))) {
            expired.extend(runs.older.pop_front().map(|run| run.start()));
            runs.first += 1;
        }
        runs.handed = runs.handed.max(runs.first);
        expired
    }

    /// Takes a written run back at a start, lowest first, before anything is appended.
    /// Reads its directory only, and skips topics that `keep` does not know. After an
    /// error the index is as before: this file and all later ones are to be unlinked,
    /// and the log scanned from `checkpoint`.
    pub fn load_run(
        &mut self,
        file: &(impl ReadAt + ?Sized),
        log_end: LogOffset,
        keep: impl Fn(TopicId) -> bool,
    ) -> Result<(), IndexError> {
        assert!(!self.loaded, "runs are loaded before bases and before anything is appended");
        let header = Header::load(file)?;
        let expected = self.runs.active.start;
        let follows =
            header.start == expected || (self.runs.older.is_empty() && header.start < expected);
        if !follows {
            return Err(IndexError::Gap { expected, found: header.start });
        }
        if header.end > log_end {
            return Err(IndexError::BeyondLog { end: header.end, log_end });
        }
        let mut added = Vec::new();
        match self.load_extents(file, &header, keep, &mut added) {
            Ok(directory) => {
                self.last_ms = self.last_ms.max(directory.last_ms());
                self.runs.adopt(directory);
                Ok(())
            }
            Err(error) => {
                for (slot, next) in added.into_iter().rev() {
                    self.slots.pop_extent(slot, next);
                }
                Err(error)
            }
        }
    }

    /// Gives queues their extents; `added` tells how to take them back.
    fn load_extents(
        &mut self,
        file: &(impl ReadAt + ?Sized),
        header: &Header,
        keep: impl Fn(TopicId) -> bool,
        added: &mut Vec<(QueueSlot, QueueOffset)>,
    ) -> Result<Directory, IndexError> {
        let (slots, runs) = (&mut self.slots, &self.runs);
        let run = runs.active_number();
        let mut numbers = 0..;
        Directory::load(file, header, |key, first, count| {
            let number = numbers.next().expect("a file has less than 2^32 extents");
            if !keep(key.topic) {
                return Ok(());
            }
            let slot = slots.open(key);
            let next = slots.get(slot).next;
            if first < next {
                return Err(IndexError::Back { key, first, next });
            }
            slots.push_extent(slot, Extent { first, run, number }, runs.live);
            added.push((slot, next));
            let queue = slots.get_mut(slot);
            queue.next = first + u64::from(count);
            queue.visible = queue.next;
            Ok(())
        })
    }
}

impl Runs {
    pub fn active_number(&self) -> u32 {
        self.first + self.older.len() as u32
    }

    /// Freezes the active run. The next one begins where it ends.
    pub fn roll(&mut self, edge: LogOffset) {
        assert!(edge >= self.active.end, "dispatch never goes back");
        self.active.end = edge;
        if self.active.start == edge {
            return;
        }
        let mut next = self.spares.pop().unwrap_or_default();
        next.restart(edge);
        let run = FrozenRun(mem::replace(&mut self.active, next));
        self.older.push_back(Run::Frozen(Arc::new(run)));
    }

    fn adopt(&mut self, directory: Directory) {
        self.active.restart(directory.end);
        self.older.push_back(Run::Written(directory));
        self.handed = self.active_number();
        self.unwritten = self.active_number();
    }

    fn set_written(&mut self, run: &Arc<FrozenRun>, directory: Directory) {
        assert_eq!(run.start(), directory.start, "the directory is that of the run");
        let mut frozen = self.older.iter_mut().skip((self.unwritten - self.first) as usize);
        let place = frozen.find(|older| matches!(older, Run::Frozen(own) if Arc::ptr_eq(own, run)));
        *place.expect("runs are written once") = Run::Written(directory);
        // Writes may end in another order than they began.
        while let Some(Run::Written(_)) = self.older.get((self.unwritten - self.first) as usize) {
            self.unwritten += 1;
        }
    }

    #[inline]
    pub fn place(&self, number: u32) -> Place<'_> {
        match self.older.get((number - self.first) as usize) {
            None => Place::Memory(&self.active),
            Some(Run::Frozen(run)) => Place::Memory(&run.0),
            Some(Run::Written(directory)) => Place::File(directory),
        }
    }

    #[inline]
    pub fn count(&self, extent: &Extent) -> u32 {
        match self.place(extent.run) {
            Place::Memory(run) => run.extent(extent.number).1.len() as u32,
            Place::File(directory) => directory.count(extent.number),
        }
    }

    /// First and last store time of an extent.
    pub fn times(&self, extent: &Extent) -> (i64, i64) {
        match self.place(extent.run) {
            Place::File(directory) => directory.times(extent.number),
            Place::Memory(run) => {
                let (_, entries) = run.extent(extent.number);
                let ms = |entry: &RawEntry| entry.decode(run.start, run.base_ms).store_ms;
                (ms(&entries[0]), ms(&entries[entries.len() - 1]))
            }
        }
    }

    pub fn directory_bytes(&self) -> usize {
        let written = self.older.iter().map(|run| match run {
            Run::Frozen(_) => 0,
            Run::Written(directory) => directory.memory_bytes(),
        });
        written.sum::<usize>() + self.older.capacity() * size_of::<Run>()
    }

    pub fn memory_bytes(&self) -> usize {
        let frozen = self.older.iter().filter_map(|run| match run {
            Run::Frozen(run) => Some(&run.0),
            Run::Written(_) => None,
        });
        let all = frozen.chain(&self.spares).chain([&self.active]);
        all.map(MemoryRun::memory_bytes).sum()
    }
}

impl Run {
    fn start(&self) -> LogOffset {
        match self {
            Self::Frozen(run) => run.start(),
            Self::Written(directory) => directory.start,
        }
    }

    fn end(&self) -> LogOffset {
        match self {
            Self::Frozen(run) => run.end(),
            Self::Written(directory) => directory.end,
        }
    }
}
