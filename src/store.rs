//! One shard's log with its queues: what is appended, when it becomes visible, and
//! where it is read from.
//!
//! A record is *appended* with its turn and becomes *visible* (pull, wake-up, maximum
//! offset) when its topic's ack level is reached, never before.

mod blocks;
mod disk;
mod intent;
mod pins;
mod read;
mod rebuild;
pub mod recovery;
mod transfer;
mod visibility;

use crate::base::memory::{Arena, LogFiles, LogRing};
use crate::base::outgoing::{Outgoing, Piece};
use crate::base::transfer::{Through, TransferCounters, TransferRules};
use crate::base::{AckLevel, LogOffset, Now, QueueOffset, TopicId};
use crate::log::retention::{DiskUse, Expired, Fate, RetentionConfig};
use crate::log::{CommitLog, Extents, Failure, Geometry, LogIntent, NewRecord, NoRoom, Watermarks};
use crate::queue::{Entry, QueueIndex, QueueKey, QueueSlot};

use blocks::Blocks;
pub use disk::DiskState;
use intent::Loads;
pub use intent::{After, Done, Intent, LoadId};
use pins::Pins;
pub use read::{Bounds, Found, ReadEnd, ReadLimits, Sources, Status, TimeEnd};
pub use rebuild::{LostExtent, Owner, rebuild_extent};
use visibility::Visibility;

/// The store of one shard.
pub struct Store {
    log: CommitLog,
    index: QueueIndex,
    visibility: Visibility,
    pins: Pins,
    blocks: Blocks,
    /// The block from which on was last read ahead.
    read_ahead_of: LogOffset,
    loads: Loads,
    transfer_rules: TransferRules,
    /// Whether the log's writes go into the page cache or past it.
    writes_through: Through,
    transfers: TransferCounters,
    /// Blocks that the page cache was asked for in this read, and its answers.
    resident: Vec<(LogOffset, bool)>,
    disk: DiskState,
    entries: Vec<(QueueOffset, Entry)>,
    scratch: Vec<u8>,
    log_intents: Vec<LogIntent>,
    intents: Vec<Intent>,
    /// The log's lowest offset: what is before it has expired.
    log_min: LogOffset,
    /// The index's active run ends here at the latest.
    run_end: LogOffset,
    /// No record is acknowledged or shown below this level, whatever its topic says.
    floor: AckLevel,
    /// Once the log is written to here, nothing acknowledged lies in the arena alone.
    disown_at: Option<LogOffset>,
    closing: bool,
    /// The index was rolled for a clean stop.
    rolled: bool,
}

/// A record that the log has taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    pub at: LogOffset,
    pub len: u32,
    pub offset: QueueOffset,
}

impl Store {
    /// A store whose log and index are recovered; its arena's ring is empty and begins
    /// where the log ends.
    pub fn new(
        log: CommitLog,
        index: QueueIndex,
        log_min: LogOffset,
        disk: DiskState,
        arena: &dyn Arena,
    ) -> Self {
        Self {
            run_end: log.geometry().end(index.dispatched()),
            pins: Pins::new(arena.size()),
            blocks: Blocks::new(arena.slots(), arena.slot_bytes()),
            read_ahead_of: LogOffset(u64::MAX),
            log,
            index,
            visibility: Visibility::default(),
            loads: Loads::default(),
            transfer_rules: TransferRules::default(),
            writes_through: Through::default(),
            transfers: TransferCounters::default(),
            resident: Vec::new(),
            disk,
            entries: Vec::new(),
            scratch: Vec::new(),
            log_intents: Vec::new(),
            intents: Vec::new(),
            log_min,
            floor: AckLevel::default(),
            disown_at: None,
            closing: false,
            rolled: false,
        }
    }

    // ----- Queues ------------------------------------------------------------------

    pub fn open_queue(&mut self, key: QueueKey) -> QueueSlot {
        self.index.open(key)
    }

    /// The queue's index, if it has ever been opened.
    pub fn find_queue(&self, key: QueueKey) -> Option<QueueSlot> {
        self.index.get(key)
    }

    pub fn remove_topic(&mut self, topic: TopicId) {
        self.index.remove_topic(topic);
    }

    /// The offset of the queue's first message; of the next one if it has none.
    pub fn min_offset(&self, slot: QueueSlot) -> QueueOffset {
        self.index.min(slot)
    }

    /// The offset behind the queue's last visible message.
    pub fn max_offset(&self, slot: QueueSlot) -> QueueOffset {
        self.index.visible(slot)
    }

    pub fn earliest_ms(&self, slot: QueueSlot) -> Option<i64> {
        self.index.earliest_ms(slot)
    }

    // ----- Appending ---------------------------------------------------------------

    /// Whether sends are taken at all: not while the disk is too full, nor after a
    /// failure. Text for the sender otherwise.
    pub fn accepts_writes(&self) -> Result<(), String> {
        if let Some(failure) = self.log.failed() {
            return Err(format!("the CommitLog has failed: {failure}"));
        }
        self.disk.accepts_writes()
    }

    /// The most bytes of records that one batch may have.
    pub fn batch_bytes_max(&self) -> u64 {
        self.log.batch_bytes_max()
    }

    /// Whether frames that waited for room may try again.
    pub fn has_room(&self, arena: &dyn Arena) -> bool {
        // The smallest batch stands for all: one that is larger waits again.
        self.log.room_for(1, arena).is_ok() && !self.index.is_behind()
    }

    /// Begins a batch of `bytes`, or says why not now.
    pub fn begin_batch(
        &mut self,
        bytes: u64,
        now: Now,
        arena: &mut dyn Arena,
    ) -> Result<(), NoRoom> {
        self.reclaim(bytes, arena);
        self.log.room_for(bytes, arena)?;
        if self.index.is_behind() {
            return Err(NoRoom::ArenaFull);
        }
        self.log.begin_batch(bytes, now, arena);
        let at = self.log.watermarks().appended();
        if self.run_end <= at {
            // A run ends with its segment, so that it expires with it.
            self.index.roll(self.log.geometry().base(at));
            self.run_end = self.log.geometry().end(at);
        }
        Ok(())
    }

    /// The arena does not outlive the process: nothing is acknowledged or shown before it
    /// has reached `floor`.
    pub fn set_floor(&mut self, floor: AckLevel) {
        self.floor = floor;
    }

    /// The lowest level at which anything is acknowledged.
    pub fn floor(&self) -> AckLevel {
        self.floor
    }

    /// Appends one record of the batch to a queue. It becomes visible at `level`, or at
    /// the floor.
    pub fn append(
        &mut self,
        arena: &mut dyn Arena,
        slot: QueueSlot,
        tag: i32,
        level: AckLevel,
        record: NewRecord,
    ) -> Stored {
        let offset = self.index.next(slot);
        let record = NewRecord { queue_offset: offset.0 as i64, ..record };
        let appended = self.log.append(arena, &record);
        let entry = Entry { at: appended.at, size: appended.len, tag, store_ms: appended.store_ms };
        self.index.append(slot, entry);
        let end = appended.at + u64::from(appended.len);
        let level = level.max(self.floor);
        self.visibility.add(slot, self.index.visible(slot), offset, level, end);
        Stored { at: appended.at, len: appended.len, offset }
    }

    /// Ends the batch: its records survive this process from here on.
    pub fn end_batch(&mut self, arena: &mut dyn Arena) {
        self.log.end_batch(arena);
        let end = self.log.watermarks().appended();
        let base = self.log.geometry().base(LogOffset(end.0 - 1));
        self.disk.on_appended(base, self.log.last_store_ms());
        self.visibility.show(&mut self.index, &self.log.watermarks());
    }

    /// Somebody waits for `level` of what is appended.
    pub fn demand(&mut self, level: AckLevel) {
        self.log.demand(level);
    }

    /// Queues in which messages became visible, each once, since the last call.
    pub fn take_shown(&mut self, shown: &mut Vec<QueueSlot>) {
        self.visibility.take_shown(shown);
    }

    pub fn watermarks(&self) -> Watermarks {
        self.log.watermarks()
    }

    pub fn failure(&self) -> Option<&Failure> {
        self.log.failed()
    }

    // ----- Turning -----------------------------------------------------------------

    /// What is to be done outside, once per turn.
    pub fn poll(&mut self, now: Now, arena: &mut dyn Arena, out: &mut Vec<Intent>) {
        if self.visibility.wants(AckLevel::Flushed) {
            self.log.demand(AckLevel::Flushed);
        } else if self.visibility.wants(AckLevel::Written) {
            self.log.demand(AckLevel::Written);
        }
        if self.closing {
            // The log's last block may need room.
            self.reclaim(1, arena);
        }
        self.log.poll(now, arena, &mut self.log_intents);
        let prepares = |intent: &&LogIntent| matches!(intent, LogIntent::PrepareSegment { .. });
        let wanted = self.log_intents.iter().filter(prepares).count();
        if wanted > 0 {
            // Said before the preparations, so that what has expired serves for them.
            out.extend(self.let_go(now, Some(wanted)));
        }
        out.extend(self.log_intents.drain(..).map(Intent::Log));
        if self.log.is_closed() && !self.rolled {
            // Now: nothing is under way that would bring another turn.
            self.rolled = true;
            self.index.roll(self.log.watermarks().appended());
        }
        while let Some(run) = self.index.take_frozen() {
            out.push(Intent::WriteRun { run });
        }
        if self.disk.check_is_due(now) {
            out.push(Intent::CheckDisk);
        }
        let written = self.log.watermarks().written();
        if self.disown_at.take_if(|edge| *edge <= written).is_some() {
            out.push(Intent::DisownArena);
        }
        self.index.tidy(QUEUES_TIDIED_PER_TURN);
        out.append(&mut self.intents);
    }

    /// The log may write to a segment. For those that are there at a start, to be said
    /// before the first message.
    pub fn on_segment_ready(&mut self, base: LogOffset, extents: Extents) {
        self.log.on_segment_ready(base, extents);
    }

    /// Something that was wanted is done. Returns what follows for those who wait.
    pub fn on_done(&mut self, done: Done, now: Now) -> Option<After> {
        match done {
            Done::Written { op, result } => self.moved(|log| log.on_written(op, result)),
            Done::Synced { op, result } => self.moved(|log| log.on_synced(op, result)),
            Done::SegmentReady { base, result: Ok(extents) } => {
                self.on_segment_ready(base, extents);
                None
            }
            Done::SegmentReady { base, result: Err(why) } => {
                tracing::error!(segment = base.0, why, "cannot prepare a segment; trying again");
                self.log.on_segment_unavailable(base, now);
                None
            }
            Done::RunWritten { run, result } => {
                match result {
                    Ok(directory) => self.index.on_run_persisted(run, directory),
                    Err(why) => {
                        tracing::error!(
                            run = run.start().0,
                            why,
                            "cannot write an index run; trying again"
                        );
                        self.intents.push(Intent::WriteRun { run });
                    }
                }
                None
            }
            Done::IndexRead { load, range, block, result: Err(why) }
                if self.log_min < range.run_end =>
            {
                tracing::error!(run = range.run.0, why, "an index run is damaged");
                Some(After::Lost(LostExtent { load, range, block }))
            }
            Done::IndexRead { load, range, block, result }
            | Done::IndexRebuilt { load, range, block, result } => {
                if result.is_ok() {
                    self.index.insert_cold(block);
                }
                let load = self.loads.end(load)?;
                Some(self.after_read(load, range.run_end, result, "an index run"))
            }
            Done::LogRead { slot, result } => {
                let base = self.blocks.on_read(slot, result.is_ok());
                let load = self.loads.end_block(base)?;
                let end = base + self.blocks.block_bytes();
                Some(self.after_read(load, end, result, "the CommitLog"))
            }
            Done::ArenaLost => {
                self.on_arena_lost();
                None
            }
            Done::Disk { disk } => {
                self.on_disk(disk, now);
                None
            }
        }
    }

    pub fn next_deadline_us(&self) -> Option<u64> {
        [self.log.next_deadline(), Some(self.disk.next_check_us())].into_iter().flatten().min()
    }

    /// Has a lost extent made again. Nobody owns it when its topic was deleted: then its
    /// load ends, and is returned.
    pub fn rebuild(&mut self, lost: LostExtent, owner: Option<Owner>) -> Option<LoadId> {
        let Some(owner) = owner else { return self.loads.end(lost.load) };
        self.intents.push(Intent::RebuildIndex { lost, owner });
        None
    }

    /// What was read concerns the log up to `end`.
    fn after_read(
        &self,
        load: LoadId,
        end: LogOffset,
        result: Result<(), String>,
        what: &str,
    ) -> After {
        match result {
            Err(why) if self.log_min < end => {
                tracing::error!(why, "cannot read {what}");
                After::Unreadable(load, format!("{what} cannot be read: {why}"))
            }
            // What has expired meanwhile is gone; whoever asks again is led on.
            _ => After::Loaded(load),
        }
    }

    /// The next start will not find the arena. What was acknowledged because it lies there
    /// is at risk until it is written; from now on nothing is.
    fn on_arena_lost(&mut self) {
        if self.floor == AckLevel::Appended {
            self.floor = AckLevel::Written;
            self.disown_at = Some(self.log.watermarks().appended());
        }
    }

    fn moved(&mut self, change: impl FnOnce(&mut CommitLog) -> bool) -> Option<After> {
        if change(&mut self.log) {
            self.visibility.show(&mut self.index, &self.log.watermarks());
        }
        None
    }

    // ----- Pins --------------------------------------------------------------------

    /// Gives back what a reply was lent.
    pub fn unpin(&mut self, outgoing: &Outgoing, files: &dyn LogFiles) {
        self.unpin_pieces(&outgoing.pieces, files);
    }

    pub fn unpin_pieces(&mut self, pieces: &[Piece], files: &dyn LogFiles) {
        for piece in pieces {
            match *piece {
                Piece::Own { .. } => {}
                Piece::Log { at, len } => self.pins.remove(at, len),
                Piece::Slot { slot, .. } => self.blocks.unpin(slot),
                Piece::File { at, .. } => files.unpin(at),
            }
        }
    }

    /// A load that waited for a slot of the pool, which is free now.
    pub fn take_freed_load(&mut self) -> Option<LoadId> {
        if self.blocks.spare() == 0 { None } else { self.loads.end_slot() }
    }

    /// Pins below this are in the way of the log's head: within an eighth of the ring.
    pub fn pins_in_the_way(&self, arena: &dyn LogRing) -> Option<LogOffset> {
        let reach = self.log.watermarks().appended().0 + arena.size() / 8;
        let edge = LogOffset(reach.saturating_sub(arena.size()));
        self.pins.lowest(arena.reclaimed(), edge).map(|_| edge)
    }

    /// Makes room in the ring for a batch, as far as writes and pins allow.
    fn reclaim(&mut self, bytes: u64, arena: &mut dyn Arena) {
        let edge = self.log.reclaim_edge(bytes);
        let reclaimed = arena.reclaimed();
        if edge <= reclaimed {
            return;
        }
        let edge = self.pins.lowest(reclaimed, edge).unwrap_or(edge);
        if edge > reclaimed {
            arena.reclaim(edge);
        }
    }

    // ----- Stopping and asking -----------------------------------------------------

    /// Begins a clean stop.
    pub fn close(&mut self) {
        self.closing = true;
        self.log.close();
    }

    /// Whether log and index lie whole on disk. The caller goes on turning until then.
    pub fn is_closed(&self) -> bool {
        self.rolled && self.index.checkpoint() >= self.log.watermarks().appended()
    }

    pub fn log_range(&self) -> (LogOffset, LogOffset) {
        (self.log_min, self.log.watermarks().appended())
    }

    pub fn geometry(&self) -> Geometry {
        self.log.geometry()
    }

    pub fn disk(&self) -> &DiskState {
        &self.disk
    }

    /// Other rules of retention count from now on.
    pub fn set_retention(&mut self, rules: RetentionConfig) {
        self.disk.rules = rules;
    }

    fn on_disk(&mut self, disk: DiskUse, now: Now) {
        self.disk.on_checked(disk, now);
        // Nobody asks for a segment now: one that were to be used again would keep its
        // name, while those behind it go.
        let drops = self.let_go(now, None);
        self.intents.splice(0..0, drops);
    }

    /// Lets expired segments go: as many as the preparations that follow want to use
    /// again, or all. Their runs are folded after that: a start that finds segments
    /// without their runs scans the whole log.
    fn let_go(&mut self, now: Now, wanted: Option<usize>) -> Vec<Intent> {
        let segment_bytes = self.log.geometry().segment_bytes();
        let kept = self.index.checkpoint().min(self.log.checkpoint().at);
        let expired = self.disk.take_expired(kept, segment_bytes, now, wanted);
        if expired.is_empty() {
            return Vec::new();
        }
        self.log_min = self.disk.log_min().unwrap_or(self.log_min);
        self.blocks.forget_below(self.log_min);
        for start in self.index.truncate_front(self.log_min) {
            self.intents.push(Intent::FoldRun { start });
        }
        let drop = |Expired { base, fate }| {
            tracing::info!(segment = base.0, ?fate, "a segment has expired");
            Intent::DropSegment { base, recycle: fate == Fate::Recycle }
        };
        expired.into_iter().map(drop).collect()
    }

    /// For the run mark of a clean stop.
    pub fn log(&self) -> &CommitLog {
        &self.log
    }
}

/// Queues whose expired extents are dropped in one turn.
const QUEUES_TIDIED_PER_TURN: usize = 64;
