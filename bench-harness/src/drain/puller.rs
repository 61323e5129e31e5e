//! One draining connection: keeps a window of pulls in flight, each for
//! another queue, and hands what comes back to the verifier.

use super::run::QueueSpan;
use super::stored::count_stored;
use super::verify::{Expected, Verifier};
use crate::measure::latencies;
use crate::wire::{Codec, Frame, Header, Request, code, take_frame};
use hdrhistogram::Histogram;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::{Duration, Instant};
use tokio_uring::buf::BoundedBuf;
use tokio_uring::net::TcpStream;

/// How a drain pulls.
#[derive(Clone, Debug)]
pub struct PullStyle {
    pub topic: String,
    pub group: String,
    pub codec: Codec,
    /// Code 361 instead of 11.
    pub lite: bool,
    pub max_messages: u32,
    pub max_bytes: Option<u32>,
    /// Pulls in flight per connection.
    pub window: usize,
    /// Count messages without looking into them.
    pub discard: bool,
}

/// What one connection brought.
pub struct Pulled {
    pub messages: u64,
    pub body_bytes: u64,
    pub pulls: BTreeMap<i32, u64>,
    pub latency: Histogram<u64>,
    pub verifier: Verifier,
    /// Queues that ended before their end, and why.
    pub short: Vec<String>,
}

pub struct Puller {
    style: PullStyle,
    stream: TcpStream,
    queues: Vec<QueueSpan>,
    ready: VecDeque<usize>,
    /// By correlation: the queue, and when its pull left.
    in_flight: BTreeMap<u32, (usize, Instant)>,
    next_opaque: u32,
    pulled: Pulled,
}

const READ_BYTES: usize = 1024 * 1024;
const REPLY_PATIENCE: Duration = Duration::from_secs(20);

const MAY_WAIT: u32 = 2;
const SUBSCRIPTION_IN_REQUEST: u32 = 4;
const LITE: u32 = 16;

const FOUND: i32 = 0;
const RETRY_AT_ONCE: i32 = 20;
const OFFSET_MOVED: i32 = 21;

impl Puller {
    pub fn new(style: PullStyle, stream: TcpStream, queues: Vec<QueueSpan>) -> Puller {
        let left = |(_, queue): &(usize, &QueueSpan)| queue.next < queue.end;
        let ready = queues.iter().enumerate().filter(left).map(|(index, _)| index).collect();
        let pulled = Pulled {
            messages: 0,
            body_bytes: 0,
            pulls: BTreeMap::new(),
            latency: latencies(),
            verifier: Verifier::default(),
            short: Vec::new(),
        };
        let in_flight = BTreeMap::new();
        Puller { style, stream, queues, ready, in_flight, next_opaque: 1, pulled }
    }

    /// Pulls until every queue has reached its end.
    pub async fn run(mut self) -> io::Result<Pulled> {
        let (mut input, mut filled) = (vec![0; READ_BYTES], 0);
        let mut output = Vec::new();
        loop {
            self.request(&mut output);
            if self.in_flight.is_empty() {
                return Ok(self.pulled);
            }
            if !output.is_empty() {
                let (written, back) = self.stream.write_all(output).await;
                written?;
                output = back;
                output.clear();
            }
            let read = self.stream.read(input.slice(filled..));
            let Ok((read, slice)) = tokio::time::timeout(REPLY_PATIENCE, read).await else {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "a pull was not answered"));
            };
            input = slice.into_inner();
            match read? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
            let mut used = 0;
            while let Some(frame) = take_frame(&input[used..filled]).map_err(io::Error::other)? {
                self.take(&frame)?;
                used += frame.len;
            }
            input.copy_within(used..filled, 0);
            filled -= used;
            if filled == input.len() {
                input.resize(2 * filled, 0);
            }
        }
    }

    /// Writes pulls for as many queues as the window allows.
    fn request(&mut self, output: &mut Vec<u8>) {
        while self.in_flight.len() < self.style.window {
            let Some(index) = self.ready.pop_front() else {
                return;
            };
            let opaque = self.next_opaque;
            self.next_opaque = self.next_opaque % (i32::MAX as u32) + 1;
            let request = pull_request(&self.style, &self.queues[index], None);
            output.extend_from_slice(&request.encode(self.style.codec, opaque).bytes);
            self.in_flight.insert(opaque, (index, Instant::now()));
        }
    }

    fn take(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        let header = Header::parse(frame.codec, frame.header).map_err(io::Error::other)?;
        // Anything else is a request of the broker's own: not for us.
        let Some((index, sent)) = self.in_flight.remove(&header.opaque) else {
            return Ok(());
        };
        *self.pulled.pulls.entry(header.code).or_default() += 1;
        self.pulled.latency.saturating_record(sent.elapsed().as_nanos() as u64);
        let queue = &mut self.queues[index];
        let stated = header.ext("nextBeginOffset").and_then(|text| text.parse::<u64>().ok());
        let moved = match header.code {
            FOUND | RETRY_AT_ONCE | OFFSET_MOVED => stated.filter(|&next| next > queue.next),
            _ => None,
        };
        let Some(next) = moved else {
            let (queue, at, end) = (queue.queue, queue.next, queue.end);
            let (code, remark) = (header.code, &header.remark);
            self.pulled
                .short
                .push(format!("queue {queue} stopped at {at} of {end}: code {code} {remark}"));
            return Ok(());
        };
        if header.code == FOUND {
            self.count(frame.body, index)?;
        }
        let queue = &mut self.queues[index];
        queue.next = next;
        if queue.next < queue.end {
            self.ready.push_back(index);
        }
        Ok(())
    }

    fn count(&mut self, body: &[u8], index: usize) -> io::Result<()> {
        let queue = &self.queues[index];
        let messages = if self.style.discard {
            count_stored(body).map_err(|error| io::Error::other(error.to_string()))?
        } else {
            let expected = Expected {
                topic: self.style.topic.as_bytes(),
                queue: queue.queue,
                from_offset: queue.next,
                whole: queue.whole,
            };
            self.pulled.verifier.take(body, expected)
        };
        self.pulled.messages += messages;
        self.pulled.body_bytes += body.len() as u64;
        Ok(())
    }
}

/// A pull that, given a time, may wait that long for a message.
pub fn pull_request(style: &PullStyle, queue: &QueueSpan, wait: Option<Duration>) -> Request {
    let (code, mut flag) = match style.lite {
        true => (code::LITE_PULL, SUBSCRIPTION_IN_REQUEST | LITE),
        false => (code::PULL, SUBSCRIPTION_IN_REQUEST),
    };
    if wait.is_some() {
        flag |= MAY_WAIT;
    }
    let mut request = Request::new(code)
        .ext("commitOffset", 0)
        .ext("consumerGroup", &style.group)
        .ext("expressionType", "TAG")
        .ext("maxMsgNums", style.max_messages)
        .ext("queueId", queue.queue)
        .ext("queueOffset", queue.next)
        .ext("subVersion", 0)
        .ext("subscription", "*")
        .ext("suspendTimeoutMillis", wait.unwrap_or_default().as_millis())
        .ext("sysFlag", flag)
        .ext("topic", &style.topic);
    if let Some(bytes) = style.max_bytes {
        request = request.ext("maxMsgBytes", bytes);
    }
    request
}
