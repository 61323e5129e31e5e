//! Index files of one shard: each written whole, by whoever knows its format, then read
//! in ranges.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::{FileError, Tried};
use super::segments::{entries, offset_of};
use super::small;
use crate::base::LogOffset;

const SCRATCH: &str = "tmp";

/// The `index` folder of a shard.
#[derive(Clone, Debug)]
pub struct IndexFiles {
    folder: PathBuf,
}

/// An open index file. Who replaces or removes its name does not disturb its readers.
#[derive(Debug)]
pub struct IndexFile {
    file: File,
}

impl IndexFile {
    /// Fills the buffer, or fails.
    pub fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, position)
    }

    pub fn file_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

impl IndexFiles {
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The starts of all runs, in order; half-written files are removed.
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

    /// Writes the run that starts at `start` and opens it.
    pub fn write_run<T>(
        &self,
        start: LogOffset,
        content: impl FnOnce(&mut dyn Write) -> io::Result<T>,
    ) -> Result<(IndexFile, T), FileError> {
        let path = self.run_path(start);
        let told = self.write(&path, content)?;
        Ok((open(&path)?, told))
    }

    pub fn open_run(&self, start: LogOffset) -> Result<IndexFile, FileError> {
        open(&self.run_path(start))
    }

    pub fn unlink_run(&self, start: LogOffset) -> Result<(), FileError> {
        let path = self.run_path(start);
        fs::remove_file(&path).tried("remove", &path)?;
        small::sync_directory(&self.folder)
    }

    /// Writes a file that is no run, such as the table of bases.
    pub fn write_table<T>(
        &self,
        name: &str,
        content: impl FnOnce(&mut dyn Write) -> io::Result<T>,
    ) -> Result<T, FileError> {
        self.write(&self.folder.join(name), content)
    }

    /// `None` where it was never written.
    pub fn open_table(&self, name: &str) -> Result<Option<IndexFile>, FileError> {
        match open(&self.folder.join(name)) {
            Err(error) if error.source.kind() == ErrorKind::NotFound => Ok(None),
            result => result.map(Some),
        }
    }

    fn run_path(&self, start: LogOffset) -> PathBuf {
        self.folder.join(format!("{start:0>20}", start = start.0))
    }

    /// The file appears whole and durable, in place of one of its name, or not at all.
    fn write<T>(
        &self,
        path: &Path,
        content: impl FnOnce(&mut dyn Write) -> io::Result<T>,
    ) -> Result<T, FileError> {
        let scratch = small::beside(path, SCRATCH);
        let written = write_through(&scratch, content).and_then(|told| {
            fs::rename(&scratch, path).tried("rename a new file to", path)?;
            Ok(told)
        });
        if written.is_err() {
            // The first error tells the cause; a leftover is removed at the next listing.
            let _ = fs::remove_file(&scratch);
        }
        let told = written?;
        small::sync_directory(&self.folder)?;
        Ok(told)
    }
}

fn open(path: &Path) -> Result<IndexFile, FileError> {
    Ok(IndexFile { file: File::open(path).tried("open", path)? })
}

fn write_through<T>(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> io::Result<T>,
) -> Result<T, FileError> {
    let mut out = BufWriter::new(File::create(path).tried("create", path)?);
    let told = content(&mut out).tried("write", path)?;
    out.flush().tried("write", path)?;
    out.get_ref().sync_all().tried("flush", path)?;
    Ok(told)
}
