//! Pipes that splice(2) takes bytes through.

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// What a pipe is asked to hold: what ordinary users may ask for.
const PIPE_BYTES: i32 = 1 << 20;

/// Both ends of a pipe, and how full it is.
pub(super) struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    pub capacity: usize,
    pub filled: usize,
}

impl Pipe {
    /// Makes a pipe; a small one where the user's pipes have reached their limit.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        let capacity = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES))
            .or_else(|_| fcntl(&writer, FcntlArg::F_GETPIPE_SZ))?;
        Ok(Self { reader, writer, capacity: capacity as usize, filled: 0 })
    }

    pub fn reader(&self) -> RawFd {
        self.reader.as_raw_fd()
    }

    pub fn writer(&self) -> RawFd {
        self.writer.as_raw_fd()
    }
}
