//! Segment files of one shard: born with their final size and written extents, so that
//! an append changes no metadata and the kernel never has to look for space.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use memmap2::{Advice, MmapMut};
use nix::errno::Errno;
use nix::fcntl::{
    AT_FDCWD, FallocateFlags, PosixFadviseAdvice, RenameFlags, fallocate, posix_fadvise, renameat2,
};
use nix::unistd::{Whence, lseek};
use tracing::info;

use super::access::Access;
use super::error::{FileError, Tried};
use super::small;
use crate::base::limits::BLOCK_BYTES;
use crate::base::{LogOffset, WriteMode};

/// Zeros are written in pieces of this size: a huge page.
const ZERO_BYTES: usize = 2 * 1024 * 1024;
/// How often a lock is tried again.
const LOCK_PAUSE: Duration = Duration::from_millis(10);
const PREPARING: &str = "preparing";

/// The `log` folder of a shard.
#[derive(Clone, Debug)]
pub struct SegmentFiles {
    folder: PathBuf,
    segment_bytes: u64,
    access: Access,
}

/// An open segment. A writable one holds an exclusive lock on the description that
/// its writes use: the lock lasts until the last write of a killed process has ended.
#[derive(Debug)]
pub struct SegmentFile {
    file: File,
    path: PathBuf,
    start: LogOffset,
    /// Opened with O_DIRECT.
    direct: bool,
    access: Access,
    filled: bool,
    id: FileId,
}

/// Which file a name led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
}

/// What whoever waits for a segment wants of its preparation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// All of it, filled with zeros.
    Fill,
    /// What there is, as long as its space is reserved.
    HandOver,
    /// Nothing any more.
    GiveUp,
}

impl SegmentFile {
    pub fn start(&self) -> LogOffset {
        self.start
    }

    /// Whether all its extents were found written when it was opened for writing, so that
    /// a block that is written out needs nothing else to survive the kernel.
    pub fn is_filled(&self) -> bool {
        self.filled
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn id(&self) -> FileId {
        self.id
    }

    /// How it is to be written.
    pub fn mode(&self) -> WriteMode {
        self.access.mode
    }

    pub fn can_uncache(&self) -> bool {
        self.access.can_uncache
    }

    /// The file alone; it keeps the lock.
    pub fn into_file(self) -> File {
        self.file
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    /// Writes whole blocks at `position`, wherever they lie in memory.
    pub fn write_blocks(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        if !self.direct || bytes.as_ptr().align_offset(BLOCK_BYTES as usize) == 0 {
            return self.file.write_all_at(bytes, position);
        }
        let mut aligned = Aligned::zeros(bytes.len());
        aligned.bytes_mut().copy_from_slice(bytes);
        self.file.write_all_at(aligned.bytes(), position)
    }
}

impl AsFd for SegmentFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl SegmentFiles {
    pub fn new(folder: PathBuf, segment_bytes: u64, access: Access) -> Self {
        Self { folder, segment_bytes, access }
    }

    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    pub fn path(&self, start: LogOffset) -> PathBuf {
        self.folder.join(format!("{start:0>20}", start = start.0))
    }

    /// The starts of all segments, in order; each has its full size. What a killed
    /// preparation left behind is removed.
    pub fn list(&self) -> Result<Vec<LogOffset>, FileError> {
        let mut starts = Vec::new();
        for path in entries(&self.folder)? {
            if path.extension().is_some_and(|ending| ending == PREPARING) {
                fs::remove_file(&path).tried("remove", &path)?;
            } else if let Some(start) = offset_of(&path) {
                self.check_size(&path)?;
                starts.push(start);
            }
        }
        starts.sort();
        Ok(starts)
    }

    /// Whether a segment's name still leads to the file that was opened, which is whole.
    pub fn check_still_there(&self, start: LogOffset, id: FileId) -> Result<(), FileError> {
        let path = self.path(start);
        if FileId::of(&fs::metadata(&path).tried("find", &path)?) != id {
            let why = "another file has taken its place";
            return Err(io::Error::other(why)).tried("go on with the segment", &path);
        }
        self.check_size(&path)
    }

    fn check_size(&self, path: &Path) -> Result<(), FileError> {
        let found = fs::metadata(path).tried("ask for the size of", path)?.len();
        if found == self.segment_bytes {
            return Ok(());
        }
        let why = format!("it has {found} bytes, a segment here has {}", self.segment_bytes);
        Err(io::Error::other(why)).tried("use the segment", path)
    }

    /// Makes a segment of zeros, durable with its name, as far as `pace` wants it, which
    /// is asked between writes; tells whether it is filled. To give up is the error
    /// `Interrupted`; nothing is left behind then or after another error.
    pub fn prepare(&self, start: LogOffset, pace: &dyn Fn() -> Pace) -> Result<bool, FileError> {
        let path = self.path(start);
        let scratch = small::beside(&path, PREPARING);
        let made = self.fill(&scratch, pace).and_then(|filled| {
            let named = rename_to_free_name(&scratch, &path).tried("name the segment", &path);
            named.map(|()| filled)
        });
        if made.is_err() {
            // The first error tells the cause; a leftover is removed at the next listing.
            let _ = fs::remove_file(&scratch);
        }
        let filled = made?;
        small::sync_directory(&self.folder)?;
        Ok(filled)
    }

    /// Opens a new segment for writing. It is made, unless a preparation that failed later
    /// has left it there whole.
    pub fn prepare_missing(
        &self,
        start: LogOffset,
        pace: &dyn Fn() -> Pace,
        patience: Duration,
    ) -> Result<SegmentFile, FileError> {
        let path = self.path(start);
        if path.exists() {
            self.check_size(&path)?;
            small::sync_directory(&self.folder)?;
        } else if self.prepare(start, pace)? {
            // Its zeros may stay in the page cache, where a mapping looks for them.
            let mut segment = self.lock(start, patience)?;
            segment.filled = self.access.settles();
            return Ok(segment);
        }
        self.open_writable(start, patience)
    }

    fn fill(&self, scratch: &Path, pace: &dyn Fn() -> Pace) -> Result<bool, FileError> {
        let mut options = OpenOptions::new();
        let flags = self.access.fill_flags();
        options.write(true).create(true).truncate(true).custom_flags(flags);
        let file = options.open(scratch).tried("create", scratch)?;
        // Few long extents, and a full disk is met before anything is written.
        let reserved = match fallocate(&file, FallocateFlags::empty(), 0, self.segment_bytes as i64)
        {
            Ok(()) => true,
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => false,
            Err(error) => Err(error).tried("reserve space for", scratch)?,
        };
        let zeros = Zeros::new().tried("find zeros for", scratch)?;
        let mut filled = true;
        for at in (0..self.segment_bytes).step_by(ZERO_BYTES) {
            match pace() {
                Pace::HandOver if reserved => {
                    filled = false;
                    break;
                }
                Pace::Fill | Pace::HandOver => {}
                Pace::GiveUp => {
                    return Err(io::Error::from(ErrorKind::Interrupted)).tried("fill", scratch);
                }
            }
            let len = (self.segment_bytes - at).min(ZERO_BYTES as u64) as usize;
            file.write_all_at(&zeros.bytes()[..len], at).tried("fill", scratch)?;
        }
        file.sync_all().tried("flush", scratch)?;
        Ok(filled)
    }

    /// Gives an expired segment a new name and keeps its content: its extents are
    /// written already, and a stale record's stored offset differs from its place.
    pub fn recycle(&self, from: LogOffset, to: LogOffset) -> Result<(), FileError> {
        let (from, to) = (self.path(from), self.path(to));
        rename_to_free_name(&from, &to).tried("recycle", &from)?;
        small::sync_directory(&self.folder)
    }

    pub fn unlink(&self, start: LogOffset) -> Result<(), FileError> {
        let path = self.path(start);
        fs::remove_file(&path).tried("remove", &path)?;
        small::sync_directory(&self.folder)
    }

    /// Opens a segment for writes and reads, once nobody else writes to it. Writes of a
    /// killed process may be on their way for a while: waits up to `patience`, saying so.
    pub fn open_writable(
        &self,
        start: LogOffset,
        patience: Duration,
    ) -> Result<SegmentFile, FileError> {
        let mut segment = self.lock(start, patience)?;
        // What an earlier life has left in the page cache: written out before anybody
        // writes past it, and before extents are looked at.
        segment.file.sync_data().tried("flush", &segment.path)?;
        let is_whole = first_hole(&segment.file) >= self.segment_bytes;
        segment.filled = is_whole && self.access.settles();
        Ok(segment)
    }

    fn lock(&self, start: LogOffset, patience: Duration) -> Result<SegmentFile, FileError> {
        let path = self.path(start);
        let options = &mut OpenOptions::new();
        let segment =
            self.open(start, options.read(true).write(true), self.access.write_flags())?;
        if lock_within(&segment.file, &path, patience).tried("lock", &path)? {
            return Ok(segment);
        }
        let why = format!("writes of another process still hold it after {patience:?}");
        Err(io::Error::new(ErrorKind::ResourceBusy, why)).tried("lock", &path)
    }

    /// Waits until nobody writes to any segment: a killed process's locks last until its
    /// last write has ended, and who holds the directory's lock keeps others away. From
    /// then on a segment changes only by our own hand. `patience` is for all together.
    pub fn await_writers(&self, patience: Duration) -> Result<(), FileError> {
        let deadline = Instant::now() + patience;
        for start in self.list()? {
            let left = deadline.saturating_duration_since(Instant::now());
            // Not kept: it would be one descriptor for each segment of the log.
            drop(self.lock(start, left)?);
        }
        Ok(())
    }

    /// Opens a segment as a start reads it: through the page cache.
    pub fn open_buffered(&self, start: LogOffset) -> Result<File, FileError> {
        let path = self.path(start);
        File::open(&path).tried("open", &path)
    }

    /// Opens a segment for writing, made first where it is missing.
    pub fn open_or_prepare(&self, start: LogOffset) -> Result<SegmentFile, FileError> {
        self.prepare_missing(start, &|| Pace::Fill, super::directory::PATIENCE)
    }

    pub fn open_readable(&self, start: LogOffset) -> Result<SegmentFile, FileError> {
        self.open(start, OpenOptions::new().read(true), self.access.read_flags())
    }

    fn open(
        &self,
        start: LogOffset,
        options: &mut OpenOptions,
        flags: i32,
    ) -> Result<SegmentFile, FileError> {
        let path = self.path(start);
        let file = options.custom_flags(flags).open(&path).tried("open", &path)?;
        let id = FileId::of(&file.metadata().tried("look at", &path)?);
        let direct = flags & libc::O_DIRECT != 0;
        Ok(SegmentFile { file, path, start, direct, access: self.access, filled: false, id })
    }
}

impl FileId {
    fn of(metadata: &fs::Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// Where the first extent begins that is not written; 0 where the file system cannot tell.
fn first_hole(file: &File) -> u64 {
    // What was read of an empty extent lies in the page cache and would pass for written.
    let forgotten = posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    let hole = forgotten.and_then(|()| lseek(file, 0, Whence::SeekHole));
    hole.map_or(0, |at| at as u64)
}

/// Locks `file` exclusively; false when it was held all through `patience`.
pub(super) fn lock_within(file: &File, path: &Path, patience: Duration) -> io::Result<bool> {
    let begin = Instant::now();
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(fs::TryLockError::Error(error)) => return Err(error),
            Err(fs::TryLockError::WouldBlock) if begin.elapsed() >= patience => return Ok(false),
            Err(fs::TryLockError::WouldBlock) => {}
        }
        if !told {
            info!(path = %path.display(), "held by another process; waiting up to {patience:?}");
            told = true;
        }
        std::thread::sleep(LOCK_PAUSE);
    }
}

/// The log offset that a file's name stands for: twenty digits, nothing else.
pub(super) fn offset_of(path: &Path) -> Option<LogOffset> {
    let name = path.file_name()?.to_str()?;
    let plain = name.len() == 20 && name.bytes().all(|digit| digit.is_ascii_digit());
    plain.then(|| name.parse().ok()).flatten().map(LogOffset)
}

pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    let entries = fs::read_dir(folder).tried("list", folder)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    paths.collect::<io::Result<_>>().tried("list", folder)
}

/// A rename that never replaces: a segment that is there may hold records.
fn rename_to_free_name(from: &Path, to: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        // File systems without the flag: nobody else makes names in a locked directory.
        Err(Errno::EINVAL | Errno::ENOSYS) if !to.try_exists()? => fs::rename(from, to),
        Err(Errno::EINVAL | Errno::ENOSYS) => Err(Errno::EEXIST.into()),
        result => Ok(result?),
    }
}

/// Zeros that nobody ever wrote: where the kernel has transparent huge pages they are its
/// one huge page of zeros, which takes no memory and is found in one step per write.
struct Zeros {
    memory: MmapMut,
    start: usize,
}

impl Zeros {
    fn new() -> io::Result<Self> {
        // Twice as much, so that a whole huge page lies in it.
        let memory = MmapMut::map_anon(2 * ZERO_BYTES)?;
        // Without huge pages small ones serve.
        let _ = memory.advise(Advice::HugePage);
        let start = memory.as_ptr().align_offset(ZERO_BYTES);
        Ok(Self { memory, start })
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + ZERO_BYTES]
    }
}

/// Bytes of which the first lies on a block boundary, as direct writes need.
pub(super) struct Aligned {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    pub(super) fn zeros(len: usize) -> Self {
        let memory = vec![0; len + BLOCK_BYTES as usize];
        let start = memory.as_ptr().align_offset(BLOCK_BYTES as usize);
        Self { memory, start, len }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_named_by_twenty_digits_and_nothing_else_is_one() {
        let offset = |name: &str| offset_of(&Path::new("log").join(name));
        assert_eq!(offset("00000000001073741824"), Some(LogOffset(1 << 30)));
        for other in
            ["1073741824", "0000000000107374182x", "99999999999999999999", "+0000000001073741824"]
        {
            assert_eq!(offset(other), None, "{other}");
        }
    }
}
