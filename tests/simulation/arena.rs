//! An arena of plain memory that can end its process in the middle of a turn, and what
//! is left of it then.

use std::panic::resume_unwind;

use rand::Rng;
use ringmq::base::LogOffset;
use ringmq::base::memory::{Journal, JournalFull, LogRing, Pool, SlotId};
use ringmq::log::run_mark::ArenaId;
use ringmq::store::recovery::OldArena;

use super::Random;

/// The payload with which a turn unwinds that its process does not survive.
pub struct Crash;

#[derive(Clone, Copy, Debug)]
pub struct ArenaSizes {
    pub ring: u64,
    pub slots: usize,
    pub slot_bytes: usize,
    pub journal_half: usize,
}

/// The log ring is kept twice, one copy behind the other, so that every range of it is
/// one slice.
pub struct SimArena {
    pub id: ArenaId,
    pub life: u64,
    sizes: ArenaSizes,
    ring: Vec<u8>,
    reclaimed: LogOffset,
    sealed: LogOffset,
    published: LogOffset,
    /// Where `writable` was handed out, and what was there before.
    open: Option<(usize, Vec<u8>)>,
    slots: Vec<Vec<u8>>,
    halves: [Vec<Vec<u8>>; 2],
    active: usize,
    /// Log ranges that the kernel reads from.
    lent: Vec<(LogOffset, u64)>,
    /// After so many steps of filling the ring the process ends.
    pub fuse: Option<u64>,
}

/// What a process leaves in shared memory.
#[derive(Clone)]
pub struct Remnant {
    pub id: ArenaId,
    pub life: u64,
    start: LogOffset,
    edge: LogOffset,
    ring: Vec<u8>,
    size: u64,
    journal: Vec<Vec<u8>>,
}

impl SimArena {
    pub fn new(id: ArenaId, life: u64, sizes: ArenaSizes, start: LogOffset) -> Self {
        Self {
            id,
            life,
            sizes,
            // Nothing that a record begins with.
            ring: vec![0xA5; 2 * sizes.ring as usize],
            reclaimed: start,
            sealed: start,
            published: start,
            open: None,
            slots: vec![vec![0x5A; sizes.slot_bytes]; sizes.slots],
            halves: [Vec::new(), Vec::new()],
            active: 0,
            lent: Vec::new(),
            fuse: None,
        }
    }

    /// The process is gone. A record that it was copying may be there in part.
    pub fn into_remnant(mut self, random: &mut Random) -> Remnant {
        if let Some((at, before)) = self.open.take() {
            let whole = random.random_range(0..=before.len());
            self.ring[at + whole..at + before.len()].copy_from_slice(&before[whole..]);
            self.mirror(at, before.len());
        }
        let [first, second] = [1 - self.active, self.active];
        let journal = [&self.halves[first][..], &self.halves[second][..]].concat();
        Remnant {
            id: self.id,
            life: self.life,
            start: self.reclaimed,
            edge: self.published,
            ring: self.ring,
            size: self.sizes.ring,
            journal,
        }
    }

    /// The kernel reads these bytes until they are returned.
    pub fn lend(&mut self, at: LogOffset, len: u64) {
        self.readable(at, len as usize);
        self.lent.push((at, len));
    }

    pub fn give_back(&mut self, at: LogOffset, len: u64) {
        let i = self.lent.iter().position(|range| *range == (at, len));
        self.lent.swap_remove(i.expect("what comes back was lent"));
    }

    /// A read from disk fills a slot of the pool.
    pub fn fill(&mut self, slot: SlotId, bytes: &[u8]) {
        self.slots[usize::from(slot.0)].copy_from_slice(bytes);
    }

    fn step(&mut self) {
        match &mut self.fuse {
            Some(0) => resume_unwind(Box::new(Crash)),
            Some(left) => *left -= 1,
            None => {}
        }
    }

    fn close(&mut self) {
        if let Some((at, before)) = self.open.take() {
            self.mirror(at, before.len());
        }
    }

    fn mirror(&mut self, at: usize, len: usize) {
        let size = self.sizes.ring as usize;
        // The range may reach from the first copy into the second.
        let first = at..(at + len).min(size);
        let second = at.max(size)..(at + len).max(size);
        self.ring.copy_within(first.clone(), first.start + size);
        if !second.is_empty() {
            self.ring.copy_within(second.clone(), second.start - size);
        }
    }

    fn index(&self, at: LogOffset) -> usize {
        (at.0 % self.sizes.ring) as usize
    }
}

impl LogRing for SimArena {
    fn size(&self) -> u64 {
        self.sizes.ring
    }

    fn writable(&mut self, at: LogOffset, len: usize) -> &mut [u8] {
        self.close();
        self.step();
        let end = at + len as u64;
        assert!(at >= self.sealed && end <= self.reclaimed + self.sizes.ring, "{at} +{len}");
        let start = self.index(at);
        self.open = Some((start, self.ring[start..start + len].to_vec()));
        &mut self.ring[start..start + len]
    }

    fn readable(&self, at: LogOffset, len: usize) -> &[u8] {
        let end = at + len as u64;
        assert!(at >= self.reclaimed && end <= self.sealed, "{at} +{len} is not readable");
        let start = self.index(at);
        &self.ring[start..start + len]
    }

    fn seal(&mut self, end: LogOffset) {
        self.step();
        self.close();
        assert!(end >= self.sealed && end <= self.reclaimed + self.sizes.ring);
        self.sealed = end;
    }

    fn reclaim(&mut self, end: LogOffset) {
        assert!(end >= self.reclaimed && end <= self.sealed);
        let lent = self.lent.iter().find(|(at, _)| *at < end);
        assert!(lent.is_none(), "{lent:?} is with the kernel, reclaimed to {end}");
        self.reclaimed = end;
    }

    fn reclaimed(&self) -> LogOffset {
        self.reclaimed
    }

    fn sealed(&self) -> LogOffset {
        self.sealed
    }

    fn publish(&mut self, edge: LogOffset) {
        self.step();
        assert!(edge >= self.published && edge <= self.sealed);
        self.published = edge;
        self.step();
    }
}

impl Pool for SimArena {
    fn slot_bytes(&self) -> usize {
        self.sizes.slot_bytes
    }

    fn slots(&self) -> usize {
        self.sizes.slots
    }

    fn slot(&self, slot: SlotId) -> &[u8] {
        &self.slots[usize::from(slot.0)]
    }
}

impl Journal for SimArena {
    fn journal_append(&mut self, entry: &[u8]) -> Result<(), JournalFull> {
        let half = &mut self.halves[self.active];
        let used: usize = half.iter().map(|entry| entry.len() + 8).sum();
        if used + entry.len() + 8 > self.sizes.journal_half {
            return Err(JournalFull);
        }
        half.push(entry.to_vec());
        Ok(())
    }

    fn journal_switch(&mut self) {
        self.active = 1 - self.active;
        assert!(self.halves[self.active].is_empty(), "the other half still holds entries");
    }

    fn journal_clear_other(&mut self) {
        self.halves[1 - self.active].clear();
    }
}

impl OldArena for Remnant {
    fn start(&self) -> LogOffset {
        self.start
    }

    fn edge(&self) -> LogOffset {
        self.edge
    }

    fn log(&self, at: LogOffset, len: usize) -> &[u8] {
        assert!(at >= self.start && at + len as u64 <= self.edge, "{at} +{len}");
        let start = (at.0 % self.size) as usize;
        &self.ring[start..start + len]
    }

    fn journal(&self, visit: &mut dyn FnMut(&[u8])) {
        self.journal.iter().for_each(|entry| visit(entry));
    }
}
