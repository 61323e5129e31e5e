//! The index of one range of the log, in memory: growing while it is the active one,
//! unchanging and shared once it is frozen.

use super::blocks::Blocks;
use super::pool::{Class, EntryPool, RawEntry, Slab};
use super::{Entry, QueueKey};
use crate::base::limits::{INDEX_EXTENT_ENTRIES_MAX, INDEX_RUN_LOG_BYTES_MAX};
use crate::base::{LogOffset, QueueOffset};

/// A run that gets no further entries. It serves reads of the shard's thread while a
/// helper writes it; both hold it by `Arc`.
pub struct FrozenRun(pub(super) MemoryRun);

/// Entries of one log range, by queue.
#[derive(Default)]
pub(super) struct MemoryRun {
    pub start: LogOffset,
    /// Everything below has been dispatched.
    pub end: LogOffset,
    /// The first entry's store time; entries keep the distance from it.
    pub base_ms: i64,
    pub extents: Blocks<MemoryExtent>,
    pub entries: u64,
    pool: EntryPool,
}

#[derive(Clone, Copy, Default)]
pub(super) struct MemoryExtent {
    pub key: QueueKey,
    pub first: QueueOffset,
    slab: Slab,
    count: u16,
    class: Class,
}

const _: () = assert!(size_of::<MemoryExtent>() == 24);
const _: () = assert!(INDEX_EXTENT_ENTRIES_MAX <= u16::MAX as u32);
// Distances inside a run are u32.
const _: () = assert!(INDEX_RUN_LOG_BYTES_MAX < u32::MAX as u64);

impl FrozenRun {
    /// Where the run's log range starts: its file's name.
    pub fn start(&self) -> LogOffset {
        self.0.start
    }

    /// Where the run's log range ends.
    pub fn end(&self) -> LogOffset {
        self.0.end
    }

    /// Entries of all queues.
    pub fn entries(&self) -> u64 {
        self.0.entries
    }
}

impl MemoryRun {
    /// Begins anew at `start`, in the memory of before.
    pub fn restart(&mut self, start: LogOffset) {
        self.start = start;
        self.end = start;
        self.base_ms = 0;
        self.entries = 0;
        self.extents.clear();
        self.pool.clear();
    }

    /// Whether `entry` lies in the range and the time that this run can hold.
    #[inline]
    pub fn takes(&self, entry: &Entry) -> bool {
        let reach = (entry.at - self.start).saturating_add(u64::from(entry.size));
        reach <= INDEX_RUN_LOG_BYTES_MAX && self.delta_ms(entry.store_ms).is_some()
            // A range that begins with a long stretch of nothing.
            || self.start == entry.at
    }

    /// Whether extent `number` ends right below `offset` and has room.
    #[inline]
    pub fn extends(&self, number: u32, offset: QueueOffset) -> bool {
        let extent = self.extents.get(number);
        !self.is_full(number) && extent.first + u64::from(extent.count) == offset
    }

    #[inline]
    pub fn is_full(&self, number: u32) -> bool {
        u32::from(self.extents.get(number).count) == INDEX_EXTENT_ENTRIES_MAX
    }

    /// Begins an extent; `busy` when the queue has just filled one.
    pub fn add_extent(&mut self, key: QueueKey, first: QueueOffset, busy: bool) -> u32 {
        let class = if busy { Class::BUSY } else { Class::SMALL };
        let slab = self.pool.take(class);
        self.extents.push(MemoryExtent { key, first, slab, count: 0, class })
    }

    #[inline]
    pub fn push(&mut self, number: u32, entry: &Entry) {
        if self.entries == 0 {
            self.base_ms = entry.store_ms;
        }
        let raw = RawEntry::encode(entry, self.start, self.base_ms);
        let raw = raw.expect("asked by `takes` before");
        let extent = self.extents.get_mut(number);
        let count = usize::from(extent.count);
        if count == extent.class.entries() {
            (extent.slab, extent.class) =
                self.pool.grow(extent.slab, extent.class).expect("the extent is not full");
        }
        self.pool.set(extent.slab, count, raw);
        extent.count += 1;
        self.entries += 1;
    }

    #[inline]
    pub fn extent(&self, number: u32) -> (QueueOffset, &[RawEntry]) {
        let extent = self.extents.get(number);
        (extent.first, self.pool.entries(extent.slab, usize::from(extent.count)))
    }

    /// Extents in the order of their numbers.
    pub fn extents(&self) -> impl Iterator<Item = (&MemoryExtent, &[RawEntry])> {
        self.extents
            .iter()
            .map(|extent| (extent, self.pool.entries(extent.slab, usize::from(extent.count))))
    }

    /// The latest store time of the run.
    pub fn last_ms(&self) -> Option<i64> {
        let last = |(_, entries): (&MemoryExtent, &[RawEntry])| {
            entries.last().map(|raw| raw.decode(self.start, self.base_ms).store_ms)
        };
        self.extents().filter_map(last).max()
    }

    pub fn memory_bytes(&self) -> usize {
        self.extents.memory_bytes() + self.pool.memory_bytes()
    }

    #[inline]
    fn delta_ms(&self, store_ms: i64) -> Option<u32> {
        if self.entries == 0 {
            return Some(0);
        }
        u32::try_from(store_ms.checked_sub(self.base_ms)?).ok()
    }
}

impl RawEntry {
    /// `None` when the entry lies outside of the run.
    pub fn encode(entry: &Entry, start: LogOffset, base_ms: i64) -> Option<Self> {
        Some(Self {
            at: u32::try_from(entry.at.0.checked_sub(start.0)?).ok()?,
            size: entry.size,
            tag: entry.tag,
            ms: u32::try_from(entry.store_ms.checked_sub(base_ms)?).ok()?,
        })
    }

    #[inline]
    pub fn decode(self, start: LogOffset, base_ms: i64) -> Entry {
        Entry {
            at: start + u64::from(self.at),
            size: self.size,
            tag: self.tag,
            // Saturating: a file can be made to say anything.
            store_ms: base_ms.saturating_add(i64::from(self.ms)),
        }
    }
}
