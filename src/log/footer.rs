//! The footer that ends a write group: a record of an internal topic which Apache
//! indexes nowhere, and by which a start knows that a group is whole.
//!
//! It fills the space up to a block's edge. Its fields lie at the end of its body, and
//! what follows the body has a fixed length; so the fields are found from the edge
//! alone, and a scan that looks at the tail of each block finds every footer, also
//! behind damage. `FORMAT.md` has the byte map.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use crate::base::LogOffset;
use crate::base::checksum::chained_crc;
use crate::base::limits::BLOCK_BYTES;
use crate::base::names;

use super::record::{NewRecord, Placement, RECORD_BYTES_MIN, RecordView, sys_flag};

/// The topic of footers, which clients may neither make nor send to.
pub const FOOTER_TOPIC: &[u8] = names::FOOTER_TOPIC.as_bytes();

/// The version of the log's format, in every footer and run mark.
pub const FORMAT_VERSION: u16 = 1;

/// Bytes of the fields.
pub const FIELD_BYTES: usize = 76;

/// The shortest footer; the longest is one byte less than a block longer.
pub const FOOTER_BYTES_MIN: usize = RECORD_BYTES_MIN + FOOTER_TOPIC.len() + FIELD_BYTES;
pub const FOOTER_BYTES_MAX: usize = FOOTER_BYTES_MIN + BLOCK_BYTES as usize - 1;

/// Bytes between the fields and the block's edge: the topic and two lengths.
const BEHIND_FIELDS: usize = 1 + FOOTER_TOPIC.len() + 2;

/// Bytes before a block's edge that hold the fields and what follows them.
pub const FOOTER_TAIL_BYTES: usize = FIELD_BYTES + BEHIND_FIELDS;

const FIELDS_MAGIC: u64 = u64::from_be_bytes(*b"RMQGROUP");
const FLAG_LAST: u16 = 1;

/// A footer's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// Where the group begins: a block's edge.
    pub start: LogOffset,
    /// Where its records end and the footer begins.
    pub records_end: LogOffset,
    /// Where the footer ends: a block's edge.
    pub end: LogOffset,
    /// One more than that of the group before.
    pub sequence: u64,
    /// The life of the process that wrote the group; one more at each start.
    pub life: u64,
    /// The flushed edge that was known when the group was closed.
    pub flushed: LogOffset,
    /// The latest store time of any record so far.
    pub store_ms: i64,
    /// The group CRC of the group before, from which this group's goes on.
    pub seed: u32,
    /// CRC over the group's records and these fields, seeded.
    pub crc: u32,
    /// The segment's blank record follows, and the next group begins the next segment.
    pub last_of_segment: bool,
}

impl Footer {
    pub fn len(&self) -> usize {
        (self.end - self.records_end) as usize
    }

    pub fn is_empty(&self) -> bool {
        self.end == self.records_end
    }

    /// The CRC that belongs into `crc`, when `records_crc` is the seeded CRC of the
    /// group's records.
    pub fn group_crc(&self, records_crc: u32) -> u32 {
        chained_crc(records_crc, &self.field_bytes()[..68])
    }

    /// Writes the footer record into `out`, exactly `len()` bytes at `records_end`.
    pub fn encode(&self, out: &mut [u8]) {
        assert_eq!(out.len(), self.len());
        // The padding differs by footer, and a record is encoded from a whole body.
        let mut body = [0; FOOTER_BYTES_MAX];
        let body = &mut body[..self.body_len()];
        let fields = body.len() - FIELD_BYTES;
        body[fields..].copy_from_slice(&self.field_bytes());
        let placement = Placement { at: self.records_end, store_ms: self.store_ms };
        self.record(body).encode(placement, out);
    }

    /// The fields in the last bytes of a block that ends at `block_end`, if they are
    /// there and in order. The group itself is not checked.
    pub fn in_block_tail(tail: &[u8], block_end: LogOffset) -> Option<Self> {
        let tail = tail.last_chunk::<FOOTER_TAIL_BYTES>()?;
        let (fields, behind) = tail.split_first_chunk::<FIELD_BYTES>()?;
        let footer = Self::from_fields(fields)?;
        let topic = behind.strip_prefix(&[FOOTER_TOPIC.len() as u8])?;
        (topic.strip_prefix(FOOTER_TOPIC)? == [0, 0] && footer.end == block_end).then_some(footer)
    }

    /// The footer that a checked record is, if it is one and every byte is as it was
    /// written.
    pub fn in_record(record: &RecordView<'_>) -> Option<Self> {
        if record.topic() != FOOTER_TOPIC {
            return None;
        }
        let footer = Self::from_fields(record.body().last_chunk()?)?;
        let expected = (footer.records_end, footer.len());
        if (record.physical_offset(), record.stored_len()) != expected {
            return None;
        }
        let mut bytes = [0; FOOTER_BYTES_MAX];
        let bytes = bytes.get_mut(..footer.len())?;
        footer.encode(bytes);
        (*bytes == *record.bytes()).then_some(footer)
    }

    fn body_len(&self) -> usize {
        self.len() - RECORD_BYTES_MIN - FOOTER_TOPIC.len()
    }

    fn record<'a>(&self, body: &'a [u8]) -> NewRecord<'a> {
        let nowhere = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        NewRecord {
            topic: FOOTER_TOPIC,
            queue_id: 0,
            flag: 0,
            sys_flag: sys_flag::ROLLBACK,
            queue_offset: 0,
            born_ms: self.store_ms,
            born_host: SocketAddr::V4(nowhere),
            store_host: nowhere,
            reconsume_times: 0,
            prepared_offset: 0,
            body,
            properties: &[],
        }
    }

    fn field_bytes(&self) -> [u8; FIELD_BYTES] {
        let mut out = [0; FIELD_BYTES];
        let flags = if self.last_of_segment { FLAG_LAST } else { 0 };
        let records_len = u32::try_from(self.records_end - self.start).expect("a group is small");
        out[0..8].copy_from_slice(&FIELDS_MAGIC.to_be_bytes());
        out[8..10].copy_from_slice(&FORMAT_VERSION.to_be_bytes());
        out[10..12].copy_from_slice(&flags.to_be_bytes());
        out[12..16].copy_from_slice(&records_len.to_be_bytes());
        out[16..24].copy_from_slice(&self.start.0.to_be_bytes());
        out[24..32].copy_from_slice(&self.sequence.to_be_bytes());
        out[32..40].copy_from_slice(&self.life.to_be_bytes());
        out[40..48].copy_from_slice(&self.flushed.0.to_be_bytes());
        out[48..56].copy_from_slice(&self.store_ms.to_be_bytes());
        out[56..64].copy_from_slice(&self.end.0.to_be_bytes());
        out[64..68].copy_from_slice(&self.seed.to_be_bytes());
        out[68..72].copy_from_slice(&self.crc.to_be_bytes());
        let own = chained_crc(0, &out[..72]);
        out[72..76].copy_from_slice(&own.to_be_bytes());
        out
    }

    /// `None` unless magic, version, own CRC and geometry are in order.
    fn from_fields(bytes: &[u8; FIELD_BYTES]) -> Option<Self> {
        let u16_at = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| u32::from_be_bytes(*bytes[at..].first_chunk().expect("in range"));
        let u64_at = |at: usize| u64::from_be_bytes(*bytes[at..].first_chunk().expect("in range"));
        if u64_at(0) != FIELDS_MAGIC || u32_at(72) != chained_crc(0, &bytes[..72]) {
            return None;
        }
        if u16_at(8) != FORMAT_VERSION {
            return None;
        }
        let (start, end) = (u64_at(16), u64_at(56));
        let records_end = start.checked_add(u64::from(u32_at(12)))?;
        let len = usize::try_from(end.checked_sub(records_end)?).ok()?;
        let aligned = start.is_multiple_of(BLOCK_BYTES) && end.is_multiple_of(BLOCK_BYTES);
        if u64_at(40) > start {
            return None; // Nothing that the group holds was flushed before it was written.
        }
        if !aligned || !(FOOTER_BYTES_MIN..=FOOTER_BYTES_MAX).contains(&len) {
            return None;
        }
        Some(Self {
            start: LogOffset(start),
            records_end: LogOffset(records_end),
            end: LogOffset(end),
            sequence: u64_at(24),
            life: u64_at(32),
            flushed: LogOffset(u64_at(40)),
            store_ms: u64_at(48) as i64,
            seed: u32_at(64),
            crc: u32_at(68),
            last_of_segment: u16_at(10) & FLAG_LAST != 0,
        })
    }
}

/// The end of a chain of groups: where the next group begins and what it goes on from.
/// A new log's is the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChainEnd {
    pub at: LogOffset,
    /// The last group's CRC: the next one's seed.
    pub crc: u32,
    /// The last group's sequence and life.
    pub sequence: u64,
    pub life: u64,
    /// The latest store time of any record before.
    pub store_ms: i64,
}

/// Bytes of an encoded chain end.
pub const CHAIN_END_BYTES: usize = 36;

impl ChainEnd {
    /// The chain's end behind `footer`; `next` is where the following group begins.
    pub fn behind(footer: &Footer, next: LogOffset) -> Self {
        let Footer { crc, sequence, life, store_ms, .. } = *footer;
        Self { at: next, crc, sequence, life, store_ms }
    }

    /// As run marks hold it, and checkpoints may. Whoever keeps it adds a checksum.
    pub fn encode(&self) -> [u8; CHAIN_END_BYTES] {
        let mut out = [0; CHAIN_END_BYTES];
        out[0..8].copy_from_slice(&self.at.0.to_be_bytes());
        out[8..16].copy_from_slice(&self.sequence.to_be_bytes());
        out[16..24].copy_from_slice(&self.life.to_be_bytes());
        out[24..32].copy_from_slice(&self.store_ms.to_be_bytes());
        out[32..36].copy_from_slice(&self.crc.to_be_bytes());
        out
    }

    pub fn decode(bytes: &[u8; CHAIN_END_BYTES]) -> Self {
        let u64_at = |at: usize| u64::from_be_bytes(*bytes[at..].first_chunk().expect("in range"));
        Self {
            at: LogOffset(u64_at(0)),
            sequence: u64_at(8),
            life: u64_at(16),
            store_ms: u64_at(24) as i64,
            crc: u32::from_be_bytes(*bytes.last_chunk().expect("in range")),
        }
    }

    /// Whether `footer` ends the group that goes on from here.
    pub fn goes_on_with(&self, footer: &Footer) -> bool {
        let expected = (self.at, self.crc, self.sequence + 1);
        (footer.start, footer.seed, footer.sequence) == expected && footer.life >= self.life
    }
}
