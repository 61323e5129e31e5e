//! The log ring of an arena: the newest bytes of a shard's log.

use super::layout::{WORD_EDGE, WORD_START};
use super::memory::Memory;
use crate::base::LogOffset;
use crate::base::memory::LogRing;
use std::rc::Rc;
use std::sync::atomic::{Ordering, compiler_fence, fence};

/// The one handle that writes the ring. Everyone else is lent ranges of it.
pub struct ArenaLog {
    pub(in crate::reactor) memory: Rc<Memory>,
}

impl ArenaLog {
    /// Of the bytes now lent to sends and writes, the lowest; exact to 64 KiB, never
    /// above the true one.
    pub fn lowest_lent(&self) -> Option<LogOffset> {
        self.memory.lowest_lent()
    }
}

impl LogRing for ArenaLog {
    fn size(&self) -> u64 {
        self.memory.layout.sizes.ring
    }

    fn writable(&mut self, at: LogOffset, len: usize) -> &mut [u8] {
        let end = at.0.checked_add(len as u64).expect("a range of the log ends below 2^64");
        let limit = self.memory.reclaimed.get() + self.size();
        assert!(
            self.memory.sealed.get() <= at.0 && end <= limit,
            "writable {at}+{len} outside {}..{limit}",
            self.memory.sealed.get()
        );
        let base = self.memory.at(self.memory.layout.log_at(at.0), len);
        // SAFETY: the range is unsealed, so it is not lent, and `&mut self` excludes other views.
        unsafe { std::slice::from_raw_parts_mut(base, len) }
    }

    fn readable(&self, at: LogOffset, len: usize) -> &[u8] {
        let end = at.0.checked_add(len as u64).expect("a range of the log ends below 2^64");
        assert!(
            self.memory.reclaimed.get() <= at.0 && end <= self.memory.sealed.get(),
            "readable {at}+{len} outside {}..{}",
            self.memory.reclaimed.get(),
            self.memory.sealed.get()
        );
        let base = self.memory.at(self.memory.layout.log_at(at.0), len);
        // SAFETY: sealed bytes change only after `reclaim`, which needs `&mut self`.
        unsafe { std::slice::from_raw_parts(base, len) }
    }

    fn seal(&mut self, end: LogOffset) {
        let (sealed, limit) = (self.memory.sealed.get(), self.memory.reclaimed.get() + self.size());
        assert!(sealed <= end.0 && end.0 <= limit, "sealed {end} outside {sealed}..{limit}");
        self.memory.sealed.set(end.0);
        // A byte may have been written at one of its two addresses and be read at the other.
        compiler_fence(Ordering::SeqCst);
    }

    /// The edge moves in steps of 64 KiB, the last of them not above `end`.
    fn reclaim(&mut self, end: LogOffset) {
        self.memory.reclaim(end);
        // Stored before the bytes are overwritten, so that a replay never takes new bytes
        // for old ones; the fence keeps the writes to come behind the store.
        self.memory.word(WORD_START).store(self.memory.reclaimed.get(), Ordering::Release);
        fence(Ordering::SeqCst);
    }

    fn reclaimed(&self) -> LogOffset {
        LogOffset(self.memory.reclaimed.get())
    }

    fn sealed(&self) -> LogOffset {
        LogOffset(self.memory.sealed.get())
    }

    fn publish(&mut self, edge: LogOffset) {
        let word = self.memory.word(WORD_EDGE);
        let published = word.load(Ordering::Relaxed);
        assert!(
            published <= edge.0 && edge.0 <= self.memory.sealed.get(),
            "published {edge} outside {published}..{}",
            self.memory.sealed.get()
        );
        word.store(edge.0, Ordering::Release);
    }
}
