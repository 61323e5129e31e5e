//! The bodies that brokers register with, in their four shapes: JSON, JSON of brokers
//! before 3.0.11, a zlib stream, and none.

use std::collections::BTreeMap;
use std::io::{self, Read};

use flate2::read::ZlibDecoder;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::answer::Refusal;
use super::relaxed;
use super::routes::{Queues, TopicTable};
use crate::base::metadata::DataVersion;
use crate::base::Now;
use crate::base::checksum::body_crc;
use crate::base::limits::NAMESRV_REGISTRATION_BYTES_MAX;
use crate::wire::Request;

/// From 3.0.11 on the table lies inside a body that also names filter servers.
const WRAPPED_SINCE: i32 = 37;
/// From 5.0.0 on a compressed body ends with the mappings of static topics.
const MAPPINGS_SINCE: i32 = 413;
/// How a zlib stream starts, and no JSON does.
const ZLIB_MAGIC: u8 = 0x78;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Body {
    topic_config_serialize_wrapper: Option<Table>,
    filter_server_list: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Table {
    topic_config_table: Option<BTreeMap<String, Topic>>,
    data_version: Option<DataVersion>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Topic {
    topic_name: Option<String>,
    read_queue_nums: i32,
    write_queue_nums: i32,
    perm: i32,
    topic_sys_flag: i32,
}

/// The part of a route that 217 brings.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct HandMade {
    queue_datas: Option<Vec<HandMadeRow>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HandMadeRow {
    broker_name: String,
    #[serde(flatten)]
    topic: Topic,
}

impl Default for Topic {
    fn default() -> Self {
        Self {
            topic_name: None,
            read_queue_nums: 16,
            write_queue_nums: 16,
            perm: 6,
            topic_sys_flag: 0,
        }
    }
}

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
pub(super) fn read_body(
    request: &Request<'_>,
    compressed: bool,
    now: Now,
) -> Result<TopicTable, Refusal> {
    let body = request.body;
    let (table, filter_servers) = if body.is_empty() {
        (Table { data_version: Some(DataVersion::default()), ..Table::default() }, Some(Vec::new()))
    } else if request.version < WRAPPED_SINCE {
        (parse(body)?, None)
    } else if compressed || body.first() == Some(&ZLIB_MAGIC) {
        // Some 5.x brokers compress the body and forget to say so.
        read_compressed(body, request.version >= MAPPINGS_SINCE)?
    } else {
        let body: Body = parse(body)?;
        (body.topic_config_serialize_wrapper.unwrap_or_default(), body.filter_server_list)
    };
    let unversioned = || DataVersion { timestamp: now.unix_ms, ..DataVersion::default() };
    let rows = table.topic_config_table.unwrap_or_default().into_iter();
    let mut topics = Vec::with_capacity(rows.len());
    for (key, topic) in rows {
        let queues = topic.queues();
        let name = topic.topic_name.unwrap_or(key);
        if name.is_empty() {
            return Err(Refusal::malformed("a topic has no name"));
        }
        topics.push((name, queues));
    }
    let version = table.data_version.unwrap_or_else(unversioned);
    Ok(TopicTable { version, topics, filter_servers })
}

/// The version that 322 asks about; `None` without a body.
pub(super) fn read_data_version(body: &[u8]) -> Result<Option<DataVersion>, Refusal> {
    if body.is_empty() { Ok(None) } else { parse(body) }
}

/// Rows that 217 sets by hand, by broker.
pub(super) fn read_rows(body: &[u8]) -> Result<Vec<(String, Queues)>, Refusal> {
    let route: Option<HandMade> = parse(body)?;
    let rows = route.and_then(|route| route.queue_datas).unwrap_or_default();
    Ok(rows.into_iter().map(|row| (row.broker_name, row.topic.queues())).collect())
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    relaxed::parse(body)
        .map_err(|error| Refusal::malformed(format_args!("the body is not valid: {error}")))
}

/// A stream of counted pieces: version, topics, filter servers, mappings.
fn read_compressed(
    body: &[u8],
    with_mappings: bool,
) -> Result<(Table, Option<Vec<String>>), Refusal> {
    let mut pieces = Pieces {
        stream: ZlibDecoder::new(body),
        left: NAMESRV_REGISTRATION_BYTES_MAX,
        piece: Vec::new(),
    };
    let data_version = parse(pieces.next()?)?;
    let mut topics = BTreeMap::new();
    for _ in 0..pieces.count()? {
        let (name, topic) = topic_line(pieces.next()?)?;
        topics.insert(name, topic);
    }
    let filter_servers = parse(pieces.next()?)?;
    if with_mappings {
        for _ in 0..pieces.count()? {
            pieces.next()?;
        }
    }
    Ok((Table { topic_config_table: Some(topics), data_version }, filter_servers))
}

struct Pieces<'a> {
    stream: ZlibDecoder<&'a [u8]>,
    /// Bytes that may still come out of the stream.
    left: usize,
    piece: Vec<u8>,
}

impl Pieces<'_> {
    fn next(&mut self) -> Result<&[u8], Refusal> {
        let len = self.count()? as usize;
        self.read(len)
    }

    fn count(&mut self) -> Result<u32, Refusal> {
        let bytes = self.read(4)?;
        let count = i32::from_be_bytes(bytes.try_into().expect("four were read"));
        u32::try_from(count).map_err(|_| Refusal::malformed("a negative length in the body"))
    }

    fn read(&mut self, len: usize) -> Result<&[u8], Refusal> {
        let over = || Refusal::over("inflated bytes", NAMESRV_REGISTRATION_BYTES_MAX);
        self.left = self.left.checked_sub(len).ok_or_else(over)?;
        self.piece.clear();
        // Grows with what comes out, not with what was announced.
        let read = self.stream.by_ref().take(len as u64).read_to_end(&mut self.piece);
        let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
        read.and_then(|count| if count == len { Ok(()) } else { Err(cut()) }).map_err(|error| {
            Refusal::malformed(format_args!("the compressed body cannot be read: {error}"))
        })?;
        Ok(&self.piece)
    }
}

/// A topic as `name read write perm filter-type [attributes]`.
fn topic_line(line: &[u8]) -> Result<(String, Topic), Refusal> {
    let read = || {
        let mut words = str::from_utf8(line).ok()?.split(' ');
        let name = words.next()?.to_owned();
        let mut number = || words.next()?.parse().ok();
        let (read_queue_nums, write_queue_nums, perm) = (number()?, number()?, number()?);
        words.next()?;
        let topic = Topic { read_queue_nums, write_queue_nums, perm, ..Topic::default() };
        Some((name, topic))
    };
    let wrong = || {
        let line = String::from_utf8_lossy(line);
        Refusal::malformed(format_args!("{line:?} is not a topic's line"))
    };
    read().ok_or_else(wrong)
}

impl Topic {
    fn queues(&self) -> Queues {
        Queues {
            read: self.read_queue_nums,
            write: self.write_queue_nums,
            perm: self.perm,
            sys_flag: self.topic_sys_flag,
        }
    }
}
