//! The sending side of a cell, on a ring of its own thread: one piece in flight per
//! connection, the next one when it has left.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::blocks::Blocks;
use super::cell::{Cell, Heat};
use crate::base::LogOffset;
use crate::base::outgoing::{Outgoing, Piece};
use crate::base::transfer::{FileWay, Transfer};
use crate::reactor::{Arena, ArenaId, Completion, FilePart, PagedFile, Ring, Socket, Wait};

/// Nothing takes this long unless something is broken.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// About what the header of a pull's reply takes.
const HEADER_BYTES: usize = 200;
/// A thread that spins would count as CPU what is waiting.
const PARK: Wait =
    Wait::SpinThenPark { spin: Duration::ZERO, at_most: Some(Duration::from_millis(100)) };

pub struct Sender<'a> {
    pub cell: Cell,
    pub ring: &'a mut Ring,
    pub arena: &'a mut Arena,
    pub arena_id: ArenaId,
    pub paged: Rc<PagedFile>,
    pub blocks: Blocks<'a>,
    pub lanes: Vec<Lane>,
    /// Reads of the page cache by `copy`.
    pub copies: u64,
    /// Pieces that have left.
    pub sent: u64,
}

/// One connection, and the part of the source that goes over it.
pub struct Lane {
    socket: Socket,
    /// The source's range: read once where it is to be cold, else over and over.
    start: u64,
    end: u64,
    at: u64,
    /// Bytes on their way.
    sending: u32,
    /// The memory of the last send, for the next.
    outgoing: Outgoing,
    read_ahead_of: Option<u64>,
}

impl Lane {
    pub fn new(socket: Socket, start: u64, from: u64, end: u64) -> Self {
        let outgoing = Outgoing::default();
        Self { socket, start, end, at: from, sending: 0, outgoing, read_ahead_of: None }
    }
}

impl Sender<'_> {
    /// Sends for so long, or until a cold range has been read through; then closes.
    pub fn run(&mut self, how_long: Duration) -> io::Result<()> {
        let deadline = Instant::now() + how_long;
        let mut last = Instant::now();
        let mut over = false;
        let mut out = Vec::new();
        for lane in 0..self.lanes.len() {
            over |= !self.send_next(lane)?;
        }
        while !(over && self.is_idle()) {
            self.ring.turn(PARK, || false, &mut out)?;
            // However slow the disk, one piece is measured.
            over |= Instant::now() >= deadline && self.sent > 0;
            if !out.is_empty() {
                last = Instant::now();
            } else if last.elapsed() > SILENCE_MAX {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "nothing is received"));
            }
            let mut retry = out.is_empty();
            for completion in out.drain(..) {
                match completion {
                    Completion::Sent { token, outgoing, result } => {
                        result?;
                        self.on_sent(token as usize, outgoing);
                        over = over || !self.send_next(token as usize)?;
                    }
                    Completion::Read { token, result, .. } => {
                        self.blocks.on_read(token, result).map_err(io::Error::other)?;
                        retry = true;
                    }
                    _ => {}
                }
            }
            if retry && !over {
                over = self.send_where_idle()?;
            }
        }
        self.close()
    }

    fn is_idle(&self) -> bool {
        self.lanes.iter().all(|lane| lane.sending == 0) && !self.blocks.is_reading()
    }

    /// Tries again what waited. True if a range has ended.
    fn send_where_idle(&mut self) -> io::Result<bool> {
        for lane in 0..self.lanes.len() {
            if self.lanes[lane].sending == 0 && !self.send_next(lane)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn on_sent(&mut self, lane: usize, outgoing: Outgoing) {
        self.sent += 1;
        let lane = &mut self.lanes[lane];
        lane.outgoing = outgoing;
        lane.outgoing.clear();
        self.blocks.sent(lane.at, lane.sending);
        lane.at += u64::from(std::mem::take(&mut lane.sending));
    }

    /// Sends the next piece, or has it brought. False at the end of a cold range.
    fn send_next(&mut self, index: usize) -> io::Result<bool> {
        let Cell { transfer, heat, .. } = self.cell;
        let bytes = self.cell.bytes * self.cell.pieces;
        let lane = &mut self.lanes[index];
        if lane.at + u64::from(bytes) > lane.end {
            if heat == Heat::Cold {
                return Ok(false);
            }
            lane.at = lane.start;
        }
        let at = lane.at;
        let len = self.blocks.part(at, bytes);
        if !self.is_ready(at, len) {
            return Ok(true);
        }
        let lane = &mut self.lanes[index];
        let mut outgoing = std::mem::take(&mut lane.outgoing);
        if !self.fill(&mut outgoing, at, len) {
            // The page cache gave it up since it was asked.
            outgoing.clear();
            self.lanes[index].outgoing = outgoing;
            return Ok(true);
        }
        outgoing.transfer = Some(transfer);
        let lane = &mut self.lanes[index];
        lane.sending = len;
        let paged = &self.paged;
        let part = |at: LogOffset| FilePart { file: Rc::clone(paged), position: at.0 };
        self.ring.send_with_files(&lane.socket, self.arena_id, outgoing, part, index as u64);
        self.read_ahead(index, at + u64::from(len));
        Ok(true)
    }

    fn is_ready(&mut self, at: u64, len: u32) -> bool {
        matches!(self.cell.transfer, Transfer::Gather | Transfer::SendZc)
            || self.blocks.bring(self.ring, &mut self.arena.pool, at, len)
    }

    /// Makes a reply of a range as the broker would. False if it is not in memory any more.
    fn fill(&mut self, outgoing: &mut Outgoing, at: u64, len: u32) -> bool {
        let pieces = u64::from(self.cell.pieces);
        if pieces == 1 {
            return self.fill_piece(outgoing, at, len);
        }
        outgoing.write(|out| out.resize(HEADER_BYTES, 0));
        let each = len / self.cell.pieces;
        // In pairs, the second of each first: neighbours would be sent as one.
        (0..pieces).all(|piece| self.fill_piece(outgoing, at + (piece ^ 1) * u64::from(each), each))
    }

    fn fill_piece(&mut self, outgoing: &mut Outgoing, at: u64, len: u32) -> bool {
        let piece = match (self.cell.transfer, FileWay::of(self.cell.transfer)) {
            (Transfer::Direct, _) => {
                self.blocks.lend(at, len, &mut outgoing.pieces);
                return true;
            }
            (_, None) => Piece::Log { at: LogOffset(at), len },
            (_, Some(FileWay::Read)) => {
                self.copies += 1;
                let paged = &self.paged;
                return outgoing.write(|out| paged.read_now(at, len as usize, out));
            }
            (_, Some(by)) => Piece::File { at: LogOffset(at), len, by },
        };
        outgoing.pieces.push(piece);
        true
    }

    fn read_ahead(&mut self, index: usize, after: u64) {
        if matches!(self.cell.transfer, Transfer::Gather | Transfer::SendZc) {
            return;
        }
        let block = after / self.block_bytes();
        let lane = &mut self.lanes[index];
        if lane.read_ahead_of == Some(block) {
            return;
        }
        lane.read_ahead_of = Some(block);
        let end = lane.end;
        self.blocks.read_ahead(self.ring, &mut self.arena.pool, after, end);
    }

    fn block_bytes(&self) -> u64 {
        use crate::base::memory::Pool;
        self.arena.pool.slot_bytes() as u64
    }

    fn close(&mut self) -> io::Result<()> {
        let mut left = self.lanes.len();
        for (token, lane) in self.lanes.drain(..).enumerate() {
            self.ring.close(lane.socket, token as u64);
        }
        let mut out = Vec::new();
        while left > 0 {
            self.ring.turn(PARK, || false, &mut out)?;
            let closed = |completion: &Completion| matches!(completion, Completion::Closed { .. });
            left -= out.drain(..).filter(closed).count();
        }
        Ok(())
    }
}
