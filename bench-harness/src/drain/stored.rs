//! Messages as brokers store and serve them, one after the other in a body.

use std::fmt;

/// What a drain needs of a stored message.
#[derive(Debug, PartialEq, Eq)]
pub struct StoredMessage<'a> {
    pub body_crc: u32,
    pub queue: u32,
    pub queue_offset: u64,
    pub sys_flag: u32,
    pub topic: &'a [u8],
    pub body: &'a [u8],
    /// `name 1 value 2`, again and again.
    pub properties: &'a [u8],
    /// Bytes of the whole record.
    pub len: usize,
}

impl<'a> StoredMessage<'a> {
    pub fn tag(&self) -> Option<&'a [u8]> {
        let properties = self.properties.split(|byte| *byte == 2);
        properties.into_iter().find_map(|property| property.strip_prefix(b"TAGS\x01"))
    }
}

/// The broker served bytes that are no message. What follows cannot be found.
#[derive(Debug, PartialEq, Eq)]
pub enum StoredError {
    Cut,
    Magic(u32),
    /// The parts add up to another length than stated.
    Length {
        stated: usize,
        found: usize,
    },
}

impl fmt::Display for StoredError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoredError::Cut => write!(f, "a stored message ends early"),
            StoredError::Magic(magic) => write!(f, "stored message with magic {magic:#010x}"),
            StoredError::Length { stated, found } => {
                write!(f, "stored message of {stated} bytes whose parts have {found}")
            }
        }
    }
}

const MAGIC_V1: u32 = 0xdaa3_20a7;
/// Topics longer than 127 bytes.
const MAGIC_V2: u32 = 0xdaa3_20ab;
const BORN_V6: u32 = 0x10;
const STORE_V6: u32 = 0x20;

/// The first message of a reply's body; nothing at its end.
pub fn take_stored(bytes: &[u8]) -> Result<Option<StoredMessage<'_>>, StoredError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let len = stored_len(bytes)?;
    let mut rest = bytes.get(4..len).ok_or(StoredError::Cut)?;
    let message = parse(&mut rest, len)?;
    if !rest.is_empty() {
        return Err(StoredError::Length { stated: len, found: len - rest.len() });
    }
    Ok(Some(message))
}

/// Messages in a body, by their lengths alone.
pub fn count_stored(mut bytes: &[u8]) -> Result<u64, StoredError> {
    let mut count = 0;
    while !bytes.is_empty() {
        bytes = bytes.get(stored_len(bytes)?..).ok_or(StoredError::Cut)?;
        count += 1;
    }
    Ok(count)
}

fn stored_len(bytes: &[u8]) -> Result<usize, StoredError> {
    let head = bytes.first_chunk().ok_or(StoredError::Cut)?;
    let len = u32::from_be_bytes(*head) as usize;
    if len < 4 { Err(StoredError::Length { stated: len, found: 4 }) } else { Ok(len) }
}

fn parse<'a>(rest: &mut &'a [u8], len: usize) -> Result<StoredMessage<'a>, StoredError> {
    let magic = u32_of(rest)?;
    if magic != MAGIC_V1 && magic != MAGIC_V2 {
        return Err(StoredError::Magic(magic));
    }
    let body_crc = u32_of(rest)?;
    let queue = u32_of(rest)?;
    let _flag = u32_of(rest)?;
    let queue_offset = u64::from_be_bytes(array(rest)?);
    let _physical_offset = slice(rest, 8)?;
    let sys_flag = u32_of(rest)?;
    let host_len = |v6: u32| if sys_flag & v6 != 0 { 20 } else { 8 };
    let _born = slice(rest, 8 + host_len(BORN_V6))?;
    let _stored = slice(rest, 8 + host_len(STORE_V6))?;
    let _reconsume_times_and_transaction = slice(rest, 4 + 8)?;
    let body_len = u32_of(rest)? as usize;
    let body = slice(rest, body_len)?;
    let topic_len = if magic == MAGIC_V1 {
        usize::from(array::<1>(rest)?[0])
    } else {
        usize::from(u16::from_be_bytes(array(rest)?))
    };
    let topic = slice(rest, topic_len)?;
    let properties_len = usize::from(u16::from_be_bytes(array(rest)?));
    let properties = slice(rest, properties_len)?;
    Ok(StoredMessage { body_crc, queue, queue_offset, sys_flag, topic, body, properties, len })
}

fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], StoredError> {
    let (head, tail) = rest.split_first_chunk().ok_or(StoredError::Cut)?;
    *rest = tail;
    Ok(*head)
}

fn u32_of(rest: &mut &[u8]) -> Result<u32, StoredError> {
    array(rest).map(u32::from_be_bytes)
}

fn slice<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], StoredError> {
    let (head, tail) = rest.split_at_checked(len).ok_or(StoredError::Cut)?;
    *rest = tail;
    Ok(head)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A record as a broker would store it.
    pub fn record(topic: &str, queue: u32, queue_offset: u64, body: &[u8], v6: bool) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&MAGIC_V1.to_be_bytes());
        bytes.extend_from_slice(&(crc32fast::hash(body) & 0x7fff_ffff).to_be_bytes());
        bytes.extend_from_slice(&queue.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&queue_offset.to_be_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&u32::to_be_bytes(if v6 { BORN_V6 } else { 0 }));
        bytes.extend_from_slice(&vec![7; if v6 { 28 } else { 16 }]);
        bytes.extend_from_slice(&[7; 16 + 12]);
        bytes.extend_from_slice(&(body.len() as u32).to_be_bytes());
        bytes.extend_from_slice(body);
        bytes.push(topic.len() as u8);
        bytes.extend_from_slice(topic.as_bytes());
        bytes.extend_from_slice(&[0, 2, b'p', b'q']);
        let len = bytes.len() as u32;
        bytes[..4].copy_from_slice(&len.to_be_bytes());
        bytes
    }

    #[test]
    fn records_are_read_one_after_the_other() {
        let mut bytes = record("topic", 3, 41, b"first", false);
        bytes.extend_from_slice(&record("topic", 3, 42, b"second", true));
        assert_eq!(count_stored(&bytes), Ok(2));
        let first = take_stored(&bytes).unwrap().unwrap();
        assert_eq!((first.topic, first.queue, first.queue_offset), (&b"topic"[..], 3, 41));
        let second = take_stored(&bytes[first.len..]).unwrap().unwrap();
        assert_eq!((second.body, second.queue_offset), (&b"second"[..], 42));
        assert_eq!(second.tag(), None);
        let tagged = StoredMessage { properties: b"WAIT\x01true\x02TAGS\x01a\x02", ..second };
        assert_eq!(tagged.tag(), Some(&b"a"[..]));
        assert_eq!(take_stored(&bytes[first.len + tagged.len..]), Ok(None));
    }

    #[test]
    fn a_record_cut_anywhere_is_an_error() {
        let bytes = record("t", 0, 0, b"body", false);
        for cut in 1..bytes.len() {
            assert!(take_stored(&bytes[..cut]).is_err(), "cut at byte {cut}");
        }
        let mut longer = bytes.clone();
        longer[3] += 1;
        longer.push(0);
        assert!(matches!(take_stored(&longer), Err(StoredError::Length { .. })));
    }
}
