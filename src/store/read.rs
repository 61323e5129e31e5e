//! Reads: from the ring where the tail lies, from pool blocks where it does not. Nothing
//! here waits: what is not in memory becomes a load, and the caller asks again.

use crate::base::memory::{Arena, LogFiles};
use crate::base::outgoing::Piece;
use crate::base::transfer::{Fallback, FileWay, Plan, Through, TransferChoice};
use crate::base::{LogOffset, QueueOffset};
use crate::log::{RecordError, RecordView, Stored};
use crate::queue::{Boundary, Entry, Found as Indexed, QueueSlot, TimeFound};

use super::Store;
use super::intent::{Intent, LoadId};

/// Where log bytes may lie that need no read.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    pub arena: &'a dyn Arena,
    pub files: &'a dyn LogFiles,
}

/// Bounds of one read, and how its bytes are moved. At least one message comes back,
/// however large.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    /// A message below is an old one, whose bounds are tighter as a rule.
    pub recent_from: LogOffset,
    pub recent: Bounds,
    pub old: Bounds,
    pub transfer: TransferChoice,
}

/// The next message is not taken if with it there were more.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub messages: u32,
    pub bytes: u32,
}

/// How a read went, under the names that replies carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Found,
    /// None of the messages looked at fits.
    NoMatchedMessage,
    NoMessageInQueue,
    TooSmall,
    /// Exactly at the end: the next message will be it.
    OverflowOne,
    OverflowBadly,
    /// The records expired, or are damaged.
    Removing,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Self::Found => "FOUND",
            Self::NoMatchedMessage => "NO_MATCHED_MESSAGE",
            Self::NoMessageInQueue => "NO_MESSAGE_IN_QUEUE",
            Self::TooSmall => "OFFSET_TOO_SMALL",
            Self::OverflowOne => "OFFSET_OVERFLOW_ONE",
            Self::OverflowBadly => "OFFSET_OVERFLOW_BADLY",
            Self::Removing => "MESSAGE_WAS_REMOVING",
        }
    }
}

/// What a read found.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    pub status: Status,
    pub next: QueueOffset,
    pub min: QueueOffset,
    pub max: QueueOffset,
    pub messages: u32,
    pub bytes: u32,
}

/// A read, or what must be loaded before it.
#[derive(Clone, Copy, Debug)]
pub enum ReadEnd {
    Read(Found),
    Cold(LoadId),
}

/// A search by time, or what must be loaded before it.
#[derive(Clone, Copy, Debug)]
pub enum TimeEnd {
    At(QueueOffset),
    Cold(LoadId),
}

/// Where a record's bytes are now.
enum Place {
    Pieces,
    Load(LoadId),
    Damaged,
}

/// Entries passed over in one read; beyond it the reader comes back. As many as Apache
/// looks at (16,000 bytes of 20).
const SCAN_ENTRIES_MAX: usize = 800;
/// Entries taken from the index at a time.
const FIND_ENTRIES: usize = 64;

impl Store {
    /// Reads messages of a queue from `from` on that pass the filter. Their bytes are
    /// added to `pieces`, pinned until `unpin_pieces`.
    pub fn read(
        &mut self,
        sources: Sources,
        slot: QueueSlot,
        from: i64,
        limits: ReadLimits,
        passes: impl Fn(i32) -> bool,
        pieces: &mut Vec<Piece>,
    ) -> ReadEnd {
        let (min, max) = (self.index.min(slot), self.index.visible(slot));
        let mut found =
            Found { status: Status::NoMatchedMessage, next: max, min, max, messages: 0, bytes: 0 };
        let Some(mut at) = start_of_read(from, &mut found) else { return ReadEnd::Read(found) };
        let mut looked_at = 0;
        let plan = self.transfer_rules.plan(limits.transfer);
        self.resident.clear();
        let mut entries = std::mem::take(&mut self.entries);
        let load = 'read: loop {
            entries.clear();
            match self.index.find(slot, at, FIND_ENTRIES, &mut entries) {
                Indexed::Here => {}
                Indexed::Hole { next } => {
                    at = next;
                    continue;
                }
                Indexed::End => break None,
                Indexed::Cold(range) => break Some(self.load_index(&range)),
            }
            for (offset, entry) in &entries {
                looked_at += 1;
                if passes(entry.tag) {
                    if is_full(&found, entry, limits) {
                        break 'read None;
                    }
                    match self.place(sources, entry, &plan, pieces) {
                        Place::Pieces => {
                            found.messages += 1;
                            found.bytes += entry.size;
                        }
                        Place::Load(load) => break 'read Some(load),
                        Place::Damaged => found.status = Status::Removing,
                    }
                }
                at = *offset + 1;
            }
            if looked_at - found.messages as usize >= SCAN_ENTRIES_MAX {
                break None;
            }
        };
        self.entries = entries;
        found.next = at;
        if found.messages > 0 {
            found.status = Status::Found;
            return ReadEnd::Read(found);
        }
        match load {
            // What was looked at in vain need not be looked at again.
            Some(_) if at.0 as i64 > from => ReadEnd::Read(found),
            Some(load) => ReadEnd::Cold(load),
            None => ReadEnd::Read(found),
        }
    }

    /// The answer to a reader at `wanted` whose time is up, having looked up to `looked`.
    pub fn read_nothing(&self, slot: QueueSlot, wanted: i64, looked: i64) -> Found {
        let (min, max) = (self.index.min(slot), self.index.visible(slot));
        let next = QueueOffset(looked.max(wanted).max(0) as u64);
        let status = match looked > wanted {
            true => Status::NoMatchedMessage,
            false if max.0 == 0 => Status::NoMessageInQueue,
            false => Status::OverflowOne,
        };
        Found { status, next, min, max, messages: 0, bytes: 0 }
    }

    /// The leftmost message stored at or after `ms`, or the rightmost at or before it.
    pub fn search_time(&mut self, slot: QueueSlot, ms: i64, boundary: Boundary) -> TimeEnd {
        match self.index.search_time(slot, ms, boundary) {
            TimeFound::At(offset) => TimeEnd::At(offset),
            TimeFound::Cold(range) => TimeEnd::Cold(self.load_index(&range)),
        }
    }

    /// Whether the queue is empty, or its first message still in the ring.
    pub fn first_is_in_memory(&mut self, arena: &dyn Arena, slot: QueueSlot) -> bool {
        let mut entries = std::mem::take(&mut self.entries);
        entries.clear();
        let found = self.index.find(slot, self.index.min(slot), 1, &mut entries);
        let first = entries.first().map(|(_, entry)| entry.at);
        self.entries = entries;
        match (found, first) {
            (Indexed::Here, Some(at)) => at >= arena.reclaimed(),
            (Indexed::Cold(_), _) => false,
            _ => true,
        }
    }

    /// The store time of one message; None if there is none at `offset`.
    pub fn store_ms(
        &mut self,
        slot: QueueSlot,
        offset: QueueOffset,
    ) -> Result<Option<i64>, LoadId> {
        let mut entries = std::mem::take(&mut self.entries);
        entries.clear();
        let found = self.index.find(slot, offset, 1, &mut entries);
        let entry =
            entries.first().filter(|(at, _)| *at == offset).map(|(_, entry)| entry.store_ms);
        self.entries = entries;
        match found {
            Indexed::Cold(range) => Err(self.load_index(&range)),
            _ => Ok(entry),
        }
    }

    /// The record at a log offset that a client names, checked to be one that a queue
    /// shows. Its bytes are added to `pieces`, pinned.
    pub fn view(
        &mut self,
        arena: &dyn Arena,
        at: LogOffset,
        pieces: &mut Vec<Piece>,
    ) -> Result<Option<u32>, LoadId> {
        let end = self.log.watermarks().appended();
        if at < self.log_min || at >= end {
            return Ok(None);
        }
        // The length stands in the record's first bytes; read as much as a record may
        // have at least, then all of it.
        let head = RECORD_HEAD_BYTES.min((end - at) as u32);
        let Some(size) = self.peek(arena, at, head, record_size)? else {
            return Ok(None);
        };
        if at + u64::from(size) > end {
            return Ok(None);
        }
        let whole = self.peek(arena, at, size, |bytes| match Stored::parse(bytes, at) {
            Ok(Stored::Record(view)) => view.is_dispatched() && view.check_body().is_ok(),
            _ => false,
        })?;
        if !whole {
            return Ok(None);
        }
        let entry = Entry { at, size, tag: 0, store_ms: 0 };
        match self.place_in_arena(arena, &entry, Through::Direct, pieces) {
            Place::Pieces => Ok(Some(size)),
            Place::Load(load) => Err(load),
            Place::Damaged => Ok(None),
        }
    }

    /// Lets `look` see bytes of the log, wherever they are.
    fn peek<R>(
        &mut self,
        arena: &dyn Arena,
        at: LogOffset,
        len: u32,
        look: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, LoadId> {
        if at >= arena.reclaimed() {
            return Ok(look(arena.readable(at, len as usize)));
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let part = |piece: &[u8]| scratch.extend_from_slice(piece);
        let result = self.gather(arena, at, len, Through::Direct, part);
        let result = result.map(|()| look(&scratch));
        self.scratch = scratch;
        result
    }

    /// Pins a record's bytes where the plan wants them from, or where else they are, and
    /// adds them to `pieces`.
    fn place(
        &mut self,
        sources: Sources,
        entry: &Entry,
        plan: &Plan,
        pieces: &mut Vec<Piece>,
    ) -> Place {
        let Entry { at, size, .. } = *entry;
        let in_ring = at >= sources.arena.reclaimed();
        if !plan.from_file || in_ring && !plan.file_first {
            self.transfers.note_fallback(plan.strict, in_ring);
            return self.place_in_arena(sources.arena, entry, plan.cold, pieces);
        }
        if at + u64::from(size) > self.cached_below() {
            if plan.strict.is_some() {
                self.transfers.fall_back(Fallback::TailNotInPageCache);
            }
            return self.place_in_arena(sources.arena, entry, Through::Direct, pieces);
        }
        if self.is_resident(sources.files, at, size) {
            // Who asks for a strategy asks for what it is: bytes that go by unseen.
            if plan.strict.is_none()
                && let Err(error) = check_resident(sources.files, entry)
            {
                return damaged(&error);
            }
            self.push_file(sources.files, entry, pieces);
            self.read_ahead(at + u64::from(size), plan.cold, Some(sources.files));
            return Place::Pieces;
        }
        if plan.strict.is_some() && in_ring {
            self.transfers.fall_back(Fallback::NotResident);
        }
        self.place_in_arena(sources.arena, entry, plan.cold, pieces)
    }

    /// Pins a record's bytes in the arena: in the ring, or in blocks of the pool.
    fn place_in_arena(
        &mut self,
        arena: &dyn Arena,
        entry: &Entry,
        through: Through,
        pieces: &mut Vec<Piece>,
    ) -> Place {
        let Entry { at, size, .. } = *entry;
        if at >= arena.reclaimed() {
            self.pins.add(at, size);
            match pieces.last_mut() {
                // Joined pieces are unpinned as one: the page they meet in counts once.
                Some(Piece::Log { at: before, len }) if *before + u64::from(*len) == at => {
                    self.pins.join(at);
                    *len += size;
                }
                _ => pieces.push(Piece::Log { at, len: size }),
            }
            return Place::Pieces;
        }
        match self.check_cold(arena, at, size, through) {
            Err(load) => Place::Load(load),
            Ok(Err(error)) => damaged(&error),
            Ok(Ok(())) => {
                self.lend_blocks(at, size, pieces);
                // Only now: what is read ahead must not push out what was just checked.
                self.read_ahead(at + u64::from(size), through, None);
                Place::Pieces
            }
        }
    }

    /// Whether a record in the pool's blocks is whole: where it lies, if in one block.
    fn check_cold(
        &mut self,
        arena: &dyn Arena,
        at: LogOffset,
        size: u32,
        through: Through,
    ) -> Result<Result<(), RecordError>, LoadId> {
        let check = |bytes: &[u8]| RecordView::at(bytes, at)?.check_body();
        let (base, end) = (self.blocks.base(at), at + u64::from(size));
        if end <= base + self.blocks.block_bytes() {
            let Some(slot) = self.blocks.find(base, end) else {
                return Err(self.load_block(base, through));
            };
            let start = (at - base) as usize;
            return Ok(check(&arena.slot(slot)[start..start + size as usize]));
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let part = |piece: &[u8]| scratch.extend_from_slice(piece);
        let gathered = self.gather(arena, at, size, through, part);
        let checked = gathered.map(|()| check(&scratch));
        self.scratch = scratch;
        checked
    }

    /// Hands out the parts of a log range that lie in pool blocks, all of which must be
    /// there.
    fn gather(
        &mut self,
        arena: &dyn Arena,
        at: LogOffset,
        len: u32,
        through: Through,
        mut part: impl FnMut(&[u8]),
    ) -> Result<(), LoadId> {
        let end = at + u64::from(len);
        let mut from = at;
        while from < end {
            let base = self.blocks.base(from);
            let to = end.min(base + self.blocks.block_bytes());
            let Some(slot) = self.blocks.find(base, to) else {
                return Err(self.load_block(base, through));
            };
            let bytes = arena.slot(slot);
            part(&bytes[(from - base) as usize..(to - base) as usize]);
            from = to;
        }
        Ok(())
    }

    /// Adds the parts of a range whose blocks are there, pinned.
    fn lend_blocks(&mut self, at: LogOffset, len: u32, pieces: &mut Vec<Piece>) {
        let end = at + u64::from(len);
        let mut from = at;
        while from < end {
            let base = self.blocks.base(from);
            let to = end.min(base + self.blocks.block_bytes());
            let slot = self.blocks.find(base, to).expect("gathered just now");
            let (start, part) = ((from - base) as u32, (to - from) as u32);
            match pieces.last_mut() {
                Some(Piece::Slot { slot: same, start: before, len })
                    if *same == slot && *before + *len == start =>
                {
                    *len += part;
                }
                _ => {
                    self.blocks.pin(slot);
                    pieces.push(Piece::Slot { slot, start, len: part });
                }
            }
            from = to;
        }
    }

    fn load_index(&mut self, range: &crate::queue::ColdRange) -> LoadId {
        let (load, new) = self.loads.index(range);
        if new {
            let block = self.index.take_cold_block();
            self.intents.push(Intent::ReadIndex { load, range: *range, block });
        }
        load
    }

    fn load_block(&mut self, base: LogOffset, through: Through) -> LoadId {
        let (load, new) = self.loads.block(base);
        if !new {
            return load;
        }
        match self.blocks.begin_read(base, self.log.watermarks().written()) {
            Some(read) => {
                let (slot, at, len) = (read.slot, read.at, read.len);
                self.intents.push(Intent::ReadLog { slot, at, len, through });
                load
            }
            None => {
                self.loads.end(load);
                self.loads.slot()
            }
        }
    }

    /// A reader that enters a block will want the next ones: in the page cache, if it is
    /// served from `files`, else in the pool.
    fn read_ahead(&mut self, at: LogOffset, through: Through, files: Option<&dyn LogFiles>) {
        let (base, block_bytes) = (self.blocks.base(at), self.blocks.block_bytes());
        if base == self.read_ahead_of {
            return;
        }
        let end = match files {
            Some(_) => self.cached_below(),
            None => self.log.watermarks().written(),
        };
        for step in 1..=BLOCKS_AHEAD {
            let next = base + step * block_bytes;
            let whole = next + block_bytes <= end;
            if !whole || self.blocks.spare() <= SLOTS_KEPT {
                return;
            }
            let is_there = files.is_some_and(|files| self.block_is_resident(files, next))
                || self.blocks.find(next, next + 1).is_some();
            if !is_there {
                self.load_block(next, through);
            }
        }
        self.read_ahead_of = base;
    }

    // ----- The page cache ----------------------------------------------------------

    /// Adds a record's bytes to what is sent from its segment's file. How is decided when
    /// all pieces are known.
    fn push_file(&mut self, files: &dyn LogFiles, entry: &Entry, pieces: &mut Vec<Piece>) {
        let Entry { at, size, .. } = *entry;
        let geometry = self.log.geometry();
        match pieces.last_mut() {
            // What is joined is unpinned as one.
            Some(Piece::File { at: before, len, .. })
                if *before + u64::from(*len) == at
                    && geometry.base(*before) == geometry.base(at) =>
            {
                *len += size;
            }
            _ => {
                files.pin(at);
                pieces.push(Piece::File { at, len: size, by: FileWay::default() });
            }
        }
    }

    /// Whether a range lies in the page cache.
    fn is_resident(&mut self, files: &dyn LogFiles, at: LogOffset, len: u32) -> bool {
        let end = at + u64::from(len);
        let mut base = self.blocks.base(at);
        while base < end {
            if !self.block_is_resident(files, base) {
                self.transfers.residency_misses += 1;
                return false;
            }
            base = base + self.blocks.block_bytes();
        }
        true
    }

    /// The page cache is asked for whole blocks, and once a read.
    fn block_is_resident(&mut self, files: &dyn LogFiles, base: LogOffset) -> bool {
        if let Some((_, is_resident)) = self.resident.iter().rev().find(|(at, _)| *at == base) {
            return *is_resident;
        }
        let end = (base + self.blocks.block_bytes()).min(self.cached_below());
        let is_resident = files.is_resident(base, (end - base) as u32);
        self.resident.push((base, is_resident));
        is_resident
    }

    /// Log below this may be read through the page cache. While it is written past it,
    /// only whole blocks: the rest of a block's pages would have to be thrown out again,
    /// and the kernel does not promise to succeed.
    fn cached_below(&self) -> LogOffset {
        let written = self.log.watermarks().written();
        match self.writes_through {
            Through::Direct => self.blocks.base(written),
            Through::PageCache => written,
        }
    }
}

/// Whether a record in the page cache is whole, as far as it can be seen.
fn check_resident(files: &dyn LogFiles, entry: &Entry) -> Result<(), RecordError> {
    let mut checked = Ok(());
    files.look(entry.at, entry.size, &mut |bytes| {
        checked = RecordView::at(bytes, entry.at).and_then(|view| view.check_body());
    });
    checked
}

fn damaged(error: &RecordError) -> Place {
    tracing::error!(%error, "a stored record is damaged; it is passed over");
    Place::Damaged
}

/// Blocks that are read before anybody asks for them: 32 messages of 1 KiB out of one of
/// sixteen busy queues lie in two or three of them.
const BLOCKS_AHEAD: u64 = 8;
/// Slots that reading ahead leaves alone.
const SLOTS_KEPT: usize = 8;
const RECORD_HEAD_BYTES: u32 = 8;

/// Where the read begins, unless `from` is no place of the queue: then `found` says so.
fn start_of_read(from: i64, found: &mut Found) -> Option<QueueOffset> {
    let (min, max) = (found.min, found.max);
    let (status, next) = match u64::try_from(from).map(QueueOffset) {
        _ if max.0 == 0 => (Status::NoMessageInQueue, QueueOffset(0)),
        Ok(at) if at == max => (Status::OverflowOne, at),
        Ok(at) if at > max => (Status::OverflowBadly, max),
        Ok(at) if at >= min => return Some(at),
        Ok(_) | Err(_) => (Status::TooSmall, min),
    };
    found.status = status;
    found.next = next;
    None
}

impl ReadLimits {
    fn of(&self, entry: &Entry) -> Bounds {
        if entry.at >= self.recent_from { self.recent } else { self.old }
    }
}

fn is_full(found: &Found, entry: &Entry, limits: ReadLimits) -> bool {
    let bounds = limits.of(entry);
    found.messages > 0
        && (found.messages >= bounds.messages || found.bytes + entry.size > bounds.bytes)
}

/// The size that a record's first bytes announce, if they are a record's.
fn record_size(bytes: &[u8]) -> Option<u32> {
    let size = u32::from_be_bytes(*bytes.first_chunk()?);
    let magic = u32::from_be_bytes(*bytes.get(4..)?.first_chunk()?);
    let known = magic == crate::log::record::MAGIC_V1 || magic == crate::log::record::MAGIC_V2;
    let fits = size as usize <= crate::base::limits::RECORD_BYTES_MAX;
    (known && fits && size as usize >= crate::log::record::RECORD_BYTES_MIN).then_some(size)
}
