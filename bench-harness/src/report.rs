//! Results: a few lines for people, one JSON object for scripts.

use crate::counters::{BrokerCounters, CountersMark};
use crate::load::{Outcome, Second};
use crate::measure::{self, HostFacts, MachineMark, MachineUse, ProcessMark, ProcessUse};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

/// Latencies in microseconds, at the percentiles that people ask for.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    pub count: u64,
    pub mean_us: f64,
    pub min_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub p9999_us: f64,
    pub max_us: f64,
    /// Percentile and microseconds, finer towards the tail.
    pub curve: Vec<(f64, f64)>,
    /// The whole histogram of nanoseconds: HdrHistogram's V2 encoding, compressed, in base64.
    pub hdr_v2: String,
}

impl Latency {
    pub fn of(histogram: &Histogram<u64>) -> Latency {
        let us = |ns: u64| ns as f64 / 1000.0;
        let at = |quantile: f64| us(histogram.value_at_quantile(quantile));
        let curve = histogram
            .iter_quantiles(2)
            .map(|step| (100.0 * step.quantile_iterated_to(), us(step.value_iterated_to())))
            .collect();
        Latency {
            count: histogram.len(),
            mean_us: histogram.mean() / 1000.0,
            min_us: us(histogram.min()),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            p9999_us: at(0.9999),
            max_us: us(histogram.max()),
            curve,
            hdr_v2: measure::encode(histogram),
        }
    }
}

/// Messages and bytes over a stretch of time.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Throughput {
    pub seconds: f64,
    pub messages: u64,
    /// Body bytes sent; for a drain whole records, as they came.
    pub payload_bytes: u64,
    pub messages_per_second: f64,
    pub megabytes_per_second: f64,
}

impl Throughput {
    pub fn of(messages: u64, payload_bytes: u64, seconds: f64) -> Throughput {
        let per_second = |n: u64| if seconds > 0.0 { n as f64 / seconds } else { 0.0 };
        Throughput {
            seconds,
            messages,
            payload_bytes,
            messages_per_second: per_second(messages),
            megabytes_per_second: per_second(payload_bytes) / 1e6,
        }
    }
}

/// What a watched process cost, per message and per payload byte.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    pub pid: u32,
    pub cpu_us_per_message: f64,
    pub cpu_ns_per_byte: f64,
    /// Cores' worth of CPU.
    pub cpu_cores: f64,
    pub written_per_payload_byte: f64,
    pub usage: ProcessUse,
}

/// Watches a broker, the tool itself and the machine over one measurement.
pub struct Watch {
    broker: Option<u32>,
    /// Where counters are asked for.
    counting: Vec<SocketAddr>,
    begun: Option<Begun>,
    pub seen: Option<Seen>,
}

struct Marks {
    broker: Option<ProcessMark>,
    own: ProcessMark,
    machine: MachineMark,
}

struct Begun {
    marks: Marks,
    counters: CountersMark,
}

pub struct Seen {
    pub broker: Option<ProcessUse>,
    pub own: ProcessUse,
    pub machine: MachineUse,
    pub counters: Vec<BrokerCounters>,
}

impl Watch {
    pub fn new(broker: Option<u32>) -> Watch {
        Watch { broker, counting: Vec::new(), begun: None, seen: None }
    }

    /// Also asks these brokers, which speak RocketMQ's protocol, for their counters.
    pub fn counting(self, counting: Vec<SocketAddr>) -> Watch {
        Watch { counting, ..self }
    }

    pub fn begin(&mut self) -> io::Result<()> {
        // The counters at both ends from outside, so that asking for them costs nothing that
        // is measured.
        let counters = CountersMark::take(&self.counting)?;
        self.begun = Some(Begun { marks: self.marks()?, counters });
        Ok(())
    }

    pub fn end(&mut self) -> io::Result<()> {
        let end = self.marks()?;
        let begun = self.begun.take().ok_or_else(|| io::Error::other("nothing begun"))?;
        let counters = begun.counters.until(&CountersMark::take(&self.counting)?);
        let begun = begun.marks;
        let broker = match (self.broker, &begun.broker, &end.broker) {
            (Some(pid), Some(from), Some(to)) => Some(from.until(to, pid)?),
            _ => None,
        };
        let own = begun.own.until(&end.own, std::process::id())?;
        let machine = begun.machine.until(&end.machine);
        self.seen = Some(Seen { broker, own, machine, counters });
        Ok(())
    }

    fn marks(&self) -> io::Result<Marks> {
        let broker = self.broker.map(ProcessMark::take).transpose()?;
        let own = ProcessMark::take(std::process::id())?;
        Ok(Marks { broker, own, machine: MachineMark::take() })
    }

    /// The broker's cost, if one was watched.
    pub fn cost(&self, throughput: &Throughput) -> Option<Cost> {
        let usage = self.seen.as_ref()?.broker.clone()?;
        let per = |cost: u64, unit: u64| if unit > 0 { cost as f64 / unit as f64 } else { 0.0 };
        Some(Cost {
            pid: self.broker?,
            cpu_us_per_message: per(usage.cpu_us, throughput.messages),
            cpu_ns_per_byte: 1000.0 * per(usage.cpu_us, throughput.payload_bytes),
            cpu_cores: usage.cpu_us as f64 / 1e6 / usage.seconds,
            written_per_payload_byte: per(usage.written_bytes, throughput.payload_bytes),
            usage,
        })
    }
}

/// Everything about one run.
#[derive(Serialize)]
pub struct Report<S: Serialize> {
    pub command: String,
    pub settings: S,
    pub host: HostFacts,
    pub throughput: Throughput,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Every second of the measurement; the last one may be a part.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub seconds: Vec<Second>,
    /// Before and after the measurement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outside: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker: Option<Cost>,
    /// What each ringmq counted meanwhile.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub counters: Vec<BrokerCounters>,
    pub generator_cpu_cores: f64,
    pub generator_cpu_us_per_message: f64,
    pub machine: Option<MachineUse>,
    /// What the command found beyond this.
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    pub details: serde_json::Value,
}

impl<S: Serialize> Report<S> {
    pub fn new(command: &str, settings: S, throughput: Throughput, watch: &Watch) -> Report<S> {
        let own = watch.seen.as_ref().map(|seen| &seen.own);
        let own_us = own.map_or(0, |own| own.cpu_us);
        Report {
            command: command.to_string(),
            settings,
            host: HostFacts::gather(),
            throughput,
            latency: None,
            outcome: None,
            seconds: Vec::new(),
            outside: None,
            broker: watch.cost(&throughput),
            counters: watch.seen.as_ref().map_or_else(Vec::new, |seen| seen.counters.clone()),
            generator_cpu_cores: own.map_or(0.0, |own| own.cpu_us as f64 / 1e6 / own.seconds),
            generator_cpu_us_per_message: own_us as f64 / throughput.messages.max(1) as f64,
            machine: watch.seen.as_ref().map(|seen| seen.machine),
            details: serde_json::Value::Null,
        }
    }

    pub fn print(&self) {
        let t = &self.throughput;
        println!(
            "{:<10} {:.0} msg/s  {:.1} MB/s  ({} messages in {:.2} s)",
            self.command, t.messages_per_second, t.megabytes_per_second, t.messages, t.seconds
        );
        if let Some(l) = &self.latency {
            println!(
                "latency    p50 {:.1} µs  p99 {:.1} µs  p99.9 {:.1} µs  max {:.1} µs",
                l.p50_us, l.p99_us, l.p999_us, l.max_us
            );
        }
        for (name, outcome) in [("replies", &self.outcome), ("outside", &self.outside)] {
            if let Some(outcome) = outcome {
                print_outcome(name, outcome);
            }
        }
        if let Some(cost) = &self.broker {
            print_cost(cost);
        }
        for BrokerCounters { broker, counted } in &self.counters {
            let counted: Vec<String> =
                counted.iter().map(|(name, value)| format!("{name} {value}")).collect();
            println!("counters   {broker}: {}", counted.join("  "));
        }
        let busy = self.machine.map_or(0.0, |machine| 100.0 * machine.busy_share);
        println!(
            "generator  {:.2} cores  {:.3} µs/msg  (machine {busy:.0} % busy)",
            self.generator_cpu_cores, self.generator_cpu_us_per_message
        );
    }

    pub fn write(&self, path: Option<&Path>) -> io::Result<()> {
        let Some(path) = path else {
            return Ok(());
        };
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        std::fs::write(path, text)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }
}

fn print_outcome(name: &str, outcome: &Outcome) {
    let mut line = format!("{name:<10} code 0: {}", outcome.requests);
    for (code, count) in &outcome.refused {
        line.push_str(&format!("  code {code}: {count}"));
    }
    for (what, count) in [
        ("unmatched", outcome.unmatched),
        ("unanswered", outcome.unanswered),
        ("unsent", outcome.unsent),
    ] {
        if count > 0 {
            line.push_str(&format!("  {what}: {count}"));
        }
    }
    println!("{line}");
    for why in &outcome.broken {
        println!("{name:<10} connection lost: {why}");
    }
}

fn print_cost(cost: &Cost) {
    let usage = &cost.usage;
    println!(
        "broker     {:.3} µs CPU/msg  {:.2} cores  memory {} MiB + huge {} MiB  disk {:.2} B/payload B",
        cost.cpu_us_per_message,
        cost.cpu_cores,
        usage.rollup_pss_kib / 1024,
        usage.hugetlb_kib / 1024,
        cost.written_per_payload_byte
    );
}
