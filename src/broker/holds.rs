//! Held pulls: parked at their queue until a message fits, or until their time is up.

use std::collections::HashMap;

use slab::Slab;

use crate::base::limits::HOLDS_MAX;
use crate::queue::QueueSlot;

use super::pull::HeldPull;

/// All held pulls of a shard.
#[derive(Debug, Default)]
pub struct Holds {
    holds: Slab<Hold>,
    by_queue: HashMap<QueueSlot, Vec<usize>>,
    /// No hold ends before this; it may be early, never late.
    earliest_us: u64,
}

/// A pull that waits.
#[derive(Debug)]
pub struct Hold {
    pub queue: QueueSlot,
    /// When it is answered without a message.
    pub deadline_us: u64,
    pub pull: HeldPull,
}

impl Holds {
    /// Parks a pull; gives it back when `HOLDS_MAX` are parked already.
    pub fn park(&mut self, hold: Hold) -> Result<(), Hold> {
        if self.holds.len() >= HOLDS_MAX {
            return Err(hold);
        }
        if self.holds.is_empty() || hold.deadline_us < self.earliest_us {
            self.earliest_us = hold.deadline_us;
        }
        let queue = hold.queue;
        let id = self.holds.insert(hold);
        self.by_queue.entry(queue).or_default().push(id);
        Ok(())
    }

    /// Takes all pulls parked at `queue` into `woken`; those that still find nothing
    /// are parked again by the caller.
    pub fn wake(&mut self, queue: QueueSlot, woken: &mut Vec<Hold>) {
        let Some(ids) = self.by_queue.get_mut(&queue) else { return };
        woken.extend(ids.drain(..).map(|id| self.holds.remove(id)));
    }

    /// Takes the pulls whose time is up.
    pub fn expire(&mut self, now_us: u64, expired: &mut Vec<Hold>) {
        if self.holds.is_empty() || now_us < self.earliest_us {
            return;
        }
        self.take_if(|hold| hold.deadline_us <= now_us, expired);
    }

    /// Takes the pulls parked at queues of a topic that is being deleted.
    pub fn take_queue(&mut self, queue: QueueSlot, taken: &mut Vec<Hold>) {
        self.wake(queue, taken);
        self.by_queue.remove(&queue);
    }

    pub fn next_deadline_us(&self) -> Option<u64> {
        (!self.holds.is_empty()).then_some(self.earliest_us)
    }

    pub fn len(&self) -> usize {
        self.holds.len()
    }

    fn take_if(&mut self, mut ends: impl FnMut(&Hold) -> bool, taken: &mut Vec<Hold>) {
        let by_queue = &mut self.by_queue;
        let mut earliest = u64::MAX;
        // The slab is walked whole: at most HOLDS_MAX short steps, once per deadline.
        for id in 0..self.holds.capacity() {
            let Some(hold) = self.holds.get(id) else { continue };
            if !ends(hold) {
                earliest = earliest.min(hold.deadline_us);
                continue;
            }
            let hold = self.holds.remove(id);
            let ids = by_queue.get_mut(&hold.queue).expect("a hold is listed at its queue");
            ids.retain(|listed| *listed != id);
            taken.push(hold);
        }
        self.earliest_us = earliest;
    }
}
