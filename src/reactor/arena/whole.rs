//! An arena as other rooms see it: ring, pool and journal behind one name.

use super::Arena;
use crate::base::LogOffset;
use crate::base::memory::{Journal, JournalFull, LogRing, Pool, SlotId};

impl LogRing for Arena {
    fn size(&self) -> u64 {
        self.log.size()
    }

    fn writable(&mut self, at: LogOffset, len: usize) -> &mut [u8] {
        self.log.writable(at, len)
    }

    fn readable(&self, at: LogOffset, len: usize) -> &[u8] {
        self.log.readable(at, len)
    }

    fn seal(&mut self, end: LogOffset) {
        self.log.seal(end);
    }

    fn reclaim(&mut self, end: LogOffset) {
        self.log.reclaim(end);
    }

    fn reclaimed(&self) -> LogOffset {
        self.log.reclaimed()
    }

    fn sealed(&self) -> LogOffset {
        self.log.sealed()
    }

    fn publish(&mut self, edge: LogOffset) {
        self.log.publish(edge);
    }
}

impl Pool for Arena {
    fn slot_bytes(&self) -> usize {
        self.pool.slot_bytes()
    }

    fn slots(&self) -> usize {
        self.pool.slots()
    }

    fn slot(&self, slot: SlotId) -> &[u8] {
        self.pool.slot(slot)
    }
}

impl Journal for Arena {
    fn journal_append(&mut self, entry: &[u8]) -> Result<(), JournalFull> {
        self.journal.append(entry)
    }

    fn journal_switch(&mut self) {
        self.journal.switch();
    }

    fn journal_clear_other(&mut self) {
        self.journal.clear_other();
    }
}
