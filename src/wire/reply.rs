//! Writes frames: lengths, header and fields into a buffer that the caller owns.
//!
//! The reply to a send is written over a million times per second on one core, so
//! pieces are copied, not formatted, and nothing else is allocated.

use super::code::response;
use super::ext::Value;
use super::frame::{Codec, PREFIX_BYTES};
use super::text::{escape_into, plain_prefix, push_decimal};
use crate::base::limits::{FRAME_BYTES_MAX, REMARK_BYTES_MAX};

/// The version that we say to be: V5_3_3. Below 232 Java refuses to pull with SQL filters.
pub const OUR_VERSION: i32 = 479;

/// The header of one frame while it is written. First the remark, then the fields,
/// then `finish`; the caller appends or gather-sends the body behind it.
///
/// ```
/// # use ringmq::wire::{Codec, FrameWriter};
/// let mut out = Vec::new();
/// FrameWriter::reply(&mut out, Codec::Json, 7, 0).field_i64("offset", 42).finish(0);
/// ```
pub struct FrameWriter<'o> {
    out: &'o mut Vec<u8>,
    codec: Codec,
    /// Where the frame's length word lies.
    start: usize,
    /// Where the binary header's fields begin; their length word lies before it.
    fields_at: Option<usize>,
    opaque: i32,
    flag: i32,
}

const FLAG_RESPONSE: i32 = 1;
const FLAG_ONEWAY: i32 = 2;
/// What a reply's header seldom exceeds: memory is asked for once.
const HEADER_BYTES_USUAL: usize = 512;

impl<'o> FrameWriter<'o> {
    /// The reply to the request that came with `opaque`, by the codec it came with.
    pub fn reply(out: &'o mut Vec<u8>, codec: Codec, opaque: i32, code: i32) -> Self {
        Self::begin(out, codec, opaque, code, FLAG_RESPONSE)
    }

    /// A request of our own.
    pub fn request(
        out: &'o mut Vec<u8>,
        codec: Codec,
        opaque: i32,
        code: i32,
        oneway: bool,
    ) -> Self {
        Self::begin(out, codec, opaque, code, if oneway { FLAG_ONEWAY } else { 0 })
    }

    fn begin(out: &'o mut Vec<u8>, codec: Codec, opaque: i32, code: i32, flag: i32) -> Self {
        let start = out.len();
        out.reserve(HEADER_BYTES_USUAL);
        out.extend_from_slice(&[0; PREFIX_BYTES]);
        let mut writer = Self { out, codec, start, fields_at: None, opaque, flag };
        match codec {
            Codec::Json => writer.begin_json(code),
            Codec::Binary => writer.begin_binary(code),
        }
        writer
    }

    fn begin_json(&mut self, code: i32) {
        self.out.extend_from_slice(b"{\"code\":");
        push_decimal(self.out, i64::from(code));
        self.out.extend_from_slice(b",\"flag\":");
        push_decimal(self.out, i64::from(self.flag));
        self.out.extend_from_slice(b",\"language\":\"JAVA\",\"opaque\":");
        push_decimal(self.out, i64::from(self.opaque));
        self.out.extend_from_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":479");
    }

    fn begin_binary(&mut self, code: i32) {
        let mut fixed = [0; 13];
        // Wide request codes lose their high word here; readers know the aliases.
        fixed[..2].copy_from_slice(&(code as i16).to_be_bytes());
        fixed[3..5].copy_from_slice(&(OUR_VERSION as i16).to_be_bytes());
        fixed[5..9].copy_from_slice(&self.opaque.to_be_bytes());
        fixed[9..].copy_from_slice(&self.flag.to_be_bytes());
        self.out.extend_from_slice(&fixed);
    }

    /// Text for humans, cut at `REMARK_BYTES_MAX`. At most once, before any field.
    pub fn remark(&mut self, text: &str) -> &mut Self {
        assert!(self.fields_at.is_none(), "the remark comes before the fields");
        let text = &text[..text.floor_char_boundary(REMARK_BYTES_MAX)];
        match self.codec {
            Codec::Json => {
                self.out.extend_from_slice(b",\"remark\":\"");
                escape_into(self.out, text.as_bytes());
                self.out.push(b'"');
            }
            Codec::Binary => {
                assert_eq!(self.out.len(), self.start + PREFIX_BYTES + 13, "one remark at most");
                self.out.extend_from_slice(&(text.len() as u32).to_be_bytes());
                self.out.extend_from_slice(text.as_bytes());
                self.open_binary_fields();
            }
        }
        self
    }

    /// One field of `extFields`. Keys are at most 32767 bytes long, as decoded ones are;
    /// where they are `'static` they are ours, and need no escape.
    pub fn field(&mut self, key: &str, value: &str) -> &mut Self {
        self.open_fields();
        match self.codec {
            Codec::Json => {
                self.json_key_escaped(key);
                escape_into(self.out, value.as_bytes());
                self.out.push(b'"');
            }
            Codec::Binary => {
                self.binary_key(key);
                self.out.extend_from_slice(&(value.len() as u32).to_be_bytes());
                self.out.extend_from_slice(value.as_bytes());
            }
        }
        self
    }

    /// A field whose value is a word or a number, so that nothing in it needs an escape.
    pub fn field_plain(&mut self, key: &'static str, value: &[u8]) -> &mut Self {
        debug_assert!(is_plain(value), "{value:?}");
        self.open_fields();
        match self.codec {
            Codec::Json => {
                self.json_key(key);
                self.out.extend_from_slice(value);
                self.out.push(b'"');
            }
            Codec::Binary => {
                self.binary_key(key);
                self.out.extend_from_slice(&(value.len() as u32).to_be_bytes());
                self.out.extend_from_slice(value);
            }
        }
        self
    }

    /// A field taken from another header, as it lies there where both are JSON.
    pub fn field_value(&mut self, key: &str, value: Value<'_>) -> &mut Self {
        self.open_fields();
        match self.codec {
            Codec::Json => {
                self.json_key_escaped(key);
                value.append_escaped_to(self.out);
                self.out.push(b'"');
            }
            Codec::Binary => {
                self.binary_key(key);
                let length_at = self.out.len();
                self.out.extend_from_slice(&[0; 4]);
                value.append_to(self.out);
                patch_length(self.out, length_at);
            }
        }
        self
    }

    /// A field whose bytes came from a peer: what is not UTF-8 is replaced.
    pub fn field_bytes(&mut self, key: &'static str, value: &[u8]) -> &mut Self {
        match str::from_utf8(value) {
            Ok(text) => self.field(key, text),
            Err(_) => self.field(key, &String::from_utf8_lossy(value)),
        }
    }

    /// Numbers travel as texts, since C++ clients pass over anything else.
    pub fn field_i64(&mut self, key: &'static str, value: i64) -> &mut Self {
        self.open_fields();
        match self.codec {
            Codec::Json => {
                self.json_key(key);
                push_decimal(self.out, value);
                self.out.push(b'"');
            }
            Codec::Binary => {
                self.binary_key(key);
                let length_at = self.out.len();
                self.out.extend_from_slice(&[0; 4]);
                push_decimal(self.out, value);
                patch_length(self.out, length_at);
            }
        }
        self
    }

    pub fn field_bool(&mut self, key: &'static str, value: bool) -> &mut Self {
        self.field_plain(key, if value { b"true" } else { b"false" })
    }

    /// Ends the header and announces `body_len` bytes behind it. True: the body follows.
    /// False: the frame would have been longer than peers accept, and stands replaced
    /// by a whole error reply; append nothing.
    pub fn finish(&mut self, body_len: usize) -> bool {
        self.end_header();
        let header_at = self.start + PREFIX_BYTES;
        let header_len = self.out.len() - header_at;
        let frame_len = (PREFIX_BYTES + header_len).saturating_add(body_len);
        if frame_len > FRAME_BYTES_MAX {
            self.refuse(frame_len);
            return false;
        }
        // Both fit: the frame's bound is that of a header's three bytes.
        let [l0, l1, l2, l3] = ((frame_len - 4) as u32).to_be_bytes();
        let [_, h0, h1, h2] = (header_len as u32).to_be_bytes();
        let prefix = [l0, l1, l2, l3, self.codec as u8, h0, h1, h2];
        self.out[self.start..header_at].copy_from_slice(&prefix);
        true
    }

    /// Ends the frame with a body that lies at hand.
    pub fn finish_with_body(&mut self, body: &[u8]) {
        if self.finish(body.len()) {
            self.out.extend_from_slice(body);
        }
    }

    /// Takes the overlong frame back and says so instead.
    #[cold]
    fn refuse(&mut self, frame_len: usize) {
        let remark = format!("frame of {frame_len} bytes, the limit is {FRAME_BYTES_MAX}");
        self.out.truncate(self.start);
        let code = response::SYSTEM_ERROR;
        FrameWriter::begin(self.out, self.codec, self.opaque, code, self.flag)
            .remark(&remark)
            .finish(0);
    }

    fn end_header(&mut self) {
        match (self.codec, self.fields_at) {
            (Codec::Json, None) => self.out.push(b'}'),
            (Codec::Json, Some(_)) => self.out.extend_from_slice(b"}}"),
            (Codec::Binary, None) => self.out.extend_from_slice(&[0; 8]),
            (Codec::Binary, Some(fields_at)) => patch_length(self.out, fields_at - 4),
        }
    }

    fn open_fields(&mut self) {
        match (self.codec, self.fields_at) {
            (Codec::Json, Some(_)) => self.out.push(b','),
            (Codec::Json, None) => {
                self.out.extend_from_slice(b",\"extFields\":{");
                self.fields_at = Some(self.out.len());
            }
            (Codec::Binary, Some(_)) => {}
            (Codec::Binary, None) => {
                self.out.extend_from_slice(&[0; 4]);
                self.open_binary_fields();
            }
        }
    }

    fn open_binary_fields(&mut self) {
        self.out.extend_from_slice(&[0; 4]);
        self.fields_at = Some(self.out.len());
    }

    fn json_key(&mut self, key: &'static str) {
        debug_assert!(is_plain(key.as_bytes()), "{key}");
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":\"");
    }

    fn json_key_escaped(&mut self, key: &str) {
        self.out.push(b'"');
        escape_into(self.out, key.as_bytes());
        self.out.extend_from_slice(b"\":\"");
    }

    fn binary_key(&mut self, key: &str) {
        let len = i16::try_from(key.len()).expect("a key that was read fits, and ours are short");
        self.out.extend_from_slice(&len.to_be_bytes());
        self.out.extend_from_slice(key.as_bytes());
    }
}

/// Whether a text is the same inside a JSON string.
fn is_plain(text: &[u8]) -> bool {
    plain_prefix(text) == text.len() && str::from_utf8(text).is_ok()
}

/// Stores how many bytes follow the length word at `at`.
fn patch_length(out: &mut [u8], at: usize) {
    let length = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::{Language, Request, parse_prefix};
    use super::*;

    const CODECS: [Codec; 2] = [Codec::Json, Codec::Binary];

    /// The one frame that `bytes` consists of.
    fn decode(bytes: &[u8]) -> Request<'_> {
        let prefix = parse_prefix(bytes).unwrap().unwrap();
        assert_eq!(prefix.frame_bytes, bytes.len());
        let (header, body) = prefix.split(bytes).unwrap();
        Request::decode(prefix.codec, header, body).unwrap()
    }

    #[test]
    fn what_is_written_is_read_back() {
        for codec in CODECS {
            let mut out = b"what lies before stays".to_vec();
            let start = out.len();
            let mut writer = FrameWriter::reply(&mut out, codec, -7, response::SUCCESS);
            writer.remark("caf\u{e9} \"quoted\"\n");
            writer.field("msgId", "7F00").field_i64("queueOffset", i64::MIN);
            writer.field_bool("hasMsg", true).field_bytes("raw", b"k\x01v\x02\xff");
            writer.finish_with_body(b"body");
            assert!(out.starts_with(b"what lies before stays"));
            let reply = decode(&out[start..]);
            assert!(reply.is_response() && !reply.is_oneway());
            assert_eq!((reply.code, reply.opaque, reply.version), (0, -7, OUR_VERSION));
            assert_eq!(reply.language, Language::Java);
            assert_eq!(reply.remark.unwrap(), "caf\u{e9} \"quoted\"\n");
            assert_eq!(reply.ext.get("msgId").unwrap(), "7F00");
            assert_eq!(reply.ext.need_i64("queueOffset"), Ok(i64::MIN));
            assert!(reply.ext.flag("hasMsg"));
            assert_eq!(reply.ext.get("raw").unwrap(), "k\u{1}v\u{2}\u{fffd}");
            assert_eq!(reply.ext.len(), 4);
            assert_eq!(reply.body, b"body");
        }
    }

    #[test]
    fn a_json_reply_is_what_every_client_can_read() {
        let mut out = Vec::new();
        FrameWriter::reply(&mut out, Codec::Json, 5, 22).remark("no").field_i64("n", 1).finish(0);
        let expected = br#"{"code":22,"flag":1,"language":"JAVA","opaque":5,"serializeTypeCurrentRPC":"JSON","version":479,"remark":"no","extFields":{"n":"1"}}"#;
        assert_eq!(
            out[PREFIX_BYTES..].escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
    }

    #[test]
    fn a_header_needs_neither_remark_nor_fields() {
        for codec in CODECS {
            for (with_remark, with_field) in
                [(false, false), (true, false), (false, true), (true, true)]
            {
                let mut out = Vec::new();
                let mut writer = FrameWriter::request(&mut out, codec, 1, 200_050, true);
                if with_remark {
                    writer.remark("r");
                }
                if with_field {
                    writer.field("k", "v");
                }
                assert!(writer.finish(0));
                let request = decode(&out);
                assert!(request.is_oneway() && !request.is_response());
                assert_eq!(request.code, 200_050);
                assert_eq!(request.remark.is_some(), with_remark);
                assert_eq!(request.ext.len(), usize::from(with_field));
            }
        }
    }

    #[test]
    fn an_overlong_frame_becomes_an_error_reply() {
        for codec in CODECS {
            let mut out = b"before".to_vec();
            let mut writer = FrameWriter::reply(&mut out, codec, 9, 0);
            assert!(!writer.field("k", "v").finish(FRAME_BYTES_MAX));
            let reply = decode(&out[6..]);
            assert_eq!((reply.code, reply.opaque), (response::SYSTEM_ERROR, 9));
            assert!(reply.remark.unwrap().text().contains("the limit is 16777216"));
        }
    }

    #[test]
    fn a_long_remark_is_cut_at_a_character() {
        let mut out = Vec::new();
        let text = "\u{20ac}".repeat(REMARK_BYTES_MAX);
        FrameWriter::reply(&mut out, Codec::Json, 1, 1).remark(&text).finish(0);
        let remark = decode(&out).remark.unwrap().text().into_owned();
        assert_eq!(remark.len(), REMARK_BYTES_MAX / 3 * 3);
    }
}
