//! Produce: a batch on its way, and what the broker says to it.

use super::read::{KafkaError, Read, Reader, take_frame};
use super::request::{encode, topic_name, version};
use crate::wire::Reply;
use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse, ResponseHeader};
use kafka_protocol::protocol::{Encodable, HeaderVersion};
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record,
    RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use std::io;

/// How long the broker may wait for replicas, where it has to.
const TIMEOUT_MS: i32 = 30_000;
/// The ends of partition, topic and request, each without tagged fields.
const BYTES_AFTER_BATCH: usize = 3;

/// One batch of records with these values and nothing else, born at zero.
pub fn encode_batch(values: impl IntoIterator<Item = Vec<u8>>) -> io::Result<Vec<u8>> {
    let record = |(i, value): (usize, Vec<u8>)| Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
        producer_id: NO_PRODUCER_ID,
        producer_epoch: NO_PRODUCER_EPOCH,
        timestamp_type: TimestampType::Creation,
        offset: i as i64,
        // One batch is only what has sequences in step with its offsets.
        sequence: NO_SEQUENCE.wrapping_add(i as i32),
        timestamp: 0,
        key: None,
        value: Some(Bytes::from(value)),
        headers: IndexMap::new(),
    };
    let records: Vec<Record> = values.into_iter().enumerate().map(record).collect();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    let mut bytes = BytesMut::new();
    RecordBatchEncoder::encode(&mut bytes, &records, &options).map_err(io::Error::other)?;
    Ok(bytes.into())
}

/// A request with one batch for one queue, and where in it the batch begins.
pub fn produce_frame(
    topic: &str,
    queue: u32,
    acks: i16,
    batch: Vec<u8>,
) -> io::Result<(Vec<u8>, usize)> {
    let len = batch.len();
    let partition = PartitionProduceData::default()
        .with_index(queue as i32)
        .with_records(Some(Bytes::from(batch)));
    let topic = TopicProduceData::default()
        .with_name(topic_name(topic))
        .with_partition_data(vec![partition]);
    let request = ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(TIMEOUT_MS)
        .with_topic_data(vec![topic]);
    let frame = encode(&request, version::PRODUCE, 0)?;
    let batch_at = frame.len() - BYTES_AFTER_BATCH - len;
    Ok((frame, batch_at))
}

/// What a broker says to a batch for one queue, its correlation still to be filled in.
pub fn produced_reply(code: i16) -> io::Result<Vec<u8>> {
    let queue = PartitionProduceResponse::default().with_error_code(code);
    let topic = TopicProduceResponse::default()
        .with_name(topic_name("topic"))
        .with_partition_responses(vec![queue]);
    let reply = ProduceResponse::default().with_responses(vec![topic]);
    let mut bytes = BytesMut::zeroed(4);
    let header_version = ProduceResponse::header_version(version::PRODUCE);
    ResponseHeader::default()
        .encode(&mut bytes, header_version)
        .and_then(|()| reply.encode(&mut bytes, version::PRODUCE))
        .map_err(io::Error::other)?;
    let len = bytes.len() as u32 - 4;
    bytes[..4].copy_from_slice(&len.to_be_bytes());
    Ok(bytes.into())
}

/// The first reply of `bytes`, once it has wholly arrived. Each is about one queue.
pub fn scan_produced(bytes: &[u8]) -> Read<Option<Reply>> {
    let Some(frame) = take_frame(bytes)? else {
        return Ok(None);
    };
    let mut reader = Reader::new(frame);
    let opaque = reader.i32()? as u32;
    reader.tags()?;
    one(reader.compact()?)?;
    let _topic = reader.compact_bytes()?;
    one(reader.compact()?)?;
    let _queue = reader.i32()?;
    let code = i32::from(reader.i16()?);
    Ok(Some(Reply { opaque, code, len: 4 + frame.len() }))
}

fn one(count: usize) -> Read<()> {
    if count == 1 {
        Ok(())
    } else {
        Err(KafkaError::Nonsense("a reply about another number of queues"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(correlation: i32, code: i16) -> Vec<u8> {
        let mut bytes = produced_reply(code).unwrap();
        bytes[4..8].copy_from_slice(&correlation.to_be_bytes());
        bytes
    }

    #[test]
    fn code_and_correlation_are_read_as_the_crate_writes_them() {
        for code in [0, 6, 87] {
            let bytes = reply(1_234_567_890, code);
            let seen = scan_produced(&bytes).unwrap().unwrap();
            let reply = Reply { opaque: 1_234_567_890, code: code.into(), len: bytes.len() };
            assert_eq!(seen, reply);
            for cut in 0..bytes.len() {
                assert_eq!(scan_produced(&bytes[..cut]), Ok(None), "cut at byte {cut}");
            }
        }
    }

    /// Correlation, tags, counts, name, queue and code of [`reply`], without its length word.
    const CODE_END: usize = 4 + 1 + 1 + 6 + 1 + 4 + 2;
    const QUEUES_AT: usize = 4 + 4 + 1 + 1 + 6;

    #[test]
    fn a_reply_that_is_no_reply_is_an_error() {
        let mut two = reply(1, 0);
        two[QUEUES_AT] = 3;
        assert!(matches!(scan_produced(&two), Err(KafkaError::Nonsense(_))));
        let whole = reply(1, 0);
        for len in 0..CODE_END {
            let mut short = whole[..4 + len].to_vec();
            short[..4].copy_from_slice(&(len as u32).to_be_bytes());
            assert!(scan_produced(&short).is_err(), "{len} bytes");
        }
        assert!(scan_produced(&[0x7f, 0xff, 0xff, 0xff]).is_err());
        let mut counts = whole.clone();
        counts[9..14].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x0f]);
        assert!(matches!(scan_produced(&counts), Err(KafkaError::Length(_))));
    }
}
