//! JSON as RocketMQ's bodies have it. A map from numbers is written `{0:"a"}`, a map
//! from message queues `{{"brokerName":"b","queueId":0,"topic":"t"}:5}`. Old clients
//! read nothing else; Go even slices the text by hand, so no space may stand anywhere.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, Serializer};

use crate::wire::text::escape_into;

/// Nesting that a body may have; serde_json's own limit is the same.
const DEPTH_MAX: usize = 128;

/// A body that does not say what it should.
#[derive(Debug)]
pub struct BodyError(String);

/// Reads a body in either form.
pub fn from_bytes<T: DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    let standard = serde_json::from_slice(body);
    standard.or_else(|error| match quote_keys(body) {
        Some(quoted) => serde_json::from_slice(&quoted).map_err(BodyError::from),
        None => Err(error.into()),
    })
}

/// Writes a body as the reference does, numbers and objects bare as keys. Other keys
/// must be names; `KvTable`, whose keys are anything, has its own writer.
pub fn to_bytes<T: Serialize>(body: &T) -> Vec<u8> {
    write(body, BareKeys { key: Key::Outside })
}

/// Writes a body as standard JSON in ASCII: for clients that say they want it.
pub fn to_standard_bytes<T: Serialize>(body: &T) -> Vec<u8> {
    write(body, Ascii)
}

fn write<T: Serialize>(body: &T, formatter: impl Formatter) -> Vec<u8> {
    let mut out = Vec::new();
    body.serialize(&mut Serializer::with_formatter(&mut out, formatter))
        .expect("our bodies have text and number keys, and memory takes all bytes");
    out
}

impl BodyError {
    pub(super) fn new(problem: impl Into<String>) -> Self {
        Self(problem.into())
    }
}

impl From<serde_json::Error> for BodyError {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "body does not parse: {}", self.0)
    }
}

impl std::error::Error for BodyError {}

/// Where the writer stands in a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Outside,
    /// Begun, but what it holds is not yet known.
    Open,
    Quoted,
    Bare,
}

/// Leaves the quotes of keys away that are numbers or the text of an object.
struct BareKeys {
    key: Key,
}

impl BareKeys {
    fn quote_if_open<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.key == Key::Open {
            self.key = Key::Quoted;
            writer.write_all(b"\"")?;
        }
        Ok(())
    }

    fn bare_number(&mut self) {
        if self.key == Key::Open {
            self.key = Key::Bare;
        }
    }
}

impl Formatter for BareKeys {
    fn begin_object_key<W: ?Sized + Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        self.key = Key::Open;
        if first { Ok(()) } else { w.write_all(b",") }
    }

    fn end_object_key<W: ?Sized + Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.key = Key::Outside;
        Ok(())
    }

    fn begin_string<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.key == Key::Open { Ok(()) } else { writer.write_all(b"\"") }
    }

    fn end_string<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.quote_if_open(writer)?;
        if self.key == Key::Bare { Ok(()) } else { writer.write_all(b"\"") }
    }

    fn write_i64<W: ?Sized + Write>(&mut self, writer: &mut W, value: i64) -> io::Result<()> {
        self.bare_number();
        CompactFormatter.write_i64(writer, value)
    }

    fn write_i32<W: ?Sized + Write>(&mut self, writer: &mut W, value: i32) -> io::Result<()> {
        self.bare_number();
        CompactFormatter.write_i32(writer, value)
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        // A brace and then a quote: a message queue, for no name has such characters.
        if self.key == Key::Open && fragment == "{" {
            self.key = Key::Bare;
        }
        self.quote_if_open(writer)?;
        writer.write_all(fragment.as_bytes())
    }

    fn write_char_escape<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        self.quote_if_open(writer)?;
        match (self.key, escape) {
            (Key::Bare, CharEscape::Quote) => writer.write_all(b"\""),
            (Key::Bare, CharEscape::ReverseSolidus) => writer.write_all(b"\\"),
            (_, escape) => CompactFormatter.write_char_escape(writer, escape),
        }
    }
}

/// Writes characters beyond ASCII as escapes.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if fragment.is_ascii() {
            return writer.write_all(fragment.as_bytes());
        }
        for character in fragment.chars() {
            if character.is_ascii() {
                writer.write_all(&[character as u8])?;
                continue;
            }
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04X}")?;
            }
        }
        Ok(())
    }
}

/// The text with quotes around its bare keys; `None` when it is no JSON in that form
/// either. What it lets pass is still to be parsed.
fn quote_keys(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 8);
    let mut open: Vec<u8> = Vec::new();
    let (mut at, mut key_next) = (0, false);
    while let Some(byte) = text.get(at) {
        let end = match byte {
            b'"' => string_end(text, at)?,
            b'{' if key_next => {
                let end = object_end(text, at)?;
                push_quoted(&mut out, &text[at..end]);
                (at, key_next) = (end, false);
                continue;
            }
            b'-' | b'0'..=b'9' if key_next => {
                let end = at + text[at..].iter().position(|byte| *byte == b':')?;
                push_quoted(&mut out, text[at..end].trim_ascii());
                (at, key_next) = (end, false);
                continue;
            }
            _ => at + 1,
        };
        key_next = match byte {
            b'{' | b'[' if open.len() == DEPTH_MAX => return None,
            b'{' | b'[' => {
                open.push(*byte);
                *byte == b'{'
            }
            b'}' | b']' => {
                open.pop()?;
                false
            }
            b',' => open.last() == Some(&b'{'),
            byte if byte.is_ascii_whitespace() => key_next,
            _ => false,
        };
        out.extend_from_slice(&text[at..end]);
        at = end;
    }
    Some(out)
}

fn push_quoted(out: &mut Vec<u8>, key: &[u8]) {
    out.push(b'"');
    escape_into(out, key);
    out.push(b'"');
}

/// Behind the closing quote of the string that starts at `at`.
fn string_end(text: &[u8], at: usize) -> Option<usize> {
    let mut end = at + 1;
    loop {
        match text.get(end)? {
            b'"' => return Some(end + 1),
            b'\\' => end += 2,
            _ => end += 1,
        }
    }
}

/// Behind the closing brace of the object that starts at `at`.
fn object_end(text: &[u8], at: usize) -> Option<usize> {
    let (mut end, mut depth) = (at, 0_usize);
    loop {
        match text.get(end)? {
            b'"' => {
                end = string_end(text, end)?;
                continue;
            }
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        end += 1;
        if depth == 0 {
            return Some(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn numbers_as_keys_are_bare_and_read_back() {
        let map = BTreeMap::from([(0_i64, "a:1"), (-7, "b \"x\"")]);
        let text = to_bytes(&map);
        assert_eq!(text, br#"{-7:"b \"x\"",0:"a:1"}"#);
        let read: BTreeMap<i64, String> = from_bytes(&text).unwrap();
        assert_eq!(read[&0], "a:1");
        assert_eq!(read[&-7], "b \"x\"");
        let standard = to_standard_bytes(&BTreeMap::from([(0_i32, "caf\u{e9}\u{1f600}")]));
        assert_eq!(standard, br#"{"0":"caf\u00E9\uD83D\uDE00"}"#);
    }

    #[test]
    fn text_keys_keep_their_quotes() {
        let map = BTreeMap::from([("", 1), ("\"q", 2), ("5", 3), ("k\\{", 4)]);
        let text = to_bytes(&map);
        assert_eq!(text, br#"{"":1,"\"q":2,"5":3,"k\\{":4}"#);
    }

    #[test]
    fn white_space_around_bare_keys_is_allowed_on_the_way_in() {
        let read: BTreeMap<String, BTreeMap<i64, String>> =
            from_bytes(b"{ \"a\" : { 0 : \"x, 1:y\" ,\n 12 : \"z\" } }\n").unwrap();
        assert_eq!(read["a"][&0], "x, 1:y");
        assert_eq!(read["a"][&12], "z");
    }

    #[test]
    fn what_is_no_json_in_either_form_is_an_error() {
        let deep = "{0:".repeat(100_000);
        for text in
            ["", "{", "{0", "{0:", "{{}", "{{:1}", "}", "{0:1}}", "[1,2", "{\"a", deep.as_str()]
        {
            assert!(from_bytes::<serde_json::Value>(text.as_bytes()).is_err(), "{text:.20}");
        }
    }
}
