//! The part of a send that takes bytes from files: sendfile(2) and splice(2) have no
//! operation of the ring that is not handed to a kernel worker, so they are called here,
//! for pages that are in memory and as long as the socket takes them.

use super::gather::{Gather, Next};
use super::pipe::Pipe;
use crate::base::transfer::{Fallback, FileWay, Transfer, TransferCounters};
use std::io;
use std::os::fd::RawFd;

/// Pipes of one ring at most; a send keeps its pipe until it is empty.
const PIPES_MAX: usize = 32;

/// How far a send came.
pub(super) enum Now {
    Done,
    /// The socket takes no more for now.
    Blocked,
    Failed(io::Error),
}

/// The pipes of a ring that no send uses.
#[derive(Default)]
pub(super) struct Pipes {
    idle: Vec<Pipe>,
    made: usize,
}

impl Pipes {
    fn take(&mut self) -> Option<Pipe> {
        if let Some(pipe) = self.idle.pop() {
            return Some(pipe);
        }
        if self.made == PIPES_MAX {
            return None;
        }
        let pipe = Pipe::new().ok()?;
        self.made += 1;
        Some(pipe)
    }

    /// A pipe with bytes left in it is of no use to anybody.
    pub fn give_back(&mut self, pipe: Pipe) {
        match pipe.filled {
            0 => self.idle.push(pipe),
            _ => self.made -= 1,
        }
    }
}

/// What a send needs of its ring.
pub(super) struct Tools<'a> {
    pub pipes: &'a mut Pipes,
    pub counters: &'a mut TransferCounters,
}

impl Gather {
    /// Sends until all has left, the socket is full, or it fails.
    pub fn send_now(&mut self, socket: RawFd, tools: &mut Tools) -> Now {
        let _nonblocking = Nonblocking::set(socket);
        loop {
            let next = self.next();
            let splices = matches!(next, Next::File { by: FileWay::Splice, .. });
            let in_pipe = self.pipe.as_ref().is_some_and(|pipe| pipe.filled > 0);
            let step = match next {
                // What is in the pipe goes before what follows it.
                _ if in_pipe && !splices => self.empty_pipe(socket, tools),
                Next::Nothing => return Now::Done,
                Next::Memory => self.send_memory(socket, tools),
                Next::File { left, .. } if splices && self.has_pipe(tools) => {
                    self.splice(socket, left, tools)
                }
                Next::File { left, .. } => self.send_file(socket, left, tools),
            };
            match step {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Now::Blocked,
                Err(error) => return Now::Failed(error),
            }
        }
    }

    fn send_memory(&mut self, socket: RawFd, tools: &mut Tools) -> io::Result<()> {
        let transfer = self.transfer();
        let (message, more) = self.next_message();
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT | if more { libc::MSG_MORE } else { 0 };
        // SAFETY: the message points to iovecs and ranges that this send holds through the call.
        let sent = unsafe { libc::sendmsg(socket, message, flags) };
        tools.counters.called(transfer);
        self.advance(moved(sent)?);
        Ok(())
    }

    fn send_file(&mut self, socket: RawFd, left: usize, tools: &mut Tools) -> io::Result<()> {
        let (file, position) = self.next_file();
        let mut offset = position as i64;
        // SAFETY: `offset` lives through the call; both descriptors are held by this send.
        let sent = unsafe { libc::sendfile(socket, file, &raw mut offset, left) };
        tools.counters.called(Some(Transfer::Sendfile));
        self.advance_file(moved(sent)?)
    }

    fn has_pipe(&mut self, tools: &mut Tools) -> bool {
        if self.pipe.is_none() {
            self.pipe = tools.pipes.take();
        }
        if self.pipe.is_none() {
            tools.counters.fall_back(Fallback::NoPipe);
        }
        self.pipe.is_some()
    }

    /// Fills the pipe from the file, then empties it into the socket.
    fn splice(&mut self, socket: RawFd, left: usize, tools: &mut Tools) -> io::Result<()> {
        let (file, position) = self.next_file();
        let pipe = self.pipe.as_mut().expect("taken before");
        let room = pipe.capacity - pipe.filled;
        if room == 0 {
            return self.empty_pipe(socket, tools);
        }
        let mut offset = position as i64;
        let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
        // SAFETY: `offset` lives through the call; both descriptors are held by this send.
        let taken = unsafe {
            let (from, to) = (file, pipe.writer());
            libc::splice(from, &raw mut offset, to, std::ptr::null_mut(), left.min(room), flags)
        };
        tools.counters.called(Some(Transfer::Splice));
        match moved(taken) {
            // Pages in the pipe may be fewer bytes than its capacity.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && pipe.filled > 0 => {
                return self.empty_pipe(socket, tools);
            }
            other => {
                let taken = other?;
                pipe.filled += taken;
                self.advance_file(taken)?;
            }
        }
        self.empty_pipe(socket, tools)
    }

    fn empty_pipe(&mut self, socket: RawFd, tools: &mut Tools) -> io::Result<()> {
        let more = !matches!(self.next(), Next::Nothing);
        let pipe = self.pipe.as_mut().expect("what is in a pipe is in ours");
        let flags = libc::SPLICE_F_MOVE
            | libc::SPLICE_F_NONBLOCK
            | if more { libc::SPLICE_F_MORE } else { 0 };
        let nowhere = std::ptr::null_mut;
        // SAFETY: no memory is passed; both descriptors are held by this send.
        let sent = unsafe {
            libc::splice(pipe.reader(), nowhere(), socket, nowhere(), pipe.filled, flags)
        };
        tools.counters.called(Some(Transfer::Splice));
        pipe.filled -= moved(sent)?;
        Ok(())
    }

    /// A file that ends early was truncated under us.
    fn advance_file(&mut self, count: usize) -> io::Result<()> {
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.advance_by(count);
        Ok(())
    }
}

/// The count of a call, or its error.
fn moved(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// A socket that does not block while this lives. sendfile(2) has no flag for it, and the
/// ring needs its sockets blocking.
struct Nonblocking(RawFd);

impl Nonblocking {
    fn set(socket: RawFd) -> Self {
        set_flags(socket, libc::O_RDWR | libc::O_NONBLOCK);
        Self(socket)
    }
}

impl Drop for Nonblocking {
    fn drop(&mut self) {
        set_flags(self.0, libc::O_RDWR);
    }
}

fn set_flags(socket: RawFd, flags: i32) {
    // SAFETY: fcntl takes no pointers here.
    let set = unsafe { libc::fcntl(socket, libc::F_SETFL, flags) };
    assert_eq!(set, 0, "the flags of an open socket can be set");
}
