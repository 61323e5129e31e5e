//! A file in memory: what is copied in goes to the page cache without a system call.

use super::arena::memory::Range;
use super::sigbus::Watch;
use memmap2::{Advice, MmapOptions, MmapRaw};
use std::fs::File;
use std::io;
use std::path::Path;

/// A whole file, mapped and shared with the page cache. Mapping, populating and dropping
/// take long: not on a data thread.
#[derive(Debug)]
pub struct MappedFile {
    map: MmapRaw,
    /// Names the file should an access to it find nothing there; outlives the mapping.
    _watch: Watch,
}

impl MappedFile {
    /// Maps the file as long as it is now. The mapping keeps its description open.
    pub fn map(file: &File, path: &Path) -> io::Result<Self> {
        let map = MmapOptions::new().map_raw(file)?;
        let watch = Watch::over(map.as_ptr() as usize, map.len(), path);
        Ok(Self { map, _watch: watch })
    }

    /// Brings every page into the page cache and into the page tables, so that nobody
    /// waits for a disk later. For reading: to populate for writing would make every
    /// page dirty, and the next flush would write the whole file.
    pub fn populate(&self) -> io::Result<()> {
        self.map.advise(Advice::PopulateRead)
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }

    pub fn is_empty(&self) -> bool {
        self.map.len() == 0
    }

    /// Copies a range of an arena to `offset`.
    pub(super) fn write(&self, offset: u64, from: Range) {
        let offset = usize::try_from(offset).expect("an offset in memory");
        assert!(offset <= self.map.len() && from.len <= self.map.len() - offset);
        // SAFETY: both ranges were checked to lie in their own mappings, and nobody holds a
        // reference into this one.
        unsafe {
            std::ptr::copy_nonoverlapping(from.base, self.map.as_mut_ptr().add(offset), from.len);
        }
    }
}
