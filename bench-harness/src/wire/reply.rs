//! Frames as they arrive: whole, not yet whole, or wrong.

use super::{FRAME_BYTES_MAX, LENGTH_BYTES, PREFIX_BYTES};
use std::fmt;

/// One whole frame in a read buffer.
pub struct Frame<'a> {
    pub codec: u8,
    pub header: &'a [u8],
    pub body: &'a [u8],
    /// With its length word.
    pub len: usize,
}

/// The peer's lengths contradict each other or the limit.
#[derive(Debug, PartialEq, Eq)]
pub enum FrameError {
    TooLong(usize),
    HeaderOverruns,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::TooLong(len) => write!(f, "frame of {len} bytes"),
            FrameError::HeaderOverruns => write!(f, "header longer than its frame"),
        }
    }
}

impl std::error::Error for FrameError {}

/// The first frame of `bytes`, once it has wholly arrived.
pub fn take_frame(bytes: &[u8]) -> Result<Option<Frame<'_>>, FrameError> {
    let Some(&[l0, l1, l2, l3, codec, h0, h1, h2]) = bytes.first_chunk() else {
        return Ok(None);
    };
    let len = LENGTH_BYTES + u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    let body_at = PREFIX_BYTES + u32::from_be_bytes([0, h0, h1, h2]) as usize;
    if len > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(len));
    }
    if body_at > len {
        return Err(FrameError::HeaderOverruns);
    }
    let Some(bytes) = bytes.get(..len) else {
        return Ok(None);
    };
    Ok(Some(Frame { codec, header: &bytes[PREFIX_BYTES..body_at], body: &bytes[body_at..], len }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Codec, Request};

    #[test]
    fn a_frame_is_taken_once_its_last_byte_is_there() {
        let mut bytes = Request::new(10).body(*b"xyz").encode(Codec::Json, 1).bytes;
        let whole = bytes.len();
        bytes.extend_from_slice(&[0, 0]);
        for end in 0..whole {
            assert!(take_frame(&bytes[..end]).unwrap().is_none(), "at byte {end}");
        }
        assert_eq!(take_frame(&bytes).unwrap().unwrap().len, whole);
    }

    #[test]
    fn contradicting_lengths_are_refused() {
        assert!(matches!(take_frame(&[0, 0, 0, 5, 0, 0, 0, 2]), Err(FrameError::HeaderOverruns)));
        assert!(matches!(take_frame(&[2, 0, 0, 0, 0, 0, 0, 2]), Err(FrameError::TooLong(_))));
    }
}
