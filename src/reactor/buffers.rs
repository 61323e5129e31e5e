//! The receive buffers of a ring: lent to the kernel, filled by it, lent to the
//! caller, given back.
//!
//! Buffers and the ring that offers them to the kernel are one mapping. A buffer is
//! either offered (the kernel may write it, nobody reads it) or filled (the caller
//! may read it, the kernel does not know it); the table of lengths says which.

use super::mapping::Mapping;
use crate::base::memory::{BufferId, Buffers};
use io_uring::Submitter;
use io_uring::types::BufRingEntry;
use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

/// The only buffer group of a ring.
pub(super) const GROUP: u16 = 0;

pub(super) struct ReceiveBuffers {
    memory: Mapping,
    /// Bytes of the entries, before the buffers.
    head: usize,
    buffer_bytes: usize,
    /// Bytes received, for buffers that are filled.
    filled: Box<[Option<u32>]>,
    /// Buffers that are not filled.
    offered: usize,
    tail: u16,
}

impl ReceiveBuffers {
    /// `count` is a power of two, at most 32768.
    pub fn new(count: u16, buffer_bytes: u32) -> io::Result<Self> {
        assert!(count.is_power_of_two() && count <= 1 << 15);
        let head = (count as usize * size_of::<BufRingEntry>()).next_multiple_of(4096);
        let buffer_bytes = buffer_bytes as usize;
        let memory = Mapping::anonymous(head + count as usize * buffer_bytes)?;
        let filled = vec![Some(0); count as usize].into_boxed_slice();
        let mut buffers = Self { memory, head, buffer_bytes, filled, offered: 0, tail: 0 };
        for id in 0..count {
            buffers.give_back(BufferId(id));
        }
        Ok(buffers)
    }

    /// Makes the buffers known to a ring, which must be gone before `self` is.
    pub fn register(&self, submitter: &Submitter<'_>) -> io::Result<()> {
        let address = self.memory.base() as u64;
        // SAFETY: the mapping stays where it is until the owner has unregistered the ring of it.
        unsafe {
            submitter.register_buf_ring_with_flags(address, self.filled.len() as u16, GROUP, 0)
        }
    }

    /// The kernel has filled a buffer.
    pub fn on_filled(&mut self, id: BufferId, len: usize) {
        assert!(len <= self.buffer_bytes);
        let filled = &mut self.filled[id.0 as usize];
        assert!(filled.is_none(), "the kernel filled buffer {} twice", id.0);
        *filled = Some(len as u32);
        self.offered -= 1;
    }

    /// Offers a buffer to the kernel again, with the next `publish`.
    pub fn give_back(&mut self, id: BufferId) {
        let filled = self.filled[id.0 as usize].take();
        assert!(filled.is_some(), "buffer {} was not lent", id.0);
        let mask = self.filled.len() - 1;
        let at = (self.tail as usize & mask) * size_of::<BufRingEntry>();
        let address = self.buffer(id) as u64;
        let entry = self.memory.at(at, size_of::<BufRingEntry>()).cast::<BufRingEntry>();
        // SAFETY: the entry lies in the mapping and beyond the tail that the kernel may read to.
        let entry = unsafe { &mut *entry };
        entry.set_addr(address);
        entry.set_len(self.buffer_bytes as u32);
        entry.set_bid(id.0);
        self.tail = self.tail.wrapping_add(1);
        self.offered += 1;
    }

    /// Shows the kernel what was given back.
    pub fn publish(&mut self) {
        let first = self.memory.base().cast::<BufRingEntry>();
        // SAFETY: the first entry of the mapping holds the tail in a field of its own, aligned.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(first).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    /// Buffers that the kernel has, or will have after the next `publish`.
    pub fn offered(&self) -> usize {
        self.offered
    }

    pub fn count(&self) -> usize {
        self.filled.len()
    }

    /// Never gives the memory back, since the kernel might still use it.
    pub fn leak(&mut self) {
        self.memory.leak();
    }

    fn buffer(&self, id: BufferId) -> *mut u8 {
        self.memory.at(self.head + id.0 as usize * self.buffer_bytes, self.buffer_bytes)
    }
}

impl Buffers for ReceiveBuffers {
    fn bytes(&self, id: BufferId) -> &[u8] {
        let len = self.filled[id.0 as usize].expect("a buffer is read only while it is lent");
        // SAFETY: a filled buffer is unknown to the kernel until `give_back`, which is `&mut`.
        unsafe { std::slice::from_raw_parts(self.buffer(id), len as usize) }
    }
}
