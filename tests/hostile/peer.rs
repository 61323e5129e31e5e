//! A client that can be as rude as a test needs it, and the requests it writes.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use ringmq::wire::code::request;
use ringmq::wire::{BatchEntry, Codec, FrameWriter, Request, StoredMessages};

/// No answer takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// One connection.
pub struct Peer {
    pub stream: TcpStream,
    inbox: Vec<u8>,
    opaque: i32,
}

#[derive(Debug)]
pub struct Reply {
    pub code: i32,
    pub opaque: i32,
    pub remark: String,
    pub ext: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Peer {
    pub fn connect(address: &str) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    pub fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, inbox: Vec::new(), opaque: 0 }
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    #[track_caller]
    pub fn ask(&mut self, ask: &Ask) -> Reply {
        self.opaque += 1;
        self.write(&ask.frame(self.opaque));
        let reply = self.read();
        assert_eq!(reply.opaque, self.opaque, "a reply that nobody asked for: {reply:?}");
        reply
    }

    #[track_caller]
    pub fn read(&mut self) -> Reply {
        let mut bytes = [0; 65_536];
        loop {
            if let Some((read, len)) = Request::read(&self.inbox).unwrap() {
                assert!(read.is_response(), "{read:?}");
                let fields = read.ext.iter();
                let reply = Reply {
                    code: read.code,
                    opaque: read.opaque,
                    remark: read.remark.map(|text| text.to_string()).unwrap_or_default(),
                    ext: fields
                        .map(|field| (field.key.to_string(), field.value.to_string()))
                        .collect(),
                    body: read.body.to_vec(),
                };
                self.inbox.drain(..len);
                return reply;
            }
            let len = self.stream.read(&mut bytes).expect("a reply in time");
            assert!(len > 0, "the broker hung up");
            self.inbox.extend_from_slice(&bytes[..len]);
        }
    }

    /// Fails unless the broker hangs up without another word.
    #[track_caller]
    pub fn expect_closed(mut self, what: &str) {
        match self.stream.read(&mut [0; 64]) {
            Ok(0) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => panic!("{what}: {other:?} instead of a close"),
        }
    }

    /// A message goes to topic T and its queue becomes one longer.
    #[track_caller]
    pub fn send_one(&mut self) {
        let reply = self.ask(&send("T", 0, "fine"));
        assert_eq!(reply.code, 0, "{reply:?}");
    }

    #[track_caller]
    pub fn max_offset(&mut self, topic: &str) -> i64 {
        self.ask(&ask(request::GET_MAX_OFFSET).with("topic", topic).with("queueId", 0))
            .expect(0)
            .number("offset")
    }

    pub fn create(&mut self, topic: &str) {
        self.ask(&update_topic(topic)).expect(0);
    }
}

impl Reply {
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    #[track_caller]
    pub fn number(&self, field: &str) -> i64 {
        self.ext.get(field).unwrap_or_else(|| panic!("{field} in {self:?}")).parse().unwrap()
    }

    pub fn bodies(&self) -> Vec<Vec<u8>> {
        StoredMessages::new(&self.body).map(|message| message.unwrap().body.to_vec()).collect()
    }
}

/// A request that is being put together.
#[derive(Clone, Debug)]
pub struct Ask {
    pub code: i32,
    ext: Vec<(String, String)>,
    body: Vec<u8>,
    pub oneway: bool,
    pub codec: Codec,
}

pub fn ask(code: i32) -> Ask {
    Ask { code, ext: Vec::new(), body: Vec::new(), oneway: false, codec: Codec::Json }
}

impl Ask {
    /// Sets a field.
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.ext.retain(|(known, _)| known != key);
        self.ext.push((key.to_owned(), value.to_string()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub fn frame(&self, opaque: i32) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = FrameWriter::request(&mut out, self.codec, opaque, self.code, self.oneway);
        for (key, value) in &self.ext {
            writer.field(key, value);
        }
        // No bound here: frames that are too long are what some tests are about.
        writer.finish_with_body(&self.body);
        out
    }
}

pub fn send(topic: &str, queue: i32, body: impl Into<Vec<u8>>) -> Ask {
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

/// A batch of two messages.
pub fn send_batch(topic: &str) -> (Ask, Vec<u8>) {
    let mut body = Vec::new();
    for text in ["first", "second"] {
        BatchEntry { flag: 0, body_at: 0, body: text.as_bytes(), properties: b"" }
            .encode(&mut body);
    }
    let ask = send(topic, 0, body.clone()).with("m", true);
    (Ask { code: request::SEND_BATCH_MESSAGE, ..ask }, body)
}

/// A pull of 32 messages that may not wait.
pub fn pull(topic: &str, offset: i64) -> Ask {
    ask(request::PULL_MESSAGE)
        .with("consumerGroup", "consumers")
        .with("topic", topic)
        .with("queueId", 0)
        .with("queueOffset", offset)
        .with("maxMsgNums", 32)
        .with("sysFlag", 4)
        .with("commitOffset", 0)
        .with("suspendTimeoutMillis", 0)
        .with("subscription", "*")
        .with("subVersion", 0)
}

/// One queue, readable and writable.
fn update_topic(topic: &str) -> Ask {
    ask(request::UPDATE_AND_CREATE_TOPIC)
        .with("topic", topic)
        .with("defaultTopic", "TBW102")
        .with("readQueueNums", 1)
        .with("writeQueueNums", 1)
        .with("perm", 6)
        .with("topicFilterType", "SINGLE_TAG")
        .with("topicSysFlag", 0)
        .with("order", false)
}
