//! What a message's body carries, so that whoever drains it can tell whether
//! it is the message that was sent.
//!
//! ```text
//!  0 …                     -40    -36   -28        -24     -20    -12   -4
//!  | filler (constant) …    | mark | run | producer | queue | sent | seq | crc |
//! ```
//!
//! The crc covers all before it. It comes last, so that the sender keeps the
//! CRC of everything that stays the same and adds only sixteen bytes.

/// Where a message belongs: messages of one stream are numbered without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct Stream {
    pub run: u64,
    /// The sending connection: only its own sends have an order.
    pub producer: u32,
    pub queue: u32,
}

impl Stream {
    /// Which of `tags` tags a message has: they come in turn, and the next queue begins with
    /// the next one, so that messages that are sent one after the other differ, too.
    pub fn tag_of(&self, seq: u64, tags: usize) -> usize {
        ((u64::from(self.queue) + seq) % tags as u64) as usize
    }
}

/// A body's trailer, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub stream: Stream,
    pub seq: u64,
    /// When it was meant to be sent, by the sender's clock.
    pub sent_ns: u64,
    /// The CRC-32 of the whole body, for comparison with the stored BODYCRC.
    pub body_crc: u32,
}

/// Why a body is not one that we sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// Too short, or without our mark: someone else's message.
    Foreign,
    /// Ours, but not as it was sent.
    Corrupt { stated: u32, computed: u32 },
}

pub const TRAILER_BYTES: usize = 40;
const MARK: [u8; 4] = *b"RMQB";
/// Sent, seq and crc: what differs between two bodies of a stream.
pub const STAMP_BYTES: usize = 20;

/// The CRC of a stream's bodies up to what is stamped.
#[derive(Clone, Copy)]
pub struct BodyCrc(u32);

/// A body of `len` bytes that is still to be stamped.
pub fn prepare(len: usize, stream: Stream) -> (Vec<u8>, BodyCrc) {
    assert!(len >= TRAILER_BYTES, "a body holds at least its trailer");
    let mut body: Vec<u8> = (0..len - TRAILER_BYTES).map(|i| b'a' + (i % 26) as u8).collect();
    body.extend_from_slice(&MARK);
    body.extend_from_slice(&stream.run.to_be_bytes());
    body.extend_from_slice(&stream.producer.to_be_bytes());
    body.extend_from_slice(&stream.queue.to_be_bytes());
    let crc = BodyCrc(crc32fast::hash(&body));
    body.resize(len, 0);
    (body, crc)
}

/// Writes time, sequence and crc into the last bytes of a prepared body.
pub fn stamp(tail: &mut [u8; STAMP_BYTES], crc: BodyCrc, sent_ns: u64, seq: u64) {
    tail[..8].copy_from_slice(&sent_ns.to_be_bytes());
    tail[8..16].copy_from_slice(&seq.to_be_bytes());
    let mut hasher = crc32fast::Hasher::new_with_initial(crc.0);
    hasher.update(&tail[..16]);
    tail[16..].copy_from_slice(&hasher.finalize().to_be_bytes());
}

/// Which run sent it, and when by its clock. Believes the body, for receivers
/// that a CRC over every message would make the slowest part of the path.
pub fn sent(body: &[u8]) -> Option<(u64, u64)> {
    let (_, trailer) = body.split_last_chunk::<TRAILER_BYTES>()?;
    let (mark, rest) = trailer.split_first_chunk::<4>()?;
    let (run, rest) = rest.split_first_chunk()?;
    let sent_ns = rest.get(8..)?.first_chunk()?;
    (*mark == MARK).then(|| (u64::from_be_bytes(*run), u64::from_be_bytes(*sent_ns)))
}

/// Reads a body back.
pub fn check(body: &[u8]) -> Result<Stamp, BodyError> {
    let (_, trailer) = body.split_last_chunk::<TRAILER_BYTES>().ok_or(BodyError::Foreign)?;
    let (mark, mut rest) = trailer.split_first_chunk::<4>().ok_or(BodyError::Foreign)?;
    if *mark != MARK {
        return Err(BodyError::Foreign);
    }
    let run = u64::from_be_bytes(take(&mut rest));
    let producer = u32::from_be_bytes(take(&mut rest));
    let queue = u32::from_be_bytes(take(&mut rest));
    let sent_ns = u64::from_be_bytes(take(&mut rest));
    let seq = u64::from_be_bytes(take(&mut rest));
    let stated_bytes: [u8; 4] = take(&mut rest);
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&body[..body.len() - 4]);
    let (stated, computed) = (u32::from_be_bytes(stated_bytes), hasher.clone().finalize());
    if stated != computed {
        return Err(BodyError::Corrupt { stated, computed });
    }
    hasher.update(&stated_bytes);
    let body_crc = hasher.finalize();
    Ok(Stamp { stream: Stream { run, producer, queue }, seq, sent_ns, body_crc })
}

/// The trailer's length is fixed, so its fields are there.
fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let (head, rest) = bytes.split_first_chunk().expect("fields add up to the trailer");
    *bytes = rest;
    *head
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: Stream = Stream { run: 7, producer: 3, queue: 11 };

    fn stamped(len: usize, seq: u64) -> Vec<u8> {
        let (mut body, crc) = prepare(len, STREAM);
        stamp(body.last_chunk_mut().unwrap(), crc, 77, seq);
        body
    }

    #[test]
    fn what_was_stamped_is_read_back() {
        for len in [TRAILER_BYTES, 128, 1024, 65536] {
            let body = stamped(len, 1 << 40);
            assert_eq!(body.len(), len);
            let stamp = check(&body).unwrap();
            assert_eq!((stamp.stream, stamp.seq, stamp.sent_ns), (STREAM, 1 << 40, 77));
            assert_eq!(stamp.body_crc, crc32fast::hash(&body));
            assert_eq!(sent(&body), Some((STREAM.run, 77)));
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let body = stamped(100, 5);
        for bit in 0..body.len() * 8 {
            let mut bad = body.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&bad).is_err(), "bit {bit}");
        }
        let short = &body[..TRAILER_BYTES - 1];
        assert_eq!((check(short), sent(short)), (Err(BodyError::Foreign), None));
    }
}
