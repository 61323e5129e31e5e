//! What a store wants done outside, and what it is told of it.

use std::sync::Arc;

use crate::base::LogOffset;
use crate::base::memory::SlotId;
use crate::base::transfer::Through;
use crate::log::retention::DiskUse;
use crate::log::{Extents, LogIntent, OpId};
use crate::queue::{ColdBlock, ColdRange, Directory, FrozenRun};

use super::rebuild::{LostExtent, Owner};

/// One wish of the store.
pub enum Intent {
    Log(LogIntent),
    /// Fill a pool slot from the log: block aligned, inside one segment.
    ReadLog {
        slot: SlotId,
        at: LogOffset,
        len: u32,
        through: Through,
    },
    /// Write an index run into its file, durably.
    WriteRun {
        run: Arc<FrozenRun>,
    },
    /// Read entries of a run's file into `block`.
    ReadIndex {
        load: LoadId,
        range: ColdRange,
        block: ColdBlock,
    },
    /// Make entries whose file is damaged again, from the log ([`super::rebuild_extent`]).
    RebuildIndex {
        lost: LostExtent,
        owner: Owner,
    },
    /// Fold the run's offsets into the table of bases, then unlink its file.
    FoldRun {
        start: LogOffset,
    },
    /// The segment has expired: it may serve again, or goes.
    DropSegment {
        base: LogOffset,
        recycle: bool,
    },
    /// Look how full the disk is, and whether the next start would find the arena.
    CheckDisk,
    /// Make durable that nothing acknowledged lies in the arena alone, now or later.
    DisownArena,
}

/// A wish that is fulfilled, or could not be.
pub enum Done {
    /// Bytes written, or the errno.
    Written {
        op: OpId,
        result: Result<u32, i32>,
    },
    Synced {
        op: OpId,
        result: Result<(), i32>,
    },
    SegmentReady {
        base: LogOffset,
        result: Result<Extents, String>,
    },
    LogRead {
        slot: SlotId,
        result: Result<(), String>,
    },
    RunWritten {
        run: Arc<FrozenRun>,
        result: Result<Directory, String>,
    },
    IndexRead {
        load: LoadId,
        range: ColdRange,
        block: ColdBlock,
        result: Result<(), String>,
    },
    IndexRebuilt {
        load: LoadId,
        range: ColdRange,
        block: ColdBlock,
        result: Result<(), String>,
    },
    Disk {
        disk: DiskUse,
    },
    /// The arena's name no longer leads to it: it will not be found by the next start.
    ArenaLost,
}

/// What follows, for those who wait, from something that is done.
pub enum After {
    /// The load has ended; whoever waited for it asks again.
    Loaded(LoadId),
    /// It cannot be read, for this reason; whoever waited for it is told.
    Unreadable(LoadId, String),
    /// An index extent is damaged. [`super::Store::rebuild`] goes on, and wants to know
    /// whose it is.
    Lost(LostExtent),
}

/// Something that is being read; frames wait for its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LoadId(u64);

/// What a load reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Index {
        run: LogOffset,
        first: u64,
    },
    Block(LogOffset),
    /// Any slot of the pool to become free.
    Slot,
}

/// Loads under way. Few at a time: the pool's slots, and a read or two of the index.
#[derive(Default)]
pub struct Loads {
    under_way: Vec<(LoadId, Target)>,
    next: u64,
}

impl Loads {
    /// The load of these index entries, and whether it is new.
    pub fn index(&mut self, range: &ColdRange) -> (LoadId, bool) {
        self.begin(Target::Index { run: range.run, first: range.first.0 ^ key_bits(range) })
    }

    /// The load of the log block at `base`, and whether it is new.
    pub fn block(&mut self, base: LogOffset) -> (LoadId, bool) {
        self.begin(Target::Block(base))
    }

    /// The end of any use of a pool slot.
    pub fn slot(&mut self) -> LoadId {
        self.begin(Target::Slot).0
    }

    pub fn end(&mut self, load: LoadId) -> Option<LoadId> {
        let at = self.under_way.iter().position(|(id, _)| *id == load)?;
        Some(self.under_way.swap_remove(at).0)
    }

    pub fn end_block(&mut self, base: LogOffset) -> Option<LoadId> {
        self.end_target(Target::Block(base))
    }

    pub fn end_slot(&mut self) -> Option<LoadId> {
        self.end_target(Target::Slot)
    }

    fn begin(&mut self, target: Target) -> (LoadId, bool) {
        if let Some((load, _)) = self.under_way.iter().find(|(_, other)| *other == target) {
            return (*load, false);
        }
        self.next += 1;
        let load = LoadId(self.next);
        self.under_way.push((load, target));
        (load, true)
    }

    fn end_target(&mut self, target: Target) -> Option<LoadId> {
        let at = self.under_way.iter().position(|(_, other)| *other == target)?;
        Some(self.under_way.swap_remove(at).0)
    }
}

/// Queues of one run may begin at the same offset.
fn key_bits(range: &ColdRange) -> u64 {
    (u64::from(range.key.topic.0) << 40) ^ (u64::from(range.key.queue) << 20)
}
