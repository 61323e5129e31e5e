//! Send requests built once, patched in place before each write.
//!
//! A bank holds one frame after the other, the queues taking turns, so any
//! run of frames is one contiguous write. Only what differs between two
//! requests is touched: correlation, born time, unique key, sequence, crc.
//! All of them have constant width, so no byte ever moves.

use super::bank::{Bank, MessageShape, Remoting};
use crate::body::{self, BodyCrc, Stream};
use crate::wire::{Codec, Encoded, Request, code};

/// Ten digits, as JSON numbers cannot have leading zeros.
pub const OPAQUE_MIN: u32 = 1_000_000_000;

/// Prebuilt frames of one connection.
pub struct FrameBank {
    codec: Codec,
    batch: usize,
    frames: Vec<FrameAt>,
    streams: Vec<StreamState>,
    /// Unique keys handed out by this connection.
    uniques: u32,
    /// Frames after which queues and tags begin anew.
    cycle: usize,
    /// The frame whose turn it is.
    next_frame: usize,
    longest: usize,
    /// The milliseconds that `born` spells.
    born_ms: u64,
    born: [u8; 13],
}

struct StreamState {
    queue: u32,
    crc: BodyCrc,
    next_seq: u64,
}

/// Where the changing parts of one frame are, from the buffer's start.
#[derive(Clone, Copy)]
struct FrameAt {
    start: usize,
    opaque: usize,
    born: usize,
    /// The last eight digits of the first message's unique key.
    unique: usize,
    /// Time, sequence and crc of the first message.
    tail: usize,
    /// From one message of a batch to the next.
    stride: usize,
}

impl FrameBank {
    /// Frames for at most `chunk` requests per write, as a buffer and its bank.
    pub fn build(
        shape: &MessageShape,
        remoting: &Remoting,
        producer: u32,
        queues: &[u32],
        chunk: usize,
    ) -> (Vec<u8>, FrameBank) {
        assert!(!queues.is_empty() && chunk > 0 && shape.batch > 0);
        // Every queue once per tag.
        let cycle = queues.len() * remoting.tags.len().max(1);
        let first = producer as usize % queues.len();
        let mut buffer = Vec::new();
        let mut frames = Vec::with_capacity(cycle + chunk);
        let mut streams = Vec::with_capacity(queues.len());
        let mut longest = 0;
        // A write may begin at any frame of the cycle and needs `chunk` frames after it.
        for i in 0..cycle - 1 + chunk {
            let queue = queues[i % queues.len()];
            // How many requests its stream has had when this frame is first sent.
            let turn = (i + cycle - first) % cycle / queues.len();
            let stream = Stream { run: shape.run, producer, queue };
            let (body, crc) = body::prepare(shape.size, stream);
            if i < queues.len() {
                streams.push(StreamState { queue, crc, next_seq: 0 });
            }
            let (bytes, at) =
                build_frame(shape, remoting, producer, (queue, turn), &body, buffer.len());
            longest = longest.max(bytes.len());
            buffer.extend_from_slice(&bytes);
            frames.push(at);
        }
        let bank = FrameBank {
            codec: remoting.codec,
            batch: shape.batch,
            frames,
            streams,
            uniques: 0,
            cycle,
            next_frame: first,
            longest,
            born_ms: 0,
            born: *b"0000000000000",
        };
        (buffer, bank)
    }
}

impl Bank for FrameBank {
    fn first(&self) -> usize {
        self.next_frame
    }

    fn longest(&self) -> usize {
        self.longest
    }

    fn start_of(&self, frame: usize, buffer_len: usize) -> usize {
        self.frames.get(frame).map_or(buffer_len, |at| at.start)
    }

    fn set_born(&mut self, ms: u64) {
        if self.born_ms != ms {
            self.born_ms = ms;
            write_digits(&mut self.born, ms);
        }
    }

    fn fill(&mut self, buffer: &mut [u8], frame: usize, opaque: u32, sent_ns: u64) -> (u32, u64) {
        let at = self.frames[frame];
        match self.codec {
            Codec::Json => {
                write_digits(&mut buffer[at.opaque..at.opaque + 10], u64::from(opaque));
            }
            Codec::Binary => {
                buffer[at.opaque..at.opaque + 4].copy_from_slice(&opaque.to_be_bytes());
            }
        }
        buffer[at.born..at.born + 13].copy_from_slice(&self.born);
        let index = frame % self.streams.len();
        let stream = &mut self.streams[index];
        let first_seq = stream.next_seq;
        let (mut unique, mut tail) = (at.unique, at.tail);
        for _ in 0..self.batch {
            let digits = buffer[unique..].first_chunk_mut().expect("the key is in the frame");
            write_hex(digits, self.uniques);
            let end = buffer[tail..].first_chunk_mut().expect("the body is in the frame");
            body::stamp(end, stream.crc, sent_ns, stream.next_seq);
            self.uniques = self.uniques.wrapping_add(1);
            stream.next_seq += 1;
            unique += at.stride;
            tail += at.stride;
        }
        self.next_frame = (frame + 1) % self.cycle;
        (index as u32, first_seq)
    }

    fn streams(&self) -> Vec<(u32, u64)> {
        self.streams.iter().map(|stream| (stream.queue, stream.next_seq)).collect()
    }
}

/// Digits of a unique key: address 8, process 4, loader 8, then what changes:
/// 4 of the connection, 8 of its counter.
fn unique_key(run: u64, producer: u32) -> String {
    format!("7F000001{:012X}{:04X}00000000", run & 0xffff_ffff_ffff, producer & 0xffff)
}

const UNIQUE_NAME: &str = "UNIQ_KEY\u{1}";
const UNIQUE_FIXED: usize = 24;

/// `UNIQ_KEY` comes first, so that its place is known in every codec.
fn properties(remoting: &Remoting, stream: Stream, seq: usize) -> String {
    let key = unique_key(stream.run, stream.producer);
    let mut text = format!("{UNIQUE_NAME}{key}\u{2}WAIT\u{1}true\u{2}");
    if !remoting.tags.is_empty() {
        let tag = &remoting.tags[stream.tag_of(seq as u64, remoting.tags.len())];
        text.push_str(&format!("TAGS\u{1}{tag}\u{2}"));
    }
    text
}

fn build_frame(
    shape: &MessageShape,
    remoting: &Remoting,
    producer: u32,
    (queue, turn): (u32, usize),
    body: &[u8],
    start: usize,
) -> (Vec<u8>, FrameAt) {
    let stream = Stream { run: shape.run, producer, queue };
    let properties = |seq| properties(remoting, stream, seq);
    let batched = shape.batch > 1;
    let (code, outer) = match batched {
        false => (code::SEND_V2, properties(turn)),
        true => (code::SEND_BATCH, "WAIT\u{1}true\u{2}".to_string()),
    };
    let mut request = Request::new(code)
        .ext("a", &remoting.group)
        .ext("b", &shape.topic)
        .ext("c", "TBW102")
        .ext("d", remoting.default_queues)
        .ext("e", queue)
        .ext("f", 0)
        .ext("g", "1000000000000")
        .ext("h", 0)
        .ext("i", outer)
        .ext("j", 0)
        .ext("k", false)
        .ext("m", batched);
    if let Some(name) = &remoting.broker_name {
        request = request.ext("n", name);
    }
    let seqs = turn * shape.batch..(turn + 1) * shape.batch;
    let entries: Vec<u8> = match batched {
        true => seqs.flat_map(|seq| batch_entry(body, &properties(seq))).collect(),
        false => body.to_vec(),
    };
    let entry_len = batched.then_some(entries.len() / shape.batch);
    let encoded = request.body(entries).encode(remoting.codec, OPAQUE_MIN);
    let at = places(&encoded, shape, remoting.codec, entry_len, start);
    (encoded.bytes, at)
}

fn places(
    encoded: &Encoded,
    shape: &MessageShape,
    codec: Codec,
    entry_len: Option<usize>,
    start: usize,
) -> FrameAt {
    let value_at = |key| encoded.ext_value_at(key).expect("the request has this field");
    // The separator after a property's name is six bytes as a JSON escape.
    let escape = if codec == Codec::Json { 5 } else { 0 };
    let (body_at, unique) = match entry_len {
        None => (encoded.body_at, value_at("i") + UNIQUE_NAME.len() + escape),
        Some(_) => {
            let body_at = encoded.body_at + ENTRY_HEAD_BYTES;
            (body_at, body_at + shape.size + 2 + UNIQUE_NAME.len())
        }
    };
    FrameAt {
        start,
        opaque: start + encoded.opaque_at,
        born: start + value_at("g"),
        unique: start + unique + UNIQUE_FIXED,
        tail: start + body_at + shape.size - body::STAMP_BYTES,
        stride: entry_len.unwrap_or(0),
    }
}

/// Total, magic, crc, flag and body length of a batch's entry.
const ENTRY_HEAD_BYTES: usize = 20;

fn batch_entry(body: &[u8], properties: &str) -> Vec<u8> {
    let total = ENTRY_HEAD_BYTES + body.len() + 2 + properties.len();
    let mut entry = Vec::with_capacity(total);
    entry.extend_from_slice(&(total as u32).to_be_bytes());
    entry.extend_from_slice(&[0; 12]);
    entry.extend_from_slice(&(body.len() as u32).to_be_bytes());
    entry.extend_from_slice(body);
    entry.extend_from_slice(&(properties.len() as u16).to_be_bytes());
    entry.extend_from_slice(properties.as_bytes());
    entry
}

fn write_digits(out: &mut [u8], mut value: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

fn write_hex(out: &mut [u8; 8], value: u32) {
    for (i, digit) in out.iter_mut().enumerate() {
        *digit = b"0123456789ABCDEF"[(value >> (28 - 4 * i) & 15) as usize];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Header, take_frame};

    fn bank(codec: Codec, batch: usize, producer: u32, queues: &[u32]) -> (Vec<u8>, FrameBank) {
        bank_of(codec, batch, producer, queues, &["A"])
    }

    fn bank_of(
        codec: Codec,
        batch: usize,
        producer: u32,
        queues: &[u32],
        tags: &[&str],
    ) -> (Vec<u8>, FrameBank) {
        let shape =
            MessageShape { topic: "t".into(), size: 100, batch, run: 0x0123_4567_89ab_cdef };
        let remoting = Remoting {
            codec,
            group: "g".into(),
            broker_name: None,
            tags: tags.iter().map(|tag| tag.to_string()).collect(),
            default_queues: 4,
            ok_code: 0,
        };
        FrameBank::build(&shape, &remoting, producer, queues, 4)
    }

    fn header_of(buffer: &[u8]) -> (Header, &[u8]) {
        let frame = take_frame(buffer).unwrap().unwrap();
        (Header::parse(frame.codec, frame.header).unwrap(), frame.body)
    }

    #[test]
    fn patched_frames_stay_well_formed_in_both_codecs() {
        for codec in [Codec::Json, Codec::Binary] {
            // Queue numbers of different widths make frames of different lengths.
            let (mut buffer, mut bank) = bank(codec, 1, 5, &[9, 10, 11]);
            bank.set_born(1_763_700_000_123);
            assert_eq!(bank.first(), 5 % 3);
            for (turn, frame) in [2, 3, 4, 5].into_iter().enumerate() {
                let (stream, seq) = bank.fill(&mut buffer, frame, OPAQUE_MIN + turn as u32, 9);
                let (header, body) = header_of(&buffer[bank.start_of(frame, 0)..]);
                let queue = [9, 10, 11][frame % 3];
                assert_eq!((header.code, header.opaque), (310, OPAQUE_MIN + turn as u32));
                assert_eq!(header.ext("e"), Some(queue.to_string().as_str()));
                assert_eq!(header.ext("g"), Some("1763700000123"));
                let properties = format!(
                    "UNIQ_KEY\u{1}7F000001456789ABCDEF0005{turn:08X}\u{2}WAIT\u{1}true\u{2}TAGS\u{1}A\u{2}"
                );
                assert_eq!(header.ext("i"), Some(properties.as_str()));
                let stamp = body::check(body).unwrap();
                assert_eq!(stamp.sent_ns, 9);
                assert_eq!((stamp.stream.queue, stamp.stream.producer), (queue, 5));
                assert_eq!((stream as usize, seq), (frame % 3, stamp.seq));
            }
            assert_eq!(bank.streams(), [(9, 1), (10, 1), (11, 2)]);
        }
    }

    #[test]
    fn every_message_of_a_batch_has_its_own_key_and_sequence() {
        let (mut buffer, mut bank) = bank(Codec::Json, 3, 0, &[7]);
        bank.fill(&mut buffer, 0, OPAQUE_MIN, 0);
        bank.fill(&mut buffer, 0, OPAQUE_MIN + 1, 0);
        let (header, mut body) = header_of(&buffer);
        assert_eq!((header.code, header.ext("m")), (320, Some("true")));
        for seq in 3..6 {
            let total = u32::from_be_bytes(*body.first_chunk().unwrap()) as usize;
            let (entry, rest) = body.split_at(total);
            assert_eq!(body::check(&entry[20..120]).unwrap().seq, seq);
            let key = format!("UNIQ_KEY\u{1}7F000001456789ABCDEF0000{seq:08X}\u{2}");
            assert!(entry[122..].starts_with(key.as_bytes()));
            assert_eq!(entry[120..122], ((total - 122) as u16).to_be_bytes());
            body = rest;
        }
        assert!(body.is_empty());
    }

    #[test]
    fn the_messages_of_every_stream_take_the_tags_in_turn() {
        // Of different lengths where each message is a request of its own.
        let (mut buffer, mut bank) = bank_of(Codec::Json, 1, 5, &[9, 10, 11], &["a", "long", "c"]);
        for turn in 0..30 {
            let frame = bank.first();
            bank.fill(&mut buffer, frame, OPAQUE_MIN + turn, 0);
            let (header, body) = header_of(&buffer[bank.start_of(frame, 0)..]);
            let seq = body::check(body).unwrap().seq;
            let queue: u64 = header.ext("e").unwrap().parse().unwrap();
            let tag = ["a", "long", "c"][(queue + seq) as usize % 3];
            let tag = format!("TAGS\u{1}{tag}\u{2}");
            assert!(header.ext("i").unwrap().ends_with(&tag), "{seq}: {:?}", header.ext("i"));
        }
        // A write goes on behind the frames of a cycle with those of the next one.
        for frame in 9..12 {
            let (header, _) = header_of(&buffer[bank.start_of(frame, 0)..]);
            let (again, _) = header_of(&buffer[bank.start_of(frame - 9, 0)..]);
            let tag =
                |header: &Header| header.ext("i").unwrap().split("TAGS").nth(1).map(String::from);
            assert_eq!((header.ext("e"), tag(&header)), (again.ext("e"), tag(&again)));
        }
    }

    #[test]
    fn the_messages_of_a_batch_take_the_tags_in_turn() {
        let (mut buffer, mut bank) = bank_of(Codec::Binary, 3, 1, &[7, 8], &["a", "b"]);
        for _ in 0..8 {
            let frame = bank.first();
            bank.fill(&mut buffer, frame, OPAQUE_MIN, 0);
            let (_, mut body) = header_of(&buffer[bank.start_of(frame, 0)..]);
            while !body.is_empty() {
                let total = u32::from_be_bytes(*body.first_chunk().unwrap()) as usize;
                let (entry, rest) = body.split_at(total);
                let stamp = body::check(&entry[20..120]).unwrap();
                let seq = stamp.seq + u64::from(stamp.stream.queue);
                let tag = format!("TAGS\u{1}{}\u{2}", ["a", "b"][seq as usize % 2]);
                assert!(entry.ends_with(tag.as_bytes()), "{seq}");
                body = rest;
            }
        }
    }
}
