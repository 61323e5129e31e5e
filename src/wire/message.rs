//! Stored messages as the bodies of pull replies carry them. Clients of ours read with
//! this; brokers write with the log's own encoder.
//!
//! ```text
//! i32 total | i32 magic | i32 body CRC | i32 queue id | i32 flag | i64 queue offset
//! i64 physical offset | i32 sysFlag | i64 born | born host | i64 stored | store host
//! i32 reconsume times | i64 prepared transaction offset
//! i32 length, body | topic length (u8, in V2 i16), topic | i16 length, properties
//! ```
//!
//! A host is an address of 4 bytes (16 by a bit of sysFlag) and an i32 port.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::base::{LogOffset, QueueOffset};

/// Magic of a record whose topic length is one byte.
pub const MAGIC_V1: u32 = 0xdaa3_20a7;
/// Magic of a record whose topic length is two bytes.
pub const MAGIC_V2: u32 = 0xdaa3_20ab;

/// Bits of a message's `sysFlag`.
pub mod sys_flag {
    pub const COMPRESSED: i32 = 0x1;
    pub const MULTI_TAGS: i32 = 0x2;
    /// Transaction type: 4 prepared, 8 commit, 12 rollback.
    pub const TRANSACTION: i32 = 0xc;
    pub const TRANSACTION_PREPARED: i32 = 0x4;
    pub const TRANSACTION_COMMIT: i32 = 0x8;
    pub const TRANSACTION_ROLLBACK: i32 = 0xc;
    pub const BORN_HOST_V6: i32 = 0x10;
    pub const STORE_HOST_V6: i32 = 0x20;
    pub const NEEDS_UNWRAP: i32 = 0x40;
    pub const INNER_BATCH: i32 = 0x80;
    /// 0 and 0x300 zlib, 0x100 lz4, 0x200 zstd.
    pub const COMPRESSION: i32 = 0x700;
}

/// One stored message, in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredMessage<'a> {
    pub magic: u32,
    pub body_crc: u32,
    pub queue_id: i32,
    pub flag: i32,
    pub queue_offset: QueueOffset,
    pub physical_offset: LogOffset,
    /// Bits of `sys_flag`.
    pub sys_flag: i32,
    pub born_timestamp: i64,
    pub born_host: SocketAddr,
    pub store_timestamp: i64,
    pub store_host: SocketAddr,
    pub reconsume_times: i32,
    pub prepared_transaction_offset: i64,
    /// As stored: with the compressed bit, compressed.
    pub body: &'a [u8],
    pub topic: &'a [u8],
    /// Property text; see `base::properties`.
    pub properties: &'a [u8],
}

/// The messages of a pull reply's body. Ends after the first error.
#[derive(Clone, Debug)]
pub struct StoredMessages<'a> {
    rest: &'a [u8],
    at: usize,
}

/// What is wrong with a record, and where it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageError {
    Cut {
        at: usize,
    },
    UnknownMagic {
        at: usize,
        magic: u32,
    },
    /// The parts of the record do not add up to its total.
    BadLength {
        at: usize,
    },
}

impl<'a> StoredMessages<'a> {
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body, at: 0 }
    }

    fn next_message(&mut self) -> Result<StoredMessage<'a>, MessageError> {
        let at = self.at;
        let total = self.rest.first_chunk().ok_or(MessageError::Cut { at })?;
        let total = usize::try_from(i32::from_be_bytes(*total))
            .map_err(|_| MessageError::BadLength { at })?;
        let record = self.rest.get(..total).ok_or(MessageError::Cut { at })?;
        let message = parse_record(record, at)?;
        self.rest = &self.rest[total..];
        self.at += total;
        Ok(message)
    }
}

impl<'a> Iterator for StoredMessages<'a> {
    type Item = Result<StoredMessage<'a>, MessageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let message = self.next_message();
        if message.is_err() {
            self.rest = &[];
        }
        Some(message)
    }
}

/// Reads the record that `record` consists of.
fn parse_record(record: &[u8], at: usize) -> Result<StoredMessage<'_>, MessageError> {
    let mut parts = Parts { rest: record };
    let magic = parts.skip(4).and_then(|()| parts.word()).ok_or(MessageError::BadLength { at })?;
    if magic != MAGIC_V1 && magic != MAGIC_V2 {
        return Err(MessageError::UnknownMagic { at, magic });
    }
    let message = parts.message(magic).filter(|_| parts.rest.is_empty());
    message.ok_or(MessageError::BadLength { at })
}

/// What of a record is not yet read; `None` where it ends too early.
struct Parts<'a> {
    rest: &'a [u8],
}

impl<'a> Parts<'a> {
    fn message(&mut self, magic: u32) -> Option<StoredMessage<'a>> {
        let body_crc = self.word()?;
        let queue_id = self.word()? as i32;
        let flag = self.word()? as i32;
        let queue_offset = QueueOffset(self.long()? as u64);
        let physical_offset = LogOffset(self.long()? as u64);
        let sys_flag = self.word()? as i32;
        let born_timestamp = self.long()?;
        let born_host = self.host(sys_flag & sys_flag::BORN_HOST_V6 != 0)?;
        let store_timestamp = self.long()?;
        let store_host = self.host(sys_flag & sys_flag::STORE_HOST_V6 != 0)?;
        let reconsume_times = self.word()? as i32;
        let prepared_transaction_offset = self.long()?;
        let body_len = self.word()?;
        let body = self.bytes(body_len as usize)?;
        let topic_len = match magic {
            MAGIC_V1 => usize::from(self.array::<1>()?[0]),
            _ => usize::from(u16::from_be_bytes(self.array()?)),
        };
        let topic = self.bytes(topic_len)?;
        let properties_len = u16::from_be_bytes(self.array()?);
        let properties = self.bytes(usize::from(properties_len))?;
        Some(StoredMessage {
            magic,
            body_crc,
            queue_id,
            flag,
            queue_offset,
            physical_offset,
            sys_flag,
            born_timestamp,
            born_host,
            store_timestamp,
            store_host,
            reconsume_times,
            prepared_transaction_offset,
            body,
            topic,
            properties,
        })
    }

    fn host(&mut self, v6: bool) -> Option<SocketAddr> {
        let ip = match v6 {
            true => IpAddr::V6(Ipv6Addr::from(self.array::<16>()?)),
            false => IpAddr::V4(Ipv4Addr::from(self.array::<4>()?)),
        };
        // Four bytes hold the port, though two would do.
        Some(SocketAddr::new(ip, self.word()? as u16))
    }

    fn skip(&mut self, len: usize) -> Option<()> {
        self.bytes(len).map(drop)
    }

    fn word(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn long(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*array)
    }

    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(bytes)
    }
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut { at } => write!(f, "message at byte {at} is cut"),
            Self::UnknownMagic { at, magic } => {
                write!(f, "message at byte {at} has unknown magic {magic:#x}")
            }
            Self::BadLength { at } => write!(f, "message at byte {at} has bad lengths"),
        }
    }
}

impl std::error::Error for MessageError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn push_host(out: &mut Vec<u8>, host: SocketAddr) {
        match host.ip() {
            IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
        }
        out.extend_from_slice(&u32::from(host.port()).to_be_bytes());
    }

    fn encode(message: &StoredMessage<'_>) -> Vec<u8> {
        let mut out = vec![0; 4];
        out.extend_from_slice(&message.magic.to_be_bytes());
        out.extend_from_slice(&message.body_crc.to_be_bytes());
        out.extend_from_slice(&message.queue_id.to_be_bytes());
        out.extend_from_slice(&message.flag.to_be_bytes());
        out.extend_from_slice(&message.queue_offset.0.to_be_bytes());
        out.extend_from_slice(&message.physical_offset.0.to_be_bytes());
        out.extend_from_slice(&message.sys_flag.to_be_bytes());
        out.extend_from_slice(&message.born_timestamp.to_be_bytes());
        push_host(&mut out, message.born_host);
        out.extend_from_slice(&message.store_timestamp.to_be_bytes());
        push_host(&mut out, message.store_host);
        out.extend_from_slice(&message.reconsume_times.to_be_bytes());
        out.extend_from_slice(&message.prepared_transaction_offset.to_be_bytes());
        out.extend_from_slice(&(message.body.len() as u32).to_be_bytes());
        out.extend_from_slice(message.body);
        match message.magic {
            MAGIC_V1 => out.push(message.topic.len() as u8),
            _ => out.extend_from_slice(&(message.topic.len() as u16).to_be_bytes()),
        }
        out.extend_from_slice(message.topic);
        out.extend_from_slice(&(message.properties.len() as u16).to_be_bytes());
        out.extend_from_slice(message.properties);
        let total = out.len() as u32;
        out[..4].copy_from_slice(&total.to_be_bytes());
        out
    }

    fn samples() -> [StoredMessage<'static>; 2] {
        let v1 = StoredMessage {
            magic: MAGIC_V1,
            body_crc: 0x7fff_ffff,
            queue_id: 3,
            flag: -1,
            queue_offset: QueueOffset(17),
            physical_offset: LogOffset(1 << 40),
            sys_flag: 0,
            born_timestamp: 1_700_000_000_000,
            born_host: "10.0.0.1:65535".parse().unwrap(),
            store_timestamp: 1_700_000_000_001,
            store_host: "127.0.0.1:10911".parse().unwrap(),
            reconsume_times: 2,
            prepared_transaction_offset: 5,
            body: b"hello",
            topic: b"T",
            properties: b"TAGS\x01A\x02",
        };
        let v2 = StoredMessage {
            magic: MAGIC_V2,
            sys_flag: sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6,
            born_host: "[::1]:5".parse().unwrap(),
            store_host: "[2001:db8::7]:10911".parse().unwrap(),
            body: b"",
            topic: &[b't'; 300],
            properties: b"",
            ..v1
        };
        [v1, v2]
    }

    #[test]
    fn stored_messages_of_both_versions_are_read() {
        let body = samples().map(|message| encode(&message)).concat();
        let read: Result<Vec<_>, _> = StoredMessages::new(&body).collect();
        assert_eq!(read.unwrap(), samples());
        let empty = StoredMessage { body: b"", topic: b"", properties: b"", ..samples()[0] };
        assert_eq!(encode(&empty).len(), 91, "the fixed bytes of the first version");
    }

    #[test]
    fn a_body_cut_inside_a_message_is_an_error() {
        let parts = samples().map(|message| encode(&message));
        let body = parts.concat();
        for cut in 0..=body.len() {
            let read: Result<Vec<_>, _> = StoredMessages::new(&body[..cut]).collect();
            let whole = [0, parts[0].len(), body.len()].iter().position(|end| *end == cut);
            match whole {
                Some(count) => assert_eq!(read.unwrap(), samples()[..count]),
                None => assert!(matches!(read, Err(MessageError::Cut { .. })), "cut at {cut}"),
            }
        }
    }

    #[test]
    fn records_that_do_not_add_up_are_refused() {
        let good = encode(&samples()[0]);
        let mut blank = good.clone();
        blank[4..8].copy_from_slice(&0xcbd4_3194_u32.to_be_bytes());
        let error = StoredMessages::new(&blank).next().unwrap().unwrap_err();
        assert_eq!(error, MessageError::UnknownMagic { at: 0, magic: 0xcbd4_3194 });

        let total = good.len() as u32;
        for (at, word) in [(0, total - 1), (0, 7), (0, 0), (0, u32::MAX), (84, u32::MAX), (84, 6)] {
            let mut wrong = good.clone();
            wrong[at..at + 4].copy_from_slice(&word.to_be_bytes());
            let error = StoredMessages::new(&wrong).next().unwrap().unwrap_err();
            assert_eq!(error, MessageError::BadLength { at: 0 }, "{word:#x} at {at}");
        }
    }
}
