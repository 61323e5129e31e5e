//! Frames over a tokio-uring socket: reading them whole, writing without waiting for
//! ever, and the memory that all connections together may hold meanwhile.

use std::cell::Cell;
use std::net::Shutdown;
use std::rc::Rc;
use std::time::Duration;
use std::{fmt, io, mem};

use tokio::time::timeout;
use tokio_uring::buf::BoundedBuf;
use tokio_uring::net::TcpStream;

use crate::wire::{FrameError, HeaderError, Request, parse_prefix};

/// What a connection holds while nothing is under way; requests rarely exceed it.
const IDLE_BUFFER_BYTES: usize = 1024;
/// A buffer that has grown beyond this is given back once it is empty.
const KEPT_BUFFER_BYTES: usize = 64 * 1024;

/// Why a conversation cannot go on.
#[derive(Debug)]
pub(super) enum Broken {
    Frame(FrameError),
    Header(HeaderError),
    Io(io::Error),
    /// All connections together hold this many bytes already.
    Budget(usize),
    /// Neither read nor written for this long.
    Silent(Duration),
}

/// Bytes that all connections together may hold beyond their idle buffers.
pub(super) struct Budget {
    left: Cell<usize>,
    max: usize,
}

/// Bytes taken from a budget until dropped.
struct Share {
    budget: Rc<Budget>,
    bytes: usize,
}

/// A socket that shuts down when dropped, so that operations still in the kernel end
/// and let go of it.
pub(super) struct Socket {
    stream: TcpStream,
    budget: Rc<Budget>,
}

/// Cuts what a socket receives into frames.
pub(super) struct FrameReader {
    socket: Rc<Socket>,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were handed out already.
    taken: usize,
    share: Share,
}

impl Budget {
    pub fn new(max: usize) -> Rc<Self> {
        Rc::new(Self { left: Cell::new(max), max })
    }

    fn take(self: &Rc<Self>, bytes: usize) -> Result<Share, Broken> {
        let left = self.left.get().checked_sub(bytes).ok_or(Broken::Budget(self.max))?;
        self.left.set(left);
        Ok(Share { budget: Rc::clone(self), bytes })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.left.set(self.budget.left.get() + self.bytes);
    }
}

impl Socket {
    pub fn new(stream: TcpStream, budget: &Rc<Budget>) -> Rc<Self> {
        // Without it replies only wait; nothing fails.
        let _ = stream.set_nodelay(true);
        Rc::new(Self { stream, budget: Rc::clone(budget) })
    }

    /// Writes all of `bytes` and gives the memory back empty. A peer that takes nothing
    /// for `stall` is given up.
    pub async fn write(&self, bytes: Vec<u8>, stall: Duration) -> Result<Vec<u8>, Broken> {
        let _share = self.budget.take(bytes.len())?;
        let mut bytes = bytes;
        let mut written = 0;
        while written < bytes.len() {
            let write = self.stream.write(bytes.slice(written..)).submit();
            let (outcome, slice) =
                timeout(stall, write).await.map_err(|_| Broken::Silent(stall))?;
            bytes = slice.into_inner();
            match outcome? {
                0 => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                count => written += count,
            }
        }
        bytes.clear();
        bytes.shrink_to(KEPT_BUFFER_BYTES);
        Ok(bytes)
    }

    /// Ends both directions; whoever reads or writes learns of it.
    pub fn close(&self) {
        // An error means that the peer was faster.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.close();
    }
}

impl FrameReader {
    pub fn new(socket: &Rc<Socket>) -> Self {
        let share = Share { budget: Rc::clone(&socket.budget), bytes: 0 };
        Self { socket: Rc::clone(socket), buffer: Vec::new(), taken: 0, share }
    }

    /// The next whole frame of what was received; `None`: `fill` first.
    pub fn next(&mut self) -> Result<Option<Request<'_>>, Broken> {
        let rest = &self.buffer[self.taken..];
        let Some(prefix) = parse_prefix(rest).map_err(Broken::Frame)? else { return Ok(None) };
        let Some((header, body)) = prefix.split(rest) else { return Ok(None) };
        self.taken += prefix.frame_bytes;
        Request::decode(prefix.codec, header, body).map(Some).map_err(Broken::Header)
    }

    /// Receives more; false at the end of the stream.
    pub async fn fill(&mut self) -> Result<bool, Broken> {
        self.make_room()?;
        let len = self.buffer.len();
        let buffer = mem::take(&mut self.buffer);
        let (outcome, slice) = self.socket.stream.read(buffer.slice(len..)).await;
        self.buffer = slice.into_inner();
        Ok(outcome? > 0)
    }

    /// Makes room behind what is not taken yet: a buffer grows with what has arrived,
    /// not with what a peer announces.
    fn make_room(&mut self) -> Result<(), Broken> {
        self.buffer.drain(..mem::take(&mut self.taken));
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT_BUFFER_BYTES {
            self.buffer = Vec::new();
            self.share = self.socket.budget.take(0)?;
        }
        let capacity = self.buffer.capacity();
        if self.buffer.len() == capacity {
            let wanted = (2 * capacity).max(IDLE_BUFFER_BYTES);
            if wanted > IDLE_BUFFER_BYTES {
                // Old and new memory exist together while the bytes move.
                let larger = self.socket.budget.take(wanted)?;
                self.buffer.reserve_exact(wanted - capacity);
                self.share = larger;
            } else {
                self.buffer.reserve_exact(wanted);
            }
        }
        Ok(())
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(error) => error.fmt(f),
            Self::Header(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
            Self::Budget(max) => {
                write!(f, "all connections together hold their limit of {max} bytes")
            }
            Self::Silent(stall) => write!(f, "silent for {} s", stall.as_secs()),
        }
    }
}
