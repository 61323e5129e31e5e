//! What a connection sends in one go: bytes of its own and bytes lent from the arena.

use super::LogOffset;
use super::memory::SlotId;

/// One gather send. Owned by whoever holds it: the connection while it is filled,
/// the reactor while the kernel reads it, then the connection again.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Reply headers and small bodies; pieces of kind `Own` point into it.
    pub bytes: Vec<u8>,
    /// What leaves, in order.
    pub pieces: Vec<Piece>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A range of `Outgoing::bytes`.
    Own { start: u32, len: u32 },
    /// Sealed bytes of the log ring, pinned until the send has ended.
    Log { at: LogOffset, len: u32 },
    /// Bytes of a pool slot, pinned until the send has ended.
    Slot { slot: SlotId, start: u32, len: u32 },
}

impl Piece {
    pub fn len(&self) -> u32 {
        match *self {
            Self::Own { len, .. } | Self::Log { len, .. } | Self::Slot { len, .. } => len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Outgoing {
    /// Lets `write` append own bytes, and counts them in. Neighbouring own bytes
    /// become one piece.
    pub fn write<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let start = self.bytes.len();
        let result = write(&mut self.bytes);
        let grown = (self.bytes.len() - start) as u32;
        match self.pieces.last_mut() {
            _ if grown == 0 => {}
            Some(Piece::Own { len, .. }) => *len += grown,
            _ => self.pieces.push(Piece::Own { start: start as u32, len: grown }),
        }
        result
    }

    /// Bytes that leave in all.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(|piece| piece.len() as usize).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Forgets the content and keeps the memory for the next use.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.pieces.clear();
    }
}
