//! What cells are measured with: a ring, an arena and a file, on one thread.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::blocks::{Blocks, Destination};
use super::cell::{Cell, Heat, Measured};
use super::cpu::CpuMark;
use super::receiver::{Received, Receiver};
use super::sender::{Lane, Sender};
use super::source::Source;
use crate::base::LogOffset;
use crate::base::limits::BLOCK_BYTES;
use crate::base::memory::LogRing;
use crate::base::transfer::{Fallback, Transfer};
use crate::reactor::{
    Arena, ArenaId, ArenaIdentity, ArenaSizes, Ring, RingConfig, Socket, raise_locked_memory,
};

/// The cores of the two ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cores {
    pub sender: Option<usize>,
    pub receiver: Option<usize>,
}

impl Cores {
    /// One each where there are two.
    pub fn of(allowed: &[usize]) -> Self {
        let sender = allowed.first().copied();
        Self { sender, receiver: allowed.get(1).copied().or(sender) }
    }
}

/// How much is measured with.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Of the file, which cold cells read through once.
    pub file: u64,
    /// Of its front, which hot cells of the page cache go round in.
    pub hot: u64,
    /// Of the arena's ring, which the others go round in.
    pub span: u64,
    pub slots: u16,
    pub slot_bytes: u32,
}

/// Stays on its thread, which is pinned.
pub struct Tools {
    pub(super) ring: Ring,
    pub(super) arena: Arena,
    pub(super) arena_id: ArenaId,
    source: Source,
    cores: Cores,
    /// Once the kernel has said so it is not asked again.
    lacks_zero_copy: bool,
    /// Receivers make checksums of what they copy.
    pub checks: bool,
}

impl Tools {
    /// Makes the file in `directory`, past the page cache too if `direct`, and pins the
    /// calling thread. The error says what was tried.
    pub fn new(directory: &Path, sizes: Sizes, direct: bool, cores: Cores) -> Result<Self, String> {
        let source = Source::make(directory, sizes.file, sizes.hot, direct)
            .map_err(|error| format!("cannot make a file in {}: {error}", directory.display()))?;
        if let Some(id) = cores.sender {
            core_affinity::set_for_current(core_affinity::CoreId { id });
        }
        // Without more of it the arena is not registered, as in a broker.
        let _ = raise_locked_memory();
        let mut ring = Ring::new(RingConfig::default()).map_err(|error| error.to_string())?;
        let arena = arena(&sizes, &source)?;
        let arena_id = ring.add_arena(&arena);
        let (lacks_zero_copy, checks) = (false, false);
        Ok(Self { ring, arena, arena_id, source, cores, lacks_zero_copy, checks })
    }

    /// What is missing on this machine.
    pub fn degradations(&self) -> Vec<String> {
        self.ring.degradations().iter().map(ToString::to_string).collect()
    }

    /// A part of what is sent, to compare with what arrives.
    pub fn content(&self, position: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.source.read(&mut bytes, position)?;
        Ok(bytes)
    }

    /// Where each connection's part of the source begins, goes on and ends.
    pub fn range(&self, cell: &Cell, connection: usize) -> [u64; 3] {
        let round = |bytes: u64, unit: u64| bytes / unit * unit;
        let (index, count) = (connection as u64, cell.connections as u64);
        let slot = u64::from(self.arena_slot_bytes());
        match cell.heat {
            Heat::Hot => {
                let span = match cell.transfer {
                    Transfer::Gather | Transfer::SendZc => self.arena.log.size(),
                    _ => self.source.span(),
                };
                let from = round(span / count * index, BLOCK_BYTES);
                [0, if from + u64::from(cell.bytes) <= span { from } else { 0 }, span]
            }
            Heat::Cold => {
                let part = round(self.source.len() / count, slot);
                [part * index, part * index, part * (index + 1)]
            }
        }
    }

    fn arena_slot_bytes(&self) -> u32 {
        use crate::base::memory::Pool;
        self.arena.pool.slot_bytes() as u32
    }

    /// Measures a cell for so long; `None` where it cannot be had here.
    pub fn measure(&mut self, cell: &Cell, how_long: Duration) -> Result<Option<Measured>, String> {
        let measured = self.try_measure(cell, how_long);
        measured.map_err(|error| format!("cannot measure {cell}: {error}"))
    }

    fn try_measure(&mut self, cell: &Cell, how_long: Duration) -> io::Result<Option<Measured>> {
        let fits = |[_, from, end]: [u64; 3]| from + u64::from(cell.bytes) <= end;
        if !cell.makes_sense() || !fits(self.range(cell, 0)) {
            return Ok(None);
        }
        let paged = match cell.heat {
            Heat::Hot => self.source.hot()?,
            Heat::Cold => match self.source.cold()? {
                Some(paged) => paged,
                None => return Ok(None),
            },
        };
        let lacks = match cell.transfer {
            Transfer::Mmap => !paged.is_mapped(),
            Transfer::SendZc => self.lacks_zero_copy,
            _ => false,
        };
        let into = match cell.transfer {
            Transfer::Direct => self.source.direct().map(Destination::Pool),
            _ => Some(Destination::PageCache(&paged)),
        };
        let Some(into) = into.filter(|_| !lacks) else { return Ok(None) };

        let cores = self.cores;
        let (receiver, sockets) =
            Receiver::start(cell.connections, cell.receiving, cores.receiver, self.checks)?;
        let ranges = (0..cell.connections).map(|index| self.range(cell, index));
        let lanes = sockets.into_iter().zip(ranges);
        let lanes =
            lanes.map(|(fd, [start, from, end])| Lane::new(Socket::from(fd), start, from, end));
        let mut sender = Sender {
            cell: *cell,
            paged: paged.clone(),
            lanes: lanes.collect(),
            blocks: Blocks::new(into, &self.arena.pool, cell.connections),
            ring: &mut self.ring,
            arena: &mut self.arena,
            arena_id: self.arena_id,
            copies: 0,
            sent: 0,
        };
        let before = sender.ring.counters();
        let (mark, begun) = (CpuMark::take(), Instant::now());
        sender.run(how_long)?;
        let used = mark.until(&CpuMark::take());
        let after = sender.ring.counters();
        let looks = 2 * sender.blocks.looks + sender.copies;
        let Received { sums, at } = receiver.finish()?;
        let fell_back =
            |reason| after.transfers.fallbacks(reason) > before.transfers.fallbacks(reason);
        if fell_back(Fallback::NoZeroCopy) {
            self.lacks_zero_copy = true;
            return Ok(None);
        }
        if fell_back(Fallback::NoPipe) {
            return Ok(None);
        }
        // What goes by the ring costs no call of its own.
        let sent = |counters: &crate::base::counters::Counters| match cell.transfer {
            Transfer::Sendfile | Transfer::Splice => counters.transfers.of(cell.transfer).calls,
            _ => 0,
        };
        Ok(Some(Measured {
            bytes: sums.iter().map(|sum| sum.bytes).sum(),
            time: at.saturating_duration_since(begun),
            cpu_ns: used.thread_ns,
            worker_cpu_ns: used.worker_ns,
            calls: (after.enters - before.enters) + (sent(&after) - sent(&before)) + looks,
            sums,
        }))
    }
}

/// An arena whose ring holds what the file begins with.
fn arena(sizes: &Sizes, source: &Source) -> Result<Arena, String> {
    let sizes = ArenaSizes {
        ring: sizes.span,
        slots: sizes.slots,
        slot_bytes: sizes.slot_bytes,
        journal_half: BLOCK_BYTES as u32,
    };
    let made = Arena::unshared(sizes, &ArenaIdentity::default(), LogOffset(0));
    let mut arena = made.map_err(|error| error.to_string())?;
    let bytes = arena.log.writable(LogOffset(0), sizes.ring as usize);
    source.read(bytes, 0).map_err(|error| format!("cannot read the file back: {error}"))?;
    arena.log.seal(LogOffset(sizes.ring));
    Ok(arena)
}
