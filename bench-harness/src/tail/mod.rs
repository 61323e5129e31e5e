//! `tail`: messages sent and received at once. A latency counts from the
//! moment at which a message was meant to be sent to the one at which a
//! consumer has it. A second reader may go through an old backlog meanwhile.

mod catch_up;
mod fetches;
mod follow;
mod pulls;
mod run;

pub use catch_up::CatchUp;
pub use follow::TailStyle;
pub use run::{TailPlan, TailResult, run};

use crate::drain::{self, DrainPlan, DrainStyle, Fetches, RemotingPulls, Subscription};
use crate::kafka::FetchStyle;
use crate::load::{Mark, Produce, Protocol};
use crate::report::{Latency, Report, Throughput, Watch};
use crate::send::LoadArgs;
use crate::target::{Endpoint, Speech, TargetArgs};
use clap::Args;
use serde::Serialize;
use std::io;

#[derive(Args, Clone, Debug)]
pub struct TailArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub load: LoadArgs,
    /// Connections that receive, the queues shared among them
    #[arg(long, default_value_t = 1)]
    pub consumers: usize,
    /// Messages per pull (Kafka has no such limit)
    #[arg(long, default_value_t = 32)]
    pub max_messages: u32,
    /// Bytes per pull, where the broker honours it
    #[arg(long)]
    pub max_bytes: Option<u32>,
    /// How ringmq is to move the bytes (as for `drain`)
    #[arg(long, value_name = "STRATEGY")]
    pub transfer: Option<String>,
    /// Tags that the messages of a stream take in turn, like a,b; not with Kafka
    #[arg(long, value_delimiter = ',')]
    pub tags: Vec<String>,
    /// Receive only messages with these tags, like `a || b`; not with Kafka
    #[arg(long, value_name = "EXPRESSION", default_value = "*")]
    pub subscription: String,
    /// Read this topic from its beginning meanwhile, again and again
    #[arg(long, value_name = "TOPIC")]
    pub catch_up: Option<String>,
}

/// How long the broker may hold a pull without a message.
const HOLD_MS: u32 = 15_000;
const PRODUCERS: &str = "ringmq-bench-producer";
const CONSUMERS: &str = "ringmq-bench-consumer";

#[derive(Serialize)]
struct Details {
    sent_messages_per_second: f64,
    send_latency: Latency,
    /// Before, in and after the measurement.
    received: u64,
    /// Acknowledged and asked for, and not received within the patience after the end.
    missing: u64,
    consumers: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    catch_up: Option<CatchUp>,
}

impl TailArgs {
    pub fn run(&self) -> io::Result<bool> {
        self.load.check()?;
        if self.consumers == 0 || self.load.count.is_some() {
            return Err(io::Error::other("a tail has a --duration, and at least one consumer"));
        }
        let endpoints = self.target.endpoints()?;
        let topic = &self.target.topic;
        let (protocol, style) = match self.target.protocol {
            Speech::Remoting => (
                Protocol::Remoting(
                    self.load
                        .remoting(PRODUCERS, &endpoints)
                        .tagged(&self.tags, self.load.batch)?,
                ),
                TailStyle::Remoting(self.pulls(topic, HOLD_MS)),
            ),
            Speech::Kafka if self.asks_of_ringmq() => {
                let why = "Kafka has no tags, no subscriptions and no --transfer";
                return Err(io::Error::other(why));
            }
            Speech::Kafka => {
                (Protocol::Kafka(Produce { acks: 1 }), TailStyle::Kafka(fetch_style(topic)))
            }
        };
        let counting = self.target.counting(&endpoints);
        let shape = self.load.shape(&self.target.topic);
        let plan = TailPlan {
            style,
            consumers: self.consumers,
            catch_up: self.catch_up.as_ref().map(|t| self.backlog(t, &endpoints)).transpose()?,
            load: self.load.plan(shape, protocol, endpoints)?,
        };
        let settings = self.load.settings(&plan.load);
        let mut watch = Watch::new(self.load.broker_pid).counting(counting);
        let mut watched = Ok(());
        let result = run(&plan, |mark| {
            let seen = if mark == Mark::Begin { watch.begin() } else { watch.end() };
            watched = std::mem::replace(&mut watched, Ok(())).and(seen);
        })?;
        watched?;
        let messages = result.received.measured.messages;
        let bytes = messages * self.load.size as u64;
        let throughput = Throughput::of(messages, bytes, result.elapsed.as_secs_f64());
        let mut report = Report::new("tail", settings, throughput, &watch);
        report.latency = Some(Latency::of(&result.received.latency));
        report.outcome = Some(result.sent.measured.clone());
        report.outside = Some(result.sent.outside.clone());
        report.seconds = result.received.seconds.clone();
        let details = self.details(&result);
        report.print();
        println!("received   {}  missing {}", details.received, details.missing);
        let clean = result.sent.measured.is_clean() && details.missing == 0;
        report.details = serde_json::to_value(details)?;
        report.write(self.load.json.as_deref())?;
        Ok(clean)
    }

    fn wanted(&self) -> Subscription {
        Subscription::of(&self.subscription)
    }

    fn asks_of_ringmq(&self) -> bool {
        !self.tags.is_empty() || !self.wanted().is_all() || self.transfer.is_some()
    }

    fn pulls(&self, topic: &str, wait_ms_max: u32) -> RemotingPulls {
        RemotingPulls {
            topic: topic.into(),
            group: CONSUMERS.into(),
            codec: self.load.codec,
            lite: false,
            max_messages: self.max_messages,
            max_bytes: self.max_bytes,
            subscription: self.wanted(),
            transfer: self.transfer.clone(),
            discard: true,
            wait_ms_max,
        }
    }

    /// All that the topic has now.
    fn backlog(&self, topic: &str, endpoints: &[Endpoint]) -> io::Result<DrainPlan> {
        let spans = |endpoint: &Endpoint| -> io::Result<_> {
            let spans = match self.target.protocol {
                Speech::Remoting => drain::spans(endpoint, topic, None)?,
                Speech::Kafka => drain::kafka_spans(endpoint, topic, None)?,
            };
            Ok((endpoint.addr, spans))
        };
        let spans: Vec<_> = endpoints.iter().map(spans).collect::<io::Result<_>>()?;
        if spans.iter().all(|(_, spans)| spans.iter().all(|span| span.next >= span.end)) {
            return Err(io::Error::other(format!("{topic}: nothing to catch up with")));
        }
        let cores = self.load.cores.as_ref().map_or_else(Vec::new, |cores| cores.0.clone());
        let style = match self.target.protocol {
            Speech::Remoting => DrainStyle::Remoting(self.pulls(topic, 0)),
            Speech::Kafka => DrainStyle::Kafka(Fetches {
                style: fetch_style(topic),
                discard: true,
                check_crc: false,
            }),
        };
        Ok(DrainPlan { style, window: 1, spans, connections: 1, threads: 1, cores, ledger: None })
    }

    fn details(&self, result: &TailResult) -> Details {
        let (sent, received) = (&result.sent, &result.received);
        let all = |recorder: &crate::load::Recorder| {
            recorder.measured.messages + recorder.outside.messages
        };
        Details {
            sent_messages_per_second: sent.measured.messages as f64 / result.elapsed.as_secs_f64(),
            send_latency: Latency::of(&sent.latency),
            received: all(received),
            missing: result.wanted.saturating_sub(all(received)),
            consumers: self.consumers,
            catch_up: result.catch_up.clone(),
        }
    }
}

/// As Kafka's own consumers fetch by default.
fn fetch_style(topic: &str) -> FetchStyle {
    FetchStyle {
        topic: topic.into(),
        queue_bytes_max: 1 << 20,
        reply_bytes_max: 50 << 20,
        wait_ms_max: 500,
    }
}
