//! Replies, read field by field in place.

use super::request::FRAME_BYTES_MAX;
use kafka_protocol::ResponseError;
use std::fmt;
use std::io;

/// Why a reply is not the success that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KafkaError {
    /// It ends before its fields do.
    Cut,
    /// A length or count that its reply cannot hold.
    Length(i64),
    /// A number of more bytes than its type has.
    Number,
    /// It answers another request.
    Correlation { awaited: i32, came: i32 },
    /// The broker's own error code.
    Refused(i16),
    /// Well-formed, but not about what was asked.
    Nonsense(&'static str),
}

impl fmt::Display for KafkaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KafkaError::Cut => write!(f, "a reply ends early"),
            KafkaError::Length(len) => write!(f, "a reply states a length of {len}"),
            KafkaError::Number => write!(f, "a reply has a number that is too long"),
            KafkaError::Correlation { awaited, came } => {
                write!(f, "reply to request {came} where {awaited} was awaited")
            }
            KafkaError::Refused(code) => match ResponseError::try_from_code(*code) {
                Some(error) => write!(f, "code {code}, {error}"),
                None => write!(f, "code {code}"),
            },
            KafkaError::Nonsense(what) => write!(f, "{what}"),
        }
    }
}

impl std::error::Error for KafkaError {}

impl From<KafkaError> for io::Error {
    fn from(error: KafkaError) -> io::Error {
        io::Error::other(error.to_string())
    }
}

pub type Read<T> = Result<T, KafkaError>;

/// The first frame of `bytes` without its length word, once it has wholly arrived.
pub fn take_frame(bytes: &[u8]) -> Read<Option<&[u8]>> {
    let Some((len, rest)) = bytes.split_first_chunk() else {
        return Ok(None);
    };
    let len = i32::from_be_bytes(*len);
    match usize::try_from(len) {
        Ok(len) if len <= FRAME_BYTES_MAX => Ok(rest.get(..len)),
        _ => Err(KafkaError::Length(i64::from(len))),
    }
}

/// What is left of a reply.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk().ok_or(KafkaError::Cut)?;
        self.0 = rest;
        Ok(*head)
    }

    pub fn bytes(&mut self, len: usize) -> Read<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(KafkaError::Cut)?;
        self.0 = rest;
        Ok(head)
    }

    pub fn i8(&mut self) -> Read<i8> {
        self.array().map(i8::from_be_bytes)
    }

    pub fn i16(&mut self) -> Read<i16> {
        self.array().map(i16::from_be_bytes)
    }

    pub fn i32(&mut self) -> Read<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub fn i64(&mut self) -> Read<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// A number in groups of seven bits, the lowest first.
    fn groups(&mut self, bytes_max: u32) -> Read<u64> {
        let mut value = 0;
        for i in 0..bytes_max {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(KafkaError::Number)
    }

    /// A signed number of a record.
    pub fn varint(&mut self) -> Read<i64> {
        let folded = self.groups(10)?;
        Ok((folded >> 1) as i64 ^ -((folded & 1) as i64))
    }

    /// An array's count, of the older requests. Each element has a byte at least.
    pub fn count(&mut self) -> Read<usize> {
        let count = i64::from(self.i32()?);
        self.bounded(count.max(0))
    }

    /// An array's count, or a string's or blob's length, of the newer requests.
    pub fn compact(&mut self) -> Read<usize> {
        let stated = self.groups(5)?;
        self.bounded((stated as i64 - 1).max(0))
    }

    fn bounded(&self, stated: i64) -> Read<usize> {
        match usize::try_from(stated) {
            Ok(count) if count <= self.0.len() => Ok(count),
            _ => Err(KafkaError::Length(stated)),
        }
    }

    /// A string of the older requests; null is empty.
    pub fn string(&mut self) -> Read<&'a [u8]> {
        let len = i64::from(self.i16()?);
        let len = self.bounded(len.max(0))?;
        self.bytes(len)
    }

    pub fn compact_bytes(&mut self) -> Read<&'a [u8]> {
        let len = self.compact()?;
        self.bytes(len)
    }

    /// Skips the tagged fields that end a structure of the newer requests.
    pub fn tags(&mut self) -> Read<()> {
        let count = self.groups(5)? as i64;
        for _ in 0..self.bounded(count)? {
            self.groups(5)?;
            let len = self.groups(5)? as i64;
            let len = self.bounded(len)?;
            self.bytes(len)?;
        }
        Ok(())
    }

    /// An error code that ought to be zero.
    pub fn success(&mut self) -> Read<()> {
        match self.i16()? {
            0 => Ok(()),
            code => Err(KafkaError::Refused(code)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_taken_once_its_last_byte_is_there() {
        let bytes = [0, 0, 0, 3, b'a', b'b', b'c', 0];
        for end in 0..7 {
            assert_eq!(take_frame(&bytes[..end]), Ok(None), "at byte {end}");
        }
        assert_eq!(take_frame(&bytes), Ok(Some(&b"abc"[..])));
    }

    #[test]
    fn lengths_beyond_the_limit_are_refused_before_they_are_awaited() {
        for len in [-1, i32::MIN, i32::MAX, FRAME_BYTES_MAX as i32 + 1] {
            let refused = Err(KafkaError::Length(i64::from(len)));
            assert_eq!(take_frame(&len.to_be_bytes()), refused);
        }
    }

    #[test]
    fn counts_that_the_reply_cannot_hold_are_refused() {
        let all_ones = [0xff, 0xff, 0xff, 0xff, 0x0f];
        assert!(matches!(Reader::new(&all_ones).compact(), Err(KafkaError::Length(_))));
        assert!(matches!(Reader::new(&all_ones).tags(), Err(KafkaError::Length(_))));
        let many = i32::MAX.to_be_bytes();
        assert!(matches!(Reader::new(&many).count(), Err(KafkaError::Length(_))));
        assert_eq!(Reader::new(&[0xff; 12]).varint(), Err(KafkaError::Number));
        assert_eq!(Reader::new(&[0x7f, 0xff, 1]).string(), Err(KafkaError::Length(0x7fff)));
    }

    #[test]
    fn signed_numbers_are_unfolded() {
        for (bytes, value) in [(&[0][..], 0), (&[1], -1), (&[2], 1), (&[0x80, 1], 64)] {
            assert_eq!(Reader::new(bytes).varint(), Ok(value));
        }
    }
}
