//! Writes through the page cache, complete only when the kernel has written them out.
//!
//! First the bytes get into the page cache, by a ring write or by the CPU into a mapping;
//! then a *check* follows: SYNC_FILE_RANGE over what has been copied meanwhile, or an
//! fdatasync, if anything of it is to be durable. One check of a file is under way at a
//! time: the kernel tells a write-out's error once for each open file, to whoever asks
//! first, so that of two at once the wrong one could hear of it.

use super::arena::memory::Memory;
use super::completion::{Completion, DiskError};
use super::disk::DiskWrite;
use super::file::DirectFile;
use super::mapped_file::MappedFile;
use super::op::Op;
use super::ring::Ring;
use crate::base::WriteMode;
use io_uring::{opcode, types};
use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::rc::Rc;

/// A file that is written through the page cache. Clones share it, and every operation in
/// flight holds one.
#[derive(Clone, Debug)]
pub struct CachedFile(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    file: DirectFile,
    mode: WriteMode,
    mapping: Option<Rc<MappedFile>>,
    /// What was asked for is not to be had here.
    falls_back: bool,
    checks: RefCell<Checks>,
}

#[derive(Debug, Default)]
struct Checks {
    running: Vec<Check>,
    /// Copied since the running one began.
    waiting: Vec<Check>,
    /// The error that ended it all: nothing that comes later may pass.
    failed: Option<i32>,
}

/// Who waits for a check, and what for.
#[derive(Clone, Copy, Debug)]
struct Check {
    token: u64,
    of: CheckOf,
    /// Of the file; empty for a flush.
    start: u64,
    len: u64,
    durable: bool,
}

#[derive(Clone, Copy, Debug)]
enum CheckOf {
    Write,
    Flush,
}

impl CachedFile {
    /// To be written by ring writes. `uncached`: what was written out leaves the page
    /// cache, if the kernel can do that for this file system, as told.
    pub fn buffered(file: File, uncached: Option<CanUncache>) -> Self {
        let mode = match uncached {
            Some(_) => WriteMode::BufferedUncached,
            None => WriteMode::Buffered,
        };
        Self::new(file, mode, None, uncached == Some(CanUncache(false)))
    }

    /// To be written by copying into its mapping.
    pub fn mapped(file: File, mapping: MappedFile) -> Self {
        Self::new(file, WriteMode::Mmap, Some(Rc::new(mapping)), false)
    }

    fn new(file: File, mode: WriteMode, mapping: Option<Rc<MappedFile>>, falls_back: bool) -> Self {
        let checks = RefCell::default();
        Self(Rc::new(Shared { file: file.into(), mode, mapping, falls_back, checks }))
    }

    pub fn mapping(&self) -> Option<&Rc<MappedFile>> {
        self.0.mapping.as_ref()
    }

    /// The descriptor alone.
    pub fn file(&self) -> &DirectFile {
        &self.0.file
    }

    /// The mapping, to be dropped on another thread; back while something still uses it.
    pub fn into_mapping(self) -> Result<Option<MappedFile>, Self> {
        let mut shared = Rc::try_unwrap(self.0).map_err(Self)?;
        match shared.mapping.take().map(Rc::try_unwrap) {
            None => Ok(None),
            Some(Ok(mapping)) => Ok(Some(mapping)),
            Some(Err(lent)) => Err(Self(Rc::new(Shared { mapping: Some(lent), ..shared }))),
        }
    }

    /// Whether only what holds this value uses the file.
    pub fn is_idle(&self) -> bool {
        Rc::strong_count(&self.0) == 1
            && self.0.mapping.as_ref().is_none_or(|mapping| Rc::strong_count(mapping) == 1)
    }
}

/// Whether the kernel drops what was written from the page cache when asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CanUncache(pub bool);

impl CanUncache {
    /// Tries it with a block of zeros at the front of a file.
    pub fn probe(file: &File) -> io::Result<Self> {
        let zeros = [0u8; 4096];
        let piece = libc::iovec { iov_base: zeros.as_ptr().cast_mut().cast(), iov_len: 4096 };
        // SAFETY: the one piece points to 4096 bytes that live through the call and are only read.
        let wrote = unsafe { libc::pwritev2(file.as_raw_fd(), &piece, 1, 0, libc::RWF_DONTCACHE) };
        if wrote >= 0 {
            return Ok(Self(true));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EOPNOTSUPP | libc::EINVAL | libc::ENOSYS) => Ok(Self(false)),
            _ => Err(error),
        }
    }
}

impl Ring {
    /// Writes bytes of an arena's log through the page cache; `Wrote` follows when they
    /// are written out, and durable if that was asked for.
    pub fn write_cached(&mut self, file: &CachedFile, write: DiskWrite, token: u64) {
        let shared = &*file.0;
        let counters = self.counters.of_writes(shared.mode);
        (counters.calls, counters.bytes) = (counters.calls + 1, counters.bytes + write.len as u64);
        let Some(mapping) = &shared.mapping else {
            counters.kernel_copied_bytes += write.len as u64;
            self.counters.uncached_fallbacks += u64::from(shared.falls_back);
            let uncached = shared.mode == WriteMode::BufferedUncached && !shared.falls_back;
            let flags = if uncached { libc::RWF_DONTCACHE } else { 0 };
            return self.write_parts(&shared.file, write, flags, Some(file), token);
        };
        counters.user_copied_bytes += write.len as u64;
        let memory: &Memory = &self.arenas[write.arena.0 as usize].memory;
        // For its checks of the range: when the copy is made nothing is lent any more.
        memory.lend_log(write.at, write.len);
        mapping.write(write.file_offset, memory.log_range(write.at, write.len));
        memory.return_log(write.at, write.len);
        self.check_write(file, write.file_offset, write.len, write.durable, token);
    }

    /// Makes durable what was written to a file before; `Synced` follows.
    pub fn fdatasync_cached(&mut self, file: &CachedFile, token: u64) {
        let check = Check { token, of: CheckOf::Flush, start: 0, len: 0, durable: true };
        self.check(file, check);
    }

    /// The bytes are in the page cache.
    pub(super) fn check_write(
        &mut self,
        file: &CachedFile,
        start: u64,
        len: usize,
        durable: bool,
        token: u64,
    ) {
        self.check(file, Check { token, of: CheckOf::Write, start, len: len as u64, durable });
    }

    fn check(&mut self, file: &CachedFile, check: Check) {
        let mut checks = file.0.checks.borrow_mut();
        if let Some(errno) = checks.failed {
            self.ready.push(check.completion(errno));
            return;
        }
        checks.waiting.push(check);
        drop(checks);
        self.begin_check(file);
    }

    /// Begins a check for all that wait, unless one is running.
    fn begin_check(&mut self, file: &CachedFile) {
        let checks = &mut *file.0.checks.borrow_mut();
        if !checks.running.is_empty() || checks.waiting.is_empty() || self.draining {
            return;
        }
        mem::swap(&mut checks.running, &mut checks.waiting);
        let fd = types::Fd(file.0.file.fd());
        let entry = if checks.running.iter().any(|check| check.durable) {
            // fdatasync, not fsync: a segment has its full length from birth.
            opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build()
        } else {
            let start = checks.running.iter().map(|check| check.start).min().expect("not empty");
            let ends = checks.running.iter().map(|check| check.start + check.len);
            let len = ends.max().expect("not empty") - start;
            let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE
                | libc::SYNC_FILE_RANGE_WRITE
                | libc::SYNC_FILE_RANGE_WAIT_AFTER;
            let len = u32::try_from(len).expect("a segment is shorter than 4 GiB");
            opcode::SyncFileRange::new(fd, len).offset(start).flags(flags).build()
        };
        let user_data = self.in_flight.insert(Op::Check { file: file.clone() });
        self.submit(entry.user_data(user_data));
    }

    pub(super) fn on_check(&mut self, user_data: u64, result: i32, out: &mut Vec<Completion>) {
        let Op::Check { file } = self.in_flight.remove(user_data) else { unreachable!("a check") };
        self.counters.of_writes(file.0.mode).punted += 1;
        let mut checks = file.0.checks.borrow_mut();
        let Checks { running, waiting, failed } = &mut *checks;
        out.extend(running.drain(..).map(|check| check.completion(result)));
        if result < 0 {
            // It may have been an error of those that wait, and nobody is told it again.
            *failed = Some(result);
            out.extend(waiting.drain(..).map(|check| check.completion(result)));
        }
        drop(checks);
        self.begin_check(&file);
    }
}

impl Check {
    /// What is told of it: `result` is zero or a negative errno.
    fn completion(&self, result: i32) -> Completion {
        let (token, result) = (self.token, DiskError::check(result, 0));
        match self.of {
            CheckOf::Write => Completion::Wrote { token, result },
            CheckOf::Flush => Completion::Synced { token, result },
        }
    }
}
