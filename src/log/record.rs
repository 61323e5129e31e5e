//! A stored record: the bytes of one message in the CommitLog, as Apache RocketMQ
//! lays them out, so that stored bytes are sent as they are.
//!
//! ```text
//!  0 total size i32   4 magic        8 body CRC     12 queue id    16 flag
//! 20 queue offset i64              28 physical offset i64          36 sysFlag
//! 40 born time i64   48 born host: ip 4 or 16, port i32
//!  … store time i64, store host, reconsume times i32, prepared offset i64
//!  … body: i32 + bytes, topic: u8 (v2: i16) + bytes, properties: i16 + text
//! ```
//!
//! All integers are big-endian. A topic longer than 127 bytes makes the record v2.

use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};

use crate::base::LogOffset;
use crate::base::checksum::body_crc;
use crate::base::limits::TOPIC_BYTES_MAX;

/// Magic of a record whose topic length is one byte.
pub const MAGIC_V1: u32 = 0xDAA3_20A7;
/// Magic of a record whose topic length is two bytes.
pub const MAGIC_V2: u32 = 0xDAA3_20AB;
/// Magic of the blank record that closes a segment.
pub const MAGIC_BLANK: u32 = 0xCBD4_3194;

/// Bytes of a blank record that are written; its size reaches to the segment's end.
pub const BLANK_BYTES: usize = 8;

/// A v1 record with IPv4 hosts and empty parts.
pub const RECORD_BYTES_MIN: usize = 91;

/// Bits of a record's sysFlag that this room sets or needs.
pub mod sys_flag {
    /// The transaction type; `ROLLBACK` in it keeps a record out of every index.
    pub const TRANSACTION_TYPE: i32 = 0xC;
    pub const PREPARED: i32 = 0x4;
    pub const ROLLBACK: i32 = 0xC;
    pub const BORN_HOST_V6: i32 = 0x10;
    pub const STORE_HOST_V6: i32 = 0x20;
}

/// A message that is about to be stored. Its place and its store time come with
/// [`Placement`], when the log knows them.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    pub topic: &'a [u8],
    pub queue_id: u32,
    pub flag: i32,
    /// The host bits are set or cleared by the encoder.
    pub sys_flag: i32,
    pub queue_offset: i64,
    pub born_ms: i64,
    pub born_host: SocketAddr,
    pub store_host: SocketAddrV4,
    pub reconsume_times: i32,
    pub prepared_offset: i64,
    pub body: &'a [u8],
    /// The property text in pieces, stored one after the other.
    pub properties: &'a [&'a [u8]],
}

/// What the log decides about a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    pub at: LogOffset,
    pub store_ms: i64,
}

impl NewRecord<'_> {
    /// Bytes that the stored record takes.
    pub fn stored_len(&self) -> usize {
        let properties = self.properties.iter().map(|piece| piece.len()).sum();
        record_len(self.topic.len(), self.body.len(), properties, self.born_host.is_ipv6())
    }

    /// Writes the record into `out`, which is exactly `stored_len()` bytes. Lengths
    /// that do not fit their fields are the caller's broken promise, and panic.
    pub fn encode(&self, placement: Placement, out: &mut [u8]) {
        assert_eq!(out.len(), self.stored_len(), "a record is encoded into its exact room");
        let total = i32::try_from(out.len()).expect("a record's size is an i32");
        let v2 = self.topic.len() > TOPIC_BYTES_MAX;
        let host_bits = sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6;
        let born_bit = if self.born_host.is_ipv6() { sys_flag::BORN_HOST_V6 } else { 0 };

        // Chunks of constant size: the bounds are checked three times, not per field.
        let (head, rest) = out.split_first_chunk_mut::<48>().expect("checked above");
        head[0..4].copy_from_slice(&total.to_be_bytes());
        head[4..8].copy_from_slice(&(if v2 { MAGIC_V2 } else { MAGIC_V1 }).to_be_bytes());
        head[8..12].copy_from_slice(&body_crc(self.body).to_be_bytes());
        head[12..16].copy_from_slice(&self.queue_id.to_be_bytes());
        head[16..20].copy_from_slice(&self.flag.to_be_bytes());
        head[20..28].copy_from_slice(&self.queue_offset.to_be_bytes());
        head[28..36].copy_from_slice(&placement.at.0.to_be_bytes());
        head[36..40].copy_from_slice(&((self.sys_flag & !host_bits) | born_bit).to_be_bytes());
        head[40..48].copy_from_slice(&self.born_ms.to_be_bytes());

        let rest = put_host(rest, self.born_host);
        let (middle, rest) = rest.split_first_chunk_mut::<32>().expect("checked above");
        middle[0..8].copy_from_slice(&placement.store_ms.to_be_bytes());
        middle[8..12].copy_from_slice(&self.store_host.ip().octets());
        middle[12..16].copy_from_slice(&u32::from(self.store_host.port()).to_be_bytes());
        middle[16..20].copy_from_slice(&self.reconsume_times.to_be_bytes());
        middle[20..28].copy_from_slice(&self.prepared_offset.to_be_bytes());
        middle[28..32].copy_from_slice(&(self.body.len() as u32).to_be_bytes());

        let rest = put(rest, self.body);
        let topic_len = i16::try_from(self.topic.len()).expect("a topic's length is an i16");
        let rest = match v2 {
            true => put(rest, &topic_len.to_be_bytes()),
            false => put(rest, &[topic_len as u8]),
        };
        let rest = put(rest, self.topic);
        let properties: usize = self.properties.iter().map(|piece| piece.len()).sum();
        let properties = i16::try_from(properties).expect("the properties' length is an i16");
        let rest = put(rest, &properties.to_be_bytes());
        let rest = self.properties.iter().fold(rest, |rest, piece| put(rest, piece));
        debug_assert!(rest.is_empty());
    }
}

/// Bytes of a stored record with parts of these lengths.
pub const fn record_len(topic: usize, body: usize, properties: usize, born_v6: bool) -> usize {
    let topic_prefix = if topic > TOPIC_BYTES_MAX { 1 } else { 0 };
    let born = if born_v6 { 12 } else { 0 };
    RECORD_BYTES_MIN + topic_prefix + born + topic + body + properties
}

/// The blank record that closes a segment `remaining` bytes before its end.
pub fn blank_record(remaining: u32) -> [u8; BLANK_BYTES] {
    let mut bytes = [0; BLANK_BYTES];
    bytes[..4].copy_from_slice(&remaining.to_be_bytes());
    bytes[4..].copy_from_slice(&MAGIC_BLANK.to_be_bytes());
    bytes
}

fn put<'a>(out: &'a mut [u8], bytes: &[u8]) -> &'a mut [u8] {
    let (field, rest) = out.split_at_mut(bytes.len());
    field.copy_from_slice(bytes);
    rest
}

fn put_host(out: &mut [u8], host: SocketAddr) -> &mut [u8] {
    let rest = match host.ip() {
        IpAddr::V4(ip) => put(out, &ip.octets()),
        IpAddr::V6(ip) => put(out, &ip.octets()),
    };
    put(rest, &u32::from(host.port()).to_be_bytes())
}

/// What lies at a place of the log.
#[derive(Clone, Copy, Debug)]
pub enum Stored<'a> {
    Record(RecordView<'a>),
    /// The rest of the segment, this many bytes, is empty.
    Blank {
        len: u32,
    },
}

/// A stored record whose sizes, magic, bounds and place have been checked. Its
/// body's CRC is a step of its own, [`RecordView::check_body`].
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    bytes: &'a [u8],
    /// Where the store time begins: behind the born host.
    store_time: usize,
    /// Where the reconsume times begin: behind the store host.
    tail: usize,
    topic: usize,
    topic_len: usize,
}

impl<'a> Stored<'a> {
    /// Reads what begins with `bytes`, which lie at `at` in the log. Bytes behind the
    /// record are ignored.
    pub fn parse(bytes: &'a [u8], at: LogOffset) -> Result<Self, RecordError> {
        let fail = |fault| Err(RecordError { at, fault });
        let (Some(size), Some(magic)) = (be_u32(bytes, 0), be_u32(bytes, 4)) else {
            return fail(Fault::Short { have: bytes.len(), need: BLANK_BYTES });
        };
        match magic {
            MAGIC_BLANK if size as usize >= BLANK_BYTES => Ok(Self::Blank { len: size }),
            MAGIC_V1 | MAGIC_V2 if (size as usize) < RECORD_BYTES_MIN => fail(Fault::Size(size)),
            MAGIC_V1 | MAGIC_V2 => match bytes.get(..size as usize) {
                Some(bytes) => RecordView::parse(bytes, at).map(Self::Record),
                None => fail(Fault::Short { have: bytes.len(), need: size as usize }),
            },
            _ => fail(Fault::Magic(magic)),
        }
    }
}

impl<'a> RecordView<'a> {
    /// The record that begins with `bytes` at `at`; a blank one is an error here.
    pub fn at(bytes: &'a [u8], at: LogOffset) -> Result<Self, RecordError> {
        match Stored::parse(bytes, at)? {
            Stored::Record(view) => Ok(view),
            Stored::Blank { .. } => Err(RecordError { at, fault: Fault::Magic(MAGIC_BLANK) }),
        }
    }

    /// `bytes` are at least the minimum, and exactly what the size field says.
    fn parse(bytes: &'a [u8], at: LogOffset) -> Result<Self, RecordError> {
        let error = |fault| RecordError { at, fault };
        let inner = || error(Fault::Lengths);
        let stored_at = be_u64(bytes, 28).ok_or_else(inner)?;
        if stored_at != at.0 {
            return Err(error(Fault::Misplaced { stored: stored_at }));
        }
        let flags = be_u32(bytes, 36).ok_or_else(inner)? as i32;
        let host = |bit| if flags & bit == 0 { 8 } else { 20 };
        let store_time = 48 + host(sys_flag::BORN_HOST_V6);
        let tail = store_time + 8 + host(sys_flag::STORE_HOST_V6);
        let body_len = be_u32(bytes, tail + 12).ok_or_else(inner)? as usize;
        let mut topic = (tail + 16).checked_add(body_len).ok_or_else(inner)?;
        let topic_len = match be_u32(bytes, 4) {
            Some(MAGIC_V2) => {
                topic += 2;
                be_u16(bytes, topic - 2).ok_or_else(inner)? as usize
            }
            _ => {
                topic += 1;
                usize::from(*bytes.get(topic - 1).ok_or_else(inner)?)
            }
        };
        let properties_len = be_u16(bytes, topic + topic_len).ok_or_else(inner)? as usize;
        if topic + topic_len + 2 + properties_len != bytes.len() {
            return Err(inner());
        }
        Ok(Self { bytes, store_time, tail, topic, topic_len })
    }

    /// Compares the body with its stored CRC.
    pub fn check_body(&self) -> Result<(), RecordError> {
        let (stored, computed) = (self.stored_crc(), body_crc(self.body()));
        if stored == computed {
            return Ok(());
        }
        Err(RecordError { at: self.physical_offset(), fault: Fault::BodyCrc { stored, computed } })
    }

    /// The stored bytes, whole.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Total size.
    pub fn stored_len(&self) -> usize {
        self.bytes.len()
    }

    pub fn stored_crc(&self) -> u32 {
        self.u32(8)
    }

    pub fn queue_id(&self) -> u32 {
        self.u32(12)
    }

    pub fn flag(&self) -> i32 {
        self.u32(16) as i32
    }

    pub fn queue_offset(&self) -> i64 {
        self.u64(20) as i64
    }

    pub fn physical_offset(&self) -> LogOffset {
        LogOffset(self.u64(28))
    }

    pub fn sys_flag(&self) -> i32 {
        self.u32(36) as i32
    }

    pub fn born_ms(&self) -> i64 {
        self.u64(40) as i64
    }

    pub fn born_host(&self) -> SocketAddr {
        self.host(48, self.store_time)
    }

    pub fn store_ms(&self) -> i64 {
        self.u64(self.store_time) as i64
    }

    pub fn store_host(&self) -> SocketAddr {
        self.host(self.store_time + 8, self.tail)
    }

    pub fn reconsume_times(&self) -> i32 {
        self.u32(self.tail) as i32
    }

    pub fn prepared_offset(&self) -> i64 {
        self.u64(self.tail + 4) as i64
    }

    pub fn body(&self) -> &'a [u8] {
        let start = self.tail + 16;
        &self.bytes[start..start + self.u32(self.tail + 12) as usize]
    }

    pub fn topic(&self) -> &'a [u8] {
        &self.bytes[self.topic..self.topic + self.topic_len]
    }

    pub fn properties(&self) -> &'a [u8] {
        &self.bytes[self.topic + self.topic_len + 2..]
    }

    /// Whether a ConsumeQueue lists this record: prepared and rolled-back ones, and
    /// the footers of write groups, are listed nowhere.
    pub fn is_dispatched(&self) -> bool {
        !matches!(
            self.sys_flag() & sys_flag::TRANSACTION_TYPE,
            sys_flag::PREPARED | sys_flag::ROLLBACK
        )
    }

    fn u32(&self, at: usize) -> u32 {
        be_u32(self.bytes, at).expect("the parse has checked the length")
    }

    fn u64(&self, at: usize) -> u64 {
        be_u64(self.bytes, at).expect("the parse has checked the length")
    }

    fn host(&self, start: usize, end: usize) -> SocketAddr {
        let ip = &self.bytes[start..end - 4];
        let ip = match <[u8; 16]>::try_from(ip) {
            Ok(v6) => IpAddr::from(v6),
            Err(_) => IpAddr::from(<[u8; 4]>::try_from(ip).expect("an ip is 4 or 16 bytes")),
        };
        // The field is an i32; a port is its lower half.
        SocketAddr::new(ip, self.u32(end - 4) as u16)
    }
}

/// Why bytes of the log are not the record that should be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordError {
    pub at: LogOffset,
    pub fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Fewer bytes than the record needs.
    Short {
        have: usize,
        need: usize,
    },
    /// Neither a record nor a blank one begins here.
    Magic(u32),
    /// A size that no record has.
    Size(u32),
    /// A record of another place: left over from a segment's earlier use.
    Misplaced {
        stored: u64,
    },
    /// The parts do not add up to the size.
    Lengths,
    BodyCrc {
        stored: u32,
        computed: u32,
    },
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record at log offset {}: ", self.at)?;
        match self.fault {
            Fault::Short { have, need } => write!(f, "{have} bytes where it needs {need}"),
            Fault::Magic(found) => write!(f, "no record begins with magic {found:#010x}"),
            Fault::Size(size) => write!(f, "no record has the size {size}"),
            Fault::Misplaced { stored } => write!(f, "it was stored for log offset {stored}"),
            Fault::Lengths => write!(f, "its parts do not add up to its size"),
            Fault::BodyCrc { stored, computed } => {
                write!(f, "body CRC stored {stored:#010x}, computed {computed:#010x}")
            }
        }
    }
}

impl std::error::Error for RecordError {}

fn be_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn be_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn be_u64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}
