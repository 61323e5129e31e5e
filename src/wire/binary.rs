//! The binary header ("ROCKETMQ"), big-endian:
//!
//! ```text
//! i16 code | u8 language | i16 version | i32 opaque | i32 flag
//! i32 remark length, remark | i32 fields length, fields
//! field: i16 key length, key | i32 value length, value
//! ```
//!
//! Bytes behind the fields are passed over, as Java does.

use super::code;
use super::ext::{Span, Value};
use super::language::Language;
use super::request::{HeaderError, Request};

/// Fills `request` from a header.
pub(super) fn decode<'a>(header: &'a [u8], request: &mut Request<'a>) -> Result<(), HeaderError> {
    let mut reader = Reader { bytes: header, at: 0 };
    let code = i16::from_be_bytes(reader.array()?);
    let [language] = reader.array()?;
    request.language = Language::from_byte(language);
    request.version = i32::from(i16::from_be_bytes(reader.array()?));
    request.opaque = i32::from_be_bytes(reader.array()?);
    request.flag = i32::from_be_bytes(reader.array()?);
    // Only request codes have outgrown their sixteen bits.
    request.code = match request.is_response() {
        true => i32::from(code),
        false => code::request::from_binary(code),
    };
    request.remark = match reader.length_word()? {
        0 => None,
        len => {
            let start = reader.text(len)?;
            Some(Value::new(&header[start..start + len], false))
        }
    };
    let fields_len = reader.length_word()?;
    let at = reader.skip(fields_len)?;
    Reader { bytes: &header[..at + fields_len], at }.fields(request)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn fields(&mut self, request: &mut Request<'_>) -> Result<(), HeaderError> {
        while self.at < self.bytes.len() {
            let key_len_at = self.at;
            let key_len = u16::try_from(i16::from_be_bytes(self.array()?))
                .map_err(|_| HeaderError::BadLength { at: key_len_at })?;
            let key_at = self.text(usize::from(key_len))?;
            let value_len = self.length_word()?;
            let value_at = self.text(value_len)?;
            // Empty texts decode as null here, and null is absent.
            if key_len == 0 || value_len == 0 {
                continue;
            }
            request.ext.push(Span {
                key_at: key_at as u32,
                key_len,
                value_at: value_at as u32,
                value_len: value_len as u32,
                ..Span::default()
            })?;
        }
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], HeaderError> {
        let found = self.bytes[self.at..].first_chunk();
        let array = found.ok_or(HeaderError::Cut { at: self.bytes.len() })?;
        self.at += N;
        Ok(*array)
    }

    /// An i32 that counts bytes.
    fn length_word(&mut self) -> Result<usize, HeaderError> {
        let at = self.at;
        let length = i32::from_be_bytes(self.array()?);
        usize::try_from(length).map_err(|_| HeaderError::BadLength { at })
    }

    /// Steps over `len` bytes and says where they start.
    fn skip(&mut self, len: usize) -> Result<usize, HeaderError> {
        let start = self.at;
        if self.bytes.len() - start < len {
            return Err(HeaderError::Cut { at: self.bytes.len() });
        }
        self.at += len;
        Ok(start)
    }

    /// Steps over `len` bytes of UTF-8 and says where they start.
    fn text(&mut self, len: usize) -> Result<usize, HeaderError> {
        let start = self.skip(len)?;
        str::from_utf8(&self.bytes[start..self.at]).map_err(|_| HeaderError::NotUtf8)?;
        Ok(start)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Codec;
    use super::*;

    fn header(code: i16, flag: i32, remark: &[u8], fields: &[u8]) -> Vec<u8> {
        let mut bytes = code.to_be_bytes().to_vec();
        bytes.push(9);
        bytes.extend_from_slice(&317_i16.to_be_bytes());
        bytes.extend_from_slice(&(-5_i32).to_be_bytes());
        bytes.extend_from_slice(&flag.to_be_bytes());
        for part in [remark, fields] {
            bytes.extend_from_slice(&(part.len() as i32).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes
    }

    fn field(key: &[u8], value: &[u8]) -> Vec<u8> {
        let mut bytes = (key.len() as i16).to_be_bytes().to_vec();
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(&(value.len() as i32).to_be_bytes());
        bytes.extend_from_slice(value);
        bytes
    }

    #[test]
    fn a_binary_header_is_read() {
        let fields = [field(b"topic", b"T"), field(b"empty", b""), field(b"", b"x")].concat();
        let bytes = header(105, 0, b"why", &fields);
        let request = Request::decode(Codec::Binary, &bytes, b"body").unwrap();
        assert_eq!((request.code, request.opaque, request.version), (105, -5, 317));
        assert_eq!(request.language, Language::Go);
        assert_eq!(request.remark.unwrap(), "why");
        assert_eq!(request.ext.get("topic").unwrap(), "T");
        assert_eq!(request.ext.len(), 1, "empty texts are null, and null is absent");
    }

    #[test]
    fn wide_codes_are_restored_in_requests_and_left_alone_in_replies() {
        let request = header(3442, 0, b"", b"");
        assert_eq!(Request::decode(Codec::Binary, &request, b"").unwrap().code, 200_050);
        let reply = header(3442, 1, b"", b"");
        assert_eq!(Request::decode(Codec::Binary, &reply, b"").unwrap().code, 3442);
    }

    #[test]
    fn a_header_cut_anywhere_is_an_error() {
        let whole = header(11, 0, b"remark", &[field(b"k", b"v"), field(b"kk", b"vv")].concat());
        for cut in 0..whole.len() {
            assert!(Request::decode(Codec::Binary, &whole[..cut], b"").is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn lengths_are_checked_before_they_are_used() {
        let mut bytes = header(11, 0, b"", b"");
        bytes[13..17].copy_from_slice(&(-1_i32).to_be_bytes());
        let error = Request::decode(Codec::Binary, &bytes, b"").unwrap_err();
        assert_eq!(error, HeaderError::BadLength { at: 13 });

        // A field that reaches beyond the map, though not beyond the header.
        let mut overrun = header(11, 0, b"", &field(b"k", b"v"));
        overrun.push(0);
        overrun[24..28].copy_from_slice(&2_i32.to_be_bytes());
        let error = Request::decode(Codec::Binary, &overrun, b"").unwrap_err();
        assert_eq!(error, HeaderError::Cut { at: 29 });

        let negative_key = header(11, 0, b"", &[0xff, 0xff, 0, 0, 0, 0]);
        let error = Request::decode(Codec::Binary, &negative_key, b"").unwrap_err();
        assert_eq!(error, HeaderError::BadLength { at: 21 });

        let not_text = header(11, 0, b"", &field(b"k", b"\xff"));
        let error = Request::decode(Codec::Binary, &not_text, b"").unwrap_err();
        assert_eq!(error, HeaderError::NotUtf8);
    }
}
