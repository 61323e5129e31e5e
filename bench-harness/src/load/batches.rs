//! Kafka's produce requests built once, patched in place before each write.
//!
//! Each holds one record batch for one queue (a partition); the queues take
//! turns. Between two requests only correlation, times, stamps and the
//! batch's CRC change, all of constant width.

use super::bank::{Bank, MessageShape, Produce};
use crate::body::{self, BodyCrc, STAMP_BYTES, Stream};
use crate::kafka::{self, CORRELATION_AT, CRC_AT, FIRST_TIME_AT, FLAGS_AT, LAST_TIME_AT};
use std::io;
use std::ops::Range;

/// Prebuilt requests of one connection.
pub struct BatchBank {
    frames: Vec<FrameAt>,
    /// Where in a batch each record's stamp is; the same in all.
    stamps: Vec<usize>,
    streams: Vec<StreamState>,
    /// The queue whose turn it is.
    next_queue: usize,
    longest: usize,
    born: [u8; 8],
}

struct StreamState {
    queue: u32,
    crc: BodyCrc,
    next_seq: u64,
}

/// Where one request and its batch are, from the buffer's start.
#[derive(Clone)]
struct FrameAt {
    start: usize,
    batch: Range<usize>,
}

impl BatchBank {
    /// Requests for at most `chunk` per write, as a buffer and its bank.
    pub fn build(
        shape: &MessageShape,
        produce: Produce,
        producer: u32,
        queues: &[u32],
        chunk: usize,
    ) -> io::Result<(Vec<u8>, BatchBank)> {
        assert!(!queues.is_empty() && chunk > 0 && shape.batch > 0);
        let mut buffer = Vec::new();
        let mut bank = BatchBank {
            frames: Vec::with_capacity(queues.len() + chunk),
            stamps: Vec::new(),
            streams: Vec::with_capacity(queues.len()),
            next_queue: producer as usize % queues.len(),
            longest: 0,
            born: [0; 8],
        };
        // A write may begin at any queue and needs `chunk` frames after it.
        for i in 0..queues.len() - 1 + chunk {
            let queue = queues[i % queues.len()];
            let (body, crc) = body::prepare(shape.size, Stream { run: shape.run, producer, queue });
            if i < queues.len() {
                bank.streams.push(StreamState { queue, crc, next_seq: 0 });
            }
            let batch = kafka::encode_batch(vec![body; shape.batch])?;
            if bank.stamps.is_empty() {
                bank.stamps = stamps(&batch)?;
            }
            let len = batch.len();
            let (frame, at) = kafka::produce_frame(&shape.topic, queue, produce.acks, batch)?;
            let start = buffer.len();
            bank.longest = bank.longest.max(frame.len());
            bank.frames.push(FrameAt { start, batch: start + at..start + at + len });
            buffer.extend_from_slice(&frame);
        }
        Ok((buffer, bank))
    }
}

/// The last bytes of each record's value.
fn stamps(mut batch: &[u8]) -> io::Result<Vec<usize>> {
    let batch = kafka::take_batch(&mut batch)?.ok_or(kafka::KafkaError::Cut)?;
    let stamp = |record: Result<kafka::Record, _>| Ok(record?.value.end - STAMP_BYTES);
    batch.records().map(stamp).collect()
}

impl Bank for BatchBank {
    fn first(&self) -> usize {
        self.next_queue
    }

    fn longest(&self) -> usize {
        self.longest
    }

    fn start_of(&self, frame: usize, buffer_len: usize) -> usize {
        self.frames.get(frame).map_or(buffer_len, |at| at.start)
    }

    fn set_born(&mut self, ms: u64) {
        self.born = ms.to_be_bytes();
    }

    fn fill(&mut self, buffer: &mut [u8], frame: usize, opaque: u32, sent_ns: u64) -> (u32, u64) {
        let at = &self.frames[frame];
        buffer[at.start + CORRELATION_AT..][..4].copy_from_slice(&opaque.to_be_bytes());
        let batch = &mut buffer[at.batch.clone()];
        batch[FIRST_TIME_AT..][..8].copy_from_slice(&self.born);
        batch[LAST_TIME_AT..][..8].copy_from_slice(&self.born);
        let index = frame % self.streams.len();
        let stream = &mut self.streams[index];
        let first_seq = stream.next_seq;
        for &stamp in &self.stamps {
            let stamp = batch[stamp..].first_chunk_mut().expect("the value is in the batch");
            body::stamp(stamp, stream.crc, sent_ns, stream.next_seq);
            stream.next_seq += 1;
        }
        let crc = crc32c::crc32c(&batch[FLAGS_AT..]);
        batch[CRC_AT..][..4].copy_from_slice(&crc.to_be_bytes());
        self.next_queue = (index + 1) % self.streams.len();
        (index as u32, first_seq)
    }

    fn streams(&self) -> Vec<(u32, u64)> {
        self.streams.iter().map(|stream| (stream.queue, stream.next_seq)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::version;
    use bytes::Bytes;
    use kafka_protocol::messages::ProduceRequest;
    use kafka_protocol::protocol::{Decodable, decode_request_header_from_buffer};
    use kafka_protocol::records::RecordBatchDecoder;

    fn bank(batch: usize, queues: &[u32], chunk: usize) -> (Vec<u8>, BatchBank) {
        let shape = MessageShape { topic: "topic".into(), size: 100, batch, run: 3 };
        BatchBank::build(&shape, Produce { acks: 1 }, 5, queues, chunk).unwrap()
    }

    /// The crate's own decoder, which checks the batch's CRC.
    #[test]
    fn the_crate_reads_patched_requests() {
        // More than 63 records need two bytes for an offset, so strides differ.
        for batch in [1, 3, 200] {
            let (mut buffer, mut bank) = bank(batch, &[9, 10, 11], 4);
            bank.set_born(1_763_700_000_123);
            assert_eq!(bank.first(), 5 % 3);
            for (turn, frame) in [2, 3, 4, 5, 0].into_iter().enumerate() {
                let opaque = 1_000_000_000 + turn as u32;
                let (stream, first_seq) = bank.fill(&mut buffer, frame, opaque, 77);
                let (start, end) =
                    (bank.start_of(frame, 0), bank.start_of(frame + 1, buffer.len()));
                let mut bytes = Bytes::copy_from_slice(&buffer[start + 4..end]);
                assert_eq!(
                    bytes.len() as u32,
                    u32::from_be_bytes(*buffer[start..].first_chunk().unwrap())
                );
                let header = decode_request_header_from_buffer(&mut bytes).unwrap();
                assert_eq!(header.correlation_id, opaque as i32);
                let request = ProduceRequest::decode(&mut bytes, version::PRODUCE).unwrap();
                assert!(bytes.is_empty());
                assert_eq!((request.acks, request.topic_data.len()), (1, 1));
                let data = &request.topic_data[0].partition_data[0];
                let queue = [9, 10, 11][frame % 3];
                assert_eq!((data.index, stream as usize), (queue, frame % 3));
                let mut records = data.records.clone().unwrap();
                let records = RecordBatchDecoder::decode(&mut records).unwrap().records;
                assert_eq!(records.len(), batch);
                for (i, record) in records.iter().enumerate() {
                    assert_eq!((record.timestamp, record.offset), (1_763_700_000_123, i as i64));
                    let stamp = body::check(record.value.as_ref().unwrap()).unwrap();
                    assert_eq!((stamp.seq, stamp.sent_ns), (first_seq + i as u64, 77));
                    assert_eq!((stamp.stream.queue, stamp.stream.producer), (queue as u32, 5));
                }
            }
            let batch = batch as u64;
            assert_eq!(bank.streams(), [(9, 2 * batch), (10, batch), (11, 2 * batch)]);
        }
    }

    #[test]
    fn a_request_that_is_not_patched_again_is_refused() {
        let (mut buffer, mut bank) = bank(2, &[0], 1);
        bank.fill(&mut buffer, 0, 1, 0);
        let at = bank.frames[0].batch.clone();
        buffer[at.end - STAMP_BYTES - 1] ^= 1;
        let mut batch = Bytes::copy_from_slice(&buffer[at]);
        assert!(RecordBatchDecoder::decode(&mut batch).is_err());
    }
}
