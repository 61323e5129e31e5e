//! One decoded header with its body. Serves both directions: a reply has the same
//! shape, its code is then the response code.

use std::fmt;

use super::ext::{ExtFields, Value};
use super::frame::{Codec, FrameError, parse_prefix};
use super::language::Language;
use super::{binary, json};
use crate::base::limits::{EXT_FIELDS_MAX, HEADER_DEPTH_MAX};

/// A command as it came: nothing is copied, all texts point into the frame.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    pub codec: Codec,
    /// What is asked for, or in a reply how it went; see `wire::code`.
    pub code: i32,
    /// Bit 0: this is a reply. Bit 1: no reply is wanted.
    pub flag: i32,
    /// Names the request within its connection; the reply repeats it.
    pub opaque: i32,
    /// The sender's version ordinal.
    pub version: i32,
    pub language: Language,
    pub remark: Option<Value<'a>>,
    pub ext: ExtFields<'a>,
    pub body: &'a [u8],
}

/// What makes a header unreadable: the connection closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    NotUtf8,
    /// The header ended where more was announced or needed.
    Cut {
        at: usize,
    },
    /// The JSON text is wrong at a byte.
    Syntax {
        at: usize,
        expected: &'static str,
    },
    BadEscape {
        at: usize,
    },
    /// A known key with a value that is not an i32.
    NotAnInteger(&'static str),
    /// A length that is negative or reaches beyond its surroundings.
    BadLength {
        at: usize,
    },
    TooDeep {
        at: usize,
    },
    KeyTooLong {
        at: usize,
    },
    TooManyFields,
}

/// What makes a stream unreadable: the connection closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    Frame(FrameError),
    Header(HeaderError),
}

const FLAG_RESPONSE: i32 = 1;
const FLAG_ONEWAY: i32 = 2;

impl<'a> Request<'a> {
    pub fn decode(codec: Codec, header: &'a [u8], body: &'a [u8]) -> Result<Self, HeaderError> {
        let mut request = Self::blank(codec, header, body);
        request.fill(header)?;
        Ok(request)
    }

    /// Reads `header`, with which this request was begun, into it.
    pub(super) fn fill(&mut self, header: &'a [u8]) -> Result<(), HeaderError> {
        match self.codec {
            Codec::Json => json::decode(header, self),
            Codec::Binary => binary::decode(header, self),
        }
    }

    /// Reads the frame at the start of `bytes` and says how long it is. `None`: not yet,
    /// come back with more.
    pub fn read(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, ReadError> {
        let Some(prefix) = parse_prefix(bytes)? else { return Ok(None) };
        let Some((header, body)) = prefix.split(bytes) else { return Ok(None) };
        let request = Self::decode(prefix.codec, header, body)?;
        Ok(Some((request, prefix.frame_bytes)))
    }

    /// A request of which only the body is known yet.
    #[inline(always)]
    pub fn blank(codec: Codec, header: &'a [u8], body: &'a [u8]) -> Self {
        Self {
            codec,
            code: 0,
            flag: 0,
            opaque: 0,
            version: 0,
            language: Language::Java,
            remark: None,
            ext: ExtFields::new(header),
            body,
        }
    }

    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// The sender waits for no reply and must not get one.
    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 => write!(f, "header is not UTF-8"),
            Self::Cut { at } => write!(f, "header is cut at byte {at}"),
            Self::Syntax { at, expected } => {
                write!(f, "header is not JSON: expected {expected} at byte {at}")
            }
            Self::BadEscape { at } => write!(f, "header has a bad escape at byte {at}"),
            Self::NotAnInteger(key) => write!(f, "header's {key} is not a 32-bit integer"),
            Self::BadLength { at } => write!(f, "header has a bad length at byte {at}"),
            Self::TooDeep { at } => {
                write!(f, "header nests deeper than {HEADER_DEPTH_MAX} at byte {at}")
            }
            Self::KeyTooLong { at } => write!(f, "header has an overlong key at byte {at}"),
            Self::TooManyFields => write!(f, "header has more than {EXT_FIELDS_MAX} fields"),
        }
    }
}

impl std::error::Error for HeaderError {}

impl From<FrameError> for ReadError {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

impl From<HeaderError> for ReadError {
    fn from(error: HeaderError) -> Self {
        Self::Header(error)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(error) => error.fmt(f),
            Self::Header(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {}
