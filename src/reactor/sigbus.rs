//! What happens when memory behind a mapped file is not there (SIGBUS): the process says
//! which file and ends at once, before anything can be built on bytes that never were.

use std::ffi::c_void;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// The exit code after a SIGBUS: input and output (EX_IOERR of sysexits.h).
pub const EXIT_SIGBUS: i32 = 74;

/// Mapped files that are known by name; those above it are not named.
const WATCHED_MAX: usize = 512;
/// A place that is being filled in.
const CLAIMED: usize = 1;

static WATCHED: [Watched; WATCHED_MAX] = [const { Watched::free() }; WATCHED_MAX];

/// Addresses of a mapped file, readable from a signal handler.
struct Watched {
    /// Zero: free.
    start: AtomicUsize,
    end: AtomicUsize,
    name: AtomicPtr<u8>,
    name_len: AtomicUsize,
}

impl Watched {
    const fn free() -> Self {
        Self {
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            name: AtomicPtr::new(ptr::null_mut()),
            name_len: AtomicUsize::new(0),
        }
    }
}

/// Keeps a mapped file known by its name until it is dropped, after the mapping was.
#[derive(Debug)]
pub(super) struct Watch {
    place: Option<usize>,
    _name: Box<[u8]>,
}

impl Watch {
    pub fn over(start: usize, len: usize, path: &Path) -> Self {
        let name: Box<[u8]> = path.as_os_str().as_bytes().into();
        let claim = |watched: &Watched| {
            let claimed =
                watched.start.compare_exchange(0, CLAIMED, Ordering::AcqRel, Ordering::Relaxed);
            claimed.is_ok()
        };
        let place = WATCHED.iter().position(claim);
        if let Some(place) = place {
            let watched = &WATCHED[place];
            watched.end.store(start + len, Ordering::Relaxed);
            watched.name.store(name.as_ptr().cast_mut(), Ordering::Relaxed);
            watched.name_len.store(name.len(), Ordering::Relaxed);
            watched.start.store(start, Ordering::Release);
        }
        Self { place, _name: name }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            WATCHED[place].start.store(0, Ordering::Release);
        }
    }
}

/// Has SIGBUS end the process with a line on standard error and `EXIT_SIGBUS`.
pub fn stop_at_sigbus() -> std::io::Result<()> {
    // SAFETY: sigaction is a plain struct for which zero is valid: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void) = on_sigbus;
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the handler makes only calls that are safe in one, and reads only atomics and
    // a name that outlives its place in the table.
    let done = unsafe { libc::sigaction(libc::SIGBUS, &action, ptr::null_mut()) };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

const BROKEN_MEMORY: &[u8] = b"the machine reports broken memory (an uncorrectable error). \
    Stopped at once; have the memory tested before the next start.";
const CUT_SHORT: &[u8] = b" is mapped and a part of it is gone: the file was cut short while the \
    broker ran, or its disk is full or cannot be read. Stopped at once, and nothing is written \
    over it; find out who changes files there or look at the disk, and start again: the start \
    says whether the log is whole.\n";
const NO_CONTENT: &[u8] = b"memory that is a file has no content behind it: an arena was cut \
    short, or its file system (/dev/shm, or --arena-dir) is full. Stopped at once; make room \
    there and start again: the start says whether the log is whole.";

extern "C" fn on_sigbus(_: i32, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo, whose address is set for SIGBUS.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    let covers = |watched: &&Watched| {
        let start = watched.start.load(Ordering::Acquire);
        start > CLAIMED && start <= address && address < watched.end.load(Ordering::Relaxed)
    };
    let named = WATCHED.iter().find(covers);
    if code == libc::BUS_MCEERR_AR || code == libc::BUS_MCEERR_AO {
        say([b"ringmq: ", BROKEN_MEMORY, b"\n"]);
    } else if let Some(watched) = named {
        let name = watched.name.load(Ordering::Relaxed);
        let len = watched.name_len.load(Ordering::Relaxed);
        // SAFETY: the name lives as long as its mapping, which this thread is just using.
        say([b"ringmq: ", unsafe { std::slice::from_raw_parts(name, len) }, CUT_SHORT]);
    } else {
        say([b"ringmq: ", NO_CONTENT, b"\n"]);
    }
    // SAFETY: ends the process without running anything of it.
    unsafe { libc::_exit(EXIT_SIGBUS) }
}

/// One line, in one call, so that no other thread's comes between.
fn say(parts: [&[u8]; 3]) {
    let piece = |part: &[u8]| libc::iovec {
        iov_base: part.as_ptr().cast_mut().cast(),
        iov_len: part.len(),
    };
    let pieces = parts.map(piece);
    // SAFETY: the pieces are those of slices that outlive the call and are only read.
    unsafe { libc::writev(libc::STDERR_FILENO, pieces.as_ptr(), 3) };
}
