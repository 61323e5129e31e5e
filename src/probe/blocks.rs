//! Blocks of the file on their way into memory, as the store brings them: whole ones, a
//! few of them before they are asked for.

use std::collections::HashMap;
use std::rc::Rc;

use crate::base::memory::{Pool, SlotId};
use crate::base::outgoing::Piece;
use crate::reactor::{ArenaPool, DirectFile, DiskError, DiskRead, PagedFile, Ring};

/// Blocks that are read before anybody asks for them; the store reads as many.
const BLOCKS_AHEAD: u64 = 8;

/// Where blocks are brought to.
pub enum Destination<'a> {
    PageCache(&'a Rc<PagedFile>),
    /// Slots of the pool, which keep them until they are sent.
    Pool(&'a DirectFile),
}

pub struct Blocks<'a> {
    into: Destination<'a>,
    free: Vec<SlotId>,
    /// By the position of the block.
    held: HashMap<u64, Held>,
    block_bytes: u64,
    /// Slots that each connection may use.
    share: u64,
    /// Looks at the page cache.
    pub looks: u64,
}

struct Held {
    slot: SlotId,
    is_reading: bool,
}

impl<'a> Blocks<'a> {
    pub fn new(into: Destination<'a>, pool: &ArenaPool, connections: usize) -> Self {
        let slots = pool.slots();
        Self {
            into,
            free: (0..slots as u16).map(SlotId).collect(),
            held: HashMap::new(),
            block_bytes: pool.slot_bytes() as u64,
            share: (slots / connections).max(1) as u64,
            looks: 0,
        }
    }

    /// What can be sent of a piece at once: out of the pool only as much as leaves half of
    /// a connection's slots for reading ahead.
    pub fn part(&self, at: u64, len: u32) -> u32 {
        match self.into {
            Destination::PageCache(_) => len,
            Destination::Pool(_) => {
                let blocks = (self.share / 2).max(1);
                let end = self.base(at) + blocks * self.block_bytes;
                len.min((end - at) as u32)
            }
        }
    }

    fn base(&self, at: u64) -> u64 {
        at / self.block_bytes * self.block_bytes
    }

    /// Whether a range can be sent without waiting. What is missing is read.
    pub fn bring(&mut self, ring: &mut Ring, pool: &mut ArenaPool, at: u64, len: u32) -> bool {
        let mut base = self.base(at);
        let mut all = true;
        while base < at + u64::from(len) {
            if !self.is_there(base) {
                all = false;
                self.load(ring, pool, base);
            }
            base += self.block_bytes;
        }
        all
    }

    /// Reads what comes after a range, up to `end`.
    pub fn read_ahead(&mut self, ring: &mut Ring, pool: &mut ArenaPool, after: u64, end: u64) {
        let base = self.base(after);
        let ahead = BLOCKS_AHEAD.min((self.share / 2).max(1));
        for step in 1..=ahead {
            let next = base + step * self.block_bytes;
            if next + self.block_bytes > end || self.free.is_empty() {
                return;
            }
            if !self.is_there(next) {
                self.load(ring, pool, next);
            }
        }
    }

    fn is_there(&mut self, base: u64) -> bool {
        match (&self.into, self.held.get(&base)) {
            (_, Some(held)) => !held.is_reading,
            (Destination::PageCache(file), None) => {
                self.looks += 1;
                file.is_resident(base, self.block_bytes)
            }
            (Destination::Pool(_), None) => false,
        }
    }

    /// Without a free slot it is asked for again later.
    fn load(&mut self, ring: &mut Ring, pool: &mut ArenaPool, base: u64) {
        if self.held.contains_key(&base) {
            return;
        }
        let Some(slot) = self.free.pop() else { return };
        let read = DiskRead { slot, start: 0, len: self.block_bytes as usize, file_offset: base };
        match &self.into {
            Destination::PageCache(file) => ring.read_paged(file, pool, read, base),
            Destination::Pool(file) => ring.read(file, pool, read, base),
        }
        self.held.insert(base, Held { slot, is_reading: true });
    }

    /// A read has ended; its token is the block's position.
    pub fn on_read(&mut self, base: u64, result: Result<(), DiskError>) -> Result<(), DiskError> {
        match self.into {
            Destination::PageCache(_) => self.release(base),
            Destination::Pool(_) => {
                self.held.get_mut(&base).expect("it was read").is_reading = false;
            }
        }
        result
    }

    pub fn is_reading(&self) -> bool {
        self.held.values().any(|held| held.is_reading)
    }

    /// The pieces of a range that was brought into the pool.
    pub fn lend(&self, at: u64, len: u32, pieces: &mut Vec<Piece>) {
        let (mut from, end) = (at, at + u64::from(len));
        while from < end {
            let base = self.base(from);
            let to = end.min(base + self.block_bytes);
            let slot = self.held[&base].slot;
            let (start, len) = ((from - base) as u32, (to - from) as u32);
            pieces.push(Piece::Slot { slot, start, len });
            from = to;
        }
    }

    /// A range was sent, and its blocks are needed no more but for what follows it.
    pub fn sent(&mut self, at: u64, len: u32) {
        if matches!(self.into, Destination::PageCache(_)) {
            return;
        }
        let mut base = self.base(at);
        while base + self.block_bytes <= at + u64::from(len) {
            self.release(base);
            base += self.block_bytes;
        }
    }

    fn release(&mut self, base: u64) {
        if let Some(held) = self.held.remove(&base) {
            self.free.push(held.slot);
        }
    }
}
