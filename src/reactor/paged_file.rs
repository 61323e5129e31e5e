//! Files as the page cache holds them: asked for what is there, never waited for.

use memmap2::{Advice, Mmap};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use std::cell::Cell;
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};

/// The number of cachestat(2), which every architecture shares; Linux 6.5 has it.
const SYS_CACHESTAT: libc::c_long = 451;
const PAGE_BYTES: u64 = 4096;

/// A file opened for reading through the page cache, and mapped where that is wanted.
/// It can be made on one thread and used on another; dropping it may unmap much memory.
#[derive(Debug)]
pub struct PagedFile {
    file: File,
    map: Option<Mmap>,
    reads_ahead: Cell<bool>,
}

/// What cachestat(2) is asked, and what it answers.
#[repr(C)]
struct CachestatRange {
    offset: u64,
    len: u64,
}

#[repr(C)]
#[derive(Default)]
struct Cachestat {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

impl PagedFile {
    /// Takes over a file, and maps it where that is possible, without bringing any of it
    /// into memory.
    pub fn new(file: File) -> Self {
        // SAFETY: bytes that are looked at were written before and never change; a truncation
        // ends the process (`sigbus.rs`), or is EFAULT where the kernel reads them.
        let map = unsafe { Mmap::map(&file) }.ok();
        // A fault brings its page and none around it, which may not be written yet.
        let map = map.filter(|map| !map.is_empty() && map.advise(Advice::Random).is_ok());
        let paged = Self { file, map, reads_ahead: Cell::new(true) };
        paged.let_read_ahead(false);
        paged
    }

    /// Whether the kernel may read more than it is asked for. It must not where blocks are
    /// still to be written past the page cache.
    pub fn let_read_ahead(&self, may: bool) {
        use PosixFadviseAdvice::{POSIX_FADV_NORMAL, POSIX_FADV_RANDOM};
        if self.reads_ahead.replace(may) != may {
            let advice = if may { POSIX_FADV_NORMAL } else { POSIX_FADV_RANDOM };
            posix_fadvise(&self.file, 0, 0, advice).expect("an open file takes this advice");
        }
    }

    pub fn is_mapped(&self) -> bool {
        self.map.is_some()
    }

    /// A range of the mapping, if there is one; what is not resident would be waited for.
    pub fn bytes(&self, position: u64, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(position).ok()?;
        self.map.as_ref()?.get(start..start.checked_add(len)?)
    }

    pub(super) fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Whether all pages of the range are in the page cache, and the last of them is
    /// whole: reads fill them in order.
    pub fn is_resident(&self, position: u64, len: u64) -> bool {
        let first = position / PAGE_BYTES;
        let pages = (position + len).div_ceil(PAGE_BYTES) - first;
        let range = CachestatRange { offset: first * PAGE_BYTES, len: pages * PAGE_BYTES };
        let mut found = Cachestat::default();
        // SAFETY: both structs live through the call and have the layout that the kernel knows.
        let asked =
            unsafe { libc::syscall(SYS_CACHESTAT, self.fd(), &raw const range, &raw mut found, 0) };
        let mut last = [MaybeUninit::uninit()];
        (asked == 0 && found.cached >= pages) && self.fill_now(position + len - 1, &mut last)
    }

    /// Appends the range to `out` if that needs no disk; else appends nothing.
    pub fn read_now(&self, position: u64, len: usize, out: &mut Vec<u8>) -> bool {
        out.reserve(len);
        if !self.fill_now(position, &mut out.spare_capacity_mut()[..len]) {
            return false;
        }
        // SAFETY: these `len` bytes of the spare room were filled just now.
        unsafe { out.set_len(out.len() + len) };
        true
    }

    /// Fills `room` if that needs no disk.
    fn fill_now(&self, position: u64, room: &mut [MaybeUninit<u8>]) -> bool {
        let part = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
        // SAFETY: `part` is `room`, which is borrowed for this call alone.
        let read = unsafe {
            libc::preadv2(self.fd(), &raw const part, 1, position as i64, libc::RWF_NOWAIT)
        };
        read == room.len() as isize
    }
}
