//! A client: it produces, consumes, commits and asks, with several requests on the way.

use std::collections::BTreeMap;

use ringmq::base::LogOffset;
use ringmq::wire::code::request;
use ringmq::wire::headers::admin::TopicOf;
use ringmq::wire::headers::offsets::{
    GetMaxOffset, QueryConsumerOffset, QueueOf, SearchOffset, UpdateConsumerOffset, ViewMessage,
};
use ringmq::wire::pull::pull_flag;
use ringmq::wire::{BatchEntry, Codec, FrameWriter, PullRequest, SendRequest, Value};

use super::checker::{Checker, Message, Queue};

/// One client of the broker.
pub struct Client {
    pub number: usize,
    /// By the number of its connection; None while it is away.
    pub connection: Option<u64>,
    pub outstanding: BTreeMap<i32, Pending>,
    next_opaque: i32,
    /// Where it goes on in each queue.
    pub positions: BTreeMap<Queue, i64>,
}

/// A request that waits for its answer.
pub struct Pending {
    pub asked: Asked,
    pub since_us: u64,
    /// The broker promises an answer by then.
    pub until_us: u64,
}

pub enum Asked {
    Send { uids: Vec<u64> },
    Pull { queue: Queue, from: i64, tags: Option<Vec<u8>>, visible: u64 },
    Commit { queue: Queue, number: u64, offset: i64 },
    Position { queue: Queue },
    Max { queue: Queue, visible: u64 },
    Min { queue: Queue },
    Search { queue: Queue },
    View { uid: u64 },
    Delete { topic: usize },
}

/// A send without a hold is answered within its waits: topic, room, durability.
const ANSWER_US: u64 = 12_000_000;

impl Client {
    pub fn new(number: usize) -> Self {
        Self {
            number,
            connection: None,
            outstanding: BTreeMap::new(),
            next_opaque: 0,
            positions: BTreeMap::new(),
        }
    }

    pub fn group(&self) -> String {
        format!("group-{}", self.number)
    }

    fn note(&mut self, asked: Asked, oneway: bool, now_us: u64, wait_us: u64) -> i32 {
        self.next_opaque += 1;
        if !oneway {
            let until_us = now_us + wait_us + ANSWER_US;
            self.outstanding
                .insert(self.next_opaque, Pending { asked, since_us: now_us, until_us });
        }
        self.next_opaque
    }

    /// The frame of a send: of one message, or of a batch.
    #[allow(clippy::too_many_arguments)]
    pub fn send(
        &mut self,
        checker: &Checker,
        topic: &str,
        uids: &[u64],
        code: i32,
        codec: Codec,
        oneway: bool,
        now_us: u64,
    ) -> Vec<u8> {
        let opaque = self.note(Asked::Send { uids: uids.to_vec() }, oneway, now_us, 0);
        let batch = code == request::SEND_BATCH_MESSAGE;
        let first = checker.message(uids[0]);
        let mut body = Vec::new();
        for uid in uids {
            let message = checker.message(*uid);
            let bytes = Checker::body(*uid, message.len);
            if batch {
                let properties = properties(message, *uid);
                let entry = BatchEntry {
                    flag: 7,
                    body_at: 0,
                    body: &bytes,
                    properties: properties.as_bytes(),
                };
                entry.encode(&mut body);
            } else {
                body = bytes;
            }
        }
        let shared = if batch { wait(first) } else { properties(first, uids[0]) };
        let send = SendRequest {
            producer_group: Value::of("producers"),
            topic: Value::of(topic),
            default_topic: Value::of("TBW102"),
            default_topic_queue_nums: 2,
            queue_id: first.queue.map_or(-1, |queue| queue as i32),
            sys_flag: 0,
            born_timestamp: 1_700_000_000_000 + now_us as i64,
            flag: 7,
            properties: Some(Value::of(&shared)),
            reconsume_times: 0,
            unit_mode: false,
            max_reconsume_times: None,
            batch,
            broker_name: None,
            body: &body,
        };
        let mut out = Vec::new();
        let mut writer = FrameWriter::request(&mut out, codec, opaque, code, oneway);
        send.encode(code, &mut writer);
        writer.finish_with_body(&body);
        out
    }

    #[allow(clippy::too_many_arguments)]
    pub fn pull(
        &mut self,
        checker: &Checker,
        topic: &str,
        queue: Queue,
        from: i64,
        tags: Option<Vec<u8>>,
        hold_ms: Option<i64>,
        commit: Option<i64>,
        max: i32,
        codec: Codec,
        now_us: u64,
    ) -> Vec<u8> {
        let visible = checker.visible_end(queue);
        let names = tags.as_ref().map(|tags| {
            tags.iter().map(|tag| Message::tag_name(*tag)).collect::<Vec<_>>().join("||")
        });
        let asked = Asked::Pull { queue, from, tags, visible };
        let wait_us = hold_ms.unwrap_or(0) as u64 * 1_000;
        let opaque = self.note(asked, false, now_us, wait_us);
        let group = self.group();
        let mut flags = pull_flag::SUBSCRIPTION;
        flags |= if hold_ms.is_some() { pull_flag::SUSPEND } else { 0 };
        flags |= if commit.is_some() { pull_flag::COMMIT_OFFSET } else { 0 };
        let pull = PullRequest {
            consumer_group: Value::of(&group),
            topic: Value::of(topic),
            queue_id: queue.1 as i32,
            queue_offset: from,
            max_msg_nums: max,
            sys_flag: flags,
            commit_offset: commit.unwrap_or(0),
            suspend_timeout_millis: hold_ms.unwrap_or(0),
            subscription: Some(Value::of(names.as_deref().unwrap_or("*"))),
            sub_version: 0,
            expression_type: Some(Value::of("TAG")),
            max_msg_bytes: None,
            request_source: None,
            proxy_forward_client_id: None,
            transfer: None,
        };
        let mut out = Vec::new();
        let mut writer =
            FrameWriter::request(&mut out, codec, opaque, request::PULL_MESSAGE, false);
        pull.encode(&mut writer);
        writer.finish(0);
        out
    }

    pub fn commit(
        &mut self,
        topic: &str,
        queue: Queue,
        (number, offset): (u64, i64),
        oneway: bool,
        now_us: u64,
    ) -> Vec<u8> {
        let opaque = self.note(Asked::Commit { queue, number, offset }, oneway, now_us, 0);
        let group = self.group();
        let header = UpdateConsumerOffset {
            consumer_group: Value::of(&group),
            topic: Value::of(topic),
            queue_id: queue.1 as i32,
            commit_offset: offset,
        };
        frame(opaque, request::UPDATE_CONSUMER_OFFSET, oneway, |writer| header.encode(writer))
    }

    pub fn position(&mut self, topic: &str, queue: Queue, now_us: u64) -> Vec<u8> {
        let opaque = self.note(Asked::Position { queue }, false, now_us, 0);
        let group = self.group();
        let header = QueryConsumerOffset {
            consumer_group: Value::of(&group),
            topic: Value::of(topic),
            queue_id: queue.1 as i32,
            set_zero_if_not_found: Some(false),
        };
        frame(opaque, request::QUERY_CONSUMER_OFFSET, false, |writer| header.encode(writer))
    }

    pub fn max(&mut self, checker: &Checker, topic: &str, queue: Queue, now_us: u64) -> Vec<u8> {
        let visible = checker.visible_end(queue);
        let opaque = self.note(Asked::Max { queue, visible }, false, now_us, 0);
        let header =
            GetMaxOffset { topic: Value::of(topic), queue_id: queue.1 as i32, committed: None };
        frame(opaque, request::GET_MAX_OFFSET, false, |writer| header.encode(writer))
    }

    pub fn min(&mut self, topic: &str, queue: Queue, now_us: u64) -> Vec<u8> {
        let opaque = self.note(Asked::Min { queue }, false, now_us, 0);
        let header = QueueOf { topic: Value::of(topic), queue_id: queue.1 as i32 };
        frame(opaque, request::GET_MIN_OFFSET, false, |writer| header.encode(writer))
    }

    pub fn search(&mut self, topic: &str, queue: Queue, ms: i64, now_us: u64) -> Vec<u8> {
        let opaque = self.note(Asked::Search { queue }, false, now_us, 0);
        let header = SearchOffset {
            topic: Value::of(topic),
            queue_id: queue.1 as i32,
            timestamp: ms,
            boundary_type: (ms % 2 == 0).then_some(Value::of("UPPER")),
        };
        let code = request::SEARCH_OFFSET_BY_TIMESTAMP;
        frame(opaque, code, false, |writer| header.encode(writer))
    }

    pub fn delete(&mut self, topic: usize, name: &str, now_us: u64) -> Vec<u8> {
        let opaque = self.note(Asked::Delete { topic }, false, now_us, 0);
        let header = TopicOf { topic: Value::of(name) };
        frame(opaque, request::DELETE_TOPIC_IN_BROKER, false, |writer| header.encode(writer))
    }

    pub fn view(&mut self, uid: u64, at: LogOffset, now_us: u64) -> Vec<u8> {
        let opaque = self.note(Asked::View { uid }, false, now_us, 0);
        let header = ViewMessage { topic: None, offset: at.0 as i64 };
        frame(opaque, request::VIEW_MESSAGE_BY_ID, false, |writer| header.encode(writer))
    }
}

fn frame(opaque: i32, code: i32, oneway: bool, fill: impl FnOnce(&mut FrameWriter)) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = FrameWriter::request(&mut out, Codec::Json, opaque, code, oneway);
    fill(&mut writer);
    writer.finish(0);
    out
}

fn properties(message: &Message, uid: u64) -> String {
    let tag = Message::tag_name(message.tag);
    let unique =
        if uid.is_multiple_of(3) { format!("UNIQ_KEY\u{1}U{uid}\u{2}") } else { String::new() };
    format!("KEYS\u{1}k{uid}\u{2}TAGS\u{1}{tag}\u{2}{unique}{}", wait(message))
}

fn wait(message: &Message) -> String {
    format!("WAIT\u{1}{}\u{2}", !message.no_wait)
}
