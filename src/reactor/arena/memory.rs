//! An arena's memory and the book of who may touch which byte of it.
//!
//! Why no `&mut` ever meets the kernel: the ring hands out `&mut` only at and above
//! the sealed edge, and the kernel is lent only bytes below it. Bytes return above
//! the edge by `reclaim` alone, which panics while one of them is lent. A slot of the
//! pool is lent for reading into only against `&mut` of the whole pool, and nobody
//! sees its bytes until the read has completed. Each byte of the ring has two
//! addresses; `seal` is a compiler fence, so that no value cached for one of them
//! outlives a write through the other.

use super::layout::{LEND_PAGE, Layout};
use crate::base::LogOffset;
use crate::base::memory::SlotId;
use crate::reactor::mapping::Mapping;
use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU64;

/// Shared by the parts of an arena and by the operations that it lends to.
pub(in crate::reactor) struct Memory {
    mapping: Mapping,
    pub layout: Layout,
    /// Keeps the file, and with it the lock on it.
    pub file: OwnedFd,
    pub reclaimed: Cell<u64>,
    pub sealed: Cell<u64>,
    /// How often bytes of each 64 KiB page of the ring are lent.
    lent_pages: Box<[Cell<u32>]>,
    lent_total: Cell<u64>,
    slots: Box<[SlotUse]>,
}

#[derive(Default)]
struct SlotUse {
    /// Reads under way into the slot.
    filling: Cell<u32>,
    /// Sends under way from the slot.
    lent: Cell<u32>,
}

/// A range that the kernel reads, as address and length.
#[derive(Clone, Copy)]
pub(in crate::reactor) struct Range {
    pub base: *const u8,
    pub len: usize,
}

impl Memory {
    pub fn new(mapping: Mapping, layout: Layout, file: OwnedFd, start: LogOffset) -> Self {
        let pages = (layout.sizes.ring / LEND_PAGE) as usize;
        Self {
            mapping,
            layout,
            file,
            reclaimed: Cell::new(start.0),
            sealed: Cell::new(start.0),
            lent_pages: (0..pages).map(|_| Cell::new(0)).collect(),
            lent_total: Cell::new(0),
            slots: (0..layout.sizes.slots).map(|_| SlotUse::default()).collect(),
        }
    }

    /// The address of `len` bytes at `offset` of the mapping.
    pub fn at(&self, offset: usize, len: usize) -> *mut u8 {
        self.mapping.at(offset, len)
    }

    /// One of the header's words.
    pub fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8));
        let address = self.mapping.at(offset, 8).cast();
        // SAFETY: the word is aligned, lies in the mapping, and is only ever used atomically.
        unsafe { AtomicU64::from_ptr(address) }
    }

    /// Where a lent range of the ring lies.
    pub fn log_range(&self, at: LogOffset, len: usize) -> Range {
        Range { base: self.at(self.layout.log_at(at.0), len), len }
    }

    /// Lends sealed bytes of the ring until `return_log` of the same range.
    pub fn lend_log(&self, at: LogOffset, len: usize) {
        let end = at.0.checked_add(len as u64).expect("a range of the log ends below 2^64");
        assert!(
            self.reclaimed.get() <= at.0 && end <= self.sealed.get(),
            "lent {at}+{len} outside {}..{}",
            self.reclaimed.get(),
            self.sealed.get()
        );
        self.each_page(at, len, |page| page.set(page.get() + 1));
        self.lent_total.set(self.lent_total.get() + 1);
    }

    pub fn return_log(&self, at: LogOffset, len: usize) {
        self.each_page(at, len, |page| page.set(page.get().checked_sub(1).expect("was lent")));
        self.lent_total.set(self.lent_total.get() - 1);
    }

    fn each_page(&self, at: LogOffset, len: usize, change: impl Fn(&Cell<u32>)) {
        if len == 0 {
            return;
        }
        let last = (at.0 + len as u64 - 1) / LEND_PAGE;
        for page in at.0 / LEND_PAGE..=last {
            change(self.page(page));
        }
    }

    fn page(&self, page: u64) -> &Cell<u32> {
        &self.lent_pages[(page % self.lent_pages.len() as u64) as usize]
    }

    /// The lowest page of the ring with a lent byte, from the reclaimed edge on.
    pub fn lowest_lent(&self) -> Option<LogOffset> {
        if self.lent_total.get() == 0 {
            return None;
        }
        let reclaimed = self.reclaimed.get();
        let pages = reclaimed / LEND_PAGE..self.sealed.get().div_ceil(LEND_PAGE);
        let lowest = pages.into_iter().find(|page| self.page(*page).get() > 0)?;
        Some(LogOffset((lowest * LEND_PAGE).max(reclaimed)))
    }

    /// Gives whole pages below `end` free. Panics if a byte of them is lent.
    pub fn reclaim(&self, end: LogOffset) {
        assert!(end.0 <= self.sealed.get(), "reclaimed {end} above the sealed edge");
        let old = self.reclaimed.get();
        let new = end.align_down(LEND_PAGE).0.max(old);
        for page in old / LEND_PAGE..new / LEND_PAGE {
            assert!(self.page(page).get() == 0, "reclaimed {end} past lent bytes");
        }
        self.reclaimed.set(new);
    }

    fn slot_use(&self, slot: SlotId) -> &SlotUse {
        &self.slots[slot.0 as usize]
    }

    /// Lends a part of a slot for reading from.
    pub fn lend_slot(&self, slot: SlotId, start: usize, len: usize) {
        let state = self.slot_use(slot);
        assert!(state.filling.get() == 0, "slot {} is being read into", slot.0);
        self.slot_range(slot, start, len);
        state.lent.set(state.lent.get() + 1);
    }

    pub fn return_slot(&self, slot: SlotId) {
        let lent = &self.slot_use(slot).lent;
        lent.set(lent.get().checked_sub(1).expect("was lent"));
    }

    /// Lends a part of a slot for reading into; the caller holds `&mut` of the pool.
    pub fn begin_fill(&self, slot: SlotId, start: usize, len: usize) -> *mut u8 {
        let state = self.slot_use(slot);
        assert!(state.lent.get() == 0, "slot {} is being sent from", slot.0);
        let base = self.slot_range(slot, start, len);
        state.filling.set(state.filling.get() + 1);
        base
    }

    pub fn end_fill(&self, slot: SlotId) {
        let filling = &self.slot_use(slot).filling;
        filling.set(filling.get().checked_sub(1).expect("was being read into"));
    }

    /// Whether no operation holds the slot.
    pub fn slot_is_idle(&self, slot: SlotId) -> bool {
        let state = self.slot_use(slot);
        state.lent.get() == 0 && state.filling.get() == 0
    }

    pub fn slot_is_filling(&self, slot: SlotId) -> bool {
        self.slot_use(slot).filling.get() > 0
    }

    /// The address of a part of a slot.
    pub fn slot_range(&self, slot: SlotId, start: usize, len: usize) -> *mut u8 {
        let slot_bytes = self.layout.sizes.slot_bytes as usize;
        assert!(slot.0 < self.layout.sizes.slots, "slot {} of {}", slot.0, self.slots.len());
        assert!(start <= slot_bytes && len <= slot_bytes - start);
        self.at(self.layout.slot_at(slot.0) + start, len)
    }
}
