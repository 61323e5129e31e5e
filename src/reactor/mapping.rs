//! Address ranges from the kernel, given back on drop.
//!
//! A mirrored mapping shows a file's front once and its ring twice, one directly
//! after the other, so that a range that wraps in the file is contiguous in memory:
//!
//! ```text
//!   file:    | front | ring |
//!   memory:  | front | ring | ring again |
//! ```

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};

/// A range of addresses that nothing else in the process maps.
pub(super) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

/// What the mapped file allows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    ReadWrite,
    ReadOnly,
}

impl Mapping {
    /// Zeroed private memory, aligned to a page.
    pub fn anonymous(len: usize) -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
        let base = unsafe {
            libc::mmap(ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
        };
        Ok(Self { base: checked(base)?, len })
    }

    /// The front of a file once and its ring twice. `unit` is the alignment that the
    /// file's pages need; `front` and `ring` are multiples of it.
    pub fn mirrored(
        file: BorrowedFd<'_>,
        front: usize,
        ring: usize,
        unit: usize,
        access: Access,
    ) -> io::Result<Self> {
        let whole = Self::reserve(front + 2 * ring, unit)?;
        whole.place(0, file, 0, front + ring, access)?;
        whole.place(front + ring, file, front, ring, access)?;
        Ok(whole)
    }

    /// Addresses without memory, aligned to `unit` and so that huge pages fit.
    fn reserve(len: usize, unit: usize) -> io::Result<Self> {
        const HUGE_PAGE: usize = 2 * 1024 * 1024;
        let unit = unit.max(HUGE_PAGE);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let slack = len + unit;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
        let found = unsafe { libc::mmap(ptr::null_mut(), slack, libc::PROT_NONE, flags, -1, 0) };
        let found = checked(found)?;
        let head = found.as_ptr().align_offset(unit);
        // SAFETY: `head` is below `unit`, so the pointer stays inside the reserved range.
        let base = unsafe { found.add(head) };
        // SAFETY: both trimmed ends lie inside the range just reserved and outside what is kept.
        unsafe {
            if head > 0 {
                libc::munmap(found.as_ptr().cast(), head);
            }
            if unit > head {
                libc::munmap(base.add(len).as_ptr().cast(), unit - head);
            }
        }
        Ok(Self { base, len })
    }

    /// Puts a part of `file` over a part of the reserved range.
    fn place(
        &self,
        at: usize,
        file: BorrowedFd<'_>,
        offset: usize,
        len: usize,
        access: Access,
    ) -> io::Result<()> {
        assert!(at + len <= self.len);
        let protection = match access {
            Access::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
            Access::ReadOnly => libc::PROT_READ,
        };
        let flags = libc::MAP_SHARED | libc::MAP_FIXED;
        // SAFETY: the range was asserted to lie inside this reservation, which nobody uses yet.
        let placed = unsafe {
            let target = self.base.add(at).as_ptr().cast();
            libc::mmap(target, len, protection, flags, file.as_raw_fd(), offset as libc::off_t)
        };
        checked(placed).map(drop)
    }

    /// Asks for transparent huge pages; without them everything works, slower.
    pub fn advise_huge(&self) {
        // SAFETY: advice on a range that this value owns changes no content.
        unsafe { libc::madvise(self.base.as_ptr().cast(), self.len, libc::MADV_HUGEPAGE) };
    }

    /// Takes memory for every page of the range now, so that no fault can fail later.
    pub fn populate(&self) -> io::Result<()> {
        // SAFETY: faulting in pages of a range that this value owns changes no content.
        let done = unsafe {
            libc::madvise(self.base.as_ptr().cast(), self.len, libc::MADV_POPULATE_WRITE)
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// The first address.
    pub fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// The address `offset` bytes in, with `len` bytes of the range behind it.
    pub fn at(&self, offset: usize, len: usize) -> *mut u8 {
        assert!(offset <= self.len && len <= self.len - offset);
        // SAFETY: the assertion above keeps the pointer inside the mapping.
        unsafe { self.base.as_ptr().add(offset) }
    }

    /// Keeps the range mapped for as long as the process lives.
    pub fn leak(&mut self) {
        self.len = 0;
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.len == 0 {
            return;
        }
        // SAFETY: the range is this value's own, and every borrow of it has ended with it.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

fn checked(address: *mut libc::c_void) -> io::Result<NonNull<u8>> {
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mmap returned address zero"))
}
