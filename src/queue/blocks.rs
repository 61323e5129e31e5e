//! A growing array that never moves what it holds.
//!
//! A `Vec` of a million queues would, when it grows, copy all of them in one turn of the
//! data thread and keep up to half of its memory empty. Blocks cost one allocation per
//! thousand elements and are kept when the array is cleared.

/// Elements per block.
const BLOCK: usize = 1024;

pub(super) struct Blocks<T> {
    blocks: Vec<Box<[T]>>,
    len: usize,
}

impl<T> Default for Blocks<T> {
    fn default() -> Self {
        Self { blocks: Vec::new(), len: 0 }
    }
}

impl<T: Default> Blocks<T> {
    pub fn len(&self) -> usize {
        self.len
    }

    /// Appends `value` and returns its index.
    pub fn push(&mut self, value: T) -> u32 {
        let index = self.len;
        if index == self.blocks.len() * BLOCK {
            self.blocks.push((0..BLOCK).map(|_| T::default()).collect());
        }
        self.blocks[index / BLOCK][index % BLOCK] = value;
        self.len += 1;
        u32::try_from(index).expect("an array of the index has less than 2^32 elements")
    }

    #[inline]
    pub fn get(&self, index: u32) -> &T {
        debug_assert!((index as usize) < self.len);
        &self.blocks[index as usize / BLOCK][index as usize % BLOCK]
    }

    #[inline]
    pub fn get_mut(&mut self, index: u32) -> &mut T {
        debug_assert!((index as usize) < self.len);
        &mut self.blocks[index as usize / BLOCK][index as usize % BLOCK]
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.blocks.iter().flat_map(|block| block.iter()).take(self.len)
    }

    /// Forgets the elements. Memory that the array needed this time is kept.
    pub fn clear(&mut self) {
        self.blocks.truncate(self.len.div_ceil(BLOCK));
        self.len = 0;
    }

    pub fn memory_bytes(&self) -> usize {
        self.blocks.len() * BLOCK * size_of::<T>() + self.blocks.capacity() * size_of::<Box<[T]>>()
    }
}
