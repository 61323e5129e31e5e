//! A connection to a broker with the requests that are under way on it.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use super::connection::{Connection, Reply};
use super::follow::Start;
use crate::wire::body::heartbeat::{
    ConsumeFromWhere, ConsumeType, ConsumerData, Heartbeat, MessageModel, SubscriptionData,
};
use crate::wire::body::to_bytes;
use crate::wire::code::request;
use crate::wire::headers::offsets::{GetMaxOffset, QueueOf, SearchOffset};
use crate::wire::pull::pull_flag;
use crate::wire::{FrameWriter, PullRequest, Value};

/// Exists on every broker, also where clients may not create groups. Nothing is ever
/// committed for it.
const GROUP: &str = "TOOLS_CONSUMER";
const ALL_TAGS: &str = "*";
const PULL_MESSAGES: i32 = 32;
/// How long a broker is asked to hold a pull, and when it must have answered.
const HOLD_MS: i64 = 15_000;
const OVERDUE: Duration = Duration::from_secs(35);
const HEARTBEAT_EVERY: Duration = Duration::from_secs(30);

pub struct Session {
    connection: Connection,
    /// By the opaque that the reply will have.
    asked: HashMap<i32, Asked>,
    heartbeat: Vec<u8>,
    heartbeat_at: Instant,
}

/// A request under way.
#[derive(Clone, Copy)]
pub struct Asked {
    pub what: What,
    pub at: Instant,
}

/// What was asked, and of which queue.
#[derive(Clone, Copy)]
pub enum What {
    Heartbeat,
    Position(usize),
    Pull(usize),
}

impl Session {
    /// Connects as the client `client_id`, which reads `topic`. The broker is to know it
    /// before it is asked for anything else: a heartbeat is under way.
    pub fn open(address: &str, client_id: &str, topic: &str) -> io::Result<Self> {
        let mut session = Self {
            connection: Connection::open(address)?,
            asked: HashMap::new(),
            heartbeat: to_bytes(&heartbeat(client_id, topic)),
            heartbeat_at: Instant::now(),
        };
        session.keep_alive()?;
        Ok(session)
    }

    /// Sends a heartbeat when it is time.
    pub fn keep_alive(&mut self) -> io::Result<()> {
        if self.heartbeat_at > Instant::now() {
            return Ok(());
        }
        self.heartbeat_at = Instant::now() + HEARTBEAT_EVERY;
        let opaque = self.connection.submit(request::HEART_BEAT, |_| {}, &self.heartbeat)?;
        self.note(opaque, What::Heartbeat);
        Ok(())
    }

    pub fn is_idle(&self) -> bool {
        self.asked.is_empty()
    }

    /// The next reply with what it answers, or `None` when none comes in that time.
    pub fn receive(&mut self, wait: Duration) -> io::Result<Option<(Asked, Reply)>> {
        match self.connection.receive(Instant::now() + wait)? {
            Some(reply) => {
                let asked = self.asked.remove(&reply.view().opaque);
                Ok(asked.map(|asked| (asked, reply)))
            }
            None => self.check_overdue().map(|()| None),
        }
    }

    fn check_overdue(&self) -> io::Result<()> {
        if self.asked.values().all(|asked| asked.at.elapsed() < OVERDUE) {
            return Ok(());
        }
        let silence = format!("no reply in {} s", OVERDUE.as_secs());
        Err(io::Error::new(io::ErrorKind::TimedOut, silence))
    }

    fn note(&mut self, opaque: i32, what: What) {
        self.asked.insert(opaque, Asked { what, at: Instant::now() });
    }

    fn submit(
        &mut self,
        what: What,
        code: i32,
        fields: impl FnOnce(&mut FrameWriter<'_>),
    ) -> io::Result<()> {
        let opaque = self.connection.submit(code, fields, b"")?;
        self.note(opaque, what);
        Ok(())
    }

    /// Asks where a queue is begun.
    pub fn ask_position(&mut self, topic: Value<'_>, at: usize, start: Start) -> io::Result<()> {
        let (what, queue_id) = (What::Position(at), at as i32);
        match start {
            Start::First => {
                let header = QueueOf { topic, queue_id };
                self.submit(what, request::GET_MIN_OFFSET, |writer| header.encode(writer))
            }
            Start::Last => {
                let header = GetMaxOffset { topic, queue_id, committed: None };
                self.submit(what, request::GET_MAX_OFFSET, |writer| header.encode(writer))
            }
            Start::Since(timestamp) => {
                let header = SearchOffset { topic, queue_id, timestamp, boundary_type: None };
                let code = request::SEARCH_OFFSET_BY_TIMESTAMP;
                self.submit(what, code, |writer| header.encode(writer))
            }
        }
    }

    /// Asks for messages from an offset on, or to be answered once there are some.
    pub fn ask_messages(&mut self, topic: Value<'_>, at: usize, offset: i64) -> io::Result<()> {
        let header = PullRequest {
            consumer_group: Value::of(GROUP),
            topic,
            queue_id: at as i32,
            queue_offset: offset,
            max_msg_nums: PULL_MESSAGES,
            sys_flag: pull_flag::SUSPEND | pull_flag::SUBSCRIPTION,
            commit_offset: 0,
            suspend_timeout_millis: HOLD_MS,
            subscription: Some(Value::of(ALL_TAGS)),
            sub_version: 0,
            expression_type: Some(Value::of("TAG")),
            max_msg_bytes: None,
            request_source: None,
            proxy_forward_client_id: None,
            transfer: None,
        };
        self.submit(What::Pull(at), request::PULL_MESSAGE, |writer| header.encode(writer))
    }
}

fn heartbeat(client_id: &str, topic: &str) -> Heartbeat {
    let subscription = SubscriptionData {
        sub_string: ALL_TAGS.to_owned(),
        topic: topic.to_owned(),
        ..SubscriptionData::default()
    };
    let consumer = ConsumerData {
        consume_from_where: ConsumeFromWhere::LastOffset,
        consume_type: ConsumeType::Actively,
        group_name: GROUP.to_owned(),
        message_model: MessageModel::Broadcasting,
        subscription_data_set: vec![subscription],
        unit_mode: false,
    };
    Heartbeat {
        client_id: client_id.to_owned(),
        consumer_data_set: vec![consumer],
        ..Heartbeat::default()
    }
}
