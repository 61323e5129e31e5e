//! One gather send: an [`Outgoing`] in the kernel's hands, however many calls it takes.

use super::arena::memory::{Memory, Range};
use super::lent::Lent;
use super::paged_file::PagedFile;
use super::pipe::Pipe;
use crate::base::LogOffset;
use crate::base::outgoing::{Outgoing, Piece};
use crate::base::transfer::{FileWay, Transfer};
use io_uring::{opcode, squeue, types};
use std::os::fd::RawFd;
use std::rc::Rc;

/// IORING_SEND_ZC_REPORT_USAGE: the kernel tells whether it has copied after all.
const REPORT_USAGE: u16 = 1 << 3;
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
    /// Where the file pieces lie, in their order, and how many of them have wholly left.
    files: Vec<FilePart>,
    files_sent: usize,
    /// Pieces leave by calls of our own (`send_now.rs`), not by the ring.
    by_calls: bool,
    /// Some of them since their file could not be mapped.
    pub lacks_mapping: bool,
    /// What splice has taken out of a file and not yet given to the socket.
    pub pipe: Option<Pipe>,
    /// The kernel sends out of our pages, as far as it can.
    pub zero_copy: bool,
    /// Zero-copy calls whose pages the kernel still holds.
    pub held: u32,
    /// All is said about this send but that the kernel still holds pages of it.
    pub ended: Option<std::io::Result<()>>,
}

/// Where a file piece lies: a segment's file, and the position in it.
#[derive(Clone, Debug)]
pub struct FilePart {
    pub file: Rc<PagedFile>,
    pub position: u64,
}

/// What is to leave next.
#[derive(Clone, Copy)]
pub(super) enum Next {
    Nothing,
    Memory,
    /// So many bytes of a file.
    File {
        by: FileWay,
        left: usize,
    },
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
            files: Vec::new(),
            files_sent: 0,
            by_calls: false,
            lacks_mapping: false,
            pipe: None,
            zero_copy: false,
            held: 0,
            ended: None,
        })
    }

    /// Takes over what is to leave, and enters its ranges in the arena's book. `files`
    /// tells where its file pieces lie.
    pub fn begin(
        &mut self,
        outgoing: Outgoing,
        arena: &Rc<Memory>,
        files: impl Fn(LogOffset) -> FilePart,
    ) {
        self.outgoing = outgoing;
        (self.piece, self.piece_sent, self.asked) = (0, 0, 0);
        (self.copy, self.copy_wanted) = (None, false);
        (self.files_sent, self.by_calls, self.lacks_mapping) = (0, false, false);
        self.zero_copy = self.outgoing.transfer == Some(Transfer::SendZc);
        for piece in &mut self.outgoing.pieces {
            match piece {
                Piece::Own { start, len } => {
                    let (start, len) = (*start as usize, *len as usize);
                    let own = self.outgoing.bytes.len();
                    assert!(start <= own && len <= own - start);
                }
                Piece::Log { at, len } => arena.lend_log(*at, *len as usize),
                Piece::Slot { slot, start, len } => {
                    arena.lend_slot(*slot, *start as usize, *len as usize);
                }
                Piece::File { at, by, .. } => {
                    let part = files(*at);
                    if *by == FileWay::Map && !part.file.is_mapped() {
                        *by = FileWay::Sendfile;
                        self.lacks_mapping = true;
                    }
                    self.by_calls |= *by != FileWay::Map;
                    self.files.push(part);
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

    /// How the calls of this send count.
    pub fn transfer(&self) -> Option<Transfer> {
        self.outgoing.transfer
    }

    /// Whether it leaves by calls of our own.
    pub fn is_by_calls(&self) -> bool {
        self.by_calls
    }

    pub fn next(&self) -> Next {
        if let Some(copy) = &self.copy {
            return if self.piece_sent == copy.len() { Next::Nothing } else { Next::Memory };
        }
        match self.outgoing.pieces.get(self.piece) {
            None => Next::Nothing,
            Some(Piece::File { by, len, .. }) if *by != FileWay::Map => {
                Next::File { by: *by, left: *len as usize - self.piece_sent }
            }
            Some(_) => Next::Memory,
        }
    }

    /// Where the rest of the file piece begins that is next.
    pub fn next_file(&self) -> (RawFd, u64) {
        let part = &self.files[self.files_sent];
        (part.file.fd(), part.position + self.piece_sent as u64)
    }

    /// The ranges that are next, as sendmsg takes them, and whether more will follow.
    pub fn next_message(&mut self) -> (&libc::msghdr, bool) {
        let more = self.fill_iovecs();
        self.message.msg_iov = self.iovecs.as_mut_ptr();
        self.message.msg_iovlen = self.iovecs.len();
        (&self.message, more)
    }

    /// The next call. It stays valid while `self` is neither changed nor dropped.
    pub fn next_entry(&mut self, fd: RawFd) -> squeue::Entry {
        let more = self.fill_iovecs();
        let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL | if more { libc::MSG_MORE } else { 0 };
        if self.zero_copy {
            return self.zero_copy_entry(fd, flags);
        }
        if let [only] = self.iovecs[..] {
            return opcode::Send::new(types::Fd(fd), only.iov_base.cast(), only.iov_len as u32)
                .flags(flags)
                .build();
        }
        self.message.msg_iov = self.iovecs.as_mut_ptr();
        self.message.msg_iovlen = self.iovecs.len();
        opcode::SendMsg::new(types::Fd(fd), &raw const self.message).flags(flags as u32).build()
    }

    /// The same, out of our own pages: the kernel tells later that it needs them no more.
    fn zero_copy_entry(&mut self, fd: RawFd, flags: i32) -> squeue::Entry {
        self.held += 1;
        if let [only] = self.iovecs[..] {
            return opcode::SendZc::new(types::Fd(fd), only.iov_base.cast(), only.iov_len as u32)
                .flags(flags)
                .zc_flags(REPORT_USAGE)
                .build();
        }
        self.message.msg_iov = self.iovecs.as_mut_ptr();
        self.message.msg_iovlen = self.iovecs.len();
        opcode::SendMsgZc::new(types::Fd(fd), &raw const self.message)
            .flags(flags as u32)
            .ioprio(REPORT_USAGE)
            .build()
    }

    /// A call has moved `count` bytes of memory. True if all has left.
    pub fn advance(&mut self, count: usize) -> bool {
        assert!(count <= self.asked, "the kernel sent {count} bytes of {}", self.asked);
        self.advance_by(count)
    }

    /// `count` bytes have left, of memory or of a file. True if that was all.
    pub fn advance_by(&mut self, count: usize) -> bool {
        self.asked = 0;
        if let Some(copy) = &self.copy {
            self.piece_sent += count;
            return self.piece_sent == copy.len();
        }
        let mut left = count;
        while let Some(piece) = self.outgoing.pieces.get(self.piece) {
            let rest = piece.len() as usize - self.piece_sent;
            if left < rest {
                self.piece_sent += left;
                break;
            }
            left -= rest;
            self.files_sent += usize::from(matches!(piece, Piece::File { .. }));
            (self.piece, self.piece_sent) = (self.piece + 1, 0);
        }
        self.piece == self.outgoing.pieces.len()
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
        let mut files = self.files[self.files_sent..].iter();
        for piece in &self.outgoing.pieces[self.piece..] {
            if matches!(piece, Piece::File { by, .. } if *by != FileWay::Map) {
                return true;
            }
            let arena = self.arena.as_deref();
            let Range { base, len } = range_of(piece, &self.outgoing.bytes, arena, &mut files);
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

    /// Goes on from a copy of what is unsent, and gives the rest back; None if a part of it
    /// would have to be read from a disk.
    pub fn copy_rest(&mut self) -> Option<Outgoing> {
        let left: usize = self.outgoing.pieces[self.piece..].iter().map(|p| p.len() as usize).sum();
        let mut copy = Vec::with_capacity(left - self.piece_sent);
        let mut skip = self.piece_sent;
        let mut files = self.files[self.files_sent..].iter();
        for piece in &self.outgoing.pieces[self.piece..] {
            if let Piece::File { len, .. } = *piece {
                let FilePart { file, position } = files.next().expect("a part for each piece");
                let rest = len as usize - skip;
                if !file.read_now(position + skip as u64, rest, &mut copy) {
                    return None;
                }
            } else {
                let (own, arena) = (&self.outgoing.bytes, self.arena.as_deref());
                let range = range_of(piece, own, arena, &mut [].iter());
                // SAFETY: the range is own bytes or still lent to this send, so nobody changes it.
                let bytes = unsafe { std::slice::from_raw_parts(range.base, range.len) };
                copy.extend_from_slice(&bytes[skip..]);
            }
            skip = 0;
        }
        self.return_ranges();
        (self.copy, self.copy_wanted, self.piece_sent) = (Some(copy), false, 0);
        Some(std::mem::take(&mut self.outgoing))
    }

    fn return_ranges(&mut self) {
        self.files.clear();
        let Some(arena) = self.arena.take() else { return };
        for piece in &self.outgoing.pieces {
            match *piece {
                Piece::Own { .. } | Piece::File { .. } => {}
                Piece::Log { at, len } => arena.return_log(at, len as usize),
                Piece::Slot { slot, .. } => arena.return_slot(slot),
            }
        }
    }
}

/// Where a piece lies, for the kernel. Its bounds were checked when it was taken over.
fn range_of<'a>(
    piece: &Piece,
    own: &[u8],
    arena: Option<&Memory>,
    files: &mut impl Iterator<Item = &'a FilePart>,
) -> Range {
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
        Piece::File { len, .. } => {
            let FilePart { file, position } = files.next().expect("a part for each piece");
            let bytes = file.bytes(*position, len as usize).expect("a range of the mapping");
            Range { base: bytes.as_ptr(), len: bytes.len() }
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
