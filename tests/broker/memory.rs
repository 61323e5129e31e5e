//! An arena and a disk of plain memory.

use std::collections::BTreeMap;
use std::io;

use ringmq::base::LogOffset;
use ringmq::base::memory::{BufferId, Buffers, Journal, JournalFull, LogRing, Pool, SlotId};
use ringmq::log::Geometry;
use ringmq::log::scan::SegmentSource;

use crate::log_common::VecRing;

pub const SLOT_BYTES: usize = 64 * 1024;
/// More than reading ahead leaves alone.
pub const SLOTS: usize = 24;

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
