//! What a connection under load needs of a protocol: requests to write from a
//! bank of prebuilt ones, and replies to recognise.

use crate::kafka::{self, KafkaError};
use crate::wire::{Codec, Reply, ReplyScanner, ScanError};
use std::fmt::Display;
use std::io;

/// Frames that lie one after the other in a buffer, so that any run of them is one write.
pub trait Bank: 'static {
    /// The frame with which the next write begins.
    fn first(&self) -> usize;
    /// Bytes of the longest frame.
    fn longest(&self) -> usize;
    /// Where `frame` begins, or the end of the buffer for the one after the last.
    fn start_of(&self, frame: usize, buffer_len: usize) -> usize;
    /// All frames filled from now on are born at `ms` of the calendar.
    fn set_born(&mut self, ms: u64);
    /// Makes `frame` a new request that was meant to be sent at `sent_ns`; returns the index
    /// of its stream and its first sequence.
    fn fill(&mut self, buffer: &mut [u8], frame: usize, opaque: u32, sent_ns: u64) -> (u32, u64);
    /// Queue and number of messages made, for every stream.
    fn streams(&self) -> Vec<(u32, u64)>;
}

/// Reads replies off a buffer's front.
pub trait Replies: 'static {
    type Error: Display;

    /// The first reply of `bytes`, once it has wholly arrived.
    fn scan(&mut self, bytes: &[u8]) -> Result<Option<Reply>, Self::Error>;
}

impl Replies for ReplyScanner {
    type Error = ScanError;

    fn scan(&mut self, bytes: &[u8]) -> Result<Option<Reply>, ScanError> {
        ReplyScanner::scan(self, bytes)
    }
}

/// Replies to Kafka's produce requests.
pub struct Produced;

impl Replies for Produced {
    type Error = KafkaError;

    fn scan(&mut self, bytes: &[u8]) -> Result<Option<Reply>, KafkaError> {
        kafka::scan_produced(bytes)
    }
}

/// The same for every message of a run, whatever carries it.
#[derive(Clone, Debug)]
pub struct MessageShape {
    pub topic: String,
    /// Body bytes of one message.
    pub size: usize,
    /// Messages per request; more than one makes batch requests.
    pub batch: usize,
    pub run: u64,
}

/// How requests are written.
#[derive(Clone, Debug)]
pub enum Protocol {
    Remoting(Remoting),
    Kafka(Produce),
}

/// RocketMQ's own protocol.
#[derive(Clone, Debug)]
pub struct Remoting {
    pub codec: Codec,
    pub group: String,
    pub broker_name: Option<String>,
    /// What the messages of a stream are tagged with, in turn; none: nothing. Of one length
    /// where messages are batched.
    pub tags: Vec<String>,
    /// What an automatically created topic would get.
    pub default_queues: u32,
    /// The reply code that means success: 0, or the request's own from an echo.
    pub ok_code: i32,
}

/// Kafka's protocol.
#[derive(Clone, Copy, Debug)]
pub struct Produce {
    /// 1: the leader has it; -1: so have all replicas in sync.
    pub acks: i16,
}

impl Remoting {
    /// The same with tags for the messages to take in turn.
    pub fn tagged(self, tags: &[String], batch: usize) -> io::Result<Remoting> {
        let separates = |c: char| c.is_control() || c.is_whitespace() || c == '|';
        if tags.iter().any(|tag| tag.is_empty() || tag.contains(separates)) {
            return Err(io::Error::other("a tag has letters, and no `|`, space or control code"));
        }
        // All messages of a batch begin at multiples of one length.
        if batch > 1 && tags.iter().any(|tag| tag.len() != tags[0].len()) {
            return Err(io::Error::other("tags of different lengths cannot be batched"));
        }
        Ok(Remoting { tags: tags.to_vec(), ..self })
    }
}

impl Protocol {
    /// The reply code that means success.
    pub fn ok_code(&self) -> i32 {
        match self {
            Protocol::Remoting(remoting) => remoting.ok_code,
            Protocol::Kafka(_) => 0,
        }
    }

    /// About as many bytes as a request has beside its bodies.
    pub fn overhead_bytes(&self, batch: usize) -> usize {
        match self {
            Protocol::Remoting(_) => 256 + 128 * batch,
            Protocol::Kafka(_) => 192 + 12 * batch,
        }
    }
}
