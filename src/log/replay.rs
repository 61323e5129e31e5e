//! Replay: after a process crash on a running kernel, the arena holds every record that
//! was acknowledged and had not reached the disk.
//!
//! ```text
//!   arena start ≤ log end (by the scan)                    published edge
//!   |             | group … footer | group … footer | open tail |
//! ```
//!
//! Groups that the killed process had closed are written byte for byte as it sealed
//! them, footers of the old life included: a published byte never changes, and a write
//! of the old process that lands late lands the same bytes. Only the open tail gets a
//! new footer, of the new life, behind the edge. So a replay that is itself killed is
//! simply done again: the next scan ends somewhere between the old log end and the new
//! footer, and the arena still continues it.
//!
//! Every record is checked before anything is written. One that fails is lost
//! acknowledged data: the start is refused and names it.

use std::fmt;

use crate::base::LogOffset;
use crate::base::checksum::chained_crc;
use crate::base::limits::{BLOCK_BYTES, WRITE_BYTES_MAX};
use crate::base::memory::LogRing;

use super::footer::{ChainEnd, FOOTER_TOPIC, Footer};
use super::record::{BLANK_BYTES, RecordError, Stored, blank_record};
use super::scan::{Found, Scanned};
use super::segment::Geometry;

/// A checked replay: what is to be written, and where the log ends then.
#[derive(Debug)]
pub struct Replay {
    /// Where the log ends once all is written.
    pub end: ChainEnd,
    /// Records that are brought back, and their bytes.
    pub records: u64,
    pub bytes: u64,
    /// Whole blocks of the arena: start and end, each inside one segment.
    from_arena: Vec<(LogOffset, LogOffset)>,
    /// The last blocks: the tail's last bytes and its new footer.
    tail: Option<(LogOffset, Vec<u8>)>,
}

/// Why the arena cannot be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayError {
    /// The log on disk ends before the arena begins.
    Gap {
        log_end: LogOffset,
        arena_start: LogOffset,
    },
    /// The log on disk goes on beyond what the arena has published.
    LogBeyondEdge {
        log_end: LogOffset,
        edge: LogOffset,
    },
    /// A record below the published edge is damaged: acknowledged data is lost.
    Record(RecordError),
    /// A footer below the published edge is damaged, or what it seals is.
    Group {
        start: LogOffset,
        stored: u32,
        computed: u32,
    },
    Footer {
        at: LogOffset,
    },
}

impl Replay {
    /// Checks all that `ring` holds between the scan's end and its sealed edge, which is
    /// the published edge of the killed process. `life` is the new one. `visit` sees
    /// each record.
    pub fn check(
        ring: &dyn LogRing,
        geometry: Geometry,
        scanned: &Scanned,
        life: u64,
        visit: &mut dyn FnMut(Found<'_>),
    ) -> Result<Self, ReplayError> {
        let (start, edge) = (scanned.end.at, ring.sealed());
        let mut replay =
            Self { end: scanned.end, records: 0, bytes: 0, from_arena: Vec::new(), tail: None };
        if start > edge {
            // An earlier replay has ended with its own footer right behind the edge.
            return match scanned.records_end == Some(edge) {
                true => Ok(replay),
                false => Err(ReplayError::LogBeyondEdge { log_end: start, edge }),
            };
        }
        if start < ring.reclaimed() {
            return Err(ReplayError::Gap { log_end: start, arena_start: ring.reclaimed() });
        }
        let mut walk = Walk { ring, geometry, edge, group_start: start, visit };
        walk.run(&mut replay)?;
        if walk.group_start < edge {
            let group_start = walk.group_start;
            replay.close_tail(ring, geometry, group_start, scanned.flushed, life);
        }
        Ok(replay)
    }

    /// What is to be written, in log order: block aligned pieces inside one segment.
    /// Afterwards every segment from the one that holds the scan's flushed edge to the
    /// one that holds `end` needs an fdatasync, before the arena may go.
    pub fn writes<'a>(
        &'a self,
        ring: &'a dyn LogRing,
    ) -> impl Iterator<Item = (LogOffset, &'a [u8])> {
        let pieces = self.from_arena.iter().flat_map(|(start, end)| {
            let starts = (start.0..end.0).step_by(WRITE_BYTES_MAX as usize).map(LogOffset);
            starts.map(|at| (at, (*end - at).min(WRITE_BYTES_MAX) as usize))
        });
        let from_arena = pieces.map(move |(at, len)| (at, ring.readable(at, len)));
        from_arena.chain(self.tail.iter().map(|(at, bytes)| (*at, &bytes[..])))
    }

    /// Ends the open tail with a footer of the new life.
    fn close_tail(
        &mut self,
        ring: &dyn LogRing,
        geometry: Geometry,
        start: LogOffset,
        flushed: LogOffset,
        life: u64,
    ) {
        let edge = ring.sealed();
        let records = ring.readable(start, (edge - start) as usize);
        let footer_end = geometry.footer_end(edge);
        let last_of_segment = geometry.must_be_last(start, footer_end);
        let mut footer = Footer {
            start,
            records_end: edge,
            end: footer_end,
            sequence: self.end.sequence + 1,
            life,
            flushed: flushed.min(start),
            store_ms: self.end.store_ms,
            seed: self.end.crc,
            crc: 0,
            last_of_segment,
        };
        footer.crc = footer.group_crc(chained_crc(footer.seed, records));

        let whole = edge.align_down(BLOCK_BYTES);
        if start < whole {
            self.from_arena.push((start, whole));
        }
        let mut tail = ring.readable(whole, (edge - whole) as usize).to_vec();
        let footer_at = tail.len();
        tail.resize((footer_end - whole) as usize, 0);
        footer.encode(&mut tail[footer_at..]);
        let mut next = footer_end;
        if last_of_segment {
            next = geometry.end(start);
            tail.extend(blank_record((next - footer_end) as u32));
            tail.resize((footer_end - whole + BLOCK_BYTES) as usize, 0);
        }
        self.tail = Some((whole, tail));
        self.end = ChainEnd::behind(&footer, next);
    }
}

struct Walk<'a, 'v> {
    ring: &'a dyn LogRing,
    geometry: Geometry,
    edge: LogOffset,
    group_start: LogOffset,
    visit: &'v mut dyn FnMut(Found<'_>),
}

impl Walk<'_, '_> {
    fn run(&mut self, replay: &mut Replay) -> Result<(), ReplayError> {
        let mut at = self.group_start;
        while at < self.edge {
            let reach = self.edge.min(self.geometry.end(at));
            let bytes = self.ring.readable(at, (reach - at) as usize);
            let record = match Stored::parse(bytes, at) {
                Ok(Stored::Record(record)) => record,
                // Blank records lie behind footers only, and those are stepped over.
                Ok(Stored::Blank { .. }) => return Err(ReplayError::Footer { at }),
                Err(error) => return Err(ReplayError::Record(error)),
            };
            record.check_body().map_err(ReplayError::Record)?;
            if record.topic() == FOOTER_TOPIC {
                let footer = Footer::in_record(&record).ok_or(ReplayError::Footer { at })?;
                at = self.take_group(&footer, replay)?;
                continue;
            }
            replay.end.store_ms = replay.end.store_ms.max(record.store_ms());
            replay.records += 1;
            replay.bytes += record.stored_len() as u64;
            let next = at + record.stored_len() as u64;
            (self.visit)(Found { at, record, sound_group: true });
            at = next;
        }
        Ok(())
    }

    /// A group that the killed process had closed: it goes to disk as it is.
    fn take_group(
        &mut self,
        footer: &Footer,
        replay: &mut Replay,
    ) -> Result<LogOffset, ReplayError> {
        let start = self.group_start;
        if !replay.end.goes_on_with(footer) {
            return Err(ReplayError::Footer { at: footer.records_end });
        }
        let records = self.ring.readable(start, (footer.records_end - start) as usize);
        let computed = footer.group_crc(chained_crc(footer.seed, records));
        if computed != footer.crc {
            return Err(ReplayError::Group { start, stored: footer.crc, computed });
        }
        let (mut write_end, mut next) = (footer.end, footer.end);
        if footer.last_of_segment {
            // Footer and blank record are published by one store.
            next = self.geometry.end(start);
            write_end = footer.end + BLOCK_BYTES;
            let blank = blank_record((next - footer.end) as u32);
            let there = next <= self.edge;
            if !there || *self.ring.readable(footer.end, BLANK_BYTES) != blank {
                return Err(ReplayError::Footer { at: footer.end });
            }
        }
        self.group_start = next;
        replay.end = ChainEnd::behind(footer, next);
        replay.from_arena.push((start, write_end));
        Ok(next)
    }
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gap { log_end, arena_start } => write!(
                f,
                "the log on disk ends at {log_end}, before the arena begins at {arena_start}"
            ),
            Self::LogBeyondEdge { log_end, edge } => write!(
                f,
                "the log on disk ends at {log_end}, beyond the arena's published edge {edge}"
            ),
            Self::Record(error) => write!(f, "acknowledged data is lost: {error}"),
            Self::Group { start, stored, computed } => write!(
                f,
                "acknowledged data is lost: write group at log offset {start}: \
                 CRC stored {stored:#010x}, computed {computed:#010x}"
            ),
            Self::Footer { at } => {
                write!(f, "acknowledged data is lost: damaged footer at log offset {at}")
            }
        }
    }
}

impl std::error::Error for ReplayError {}
