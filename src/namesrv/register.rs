//! The bodies that brokers register with, in their four shapes: JSON, JSON of brokers
//! before 3.0.11, a zlib stream, and none.

use super::answer::Refusal;
use super::routes::Offered;
use super::topics::Queues;
use crate::base::checksum::body_crc;
use crate::wire::Request;
use crate::wire::body::register::Registration;
use crate::wire::body::route::{QueueData, TopicRoute};
use crate::wire::body::topic::{DataVersion, TopicConfig, TopicConfigTable};
use crate::wire::body::{BodyError, from_bytes};

/// From 3.0.11 on the table lies inside a body that also names filter servers.
const WRAPPED_SINCE: i32 = 37;
/// How a zlib stream starts, and no JSON does.
const ZLIB_MAGIC: u8 = 0x78;

pub(super) fn check_crc(body: &[u8], expected: Option<i32>) -> Result<(), Refusal> {
    let found = body_crc(body);
    match expected {
        None | Some(0) => Ok(()),
        Some(expected) if expected as u32 == found => Ok(()),
        Some(expected) => Err(Refusal::malformed(format_args!(
            "bodyCrc32 is {expected}, that of the body is {found}"
        ))),
    }
}

/// What a broker registers.
pub(super) fn read_body(request: &Request<'_>, compressed: bool) -> Result<Offered, Refusal> {
    let body = request.body;
    let (table, filter_servers) = if body.is_empty() {
        (TopicConfigTable::default(), Some(Vec::new()))
    } else if request.version < WRAPPED_SINCE {
        (from_bytes(body)?, None)
    } else {
        // Some 5.x brokers compress the body and forget to say so.
        let compressed = compressed || body.first() == Some(&ZLIB_MAGIC);
        let body = Registration::decode(body, compressed, request.version)?;
        (body.topics, Some(body.filter_server_list))
    };
    let mut topics = Vec::with_capacity(table.topic_config_table.len());
    for (key, topic) in table.topic_config_table {
        let queues = queues_of(&topic);
        let name = if topic.name.is_empty() { key } else { topic.name };
        if name.is_empty() {
            return Err(Refusal::malformed("a topic has no name"));
        }
        topics.push((name, queues));
    }
    Ok(Offered { version: table.data_version, topics, filter_servers })
}

/// The version that 322 asks about; `None` without a body.
pub(super) fn read_data_version(body: &[u8]) -> Result<Option<DataVersion>, Refusal> {
    if body.is_empty() { Ok(None) } else { Ok(from_bytes(body)?) }
}

/// Rows that 217 sets by hand, by broker.
pub(super) fn read_rows(body: &[u8]) -> Result<Vec<(String, Queues)>, Refusal> {
    let route: Option<TopicRoute> = from_bytes(body)?;
    let row = |row: QueueData| {
        let queues = Queues {
            read: row.read_queue_nums,
            write: row.write_queue_nums,
            perm: row.perm,
            sys_flag: row.topic_sys_flag,
        };
        (row.broker_name, queues)
    };
    Ok(route.unwrap_or_default().queue_datas.into_iter().map(row).collect())
}

fn queues_of(topic: &TopicConfig) -> Queues {
    // Routes have signed numbers; no real topic comes near their end.
    let signed = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    Queues {
        read: signed(topic.read_queues),
        write: signed(topic.write_queues),
        perm: signed(topic.perm),
        sys_flag: signed(topic.sys_flag),
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        Self::malformed(error)
    }
}
