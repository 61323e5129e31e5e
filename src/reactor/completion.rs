//! Everything that a ring can tell its caller.

use super::socket::Socket;
use crate::base::memory::{BufferId, SlotId};
use crate::base::outgoing::Outgoing;
use std::fmt;
use std::io;
use std::net::SocketAddr;

/// What has happened. Tokens are the caller's own, given when the operation began.
pub enum Completion {
    /// A connection came in. `peer` is missing if it went again at once.
    Accepted {
        token: u64,
        socket: Socket,
        peer: Option<SocketAddr>,
    },
    /// Accepting has stopped: `accept` must be called again, later if descriptors or
    /// memory ran out.
    AcceptEnded {
        token: u64,
        error: io::Error,
    },
    /// Bytes arrived. The buffer is the caller's until it gives it back.
    Received {
        token: u64,
        buffer: BufferId,
        len: usize,
    },
    /// Nothing more will arrive until `receive` is called again.
    ReceiveEnded {
        token: u64,
        end: End,
    },
    /// All pieces left, or the connection is broken.
    Sent {
        token: u64,
        outgoing: Outgoing,
        result: io::Result<()>,
    },
    /// What was unsent was copied, as `copy_send` asked, and the send goes on from the
    /// copy: its own memory is back. `Sent` follows, with nothing to give.
    Copied {
        token: u64,
        outgoing: Outgoing,
    },
    Wrote {
        token: u64,
        result: Result<(), DiskError>,
    },
    Read {
        token: u64,
        slot: SlotId,
        result: Result<(), DiskError>,
    },
    Synced {
        token: u64,
        result: Result<(), DiskError>,
    },
    /// The last word about a connection: no operation of it is in flight any more.
    Closed {
        token: u64,
    },
    /// Another thread rang the doorbell.
    Rung,
}

/// Why a receive has ended.
#[derive(Debug)]
pub enum End {
    /// The peer sends no more.
    Eof,
    /// `cancel_receive` was called.
    Cancelled,
    Error(io::Error),
}

/// Why bytes did not get to the disk, or from it.
#[derive(Debug)]
pub enum DiskError {
    Failed(io::Error),
    /// The kernel moved fewer bytes than it was asked to.
    Short {
        done: usize,
        asked: usize,
    },
}

impl DiskError {
    /// The result of an operation that asked for `asked` bytes.
    pub(super) fn check(result: i32, asked: usize) -> Result<(), Self> {
        match usize::try_from(result) {
            Err(_) => Err(Self::Failed(io::Error::from_raw_os_error(-result))),
            Ok(done) if done < asked => Err(Self::Short { done, asked }),
            Ok(_) => Ok(()),
        }
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::Short { done, asked } => write!(f, "{done} of {asked} bytes moved"),
        }
    }
}

impl std::error::Error for DiskError {}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted { token, peer, .. } => write!(f, "Accepted({token}, {peer:?})"),
            Self::AcceptEnded { token, error } => write!(f, "AcceptEnded({token}, {error})"),
            Self::Received { token, buffer, len } => {
                write!(f, "Received({token}, {len} bytes in {})", buffer.0)
            }
            Self::ReceiveEnded { token, end } => write!(f, "ReceiveEnded({token}, {end:?})"),
            Self::Sent { token, result, .. } => write!(f, "Sent({token}, {result:?})"),
            Self::Copied { token, .. } => write!(f, "Copied({token})"),
            Self::Wrote { token, result } => write!(f, "Wrote({token}, {result:?})"),
            Self::Read { token, slot, result } => {
                write!(f, "Read({token}, slot {}, {result:?})", slot.0)
            }
            Self::Synced { token, result } => write!(f, "Synced({token}, {result:?})"),
            Self::Closed { token } => write!(f, "Closed({token})"),
            Self::Rung => write!(f, "Rung"),
        }
    }
}
