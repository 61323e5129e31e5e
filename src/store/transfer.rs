//! How replies take over the pieces that a read has found, and what is counted of it.

use crate::base::outgoing::{Outgoing, Piece};
use crate::base::transfer::{
    Fallback, FileWay, TailWay, Through, Transfer, TransferChoice, TransferCounters, TransferRules,
};

use super::Store;
use super::read::Sources;

impl Store {
    /// What `auto` does from now on.
    pub fn set_transfer_rules(&mut self, rules: TransferRules) {
        self.transfer_rules = rules;
    }

    /// Whether the log's writes go into the page cache or past it.
    pub fn set_writes_through(&mut self, through: Through) {
        self.writes_through = through;
    }

    /// Whether a segment may be written again while pages of it, as they were, may still wait
    /// in a socket: past the page cache, such pages are left alone.
    pub fn leaves_sent_pages_alone(&self) -> bool {
        self.writes_through == Through::Direct
    }

    pub fn transfers(&self) -> &TransferCounters {
        &self.transfers
    }

    /// Adds the pieces of one read to a reply: lent, or copied where the strategy is to
    /// copy; and counts them.
    pub fn hand_over(
        &mut self,
        sources: Sources,
        choice: TransferChoice,
        pieces: &[Piece],
        outgoing: &mut Outgoing,
    ) {
        let bytes: u32 = pieces.iter().map(Piece::len).sum();
        let piece_bytes = bytes / pieces.len().max(1) as u32;
        let (tail, file) = self.transfer_rules.ways(choice, piece_bytes);
        for piece in pieces {
            let piece = &sent_by(*piece, file);
            let transfer = transfer_of(piece, tail);
            let moved = self.transfers.of_mut(transfer);
            moved.bytes += u64::from(piece.len());
            outgoing.transfer = Some(transfer);
            if !matches!(transfer, Transfer::Sendfile | Transfer::Splice | Transfer::SendZc) {
                moved.kernel_copied += u64::from(piece.len());
            }
            if !is_copied(piece, tail) {
                outgoing.pieces.push(*piece);
            } else if copy(sources, piece, outgoing) {
                moved.user_copied += u64::from(piece.len());
                self.unpin_pieces(&[*piece], sources.files);
            } else {
                self.transfers.fall_back(Fallback::NotResident);
                outgoing.pieces.push(sent_by(*piece, FileWay::Sendfile));
            }
        }
    }
}

impl TransferCounters {
    /// Bytes leave from the arena though another strategy was asked for.
    pub(super) fn note_fallback(&mut self, asked: Option<Transfer>, in_ring: bool) {
        match asked {
            Some(Transfer::Gather | Transfer::SendZc) if !in_ring => {
                self.fall_back(Fallback::NotInArena);
            }
            Some(Transfer::Direct) if in_ring => self.fall_back(Fallback::StillInArena),
            _ => {}
        }
    }
}

/// The strategy that moves a piece.
fn transfer_of(piece: &Piece, tail: TailWay) -> Transfer {
    match (piece, tail) {
        (Piece::File { by, .. }, _) => by.transfer(),
        (Piece::Own { .. }, _) | (_, TailWay::Copy) => Transfer::Copy,
        (_, TailWay::ZeroCopy) => Transfer::SendZc,
        (Piece::Slot { .. }, TailWay::Gather) => Transfer::Direct,
        (Piece::Log { .. }, TailWay::Gather) => Transfer::Gather,
    }
}

fn is_copied(piece: &Piece, tail: TailWay) -> bool {
    match piece {
        Piece::Own { .. } => false,
        Piece::File { by, .. } => *by == FileWay::Read,
        Piece::Log { .. } | Piece::Slot { .. } => tail == TailWay::Copy,
    }
}

/// Copies a piece into the reply's own bytes; false if that would wait for a disk.
fn copy(sources: Sources, piece: &Piece, outgoing: &mut Outgoing) -> bool {
    let Sources { arena, files } = sources;
    outgoing.write(|out| match *piece {
        Piece::Own { .. } => unreachable!("a read lends, and owns nothing"),
        Piece::Log { at, len } => {
            out.extend_from_slice(arena.readable(at, len as usize));
            true
        }
        Piece::Slot { slot, start, len } => {
            out.extend_from_slice(&arena.slot(slot)[start as usize..][..len as usize]);
            true
        }
        Piece::File { at, len, .. } => files.read_now(at, len, out),
    })
}

fn sent_by(piece: Piece, by: FileWay) -> Piece {
    match piece {
        Piece::File { at, len, .. } => Piece::File { at, len, by },
        other => other,
    }
}
