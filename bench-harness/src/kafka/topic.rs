//! Topics: made, led, and how far their queues (Kafka's partitions) reach.

use super::client::KafkaClient;
use super::read::{KafkaError, Read, Reader};
use super::request::{topic_name, version};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, DeleteTopicsRequest, ListOffsetsRequest, MetadataRequest,
};
use std::io;
use std::time::{Duration, Instant};

const ALREADY_THERE: i16 = 36;
const UNKNOWN_TOPIC: i16 = 3;
const NO_LEADER: i16 = 5;
const NOT_LEADER: i16 = 6;
const CREATE_MS_MAX: i32 = 20_000;
/// A leader is elected in milliseconds, on a loaded machine in seconds.
const LEADER_PATIENCE: Duration = Duration::from_secs(40);
const POLL: Duration = Duration::from_millis(20);

/// Makes the topic with one replica, or leaves it as it is where it exists.
pub fn create_topic(client: &mut KafkaClient, topic: &str, queues: u32) -> io::Result<()> {
    let wanted = CreatableTopic::default()
        .with_name(topic_name(topic))
        .with_num_partitions(queues as i32)
        .with_replication_factor(1);
    let request =
        CreateTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(CREATE_MS_MAX);
    match client.call(&request, version::CREATE_TOPICS, read_created)? {
        0 | ALREADY_THERE => Ok(()),
        code => Err(io::Error::other(format!("{topic}: {}", KafkaError::Refused(code)))),
    }
}

/// Takes the topic and its messages away, where it is there.
pub fn delete_topic(client: &mut KafkaClient, topic: &str) -> io::Result<()> {
    let request = DeleteTopicsRequest::default()
        .with_topic_names(vec![topic_name(topic)])
        .with_timeout_ms(CREATE_MS_MAX);
    match client.call(&request, version::DELETE_TOPICS, read_created)? {
        0 | UNKNOWN_TOPIC => Ok(()),
        code => Err(io::Error::other(format!("{topic}: {}", KafkaError::Refused(code)))),
    }
}

/// Waits until every queue of the topic has a leader that knows of it; returns them. A topic
/// that is not known is waited for only where it was `just_made`.
pub fn leaders_known(
    client: &mut KafkaClient,
    topic: &str,
    just_made: bool,
) -> io::Result<Vec<u32>> {
    let deadline = Instant::now() + LEADER_PATIENCE;
    let asked = MetadataRequestTopic::default().with_name(Some(topic_name(topic)));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![asked]))
        .with_allow_auto_topic_creation(false);
    loop {
        let queues = client.call(&request, version::METADATA, read_queues)?;
        let code = match queues {
            Ok(queues) => match client_knows(client, topic, &queues)? {
                None => return Ok(queues),
                Some(code) => code,
            },
            Err(code) => code,
        };
        let may_change = match code {
            UNKNOWN_TOPIC => just_made,
            code => matches!(code, NO_LEADER | NOT_LEADER),
        };
        if !may_change || Instant::now() > deadline {
            return Err(io::Error::other(format!("{topic}: {}", KafkaError::Refused(code))));
        }
        std::thread::sleep(POLL);
    }
}

/// Metadata comes before the leader itself has taken over: it refuses until then.
fn client_knows(client: &mut KafkaClient, topic: &str, queues: &[u32]) -> io::Result<Option<i16>> {
    match offsets(client, topic, queues, LATEST)? {
        Ok(_) => Ok(None),
        Err(code) => Ok(Some(code)),
    }
}

/// A queue's first offset, and the one after its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueEnds {
    pub queue: u32,
    pub first: u64,
    pub end: u64,
}

pub fn queue_ends(
    client: &mut KafkaClient,
    topic: &str,
    queues: &[u32],
) -> io::Result<Vec<QueueEnds>> {
    let mut at = |timestamp| {
        offsets(client, topic, queues, timestamp)?
            .map_err(|code| io::Error::other(format!("{topic}: {}", KafkaError::Refused(code))))
    };
    let (firsts, ends) = (at(EARLIEST)?, at(LATEST)?);
    let of = |offsets: &[(u32, u64)], queue| {
        let found = offsets.iter().find(|(other, _)| *other == queue);
        found.map(|(_, offset)| *offset).ok_or(KafkaError::Nonsense("an offset is missing"))
    };
    let ends_of =
        |&queue: &u32| Ok(QueueEnds { queue, first: of(&firsts, queue)?, end: of(&ends, queue)? });
    queues.iter().map(ends_of).collect()
}

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

fn offsets(
    client: &mut KafkaClient,
    topic: &str,
    queues: &[u32],
    timestamp: i64,
) -> io::Result<Result<Vec<(u32, u64)>, i16>> {
    let partition = |&queue: &u32| {
        ListOffsetsPartition::default()
            .with_partition_index(queue as i32)
            .with_current_leader_epoch(-1)
            .with_timestamp(timestamp)
    };
    let asked = ListOffsetsTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(queues.iter().map(partition).collect());
    let request =
        ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![asked]);
    client.call(&request, version::LIST_OFFSETS, read_offsets)
}

/// The code of the one topic that was asked for, made or deleted.
fn read_created(reader: &mut Reader<'_>) -> Read<i16> {
    let _throttle_ms = reader.i32()?;
    one(reader.count()?)?;
    let _name = reader.string()?;
    reader.i16()
}

/// The topic's queues, or the first error among topic and queues.
fn read_queues(reader: &mut Reader<'_>) -> Read<Result<Vec<u32>, i16>> {
    let _throttle_ms = reader.i32()?;
    for _ in 0..reader.count()? {
        let (_id, _host, _port, _rack) =
            (reader.i32()?, reader.string()?, reader.i32()?, reader.string()?);
    }
    let (_cluster, _controller) = (reader.string()?, reader.i32()?);
    one(reader.count()?)?;
    let mut refused = reader.i16()?;
    let (_name, _internal) = (reader.string()?, reader.i8()?);
    let mut queues = Vec::new();
    for _ in 0..reader.count()? {
        let (code, queue, leader, _epoch) =
            (reader.i16()?, reader.i32()?, reader.i32()?, reader.i32()?);
        for _replicas_in_sync_offline in 0..3 {
            for _ in 0..reader.count()? {
                reader.i32()?;
            }
        }
        let code = if code == 0 && leader < 0 { NO_LEADER } else { code };
        refused = if refused == 0 { code } else { refused };
        queues.push(u32::try_from(queue).map_err(|_| KafkaError::Nonsense("a queue below 0"))?);
    }
    queues.sort_unstable();
    match (refused, queues.is_empty()) {
        (0, true) => Ok(Err(UNKNOWN_TOPIC)),
        (0, false) => Ok(Ok(queues)),
        (code, _) => Ok(Err(code)),
    }
}

/// Queue and offset of each, or the first error.
fn read_offsets(reader: &mut Reader<'_>) -> Read<Result<Vec<(u32, u64)>, i16>> {
    let _throttle_ms = reader.i32()?;
    one(reader.count()?)?;
    let _name = reader.string()?;
    let mut offsets = Vec::new();
    let mut refused = None;
    for _ in 0..reader.count()? {
        let (queue, code) = (reader.i32()?, reader.i16()?);
        let (_timestamp, offset, _epoch) = (reader.i64()?, reader.i64()?, reader.i32()?);
        if code != 0 {
            refused = refused.or(Some(code));
            continue;
        }
        let sane = u32::try_from(queue).ok().zip(u64::try_from(offset).ok());
        offsets.push(sane.ok_or(KafkaError::Nonsense("an offset below 0"))?);
    }
    Ok(refused.map_or(Ok(offsets), Err))
}

fn one(topics: usize) -> Read<()> {
    if topics == 1 { Ok(()) } else { Err(KafkaError::Nonsense("a reply about other topics")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
    use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
    use kafka_protocol::messages::list_offsets_response::{
        ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
    };
    use kafka_protocol::messages::metadata_response::{
        MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
    };
    use kafka_protocol::messages::{
        CreateTopicsResponse, DeleteTopicsResponse, ListOffsetsResponse, MetadataResponse,
    };
    use kafka_protocol::protocol::{Encodable, StrBytes};

    fn bytes_of(reply: &impl Encodable, version: i16) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        reply.encode(&mut bytes, version).unwrap();
        bytes.to_vec()
    }

    /// Read whole, and refused wherever it is cut.
    fn whole_or_refused<T: std::fmt::Debug>(
        bytes: &[u8],
        read: impl Fn(&mut Reader<'_>) -> Read<T>,
    ) -> T {
        for cut in 0..bytes.len() {
            // Trailing fields that nobody reads may be cut.
            let _ = read(&mut Reader::new(&bytes[..cut]));
        }
        assert!(read(&mut Reader::new(&bytes[..bytes.len() / 2])).is_err());
        read(&mut Reader::new(bytes)).unwrap()
    }

    fn metadata(leaders: &[i32], code: i16) -> Vec<u8> {
        let broker = MetadataResponseBroker::default()
            .with_node_id(BrokerId(1))
            .with_host(StrBytes::from_static_str("localhost"));
        let partition = |(index, &leader): (usize, &i32)| {
            MetadataResponsePartition::default()
                .with_partition_index(index as i32)
                .with_leader_id(BrokerId(leader))
                .with_replica_nodes(vec![BrokerId(1)])
                .with_isr_nodes(vec![BrokerId(1)])
        };
        let topic = MetadataResponseTopic::default()
            .with_name(Some(topic_name("t")))
            .with_error_code(code)
            .with_partitions(leaders.iter().enumerate().map(partition).collect());
        let reply = MetadataResponse::default().with_brokers(vec![broker]).with_topics(vec![topic]);
        bytes_of(&reply, version::METADATA)
    }

    #[test]
    fn queues_are_known_once_each_has_a_leader() {
        let read = |bytes: &[u8]| whole_or_refused(bytes, read_queues);
        assert_eq!(read(&metadata(&[1, 1, 1], 0)), Ok(vec![0, 1, 2]));
        assert_eq!(read(&metadata(&[1, -1], 0)), Err(NO_LEADER));
        assert_eq!(read(&metadata(&[], UNKNOWN_TOPIC)), Err(UNKNOWN_TOPIC));
    }

    fn list_offsets(found: &[(i32, i16, i64)]) -> Vec<u8> {
        let partition = |&(queue, code, offset): &(i32, i16, i64)| {
            ListOffsetsPartitionResponse::default()
                .with_partition_index(queue)
                .with_error_code(code)
                .with_offset(offset)
        };
        let topic = ListOffsetsTopicResponse::default()
            .with_name(topic_name("t"))
            .with_partitions(found.iter().map(partition).collect());
        let reply = ListOffsetsResponse::default().with_topics(vec![topic]);
        bytes_of(&reply, version::LIST_OFFSETS)
    }

    #[test]
    fn offsets_are_read_or_their_first_error_is() {
        let read = |bytes: &[u8]| whole_or_refused(bytes, read_offsets);
        let found = [(2, 0, 7), (0, 0, 9)];
        assert_eq!(read(&list_offsets(&found)), Ok(vec![(2, 7), (0, 9)]));
        let refused = [(0, 0, 9), (1, NOT_LEADER, -1), (2, 3, -1)];
        assert_eq!(read(&list_offsets(&refused)), Err(NOT_LEADER));
        let nonsense = list_offsets(&[(0, 0, -1)]);
        assert!(read_offsets(&mut Reader::new(&nonsense)).is_err());
    }

    #[test]
    fn a_deleted_topic_is_told_as_one_that_was_made() {
        let topic = DeletableTopicResult::default()
            .with_name(Some(topic_name("t")))
            .with_error_code(UNKNOWN_TOPIC);
        let reply = DeleteTopicsResponse::default().with_responses(vec![topic]);
        let bytes = bytes_of(&reply, version::DELETE_TOPICS);
        assert_eq!(whole_or_refused(&bytes, read_created), UNKNOWN_TOPIC);
    }

    #[test]
    fn a_topic_is_made_or_the_reason_said() {
        let topic = CreatableTopicResult::default()
            .with_name(topic_name("t"))
            .with_error_code(ALREADY_THERE);
        let reply = CreateTopicsResponse::default().with_topics(vec![topic]);
        let bytes = bytes_of(&reply, version::CREATE_TOPICS);
        assert_eq!(whole_or_refused(&bytes, read_created), ALREADY_THERE);
        let empty = bytes_of(&CreateTopicsResponse::default(), version::CREATE_TOPICS);
        assert!(read_created(&mut Reader::new(&empty)).is_err());
    }
}
