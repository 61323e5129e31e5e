//! An arena and a disk of plain memory.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

use ringmq::base::LogOffset;
use ringmq::base::memory::{
    BufferId, Buffers, Journal, JournalFull, LogFiles, LogRing, Pool, SlotId,
};
use ringmq::log::Geometry;
use ringmq::log::scan::SegmentSource;

use crate::log_common::VecRing;

pub const SLOT_BYTES: usize = 64 * 1024;
/// More than reading ahead leaves alone.
pub const SLOTS: usize = 24;

/// The page cache: which blocks of the log it holds, and which segments replies pin.
#[derive(Default)]
pub struct PageCache {
    pub blocks: BTreeSet<u64>,
    /// It gives up at once what it is given.
    pub forgets: bool,
    /// It gives up what it was asked for before that can be read.
    pub leaves: bool,
    pub pins: RefCell<BTreeMap<u64, u32>>,
}

impl PageCache {
    pub fn keep(&mut self, block: LogOffset) {
        if !self.forgets {
            self.blocks.insert(block.0);
        }
    }

    pub fn pins(&self) -> u32 {
        self.pins.borrow().values().sum()
    }
}

/// The log's files, as the page cache holds what lies on the disk.
pub struct CachedLog<'a> {
    pub disk: &'a MemoryDisk,
    pub cache: &'a PageCache,
    pub geometry: Geometry,
}

impl CachedLog<'_> {
    pub fn bytes(&self, at: LogOffset, len: u32) -> &[u8] {
        let segment = &self.disk.segments[&self.geometry.base(at).0];
        &segment[self.geometry.position(at) as usize..][..len as usize]
    }
}

impl LogFiles for CachedLog<'_> {
    fn is_resident(&self, at: LogOffset, len: u32) -> bool {
        let block = SLOT_BYTES as u64;
        let blocks = at.0 / block..(at.0 + u64::from(len)).div_ceil(block);
        blocks.into_iter().all(|number| self.cache.blocks.contains(&(number * block)))
    }

    fn read_now(&self, at: LogOffset, len: u32, out: &mut Vec<u8>) -> bool {
        let resident = self.is_resident(at, len) && !self.cache.leaves;
        if resident {
            out.extend_from_slice(self.bytes(at, len));
        }
        resident
    }

    fn look(&self, at: LogOffset, len: u32, look: &mut dyn FnMut(&[u8])) -> bool {
        look(self.bytes(at, len));
        true
    }

    fn pin(&self, at: LogOffset) {
        *self.cache.pins.borrow_mut().entry(self.geometry.base(at).0).or_default() += 1;
    }

    fn unpin(&self, at: LogOffset) {
        let mut pins = self.cache.pins.borrow_mut();
        let pins = pins.get_mut(&self.geometry.base(at).0).expect("was pinned");
        *pins = pins.checked_sub(1).expect("was pinned");
    }
}

/// An arena: ring, pool and journal.
pub struct MemoryArena {
    ring: VecRing,
    pub pool: Vec<Vec<u8>>,
    /// The half that takes entries, and the other one.
    pub journal: [Vec<Vec<u8>>; 2],
}

impl MemoryArena {
    pub fn new(ring_bytes: u64, start: LogOffset) -> Self {
        Self {
            ring: VecRing::new(ring_bytes, start),
            pool: vec![vec![0; SLOT_BYTES]; SLOTS],
            journal: Default::default(),
        }
    }
}

impl LogRing for MemoryArena {
    fn size(&self) -> u64 {
        self.ring.size()
    }

    fn writable(&mut self, at: LogOffset, len: usize) -> &mut [u8] {
        self.ring.writable(at, len)
    }

    fn readable(&self, at: LogOffset, len: usize) -> &[u8] {
        self.ring.readable(at, len)
    }

    fn seal(&mut self, end: LogOffset) {
        self.ring.seal(end);
    }

    fn reclaim(&mut self, end: LogOffset) {
        self.ring.reclaim(end);
    }

    fn reclaimed(&self) -> LogOffset {
        self.ring.reclaimed()
    }

    fn sealed(&self) -> LogOffset {
        self.ring.sealed()
    }

    fn publish(&mut self, edge: LogOffset) {
        self.ring.publish(edge);
    }
}

impl Pool for MemoryArena {
    fn slot_bytes(&self) -> usize {
        SLOT_BYTES
    }

    fn slots(&self) -> usize {
        SLOTS
    }

    fn slot(&self, slot: SlotId) -> &[u8] {
        &self.pool[usize::from(slot.0)]
    }
}

impl Journal for MemoryArena {
    fn journal_append(&mut self, entry: &[u8]) -> Result<(), JournalFull> {
        self.journal[0].push(entry.to_vec());
        Ok(())
    }

    fn journal_switch(&mut self) {
        self.journal.swap(0, 1);
        self.journal[0].clear();
    }

    fn journal_clear_other(&mut self) {
        self.journal[1].clear();
    }
}

/// Receive buffers of a turn.
#[derive(Default)]
pub struct MemoryBuffers(pub Vec<Vec<u8>>);

impl Buffers for MemoryBuffers {
    fn bytes(&self, id: BufferId) -> &[u8] {
        &self.0[usize::from(id.0)]
    }
}

/// Log segments and index runs, by where they begin.
#[derive(Default)]
pub struct MemoryDisk {
    pub segments: BTreeMap<u64, Vec<u8>>,
    pub runs: BTreeMap<u64, Vec<u8>>,
}

impl MemoryDisk {
    /// The log as a helper reads it.
    pub fn log(&self, geometry: Geometry) -> MemoryLog<'_> {
        let bases = self.segments.keys().map(|base| LogOffset(*base)).collect();
        MemoryLog { disk: self, geometry, bases }
    }
}

pub struct MemoryLog<'a> {
    disk: &'a MemoryDisk,
    geometry: Geometry,
    bases: Vec<LogOffset>,
}

impl SegmentSource for MemoryLog<'_> {
    fn segments(&self) -> &[LogOffset] {
        &self.bases
    }

    fn read(&self, at: LogOffset, buffer: &mut [u8]) -> io::Result<()> {
        let position = self.geometry.position(at) as usize;
        let segment = &self.disk.segments[&self.geometry.base(at).0];
        buffer.copy_from_slice(&segment[position..position + buffer.len()]);
        Ok(())
    }
}
