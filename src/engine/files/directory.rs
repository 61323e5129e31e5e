//! The data directory as a whole: one process owns it, and its identity is checked
//! before anything else in it is touched.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::access::Access;
use super::disk::{self, DiskSpace, FlushProbe};
use super::error::{DirectoryError, FileError, Tried};
use super::identity::{Identity, Wanted};
use super::index_runs::IndexFiles;
use super::segments::{SegmentFiles, entries, lock_within};
use super::small;

const LOCK: &str = "lock";
const IDENTITY: &str = "identity";
/// What may lie in a directory that is not yet made.
const LEFTOVERS: [&str; 5] =
    [LOCK, "identity.tmp", "probe.tmp", "profile.json", "profile.json.tmp"];

/// How long a start waits for a killed process to let go, of the directory and of each
/// segment: longer than any write that a disk still answers.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A directory that this process alone uses, whether or not it has been made a data
/// directory yet: for what must not go on beside a broker.
#[derive(Debug)]
pub struct Occupied {
    /// Holds the lock: never read, closed last.
    _lock: File,
}

impl Occupied {
    /// Makes the directory where it is missing, and does not wait for another process.
    pub fn take(path: &Path) -> Result<Self, DirectoryError> {
        fs::create_dir_all(path).tried("create", path)?;
        if Identity::load(&path.join(IDENTITY))?.is_none() {
            refuse_foreign(path)?;
        }
        Ok(Self { _lock: lock(path, Duration::ZERO)? })
    }
}

/// A data directory that this process alone uses, for as long as the value lives.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    identity: Identity,
    access: Access,
    no_direct: Option<&'static str>,
    /// Holds the lock: never read, closed last.
    _lock: File,
}

impl DataDirectory {
    /// Opens the directory, or makes it where nothing is. Waits up to `patience` for
    /// another process to let go of it.
    pub fn open(path: &Path, wanted: &Wanted, patience: Duration) -> Result<Self, DirectoryError> {
        fs::create_dir_all(path).tried("create", path)?;
        let has_identity = Identity::load(&path.join(IDENTITY))?.is_some();
        if !has_identity {
            refuse_foreign(path)?;
        }
        let lock = lock(path, patience)?;
        // Again: who held the lock may just have made the directory.
        let identity = match Identity::load(&path.join(IDENTITY))? {
            Some(identity) => identity,
            None => make(path, wanted)?,
        };
        identity.check(path, wanted)?;
        let (access, no_direct) = Access::probe(path)?;
        Ok(Self { path: path.to_owned(), identity, access, no_direct, _lock: lock })
    }

    /// How the log's files are written and read from now on.
    pub fn access(&self) -> Access {
        self.access
    }

    pub fn set_access(&mut self, access: Access) {
        self.access = access;
    }

    /// Why direct writes are not to be had here, if so.
    pub fn no_direct(&self) -> Option<&'static str> {
        self.no_direct
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    pub fn metadata_path(&self) -> PathBuf {
        self.path.join("metadata.redb")
    }

    pub fn segments(&self, shard: u16) -> SegmentFiles {
        let folder = shard_folder(&self.path, shard).join("log");
        SegmentFiles::new(folder, self.identity.segment_bytes, self.access)
    }

    pub fn index_runs(&self, shard: u16) -> IndexFiles {
        IndexFiles::new(shard_folder(&self.path, shard).join("index"))
    }

    pub fn run_mark_path(&self, shard: u16) -> PathBuf {
        shard_folder(&self.path, shard).join("run-mark")
    }

    /// The bytes of a shard's run mark, which the log understands; `None` before its
    /// first run. `small::replace` makes the next one durable.
    pub fn run_mark(&self, shard: u16) -> Result<Option<Vec<u8>>, FileError> {
        let path = self.run_mark_path(shard);
        match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            result => result.map(Some).tried("read", &path),
        }
    }

    pub fn disk_space(&self) -> Result<DiskSpace, FileError> {
        DiskSpace::of(&self.path)
    }

    /// Times both ways of making a write durable, here.
    pub fn probe_flush(&self) -> Result<FlushProbe, FileError> {
        disk::probe_flush(&self.path, self.access.direct)
    }
}

/// What a start meets.
#[derive(Debug)]
pub enum Foreseen {
    There(Identity),
    ToBeMade(Identity),
}

fn shard_folder(path: &Path, shard: u16) -> PathBuf {
    path.join(format!("shard-{shard}"))
}

/// The identity that a start with `wanted` would find in the directory or give it, with
/// `available` bytes free there. Changes nothing and waits for nobody.
pub fn foresee(path: &Path, wanted: &Wanted, available: u64) -> Result<Foreseen, DirectoryError> {
    if let Some(identity) = Identity::load(&path.join(IDENTITY))? {
        identity.check(path, wanted)?;
        return Ok(Foreseen::There(identity));
    }
    if path.exists() {
        refuse_foreign(path)?;
    }
    Ok(Foreseen::ToBeMade(Identity::new(path, wanted, available)?))
}

/// Makes the folders, then the identity: a directory without one is not yet made, and
/// a start that was killed here is simply done again.
fn make(path: &Path, wanted: &Wanted) -> Result<Identity, DirectoryError> {
    let identity = Identity::new(path, wanted, DiskSpace::of(path)?.available)?;
    for shard in 0..identity.shards {
        let folder = shard_folder(path, shard);
        for inner in ["log", "index"] {
            let inner = folder.join(inner);
            fs::create_dir_all(&inner).tried("create", &inner)?;
        }
        small::sync_directory(&folder)?;
    }
    small::sync_parent(path)?;
    identity.store(&path.join(IDENTITY))?;
    Ok(identity)
}

/// Somebody else's files are never mixed with ours. What a killed making leaves (the
/// lock, empty shard folders) is nobody's, and a probe may have come first.
fn refuse_foreign(path: &Path) -> Result<(), DirectoryError> {
    let is_leftover = |name: &str| LEFTOVERS.contains(&name) || name.starts_with("shard-");
    for entry in entries(path)? {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_ours = is_leftover(&name) && !holds_segments(&entry);
        // A fresh ext4 file system has this one.
        if !is_ours && name != "lost+found" {
            return Err(DirectoryError::Foreign { path: path.into(), found: name });
        }
    }
    Ok(())
}

fn holds_segments(folder: &Path) -> bool {
    entries(&folder.join("log")).is_ok_and(|segments| !segments.is_empty())
}

fn lock(directory: &Path, patience: Duration) -> Result<File, DirectoryError> {
    let path = directory.join(LOCK);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(&path).tried("open for writing", &path)?;
    let begin = Instant::now();
    if lock_within(&file, &path, patience).tried("lock", &path)? {
        let write = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        write.tried("write", &path)?;
        return Ok(file);
    }
    let mut holder = String::new();
    // Without its pid the holder is still a holder.
    let _ = file.rewind().and_then(|()| file.read_to_string(&mut holder));
    Err(DirectoryError::InUse {
        path: directory.into(),
        pid: holder.trim().parse().ok(),
        waited_ms: begin.elapsed().as_millis(),
    })
}
