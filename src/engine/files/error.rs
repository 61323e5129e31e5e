//! What can go wrong with files: what was tried, on which path, and what to do.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// A file operation that the system refused.
#[derive(Debug)]
pub struct FileError {
    pub tried: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

/// Why a data directory cannot be used.
#[derive(Debug)]
pub enum DirectoryError {
    File(FileError),
    InUse { path: PathBuf, pid: Option<u32>, waited_ms: u128 },
    Foreign { path: PathBuf, found: String },
    OtherVersion { path: PathBuf, found: u64, ours: u64 },
    Damaged { path: PathBuf, why: String },
    Differs { path: PathBuf, flag: &'static str, kept: String, given: String },
    SegmentSize { given: u64, rule: String },
    TooSmall { path: PathBuf, available: u64, needed: u64 },
}

impl FileError {
    pub fn is_disk_full(&self) -> bool {
        matches!(self.source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
    }

    fn remedy(&self) -> &'static str {
        match self.source.kind() {
            ErrorKind::PermissionDenied => {
                "; give this user read and write permission there, or choose another --data-dir"
            }
            ErrorKind::ReadOnlyFilesystem => {
                "; mount the file system writable, or choose another --data-dir"
            }
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                "; free space on that file system, or keep less (--retention-hours)"
            }
            ErrorKind::AlreadyExists => {
                "; a file is in the way: move it, or choose another --data-dir"
            }
            ErrorKind::NotADirectory => "; choose a --data-dir whose parents are directories",
            _ => "",
        }
    }
}

/// Names the operation and the path of a failed system call.
pub(super) trait Tried<T> {
    fn tried(self, what: &'static str, path: &Path) -> Result<T, FileError>;
}

impl<T, E: Into<io::Error>> Tried<T> for Result<T, E> {
    fn tried(self, tried: &'static str, path: &Path) -> Result<T, FileError> {
        self.map_err(|source| FileError { tried, path: path.to_owned(), source: source.into() })
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tried, path, source } = self;
        write!(f, "cannot {tried} {}: {source}{}", path.display(), self.remedy())
    }
}

impl fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::InUse { path, pid, waited_ms } => {
                write!(f, "{} is in use", path.display())?;
                if let Some(pid) = pid {
                    write!(f, " by pid {pid}")?;
                }
                write!(
                    f,
                    " (waited {waited_ms} ms); stop that process, or give each its own --data-dir"
                )
            }
            Self::Foreign { path, found } => write!(
                f,
                "{} has no identity file but holds {found:?}: it is no data directory of ringmq; \
                 choose an empty or a new --data-dir",
                path.display()
            ),
            Self::OtherVersion { path, found, ours } => write!(
                f,
                "{} was written in format {found}, and this ringmq reads format {ours}; \
                 start the version that wrote it, or choose another --data-dir",
                path.display()
            ),
            Self::Damaged { path, why } => {
                write!(f, "{}: {why}; restore the file from a copy", path.display())
            }
            Self::Differs { path, flag, kept, given } => write!(
                f,
                "--{flag} {given}: the data directory {} was made with {kept}; \
                 leave the flag out, or choose another --data-dir",
                path.display()
            ),
            Self::SegmentSize { given, rule } => write!(f, "--segment-size {given}: {rule}"),
            Self::TooSmall { path, available, needed } => write!(
                f,
                "{} has {available} bytes free, and the shards need {needed}; \
                 free space, lower --shards, or choose another --data-dir",
                path.display()
            ),
        }
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl std::error::Error for DirectoryError {}

impl From<FileError> for DirectoryError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;

    #[test]
    fn a_refusal_names_what_was_tried_the_path_the_cause_and_what_to_do() {
        let told = |errno: Errno| {
            let path = Path::new("/d/lock");
            Err::<(), _>(errno).tried("open for writing", path).unwrap_err().to_string()
        };
        for (errno, remedy) in [
            (Errno::EACCES, "; give this user read and write permission"),
            (Errno::EROFS, "; mount the file system writable"),
            (Errno::ENOSPC, "; free space"),
            (Errno::EDQUOT, "; free space"),
            (Errno::ENOTDIR, "; choose a --data-dir"),
        ] {
            let text = told(errno);
            assert!(text.starts_with("cannot open for writing /d/lock: "), "{text}");
            assert!(text.contains(remedy), "{errno}: {text}");
        }
    }
}
