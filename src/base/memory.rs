//! The log ring of an arena, as rooms see it that never touch the kernel.
//!
//! The ring holds the newest `size()` bytes of a shard's log; a log offset lives at
//! `offset mod size`, mapped twice so that every range is contiguous. Three edges
//! walk through it, each never ahead of the next one's reach:
//!
//! ```text
//!   reclaimed        sealed          reclaimed + size
//!      | readable, lent |  writable        |
//! ```

use super::LogOffset;

/// A shard's log ring: memory that outlives the process.
pub trait LogRing {
    /// Bytes of log that the ring can hold.
    fn size(&self) -> u64;

    /// Room for bytes that are not yet sealed. Panics unless the whole range lies
    /// between the sealed edge and `reclaimed + size`.
    fn writable(&mut self, at: LogOffset, len: usize) -> &mut [u8];

    /// Sealed bytes. Panics unless the whole range lies between the reclaimed and
    /// the sealed edge.
    fn readable(&self, at: LogOffset, len: usize) -> &[u8];

    /// Bytes below `end` never change again; they may be lent to the kernel.
    fn seal(&mut self, end: LogOffset);

    /// Bytes below `end` may be overwritten. Panics if any of them is still lent.
    fn reclaim(&mut self, end: LogOffset);

    /// The reclaimed edge: the lowest offset that `readable` serves.
    fn reclaimed(&self) -> LogOffset;

    /// The sealed edge: the lowest offset that `writable` serves.
    fn sealed(&self) -> LogOffset;

    /// Stores the published edge with release order: a start after a crash of this
    /// process replays the ring exactly up to it.
    fn publish(&mut self, edge: LogOffset);
}

/// Receive buffers that the kernel has filled in this turn.
pub trait Buffers {
    /// The bytes received into `id`; valid until the turn ends.
    fn bytes(&self, id: BufferId) -> &[u8];
}

/// A provided receive buffer, lent to a shard until its turn ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferId(pub u16);

/// A piece of the arena's pool: cold log blocks are read into it and sent from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotId(pub u16);

/// The pool of an arena: slots of one size, filled by direct reads.
pub trait Pool {
    /// Bytes of one slot (a multiple of 4096).
    fn slot_bytes(&self) -> usize;
    /// Number of slots.
    fn slots(&self) -> usize;
    /// The bytes of a slot that no read is under way into.
    fn slot(&self, slot: SlotId) -> &[u8];
}

/// The part of an arena that keeps consumer offsets over a crash of the process, since
/// the last time that they were made durable elsewhere: two halves, filled in turns.
pub trait Journal {
    /// Appends one entry to the current half.
    fn journal_append(&mut self, entry: &[u8]) -> Result<(), JournalFull>;

    /// Entries go to the other half from now on, which has been cleared.
    fn journal_switch(&mut self);

    /// What the other half holds is durable elsewhere.
    fn journal_clear_other(&mut self);
}

/// The half has no room for the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalFull;

/// All that an arena is to rooms that never touch the kernel.
pub trait Arena: LogRing + Pool + Journal {}

impl<T: LogRing + Pool + Journal> Arena for T {}

/// The log's files as the page cache holds them. None of this waits for a disk.
pub trait LogFiles {
    /// Whether the whole range, inside one segment, can be sent without waiting.
    fn is_resident(&self, at: LogOffset, len: u32) -> bool;

    /// Appends the range to `out`; false, and nothing appended, if that would wait.
    fn read_now(&self, at: LogOffset, len: u32, out: &mut Vec<u8>) -> bool;

    /// Shows a resident range to `look`. False where its bytes cannot be seen.
    fn look(&self, at: LogOffset, len: u32, look: &mut dyn FnMut(&[u8])) -> bool;

    /// The segment stays open until as many calls of `unpin`: bytes of it are to be sent.
    fn pin(&self, at: LogOffset);

    fn unpin(&self, at: LogOffset);
}

/// No file can be read but past the page cache.
pub struct NoFiles;

impl LogFiles for NoFiles {
    fn is_resident(&self, _: LogOffset, _: u32) -> bool {
        false
    }

    fn read_now(&self, _: LogOffset, _: u32, _: &mut Vec<u8>) -> bool {
        false
    }

    fn look(&self, _: LogOffset, _: u32, _: &mut dyn FnMut(&[u8])) -> bool {
        false
    }

    fn pin(&self, _: LogOffset) {}

    fn unpin(&self, _: LogOffset) {}
}

/// Where the bytes of a request lie while its turn lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// In the receive buffer that the kernel filled.
    Buffer(BufferId),
    /// In memory of ours: a frame put together from several buffers, or one that waited.
    Held(u32),
}

/// A range of bytes in a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub source: Source,
    pub start: u32,
    pub len: u32,
}

/// Resolves the sources of this turn.
pub trait Frames {
    /// All bytes of `source`.
    fn source(&self, source: Source) -> &[u8];

    /// The bytes of `span`.
    fn span(&self, span: Span) -> &[u8] {
        &self.source(span.source)[span.start as usize..][..span.len as usize]
    }
}
