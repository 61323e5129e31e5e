//! The file that is sent from, and made cold or warm.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use crate::base::limits::BLOCK_BYTES;
use crate::reactor::{DirectFile, PagedFile};

/// The file is filled in pieces of this size.
const FILL_BYTES: usize = 2 * 1024 * 1024;

/// Pages that are looked at to tell whether the file is cold: one in so many bytes. A
/// thirty-second part may be left, and is told apart by the senders anyway.
const SAMPLE_STEP: usize = 256 * 1024;
const LEFT_PART_MAX: u64 = 32;
/// How often it is tried: pages may be in use for a moment longer.
const DROPS_MAX: usize = 50;
const BETWEEN_DROPS: Duration = Duration::from_millis(2);

/// A file without a name: it ends with the process.
pub struct Source {
    file: File,
    /// Open past the page cache, where that is to be had.
    direct: Option<DirectFile>,
    /// As the page cache holds it. Pages that a mapping holds cannot be dropped, so there
    /// is another one after that.
    paged: Option<Rc<PagedFile>>,
    len: u64,
    /// What is kept in memory for hot cells: this much from the front.
    span: u64,
}

impl Source {
    /// Makes and fills it, with written extents.
    pub fn make(directory: &Path, len: u64, span: u64, direct: bool) -> io::Result<Self> {
        let (file, direct) = make_unnamed(directory, len, direct)?;
        Ok(Self { file, direct: direct.map(DirectFile::from), paged: None, len, span })
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn span(&self) -> u64 {
        self.span
    }

    pub fn direct(&self) -> Option<&DirectFile> {
        self.direct.as_ref()
    }

    pub fn read(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, position)
    }

    /// With its front in the page cache.
    pub fn hot(&mut self) -> io::Result<Rc<PagedFile>> {
        let paged = match &self.paged {
            Some(paged) => Rc::clone(paged),
            None => self.open()?,
        };
        if !paged.is_resident(0, self.span) {
            let mut block = vec![0; FILL_BYTES];
            for at in (0..self.span).step_by(FILL_BYTES) {
                let len = (self.span - at).min(FILL_BYTES as u64) as usize;
                self.read(&mut block[..len], at)?;
            }
        }
        Ok(paged)
    }

    /// With nothing of it in the page cache; `None` where it cannot be dropped.
    pub fn cold(&mut self) -> io::Result<Option<Rc<PagedFile>>> {
        // Unmapped first: what is mapped stays.
        self.paged = None;
        let paged = self.open()?;
        for _ in 0..DROPS_MAX {
            drop_from_page_cache(&self.file)?;
            let samples = (0..self.len).step_by(SAMPLE_STEP);
            let left = samples.filter(|at| paged.is_resident(*at, 1)).count() as u64;
            if left * SAMPLE_STEP as u64 <= self.len / LEFT_PART_MAX {
                return Ok(Some(paged));
            }
            have_sent_pages_freed()?;
        }
        Ok(None)
    }

    fn open(&mut self) -> io::Result<Rc<PagedFile>> {
        let paged = Rc::new(PagedFile::new(self.file.try_clone()?));
        self.paged = Some(Rc::clone(&paged));
        Ok(paged)
    }
}

/// Makes a file of written extents, open for plain reads and writes, and past the page
/// cache too if `direct`.
pub fn make_unnamed(directory: &Path, len: u64, direct: bool) -> io::Result<(File, Option<File>)> {
    let path = directory.join("probe.tmp");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true);
    let plain = options.truncate(true).open(&path)?;
    let opened = if direct {
        options.truncate(false).custom_flags(libc::O_DIRECT).open(&path).map(Some)
    } else {
        Ok(None)
    };
    fs::remove_file(&path)?;
    let direct = opened?;
    fill(&plain, len)?;
    plain.sync_all()?;
    drop_from_page_cache(&plain)?;
    Ok((plain, direct))
}

/// Bytes that no device can make smaller, each block another one.
fn fill(file: &File, len: u64) -> io::Result<()> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut piece: Vec<u8> = (0..FILL_BYTES / 8)
        .flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .collect();
    for at in (0..len).step_by(FILL_BYTES) {
        for (block, bytes) in piece.chunks_exact_mut(BLOCK_BYTES as usize).enumerate() {
            let position = at + block as u64 * BLOCK_BYTES;
            bytes[..8].copy_from_slice(&position.to_le_bytes());
        }
        let part = (len - at).min(FILL_BYTES as u64) as usize;
        file.write_all_at(&piece[..part], at)?;
    }
    Ok(())
}

/// What sendfile and splice have sent is given back to the core that sent it, which looks
/// for it only when the next packet comes: here is one, on each core that this thread may
/// have been on.
fn have_sent_pages_freed() -> io::Result<()> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    std::thread::scope(|scope| {
        let exchanges: Vec<_> = (cores.into_iter())
            .map(|core| {
                scope.spawn(move || {
                    core_affinity::set_for_current(core);
                    exchange()
                })
            })
            .collect();
        let mut ended = exchanges.into_iter().map(|thread| thread.join());
        ended.try_for_each(|end| end.expect("an exchange does not panic"))
    })?;
    std::thread::sleep(BETWEEN_DROPS);
    Ok(())
}

fn exchange() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    near.write_all(&[0])?;
    far.read_exact(&mut [0])
}

pub fn drop_from_page_cache(file: impl AsFd) -> io::Result<()> {
    Ok(posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?)
}
