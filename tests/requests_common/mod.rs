//! Requests as peers write them, and replies as they read them: for a broker in memory
//! and for one behind a socket.
#![allow(dead_code)]

use std::collections::BTreeMap;

use ringmq::wire::body::heartbeat::{ConsumerData, Heartbeat, ProducerData, SubscriptionData};
use ringmq::wire::body::to_bytes;
use ringmq::wire::code::request;
use ringmq::wire::pull::pull_flag;
use ringmq::wire::{BatchEntry, Codec, FrameWriter, Request, StoredMessages};

/// A frame that the broker sent, reply or request.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    pub code: i32,
    pub opaque: i32,
    pub is_reply: bool,
    pub remark: Option<String>,
    pub ext: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Frame {
    #[track_caller]
    pub fn number(&self, field: &str) -> i64 {
        self.ext.get(field).unwrap_or_else(|| panic!("{field} in {self:?}")).parse().unwrap()
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn remark(&self) -> &str {
        self.remark.as_deref().unwrap_or_default()
    }

    /// The bodies of the stored messages that the body consists of.
    pub fn bodies(&self) -> Vec<Vec<u8>> {
        let messages = StoredMessages::new(&self.body).map(Result::unwrap);
        messages.map(|message| message.body.to_vec()).collect()
    }

    /// The same as texts.
    pub fn messages(&self) -> Vec<String> {
        let text = |body: Vec<u8>| String::from_utf8_lossy(&body).into_owned();
        self.bodies().into_iter().map(text).collect()
    }

    /// Fails the test, with all that is known, unless the code is this.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

/// The whole frames that `bytes` consist of.
pub fn read_frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (frame, len) = read_frame(bytes).expect("a whole frame");
        frames.push(frame);
        bytes = &bytes[len..];
    }
    frames
}

/// The first frame and its length, if it is whole.
pub fn read_frame(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (read, len) = Request::read(bytes).unwrap()?;
    let ext = read.ext.iter();
    let frame = Frame {
        code: read.code,
        opaque: read.opaque,
        is_reply: read.is_response(),
        remark: read.remark.map(|text| text.text().into_owned()),
        ext: ext.map(|field| (field.key.to_string(), field.value.to_string())).collect(),
        body: read.body.to_vec(),
    };
    Some((frame, len))
}

/// A request that is being put together.
#[derive(Clone, Debug)]
pub struct Ask {
    pub code: i32,
    pub ext: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub oneway: bool,
    pub codec: Codec,
}

/// A request without fields.
pub fn ask(code: i32) -> Ask {
    Ask { code, ext: Vec::new(), body: Vec::new(), oneway: false, codec: Codec::Json }
}

impl Ask {
    /// Sets a field; an empty text takes it out.
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.ext.retain(|(known, _)| known != key);
        let value = value.to_string();
        if !value.is_empty() {
            self.ext.push((key.to_owned(), value));
        }
        self
    }

    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    pub fn oneway(mut self) -> Self {
        self.oneway = true;
        self
    }

    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    pub fn frame(&self, opaque: i32) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = FrameWriter::request(&mut out, self.codec, opaque, self.code, self.oneway);
        for (key, value) in &self.ext {
            writer.field(key, value);
        }
        writer.finish_with_body(&self.body);
        out
    }
}

/// 310: a message to a queue of a topic.
pub fn send(topic: &str, queue: i32, body: impl AsRef<[u8]>) -> Ask {
    ask(request::SEND_MESSAGE_V2)
        .with("a", "producers")
        .with("b", topic)
        .with("c", "TBW102")
        .with("d", 4)
        .with("e", queue)
        .with("f", 0)
        .with("g", 1_700_000_000_001_i64)
        .with("h", 0)
        .body(body)
}

/// 320: several messages.
pub fn send_batch(topic: &str, queue: i32, bodies: &[(&str, &str)]) -> Ask {
    let mut body = Vec::new();
    for (one, properties) in bodies {
        let properties = properties.as_bytes();
        BatchEntry { flag: 0, body: one.as_bytes(), body_at: 0, properties }.encode(&mut body);
    }
    let single = send(topic, queue, body).with("m", true);
    Ask { code: request::SEND_BATCH_MESSAGE, ..single }
}

/// 11: a pull with its subscription, which may not wait.
pub fn pull(group: &str, topic: &str, queue: i32, offset: i64) -> Ask {
    ask(request::PULL_MESSAGE)
        .with("consumerGroup", group)
        .with("topic", topic)
        .with("queueId", queue)
        .with("queueOffset", offset)
        .with("maxMsgNums", 32)
        .with("sysFlag", pull_flag::SUBSCRIPTION)
        .with("commitOffset", 0)
        .with("suspendTimeoutMillis", 0)
        .with("subscription", "*")
        .with("subVersion", 0)
}

/// The same, to be held for so long.
pub fn held_pull(group: &str, topic: &str, queue: i32, offset: i64, ms: i64) -> Ask {
    pull(group, topic, queue, offset)
        .with("sysFlag", pull_flag::SUBSCRIPTION | pull_flag::SUSPEND)
        .with("suspendTimeoutMillis", ms)
}

/// 34: a consumer of one group that subscribes to topics with expressions.
pub fn consumer_beat(client: &str, group: &str, subscriptions: &[(&str, &str)]) -> Heartbeat {
    let subscriptions = subscriptions.iter().map(|(topic, expression)| SubscriptionData {
        topic: (*topic).to_owned(),
        sub_string: (*expression).to_owned(),
        sub_version: 1,
        ..SubscriptionData::default()
    });
    let data = ConsumerData {
        group_name: group.to_owned(),
        subscription_data_set: subscriptions.collect(),
        ..ConsumerData::default()
    };
    Heartbeat {
        client_id: client.to_owned(),
        consumer_data_set: vec![data],
        ..Heartbeat::default()
    }
}

pub fn producer_beat(client: &str, group: &str) -> Heartbeat {
    Heartbeat {
        client_id: client.to_owned(),
        producer_data_set: vec![ProducerData { group_name: group.to_owned() }],
        ..Heartbeat::default()
    }
}

pub fn heartbeat(beat: &Heartbeat) -> Ask {
    ask(request::HEART_BEAT).body(to_bytes(beat))
}

/// 17: a topic with so many queues, readable and writable.
pub fn update_topic(topic: &str, queues: i32) -> Ask {
    ask(request::UPDATE_AND_CREATE_TOPIC)
        .with("topic", topic)
        .with("defaultTopic", "TBW102")
        .with("readQueueNums", queues)
        .with("writeQueueNums", queues)
        .with("perm", 6)
        .with("topicFilterType", "SINGLE_TAG")
        .with("topicSysFlag", 0)
        .with("order", false)
}

pub fn commit(group: &str, topic: &str, queue: i32, offset: i64) -> Ask {
    ask(request::UPDATE_CONSUMER_OFFSET)
        .with("consumerGroup", group)
        .with("topic", topic)
        .with("queueId", queue)
        .with("commitOffset", offset)
}

pub fn committed(group: &str, topic: &str, queue: i32) -> Ask {
    ask(request::QUERY_CONSUMER_OFFSET)
        .with("consumerGroup", group)
        .with("topic", topic)
        .with("queueId", queue)
        .with("setZeroIfNotFound", false)
}
