//! The index of one shard, owned by its thread: opening queues, appending entries, and
//! the positions of a queue.

use super::cache::ColdCache;
use super::file::POSITION_MAX;
use super::runs::Runs;
use super::slots::{Extent, QueueSlot, Slots};
use super::{Bases, Entry, QueueKey, RecoveryError, TopicId};
use crate::base::{LogOffset, QueueOffset};

/// Where each queue's messages lie. See the room's top for how it is put together.
///
/// ```text
///   min <= visible <= next        offsets of one queue
/// ```
#[derive(Default)]
pub struct QueueIndex {
    pub(super) slots: Slots,
    pub(super) runs: Runs,
    pub(super) cold: ColdCache,
    /// The latest store time of any entry.
    pub(super) last_ms: Option<i64>,
    /// No more runs are taken back: bases or entries came after them.
    pub(super) loaded: bool,
}

/// What the index takes, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Queues and the tables that find them.
    pub queues: usize,
    /// Extents of queues and directories of written runs.
    pub directories: usize,
    /// The active run, those being written, and the memory kept for later ones.
    pub runs: usize,
    /// Cold blocks.
    pub cold: usize,
}

impl QueueIndex {
    /// An empty index of a log that is to be dispatched from `start` on.
    pub fn new(start: LogOffset) -> Self {
        let mut index = Self::default();
        index.runs.active.restart(start);
        index
    }

    /// The queue's slot; made when it is new. Valid until its topic is removed.
    pub fn open(&mut self, key: QueueKey) -> QueueSlot {
        self.slots.open(key)
    }

    /// The queue's slot, if it has been opened.
    pub fn get(&self, key: QueueKey) -> Option<QueueSlot> {
        self.slots.find(key)
    }

    pub fn is_open(&self, slot: QueueSlot) -> bool {
        self.slots.is_open(slot)
    }

    pub fn key(&self, slot: QueueSlot) -> QueueKey {
        self.slots.get(slot).key
    }

    /// Where each open queue goes on.
    pub fn nexts(&self) -> impl Iterator<Item = (QueueKey, QueueOffset)> {
        self.slots.iter().map(|queue| (queue.key, queue.next))
    }

    /// Number of open queues.
    pub fn queues(&self) -> usize {
        self.slots.len()
    }

    /// Forgets the queues of a topic; their slots must not be used again. Entries of
    /// theirs stay in runs, where nothing leads to them, until the runs expire.
    pub fn remove_topic(&mut self, topic: TopicId) {
        self.slots.remove_topic(topic);
    }

    /// Indexes the record at `entry.at` as the queue's next message, which becomes
    /// visible only by `advance_visible`. Records come in the order of the log.
    pub fn append(&mut self, slot: QueueSlot, mut entry: Entry) -> QueueOffset {
        assert!(entry.at >= self.runs.active.end, "records are dispatched in the log's order");
        entry.store_ms = self.last_ms.map_or(entry.store_ms, |last| last.max(entry.store_ms));
        self.last_ms = Some(entry.store_ms);
        self.loaded = true;
        if !self.runs.active.takes(&entry) {
            self.runs.roll(entry.at);
        }
        let queue = self.slots.get_mut(slot);
        let offset = queue.next;
        queue.next = offset + 1;
        let run = self.runs.active_number();
        let here = queue.last_extent().filter(|extent| extent.run == run);
        let number = match here {
            Some(extent) if self.runs.active.extends(extent.number, offset) => extent.number,
            before => {
                let busy = before.is_some_and(|extent| self.runs.active.is_full(extent.number));
                let number = self.runs.active.add_extent(queue.key, offset, busy);
                let extent = Extent { first: offset, run, number };
                self.slots.push_extent(slot, extent, self.runs.live);
                number
            }
        };
        self.runs.active.push(number, &entry);
        self.runs.active.end = entry.at + u64::from(entry.size);
        offset
    }

    /// Indexes a record that recovery found in the log, at the queue offset that the
    /// record carries. It is visible at once.
    pub fn append_recovered(
        &mut self,
        key: QueueKey,
        offset: QueueOffset,
        entry: Entry,
    ) -> Result<QueueSlot, RecoveryError> {
        let dispatched = self.dispatched();
        if entry.at < dispatched {
            return Err(RecoveryError::Indexed { at: entry.at, dispatched });
        }
        if offset.0 > OFFSET_MAX {
            return Err(RecoveryError::OutOfRange { key, offset });
        }
        let slot = self.open(key);
        let queue = self.slots.get_mut(slot);
        if offset < queue.next {
            return Err(RecoveryError::Back { key, offset, next: queue.next });
        }
        queue.next = offset;
        self.append(slot, entry);
        let queue = self.slots.get_mut(slot);
        queue.visible = queue.next;
        Ok(slot)
    }

    /// Raises next offsets to those of queues whose entries have all expired. Only for
    /// topics that `keep` knows, and after the runs: a run that a crash kept from being
    /// unlinked is in the bases already.
    pub fn load_bases(&mut self, bases: &Bases, keep: impl Fn(TopicId) -> bool) {
        self.loaded = true;
        for (key, next) in bases.rows().filter(|(key, _)| keep(key.topic)) {
            let slot = self.open(key);
            let queue = self.slots.get_mut(slot);
            queue.next = queue.next.max(next);
            queue.visible = queue.next;
        }
    }

    /// Leaves out `count` offsets: after acknowledged messages were lost, no consumer's
    /// position may lie above new ones. The hole is remembered by the entries after it,
    /// so skip right before an append.
    pub fn skip(&mut self, slot: QueueSlot, count: u64) {
        let queue = self.slots.get_mut(slot);
        assert!(count <= OFFSET_MAX - queue.next.0.min(OFFSET_MAX), "queue offsets are 63 bits");
        queue.next = queue.next + count;
    }

    /// The offset that the next append gets.
    pub fn next(&self, slot: QueueSlot) -> QueueOffset {
        self.slots.get(slot).next
    }

    /// The end of what readers see: the queue's maximum offset for clients.
    pub fn visible(&self, slot: QueueSlot) -> QueueOffset {
        self.slots.get(slot).visible
    }

    /// Messages below `end` have reached their ack level. Going back has no effect.
    pub fn advance_visible(&mut self, slot: QueueSlot, end: QueueOffset) {
        let queue = self.slots.get_mut(slot);
        assert!(end <= queue.next, "only what was appended can become visible");
        queue.visible = queue.visible.max(end);
    }

    /// The first message that is still there; `visible` when there is none.
    pub fn min(&self, slot: QueueSlot) -> QueueOffset {
        let queue = self.slots.get(slot);
        let first = queue.extents(self.runs.live).first();
        first.map_or(queue.visible, |extent| extent.first.min(queue.visible))
    }

    /// The store time of the first message that is still there.
    pub fn earliest_ms(&self, slot: QueueSlot) -> Option<i64> {
        let queue = self.slots.get(slot);
        let first = queue.extents(self.runs.live).first()?;
        (first.first < queue.visible).then(|| self.runs.times(first).0)
    }

    /// Up to where the log has been dispatched into the index.
    pub fn dispatched(&self) -> LogOffset {
        self.runs.active.end
    }

    /// Frees what expired runs have left at up to `count` queues. Called now and then
    /// by an idle turn; positions do not depend on it.
    pub fn tidy(&mut self, count: usize) {
        self.slots.tidy(count, self.runs.live);
    }

    pub fn memory(&self) -> Memory {
        Memory {
            queues: self.slots.memory_bytes(),
            directories: self.slots.extent_bytes() + self.runs.directory_bytes(),
            runs: self.runs.memory_bytes(),
            cold: self.cold.memory_bytes(),
        }
    }
}

/// Highest offset of a message: there is always one above it, and a whole extent.
const OFFSET_MAX: u64 = POSITION_MAX - (1 << 20);
