//! Run files: written once, never changed. The byte map is in `FORMAT.md`.

use std::io::{self, Write};

use super::file::{POSITION_MAX, ReadAt, check_magic, crc, u32_at, u64_at};
use super::pool::RawEntry;
use super::run::FrozenRun;
use super::{IndexError, QueueKey, TopicId};
use crate::base::checksum::chained_crc;
use crate::base::limits::INDEX_EXTENT_ENTRIES_MAX;
use crate::base::{LogOffset, QueueOffset};

/// What is kept in memory of a written run: sixteen bytes per extent.
pub struct Directory {
    pub(super) start: LogOffset,
    pub(super) end: LogOffset,
    pub(super) base_ms: i64,
    pub(super) extents: Vec<DirectoryExtent>,
}

/// Where in its file an extent lies, and its first and last store time.
#[derive(Clone, Copy)]
pub(super) struct DirectoryExtent {
    /// In units of sixteen bytes from the file's start.
    unit: u32,
    count: u32,
    min_ms: u32,
    max_ms: u32,
}

const _: () = assert!(size_of::<DirectoryExtent>() == 16);

const MAGIC: [u8; 8] = *b"RMQINDEX";
const END_MAGIC: [u8; 8] = *b"RMQIXEND";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 64;
const ROW_BYTES: usize = 32;
const FOOTER_BYTES: usize = 32;
/// An entry, and what follows the entries of an extent.
pub(super) const UNIT_BYTES: usize = 16;
const FIRST_UNIT: u32 = (HEADER_BYTES / UNIT_BYTES) as u32;

impl Directory {
    /// Reads the directory of the run that `header` begins, not its entries, and calls
    /// `each` with every extent in the order of their numbers.
    pub(super) fn load(
        file: &(impl ReadAt + ?Sized),
        header: &Header,
        mut each: impl FnMut(QueueKey, QueueOffset, u32) -> Result<(), IndexError>,
    ) -> Result<Self, IndexError> {
        let mut rows = vec![0; header.extents as usize * ROW_BYTES + FOOTER_BYTES];
        let at = header.directory_position();
        file.read_exact_at(&mut rows, at)?;
        let (rows, footer) = rows.split_at(rows.len() - FOOTER_BYTES);
        check_footer(footer, rows, header)?;
        let mut directory = Self {
            start: header.start,
            end: header.end,
            base_ms: header.base_ms,
            extents: Vec::with_capacity(header.extents as usize),
        };
        let mut unit = FIRST_UNIT;
        for (number, row) in rows.chunks_exact(ROW_BYTES).enumerate() {
            let position = at + (number * ROW_BYTES) as u64;
            let (key, first, extent) = parse_row(row);
            let end = extent.end_if_sound(unit, first).filter(|end| byte_position(*end) <= at);
            unit = end.ok_or(IndexError::Damaged { part: "directory row", position })?;
            directory.extents.push(extent);
            each(key, first, extent.count)?;
        }
        if byte_position(unit) != at {
            return Err(IndexError::Damaged { part: "directory", position: at });
        }
        Ok(directory)
    }

    /// The first and the last store time of an extent.
    pub(super) fn times(&self, number: u32) -> (i64, i64) {
        let extent = &self.extents[number as usize];
        let ms = |delta: u32| self.base_ms.saturating_add(i64::from(delta));
        (ms(extent.min_ms), ms(extent.max_ms))
    }

    pub(super) fn count(&self, number: u32) -> u32 {
        self.extents[number as usize].count
    }

    /// Where the extent's bytes begin in the file.
    pub(super) fn position(&self, number: u32) -> u64 {
        byte_position(self.extents[number as usize].unit)
    }

    /// The latest store time of the run.
    pub(super) fn last_ms(&self) -> Option<i64> {
        let last = self.extents.iter().map(|extent| extent.max_ms).max()?;
        Some(self.base_ms.saturating_add(i64::from(last)))
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.extents.capacity() * size_of::<DirectoryExtent>()
    }
}

impl DirectoryExtent {
    /// Where the extent ends, if it begins at `unit` and can be what it says.
    fn end_if_sound(&self, unit: u32, first: QueueOffset) -> Option<u32> {
        let sound = self.unit == unit
            && (1..=INDEX_EXTENT_ENTRIES_MAX).contains(&self.count)
            && self.min_ms <= self.max_ms
            && first.0 <= POSITION_MAX - u64::from(INDEX_EXTENT_ENTRIES_MAX);
        if sound { unit.checked_add(self.count + 1) } else { None }
    }
}

impl FrozenRun {
    /// Writes the run's file and returns what to keep of it in memory. Runs on a helper;
    /// the file counts once it is durable, under its name, in a durable directory.
    pub fn write_to(&self, mut out: impl Write) -> io::Result<Directory> {
        let run = &self.0;
        let header = Header {
            start: run.start,
            end: run.end,
            base_ms: run.base_ms,
            extents: run.extents.len() as u32,
            entries: run.entries as u32,
        };
        let mut buffer = Vec::with_capacity(2 * WRITE_BYTES);
        buffer.extend_from_slice(&header.encode());
        let mut rows = Vec::with_capacity(run.extents.len() * ROW_BYTES);
        let mut extents = Vec::with_capacity(run.extents.len());
        let mut unit = FIRST_UNIT;
        for (memory, entries) in run.extents() {
            let count = entries.len() as u32;
            let (min_ms, max_ms) = (entries[0].ms, entries[entries.len() - 1].ms);
            let extent = DirectoryExtent { unit, count, min_ms, max_ms };
            encode_extent(&mut buffer, memory.key, memory.first, entries);
            push_row(&mut rows, memory.key, memory.first, &extent);
            extents.push(extent);
            unit += count + 1;
            if buffer.len() >= WRITE_BYTES {
                out.write_all(&buffer)?;
                buffer.clear();
            }
        }
        buffer.extend_from_slice(&rows);
        buffer.extend_from_slice(&encode_footer(&rows, &header));
        out.write_all(&buffer)?;
        out.flush()?;
        Ok(Directory { start: run.start, end: run.end, base_ms: run.base_ms, extents })
    }
}

/// Bytes gathered before a write.
const WRITE_BYTES: usize = 256 * 1024;

/// What a run's file begins with.
pub(super) struct Header {
    pub start: LogOffset,
    pub end: LogOffset,
    base_ms: i64,
    extents: u32,
    entries: u32,
}

impl Header {
    pub fn load(file: &(impl ReadAt + ?Sized)) -> Result<Self, IndexError> {
        let len = file.file_bytes()?;
        let damaged = IndexError::Damaged { part: "header", position: 0 };
        if len < (HEADER_BYTES + FOOTER_BYTES) as u64 {
            return Err(damaged);
        }
        let mut bytes = [0; HEADER_BYTES];
        file.read_exact_at(&mut bytes, 0)?;
        check_magic(&bytes, MAGIC, VERSION)?;
        if u32_at(&bytes, 60) != crc(&bytes[..60]) {
            return Err(damaged);
        }
        let header = Self {
            extents: u32_at(&bytes, 12),
            start: LogOffset(u64_at(&bytes, 16)),
            end: LogOffset(u64_at(&bytes, 24)),
            base_ms: u64_at(&bytes, 32) as i64,
            entries: u32_at(&bytes, 40),
        };
        // The lengths are bounded by the file's before anything is allocated for them.
        let whole = header.start <= header.end && header.end.0 <= POSITION_MAX;
        if !whole || header.file_bytes() != len {
            return Err(damaged);
        }
        Ok(header)
    }

    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.extents.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.start.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.end.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.base_ms.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.entries.to_le_bytes());
        let sum = crc(&bytes[..60]);
        bytes[60..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn directory_position(&self) -> u64 {
        // Each extent is followed by one unit of its own.
        let units = u64::from(self.entries) + u64::from(self.extents);
        HEADER_BYTES as u64 + units * UNIT_BYTES as u64
    }

    fn file_bytes(&self) -> u64 {
        self.directory_position() + u64::from(self.extents) * ROW_BYTES as u64 + FOOTER_BYTES as u64
    }
}

/// An extent's entries and the unit that seals them.
fn encode_extent(out: &mut Vec<u8>, key: QueueKey, first: QueueOffset, entries: &[RawEntry]) {
    let begin = out.len();
    for entry in entries {
        out.extend_from_slice(&encode_entry(*entry));
    }
    out.extend_from_slice(&key.topic.0.to_le_bytes());
    out.extend_from_slice(&key.queue.to_le_bytes());
    out.extend_from_slice(&(entries.len() as u32).to_le_bytes());
    let sum = extent_crc(first, &out[begin..]);
    out.extend_from_slice(&sum.to_le_bytes());
}

/// Whether `bytes`, read from where an extent should lie, are that extent.
pub(super) fn check_extent(bytes: &[u8], key: QueueKey, first: QueueOffset, count: u32) -> bool {
    let Some(at) = bytes.len().checked_sub(UNIT_BYTES) else { return false };
    let seal = &bytes[at..];
    u32_at(seal, 0) == key.topic.0
        && u32_at(seal, 4) == key.queue
        && u32_at(seal, 8) == count
        && u32_at(seal, 12) == extent_crc(first, &bytes[..at + 12])
}

/// Over everything of the extent and its first queue offset, which stands in the row.
fn extent_crc(first: QueueOffset, bytes: &[u8]) -> u32 {
    chained_crc(crc(&first.0.to_le_bytes()), bytes)
}

pub(super) fn encode_entry(entry: RawEntry) -> [u8; UNIT_BYTES] {
    let mut bytes = [0; UNIT_BYTES];
    bytes[..4].copy_from_slice(&entry.at.to_le_bytes());
    bytes[4..8].copy_from_slice(&entry.size.to_le_bytes());
    bytes[8..12].copy_from_slice(&entry.tag.to_le_bytes());
    bytes[12..].copy_from_slice(&entry.ms.to_le_bytes());
    bytes
}

pub(super) fn parse_entry(bytes: &[u8]) -> RawEntry {
    RawEntry {
        at: u32_at(bytes, 0),
        size: u32_at(bytes, 4),
        tag: u32_at(bytes, 8) as i32,
        ms: u32_at(bytes, 12),
    }
}

fn push_row(rows: &mut Vec<u8>, key: QueueKey, first: QueueOffset, extent: &DirectoryExtent) {
    rows.extend_from_slice(&key.topic.0.to_le_bytes());
    rows.extend_from_slice(&key.queue.to_le_bytes());
    rows.extend_from_slice(&first.0.to_le_bytes());
    for word in [extent.unit, extent.count, extent.min_ms, extent.max_ms] {
        rows.extend_from_slice(&word.to_le_bytes());
    }
}

fn parse_row(row: &[u8]) -> (QueueKey, QueueOffset, DirectoryExtent) {
    let key = QueueKey { topic: TopicId(u32_at(row, 0)), queue: u32_at(row, 4) };
    let extent = DirectoryExtent {
        unit: u32_at(row, 16),
        count: u32_at(row, 20),
        min_ms: u32_at(row, 24),
        max_ms: u32_at(row, 28),
    };
    (key, QueueOffset(u64_at(row, 8)), extent)
}

fn encode_footer(rows: &[u8], header: &Header) -> [u8; FOOTER_BYTES] {
    let mut bytes = [0; FOOTER_BYTES];
    bytes[..8].copy_from_slice(&END_MAGIC);
    bytes[8..16].copy_from_slice(&header.start.0.to_le_bytes());
    bytes[16..20].copy_from_slice(&crc(rows).to_le_bytes());
    let sum = crc(&bytes[..28]);
    bytes[28..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn check_footer(footer: &[u8], rows: &[u8], header: &Header) -> Result<(), IndexError> {
    let position = header.file_bytes() - FOOTER_BYTES as u64;
    if footer != encode_footer(rows, header) {
        return Err(IndexError::Damaged { part: "directory or footer", position });
    }
    Ok(())
}

fn byte_position(unit: u32) -> u64 {
    u64::from(unit) * UNIT_BYTES as u64
}
