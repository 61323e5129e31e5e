//! Cold log blocks in the arena's pool: read once, served to many, pinned while sent.

use crate::base::LogOffset;
use crate::base::memory::SlotId;

/// What each slot of the pool holds.
pub struct Blocks {
    slots: Vec<Slot>,
    block_bytes: u64,
    clock: u64,
    /// The slot that was found last.
    last: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    state: State,
    base: LogOffset,
    /// Bytes at and above this were not on disk when the block was read.
    end: LogOffset,
    pins: u32,
    used: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Free,
    Reading,
    Ready,
}

/// A read that is to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRead {
    pub slot: SlotId,
    pub at: LogOffset,
    pub len: u32,
}

impl Blocks {
    pub fn new(slots: usize, slot_bytes: usize) -> Self {
        let slots = vec![Slot::default(); slots];
        Self { slots, block_bytes: slot_bytes as u64, clock: 0, last: 0 }
    }

    /// Where the block begins that holds `at`.
    pub fn base(&self, at: LogOffset) -> LogOffset {
        LogOffset(at.0 - at.0 % self.block_bytes)
    }

    pub fn block_bytes(&self) -> u64 {
        self.block_bytes
    }

    /// The slot that holds the block's bytes up to `end`, if any does.
    pub fn find(&mut self, base: LogOffset, end: LogOffset) -> Option<SlotId> {
        self.clock += 1;
        let holds =
            |slot: &Slot| slot.state == State::Ready && slot.base == base && slot.end >= end;
        // Records are asked for one after the other.
        let index = match self.slots.get(self.last) {
            Some(slot) if holds(slot) => self.last,
            _ => self.slots.iter().position(holds)?,
        };
        self.last = index;
        self.slots[index].used = self.clock;
        Some(SlotId(index as u16))
    }

    /// Takes the least recently used slot for the block; None while all are in use.
    pub fn begin_read(&mut self, base: LogOffset, written: LogOffset) -> Option<BlockRead> {
        let free = |slot: &&Slot| slot.state != State::Reading && slot.pins == 0;
        let oldest = self.slots.iter().filter(free).min_by_key(|slot| slot.used)?.used;
        let index = self.slots.iter().position(|slot| free(&slot) && slot.used == oldest)?;
        self.clock += 1;
        let end = (base + self.block_bytes).min(written);
        self.slots[index] = Slot { state: State::Reading, base, end, pins: 0, used: self.clock };
        let len = self.block_bytes as u32;
        Some(BlockRead { slot: SlotId(index as u16), at: base, len })
    }

    /// The read has ended. Returns the block's base.
    pub fn on_read(&mut self, slot: SlotId, whole: bool) -> LogOffset {
        let slot = &mut self.slots[usize::from(slot.0)];
        assert_eq!(slot.state, State::Reading, "a slot is read once at a time");
        slot.state = if whole { State::Ready } else { State::Free };
        slot.base
    }

    pub fn pin(&mut self, slot: SlotId) {
        self.slots[usize::from(slot.0)].pins += 1;
    }

    pub fn unpin(&mut self, slot: SlotId) {
        self.slots[usize::from(slot.0)].pins -= 1;
    }

    /// Slots that a read ahead may take without pushing out what is in use.
    pub fn spare(&self) -> usize {
        self.slots.iter().filter(|slot| slot.state != State::Reading && slot.pins == 0).count()
    }

    /// What is below `log_min` has expired.
    pub fn forget_below(&mut self, log_min: LogOffset) {
        for slot in &mut self.slots {
            if slot.state == State::Ready && slot.base < log_min && slot.pins == 0 {
                slot.state = State::Free;
            }
        }
    }
}
