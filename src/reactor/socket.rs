//! Listening sockets and connections.

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::rc::Rc;

/// Connections that the kernel completes before we accept them.
const BACKLOG: i32 = 4096;

/// A listening socket. Accepted connections inherit its options.
pub struct Listener {
    pub(super) state: Rc<ListenerState>,
    address: SocketAddr,
}

pub(super) struct ListenerState {
    fd: OwnedFd,
    /// The user data of the accept in flight, to cancel it by.
    pub accept: Cell<Option<u64>>,
}

impl Listener {
    /// Binds and listens; port 0 takes a free one.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::from_std(TcpListener::bind(address)?)
    }

    /// Takes over a listener that was bound elsewhere, perhaps on another thread.
    pub fn from_std(listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        // A non-blocking listener would end a multishot accept whenever nobody waits.
        listener.set_nonblocking(false)?;
        // On Linux an accepted connection inherits this, which saves a call for each.
        nix::sys::socket::setsockopt(&listener, nix::sys::socket::sockopt::TcpNoDelay, &true)?;
        // SAFETY: listen takes no pointers; on a listening socket it changes the backlog.
        if unsafe { libc::listen(listener.as_raw_fd(), BACKLOG) } < 0 {
            return Err(io::Error::last_os_error());
        }
        let state = Rc::new(ListenerState { fd: listener.into(), accept: Cell::new(None) });
        Ok(Self { state, address })
    }

    /// The address that was bound, with the port that was found.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.state.accept.get().is_some() {
            // Ends the accept in flight, which closes the descriptor.
            // SAFETY: shutdown takes no pointers.
            unsafe { libc::shutdown(self.state.fd(), libc::SHUT_RDWR) };
        }
    }
}

impl ListenerState {
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// A connection. Given to [`Ring::close`](super::Ring::close) at its end; dropped
/// without that, it is shut down and closes when its last operation has ended.
pub struct Socket {
    pub(super) state: Rc<SocketState>,
}

/// What the operations of a connection share.
pub(super) struct SocketState {
    fd: OwnedFd,
    pub receive: Cell<Receive>,
    /// The user data of the send in flight.
    pub sending: Cell<Option<u64>>,
    /// Operations whose last completion is still to come.
    pub in_flight: Cell<u32>,
    /// The token of `Ring::close`, once that was called.
    pub closing: Cell<Option<u64>>,
}

/// How far a connection's receive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receive {
    /// None is wanted.
    Idle,
    /// The kernel has it; the user data to cancel it by.
    Armed(u64),
    /// It ran out of buffers and waits in the queue of the starved.
    Starved,
    /// A cancel is on its way; `again` if a receive was asked for meanwhile.
    Cancelling { again: bool },
}

impl Socket {
    /// Takes over a descriptor that `accept` has returned.
    pub(super) fn accepted(fd: RawFd) -> Self {
        // SAFETY: the completion of an accept hands over a descriptor that nobody else owns.
        Self::from(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// The other end's address, or what kept us from asking (it may be gone already).
    pub fn peer(&self) -> io::Result<SocketAddr> {
        with_stream(&self.state.fd, |stream| stream.peer_addr())
    }

    /// Whether small sends leave at once.
    pub fn nodelay(&self) -> io::Result<bool> {
        with_stream(&self.state.fd, |stream| stream.nodelay())
    }

    /// Whether bytes that were sent are still in the kernel's hands, the peer not having
    /// acknowledged them.
    pub fn has_unsent(&self) -> bool {
        let mut unsent: libc::c_int = 0;
        // SAFETY: SIOCOUTQ, which TIOCOUTQ also names, writes one int, which lives through the call.
        let asked = unsafe { libc::ioctl(self.state.fd(), libc::TIOCOUTQ, &raw mut unsent) };
        asked < 0 || unsent > 0
    }

    /// Our end's address.
    pub fn local(&self) -> io::Result<SocketAddr> {
        with_stream(&self.state.fd, |stream| stream.local_addr())
    }
}

impl From<OwnedFd> for Socket {
    fn from(fd: OwnedFd) -> Self {
        let state = SocketState {
            fd,
            receive: Cell::new(Receive::Idle),
            sending: Cell::new(None),
            in_flight: Cell::new(0),
            closing: Cell::new(None),
        };
        Self { state: Rc::new(state) }
    }
}

impl SocketState {
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Breaks the connection and throws away what waits to be sent: whatever is in flight
    /// ends, and pages that were taken for it come back.
    pub fn reset(&self) {
        // SAFETY: a sockaddr is plain data, for which zero is valid; it lives through the call.
        unsafe {
            let mut nobody: libc::sockaddr = std::mem::zeroed();
            nobody.sa_family = libc::AF_UNSPEC as libc::sa_family_t;
            libc::connect(self.fd(), &raw const nobody, size_of::<libc::sockaddr>() as u32);
        }
    }

    pub fn is_closing(&self) -> bool {
        self.closing.get().is_some()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.state.in_flight.get() > 0 {
            // Ends the operations in flight; the last of them closes the descriptor.
            // SAFETY: shutdown takes no pointers.
            unsafe { libc::shutdown(self.state.fd(), libc::SHUT_RDWR) };
        }
    }
}

/// The standard library's view of a descriptor that stays ours.
fn with_stream<T>(fd: &OwnedFd, ask: impl FnOnce(&TcpStream) -> io::Result<T>) -> io::Result<T> {
    let stream = std::mem::ManuallyDrop::new(
        // SAFETY: `ManuallyDrop` keeps the stream from closing the descriptor, borrowed meanwhile.
        unsafe { TcpStream::from_raw_fd(fd.as_fd().as_raw_fd()) },
    );
    ask(&stream)
}
