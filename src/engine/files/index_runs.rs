//! Index run files of one shard: written once, whole, then read in ranges.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::{FileError, Tried};
use super::segments::{entries, offset_of};
use super::small;
use crate::base::LogOffset;

const SCRATCH: &str = "tmp";

/// The content of a run, by whoever knows its format.
pub trait WriteRun {
    fn write_run(&mut self, out: &mut dyn Write) -> io::Result<()>;
}

/// Reads in ranges from something that does not change.
pub trait ReadAt {
    fn len(&self) -> u64;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills the buffer, or fails.
    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;
}

/// The `index` folder of a shard.
#[derive(Clone, Debug)]
pub struct IndexFiles {
    folder: PathBuf,
}

/// An open run. A merge that replaces or removes it does not disturb its readers.
#[derive(Debug)]
pub struct RunFile {
    file: File,
    start: LogOffset,
    len: u64,
}

impl RunFile {
    /// Where the log begins that the run covers.
    pub fn start(&self) -> LogOffset {
        self.start
    }
}

impl ReadAt for RunFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, at)
    }
}

impl IndexFiles {
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub fn path(&self, start: LogOffset) -> PathBuf {
        self.folder.join(format!("{start:0>20}", start = start.0))
    }

    /// The starts of all runs, in order; half-written ones are removed.
    pub fn list(&self) -> Result<Vec<LogOffset>, FileError> {
        let mut starts = Vec::new();
        for path in entries(&self.folder)? {
            if path.extension().is_some_and(|ending| ending == SCRATCH) {
                fs::remove_file(&path).tried("remove", &path)?;
            }
            starts.extend(offset_of(&path));
        }
        starts.sort();
        Ok(starts)
    }

    /// Writes a run and opens it. It appears whole and durable, in place of one of the
    /// same start, or not at all.
    pub fn write(
        &self,
        start: LogOffset,
        content: &mut dyn WriteRun,
    ) -> Result<RunFile, FileError> {
        let path = self.path(start);
        let scratch = small::beside(&path, SCRATCH);
        let written = write_through(&scratch, content)
            .and_then(|()| fs::rename(&scratch, &path).tried("name the index run", &path));
        if written.is_err() {
            // The first error tells the cause; a leftover is removed at the next listing.
            let _ = fs::remove_file(&scratch);
        }
        written?;
        small::sync_directory(&self.folder)?;
        self.open(start)
    }

    pub fn open(&self, start: LogOffset) -> Result<RunFile, FileError> {
        let path = self.path(start);
        let file = File::open(&path).tried("open", &path)?;
        let len = file.metadata().tried("ask for the size of", &path)?.len();
        Ok(RunFile { file, start, len })
    }

    pub fn unlink(&self, start: LogOffset) -> Result<(), FileError> {
        let path = self.path(start);
        fs::remove_file(&path).tried("remove", &path)?;
        small::sync_directory(&self.folder)
    }
}

fn write_through(path: &Path, content: &mut dyn WriteRun) -> Result<(), FileError> {
    let mut out = BufWriter::new(File::create(path).tried("create", path)?);
    content.write_run(&mut out).and_then(|()| out.flush()).tried("write", path)?;
    out.get_ref().sync_all().tried("flush", path)
}
