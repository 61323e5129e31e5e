//! One draining connection: keeps a window of pulls in flight, each for
//! another queue, and hands what comes back to the verifier.

use super::run::QueueSpan;
use super::verify::Verifier;
use crate::measure::latencies;
use hdrhistogram::Histogram;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::{Duration, Instant};
use tokio_uring::buf::BoundedBuf;
use tokio_uring::net::TcpStream;

/// What a pull is in one protocol.
pub trait Pulls {
    /// Appends a pull for the queue, from its `next` on.
    fn write(&self, queue: &QueueSpan, opaque: u32, output: &mut Vec<u8>) -> io::Result<()>;

    /// The first reply of `bytes`, once it has wholly arrived; nothing inside for what is not
    /// a reply of ours.
    fn read<'a>(&self, bytes: &'a [u8]) -> io::Result<Option<Arrival<'a>>>;

    /// How many messages a reply's body has, verified unless they are only to be counted.
    fn count(&self, body: &[u8], queue: &QueueSpan, verifier: &mut Verifier) -> io::Result<u64>;
}

/// A whole frame that came.
pub struct Arrival<'a> {
    pub opaque: u32,
    pub code: i32,
    pub remark: String,
    /// Where to go on, if the reply says so.
    pub next: Option<u64>,
    /// Messages, where there are any.
    pub body: &'a [u8],
    pub len: usize,
}

/// What one connection brought.
pub struct Pulled {
    pub messages: u64,
    /// By how far the queues' offsets went on.
    pub scanned: u64,
    pub body_bytes: u64,
    pub pulls: BTreeMap<i32, u64>,
    pub latency: Histogram<u64>,
    pub verifier: Verifier,
    /// Queues that ended before their end, and why.
    pub short: Vec<String>,
}

pub struct Puller<P: Pulls> {
    pulls: P,
    window: usize,
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

impl<P: Pulls> Puller<P> {
    pub fn new(pulls: P, window: usize, stream: TcpStream, queues: Vec<QueueSpan>) -> Puller<P> {
        let left = |(_, queue): &(usize, &QueueSpan)| queue.next < queue.end;
        let ready = queues.iter().enumerate().filter(left).map(|(index, _)| index).collect();
        let pulled = Pulled {
            messages: 0,
            scanned: 0,
            body_bytes: 0,
            pulls: BTreeMap::new(),
            latency: latencies(),
            verifier: Verifier::default(),
            short: Vec::new(),
        };
        let in_flight = BTreeMap::new();
        Puller { pulls, window, stream, queues, ready, in_flight, next_opaque: 1, pulled }
    }

    /// Pulls until every queue has reached its end.
    pub async fn run(mut self) -> io::Result<Pulled> {
        let (mut input, mut filled) = (vec![0; READ_BYTES], 0);
        let mut output = Vec::new();
        loop {
            self.request(&mut output)?;
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
            while let Some(len) = self.take(&input[used..filled])? {
                used += len;
            }
            input.copy_within(used..filled, 0);
            filled -= used;
            if filled == input.len() {
                input.resize(2 * filled, 0);
            }
        }
    }

    /// Writes pulls for as many queues as the window allows.
    fn request(&mut self, output: &mut Vec<u8>) -> io::Result<()> {
        while self.in_flight.len() < self.window {
            let Some(index) = self.ready.pop_front() else {
                return Ok(());
            };
            let opaque = self.next_opaque;
            self.next_opaque = self.next_opaque % (i32::MAX as u32) + 1;
            self.pulls.write(&self.queues[index], opaque, output)?;
            self.in_flight.insert(opaque, (index, Instant::now()));
        }
        Ok(())
    }

    /// Handles the first frame of `bytes`; returns its length once it is whole.
    fn take(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        let Some(arrival) = self.pulls.read(bytes)? else {
            return Ok(None);
        };
        // Anything else is a request of the broker's own: not for us.
        let Some((index, sent)) = self.in_flight.remove(&arrival.opaque) else {
            return Ok(Some(arrival.len));
        };
        *self.pulled.pulls.entry(arrival.code).or_default() += 1;
        self.pulled.latency.saturating_record(sent.elapsed().as_nanos() as u64);
        let queue = &mut self.queues[index];
        let Some(next) = arrival.next.filter(|&next| next > queue.next) else {
            let (queue, at, end) = (queue.queue, queue.next, queue.end);
            let Arrival { code, remark, len, .. } = arrival;
            let why = format!("queue {queue} stopped at {at} of {end}: code {code} {remark}");
            self.pulled.short.push(why);
            return Ok(Some(len));
        };
        let verifier = &mut self.pulled.verifier;
        self.pulled.messages += self.pulls.count(arrival.body, queue, verifier)?;
        self.pulled.body_bytes += arrival.body.len() as u64;
        self.pulled.scanned += next - queue.next;
        queue.next = next;
        if queue.next < queue.end {
            self.ready.push_back(index);
        }
        Ok(Some(arrival.len))
    }
}
