//! The JSON header: one pass over the text, nothing built, nothing copied.

use super::ext::{Span, Value};
use super::language::Language;
use super::request::{HeaderError, Request};
use super::text::{code_unit, plain_prefix};
use crate::base::limits::HEADER_DEPTH_MAX;

/// Room for any key this module knows, should it come with escapes.
const KNOWN_KEY_BYTES: usize = 16;

/// Where a value that may differ between headers alike lies, its quotes included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub start: usize,
    pub end: usize,
    pub target: Target,
}

/// What a value is for, and what it was read as.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    Code(i32),
    Flag(i32),
    Opaque(i32),
    Version(i32),
    Language(Language),
    Remark,
    Field(Span),
}

/// Fills `request` from a header. Keys in any order, unknown ones of any type passed over.
pub(super) fn decode<'a>(header: &'a [u8], request: &mut Request<'a>) -> Result<(), HeaderError> {
    decode_noting(header, request, |_| {})
}

/// The same, telling where each value lies that the request took.
pub(super) fn decode_noting<'a>(
    header: &'a [u8],
    request: &mut Request<'a>,
    mut note: impl FnMut(Place),
) -> Result<(), HeaderError> {
    str::from_utf8(header).map_err(|_| HeaderError::NotUtf8)?;
    let mut scanner = Scanner::at(header, 0);
    scanner.take(b'{', "an object")?;
    let mut first = true;
    while let Some(key) = scanner.next_key(&mut first)? {
        scanner.member(key, request, &mut note)?;
    }
    // Some writers end the header with a newline.
    match scanner.peek() {
        None => Ok(()),
        Some(_) => Err(scanner.expected("the end")),
    }
}

pub(super) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// A string or scalar in place, without its quotes.
#[derive(Clone, Copy)]
pub(super) struct Token {
    start: usize,
    end: usize,
    escaped: bool,
}

impl<'a> Scanner<'a> {
    pub(super) fn at(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// One member of the header's object, behind its colon.
    fn member(
        &mut self,
        key: Token,
        request: &mut Request<'a>,
        note: &mut impl FnMut(Place),
    ) -> Result<(), HeaderError> {
        let mut room = [0; KNOWN_KEY_BYTES];
        let target = match self.value(key).short(&mut room) {
            Some(b"code") => Target::Code(0),
            Some(b"flag") => Target::Flag(0),
            Some(b"opaque") => Target::Opaque(0),
            Some(b"version") => Target::Version(0),
            Some(b"language") => Target::Language(Language::Unknown),
            Some(b"remark") => Target::Remark,
            Some(b"extFields") => return self.ext_fields(request, note),
            _ => return self.skip_value(HEADER_DEPTH_MAX),
        };
        let start = self.at;
        let target = self.own_value(target, request)?;
        note(Place { start, end: self.at, target });
        Ok(())
    }

    /// A value of the header itself; says what it was read as.
    pub(super) fn own_value(
        &mut self,
        target: Target,
        request: &mut Request<'a>,
    ) -> Result<Target, HeaderError> {
        Ok(match target {
            Target::Code(_) => {
                request.code = self.integer("code")?;
                Target::Code(request.code)
            }
            Target::Flag(_) => {
                request.flag = self.integer("flag")?;
                Target::Flag(request.flag)
            }
            Target::Opaque(_) => {
                request.opaque = self.integer("opaque")?;
                Target::Opaque(request.opaque)
            }
            Target::Version(_) => {
                request.version = self.integer("version")?;
                Target::Version(request.version)
            }
            Target::Language(_) => {
                request.language = self.language()?;
                Target::Language(request.language)
            }
            Target::Remark | Target::Field(_) => {
                request.remark = self.scalar_or_null()?.map(|token| self.value(token));
                Target::Remark
            }
        })
    }

    fn ext_fields(
        &mut self,
        request: &mut Request<'a>,
        note: &mut impl FnMut(Place),
    ) -> Result<(), HeaderError> {
        request.ext.clear();
        if self.peek() == Some(b'n') {
            return self.literal(b"null").map(drop);
        }
        self.take(b'{', "an object of fields")?;
        let mut first = true;
        loop {
            while let Some((key, value)) = self.compact_member(first) {
                first = false;
                self.push(key, value, request, note)?;
            }
            let Some(key) = self.next_key(&mut first)? else { return Ok(()) };
            // A null value is an absent field.
            let Some(value) = self.scalar_or_null()? else { continue };
            self.push(key, value, request, note)?;
        }
    }

    /// A member whose key and value are strings without escapes or white space around,
    /// as clients write nearly all of them, with the comma before it. `None` for any
    /// other: then nothing was taken.
    #[inline]
    fn compact_member(&mut self, first: bool) -> Option<(Token, Token)> {
        let mut at = self.at;
        if !first {
            at += usize::from(*self.bytes.get(at)? == b',');
        }
        if (at > self.at) == first || *self.bytes.get(at)? != b'"' {
            return None;
        }
        let key = self.plain_token(at + 1);
        if self.bytes.get(key.end..)?.first_chunk() != Some(b"\":\"") {
            return None;
        }
        let value = self.plain_token(key.end + 3);
        if *self.bytes.get(value.end)? != b'"' {
            return None;
        }
        self.at = value.end + 1;
        Some((key, value))
    }

    /// From `start` to the next byte that means something in a string.
    #[inline]
    fn plain_token(&self, start: usize) -> Token {
        Token { start, end: start + plain_prefix(&self.bytes[start..]), escaped: false }
    }

    /// Takes the field whose value was scanned last.
    fn push(
        &self,
        key: Token,
        value: Token,
        request: &mut Request<'a>,
        note: &mut impl FnMut(Place),
    ) -> Result<(), HeaderError> {
        // The bound of the binary header, so that what was read can be written.
        let key_len = i16::try_from(key.end - key.start)
            .map_err(|_| HeaderError::KeyTooLong { at: key.start })?;
        let span = value.as_value_of(Span {
            key_at: key.start as u32,
            key_len: key_len as u16,
            key_escaped: key.escaped,
            ..Span::default()
        });
        let quote = self.at - value.end;
        note(Place { start: value.start - quote, end: self.at, target: Target::Field(span) });
        request.ext.push(span)
    }

    fn integer(&mut self, key: &'static str) -> Result<i32, HeaderError> {
        match self.scalar_or_null()? {
            Some(token) => self.value(token).i32().ok_or(HeaderError::NotAnInteger(key)),
            None => Ok(0),
        }
    }

    fn language(&mut self) -> Result<Language, HeaderError> {
        let mut room = [0; KNOWN_KEY_BYTES];
        Ok(match self.scalar_or_null()? {
            Some(token) => {
                self.value(token).short(&mut room).map_or(Language::Unknown, Language::from_name)
            }
            None => Language::Unknown,
        })
    }

    fn value(&self, token: Token) -> Value<'a> {
        Value::new(&self.bytes[token.start..token.end], token.escaped)
    }

    /// The key of an object's next member, its colon taken; `None` at the closing brace.
    fn next_key(&mut self, first: &mut bool) -> Result<Option<Token>, HeaderError> {
        if !self.next_item(b'}', first)? {
            return Ok(None);
        }
        let key = self.string()?;
        self.take(b':', "a colon")?;
        Ok(Some(key))
    }

    /// Steps over the comma before an item, or over `close`: then there is none.
    fn next_item(&mut self, close: u8, first: &mut bool) -> Result<bool, HeaderError> {
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(false);
        }
        if !*first {
            self.take(b',', "a comma")?;
        }
        *first = false;
        Ok(true)
    }

    /// A string, number or boolean as text; `None` for null.
    pub(super) fn scalar_or_null(&mut self) -> Result<Option<Token>, HeaderError> {
        match self.peek() {
            Some(b'"') => self.string().map(Some),
            Some(b't') => self.literal(b"true").map(Some),
            Some(b'f') => self.literal(b"false").map(Some),
            Some(b'n') => self.literal(b"null").map(|_| None),
            Some(b'-' | b'0'..=b'9') => self.number().map(Some),
            _ => Err(self.expected("a string, number, boolean or null")),
        }
    }

    fn skip_value(&mut self, depth_left: usize) -> Result<(), HeaderError> {
        let mut first = true;
        let deeper = depth_left.checked_sub(1).ok_or(HeaderError::TooDeep { at: self.at });
        match self.peek() {
            Some(b'{') => {
                self.at += 1;
                while self.next_key(&mut first)?.is_some() {
                    self.skip_value(deeper?)?;
                }
            }
            Some(b'[') => {
                self.at += 1;
                while self.next_item(b']', &mut first)? {
                    self.skip_value(deeper?)?;
                }
            }
            _ => {
                self.scalar_or_null()?;
            }
        }
        Ok(())
    }

    fn string(&mut self) -> Result<Token, HeaderError> {
        self.take(b'"', "a string")?;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at += plain_prefix(&self.bytes[self.at..]);
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    let end = self.at;
                    self.at += 1;
                    return Ok(Token { start, end, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.expected("no control character")),
                None => return Err(HeaderError::Cut { at: self.at }),
            }
        }
    }

    /// Steps over one escape, so that decoding it later cannot fail.
    fn escape(&mut self) -> Result<(), HeaderError> {
        let bad = HeaderError::BadEscape { at: self.at };
        let behind = &self.bytes[self.at + 1..];
        self.at += match behind.first().ok_or(HeaderError::Cut { at: self.bytes.len() })? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 2,
            b'u' if code_unit(&behind[1..]).is_some() => 6,
            _ => return Err(bad),
        };
        Ok(())
    }

    fn number(&mut self) -> Result<Token, HeaderError> {
        let start = self.at;
        self.step_over(b'-');
        // No digit may follow a leading zero.
        if !self.step_over(b'0') {
            self.digits()?;
        }
        if self.step_over(b'.') {
            self.digits()?;
        }
        if self.step_over(b'e') || self.step_over(b'E') {
            let _sign = self.step_over(b'+') || self.step_over(b'-');
            self.digits()?;
        }
        Ok(Token { start, end: self.at, escaped: false })
    }

    fn digits(&mut self) -> Result<(), HeaderError> {
        let digits = self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += digits;
        if digits == 0 { Err(self.expected("a digit")) } else { Ok(()) }
    }

    fn literal(&mut self, word: &'static [u8]) -> Result<Token, HeaderError> {
        let start = self.at;
        if !self.bytes[start..].starts_with(word) {
            return Err(self.expected("true, false or null"));
        }
        self.at += word.len();
        Ok(Token { start, end: self.at, escaped: false })
    }

    fn take(&mut self, byte: u8, expected: &'static str) -> Result<(), HeaderError> {
        if self.peek() != Some(byte) {
            return Err(self.expected(expected));
        }
        self.at += 1;
        Ok(())
    }

    fn step_over(&mut self, byte: u8) -> bool {
        let there = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(there);
        there
    }

    /// The next byte that is not white space, not yet taken.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    fn expected(&self, expected: &'static str) -> HeaderError {
        match self.at < self.bytes.len() {
            true => HeaderError::Syntax { at: self.at, expected },
            false => HeaderError::Cut { at: self.at },
        }
    }
}

impl Token {
    /// The field `of`, with this as its value.
    pub(super) fn as_value_of(self, of: Span) -> Span {
        Span {
            value_at: self.start as u32,
            value_len: (self.end - self.start) as u32,
            value_escaped: self.escaped,
            ..of
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Codec;
    use super::*;

    fn decode_text(header: &str) -> Result<Request<'_>, HeaderError> {
        Request::decode(Codec::Json, header.as_bytes(), b"")
    }

    #[test]
    fn headers_of_every_client_are_read() {
        let java = r#"{"code":310,"extFields":{"a":"g","e":"3","k":"false"},"flag":0,"language":"JAVA","opaque":12,"serializeTypeCurrentRPC":"JSON","version":479}"#;
        let request = decode_text(java).unwrap();
        assert_eq!((request.code, request.opaque, request.version), (310, 12, 479));
        assert_eq!(request.ext.need_i32("e"), Ok(3));

        // Node: numbers and booleans as they are; C++: numbers, empty texts, a newline.
        let node = r#"{"code":310,"language":"JAVA","opaque":1,"flag":0,"version":121,"extFields":{"e":3,"g":1700000000000,"k":true}}"#;
        let request = decode_text(node).unwrap();
        assert_eq!(request.ext.need_i64("g"), Ok(1_700_000_000_000));
        assert!(request.ext.flag("k"));
        assert_eq!(request.ext.get("e").unwrap().text(), "3");

        let cpp = "{ \"code\" : 11, \"extFields\" : {\"AccessKey\":\"\",\"queueId\":-1}, \"flag\":2,\r\n\"language\":\"CPP\",\"opaque\":-2147483648,\"remark\":\"\",\"version\":333}\n";
        let request = decode_text(cpp).unwrap();
        assert!(request.is_oneway());
        assert_eq!((request.opaque, request.language), (i32::MIN, Language::Cpp));
        assert!(request.remark.unwrap().is_empty());
        assert!(request.ext.get("AccessKey").unwrap().is_empty());
        assert_eq!(request.ext.need_i32("queueId"), Ok(-1));
    }

    #[test]
    fn what_is_missing_or_null_takes_its_default() {
        for header in ["{}", r#"{"extFields":null,"remark":null,"code":null}"#] {
            let request = decode_text(header).unwrap();
            assert_eq!((request.code, request.flag, request.version), (0, 0, 0));
            assert!(request.remark.is_none() && request.ext.is_empty());
        }
        let request =
            decode_text(r#"{"extFields":{"a":null,"b":"1"},"language":"COBOL"}"#).unwrap();
        assert_eq!(request.ext.len(), 1);
        assert_eq!(request.language, Language::Unknown);
    }

    #[test]
    fn unknown_keys_of_any_type_are_passed_over() {
        let header = r#"{"x":{"code":9,"y":[1,{"z":[]},"\u007d"]},"o":-0.5e+3,"t":[true,false,null],"code":7,"":[]}"#;
        assert_eq!(decode_text(header).unwrap().code, 7);
    }

    #[test]
    fn keys_may_be_written_with_escapes() {
        let header = r#"{"c\u006fde":7,"extFields":{"\u0061":"x\u0001y\u0002"}}"#;
        let request = decode_text(header).unwrap();
        assert_eq!(request.code, 7);
        assert_eq!(request.ext.get("a").unwrap().text(), "x\u{1}y\u{2}");
        assert_eq!(request.ext.get("a").unwrap().plain(), None);
    }

    #[test]
    fn wrong_headers_name_what_is_wrong() {
        let cases: [(&str, HeaderError); 12] = [
            ("", HeaderError::Cut { at: 0 }),
            ("[]", HeaderError::Syntax { at: 0, expected: "an object" }),
            (r#"{"code":1,}"#, HeaderError::Syntax { at: 10, expected: "a string" }),
            (r#"{"code" 1}"#, HeaderError::Syntax { at: 8, expected: "a colon" }),
            (r#"{"code":"x"}"#, HeaderError::NotAnInteger("code")),
            (r#"{"opaque":2147483648}"#, HeaderError::NotAnInteger("opaque")),
            (r#"{"x":01}"#, HeaderError::Syntax { at: 6, expected: "a comma" }),
            (r#"{"x":"\q"}"#, HeaderError::BadEscape { at: 6 }),
            (r#"{"x":"\u12g4"}"#, HeaderError::BadEscape { at: 6 }),
            ("{\"x\":\"a\nb\"}", HeaderError::Syntax { at: 7, expected: "no control character" }),
            (r#"{} {}"#, HeaderError::Syntax { at: 3, expected: "the end" }),
            (
                r#"{"extFields":{"a":{}}}"#,
                HeaderError::Syntax { at: 18, expected: "a string, number, boolean or null" },
            ),
        ];
        for (header, error) in cases {
            assert_eq!(decode_text(header).unwrap_err(), error, "{header}");
        }
        let not_utf8 = Request::decode(Codec::Json, b"{\"x\":\"\xff\"}", b"");
        assert_eq!(not_utf8.unwrap_err(), HeaderError::NotUtf8);
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{{\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(decode_text(&nested(HEADER_DEPTH_MAX)).is_ok());
        let too_deep = nested(HEADER_DEPTH_MAX + 2);
        assert!(matches!(decode_text(&too_deep), Err(HeaderError::TooDeep { .. })));
        let endless = "[".repeat(100_000);
        assert!(decode_text(&format!("{{\"x\":{endless}")).is_err());
    }
}
