//! The same in Kafka's protocol: set-up answered as by a broker of one topic,
//! whatever it is called, and every produce request with success.

use crate::kafka::{CORRELATION_AT, produced_reply, take_frame, version};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, BrokerId, CreateTopicsRequest, CreateTopicsResponse,
    ListOffsetsRequest, ListOffsetsResponse, MetadataRequest, MetadataResponse,
};
use kafka_protocol::protocol::{Decodable, Encodable, decode_request_header_from_buffer};
use std::io;

/// Queues of every topic.
const QUEUES: i32 = 8;
/// Length, key, version and correlation of a request.
const HEAD_BYTES: usize = CORRELATION_AT + 4;

pub struct KafkaReplies {
    produced: Vec<u8>,
    /// Every n-th produce request is refused with this code.
    refuse: Option<(u64, i16)>,
    seen: u64,
}

impl KafkaReplies {
    pub fn new(refuse: Option<(u64, i16)>) -> io::Result<KafkaReplies> {
        Ok(KafkaReplies { produced: produced_reply(0)?, refuse, seen: 0 })
    }

    /// Appends the answers to all whole requests; returns how many bytes these were.
    pub fn write(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<usize> {
        let mut used = 0;
        while let Some(frame) = take_frame(&input[used..])? {
            let request = &input[used..used + 4 + frame.len()];
            used += request.len();
            let head: &[u8; HEAD_BYTES] =
                request.first_chunk().ok_or(io::ErrorKind::InvalidData)?;
            let from = output.len();
            if i16::from_be_bytes([head[4], head[5]]) == ApiKey::Produce as i16 {
                self.produce(output)?;
            } else {
                output.extend_from_slice(&set_up(frame)?);
            }
            output[from + 4..from + 8].copy_from_slice(&head[CORRELATION_AT..]);
        }
        Ok(used)
    }

    fn produce(&mut self, output: &mut Vec<u8>) -> io::Result<()> {
        self.seen += 1;
        match self.refuse {
            Some((n, code)) if self.seen.is_multiple_of(n) => {
                output.extend_from_slice(&produced_reply(code)?);
            }
            _ => output.extend_from_slice(&self.produced),
        }
        Ok(())
    }
}

/// The reply to a request of the set-up, its correlation still to be filled in.
fn set_up(frame: &[u8]) -> io::Result<Vec<u8>> {
    let mut request = Bytes::copy_from_slice(frame);
    if request.len() < HEAD_BYTES - 4 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let header = decode_request_header_from_buffer(&mut request).map_err(io::Error::other)?;
    let version = header.request_api_version;
    let body = match ApiKey::try_from(header.request_api_key) {
        Ok(ApiKey::ApiVersions) => encode(&versions(), version),
        Ok(ApiKey::CreateTopics) => {
            encode(&created(&decode::<CreateTopicsRequest>(request, version)?), version)
        }
        Ok(ApiKey::Metadata) => {
            encode(&metadata(&decode::<MetadataRequest>(request, version)?), version)
        }
        Ok(ApiKey::ListOffsets) => {
            encode(&offsets(&decode::<ListOffsetsRequest>(request, version)?), version)
        }
        _ => Err(io::Error::other("the sink does not answer this request")),
    }?;
    // Set-up takes versions whose reply headers are the correlation alone.
    let mut reply = (4 + body.len() as u32).to_be_bytes().to_vec();
    reply.extend_from_slice(&[0; 4]);
    reply.extend_from_slice(&body);
    Ok(reply)
}

fn decode<R: Decodable>(mut bytes: Bytes, version: i16) -> io::Result<R> {
    R::decode(&mut bytes, version).map_err(io::Error::other)
}

fn encode(reply: &impl Encodable, version: i16) -> io::Result<BytesMut> {
    let mut bytes = BytesMut::new();
    reply.encode(&mut bytes, version).map_err(io::Error::other)?;
    Ok(bytes)
}

fn versions() -> ApiVersionsResponse {
    let spoken = [
        (ApiKey::Produce, version::PRODUCE),
        (ApiKey::Fetch, version::FETCH),
        (ApiKey::ListOffsets, version::LIST_OFFSETS),
        (ApiKey::Metadata, version::METADATA),
        (ApiKey::CreateTopics, version::CREATE_TOPICS),
    ];
    let key = |(key, version)| {
        ApiVersion::default()
            .with_api_key(key as i16)
            .with_min_version(version)
            .with_max_version(version)
    };
    ApiVersionsResponse::default().with_api_keys(spoken.map(key).into())
}

fn created(request: &CreateTopicsRequest) -> CreateTopicsResponse {
    let topics = request.topics.iter();
    let made = topics.map(|topic| CreatableTopicResult::default().with_name(topic.name.clone()));
    CreateTopicsResponse::default().with_topics(made.collect())
}

fn metadata(request: &MetadataRequest) -> MetadataResponse {
    let queue = |queue| {
        MetadataResponsePartition::default().with_partition_index(queue).with_leader_id(BrokerId(1))
    };
    let topics = request.topics.iter().flatten().map(|topic| {
        MetadataResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions((0..QUEUES).map(queue).collect())
    });
    MetadataResponse::default()
        .with_brokers(vec![MetadataResponseBroker::default().with_node_id(BrokerId(1))])
        .with_topics(topics.collect())
}

fn offsets(request: &ListOffsetsRequest) -> ListOffsetsResponse {
    let topics = request.topics.iter().map(|topic| {
        let queues = topic.partitions.iter().map(|asked| {
            ListOffsetsPartitionResponse::default()
                .with_partition_index(asked.partition_index)
                .with_offset(0)
        });
        ListOffsetsTopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(queues.collect())
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}
