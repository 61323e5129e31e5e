//! The fixed prefix of a frame: what a stream of bytes is cut by.

use std::fmt;

use crate::base::limits::FRAME_BYTES_MAX;

/// Bytes before the header.
pub const PREFIX_BYTES: usize = 8;

/// A frame's fixed prefix, big-endian.
///
/// ```text
///  0        4       5               8
///  | length | codec | header length | header ... | body ... |
/// ```
///
/// `length` counts everything after itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The whole frame, its length word included.
    pub frame_bytes: usize,
    pub codec: Codec,
    pub header_bytes: usize,
    pub body_bytes: usize,
}

/// How a header is written. Bodies do not depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Codec {
    #[default]
    Json = 0,
    Binary = 1,
}

/// What makes a stream unreadable from here on: the connection closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The length word announces more than `FRAME_BYTES_MAX`.
    TooLong(u32),
    /// The length word leaves no room for the rest of the prefix.
    TooShort(u32),
    /// The header would end behind its frame.
    HeaderOverruns {
        header_bytes: u32,
        length: u32,
    },
    UnknownCodec(u8),
}

/// Reads the prefix at the start of `bytes`. `None`: not yet, come back with more.
pub fn parse_prefix(bytes: &[u8]) -> Result<Option<Prefix>, FrameError> {
    let Some(&[l0, l1, l2, l3, codec, h0, h1, h2]) = bytes.first_chunk() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([l0, l1, l2, l3]);
    let header_bytes = u32::from_be_bytes([0, h0, h1, h2]);
    if length as usize > FRAME_BYTES_MAX - 4 {
        return Err(FrameError::TooLong(length));
    }
    let after_prefix = length.checked_sub(4).ok_or(FrameError::TooShort(length))?;
    let codec = Codec::from_byte(codec)?;
    let body_bytes = after_prefix
        .checked_sub(header_bytes)
        .ok_or(FrameError::HeaderOverruns { header_bytes, length })?;
    Ok(Some(Prefix {
        frame_bytes: 4 + length as usize,
        codec,
        header_bytes: header_bytes as usize,
        body_bytes: body_bytes as usize,
    }))
}

impl Prefix {
    /// Header and body of the frame that starts `bytes`; `None` while it is incomplete.
    pub fn split<'a>(&self, bytes: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let frame = bytes.get(PREFIX_BYTES..self.frame_bytes)?;
        Some(frame.split_at(self.header_bytes))
    }
}

impl Codec {
    fn from_byte(byte: u8) -> Result<Self, FrameError> {
        match byte {
            0 => Ok(Self::Json),
            1 => Ok(Self::Binary),
            other => Err(FrameError::UnknownCodec(other)),
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(length) => {
                write!(f, "frame of {length} bytes, the limit is {FRAME_BYTES_MAX}")
            }
            Self::TooShort(length) => write!(f, "frame of {length} bytes, 4 is the least"),
            Self::HeaderOverruns { header_bytes, length } => {
                write!(f, "header of {header_bytes} bytes in a frame of {length}")
            }
            Self::UnknownCodec(byte) => write!(f, "header codec {byte}, known are 0 and 1"),
        }
    }
}

impl std::error::Error for FrameError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(length: u32, codec: u8, header: u32) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&length.to_be_bytes());
        bytes[4..].copy_from_slice(&header.to_be_bytes());
        bytes[4] = codec;
        bytes
    }

    #[test]
    fn a_prefix_tells_where_header_and_body_end() {
        let mut bytes = prefix(4 + 3 + 2, 1, 3).to_vec();
        bytes.extend_from_slice(b"hdrbo");
        let parsed = parse_prefix(&bytes).unwrap().unwrap();
        let expected =
            Prefix { frame_bytes: 13, codec: Codec::Binary, header_bytes: 3, body_bytes: 2 };
        assert_eq!(parsed, expected);
        assert_eq!(parsed.split(&bytes), Some((&b"hdr"[..], &b"bo"[..])));
        assert_eq!(parsed.split(&bytes[..12]), None);
    }

    #[test]
    fn fewer_than_eight_bytes_are_not_yet_a_prefix() {
        let bytes = prefix(100, 0, 50);
        for cut in 0..8 {
            assert_eq!(parse_prefix(&bytes[..cut]), Ok(None), "cut at byte {cut}");
        }
    }

    #[test]
    fn lengths_meet_their_bounds_before_they_are_used() {
        let limit = FRAME_BYTES_MAX as u32 - 4;
        assert!(parse_prefix(&prefix(limit, 0, 0)).unwrap().is_some());
        assert_eq!(parse_prefix(&prefix(limit + 1, 0, 0)), Err(FrameError::TooLong(limit + 1)));
        assert_eq!(parse_prefix(&prefix(u32::MAX, 0, 0)), Err(FrameError::TooLong(u32::MAX)));
        for length in 0..4 {
            assert_eq!(parse_prefix(&prefix(length, 0, 0)), Err(FrameError::TooShort(length)));
        }
        let overrun = FrameError::HeaderOverruns { header_bytes: 7, length: 10 };
        assert_eq!(parse_prefix(&prefix(10, 0, 7)), Err(overrun));
        assert_eq!(parse_prefix(&prefix(10, 2, 0)), Err(FrameError::UnknownCodec(2)));
    }
}
