//! An arena's name: what the next start finds it by. It can be asked for from any thread,
//! which the arena itself cannot.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The name of an installed arena, and which file it led to then.
#[derive(Clone, Debug)]
pub struct ArenaName {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl ArenaName {
    pub(super) fn of(path: &Path, file: &OwnedFd) -> io::Result<Self> {
        let ours = nix::sys::stat::fstat(file)?;
        Ok(Self { path: path.to_owned(), device: ours.st_dev, inode: ours.st_ino })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the name still leads to the arena's memory, so that the next start will
    /// find it.
    pub fn check_still_ours(&self) -> io::Result<bool> {
        match fs::symlink_metadata(&self.path) {
            Ok(found) => Ok(found.dev() == self.device && found.ino() == self.inode),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}
