//! The scan: walks write groups from a checkpoint to the log's end.
//!
//! Above the highest flushed edge that any valid footer names, the first invalid group
//! ends the log: nobody was promised it. Below, an invalid group is rot: it is kept and
//! reported, its sound records are served one by one, and the walk goes on at the next
//! valid footer.

use std::fmt;
use std::io;

use crate::base::LogOffset;
use crate::base::checksum::chained_crc;
use crate::base::limits::BLOCK_BYTES;

use super::footer::{ChainEnd, FOOTER_TOPIC, Footer};
use super::policy::{GROUP_BYTES_MAX, UNFLUSHED_BYTES_MAX};
use super::reader::Reader;
pub use super::reader::SegmentSource;
use super::record::{BLANK_BYTES, Fault, RecordError, RecordView, blank_record};
use super::segment::Geometry;

/// How far behind a damaged group a footer is looked for. The first one written after a
/// flush lies within `UNFLUSHED_BYTES_MAX` and a ring of what it flushed.
pub const LOOK_AHEAD_BYTES: u64 = 2 * UNFLUSHED_BYTES_MAX;

/// Damaged places that are reported one by one; the rest is counted.
pub const ROT_REPORTS_MAX: usize = 256;

/// Where a scan begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanFrom {
    /// A chain end whose predecessors are known to be good and flushed.
    Checkpoint(ChainEnd),
    /// The oldest segment's base: what its first footer goes on from is believed.
    Oldest,
}

/// What a scan is given.
#[derive(Clone, Copy, Debug)]
pub struct Scan {
    pub geometry: Geometry,
    pub from: ScanFrom,
    /// The arena's start, when it will be replayed: at or above it the first invalid
    /// group ends the scan, since the arena has all that follows.
    pub arena_start: Option<LogOffset>,
}

/// A record that the scan has met.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    pub at: LogOffset,
    pub record: RecordView<'a>,
    /// Its whole group is sound. Otherwise only its structure, place and body are.
    pub sound_group: bool,
}

/// What a scan has found.
#[derive(Clone, Debug)]
pub struct Scanned {
    /// Where the log ends and the next group begins.
    pub end: ChainEnd,
    /// Where the last group's records end and its footer begins.
    pub records_end: Option<LogOffset>,
    /// The highest flushed edge that is known.
    pub flushed: LogOffset,
    pub groups: u64,
    pub records: u64,
    /// Damage below the flushed edge, in log order; at most `ROT_REPORTS_MAX`.
    pub rot: Vec<Rot>,
    pub rot_total: u64,
    /// Why the walk ended; `None`: behind the last segment.
    pub stopped_by: Option<Broken>,
}

/// Damage in flushed bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rot {
    pub start: LogOffset,
    pub end: LogOffset,
    pub cause: Broken,
    /// The records and gaps of the range that cannot be served.
    pub lost: Vec<RecordError>,
}

/// Why a group is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    Record(RecordError),
    /// No footer within the longest group, or a damaged one.
    Footer {
        at: LogOffset,
    },
    /// A footer of another chain: of an earlier life, or out of sequence.
    Chain {
        at: LogOffset,
        expected_seed: u32,
        found_seed: u32,
    },
    GroupCrc {
        start: LogOffset,
        stored: u32,
        computed: u32,
    },
    /// The segment's last group lacks the blank record behind it.
    Blank {
        at: LogOffset,
    },
}

/// Scans; `visit` sees every servable record in log order.
pub fn scan(
    source: &dyn SegmentSource,
    scan: Scan,
    visit: &mut dyn FnMut(Found<'_>),
) -> io::Result<Scanned> {
    let oldest = source.segments().first().copied().unwrap_or_default();
    let (chain, known) = match scan.from {
        // Segments below the checkpoint may have expired, and it with them.
        ScanFrom::Checkpoint(chain) if oldest <= chain.at => (chain, true),
        _ => (ChainEnd { at: oldest, ..ChainEnd::default() }, false),
    };
    let scanned = Scanned {
        end: chain,
        records_end: None,
        flushed: chain.at,
        groups: 0,
        records: 0,
        rot: Vec::new(),
        rot_total: 0,
        stopped_by: None,
    };
    let reader = Reader::new(source, scan.geometry);
    let ahead = Ahead { to: chain.at, footers: Vec::new() };
    Walk { scan, reader, ahead, chain_known: known, out: scanned, visit }.run()
}

/// Whether the group before a clean end is there, so that a start may go on from it.
pub fn ends_with(
    source: &dyn SegmentSource,
    geometry: Geometry,
    chain: ChainEnd,
) -> io::Result<bool> {
    if geometry.position(chain.at) == 0 {
        return Ok(true); // The segment is empty; the one before may have expired.
    }
    let mut reader = Reader::new(source, geometry);
    let block = LogOffset(chain.at.0 - BLOCK_BYTES);
    let Some(bytes) = reader.range(block, BLOCK_BYTES)? else { return Ok(false) };
    let footer = Footer::in_block_tail(bytes, chain.at);
    Ok(footer.is_some_and(|footer| {
        (footer.crc, footer.sequence, footer.life) == (chain.crc, chain.sequence, chain.life)
    }))
}

struct Walk<'a> {
    scan: Scan,
    reader: Reader<'a>,
    ahead: Ahead,
    /// Whether `out.end` has a seed to compare with; not at the oldest segment, nor
    /// behind a lost footer.
    chain_known: bool,
    out: Scanned,
    visit: &'a mut dyn FnMut(Found<'_>),
}

/// Footers found by looking at the tail of each block behind damage.
struct Ahead {
    to: LogOffset,
    footers: Vec<Footer>,
}

impl Walk<'_> {
    fn run(mut self) -> io::Result<Scanned> {
        loop {
            let at = self.out.end.at;
            if !self.reader.has_segment(at) {
                // Segments are prepared in any order, so a gap may be the log's end;
                // unless something behind it says that there was more.
                return match self.is_rot(at)? {
                    true => Err(missing(self.scan.geometry.base(at))),
                    false => Ok(self.out),
                };
            }
            match self.check_group(at)? {
                Ok(footer) => self.take_group(&footer)?,
                Err(broken) => {
                    if !self.is_rot(at)? {
                        self.out.stopped_by = Some(broken);
                        return Ok(self.out);
                    }
                    self.pass_rot(at, broken)?;
                }
            }
        }
    }

    /// The valid group at `at`, by its footer.
    fn check_group(&mut self, at: LogOffset) -> io::Result<Result<Footer, Broken>> {
        let mut next = at;
        loop {
            if next - at >= GROUP_BYTES_MAX {
                return Ok(Err(Broken::Footer { at: next }));
            }
            let len = match self.reader.record(at, next)? {
                Err(error) => return Ok(Err(Broken::Record(error))),
                Ok(view) if view.topic() == FOOTER_TOPIC => {
                    let footer = Footer::in_record(&view);
                    return self.check_footer(at, next, footer);
                }
                Ok(view) => view.stored_len() as u64,
            };
            next = next + len;
        }
    }

    fn check_footer(
        &mut self,
        start: LogOffset,
        at: LogOffset,
        footer: Option<Footer>,
    ) -> io::Result<Result<Footer, Broken>> {
        let Some(footer) = footer else { return Ok(Err(Broken::Footer { at })) };
        let expected = self.out.end;
        if !self.continues(&footer) || footer.start != start {
            return Ok(Err(Broken::Chain {
                at,
                expected_seed: expected.crc,
                found_seed: footer.seed,
            }));
        }
        let Some(records) = self.reader.range(start, at - start)? else {
            return Ok(Err(Broken::Footer { at }));
        };
        let computed = footer.group_crc(chained_crc(footer.seed, records));
        if computed != footer.crc {
            return Ok(Err(Broken::GroupCrc { start, stored: footer.crc, computed }));
        }
        if footer.last_of_segment {
            let rest = self.scan.geometry.end(start) - footer.end;
            let blank = self.reader.range(footer.end, rest.min(BLANK_BYTES as u64))?;
            if blank != Some(&blank_record(rest as u32)[..]) {
                return Ok(Err(Broken::Blank { at: footer.end }));
            }
        }
        Ok(Ok(footer))
    }

    /// Whether a footer may be that of the group at the walk's place.
    fn continues(&self, footer: &Footer) -> bool {
        match self.chain_known {
            true => self.out.end.goes_on_with(footer),
            false => self.is_later(footer),
        }
    }

    fn is_later(&self, footer: &Footer) -> bool {
        footer.sequence > self.out.end.sequence && footer.life >= self.out.end.life
    }

    /// Visits the records of a valid group and goes behind it.
    fn take_group(&mut self, footer: &Footer) -> io::Result<()> {
        let mut at = footer.start;
        while at < footer.records_end {
            let record = self.reader.record(footer.start, at)?.expect("checked just now");
            at = at + record.stored_len() as u64;
            let found = Found { at: record.physical_offset(), record, sound_group: true };
            (self.visit)(found);
            self.out.records += 1;
        }
        self.out.groups += 1;
        self.go_behind(footer);
        Ok(())
    }

    fn go_behind(&mut self, footer: &Footer) {
        let next = match footer.last_of_segment {
            true => self.scan.geometry.end(footer.start),
            false => footer.end,
        };
        let store_ms = self.out.end.store_ms.max(footer.store_ms);
        self.out.end = ChainEnd { store_ms, ..ChainEnd::behind(footer, next) };
        self.out.records_end = Some(footer.records_end);
        self.out.flushed = self.out.flushed.max(footer.flushed);
        self.chain_known = true;
    }

    /// Whether what is broken at `at` was flushed once.
    fn is_rot(&mut self, at: LogOffset) -> io::Result<bool> {
        if self.scan.arena_start.is_some_and(|start| start <= at) {
            return Ok(false);
        }
        self.look_ahead(at)?;
        let named = self.ahead.footers.iter().filter(|footer| self.is_later(footer));
        let named = named.map(|footer| footer.flushed).max().unwrap_or_default();
        self.out.flushed = self.out.flushed.max(named);
        // The footer that names an edge lies behind it: the walk can go on there.
        Ok(at < named)
    }

    /// Collects the footers between `at` and the horizon.
    fn look_ahead(&mut self, at: LogOffset) -> io::Result<()> {
        self.ahead.footers.retain(|footer| footer.start >= at);
        let mut block = self.ahead.to.max(at);
        let last = self.reader.source.segments().last().copied().unwrap_or_default();
        let horizon = (at + LOOK_AHEAD_BYTES).min(self.scan.geometry.end(last));
        while block < horizon {
            if !self.reader.has_segment(block) {
                block = self.scan.geometry.end(block);
                continue;
            }
            let end = block + BLOCK_BYTES;
            if let Some(bytes) = self.reader.range(block, BLOCK_BYTES)? {
                let footer = Footer::in_block_tail(bytes, end);
                self.ahead.footers.extend(footer.filter(|footer| footer.start >= at));
            }
            block = end;
        }
        self.ahead.to = block;
        Ok(())
    }

    /// Reports the damage at `at`, visits what is sound in it, and goes behind it.
    fn pass_rot(&mut self, at: LogOffset, cause: Broken) -> io::Result<()> {
        let next = self.ahead.footers.iter().filter(|footer| self.is_later(footer)).min_by_key(
            // In log order, not in the order of discovery.
            |footer| footer.end,
        );
        let footer = *next.expect("rot lies below a footer that names it flushed");
        let end = match (footer.start == at, footer.last_of_segment) {
            (false, _) => footer.start,
            (true, true) => self.scan.geometry.end(at),
            (true, false) => footer.end,
        };
        let lost = self.salvage(at, end)?;
        if self.out.rot.len() < ROT_REPORTS_MAX {
            self.out.rot.push(Rot { start: at, end, cause, lost });
        }
        self.out.rot_total += 1;
        match footer.start == at {
            // The group is damaged, its footer is not: the chain goes on.
            true => self.go_behind(&footer),
            false => {
                self.out.end.at = end;
                self.chain_known = false;
            }
        }
        Ok(())
    }

    /// Visits the sound records between `at` and `end`; says what is lost.
    fn salvage(&mut self, mut at: LogOffset, end: LogOffset) -> io::Result<Vec<RecordError>> {
        let mut lost = Vec::new();
        while at < end {
            let record =
                self.reader.record(at, at)?.and_then(|view| view.check_body().map(|()| view));
            match record {
                Ok(record) => {
                    let (len, sound_group) = (record.stored_len() as u64, false);
                    if record.topic() != FOOTER_TOPIC {
                        let end = &mut self.out.end;
                        end.store_ms = end.store_ms.max(record.store_ms());
                        self.out.records += 1;
                        (self.visit)(Found { at, record, sound_group });
                    }
                    at = at + len;
                }
                Err(RecordError { fault: Fault::Magic(found), .. })
                    if found == super::record::MAGIC_BLANK =>
                {
                    at = self.scan.geometry.end(at);
                }
                Err(error) => {
                    if lost.len() < ROT_REPORTS_MAX {
                        lost.push(error);
                    }
                    at = self.reader.next_record(at + 1, end)?;
                }
            }
        }
        Ok(lost)
    }
}

fn missing(base: LogOffset) -> io::Error {
    let text = format!("segment {:020} is missing, and the log goes on behind it", base.0);
    io::Error::new(io::ErrorKind::NotFound, text)
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(error) => error.fmt(f),
            Self::Footer { at } => write!(f, "no valid footer at log offset {at}"),
            Self::Chain { at, expected_seed, found_seed } => write!(
                f,
                "footer at log offset {at} goes on from CRC {found_seed:#010x}, \
                 the log from {expected_seed:#010x}"
            ),
            Self::GroupCrc { start, stored, computed } => write!(
                f,
                "write group at log offset {start}: CRC stored {stored:#010x}, \
                 computed {computed:#010x}"
            ),
            Self::Blank { at } => write!(f, "no blank record at log offset {at}"),
        }
    }
}
