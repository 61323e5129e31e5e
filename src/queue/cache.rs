//! Cold blocks that readers of a backlog are in the middle of.
//!
//! Bounded in bytes and blocks; the block that was read longest ago goes first. A look
//! through all stamps finds it: that costs a microsecond per block that a helper had to
//! read from a file.

use std::collections::HashMap;

use super::cold::ColdBlock;
use crate::base::LogOffset;
use crate::base::limits::{INDEX_COLD_BLOCKS_MAX, INDEX_COLD_BYTES_MAX};

#[derive(Default)]
pub(super) struct ColdCache {
    /// By run and position in its file.
    places: HashMap<(LogOffset, u64), usize>,
    held: Vec<Held>,
    bytes: usize,
    clock: u64,
    /// The block put out last, whose memory serves the next read.
    spare: Option<ColdBlock>,
}

struct Held {
    block: ColdBlock,
    used: u64,
}

impl ColdCache {
    pub fn get(&mut self, run: LogOffset, position: u64) -> Option<&ColdBlock> {
        if self.held.is_empty() {
            return None;
        }
        let held = &mut self.held[*self.places.get(&(run, position))?];
        self.clock += 1;
        held.used = self.clock;
        Some(&held.block)
    }

    /// Takes a block that was read. The newest block always has a place, so the reader
    /// that waited for it gets on.
    pub fn insert(&mut self, block: ColdBlock) {
        let Some(key) = key(&block) else {
            self.spare = Some(block);
            return;
        };
        self.remove(key);
        let bytes = block.memory_bytes();
        while self.held.len() >= INDEX_COLD_BLOCKS_MAX
            || (self.bytes + bytes > INDEX_COLD_BYTES_MAX && !self.held.is_empty())
        {
            self.evict();
        }
        self.clock += 1;
        self.bytes += bytes;
        self.places.insert(key, self.held.len());
        self.held.push(Held { block, used: self.clock });
    }

    pub fn take_spare(&mut self) -> ColdBlock {
        self.spare.take().unwrap_or_default()
    }

    pub fn memory_bytes(&self) -> usize {
        self.bytes
    }

    fn evict(&mut self) {
        let oldest = self.held.iter().min_by_key(|held| held.used).expect("there is a block");
        self.remove(key(&oldest.block).expect("held blocks have been read"));
    }

    fn remove(&mut self, key_of: (LogOffset, u64)) {
        let Some(place) = self.places.remove(&key_of) else { return };
        let Held { block, .. } = self.held.swap_remove(place);
        self.bytes -= block.memory_bytes();
        self.spare = Some(block);
        if let Some(moved) = self.held.get(place) {
            let moved = key(&moved.block).expect("held blocks have been read");
            self.places.insert(moved, place);
        }
    }
}

fn key(block: &ColdBlock) -> Option<(LogOffset, u64)> {
    block.range().map(|range| (range.run, range.position))
}
