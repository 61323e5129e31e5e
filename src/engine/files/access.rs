//! How the log's files are read and written in this start.

use std::path::Path;

use nix::sys::statfs::{
    BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, FsType, TMPFS_MAGIC, XFS_SUPER_MAGIC, statfs,
};

use super::disk::{write_to_named, write_to_unnamed};
use super::error::{FileError, Tried};
use crate::base::WriteMode;

/// File systems on which a block that is written again stays in its place, so that what
/// was written out needs no metadata to be found after a crash of the kernel.
const IN_PLACE: [FsType; 3] = [EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, TMPFS_MAGIC];

/// What a directory's file system allows, and the mode that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    pub mode: WriteMode,
    /// O_DIRECT in place is to be had; segments are read so in every mode.
    pub direct: bool,
    /// A block that is written again stays in its place.
    pub in_place: bool,
    /// What was written can be dropped from the page cache by the write itself.
    pub can_uncache: bool,
}

impl Access {
    /// Direct writes, or buffered ones where `direct` says that these are not to be had.
    pub fn usual(direct: bool) -> Self {
        let mode = if direct { WriteMode::Direct } else { WriteMode::Buffered };
        Self { mode, direct, in_place: true, can_uncache: false }
    }

    /// What is to be had in `directory`, and why O_DIRECT is not, if so.
    pub fn probe(directory: &Path) -> Result<(Self, Option<&'static str>), FileError> {
        Self::probe_by(directory, write_to_named)
    }

    /// The same, without changing anything there.
    pub fn look(directory: &Path) -> Result<(Self, Option<&'static str>), FileError> {
        Self::probe_by(directory, write_to_unnamed)
    }

    /// `write` makes a direct write into a directory.
    fn probe_by(
        directory: &Path,
        write: fn(&Path) -> Result<bool, FileError>,
    ) -> Result<(Self, Option<&'static str>), FileError> {
        let found = statfs(directory).tried("ask for the file system of", directory)?;
        let kind = found.filesystem_type();
        let no_direct = if kind == BTRFS_SUPER_MAGIC {
            Some("btrfs copies on every write")
        } else if write(directory)? {
            None
        } else {
            Some("the file system refuses O_DIRECT")
        };
        let access = Self::usual(no_direct.is_none());
        Ok((Self { in_place: IN_PLACE.contains(&kind), ..access }, no_direct))
    }

    /// Flags to open a segment with for writing.
    pub(super) fn write_flags(self) -> i32 {
        if self.direct && self.mode == WriteMode::Direct { libc::O_DIRECT } else { 0 }
    }

    /// … for reading.
    pub(super) fn read_flags(self) -> i32 {
        if self.direct { libc::O_DIRECT } else { 0 }
    }

    /// … for filling it with zeros. A mapped one needs its pages in memory afterwards.
    pub(super) fn fill_flags(self) -> i32 {
        if self.mode == WriteMode::Mmap { 0 } else { self.read_flags() }
    }

    /// Whether a segment with written extents keeps what is written out, without a flush.
    pub(super) fn settles(self) -> bool {
        self.in_place || !self.mode.is_cached()
    }
}
