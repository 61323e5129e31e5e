//! Where the entries of a run in memory lie: slabs of 4, 8, … 4096 entries.
//!
//! An extent begins in a small slab and moves to one of twice the size when it is full,
//! so a queue with one message costs 64 bytes and one with thousands is still a single
//! slice: a pull copies a slice, the writer writes a slice. Slabs that were left are
//! used again inside the same run; the whole pool is used again by a later run.

use crate::base::limits::INDEX_EXTENT_ENTRIES_MAX;

/// An entry as memory and files hold it, relative to its run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RawEntry {
    pub at: u32,
    pub size: u32,
    pub tag: i32,
    pub ms: u32,
}

/// Slab size, as a power of two: class 0 has four entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Class(u8);

/// Where a slab begins: its block's number and its place there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Slab(u32);

const BLOCK: usize = INDEX_EXTENT_ENTRIES_MAX as usize;
const SMALLEST: usize = 4;
const CLASSES: usize = (BLOCK / SMALLEST).ilog2() as usize + 1;
const NONE: u32 = u32::MAX;
const _: () = assert!(BLOCK.is_power_of_two() && BLOCK >= SMALLEST);

impl Class {
    pub const SMALL: Self = Self(0);
    /// For a queue that has just filled a whole extent: a quarter of the next one.
    pub const BUSY: Self = Self(CLASSES as u8 - 3);

    pub fn entries(self) -> usize {
        SMALLEST << self.0
    }

    pub fn next(self) -> Option<Self> {
        (usize::from(self.0) + 1 < CLASSES).then_some(Self(self.0 + 1))
    }
}

#[derive(Clone, Copy)]
struct Shelf {
    /// Slabs that were left; each one's first entry names the next.
    free: u32,
    /// Never used slabs of this class's newest block.
    fresh: u32,
    fresh_end: u32,
}

const EMPTY_SHELF: Shelf = Shelf { free: NONE, fresh: 0, fresh_end: 0 };

pub(super) struct EntryPool {
    /// Each serves slabs of one class only.
    blocks: Vec<Box<[RawEntry]>>,
    used: usize,
    shelves: [Shelf; CLASSES],
}

impl Default for EntryPool {
    fn default() -> Self {
        Self { blocks: Vec::new(), used: 0, shelves: [EMPTY_SHELF; CLASSES] }
    }
}

impl EntryPool {
    pub fn take(&mut self, class: Class) -> Slab {
        let shelf = &mut self.shelves[usize::from(class.0)];
        if shelf.free != NONE {
            let slab = Slab(shelf.free);
            shelf.free = self.blocks[slab.block()][slab.place()].at;
            return slab;
        }
        if shelf.fresh == shelf.fresh_end {
            if self.used == self.blocks.len() {
                self.blocks.push(vec![RawEntry::default(); BLOCK].into_boxed_slice());
            }
            shelf.fresh =
                u32::try_from(self.used * BLOCK).expect("a run is far below 2^32 entries");
            shelf.fresh_end = shelf.fresh + BLOCK as u32;
            self.used += 1;
        }
        let slab = Slab(shelf.fresh);
        shelf.fresh += class.entries() as u32;
        slab
    }

    /// Moves a full slab's entries into a slab of the next class.
    pub fn grow(&mut self, slab: Slab, class: Class) -> Option<(Slab, Class)> {
        let larger_class = class.next()?;
        let larger = self.take(larger_class);
        let [from, to] = self
            .blocks
            .get_disjoint_mut([slab.block(), larger.block()])
            .expect("slabs of two classes never share a block");
        let count = class.entries();
        to[larger.place()..][..count].copy_from_slice(&from[slab.place()..][..count]);
        let shelf = &mut self.shelves[usize::from(class.0)];
        from[slab.place()].at = shelf.free;
        shelf.free = slab.0;
        Some((larger, larger_class))
    }

    #[inline]
    pub fn set(&mut self, slab: Slab, index: usize, entry: RawEntry) {
        self.blocks[slab.block()][slab.place() + index] = entry;
    }

    #[inline]
    pub fn entries(&self, slab: Slab, count: usize) -> &[RawEntry] {
        &self.blocks[slab.block()][slab.place()..][..count]
    }

    /// Gives up every slab. Blocks are kept for the next run, apart from those that
    /// this one did not need.
    pub fn clear(&mut self) {
        self.blocks.truncate(self.used + self.used / 4);
        self.used = 0;
        self.shelves = [EMPTY_SHELF; CLASSES];
    }

    pub fn memory_bytes(&self) -> usize {
        self.blocks.len() * BLOCK * size_of::<RawEntry>()
            + self.blocks.capacity() * size_of::<Box<[RawEntry]>>()
    }
}

impl Slab {
    #[inline]
    fn block(self) -> usize {
        self.0 as usize / BLOCK
    }

    #[inline]
    fn place(self) -> usize {
        self.0 as usize % BLOCK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u32) -> RawEntry {
        RawEntry { at: n, size: 1, tag: 2, ms: 3 }
    }

    #[test]
    fn a_slab_grows_to_a_whole_block_and_no_further() {
        let mut pool = EntryPool::default();
        let (mut slab, mut class) = (pool.take(Class::SMALL), Class::SMALL);
        let mut count = 0;
        loop {
            if count == class.entries() {
                match pool.grow(slab, class) {
                    Some(larger) => (slab, class) = larger,
                    None => break,
                }
            }
            pool.set(slab, count, entry(count as u32));
            count += 1;
        }
        assert_eq!(count, BLOCK);
        assert!(pool.entries(slab, count).iter().enumerate().all(|(i, e)| e.at == i as u32));
    }

    #[test]
    fn slabs_that_were_left_serve_again() {
        let mut pool = EntryPool::default();
        let left = pool.take(Class::SMALL);
        let (grown, class) = pool.grow(left, Class::SMALL).unwrap();
        assert_ne!(grown, left);
        assert_eq!(pool.take(Class::SMALL), left);
        assert_ne!(pool.take(Class::SMALL), left);
        assert_eq!(class.entries(), 2 * SMALLEST);
    }
}
