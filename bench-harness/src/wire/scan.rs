//! Replies to sends, read for three things only: length, code, correlation.
//!
//! Brokers write every successful reply in one shape, so after the first
//! one the place of `opaque` is known from the header's end. A reply that
//! looks different is parsed in full and teaches the next guess.

use super::{Codec, FrameError, Header, HeaderError, take_frame};
use std::fmt;

/// What a send needs to know of its reply.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub struct Reply {
    pub opaque: u32,
    pub code: i32,
    /// With its length word: where the next frame begins.
    pub len: usize,
}

/// Remembers the usual layout of one connection's replies.
pub struct ReplyScanner {
    ok_code: i32,
    /// `{"code":0,` for brokers, `{"code":310,` for an echo of a send.
    ok_head: Vec<u8>,
    /// Bytes from the key of `opaque` to the header's end.
    opaque_from_end: usize,
    /// Replies that were parsed in full.
    pub slow: u64,
}

/// A peer that does not speak the protocol.
#[derive(Debug)]
pub enum ScanError {
    Frame(FrameError),
    Header(HeaderError),
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScanError::Frame(error) => error.fmt(f),
            ScanError::Header(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ScanError {}

const OPAQUE_KEY: &[u8; 9] = b"\"opaque\":";
const OPAQUE_DIGITS: usize = 10;

impl ReplyScanner {
    /// `ok_code` is the code that the usual reply carries.
    pub fn new(ok_code: i32) -> ReplyScanner {
        let ok_head = format!("{{\"code\":{ok_code},").into_bytes();
        ReplyScanner { ok_code, ok_head, opaque_from_end: 0, slow: 0 }
    }

    /// The first reply of `bytes`, once it has wholly arrived.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Option<Reply>, ScanError> {
        let Some(frame) = take_frame(bytes).map_err(ScanError::Frame)? else {
            return Ok(None);
        };
        let usual = match frame.codec {
            0 => self.scan_json(frame.header),
            _ => self.scan_binary(frame.header),
        };
        if let Some(opaque) = usual {
            return Ok(Some(Reply { opaque, code: self.ok_code, len: frame.len }));
        }
        self.slow += 1;
        let header = Header::parse(frame.codec, frame.header).map_err(ScanError::Header)?;
        if frame.codec == Codec::Json.byte() {
            self.learn(frame.header);
        }
        Ok(Some(Reply { opaque: header.opaque, code: header.code, len: frame.len }))
    }

    fn scan_json(&self, header: &[u8]) -> Option<u32> {
        let key_at = header.len().checked_sub(self.opaque_from_end)?;
        let (key, rest) = header[key_at..].split_first_chunk::<9>()?;
        let (digits, rest) = rest.split_first_chunk::<OPAQUE_DIGITS>()?;
        let usual = key == OPAQUE_KEY
            && matches!(rest.first(), Some(b',' | b'}'))
            && header.starts_with(&self.ok_head);
        usual.then(|| parse_digits(digits)).flatten()
    }

    fn scan_binary(&self, header: &[u8]) -> Option<u32> {
        let &[c0, c1, _, _, _, o0, o1, o2, o3] = header.first_chunk()?;
        let code = i16::from_be_bytes([c0, c1]) as i32;
        (code == self.ok_code).then_some(u32::from_be_bytes([o0, o1, o2, o3]))
    }

    /// The last occurrence, since extension fields come first and may quote anything.
    fn learn(&mut self, header: &[u8]) {
        if let Some(at) = header.windows(OPAQUE_KEY.len()).rposition(|w| w == OPAQUE_KEY) {
            self.opaque_from_end = header.len() - at;
        }
    }
}

fn parse_digits(digits: &[u8; OPAQUE_DIGITS]) -> Option<u32> {
    let mut value = 0u64;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    u32::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Request;

    fn reply(header: &str) -> Vec<u8> {
        let mut bytes = ((4 + header.len()) as u32).to_be_bytes().to_vec();
        bytes.extend_from_slice(&(header.len() as u32).to_be_bytes());
        bytes.extend_from_slice(header.as_bytes());
        bytes
    }

    fn java_reply(code: i32, opaque: u32, id: &str) -> Vec<u8> {
        reply(&format!(
            r#"{{"code":{code},"extFields":{{"msgId":"{id}"}},"flag":1,"language":"JAVA","opaque":{opaque},"serializeTypeCurrentRPC":"JSON","version":493}}"#
        ))
    }

    #[test]
    fn the_usual_reply_is_parsed_in_full_once() {
        let mut scanner = ReplyScanner::new(0);
        for (i, id) in ["7F", "7F00", "7F0000"].iter().enumerate() {
            let bytes = java_reply(0, 1_000_000_000 + i as u32, id);
            let seen = scanner.scan(&bytes).unwrap().unwrap();
            assert_eq!(seen, Reply { opaque: 1_000_000_000 + i as u32, code: 0, len: bytes.len() });
        }
        assert_eq!(scanner.slow, 1);
    }

    #[test]
    fn a_refusal_between_successes_is_seen() {
        let mut scanner = ReplyScanner::new(0);
        for code in [0, 0, 2, 0, 14] {
            let seen = scanner.scan(&java_reply(code, 1_999_999_999, "A")).unwrap().unwrap();
            assert_eq!((seen.code, seen.opaque), (code, 1_999_999_999));
        }
    }

    #[test]
    fn other_layouts_are_read_too() {
        let mut scanner = ReplyScanner::new(0);
        let bytes = reply(r#"{ "opaque" : 1000000005, "flag":1, "code" : 0 }"#);
        assert_eq!(scanner.scan(&bytes).unwrap().unwrap().opaque, 1_000_000_005);
        let quoting = reply(
            r#"{"code":0,"extFields":{"x":"\"opaque\":1000000001,"},"flag":1,"opaque":1000000002}"#,
        );
        for _ in 0..2 {
            assert_eq!(scanner.scan(&quoting).unwrap().unwrap().opaque, 1_000_000_002);
        }
    }

    #[test]
    fn binary_replies_carry_their_code_in_front() {
        let mut scanner = ReplyScanner::new(0);
        for code in [0, 2] {
            let bytes = Request::new(code).ext("queueId", 1).encode(Codec::Binary, 77).bytes;
            let seen = scanner.scan(&bytes).unwrap().unwrap();
            assert_eq!(seen, Reply { opaque: 77, code, len: bytes.len() });
        }
    }
}
