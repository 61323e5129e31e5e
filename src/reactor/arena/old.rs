//! The arena of an earlier life, read and never written.

use super::journal;
use super::layout::{ArenaIdentity, ArenaSizes, Layout, WORD_EDGE, WORD_START};
use super::{ArenaError, lock};
use crate::base::LogOffset;
use crate::reactor::mapping::{Access, Mapping};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a process left behind when it ended: the newest bytes of its log up to the
/// published edge, and its journal.
pub struct OldArena {
    mapping: Mapping,
    layout: Layout,
    identity: ArenaIdentity,
    start: u64,
    edge: u64,
    _file: OwnedFd,
}

impl OldArena {
    /// Opens an arena file. `ArenaError::InUse` while its process still lives, or while
    /// the kernel still takes it down: try again for a bounded time.
    pub fn open(path: &Path) -> Result<Self, ArenaError> {
        let tried = |error| ArenaError::Io { tried: format!("open {}", path.display()), error };
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW)
            .open(path)
            .map_err(tried)?;
        lock(&file, path)?;
        Self::from_file(file)
    }

    pub(super) fn from_file(file: File) -> Result<Self, ArenaError> {
        let tried = |tried: &str| {
            let tried = format!("{tried} of an old arena");
            move |error| ArenaError::Io { tried, error }
        };
        // Read by mapping: hugetlbfs files know no other way.
        let len = file.metadata().map_err(tried("size"))?.len() as usize;
        let unit = page_bytes(&file).map_err(tried("page size"))?;
        if len < 2 * unit.max(4096) {
            return Err(ArenaError::NotAnArena);
        }
        let head = Mapping::mirrored(file.as_fd(), 0, unit, unit, Access::ReadOnly)
            .map_err(tried("header"))?;
        let mut page = [0; 4096];
        // SAFETY: the header page lies in the mapping, and the lock says that nobody writes it.
        unsafe { page.as_mut_ptr().copy_from_nonoverlapping(head.at(0, 4096), 4096) };
        drop(head);
        let (layout, identity) = Layout::decode(&page)?;
        if layout.file_len() != len || layout.unit != unit {
            return Err(ArenaError::Length { expected: layout.file_len(), found: len });
        }
        let mapping =
            Mapping::mirrored(file.as_fd(), layout.front, layout.ring(), unit, Access::ReadOnly)
                .map_err(tried("mapping"))?;
        let mut old = Self { mapping, layout, identity, start: 0, edge: 0, _file: file.into() };
        (old.start, old.edge) = (old.word(WORD_START), old.word(WORD_EDGE));
        if old.edge < old.start || old.edge - old.start > layout.sizes.ring {
            return Err(ArenaError::Edges { start: old.start, edge: old.edge });
        }
        Ok(old)
    }

    pub fn identity(&self) -> &ArenaIdentity {
        &self.identity
    }

    pub fn sizes(&self) -> ArenaSizes {
        self.layout.sizes
    }

    /// The lowest log offset whose bytes are surely whole.
    pub fn start(&self) -> LogOffset {
        LogOffset(self.start)
    }

    /// Everything below was published before any reply that depends on it.
    pub fn edge(&self) -> LogOffset {
        LogOffset(self.edge)
    }

    /// Bytes of the log. Panics unless they lie between `start` and `edge`.
    pub fn log(&self, at: LogOffset, len: usize) -> &[u8] {
        let end = at.0.checked_add(len as u64).expect("a range of the log ends below 2^64");
        assert!(self.start <= at.0 && end <= self.edge, "{at}+{len} is not in the old arena");
        self.bytes(self.layout.log_at(at.0), len)
    }

    /// The journal's entries, oldest first.
    pub fn journal(&self) -> impl Iterator<Item = &[u8]> {
        journal::halves(&self.layout, |word| self.word(word))
            .into_iter()
            .flat_map(|(at, len)| journal::entries(self.bytes(at, len)))
    }

    fn bytes(&self, at: usize, len: usize) -> &[u8] {
        let base = self.mapping.at(at, len);
        // SAFETY: the range lies in the mapping, and the lock on the file excludes writers.
        unsafe { std::slice::from_raw_parts(base, len) }
    }

    fn word(&self, offset: usize) -> u64 {
        let address = self.mapping.at(offset, 8).cast();
        // SAFETY: the words are aligned and lie in the mapping; a read-only page can be loaded.
        unsafe { AtomicU64::from_ptr(address) }.load(Ordering::Acquire)
    }
}

/// The page size of the file's file system: of its huge pages on hugetlbfs, else 4096.
pub(super) fn page_bytes(file: &impl AsFd) -> io::Result<usize> {
    let status = nix::sys::statfs::fstatfs(file.as_fd())?;
    if status.filesystem_type() == nix::sys::statfs::HUGETLBFS_MAGIC {
        return Ok(status.block_size() as usize);
    }
    Ok(4096)
}
