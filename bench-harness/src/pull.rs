//! `drain`: reads a backlog, checks it, and says how fast it came.

use crate::drain::{
    self, DrainPlan, DrainResult, DrainStyle, Fetches, QueueSpan, RemotingPulls, Subscription,
};
use crate::kafka::FetchStyle;
use crate::ledger::Ledger;
use crate::report::{Latency, Report, Throughput, Watch};
use crate::send::{CoreList, seconds};
use crate::target::{Endpoint, Speech, TargetArgs};
use crate::wire::Codec;
use clap::Args;
use serde::Serialize;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[derive(Args, Clone, Debug)]
pub struct DrainArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub how: PullArgs,
}

#[derive(Args, Clone, Debug, Serialize)]
pub struct PullArgs {
    #[arg(long, default_value_t = 1)]
    pub connections: usize,
    /// Pulls in flight per connection, each for another queue
    #[arg(long, default_value_t = 1)]
    pub window: usize,
    /// Messages per pull (Kafka has no such limit)
    #[arg(long, default_value_t = 32)]
    pub max_messages: u32,
    /// Bytes per pull, where the broker honours it; Kafka: of one queue, 1 MiB by default
    #[arg(long)]
    pub max_bytes: Option<u32>,
    /// How ringmq is to move the bytes: auto, copy, mmap, gather, sendfile, splice, send-zc or
    /// direct (default: as the topic or the broker is set)
    #[arg(long, value_name = "STRATEGY")]
    pub transfer: Option<String>,
    /// Only messages with these tags, like `a || b`; not with Kafka
    #[arg(long, value_name = "EXPRESSION", default_value = "*")]
    pub subscription: String,
    /// Begin at this offset of every queue (default: its first message)
    #[arg(long)]
    pub from: Option<u64>,
    /// First wait until no queue has grown for this many seconds: Java brokers
    /// acknowledge before they index
    #[arg(long, default_value_t = 0.5)]
    pub settle: f64,
    /// Pull as lite consumers do (code 361)
    #[arg(long)]
    pub lite: bool,
    #[arg(long, default_value = "ringmq-bench-consumer")]
    pub group: String,
    #[arg(long, value_enum, default_value_t = Codec::Json)]
    pub codec: Codec,
    /// Compare the CRC of every record batch of Kafka's, also with --discard
    #[arg(long)]
    pub check_crc: bool,
    /// Count messages without verifying them; bytes are still copied from the socket
    #[arg(long)]
    pub discard: bool,
    /// Compare with what `send --ledger` wrote
    #[arg(long, value_name = "FILE", conflicts_with = "discard")]
    pub ledger: Option<PathBuf>,
    /// Do not fail when a connection's messages were stored in another order
    #[arg(long)]
    pub allow_reorder: bool,
    /// Drain this many times from the beginning; the last is reported, the best printed
    #[arg(long, default_value_t = 1)]
    pub passes: usize,
    /// Drain again from the beginning until this time is over; all passes together are reported
    #[arg(long, conflicts_with = "passes")]
    pub seconds: Option<f64>,
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Cores for the drain, like 1 or 1,3 or 2-5
    #[arg(long, value_parser = CoreList::parse)]
    pub cores: Option<CoreList>,
    #[arg(long, value_name = "PID")]
    pub broker_pid: Option<u32>,
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Settings {
    #[serde(flatten)]
    how: PullArgs,
    protocol: Speech,
    topic: String,
    endpoints: Vec<String>,
    receiver: &'static str,
}

#[derive(Serialize)]
struct Details {
    pulls_by_code: std::collections::BTreeMap<i32, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    findings: Option<drain::Findings>,
    short: Vec<String>,
    /// Messages that were gone past: those that came, and those that a filter left out.
    scanned: u64,
    /// Messages per second of every pass.
    passes: Vec<f64>,
    best_messages_per_second: f64,
    best_broker_cpu_us_per_message: Option<f64>,
}

/// Who is looked at while it is drained.
struct Watched {
    broker: Option<u32>,
    counting: Vec<SocketAddr>,
    endpoints: Vec<String>,
}

impl Watched {
    fn watch(&self) -> Watch {
        Watch::new(self.broker).counting(self.counting.clone())
    }
}

/// What Kafka's own consumers ask of one partition, and how long they let it wait.
const FETCH_BYTES_DEFAULT: u32 = 1024 * 1024;
const FETCH_WAIT_MS: u32 = 500;

impl DrainArgs {
    pub fn run(&self) -> io::Result<bool> {
        let how = &self.how;
        if how.connections == 0 || how.window == 0 || how.threads == 0 || how.passes == 0 {
            return Err(io::Error::other("connections, window, threads and passes start at 1"));
        }
        let filtered = !Subscription::of(&how.subscription).is_all();
        if self.target.protocol == Speech::Kafka && (filtered || how.transfer.is_some()) {
            return Err(io::Error::other("Kafka has no subscriptions and no --transfer"));
        }
        if filtered && how.ledger.is_some() {
            return Err(io::Error::other("what a filter leaves out is in no --ledger"));
        }
        let cores = CoreList::pin_main(&how.cores)?;
        let endpoints = self.target.endpoints()?;
        let spans = self.settled(&endpoints)?;
        if spans.iter().all(|(_, spans)| spans.iter().all(|span| span.next >= span.end)) {
            return Err(io::Error::other(format!("{}: nothing to drain", self.target.topic)));
        }
        let plan = DrainPlan {
            style: self.style(),
            window: how.window,
            spans,
            connections: how.connections,
            threads: how.threads.min(how.connections),
            cores,
            ledger: how.ledger.as_deref().map(Ledger::read).transpose()?,
        };
        let addrs = endpoints.iter().map(|endpoint| endpoint.addr.to_string()).collect();
        let watched = Watched {
            broker: how.broker_pid,
            counting: self.target.counting(&endpoints),
            endpoints: addrs,
        };
        match how.seconds {
            Some(least) => self.repeated(&plan, seconds(least)?, &watched),
            None => self.passes(&plan, &watched),
        }
    }

    fn style(&self) -> DrainStyle {
        let (how, topic) = (&self.how, self.target.topic.clone());
        match self.target.protocol {
            Speech::Remoting => DrainStyle::Remoting(RemotingPulls {
                topic,
                group: how.group.clone(),
                codec: how.codec,
                lite: how.lite,
                max_messages: how.max_messages,
                max_bytes: how.max_bytes,
                subscription: Subscription::of(&how.subscription),
                transfer: how.transfer.clone(),
                discard: how.discard,
                wait_ms_max: 0,
            }),
            Speech::Kafka => {
                let max_bytes = how.max_bytes.unwrap_or(FETCH_BYTES_DEFAULT);
                let style = FetchStyle {
                    topic,
                    queue_bytes_max: max_bytes,
                    reply_bytes_max: max_bytes,
                    wait_ms_max: FETCH_WAIT_MS,
                };
                let (discard, check_crc) = (how.discard, how.check_crc);
                DrainStyle::Kafka(Fetches { style, discard, check_crc })
            }
        }
    }

    /// The stretches to read, once they have stopped growing.
    fn settled(&self, endpoints: &[Endpoint]) -> io::Result<Vec<(SocketAddr, Vec<QueueSpan>)>> {
        let look = || -> io::Result<Vec<_>> {
            let span = |endpoint: &Endpoint| {
                let (topic, from) = (&self.target.topic, self.how.from);
                let spans = match self.target.protocol {
                    Speech::Remoting => drain::spans(endpoint, topic, from)?,
                    Speech::Kafka => drain::kafka_spans(endpoint, topic, from)?,
                };
                Ok((endpoint.addr, spans))
            };
            endpoints.iter().map(span).collect()
        };
        let quiet = seconds(self.how.settle)?;
        let (mut spans, mut since) = (look()?, Instant::now());
        while since.elapsed() < quiet {
            std::thread::sleep(quiet.min(Duration::from_millis(50)));
            let now = look()?;
            if now != spans {
                (spans, since) = (now, Instant::now());
            }
        }
        Ok(spans)
    }

    fn passes(&self, plan: &DrainPlan, watched: &Watched) -> io::Result<bool> {
        let mut all_clean = true;
        let (mut rates, mut best_cpu) = (Vec::new(), None::<f64>);
        for pass in 1..=self.how.passes {
            let mut watch = watched.watch();
            let mut begun = Ok(());
            let result = drain::run(plan, || begun = watch.begin())?;
            begun?;
            watch.end()?;
            let throughput = throughput(&result);
            rates.push(throughput.messages_per_second);
            let cpu = watch.cost(&throughput).map(|cost| cost.cpu_us_per_message);
            best_cpu = best_cpu.into_iter().chain(cpu).reduce(f64::min);
            all_clean &= self.is_clean(&result);
            let report = self.report(result, rates.clone(), best_cpu, &watch, watched)?;
            if pass == self.how.passes {
                report.write(self.how.json.as_deref())?;
            }
        }
        Ok(all_clean)
    }

    /// All passes together.
    fn repeated(&self, plan: &DrainPlan, least: Duration, watched: &Watched) -> io::Result<bool> {
        let mut watch = watched.watch();
        watch.begin()?;
        let mut result = drain::run(plan, || ())?;
        let mut rates = vec![throughput(&result).messages_per_second];
        while result.elapsed < least && result.short.is_empty() {
            let pass = drain::run(plan, || ())?;
            rates.push(throughput(&pass).messages_per_second);
            result.join(pass);
        }
        watch.end()?;
        let clean = self.is_clean(&result);
        let report = self.report(result, rates, None, &watch, watched)?;
        report.write(self.how.json.as_deref())?;
        Ok(clean)
    }

    /// Of what was drained; says it, too.
    fn report(
        &self,
        result: DrainResult,
        passes: Vec<f64>,
        best_broker_cpu_us_per_message: Option<f64>,
        watch: &Watch,
        watched: &Watched,
    ) -> io::Result<Report<Settings>> {
        let settings = Settings {
            how: self.how.clone(),
            protocol: self.target.protocol,
            topic: self.target.topic.clone(),
            endpoints: watched.endpoints.clone(),
            receiver: "copies",
        };
        let mut report = Report::new("drain", settings, throughput(&result), watch);
        report.latency = Some(Latency::of(&result.latency));
        report.print();
        print_result(&result, self.how.discard, self.is_clean(&result));
        report.details = serde_json::to_value(Details {
            pulls_by_code: result.pulls,
            findings: (!self.how.discard).then_some(result.findings),
            short: result.short,
            scanned: result.scanned,
            best_messages_per_second: passes.iter().copied().fold(0.0, f64::max),
            passes,
            best_broker_cpu_us_per_message,
        })?;
        Ok(report)
    }

    fn is_clean(&self, result: &DrainResult) -> bool {
        let ordered = self.how.allow_reorder || result.findings.reordered == 0;
        result.findings.is_clean() && ordered && result.short.is_empty()
    }
}

fn throughput(result: &DrainResult) -> Throughput {
    Throughput::of(result.messages, result.body_bytes, result.elapsed.as_secs_f64())
}

fn print_result(result: &DrainResult, discard: bool, clean: bool) {
    let codes: Vec<String> =
        result.pulls.iter().map(|(code, count)| format!("code {code}: {count}")).collect();
    println!("pulls      {}", codes.join("  "));
    println!("scanned    {}  delivered {}", result.scanned, result.messages);
    for why in &result.short {
        println!("short      {why}");
    }
    if discard {
        return;
    }
    let f = &result.findings;
    println!(
        "verified   {}  foreign {}  missing {}  duplicate {}  reordered {}  corrupt {}  \
         wrong stored crc {}  misplaced {}  malformed {}  unfitting {}  unacknowledged but there {}",
        f.verified,
        f.foreign,
        f.missing,
        f.duplicate,
        f.reordered,
        f.corrupt,
        f.wrong_stored_crc,
        f.misplaced,
        f.malformed,
        f.unfitting,
        f.unacknowledged_present
    );
    println!("verdict    {}", if clean { "as sent" } else { "NOT as sent" });
}
