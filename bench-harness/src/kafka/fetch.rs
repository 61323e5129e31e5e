//! Fetch: asking for queues from an offset on, and what comes back.

use super::read::{Read, Reader};
use super::request::{encode, topic_name, version};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest};
use std::io;

/// How a reader fetches.
#[derive(Clone, Debug, serde::Serialize)]
pub struct FetchStyle {
    pub topic: String,
    /// Bytes of one queue in a reply; a first batch that is larger comes all the same.
    pub queue_bytes_max: u32,
    /// Bytes of a whole reply.
    pub reply_bytes_max: u32,
    /// How long the broker may hold a fetch for which there is nothing yet.
    pub wait_ms_max: u32,
}

/// A fetch of these queues, each from its offset on.
pub fn fetch_frame(
    style: &FetchStyle,
    queues: impl Iterator<Item = (u32, u64)>,
    correlation: u32,
) -> io::Result<Vec<u8>> {
    let partition = |(queue, offset): (u32, u64)| {
        FetchPartition::default()
            .with_partition(queue as i32)
            .with_current_leader_epoch(-1)
            .with_last_fetched_epoch(-1)
            .with_log_start_offset(-1)
            .with_fetch_offset(offset as i64)
            .with_partition_max_bytes(style.queue_bytes_max as i32)
    };
    let topic = FetchTopic::default()
        .with_topic(topic_name(&style.topic))
        .with_partitions(queues.map(partition).collect());
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(style.wait_ms_max as i32)
        .with_min_bytes(1)
        .with_max_bytes(style.reply_bytes_max as i32)
        // No fetch session: every request says all that it wants.
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    encode(&request, version::FETCH, correlation as i32)
}

/// What a reply has of one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched<'a> {
    pub queue: u32,
    pub code: i16,
    pub high_watermark: i64,
    /// Batches, the last perhaps cut.
    pub records: &'a [u8],
}

/// Correlation and queues of a reply, without its length word.
pub fn read_fetched(frame: &[u8]) -> Read<(u32, Vec<Fetched<'_>>)> {
    let mut reader = Reader::new(frame);
    let correlation = reader.i32()? as u32;
    reader.tags()?;
    let _throttle_ms = reader.i32()?;
    reader.success()?;
    let _session = reader.i32()?;
    let mut fetched = Vec::new();
    for _ in 0..reader.compact()? {
        let _topic = reader.compact_bytes()?;
        for _ in 0..reader.compact()? {
            fetched.push(read_queue(&mut reader)?);
        }
        reader.tags()?;
    }
    reader.tags()?;
    Ok((correlation, fetched))
}

fn read_queue<'a>(reader: &mut Reader<'a>) -> Read<Fetched<'a>> {
    let (queue, code, high_watermark) = (reader.i32()? as u32, reader.i16()?, reader.i64()?);
    let (_stable, _log_start) = (reader.i64()?, reader.i64()?);
    for _aborted_transaction in 0..reader.compact()? {
        let (_producer, _first) = (reader.i64()?, reader.i64()?);
        reader.tags()?;
    }
    let _preferred_replica = reader.i32()?;
    let records = reader.compact_bytes()?;
    reader.tags()?;
    Ok(Fetched { queue, code, high_watermark, records })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::KafkaError;
    use bytes::{Bytes, BytesMut};
    use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
    use kafka_protocol::messages::{FetchResponse, ResponseHeader};
    use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};

    fn reply(code: i16) -> Vec<u8> {
        let queue = |queue, records: &'static [u8]| {
            PartitionData::default()
                .with_partition_index(queue)
                .with_error_code(queue as i16)
                .with_high_watermark(99)
                .with_records(Some(Bytes::from_static(records)))
        };
        let topic = FetchableTopicResponse::default()
            .with_topic(topic_name("topic"))
            .with_partitions(vec![queue(0, b"batches"), queue(1, b"")]);
        let mut bytes = BytesMut::new();
        let header = ResponseHeader::default().with_correlation_id(77);
        header.encode(&mut bytes, FetchResponse::header_version(version::FETCH)).unwrap();
        let body = FetchResponse::default().with_error_code(code).with_responses(vec![topic]);
        body.encode(&mut bytes, version::FETCH).unwrap();
        bytes.to_vec()
    }

    #[test]
    fn queues_are_read_as_the_crate_writes_them() {
        let bytes = reply(0);
        let (correlation, fetched) = read_fetched(&bytes).unwrap();
        let queue = |queue: u32, records| Fetched {
            queue,
            code: queue as i16,
            high_watermark: 99,
            records,
        };
        assert_eq!(correlation, 77);
        assert_eq!(fetched, [queue(0, &b"batches"[..]), queue(1, b"")]);
        assert_eq!(read_fetched(&reply(70)), Err(KafkaError::Refused(70)));
        for cut in 0..bytes.len() {
            assert!(read_fetched(&bytes[..cut]).is_err(), "cut at byte {cut}");
        }
    }

    #[test]
    fn any_byte_of_a_reply_may_be_anything() {
        let good = reply(0);
        for at in 0..good.len() {
            for value in [0, 0x7f, 0x80, 0xff] {
                let mut bytes = good.clone();
                bytes[at] = value;
                // An answer or an error, both are fine.
                let _ = read_fetched(&bytes);
            }
        }
    }

    #[test]
    fn a_fetch_asks_for_what_it_was_given() {
        let style = FetchStyle {
            topic: "topic".into(),
            queue_bytes_max: 65_536,
            reply_bytes_max: 1 << 20,
            wait_ms_max: 500,
        };
        let frame = fetch_frame(&style, [(4, 1 << 33), (5, 0)].into_iter(), 9).unwrap();
        let mut bytes = Bytes::from(frame).slice(4..);
        kafka_protocol::protocol::decode_request_header_from_buffer(&mut bytes).unwrap();
        let request = FetchRequest::decode(&mut bytes, version::FETCH).unwrap();
        assert_eq!((request.min_bytes, request.max_wait_ms, request.max_bytes), (1, 500, 1 << 20));
        let queues = request.topics[0].partitions.iter();
        let asked: Vec<_> = queues.map(|p| (p.partition, p.fetch_offset)).collect();
        assert_eq!(asked, [(4, 1 << 33), (5, 0)]);
    }
}
