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

/// Keeps a mapped file known by its name until it is dropped, before the mapping is.
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

extern "C" fn on_sigbus(_: i32, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo, whose address is set for SIGBUS.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    let covers = |watched: &&Watched| {
        let start = watched.start.load(Ordering::Acquire);
        start > CLAIMED && start <= address && address < watched.end.load(Ordering::Relaxed)
    };
    say(b"ringmq: ");
    match WATCHED.iter().find(covers) {
        _ if code == libc::BUS_MCEERR_AR || code == libc::BUS_MCEERR_AO => {
            say(b"the machine reports broken memory (an uncorrectable error). ");
            say(b"Stopped at once; have the memory tested before the next start.\n");
        }
        Some(watched) => {
            let name = watched.name.load(Ordering::Relaxed);
            let len = watched.name_len.load(Ordering::Relaxed);
            // SAFETY: the name lives as long as its mapping, which this thread is just using.
            say(unsafe { std::slice::from_raw_parts(name, len) });
            say(b" is mapped and a part of it is gone: the file was cut short while the broker ");
            say(b"ran, or its disk is full or cannot be read. Stopped at once, and nothing is ");
            say(b"written over it; find out who changes files there or look at the disk, and ");
            say(b"start again: the start says whether the log is whole.\n");
        }
        None => {
            say(b"memory that is a file has no content behind it: an arena was cut short, or ");
            say(b"its file system (/dev/shm, or --arena-dir) is full. Stopped at once; make ");
            say(b"room there and start again: the start says whether the log is whole.\n");
        }
    }
    // SAFETY: ends the process without running anything of it.
    unsafe { libc::_exit(EXIT_SIGBUS) }
}

fn say(text: &[u8]) {
    // SAFETY: the pointer and length are those of a slice; where nobody listens it is lost.
    unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
}
