//! The pool of an arena: slots that cold log blocks are read into and sent from.

use super::memory::Memory;
use crate::base::memory::{Pool, SlotId};
use std::rc::Rc;

/// The one handle of the pool. Which slot is free is the caller's book; this one only
/// refuses what would let two touch a slot at once.
pub struct ArenaPool {
    pub(in crate::reactor) memory: Rc<Memory>,
}

impl ArenaPool {
    /// Whether no read or send holds the slot.
    pub fn is_idle(&self, slot: SlotId) -> bool {
        self.memory.slot_is_idle(slot)
    }

    /// Copies bytes into a slot: the simulator's direct read. Panics while an operation
    /// holds the slot.
    pub fn fill(&mut self, slot: SlotId, start: usize, bytes: &[u8]) {
        assert!(self.memory.slot_is_idle(slot), "slot {} is held by an operation", slot.0);
        let base = self.memory.slot_range(slot, start, bytes.len());
        // SAFETY: no operation holds the slot, and `&mut self` excludes views of it, `bytes` too.
        unsafe { base.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }
}

impl Pool for ArenaPool {
    fn slot_bytes(&self) -> usize {
        self.memory.layout.sizes.slot_bytes as usize
    }

    fn slots(&self) -> usize {
        self.memory.layout.sizes.slots as usize
    }

    fn slot(&self, slot: SlotId) -> &[u8] {
        assert!(!self.memory.slot_is_filling(slot), "slot {} is being read into", slot.0);
        let len = self.slot_bytes();
        let base = self.memory.slot_range(slot, 0, len);
        // SAFETY: nobody writes the slot now, and a new read into it needs `&mut` of the pool.
        unsafe { std::slice::from_raw_parts(base, len) }
    }
}
