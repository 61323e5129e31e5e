//! One question to the machine, and its answer.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::receiver::Sum;
use crate::base::transfer::Transfer;

/// Pieces of one size, moved one way, to so many connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub transfer: Transfer,
    /// Of a piece.
    pub bytes: u32,
    /// Pieces of a reply, none next to the one before; each connection has one reply in
    /// flight. More than one only from memory, and behind a header as a broker's.
    pub pieces: u32,
    pub heat: Heat,
    pub connections: usize,
    pub receiving: Receiving,
}

/// Where the bytes lie before they are moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Heat {
    /// In memory: the page cache, or the arena.
    Hot,
    /// On the disk alone.
    Cold,
}

/// What the other end does with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Receiving {
    /// Copies them into its memory.
    Copies,
    /// Has the kernel drop them (MSG_TRUNC).
    Discards,
}

/// What a cell has taken.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Bytes that arrived.
    pub bytes: u64,
    /// From the first send to the arrival of the last byte.
    pub time: Duration,
    /// CPU time of the sending thread, and of the kernel's workers for it.
    pub cpu_ns: u64,
    pub worker_cpu_ns: u64,
    /// System calls of the sending thread, but for the fcntl before and after a turn of
    /// sendfile or splice.
    pub calls: u64,
    /// By connection, if that was asked for.
    pub sums: Vec<Sum>,
}

impl Heat {
    pub const ALL: [Self; 2] = [Self::Hot, Self::Cold];

    pub fn name(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Cold => "cold",
        }
    }
}

impl Receiving {
    pub const ALL: [Self; 2] = [Self::Copies, Self::Discards];

    pub fn name(self) -> &'static str {
        match self {
            Self::Copies => "copies",
            Self::Discards => "discards",
        }
    }
}

impl Cell {
    /// Whether the strategy moves bytes from there at all: the arena is never cold, and
    /// direct reads never find anything in memory.
    pub fn makes_sense(&self) -> bool {
        match self.transfer {
            Transfer::Gather | Transfer::SendZc => self.heat == Heat::Hot,
            Transfer::Direct => self.heat == Heat::Cold,
            _ => true,
        }
    }
}

impl Measured {
    pub fn bytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.time.as_secs_f64().max(1e-9)
    }

    pub fn cpu_ns_per_byte(&self) -> f64 {
        (self.cpu_ns + self.worker_cpu_ns) as f64 / self.bytes.max(1) as f64
    }

    pub fn calls_per_megabyte(&self) -> f64 {
        self.calls as f64 / (self.bytes.max(1) as f64 / 1e6)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { transfer, bytes, pieces, heat, connections, receiving } = self;
        let (transfer, heat, receiving) = (transfer.name(), heat.name(), receiving.name());
        write!(
            f,
            "{transfer} of {pieces} x {bytes} bytes, {heat}, to {connections}, who {receiving}"
        )
    }
}
