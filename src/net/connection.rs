//! One connection: the frame that is still arriving, and what waits to be sent.

use std::net::SocketAddr;

use crate::base::LogOffset;
use crate::base::limits::{BACKLOG_BYTES_MAX, FRAME_BYTES_MAX};
use crate::base::outgoing::Outgoing;
use crate::wire::frame::{self, FrameError};

/// A connection as a value.
#[derive(Debug)]
pub struct Connection {
    pub peer: SocketAddr,
    pub(super) generation: u32,
    /// The front of a frame whose rest has not arrived, or whole frames that wait
    /// until the peer reads its replies.
    pub(super) carry: Vec<u8>,
    pub(super) filling: Outgoing,
    /// A send is with the kernel,
    pub(super) sending: bool,
    /// … and keeps the ring from here on.
    pub(super) sending_from: Option<LogOffset>,
    /// Bytes of that send, and
    pub(super) sending_len: usize,
    /// … of both it and `filling` those that were copied out of the ring.
    pub(super) copied: Copied,
    pub(super) reading: Reading,
    pub(super) listed: bool,
    pub(super) closing: bool,
    pub(super) last_active_us: u64,
}

/// Bytes that were copied so that the log's head can go on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Copied {
    pub filling: usize,
    pub sending: usize,
}

/// Whether bytes of the peer are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    On,
    /// Nothing more is received until the cause has gone.
    Paused {
        since_us: u64,
    },
}

impl Connection {
    pub(super) fn new(peer: SocketAddr, generation: u32, now_us: u64) -> Self {
        Self {
            peer,
            generation,
            carry: Vec::new(),
            filling: Outgoing::default(),
            sending: false,
            sending_from: None,
            sending_len: 0,
            copied: Copied::default(),
            reading: Reading::On,
            listed: false,
            closing: false,
            last_active_us: now_us,
        }
    }

    /// The peer does not read: replies pile up, so no further request is taken.
    pub fn is_choked(&self) -> bool {
        self.filling.len() >= BACKLOG_BYTES_MAX
    }

    pub fn reading(&self) -> Reading {
        self.reading
    }

    /// Nothing of this connection is needed any more: replies to it are dropped.
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// Bytes of a started frame that are kept.
    pub fn carried(&self) -> usize {
        self.carry.len()
    }

    /// How many of the next bytes complete the carried frame's prefix or, once the
    /// prefix is known, the frame.
    pub(super) fn missing(&self) -> Result<usize, FrameError> {
        match frame::parse_prefix(&self.carry)? {
            None => Ok(frame::PREFIX_BYTES - self.carry.len()),
            Some(prefix) => {
                assert!(prefix.frame_bytes <= FRAME_BYTES_MAX);
                Ok(prefix.frame_bytes.saturating_sub(self.carry.len()))
            }
        }
    }
}
