//! A segment as the log writes it, in the mode of this start.

use crate::base::{LogOffset, WriteMode};
use crate::log::Extents;
use crate::reactor::{CachedFile, CanUncache, DirectFile, DiskWrite, MappedFile, Ring};

use super::files::{FileError, FileId, SegmentFile};

/// A segment opened for writing, and mapped where that is the mode, on its way to the
/// data thread.
#[derive(Debug)]
pub struct WritableSegment {
    file: SegmentFile,
    mapping: Option<MappedFile>,
}

/// The same on its data thread.
pub(super) struct Writable {
    target: Target,
    pub extents: Extents,
    pub id: FileId,
}

enum Target {
    Direct(DirectFile),
    Cached(CachedFile),
}

impl WritableSegment {
    /// Maps the segment where it is to be mapped, with all its pages; may take long.
    pub fn of(file: SegmentFile) -> Result<Self, FileError> {
        let mapped = match file.mode() {
            WriteMode::Mmap => MappedFile::map(file.file(), file.path())
                .and_then(|mapping| mapping.populate().map(|()| Some(mapping))),
            _ => Ok(None),
        };
        match mapped {
            Ok(mapping) => Ok(Self { file, mapping }),
            Err(source) => {
                let path = file.path().to_owned();
                Err(FileError { tried: "map the segment", path, source })
            }
        }
    }

    pub fn start(&self) -> LogOffset {
        self.file.start()
    }

    pub fn file(&self) -> &SegmentFile {
        &self.file
    }

    pub(super) fn into_writable(self) -> Writable {
        let Self { file, mapping } = self;
        let extents = if file.is_filled() { Extents::Written } else { Extents::Reserved };
        let (id, mode, can_uncache) = (file.id(), file.mode(), CanUncache(file.can_uncache()));
        let file = file.into_file();
        let target = match (mode, mapping) {
            (_, Some(mapping)) => Target::Cached(CachedFile::mapped(file, mapping)),
            (WriteMode::Direct, _) => Target::Direct(file.into()),
            (WriteMode::BufferedUncached, _) => {
                Target::Cached(CachedFile::buffered(file, Some(can_uncache)))
            }
            _ => Target::Cached(CachedFile::buffered(file, None)),
        };
        Writable { target, extents, id }
    }
}

impl Writable {
    pub fn write(&self, ring: &mut Ring, write: DiskWrite, token: u64) {
        match &self.target {
            Target::Direct(file) => ring.write(file, write, token),
            Target::Cached(file) => ring.write_cached(file, write, token),
        }
    }

    pub fn flush(&self, ring: &mut Ring, token: u64) {
        match &self.target {
            Target::Direct(file) => ring.fdatasync(file, token),
            Target::Cached(file) => ring.fdatasync_cached(file, token),
        }
    }

    /// The file, if it is mapped: unmapping takes long and is for a helper.
    pub fn into_mapped(self) -> Option<CachedFile> {
        match self.target {
            Target::Cached(file) if file.mapping().is_some() => Some(file),
            _ => None,
        }
    }
}
