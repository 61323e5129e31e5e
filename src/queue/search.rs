//! From a store time to a queue offset.
//!
//! Store times never fall inside a queue, and each extent's first and last are in
//! memory, so at most one extent has to be read to find the message.

use super::QueueIndex;
use super::cold::ColdRange;
use super::find::cold_range;
use super::runs::Place;
use super::slots::{Extent, QueueSlot};
use crate::base::QueueOffset;

/// Which of several messages around a time is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// The first message stored at the time or later; the queue's end if all are older.
    Lower,
    /// The last message stored at the time or earlier; the minimum if all are newer.
    Upper,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeFound {
    At(QueueOffset),
    /// The times lie in a file: read this range, insert the block, ask again.
    Cold(ColdRange),
}

impl QueueIndex {
    /// The offset for a store time, always between the queue's minimum and its visible
    /// end. Of equal times Lower means the first message, Upper the last.
    pub fn search_time(&mut self, slot: QueueSlot, ms: i64, boundary: Boundary) -> TimeFound {
        let queue = self.slots.get(slot);
        let extents = queue.extents(self.runs.live);
        let extents = &extents[..extents.partition_point(|extent| extent.first < queue.visible)];
        let times = |extent: &Extent| self.runs.times(extent);
        let extent = match boundary {
            Boundary::Lower => {
                let index = extents.partition_point(|extent| times(extent).1 < ms);
                let Some(extent) = extents.get(index) else { return TimeFound::At(queue.visible) };
                if times(extent).0 >= ms {
                    return TimeFound::At(extent.first);
                }
                extent
            }
            Boundary::Upper => {
                let after = extents.partition_point(|extent| times(extent).0 <= ms);
                let Some(index) = after.checked_sub(1) else {
                    return TimeFound::At(self.min(slot));
                };
                let extent = &extents[index];
                if times(extent).1 <= ms {
                    let end = extent.first + u64::from(self.runs.count(extent));
                    return TimeFound::At(QueueOffset(end.min(queue.visible).0 - 1));
                }
                extent
            }
        };
        let below = |store_ms: i64| match boundary {
            Boundary::Lower => store_ms < ms,
            Boundary::Upper => store_ms <= ms,
        };
        let count = match self.runs.place(extent.run) {
            Place::Memory(run) => run
                .extent(extent.number)
                .1
                .partition_point(|raw| below(raw.decode(run.start, run.base_ms).store_ms)),
            Place::File(directory) => {
                let position = directory.position(extent.number);
                let Some(block) = self.cold.get(directory.start, position) else {
                    return TimeFound::Cold(cold_range(directory, queue.key, extent));
                };
                block.partition_point(|entry| below(entry.store_ms))
            }
        };
        let end = (extent.first + count as u64).min(queue.visible);
        match boundary {
            Boundary::Lower => TimeFound::At(end),
            // Not below the minimum, whatever times a file can be made to say.
            Boundary::Upper => {
                TimeFound::At(QueueOffset(end.0.saturating_sub(1)).max(self.min(slot)))
            }
        }
    }
}
