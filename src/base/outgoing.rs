//! What a connection sends in one go: bytes of its own and bytes lent from the arena.

use super::LogOffset;
use super::memory::SlotId;
use super::transfer::{FileWay, Transfer};

/// One gather send. Owned by whoever holds it: the connection while it is filled,
/// the reactor while the kernel reads it, then the connection again.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Reply headers and small bodies; pieces of kind `Own` point into it.
    pub bytes: Vec<u8>,
    /// What leaves, in order.
    pub pieces: Vec<Piece>,
    /// How log bytes in it are moved: of several replies the last one's way. Calls count
    /// under it, and with `SendZc` the kernel takes pages of the arena where it can.
    pub transfer: Option<Transfer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A range of `Outgoing::bytes`.
    Own { start: u32, len: u32 },
    /// Sealed bytes of the log ring, pinned until the send has ended.
    Log { at: LogOffset, len: u32 },
    /// Bytes of a pool slot, pinned until the send has ended.
    Slot { slot: SlotId, start: u32, len: u32 },
    /// Bytes of a segment's file, whose segment stays open until the send has ended.
    File { at: LogOffset, len: u32, by: FileWay },
}

impl Piece {
    pub fn len(&self) -> u32 {
        match *self {
            Self::Own { len, .. }
            | Self::Log { len, .. }
            | Self::Slot { len, .. }
            | Self::File { len, .. } => len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Outgoing {
    /// Lets `write` append own bytes, and counts them in. They join the last piece where
    /// that ends right before them; bytes copied out of the ring may lie between.
    pub fn write<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let start = self.bytes.len();
        let result = write(&mut self.bytes);
        let grown = (self.bytes.len() - start) as u32;
        match self.pieces.last_mut() {
            _ if grown == 0 => {}
            Some(Piece::Own { start: before, len }) if *before + *len == start as u32 => {
                *len += grown;
            }
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
        self.transfer = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_bytes_join_only_what_ends_where_they_begin() {
        let mut outgoing = Outgoing::default();
        outgoing.write(|out| out.extend(b"head"));
        outgoing.pieces.push(Piece::Log { at: LogOffset(8), len: 4 });
        outgoing.write(|out| out.extend(b"next"));
        // What the ring held was copied behind all that was there.
        outgoing.bytes.extend(b"body");
        outgoing.pieces[1] = Piece::Own { start: 8, len: 4 };
        outgoing.write(|out| out.extend(b"last"));
        let mut sent: Vec<u8> = Vec::new();
        for piece in &outgoing.pieces {
            let Piece::Own { start, len } = *piece else { panic!("all is copied") };
            sent.extend(&outgoing.bytes[start as usize..][..len as usize]);
        }
        assert_eq!(sent, b"headbodynextlast");
    }
}
