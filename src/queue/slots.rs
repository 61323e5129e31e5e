//! The queues of a shard: about a hundred bytes each, no file, no timer.

use super::blocks::Blocks;
use super::keys::Keys;
use super::{QueueKey, TopicId};
use crate::base::QueueOffset;

/// A queue's place in the index, for as long as its topic exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueSlot {
    index: u32,
    /// Which use of the place: a slot kept beyond its topic is found out.
    life: u32,
}

impl QueueSlot {
    /// Different for any two queues that exist, and small.
    pub fn number(self) -> u32 {
        self.index
    }
}

/// Consecutive entries of a queue in one run: where to look, not how many. The run
/// knows the count and the times, under the extent's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub first: QueueOffset,
    pub run: u32,
    pub number: u32,
}

#[derive(Default)]
pub(super) struct Queue {
    pub key: QueueKey,
    /// The offset of the next message.
    pub next: QueueOffset,
    /// Readers see messages below it.
    pub visible: QueueOffset,
    /// In ascending order; those of dropped runs in front may still be there.
    extents: Vec<Extent>,
    life: u32,
    /// Next queue of the same topic, or next free place; one more than its index.
    link: u32,
}

const _: () = assert!(size_of::<Queue>() <= 128 && size_of::<Extent>() == 16);

#[derive(Default)]
pub(super) struct Slots {
    queues: Blocks<Queue>,
    /// Queue key to index.
    by_key: Keys,
    /// Topic to the first queue of its chain of links.
    by_topic: Keys,
    free: u32,
    open: usize,
    extent_capacity: usize,
    tidied: u32,
}

impl Queue {
    /// The extents of runs from `live` on.
    pub fn extents(&self, live: u32) -> &[Extent] {
        match self.extents.first() {
            Some(first) if first.run < live => {
                &self.extents[self.extents.partition_point(|extent| extent.run < live)..]
            }
            _ => &self.extents,
        }
    }

    #[inline]
    pub fn last_extent(&self) -> Option<Extent> {
        self.extents.last().copied()
    }
}

impl Slots {
    pub fn open(&mut self, key: QueueKey) -> QueueSlot {
        if let Some(slot) = self.find(key) {
            return slot;
        }
        let index = self.place();
        let link = self.by_topic.insert(topic_key(key.topic), index).map_or(0, |index| index + 1);
        self.by_key.insert(packed(key), index);
        self.open += 1;
        let queue = self.queues.get_mut(index);
        queue.key = key;
        queue.link = link;
        QueueSlot { index, life: queue.life }
    }

    pub fn find(&self, key: QueueKey) -> Option<QueueSlot> {
        let index = self.by_key.get(packed(key))?;
        Some(QueueSlot { index, life: self.queues.get(index).life })
    }

    pub fn len(&self) -> usize {
        self.open
    }

    pub fn iter(&self) -> impl Iterator<Item = &Queue> {
        let open = |(index, queue): &(usize, &Queue)| {
            self.by_key.get(packed(queue.key)) == Some(*index as u32)
        };
        self.queues.iter().enumerate().filter(open).map(|(_, queue)| queue)
    }

    /// Whether the slot's topic still exists.
    pub fn is_open(&self, slot: QueueSlot) -> bool {
        self.queues.get(slot.index).life == slot.life
    }

    #[inline]
    pub fn get(&self, slot: QueueSlot) -> &Queue {
        let queue = self.queues.get(slot.index);
        assert_eq!(queue.life, slot.life, "the slot's topic has been removed");
        queue
    }

    #[inline]
    pub fn get_mut(&mut self, slot: QueueSlot) -> &mut Queue {
        let queue = self.queues.get_mut(slot.index);
        assert_eq!(queue.life, slot.life, "the slot's topic has been removed");
        queue
    }

    /// Adds a queue's newest extent. Dead ones, of runs below `live`, go when they are
    /// half of all, so that each is moved over at most once.
    pub fn push_extent(&mut self, slot: QueueSlot, extent: Extent, live: u32) {
        let before = self.get(slot).extents.capacity();
        let queue = self.get_mut(slot);
        drop_dead(queue, live);
        let extents = &mut queue.extents;
        if extents.len() == extents.capacity() {
            // Most queues have few extents: grow by half, beginning with one.
            extents.reserve_exact((extents.len() / 2).max(1));
        }
        extents.push(extent);
        let after = extents.capacity();
        self.extent_capacity = self.extent_capacity + after - before;
    }

    /// Takes back the newest extent, and the next offset that it had moved.
    pub fn pop_extent(&mut self, slot: QueueSlot, next: QueueOffset) {
        let queue = self.get_mut(slot);
        queue.extents.pop();
        queue.next = next;
        queue.visible = next;
    }

    pub fn remove_topic(&mut self, topic: TopicId) {
        let mut link = self.by_topic.remove(topic_key(topic)).map_or(0, |index| index + 1);
        while link != 0 {
            let index = link - 1;
            let queue = self.queues.get_mut(index);
            self.by_key.remove(packed(queue.key));
            self.extent_capacity -= queue.extents.capacity();
            self.open -= 1;
            link = queue.link;
            *queue = Queue { life: queue.life + 1, link: self.free, ..Queue::default() };
            self.free = index + 1;
        }
    }

    /// Frees extents of runs below `live`, looking at up to `count` queues, and goes on
    /// from there next time.
    pub fn tidy(&mut self, count: usize, live: u32) {
        for _ in 0..count.min(self.queues.len()) {
            self.tidied =
                if self.tidied as usize + 1 < self.queues.len() { self.tidied + 1 } else { 0 };
            let queue = self.queues.get_mut(self.tidied);
            let before = queue.extents.capacity();
            drop_dead(queue, live);
            if queue.extents.capacity() > 2 * queue.extents.len() {
                queue.extents.shrink_to_fit();
            }
            self.extent_capacity = self.extent_capacity + queue.extents.capacity() - before;
        }
    }

    pub fn memory_bytes(&self) -> usize {
        self.queues.memory_bytes() + self.by_key.memory_bytes() + self.by_topic.memory_bytes()
    }

    pub fn extent_bytes(&self) -> usize {
        self.extent_capacity * size_of::<Extent>()
    }

    fn place(&mut self) -> u32 {
        if self.free == 0 {
            return self.queues.push(Queue::default());
        }
        let index = self.free - 1;
        self.free = self.queues.get(index).link;
        index
    }
}

fn drop_dead(queue: &mut Queue, live: u32) {
    let dead = queue.extents.len() - queue.extents(live).len();
    if dead > 0 && dead * 2 >= queue.extents.len() {
        queue.extents.drain(..dead);
    }
}

fn packed(key: QueueKey) -> u64 {
    u64::from(key.topic.0) << 32 | u64::from(key.queue)
}

fn topic_key(topic: TopicId) -> u64 {
    u64::from(topic.0)
}
