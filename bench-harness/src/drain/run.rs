//! A drain: which queue is read how far, and by which connection.

use super::fetches::Fetches;
use super::puller::{Pulled, Puller};
use super::remoting::RemotingPulls;
use super::verify::Findings;
use crate::admin::{AdminClient, AdminError};
use crate::kafka::{self, KafkaClient};
use crate::ledger::Ledger;
use crate::measure::latencies;
use crate::target::Endpoint;
use crate::threads;
use crate::wire::{Request, code};
use hdrhistogram::Histogram;
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};
use tokio_uring::net::TcpStream;

/// Everything that a drain does, decided beforehand.
#[derive(Clone)]
pub struct DrainPlan {
    pub style: DrainStyle,
    /// Pulls in flight per connection.
    pub window: usize,
    pub spans: Vec<(SocketAddr, Vec<QueueSpan>)>,
    pub connections: usize,
    pub threads: usize,
    pub cores: Vec<usize>,
    pub ledger: Option<Ledger>,
}

/// How it pulls, in which protocol.
#[derive(Clone, Debug)]
pub enum DrainStyle {
    Remoting(RemotingPulls),
    Kafka(Fetches),
}

impl DrainStyle {
    /// Counts messages without verifying them.
    fn discards(&self) -> bool {
        match self {
            DrainStyle::Remoting(pulls) => pulls.discard,
            DrainStyle::Kafka(fetches) => fetches.discard,
        }
    }
}

/// One queue's stretch that is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSpan {
    pub queue: u32,
    pub next: u64,
    pub end: u64,
    /// It begins where the queue began.
    pub whole: bool,
}

pub struct DrainResult {
    pub elapsed: Duration,
    pub messages: u64,
    /// Of the queues: messages that were gone past, those that came and those that a filter
    /// left out.
    pub scanned: u64,
    pub body_bytes: u64,
    pub pulls: BTreeMap<i32, u64>,
    pub latency: Histogram<u64>,
    pub findings: Findings,
    pub short: Vec<String>,
}

/// The stretch of every queue from `from`, or its first message, to its end now.
pub fn spans(
    endpoint: &Endpoint,
    topic: &str,
    from: Option<u64>,
) -> Result<Vec<QueueSpan>, AdminError> {
    let mut client = AdminClient::connect(endpoint.addr)?;
    let mut spans = Vec::with_capacity(endpoint.queues.len());
    for &queue in &endpoint.queues {
        let min = offset(&mut client, code::MIN_OFFSET, topic, queue)?;
        let end = offset(&mut client, code::MAX_OFFSET, topic, queue)?;
        let next = from.unwrap_or(min).max(min);
        spans.push(QueueSpan { queue, next, end, whole: next == 0 });
    }
    Ok(spans)
}

/// The same of a Kafka broker.
pub fn kafka_spans(
    endpoint: &Endpoint,
    topic: &str,
    from: Option<u64>,
) -> io::Result<Vec<QueueSpan>> {
    let mut client = KafkaClient::connect(endpoint.addr)?;
    let ends = kafka::queue_ends(&mut client, topic, &endpoint.queues)?;
    let span = |ends: kafka::QueueEnds| {
        let next = from.unwrap_or(ends.first).max(ends.first);
        QueueSpan { queue: ends.queue, next, end: ends.end, whole: next == 0 }
    };
    Ok(ends.into_iter().map(span).collect())
}

fn offset(client: &mut AdminClient, code: i32, topic: &str, queue: u32) -> Result<u64, AdminError> {
    let request = Request::new(code).ext("topic", topic).ext("queueId", queue);
    let answer = client.call(&request)?;
    let stated = answer.header.ext("offset").and_then(|text| text.parse::<i64>().ok());
    let stated = stated.ok_or_else(|| client.nonsense("a reply without an offset"))?;
    // A broker without the queue says -1.
    Ok(stated.max(0) as u64)
}

/// Drains once; `begun` is called when all connections are open.
pub fn run(plan: &DrainPlan, begun: impl FnOnce()) -> io::Result<DrainResult> {
    let shares = share(plan);
    let barrier = Arc::new(Barrier::new(plan.threads + 1));
    let threads: Vec<_> = (0..plan.threads)
        .map(|thread| {
            let mine = shares.iter().skip(thread).step_by(plan.threads).cloned().collect();
            let (style, window, barrier) = (plan.style.clone(), plan.window, barrier.clone());
            threads::spawn("drain", threads::core_of(&plan.cores, thread), move || {
                let runtime = threads::ring_runtime();
                barrier.wait();
                runtime?.block_on(pull_all(style, window, mine))
            })
        })
        .collect::<io::Result<_>>()?;
    begun();
    barrier.wait();
    let start = Instant::now();
    let parts: Vec<_> = threads
        .into_iter()
        .map(|thread| thread.join().expect("a draining thread does not panic"))
        .collect();
    let mut result = DrainResult {
        elapsed: start.elapsed(),
        messages: 0,
        scanned: 0,
        body_bytes: 0,
        pulls: BTreeMap::new(),
        latency: latencies(),
        findings: Findings::default(),
        short: Vec::new(),
    };
    let mut seen = HashSet::new();
    for part in parts {
        for pulled in part? {
            seen.extend(pulled.verifier.streams().copied());
            result.add(pulled, plan.ledger.as_ref());
        }
    }
    result.findings.missing += never_seen(plan, &seen);
    Ok(result)
}

/// Acknowledged messages of streams of which nothing at all came back.
fn never_seen(plan: &DrainPlan, seen: &HashSet<crate::body::Stream>) -> u64 {
    let Some(ledger) = plan.ledger.as_ref().filter(|_| !plan.style.discards()) else {
        return 0;
    };
    let unseen = ledger.streams.iter().filter(|record| !seen.contains(&record.stream));
    unseen.map(|record| record.sent - record.unacknowledged.len() as u64).sum()
}

impl DrainResult {
    /// Another pass over the same, after this one.
    pub fn join(&mut self, other: DrainResult) {
        self.elapsed += other.elapsed;
        self.messages += other.messages;
        self.scanned += other.scanned;
        self.body_bytes += other.body_bytes;
        for (code, count) in other.pulls {
            *self.pulls.entry(code).or_default() += count;
        }
        self.latency.add(&other.latency).expect("both have the same bounds");
        self.findings.add(&other.findings);
        self.short.extend(other.short);
    }

    fn add(&mut self, pulled: Pulled, ledger: Option<&Ledger>) {
        self.messages += pulled.messages;
        self.scanned += pulled.scanned;
        self.body_bytes += pulled.body_bytes;
        for (code, count) in pulled.pulls {
            *self.pulls.entry(code).or_default() += count;
        }
        self.latency.add(&pulled.latency).expect("both have the same bounds");
        self.findings.add(&pulled.verifier.finish(ledger));
        self.short.extend(pulled.short);
    }
}

/// Connections with their queues: brokers in turn, a broker's queues in turn.
fn share(plan: &DrainPlan) -> Vec<(SocketAddr, Vec<QueueSpan>)> {
    let brokers = plan.spans.len();
    let connections = plan.connections.max(brokers);
    let mut shares = Vec::new();
    for connection in 0..connections {
        let (addr, spans) = &plan.spans[connection % brokers];
        let of_broker = (connections - connection % brokers).div_ceil(brokers);
        let mine = spans.iter().skip(connection / brokers).step_by(of_broker);
        shares.push((*addr, mine.copied().collect()));
    }
    shares
}

async fn pull_all(
    style: DrainStyle,
    window: usize,
    shares: Vec<(SocketAddr, Vec<QueueSpan>)>,
) -> io::Result<Vec<Pulled>> {
    let mut tasks = Vec::new();
    for (addr, spans) in shares {
        let socket = std::net::TcpStream::connect(addr)?;
        socket.set_nodelay(true)?;
        let stream = TcpStream::from_std(socket);
        tasks.push(match style.clone() {
            DrainStyle::Remoting(pulls) => {
                tokio_uring::spawn(Puller::new(pulls, window, stream, spans).run())
            }
            DrainStyle::Kafka(fetches) => {
                tokio_uring::spawn(Puller::new(fetches, window, stream, spans).run())
            }
        });
    }
    let mut pulled = Vec::new();
    for task in tasks {
        pulled.push(task.await.expect("a puller does not panic")?);
    }
    Ok(pulled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drain::Subscription;
    use crate::wire::Codec;

    #[test]
    fn every_queue_goes_to_exactly_one_connection_of_its_broker() {
        let span = |queue| QueueSpan { queue, next: 0, end: 1, whole: true };
        let addr = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let style = DrainStyle::Remoting(RemotingPulls {
            topic: "t".into(),
            group: "g".into(),
            codec: Codec::Json,
            lite: false,
            max_messages: 32,
            max_bytes: None,
            subscription: Subscription::all(),
            transfer: None,
            discard: false,
            wait_ms_max: 0,
        });
        let spans =
            vec![(addr(1), (0..7).map(span).collect()), (addr(2), (0..3).map(span).collect())];
        for connections in 1..12 {
            let plan = DrainPlan {
                style: style.clone(),
                window: 1,
                spans: spans.clone(),
                connections,
                threads: 1,
                cores: vec![],
                ledger: None,
            };
            let shares = share(&plan);
            for (broker, wanted) in &spans {
                let mut queues: Vec<u32> = shares
                    .iter()
                    .filter(|(addr, _)| addr == broker)
                    .flat_map(|(_, spans)| spans.iter().map(|span| span.queue))
                    .collect();
                queues.sort();
                let wanted: Vec<u32> = wanted.iter().map(|span| span.queue).collect();
                assert_eq!(queues, wanted, "{connections} connections");
            }
        }
    }
}
