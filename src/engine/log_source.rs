//! The log as a scan reads it: through the page cache, which direct writes keep true.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::files::{FileError, SegmentFiles};
use crate::base::LogOffset;
use crate::log::scan::SegmentSource;

/// The segments of a shard, of which one is open at a time: a log may have thousands.
pub struct LogSource<'a> {
    files: &'a SegmentFiles,
    bases: Vec<LogOffset>,
    open: RefCell<Option<(LogOffset, File)>>,
}

impl<'a> LogSource<'a> {
    /// All of them.
    pub fn list(files: &'a SegmentFiles) -> Result<Self, FileError> {
        Ok(Self { files, bases: files.list()?, open: RefCell::default() })
    }

    /// The one that holds `at`.
    pub fn only(files: &'a SegmentFiles, at: LogOffset) -> Self {
        let base = base_of(files, at);
        Self { files, bases: vec![base], open: RefCell::default() }
    }
}

impl SegmentSource for LogSource<'_> {
    fn segments(&self) -> &[LogOffset] {
        &self.bases
    }

    fn read(&self, at: LogOffset, buffer: &mut [u8]) -> io::Result<()> {
        let base = base_of(self.files, at);
        let mut open = self.open.borrow_mut();
        let file = match &mut *open {
            Some((same, file)) if *same == base => file,
            other => {
                let file = self.files.open_buffered(base).map_err(io::Error::other)?;
                &mut other.insert((base, file)).1
            }
        };
        file.read_exact_at(buffer, at - base)
    }
}

fn base_of(files: &SegmentFiles, at: LogOffset) -> LogOffset {
    LogOffset(at.0 - at.0 % files.segment_bytes())
}
