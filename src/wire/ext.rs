//! The fields of a header: keys and values where they lie, looked up without copying.

use std::borrow::Cow;
use std::fmt;

use super::request::HeaderError;
use super::text::{escape_into, parse_decimal, unescape, unescape_into};
use crate::base::limits::EXT_FIELDS_MAX;

/// The `extFields` of a header, as places in its bytes.
#[derive(Clone)]
pub struct ExtFields<'a> {
    header: &'a [u8],
    spans: [Span; EXT_FIELDS_MAX],
    len: usize,
}

/// Where one field lies. Sixteen bytes, since every request carries an array of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub key_at: u32,
    pub value_at: u32,
    pub value_len: u32,
    pub key_len: u16,
    pub key_escaped: bool,
    pub value_escaped: bool,
}

/// One field. Of several with the same key the last counts, as in a Java map.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    pub key: Value<'a>,
    pub value: Value<'a>,
}

/// UTF-8 text inside a header; in a JSON header it may hold escapes.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    raw: &'a [u8],
    escaped: bool,
}

/// A field that a request needs and does not have, or that does not parse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldError {
    Missing(&'static str),
    Invalid(&'static str),
}

impl<'a> ExtFields<'a> {
    pub(super) fn new(header: &'a [u8]) -> Self {
        Self { header, spans: [Span::default(); EXT_FIELDS_MAX], len: 0 }
    }

    pub(super) fn push(&mut self, span: Span) -> Result<(), HeaderError> {
        *self.spans.get_mut(self.len).ok_or(HeaderError::TooManyFields)? = span;
        self.len += 1;
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// The value of `key`. Several keys are read cheaper in one pass over `iter`.
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        self.iter().rev().find(|field| field.key == *key).map(|field| field.value)
    }

    /// All fields in the order they were sent, duplicates included.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Field<'a>> + ExactSizeIterator + '_ {
        let header = self.header;
        self.spans[..self.len].iter().map(move |span| span.field(header))
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A text that must be there.
    pub fn need(&self, key: &'static str) -> Result<Value<'a>, FieldError> {
        self.get(key).ok_or(FieldError::Missing(key))
    }

    pub fn need_i64(&self, key: &'static str) -> Result<i64, FieldError> {
        self.need(key)?.i64().ok_or(FieldError::Invalid(key))
    }

    pub fn need_i32(&self, key: &'static str) -> Result<i32, FieldError> {
        self.need(key)?.i32().ok_or(FieldError::Invalid(key))
    }

    /// A number that may be absent, but not be something else.
    pub fn maybe_i64(&self, key: &'static str) -> Result<Option<i64>, FieldError> {
        let parse = |value: Value<'_>| value.i64().ok_or(FieldError::Invalid(key));
        self.get(key).map(parse).transpose()
    }

    pub fn maybe_i32(&self, key: &'static str) -> Result<Option<i32>, FieldError> {
        let parse = |value: Value<'_>| value.i32().ok_or(FieldError::Invalid(key));
        self.get(key).map(parse).transpose()
    }

    /// A flag; absent is false, as everything but "true" is.
    pub fn flag(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value.bool())
    }
}

impl Span {
    fn field<'a>(&self, header: &'a [u8]) -> Field<'a> {
        let text = |at: u32, len: usize, escaped| Value {
            raw: &header[at as usize..at as usize + len],
            escaped,
        };
        Field {
            key: text(self.key_at, usize::from(self.key_len), self.key_escaped),
            value: text(self.value_at, self.value_len as usize, self.value_escaped),
        }
    }
}

impl<'a> Value<'a> {
    /// `raw` is UTF-8; with `escaped` it is the inside of a valid JSON string.
    pub(super) fn new(raw: &'a [u8], escaped: bool) -> Self {
        Self { raw, escaped }
    }

    /// A text without escapes, for building typed headers.
    pub const fn of(text: &'a str) -> Self {
        Self { raw: text.as_bytes(), escaped: false }
    }

    /// The bytes themselves, when no escape is inside.
    pub fn plain(&self) -> Option<&'a [u8]> {
        (!self.escaped).then_some(self.raw)
    }

    /// The text; borrowed unless an escape is inside. For cold paths.
    pub fn text(&self) -> Cow<'a, str> {
        if !self.escaped {
            return String::from_utf8_lossy(self.raw);
        }
        let mut bytes = Vec::with_capacity(self.raw.len());
        self.append_to(&mut bytes);
        Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Appends the text without its escapes.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        if self.escaped {
            unescape_into(out, self.raw);
        } else {
            out.extend_from_slice(self.raw);
        }
    }

    /// Appends the text as the inside of a JSON string.
    pub(super) fn append_escaped_to(&self, out: &mut Vec<u8>) {
        if self.escaped {
            out.extend_from_slice(self.raw);
        } else {
            escape_into(out, self.raw);
        }
    }

    #[inline]
    pub fn i64(&self) -> Option<i64> {
        if !self.escaped {
            return parse_decimal(self.raw);
        }
        let mut room = [0; 24];
        parse_decimal(self.short(&mut room)?)
    }

    #[inline]
    pub fn i32(&self) -> Option<i32> {
        i32::try_from(self.i64()?).ok()
    }

    /// Java's `parseBoolean`: "true" in any case, all else is false.
    #[inline]
    pub fn bool(&self) -> bool {
        let mut room = [0; 24];
        self.short(&mut room).is_some_and(|text| text.eq_ignore_ascii_case(b"true"))
    }

    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// Bytes as they lie in the header, escapes included: an upper bound of the text's length.
    pub fn raw_len(&self) -> usize {
        self.raw.len()
    }

    /// The text where it lies, or in `room` when it must lose escapes; `None` when it
    /// does not fit there.
    #[inline]
    pub(super) fn short<'r>(&self, room: &'r mut [u8]) -> Option<&'r [u8]>
    where
        'a: 'r,
    {
        if !self.escaped {
            return Some(self.raw);
        }
        self.unescaped(room)
    }

    #[cold]
    fn unescaped<'r>(&self, room: &'r mut [u8]) -> Option<&'r [u8]> {
        let (mut len, mut fits) = (0, true);
        unescape(self.raw, |piece| match room.get_mut(len..len + piece.len()) {
            Some(place) => {
                place.copy_from_slice(piece);
                len += piece.len();
            }
            None => fits = false,
        });
        fits.then_some(&room[..len])
    }
}

impl PartialEq<str> for Value<'_> {
    fn eq(&self, other: &str) -> bool {
        if !self.escaped {
            return self.raw == other.as_bytes();
        }
        let mut rest = Some(other.as_bytes());
        unescape(self.raw, |piece| rest = rest.and_then(|rest| rest.strip_prefix(piece)));
        rest.is_some_and(<[u8]>::is_empty)
    }
}

impl PartialEq<&str> for Value<'_> {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

/// Equal as texts, however they were written.
impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self.plain(), other.plain()) {
            (Some(left), Some(right)) => left == right,
            _ => self.text() == other.text(),
        }
    }
}

impl Eq for Value<'_> {}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text(), f)
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.text(), f)
    }
}

impl fmt::Debug for ExtFields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|field| (field.key, field.value))).finish()
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => write!(f, "field {name} is missing"),
            Self::Invalid(name) => write!(f, "field {name} does not parse"),
        }
    }
}

impl std::error::Error for FieldError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(raw: &str) -> Value<'_> {
        Value::new(raw.as_bytes(), true)
    }

    #[test]
    fn texts_are_equal_however_they_were_written() {
        assert_eq!(escaped(r"a\u0062c"), Value::of("abc"));
        assert_eq!(escaped(r"a\u0062c"), "abc");
        for other in ["ab", "abcd", "", "abd"] {
            assert_ne!(escaped(r"a\u0062c"), other, "{other}");
        }
    }

    #[test]
    fn numbers_and_flags_are_read_through_escapes() {
        assert_eq!(escaped(r"\u0031\u0032").i32(), Some(12));
        assert_eq!(escaped(&r"\u0031".repeat(30)).i64(), None);
        assert!(escaped(r"TR\u0055e").bool());
        assert!(!Value::of("yes").bool());
        assert_eq!(Value::of("2147483648").i32(), None);
    }

    #[test]
    fn of_several_fields_with_one_key_the_last_counts() {
        let header = b"kakb";
        let mut fields = ExtFields::new(header);
        for value_at in [1, 3] {
            let span = Span { key_at: 0, key_len: 1, value_at, value_len: 1, ..Span::default() };
            fields.push(span).unwrap();
        }
        assert_eq!(fields.get("k").unwrap(), "b");
        assert_eq!(fields.need("x").unwrap_err(), FieldError::Missing("x"));
        assert_eq!(fields.need_i32("k").unwrap_err(), FieldError::Invalid("k"));
    }

    #[test]
    fn a_header_holds_a_bounded_number_of_fields() {
        let mut fields = ExtFields::new(b"");
        for _ in 0..EXT_FIELDS_MAX {
            fields.push(Span::default()).unwrap();
        }
        assert_eq!(fields.push(Span::default()), Err(HeaderError::TooManyFields));
    }
}
