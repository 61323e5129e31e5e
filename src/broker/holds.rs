//! Held pulls: parked at their queue until a message fits, or until their time is up.

use std::collections::HashMap;

use slab::Slab;

use crate::base::ConnId;
use crate::base::limits::HOLDS_MAX;
use crate::queue::QueueSlot;

use super::pull::HeldPull;

/// All held pulls of a shard.
#[derive(Debug, Default)]
pub struct Holds {
    holds: Slab<Parked>,
    by_queue: HashMap<QueueSlot, Vec<usize>>,
    /// The newest hold of each connection that has any; the others follow from it.
    by_conn: HashMap<ConnId, usize>,
    /// No hold ends before this; it may be early, never late.
    earliest_us: u64,
}

/// A pull that waits.
#[derive(Debug)]
pub struct Hold {
    /// When it is answered without a message.
    pub deadline_us: u64,
    pub pull: HeldPull,
}

/// A hold in the chain of its connection's.
#[derive(Debug)]
struct Parked {
    hold: Hold,
    newer: Option<usize>,
    older: Option<usize>,
}

impl Hold {
    fn conn(&self) -> ConnId {
        self.pull.to.conn
    }

    fn queue(&self) -> QueueSlot {
        self.pull.slot
    }
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
        let (queue, conn) = (hold.queue(), hold.conn());
        let id = self.holds.vacant_key();
        let older = self.by_conn.insert(conn, id);
        if let Some(older) = older {
            self.holds[older].newer = Some(id);
        }
        self.holds.insert(Parked { hold, newer: None, older });
        self.by_queue.entry(queue).or_default().push(id);
        Ok(())
    }

    /// Takes all pulls parked at `queue` into `woken`; those that still find nothing
    /// are parked again by the caller.
    pub fn wake(&mut self, queue: QueueSlot, woken: &mut Vec<Hold>) {
        let Some(ids) = self.by_queue.get_mut(&queue) else { return };
        let (holds, by_conn) = (&mut self.holds, &mut self.by_conn);
        woken.extend(ids.drain(..).map(|id| unchain(holds, by_conn, id)));
    }

    /// Takes the pulls whose time is up.
    pub fn expire(&mut self, now_us: u64, expired: &mut Vec<Hold>) {
        if self.holds.is_empty() || now_us < self.earliest_us {
            return;
        }
        let mut earliest = u64::MAX;
        // The slab is walked whole: at most HOLDS_MAX short steps, once per deadline.
        for id in 0..self.holds.capacity() {
            let Some(Parked { hold, .. }) = self.holds.get(id) else { continue };
            if hold.deadline_us > now_us {
                earliest = earliest.min(hold.deadline_us);
                continue;
            }
            let hold = self.remove(id);
            expired.push(hold);
        }
        self.earliest_us = earliest;
    }

    /// Forgets the pulls of a connection that is gone.
    pub fn drop_connection(&mut self, conn: ConnId) {
        while let Some(id) = self.by_conn.get(&conn).copied() {
            self.remove(id);
        }
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

    fn remove(&mut self, id: usize) -> Hold {
        let hold = unchain(&mut self.holds, &mut self.by_conn, id);
        let ids = self.by_queue.get_mut(&hold.queue()).expect("a hold is listed at its queue");
        ids.retain(|listed| *listed != id);
        hold
    }
}

/// Takes a hold out, and out of its connection's chain.
fn unchain(holds: &mut Slab<Parked>, by_conn: &mut HashMap<ConnId, usize>, id: usize) -> Hold {
    let Parked { hold, newer, older } = holds.remove(id);
    if let Some(older) = older {
        holds[older].newer = newer;
    }
    match (newer, older) {
        (Some(newer), _) => holds[newer].older = older,
        (None, Some(older)) => _ = by_conn.insert(hold.conn(), older),
        (None, None) => _ = by_conn.remove(&hold.conn()),
    }
    hold
}
