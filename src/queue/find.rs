//! From a queue offset to entries: what a pull asks.

use super::cold::{ColdBlock, ColdRange};
use super::format::Directory;
use super::runs::Place;
use super::slots::{Extent, QueueSlot};
use super::{Entry, QueueIndex, QueueKey};
use crate::base::QueueOffset;

/// Where an offset leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// At least one entry was added, the first at the offset itself.
    Here,
    /// The entries lie in a file: read this range, insert the block, ask again.
    Cold(ColdRange),
    /// No message has this offset (expired, or left out by `skip`); ask for `next`.
    Hole { next: QueueOffset },
    /// Nothing visible is at or above it.
    End,
}

impl QueueIndex {
    /// Adds to `out` up to `max_entries` visible entries from `offset` on, as far as
    /// memory has them. They are in order; offsets may leave out holes.
    pub fn find(
        &mut self,
        slot: QueueSlot,
        offset: QueueOffset,
        max_entries: usize,
        out: &mut Vec<(QueueOffset, Entry)>,
    ) -> Found {
        assert!(max_entries > 0);
        let queue = self.slots.get(slot);
        if offset >= queue.visible {
            return Found::End;
        }
        let extents = queue.extents(self.runs.live);
        let (begin, mut from) = (out.len(), offset);
        for extent in &extents[first_at(extents, offset)..] {
            let left = max_entries - (out.len() - begin);
            let end = queue.visible.min(extent.first + u64::from(self.runs.count(extent)));
            if left == 0 || extent.first >= queue.visible {
                break;
            }
            if from >= end {
                continue; // A hole follows this extent.
            }
            if out.len() == begin && extent.first > offset {
                return Found::Hole { next: extent.first };
            }
            from = from.max(extent.first);
            let skip = (from - extent.first) as usize;
            let take = left.min((end - from) as usize);
            match self.runs.place(extent.run) {
                Place::Memory(run) => {
                    let entries = &run.extent(extent.number).1[skip..skip + take];
                    let decoded = entries.iter().map(|raw| raw.decode(run.start, run.base_ms));
                    out.extend((from.0..).map(QueueOffset).zip(decoded));
                }
                Place::File(directory) => {
                    let position = directory.position(extent.number);
                    let Some(block) = self.cold.get(directory.start, position) else {
                        if out.len() == begin {
                            return Found::Cold(cold_range(directory, queue.key, extent));
                        }
                        break;
                    };
                    let decoded = (skip..skip + take).map(|index| block.entry(index));
                    out.extend((from.0..).map(QueueOffset).zip(decoded));
                }
            }
            from = from + take as u64;
        }
        if out.len() > begin { Found::Here } else { Found::Hole { next: queue.visible } }
    }

    /// Keeps a block that a helper has read, for the reader that asks again and those
    /// after it. Bounded: older blocks go.
    pub fn insert_cold(&mut self, block: ColdBlock) {
        self.cold.insert(block);
    }

    /// A block for the next `read_cold`, with memory of an earlier one where possible.
    pub fn take_cold_block(&mut self) -> ColdBlock {
        self.cold.take_spare()
    }
}

/// Index of the extent that has `offset`, or of the first one after it.
fn first_at(extents: &[Extent], offset: QueueOffset) -> usize {
    // Most readers are at the tail.
    match extents.last() {
        Some(last) if last.first <= offset => extents.len() - 1,
        _ => extents.partition_point(|extent| extent.first <= offset).saturating_sub(1),
    }
}

pub(super) fn cold_range(directory: &Directory, key: QueueKey, extent: &Extent) -> ColdRange {
    ColdRange {
        run: directory.start,
        run_end: directory.end,
        key,
        first: extent.first,
        count: directory.count(extent.number),
        position: directory.position(extent.number),
        base_ms: directory.base_ms,
    }
}
