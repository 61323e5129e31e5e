//! One gather send: an [`Outgoing`] in the kernel's hands, however many calls it takes.

use super::arena::memory::{Memory, Range};
use super::lent::Lent;
use crate::base::outgoing::{Outgoing, Piece};
use io_uring::{opcode, squeue, types};
use std::os::fd::RawFd;
use std::rc::Rc;

/// Pieces of one SENDMSG at most (UIO_MAXIOV).
const IOVECS_MAX: usize = 1024;

/// Its own bytes, its lent ranges and its place among the pieces. Reused from send to
/// send, so that the steady state allocates nothing.
pub(super) struct Gather {
    message: libc::msghdr,
    iovecs: Vec<libc::iovec>,
    outgoing: Outgoing,
    arena: Option<Rc<Memory>>,
    /// The first piece that has not wholly left, and bytes of it that have.
    piece: usize,
    piece_sent: usize,
    /// Bytes asked for in the call under way.
    asked: usize,
    /// The unsent rest, once the arena needed its own bytes back.
    copy: Option<Vec<u8>>,
    /// The copy is wanted, and made as soon as the call under way has ended.
    copy_wanted: bool,
}

/// What is left to do after a call.
pub(super) enum Progress {
    Done,
    More,
    /// More, from a copy: what had been taken over is free.
    Copied(Outgoing),
}

impl Gather {
    pub fn new() -> Lent<Self> {
        // SAFETY: msghdr is a plain struct of integers and pointers, for which zero is valid.
        let message = unsafe { std::mem::zeroed() };
        Lent::new(Self {
            message,
            iovecs: Vec::new(),
            outgoing: Outgoing::default(),
            arena: None,
            piece: 0,
            piece_sent: 0,
            asked: 0,
            copy: None,
            copy_wanted: false,
        })
    }

    /// Takes over what is to leave, and enters its ranges in the arena's book.
    pub fn begin(&mut self, outgoing: Outgoing, arena: &Rc<Memory>) {
        self.outgoing = outgoing;
        (self.piece, self.piece_sent, self.asked) = (0, 0, 0);
        (self.copy, self.copy_wanted) = (None, false);
        for piece in &self.outgoing.pieces {
            match *piece {
                Piece::Own { start, len } => {
                    let own = self.outgoing.bytes.len();
                    assert!(start as usize <= own && len as usize <= own - start as usize);
                }
                Piece::Log { at, len } => arena.lend_log(at, len as usize),
                Piece::Slot { slot, start, len } => {
                    arena.lend_slot(slot, start as usize, len as usize);
                }
            }
        }
        self.arena = Some(arena.clone());
    }

    /// Gives back what was taken over, unless a copy has taken its place.
    pub fn end(&mut self) -> Outgoing {
        self.return_ranges();
        self.copy = None;
        std::mem::take(&mut self.outgoing)
    }

    /// The next call. It stays valid while `self` is neither changed nor dropped.
    pub fn next_entry(&mut self, fd: RawFd) -> squeue::Entry {
        let more = self.fill_iovecs();
        let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL | if more { libc::MSG_MORE } else { 0 };
        if let [only] = self.iovecs[..] {
            return opcode::Send::new(types::Fd(fd), only.iov_base.cast(), only.iov_len as u32)
                .flags(flags)
                .build();
        }
        self.message.msg_iov = self.iovecs.as_mut_ptr();
        self.message.msg_iovlen = self.iovecs.len();
        opcode::SendMsg::new(types::Fd(fd), &raw const self.message).flags(flags as u32).build()
    }

    /// A call has moved `count` bytes.
    pub fn advance(&mut self, count: usize) -> Progress {
        assert!(count <= self.asked, "the kernel sent {count} bytes of {}", self.asked);
        self.asked = 0;
        if let Some(copy) = &self.copy {
            self.piece_sent += count;
            return if self.piece_sent == copy.len() { Progress::Done } else { Progress::More };
        }
        let mut left = count;
        while let Some(piece) = self.outgoing.pieces.get(self.piece) {
            let rest = piece.len() as usize - self.piece_sent;
            if left < rest {
                self.piece_sent += left;
                break;
            }
            left -= rest;
            (self.piece, self.piece_sent) = (self.piece + 1, 0);
        }
        if self.piece == self.outgoing.pieces.len() {
            return Progress::Done;
        }
        if self.copy_wanted { Progress::Copied(self.copy_rest()) } else { Progress::More }
    }

    /// Asks for the rest to be copied once the call under way has ended. False if that
    /// has been asked for.
    pub fn want_copy(&mut self) -> bool {
        self.copy.is_none() && !std::mem::replace(&mut self.copy_wanted, true)
    }

    pub fn copy_is_wanted(&self) -> bool {
        self.copy_wanted
    }

    /// Lays out the next call's ranges, neighbours joined; tells whether more will follow.
    fn fill_iovecs(&mut self) -> bool {
        self.iovecs.clear();
        if let Some(copy) = &self.copy {
            let rest = &copy[self.piece_sent..];
            let len = rest.len().min(i32::MAX as usize);
            self.iovecs.push(iovec(Range { base: rest.as_ptr(), len }));
            self.asked = len;
            return len < rest.len();
        }
        self.asked = 0;
        let mut skip = self.piece_sent;
        for piece in &self.outgoing.pieces[self.piece..] {
            let Range { base, len } = range_of(piece, &self.outgoing.bytes, self.arena.as_deref());
            // SAFETY: `skip` is below the piece's length, so the pointer stays inside its range.
            let rest = Range { base: unsafe { base.add(skip) }, len: len - skip };
            // A call's result is an i32.
            if self.asked + rest.len > i32::MAX as usize || !push(&mut self.iovecs, rest) {
                return true;
            }
            self.asked += rest.len;
            skip = 0;
        }
        false
    }

    fn copy_rest(&mut self) -> Outgoing {
        let left: usize = self.outgoing.pieces[self.piece..].iter().map(|p| p.len() as usize).sum();
        let mut copy = Vec::with_capacity(left - self.piece_sent);
        let mut skip = self.piece_sent;
        for piece in &self.outgoing.pieces[self.piece..] {
            let range = range_of(piece, &self.outgoing.bytes, self.arena.as_deref());
            // SAFETY: the range is own bytes or still lent to this send, so nobody changes it.
            let bytes = unsafe { std::slice::from_raw_parts(range.base, range.len) };
            copy.extend_from_slice(&bytes[skip..]);
            skip = 0;
        }
        self.return_ranges();
        (self.copy, self.copy_wanted, self.piece_sent) = (Some(copy), false, 0);
        std::mem::take(&mut self.outgoing)
    }

    fn return_ranges(&mut self) {
        let Some(arena) = self.arena.take() else { return };
        for piece in &self.outgoing.pieces {
            match *piece {
                Piece::Own { .. } => {}
                Piece::Log { at, len } => arena.return_log(at, len as usize),
                Piece::Slot { slot, .. } => arena.return_slot(slot),
            }
        }
    }
}

/// Where a piece lies. Its bounds were checked when it was taken over.
fn range_of(piece: &Piece, own: &[u8], arena: Option<&Memory>) -> Range {
    let arena = || arena.expect("lent pieces hold their arena");
    match *piece {
        Piece::Own { start, len } => {
            let bytes = &own[start as usize..][..len as usize];
            Range { base: bytes.as_ptr(), len: bytes.len() }
        }
        Piece::Log { at, len } => arena().log_range(at, len as usize),
        Piece::Slot { slot, start, len } => {
            let (start, len) = (start as usize, len as usize);
            Range { base: arena().slot_range(slot, start, len), len }
        }
    }
}

/// Adds a range, or says that the call is full.
fn push(iovecs: &mut Vec<libc::iovec>, range: Range) -> bool {
    if range.len == 0 {
        return true;
    }
    if let Some(last) = iovecs.last_mut()
        && last.iov_base as usize + last.iov_len == range.base as usize
    {
        last.iov_len += range.len;
        return true;
    }
    if iovecs.len() == IOVECS_MAX {
        return false;
    }
    iovecs.push(iovec(range));
    true
}

fn iovec(range: Range) -> libc::iovec {
    libc::iovec { iov_base: range.base.cast_mut().cast(), iov_len: range.len }
}
