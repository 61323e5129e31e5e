//! `send`: load on a broker; `echo`: the same bytes against a server that
//! sends them back, which is what network and wake-ups alone cost.

use crate::body::TRAILER_BYTES;
use crate::load::{
    self, Limit, LoadPlan, LoadResult, Mark, MessageShape, Produce, Protocol, Remoting,
};
use crate::report::{Latency, Report, Throughput, Watch};
use crate::target::{Endpoint, Speech, TargetArgs};
use crate::threads::{self, parse_cores};
use crate::wire::{Codec, code};
use clap::Args;
use serde::Serialize;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What both commands share.
#[derive(Args, Clone, Debug, Serialize)]
pub struct LoadArgs {
    #[arg(long, default_value_t = 1)]
    pub connections: usize,
    /// Requests in flight per connection
    #[arg(long, default_value_t = 1)]
    pub window: usize,
    /// Body bytes of a message
    #[arg(long, default_value_t = 1024)]
    pub size: usize,
    /// Messages per request; above 1 sends batch requests (code 320), to Kafka larger record
    /// batches: 63 of 1 KiB or 450 of 128 B are what its clients' best batching reaches
    #[arg(long, default_value_t = 1)]
    pub batch: usize,
    /// Messages per second in all; 0 sends as fast as replies come
    #[arg(long, default_value_t = 0.0)]
    pub rate: f64,
    /// Seconds of measurement
    #[arg(long, default_value_t = 10.0, conflicts_with = "count")]
    pub duration: f64,
    /// Messages to send, instead of a duration
    #[arg(long)]
    pub count: Option<u64>,
    /// Seconds before the measurement (default: 2, or 0 with --count)
    #[arg(long)]
    pub warmup: Option<f64>,
    #[arg(long, value_enum, default_value_t = Codec::Json)]
    pub codec: Codec,
    /// Generator threads, each with its own ring
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Cores for the generator, like 1 or 1,3 or 2-5
    #[arg(long, value_parser = CoreList::parse)]
    pub cores: Option<CoreList>,
    /// Keep the generator awake between replies
    #[arg(long)]
    pub spin: bool,
    /// The broker's process, to measure its CPU, memory and disk
    #[arg(long, value_name = "PID")]
    pub broker_pid: Option<u32>,
    /// Write the result to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// One command-line value that holds several cores.
#[derive(Clone, Debug, Serialize)]
pub struct CoreList(pub Vec<usize>);

impl CoreList {
    pub fn parse(text: &str) -> Result<CoreList, String> {
        parse_cores(text).map(CoreList)
    }

    /// Keeps the whole tool off the broker's cores.
    pub fn pin_main(list: &Option<CoreList>) -> io::Result<Vec<usize>> {
        let cores = list.as_ref().map_or_else(Vec::new, |list| list.0.clone());
        threads::check_allowed(&cores)?;
        if let Some(&core) = cores.first() {
            threads::pin(core)?;
        }
        Ok(cores)
    }
}

#[derive(Args, Clone, Debug)]
pub struct SendArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub load: LoadArgs,
    #[arg(long, default_value = "ringmq-bench-producer")]
    pub group: String,
    /// Tags that the messages of a stream take in turn, like a,b (not with Kafka, which has none)
    #[arg(long, value_delimiter = ',')]
    pub tags: Vec<String>,
    /// Who has a message before Kafka acknowledges it
    #[arg(long, value_enum, default_value_t = Acks::Leader)]
    pub acks: Acks,
    /// Write what was sent and acknowledged, for `drain --ledger`
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,
}

/// Kafka's levels that have a reply.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Acks {
    Leader,
    All,
}

impl Acks {
    pub fn number(self) -> i16 {
        match self {
            Acks::Leader => 1,
            Acks::All => -1,
        }
    }
}

#[derive(Args, Clone, Debug)]
pub struct EchoArgs {
    /// The echo server
    #[arg(long, value_name = "HOST:PORT")]
    pub server: String,
    #[command(flatten)]
    pub load: LoadArgs,
}

/// What a result says of the load.
#[derive(Serialize)]
pub struct Settings {
    #[serde(flatten)]
    load: LoadArgs,
    protocol: Speech,
    topic: String,
    endpoints: Vec<String>,
    run: u64,
}

/// Message bodies above this are refused by every broker.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
const WINDOW_MAX: usize = 1 << 16;
const CONNECTIONS_MAX: usize = 1 << 16;

impl LoadArgs {
    pub fn check(&self) -> io::Result<()> {
        let in_range = |what: &str, value: usize, from: usize, to: usize| {
            if (from..=to).contains(&value) {
                return Ok(());
            }
            Err(io::Error::other(format!("--{what} {value} is not in {from}..={to}")))
        };
        in_range("connections", self.connections, 1, CONNECTIONS_MAX)?;
        in_range("window", self.window, 1, WINDOW_MAX)?;
        in_range("size", self.size, TRAILER_BYTES, BODY_BYTES_MAX)?;
        in_range("batch", self.batch, 1, BODY_BYTES_MAX / self.size.max(1))?;
        in_range("threads", self.threads, 1, 256)
    }

    pub fn shape(&self, topic: &str) -> MessageShape {
        MessageShape { topic: topic.to_string(), size: self.size, batch: self.batch, run: run_id() }
    }

    pub fn remoting(&self, group: &str, endpoints: &[Endpoint]) -> Remoting {
        let queues = endpoints.iter().map(|endpoint| endpoint.queues.len()).max().unwrap_or(1);
        Remoting {
            codec: self.codec,
            group: group.to_string(),
            broker_name: None,
            tags: vec![],
            default_queues: queues as u32,
            ok_code: 0,
        }
    }

    /// Pins the tool, and says what the load does.
    pub fn plan(
        &self,
        shape: MessageShape,
        protocol: Protocol,
        endpoints: Vec<Endpoint>,
    ) -> io::Result<LoadPlan> {
        let limit = match self.count {
            Some(count) => Limit::Messages(count),
            None => Limit::For(seconds(self.duration)?),
        };
        let warmup = self.warmup.unwrap_or(if self.count.is_some() { 0.0 } else { 2.0 });
        Ok(LoadPlan {
            shape,
            protocol,
            endpoints,
            connections: self.connections,
            window: self.window,
            threads: self.threads.min(self.connections),
            cores: CoreList::pin_main(&self.cores)?,
            rate: self.rate,
            limit,
            warmup: seconds(warmup)?,
            spin: self.spin,
        })
    }

    pub fn settings(&self, plan: &LoadPlan) -> Settings {
        Settings {
            load: self.clone(),
            protocol: match plan.protocol {
                Protocol::Remoting(_) => Speech::Remoting,
                Protocol::Kafka(_) => Speech::Kafka,
            },
            topic: plan.shape.topic.clone(),
            endpoints: plan.endpoints.iter().map(|endpoint| endpoint.addr.to_string()).collect(),
            run: plan.shape.run,
        }
    }

    /// Runs the load and says whether all went well.
    fn run(
        &self,
        command: &str,
        shape: MessageShape,
        protocol: Protocol,
        endpoints: Vec<Endpoint>,
        counting: Vec<SocketAddr>,
    ) -> io::Result<(LoadResult, bool)> {
        let plan = self.plan(shape, protocol, endpoints)?;
        let settings = self.settings(&plan);
        let mut watch = Watch::new(self.broker_pid).counting(counting);
        let mut watched = Ok(());
        let result = load::run(&plan, |mark| {
            let seen = if mark == Mark::Begin { watch.begin() } else { watch.end() };
            watched = std::mem::replace(&mut watched, Ok(())).and(seen);
        })?;
        if let Err(error) = watched {
            // A broker killed under load is what some runs are for.
            eprintln!("ringmq-bench: the broker could not be watched to the end: {error}");
        }
        let recorder = &result.recorder;
        let messages = recorder.measured.messages;
        let bytes = messages * self.size as u64;
        let throughput = Throughput::of(messages, bytes, result.elapsed.as_secs_f64());
        let mut report = Report::new(command, settings, throughput, &watch);
        report.latency = Some(Latency::of(&recorder.latency));
        report.outcome = Some(recorder.measured.clone());
        report.outside = Some(recorder.outside.clone());
        report.seconds = recorder.seconds.clone();
        report.print();
        report.write(self.json.as_deref())?;
        let clean = recorder.measured.is_clean();
        Ok((result, clean))
    }
}

impl SendArgs {
    pub fn run(&self) -> io::Result<bool> {
        self.load.check()?;
        let endpoints = self.target.endpoints()?;
        let shape = self.load.shape(&self.target.topic);
        let protocol = match self.target.protocol {
            Speech::Kafka if !self.tags.is_empty() => {
                return Err(io::Error::other("Kafka has no tags"));
            }
            Speech::Kafka => Protocol::Kafka(Produce { acks: self.acks.number() }),
            Speech::Remoting => {
                let remoting = self.load.remoting(&self.group, &endpoints);
                Protocol::Remoting(remoting.tagged(&self.tags, self.load.batch)?)
            }
        };
        let counting = self.target.counting(&endpoints);
        let (result, clean) = self.load.run("send", shape, protocol, endpoints, counting)?;
        if let Some(path) = &self.ledger {
            result.ledger.write(path)?;
        }
        Ok(clean)
    }
}

impl EchoArgs {
    pub fn run(&self) -> io::Result<bool> {
        self.load.check()?;
        let addr = crate::admin::resolve(&self.server)?;
        let endpoints = vec![Endpoint { addr, name: None, queues: vec![0] }];
        let echoed = if self.load.batch > 1 { code::SEND_BATCH } else { code::SEND_V2 };
        let remoting = self.load.remoting("ringmq-bench-producer", &endpoints);
        let protocol = Protocol::Remoting(Remoting { ok_code: echoed, ..remoting });
        let shape = self.load.shape("ringmq-bench");
        Ok(self.load.run("echo", shape, protocol, endpoints, vec![])?.1)
    }
}

/// Different for every run on a machine.
pub fn run_id() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_micros() as u64 ^ u64::from(std::process::id()) << 52
}

pub fn seconds(value: f64) -> io::Result<Duration> {
    Duration::try_from_secs_f64(value).map_err(|error| io::Error::other(error.to_string()))
}
