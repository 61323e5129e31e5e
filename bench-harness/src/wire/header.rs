//! A reply's header read in full: for set-up, pulls and every unusual reply.

use serde::Deserialize;
use std::fmt;

/// What a reply says about itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub code: i32,
    pub opaque: u32,
    pub remark: String,
    ext: Vec<(String, String)>,
}

/// The peer wrote a header that is no header.
#[derive(Debug)]
pub struct HeaderError(String);

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unreadable header: {}", self.0)
    }
}

impl std::error::Error for HeaderError {}

#[derive(Deserialize)]
struct JsonHeader {
    #[serde(default)]
    code: i32,
    #[serde(default)]
    opaque: i64,
    #[serde(default)]
    remark: Option<String>,
    #[serde(default, rename = "extFields")]
    ext: Option<serde_json::Map<String, serde_json::Value>>,
}

impl Header {
    pub fn parse(codec: u8, bytes: &[u8]) -> Result<Header, HeaderError> {
        match codec {
            0 => Header::parse_json(bytes),
            1 => Header::parse_binary(bytes).ok_or_else(|| HeaderError("binary, cut".into())),
            other => Err(HeaderError(format!("codec {other}"))),
        }
    }

    pub fn ext(&self, key: &str) -> Option<&str> {
        self.ext.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    fn parse_json(bytes: &[u8]) -> Result<Header, HeaderError> {
        let json: JsonHeader =
            serde_json::from_slice(bytes).map_err(|e| HeaderError(e.to_string()))?;
        let text = |value: serde_json::Value| match value {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        let ext = json.ext.unwrap_or_default().into_iter().map(|(k, v)| (k, text(v))).collect();
        let remark = json.remark.unwrap_or_default();
        Ok(Header { code: json.code, opaque: json.opaque as u32, remark, ext })
    }

    fn parse_binary(mut bytes: &[u8]) -> Option<Header> {
        let code = i16::from_be_bytes(take(&mut bytes)?) as i32;
        let [_language, _, _] = take(&mut bytes)?;
        let opaque = u32::from_be_bytes(take(&mut bytes)?);
        let [_flag @ .., _] = take::<4>(&mut bytes)?;
        let remark_len = u32::from_be_bytes(take(&mut bytes)?) as usize;
        let remark = take_text(&mut bytes, remark_len)?;
        let map_len = u32::from_be_bytes(take(&mut bytes)?) as usize;
        let mut map = bytes.get(..map_len)?;
        let mut ext = Vec::new();
        while !map.is_empty() {
            let key_len = u16::from_be_bytes(take(&mut map)?) as usize;
            let key = take_text(&mut map, key_len)?;
            let value_len = u32::from_be_bytes(take(&mut map)?) as usize;
            ext.push((key, take_text(&mut map, value_len)?));
        }
        Some(Header { code, opaque, remark, ext })
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

fn take_text(bytes: &mut &[u8], len: usize) -> Option<String> {
    let (head, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(String::from_utf8_lossy(head).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Codec, PREFIX_BYTES, Request};

    #[test]
    fn a_binary_header_cut_anywhere_is_an_error() {
        let request = Request::new(11).ext("topic", "t").ext("queueId", 3);
        let bytes = &request.encode(Codec::Binary, 9).bytes[PREFIX_BYTES..];
        assert!(Header::parse(1, bytes).is_ok());
        for cut in 0..bytes.len() {
            assert!(Header::parse(1, &bytes[..cut]).is_err(), "cut at byte {cut}");
        }
    }

    #[test]
    fn numbers_among_the_extension_fields_are_text() {
        let header = Header::parse(0, br#"{"code":0,"opaque":5,"extFields":{"q":7}}"#).unwrap();
        assert_eq!(header.ext("q"), Some("7"));
    }
}
