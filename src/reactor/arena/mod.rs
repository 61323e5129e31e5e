//! One arena per shard: shared memory that outlives the process. It is the staging
//! area of direct writes, the cache of the log's tail, and what gather sends read.
//!
//! This file decides where the memory comes from: hugetlbfs if a directory is given
//! and pages can be had, else shared memory with transparent huge pages, else plain
//! pages. All pages are taken at creation, so that no access faults for want of one.

mod journal;
mod layout;
mod log;
pub(super) mod memory;
mod name;
mod old;
mod pool;
mod whole;

pub use journal::ArenaJournal;
pub use layout::{ArenaIdentity, ArenaSizes, boot_id};
pub use log::ArenaLog;
pub use name::ArenaName;
pub use old::OldArena;
pub use pool::ArenaPool;

use super::mapping::{Access, Mapping};
use crate::base::LogOffset;
use layout::{Layout, WORD_EDGE, WORD_START};
use memory::Memory;
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::Ordering;

/// A shard's arena, made on the thread that uses it. The parts are fields, so that one
/// can be written while another is read.
pub struct Arena {
    pub log: ArenaLog,
    pub pool: ArenaPool,
    pub journal: ArenaJournal,
    name: Option<PathBuf>,
    installed: bool,
    pages: Pages,
}

/// Directories in which an arena may lie.
#[derive(Clone, Debug)]
pub struct ArenaPlace {
    /// A mounted hugetlbfs, tried first.
    pub huge: Option<PathBuf>,
    /// A tmpfs; `/dev/shm` unless the operator says otherwise.
    pub shared: PathBuf,
}

/// What kind of pages an arena got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// Reserved huge pages of this many bytes.
    Hugetlb(usize),
    /// Shared memory, at least half of it in transparent huge pages.
    Transparent,
    /// Shared memory in pages of 4 KiB.
    Small,
}

/// Why an arena could not be made or read.
#[derive(Debug)]
pub enum ArenaError {
    Io {
        tried: String,
        error: io::Error,
    },
    /// Another process holds the arena, or is still being taken down.
    InUse(PathBuf),
    /// There is not enough memory at the place.
    NoMemory {
        place: PathBuf,
        bytes: usize,
        error: io::Error,
    },
    NotAnArena,
    Version(u32),
    HeaderChecksum,
    Length {
        expected: usize,
        found: usize,
    },
    Edges {
        start: u64,
        edge: u64,
    },
    Sizes(ArenaSizes),
}

impl ArenaPlace {
    /// The usual place: the first mounted hugetlbfs, and `/dev/shm`.
    pub fn usual() -> Self {
        // Where the mounts cannot be read, no hugetlbfs is known.
        Self::among(&fs::read_to_string("/proc/self/mounts").unwrap_or_default())
    }

    /// The usual place on a machine with these mounts, as `/proc/self/mounts` tells them.
    pub fn among(mounts: &str) -> Self {
        Self { huge: huge_mount(mounts), shared: PathBuf::from("/dev/shm") }
    }

    /// Where an arena of this name may be found, in the order of trying.
    pub fn candidates(&self, name: &str) -> Vec<PathBuf> {
        self.huge.iter().chain([&self.shared]).map(|dir| dir.join(name)).collect()
    }
}

impl Arena {
    /// Makes an arena under a temporary name; `install` gives it its own. The log begins
    /// at `start`.
    pub fn create(
        place: &ArenaPlace,
        name: &str,
        sizes: ArenaSizes,
        identity: &ArenaIdentity,
        start: LogOffset,
    ) -> Result<Self, ArenaError> {
        if let Some(huge) = &place.huge {
            // Without free huge pages the next place serves; `pages` tells which it was.
            if let Ok(arena) = Self::create_in(huge, name, sizes, identity, start) {
                return Ok(arena);
            }
        }
        Self::create_in(&place.shared, name, sizes, identity, start)
    }

    fn create_in(
        dir: &Path,
        name: &str,
        sizes: ArenaSizes,
        identity: &ArenaIdentity,
        start: LogOffset,
    ) -> Result<Self, ArenaError> {
        let path = dir.join(name);
        let temporary = temporary_name(&path);
        // Left over from a start that did not come far.
        let _ = fs::remove_file(&temporary);
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW)
            .open(&temporary)
            .map_err(|error| ArenaError::Io {
                tried: format!("create {}", temporary.display()),
                error,
            })?;
        let made = lock(&file, &temporary)
            .and_then(|()| Self::from_file(file, dir, sizes, identity, start, true));
        match made {
            Ok(arena) => Ok(Self { name: Some(path), ..arena }),
            Err(error) => {
                let _ = fs::remove_file(&temporary);
                Err(error)
            }
        }
    }

    /// An arena without a name, for tests: its pages are taken when they are first
    /// touched.
    pub fn anonymous(
        sizes: ArenaSizes,
        identity: &ArenaIdentity,
        start: LogOffset,
    ) -> Result<Self, ArenaError> {
        Self::without_name(sizes, identity, start, false)
    }

    /// An arena that ends with the process, where none can be had that outlives it.
    pub fn unshared(
        sizes: ArenaSizes,
        identity: &ArenaIdentity,
        start: LogOffset,
    ) -> Result<Self, ArenaError> {
        Self::without_name(sizes, identity, start, true)
    }

    fn without_name(
        sizes: ArenaSizes,
        identity: &ArenaIdentity,
        start: LogOffset,
        reserve: bool,
    ) -> Result<Self, ArenaError> {
        let file = memfd_create(c"ringmq-arena", MFdFlags::MFD_CLOEXEC).map_err(|error| {
            ArenaError::Io { tried: "memfd_create".into(), error: error.into() }
        })?;
        let place = Path::new("(anonymous memory)");
        Self::from_file(file.into(), place, sizes, identity, start, reserve)
    }

    fn from_file(
        file: File,
        place: &Path,
        sizes: ArenaSizes,
        identity: &ArenaIdentity,
        start: LogOffset,
        reserve: bool,
    ) -> Result<Self, ArenaError> {
        let tried = |what: &str| {
            let tried = format!("{what} an arena in {}", place.display());
            move |error| ArenaError::Io { tried, error }
        };
        let unit = old::page_bytes(&file).map_err(tried("look at the page size of"))?;
        let layout = Layout::new(sizes, unit)?;
        let bytes = layout.file_len();
        file.set_len(bytes as u64).map_err(tried("size"))?;
        let no_memory = |error| ArenaError::NoMemory { place: place.to_path_buf(), bytes, error };
        if reserve && !has_room(&file, bytes).map_err(tried("ask for the room of"))? {
            // Said before the first page is taken, not when all other memory is gone.
            return Err(no_memory(io::Error::from_raw_os_error(libc::ENOSPC)));
        }
        let mapping =
            Mapping::mirrored(file.as_fd(), layout.front, layout.ring(), unit, Access::ReadWrite)
                .map_err(no_memory)?;
        if reserve {
            if unit == 4096 {
                mapping.advise_huge();
            }
            mapping.populate().map_err(no_memory)?;
        }
        let pages = match unit {
            4096 if reserve && mostly_huge(&mapping, bytes) => Pages::Transparent,
            4096 => Pages::Small,
            huge => Pages::Hugetlb(huge),
        };
        let memory = Rc::new(Memory::new(mapping, layout, file.into(), start));
        memory.word(WORD_START).store(start.0, Ordering::Relaxed);
        memory.word(WORD_EDGE).store(start.0, Ordering::Relaxed);
        let page = layout.encode(identity);
        // SAFETY: the fixed page lies in the mapping, and nobody else has seen the arena yet.
        unsafe { memory.at(0, page.len()).copy_from_nonoverlapping(page.as_ptr(), page.len()) };
        Ok(Self {
            log: ArenaLog { memory: memory.clone() },
            pool: ArenaPool { memory: memory.clone() },
            journal: ArenaJournal::new(memory),
            name: None,
            installed: false,
            pages,
        })
    }

    /// Puts the arena under its name, in place of an older one there.
    pub fn install(&mut self) -> io::Result<()> {
        let path = self.name.as_ref().ok_or_else(|| io::Error::other("the arena has no name"))?;
        fs::rename(temporary_name(path), path)?;
        self.installed = true;
        Ok(())
    }

    /// The name, once `install` has given it.
    pub fn name(&self) -> io::Result<Option<ArenaName>> {
        let Some(path) = self.name.as_ref().filter(|_| self.installed) else { return Ok(None) };
        ArenaName::of(path, &self.log.memory.file).map(Some)
    }

    /// The name, or where it will be after `install`.
    pub fn path(&self) -> Option<&Path> {
        self.name.as_deref()
    }

    /// What kind of pages the arena got.
    pub fn pages(&self) -> Pages {
        self.pages
    }

    /// The sizes it really has: rounded up to whole huge pages where there are such.
    pub fn sizes(&self) -> ArenaSizes {
        self.log.memory.layout.sizes
    }

    /// Ends as a process that is killed does, and keeps what an arena keeps. Panics if
    /// a ring still holds the arena.
    pub fn crash(self) -> Survivor {
        let memory = self.log.memory;
        drop((self.pool, self.journal));
        let Ok(memory) = Rc::try_unwrap(memory) else {
            panic!("an arena that a ring or another handle still uses cannot crash alone");
        };
        Survivor(memory.file.into())
    }
}

/// The memory of an arena whose process is gone.
pub struct Survivor(File);

impl Survivor {
    /// Reads it as the next start would.
    pub fn open(&self) -> Result<OldArena, ArenaError> {
        let file = self
            .0
            .try_clone()
            .map_err(|error| ArenaError::Io { tried: "duplicate a descriptor".into(), error })?;
        OldArena::from_file(file)
    }
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// One process at a time. The lock belongs to the open file, which the mapping keeps:
/// it ends when the kernel has taken the process down, not before.
fn lock(file: &File, path: &Path) -> Result<(), ArenaError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(fs::TryLockError::WouldBlock) => Err(ArenaError::InUse(path.to_path_buf())),
        Err(fs::TryLockError::Error(error)) => {
            Err(ArenaError::Io { tried: format!("lock {}", path.display()), error })
        }
    }
}

/// Whether a file system with a size of its own has that much of it left.
fn has_room(file: &File, bytes: usize) -> io::Result<bool> {
    let status = nix::sys::statvfs::fstatvfs(file)?;
    let free = status.blocks_available() * status.fragment_size();
    Ok(status.blocks() == 0 || free >= bytes as u64)
}

/// The mount point of the first hugetlbfs, if there is one.
fn huge_mount(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        (kind == "hugetlbfs").then(|| PathBuf::from(point))
    })
}

/// Whether at least half of a mapping stands on transparent huge pages.
fn mostly_huge(mapping: &Mapping, bytes: usize) -> bool {
    let Ok(smaps) = fs::read_to_string("/proc/self/smaps") else { return false };
    let start = format!("{:x}-", mapping.base() as usize);
    let mut lines = smaps.lines().skip_while(|line| !line.starts_with(&start));
    let huge = lines.find_map(|line| line.strip_prefix("ShmemPmdMapped:"));
    let kib = huge.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    // The first of the two file mappings shows the whole file.
    kib.is_some_and(|kib| kib * 1024 * 2 >= bytes)
}

impl fmt::Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hugetlb(bytes) => write!(f, "reserved huge pages of {} KiB", bytes / 1024),
            Self::Transparent => write!(f, "transparent huge pages"),
            Self::Small => write!(f, "pages of 4 KiB"),
        }
    }
}

impl fmt::Display for ArenaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { tried, error } => write!(f, "{tried}: {error}"),
            Self::InUse(path) => write!(f, "the arena {} is in use", path.display()),
            Self::NoMemory { place, bytes, error } => write!(
                f,
                "no {bytes} bytes of shared memory in {}: {error}; give it more room, \
                 or choose a smaller --arena or another --arena-dir",
                place.display()
            ),
            Self::NotAnArena => write!(f, "the file is not an arena of ringmq"),
            Self::Version(found) => write!(f, "the arena has format version {found}, not 1"),
            Self::HeaderChecksum => write!(f, "the arena's header does not match its checksum"),
            Self::Length { expected, found } => {
                write!(f, "the arena's file has {found} bytes where its header says {expected}")
            }
            Self::Edges { start, edge } => {
                write!(f, "the arena's edges {start} and {edge} cannot both be right")
            }
            Self::Sizes(sizes) => write!(f, "an arena cannot be laid out as {sizes:?}"),
        }
    }
}

impl std::error::Error for ArenaError {}
