//! What is compared: the workloads, what each system is asked for in them,
//! and what is to be reached.

use super::System;
use serde::{Deserialize, Serialize};

/// When a send is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Once it is in memory that outlives the process.
    Async,
    /// Once it is on the disk.
    Sync,
}

/// A heading of summary and plots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Section {
    Single,
    Batches,
    Best,
    Queues,
    Durable,
    Rate,
    Drain,
    EndToEnd,
}

impl Section {
    pub const ALL: [Section; 8] = [
        Section::Single,
        Section::Batches,
        Section::Best,
        Section::Queues,
        Section::Durable,
        Section::Rate,
        Section::Drain,
        Section::EndToEnd,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Section::Single => {
                "One message per request, answered before it is on disk: closed-loop maximum"
            }
            Section::Batches => "The same batches for all: closed-loop maximum",
            Section::Best => "Each with its own best batching: closed-loop maximum",
            Section::Queues => "By number of queues: closed-loop maximum",
            Section::Durable => "Durable, answered once on the disk: closed-loop maximum",
            Section::Rate => "At a fixed rate: open loop",
            Section::Drain => "Backlog drain",
            Section::EndToEnd => "From sender to receiver",
        }
    }
}

/// What one system is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ask {
    pub connections: usize,
    pub window: usize,
    pub batch: usize,
}

/// How requests are shaped.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// Alike for all.
    Same(Ask),
    /// What each reaches most with.
    Best,
}

#[derive(Clone, Copy, Debug)]
pub enum Rate {
    Max,
    /// Half of what the slowest system reached at most in that workload.
    HalfOf(&'static str),
}

#[derive(Clone, Copy, Debug)]
pub enum Work {
    Send {
        shape: Shape,
        rate: Rate,
    },
    /// Reads a backlog, replies of about this many bytes.
    Drain {
        reply_bytes: u32,
    },
    /// Sends and receives; perhaps a second reader reads a backlog meanwhile.
    Tail {
        shape: Shape,
        rate: Rate,
        catch_up: bool,
    },
}

/// A figure that systems are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    Throughput,
    P50,
    P99,
    P999,
    CpuPerMessage,
    CpuPerByte,
}

/// Our figure over another system's, at least or at most this much.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Goal {
    pub metric: Metric,
    pub against: System,
    pub ratio: f64,
}

#[derive(Debug)]
pub struct Workload {
    pub name: &'static str,
    pub title: &'static str,
    pub section: Section,
    pub durability: Durability,
    pub size: usize,
    pub queues: u32,
    pub work: Work,
    /// In the quick profile, too.
    pub quick: bool,
    /// Shown in the README.
    pub headline: bool,
    pub goals: &'static [Goal],
}

impl Work {
    pub fn rate(&self) -> Rate {
        match self {
            Work::Send { rate, .. } | Work::Tail { rate, .. } => *rate,
            Work::Drain { .. } => Rate::Max,
        }
    }

    pub fn is_open_loop(&self) -> bool {
        matches!(self.rate(), Rate::HalfOf(_))
    }

    /// By what systems are ahead or behind.
    pub fn metrics(&self) -> Vec<Metric> {
        match self {
            Work::Drain { .. } => vec![Metric::Throughput, Metric::CpuPerByte],
            _ if self.is_open_loop() => {
                vec![Metric::P50, Metric::P99, Metric::P999, Metric::CpuPerMessage]
            }
            _ => vec![Metric::Throughput, Metric::CpuPerMessage],
        }
    }
}

impl Workload {
    /// What this system is asked for, in one way or its own best.
    pub fn ask(&self, system: System) -> Ask {
        match self.work {
            Work::Send { shape, .. } | Work::Tail { shape, .. } => shape.of(system, self.size),
            Work::Drain { .. } => Ask { connections: DRAIN_CONNECTIONS, window: 1, batch: 1 },
        }
    }

    /// The same for people.
    pub fn label(&self, system: System) -> String {
        if let Work::Drain { reply_bytes } = self.work {
            return format!("replies of up to {}", bytes(reply_bytes as usize));
        }
        let Ask { connections, window, batch } = self.ask(system);
        let requests = format!("{connections} × {window} requests");
        match batch {
            1 => requests,
            _ => format!("{requests} of {batch}"),
        }
    }
}

/// What a drain reads with.
pub const DRAIN_CONNECTIONS: usize = 8;

impl Shape {
    fn of(self, system: System, size: usize) -> Ask {
        match self {
            Shape::Same(ask) => ask,
            // Kafka's producers keep five requests in flight at most.
            Shape::Best => {
                let window = if system == System::Kafka { 5 } else { 8 };
                Ask { connections: 4, window, batch: best_batch(size) }
            }
        }
    }
}

/// What a Kafka producer's batch of 64 KiB holds; the others take as many in a batch request.
fn best_batch(size: usize) -> usize {
    match size {
        ..=128 => 450,
        129..=1024 => 63,
        size => (65_536 / size).max(1),
    }
}

pub fn bytes(n: usize) -> String {
    match n {
        n if n >= 1 << 20 && n.is_multiple_of(1 << 20) => format!("{} MiB", n >> 20),
        n if n >= 1 << 10 && n.is_multiple_of(1 << 10) => format!("{} KiB", n >> 10),
        n => format!("{n} B"),
    }
}

const fn same(connections: usize, window: usize, batch: usize) -> Shape {
    Shape::Same(Ask { connections, window, batch })
}

const fn send(shape: Shape) -> Work {
    Work::Send { shape, rate: Rate::Max }
}

const fn goal(metric: Metric, against: System, ratio: f64) -> Goal {
    Goal { metric, against, ratio }
}

/// The first of the workloads with an open loop.
pub const SINGLE: &str = "send-1k";
const TAIL: &str = "tail-1k";

/// What most workloads have in common.
const PLAIN: Workload = Workload {
    name: "",
    title: "",
    section: Section::Single,
    durability: Durability::Async,
    size: 1024,
    queues: 8,
    work: send(same(16, 32, 1)),
    quick: false,
    headline: false,
    goals: &[],
};

/// In the order in which they are measured: maxima before the rates made of them.
pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: SINGLE,
        title: "1 KiB, one per request",
        quick: true,
        headline: true,
        goals: &[
            goal(Metric::CpuPerMessage, System::Kafka, 1.0 / 15.0),
            goal(Metric::CpuPerMessage, System::Rocketmq, 1.0 / 15.0),
        ],
        ..PLAIN
    },
    Workload {
        name: "send-128",
        title: "128 B, one per request",
        size: 128,
        work: send(same(16, 64, 1)),
        ..PLAIN
    },
    Workload {
        name: "send-64k",
        title: "64 KiB, one per request",
        size: 65_536,
        work: send(same(8, 8, 1)),
        ..PLAIN
    },
    Workload { name: "one-1k", title: "1 KiB, one in flight", work: send(same(1, 1, 1)), ..PLAIN },
    Workload {
        name: "batch-1k",
        title: "1 KiB, batches of 16",
        section: Section::Batches,
        work: send(same(4, 8, 16)),
        ..PLAIN
    },
    Workload {
        name: "batch-128",
        title: "128 B, batches of 32",
        section: Section::Batches,
        size: 128,
        work: send(same(4, 8, 32)),
        ..PLAIN
    },
    Workload {
        name: "batch-64k",
        title: "64 KiB, batches of 4",
        section: Section::Batches,
        size: 65_536,
        work: send(same(4, 4, 4)),
        ..PLAIN
    },
    Workload {
        name: "best-1k",
        title: "1 KiB, own best batching",
        section: Section::Best,
        work: send(Shape::Best),
        quick: true,
        headline: true,
        goals: &[goal(Metric::CpuPerMessage, System::Kafka, 0.4)],
        ..PLAIN
    },
    Workload {
        name: "best-128",
        title: "128 B, own best batching",
        section: Section::Best,
        size: 128,
        work: send(Shape::Best),
        quick: true,
        headline: true,
        goals: &[goal(Metric::CpuPerMessage, System::Kafka, 0.5)],
        ..PLAIN
    },
    Workload {
        name: "queues-1",
        title: "1 KiB, one queue",
        section: Section::Queues,
        queues: 1,
        ..PLAIN
    },
    Workload {
        name: "queues-16",
        title: "1 KiB, 16 queues",
        section: Section::Queues,
        queues: 16,
        ..PLAIN
    },
    Workload {
        name: "queues-256",
        title: "1 KiB, 256 queues",
        section: Section::Queues,
        queues: 256,
        ..PLAIN
    },
    Workload {
        name: "half-1k",
        title: "1 KiB at half of the slowest's maximum",
        section: Section::Rate,
        work: Work::Send { shape: same(16, 512, 1), rate: Rate::HalfOf(SINGLE) },
        quick: true,
        headline: true,
        ..PLAIN
    },
    Workload {
        name: "drain-32",
        title: "1 KiB messages, 32 KiB replies",
        section: Section::Drain,
        work: Work::Drain { reply_bytes: 32 << 10 },
        goals: &[goal(Metric::CpuPerByte, System::Kafka, 0.5)],
        ..PLAIN
    },
    Workload {
        name: "drain-64k",
        title: "1 KiB messages, 64 KiB replies",
        section: Section::Drain,
        work: Work::Drain { reply_bytes: 64 << 10 },
        quick: true,
        headline: true,
        goals: &[goal(Metric::CpuPerByte, System::Kafka, 0.5)],
        ..PLAIN
    },
    Workload {
        name: "drain-1m",
        title: "1 KiB messages, 1 MiB replies",
        section: Section::Drain,
        work: Work::Drain { reply_bytes: 1 << 20 },
        quick: true,
        headline: true,
        goals: &[goal(Metric::CpuPerByte, System::Kafka, 1.0)],
        ..PLAIN
    },
    Workload {
        name: "drain-16m",
        title: "1 KiB messages, 16 MiB replies",
        section: Section::Drain,
        work: Work::Drain { reply_bytes: 16 << 20 },
        goals: &[goal(Metric::CpuPerByte, System::Kafka, 1.0)],
        ..PLAIN
    },
    Workload {
        name: "drain-big",
        title: "64 KiB messages, 1 MiB replies",
        section: Section::Drain,
        size: 65_536,
        work: Work::Drain { reply_bytes: 1 << 20 },
        ..PLAIN
    },
    Workload {
        name: TAIL,
        title: "1 KiB, sent and received as fast as possible",
        section: Section::EndToEnd,
        work: Work::Tail { shape: same(16, 32, 1), rate: Rate::Max, catch_up: false },
        quick: true,
        ..PLAIN
    },
    Workload {
        name: "tail-half",
        title: "1 KiB at half of the slowest's maximum",
        section: Section::EndToEnd,
        work: Work::Tail { shape: same(16, 512, 1), rate: Rate::HalfOf(TAIL), catch_up: false },
        quick: true,
        headline: true,
        ..PLAIN
    },
    Workload {
        name: "tail-mixed",
        title: "the same, beside a reader that catches up",
        section: Section::EndToEnd,
        work: Work::Tail { shape: same(16, 512, 1), rate: Rate::HalfOf(TAIL), catch_up: true },
        ..PLAIN
    },
    Workload {
        name: "sync-1k",
        title: "1 KiB, 16 connections, one in flight each",
        section: Section::Durable,
        durability: Durability::Sync,
        work: send(same(16, 1, 1)),
        quick: true,
        headline: true,
        goals: &[goal(Metric::Throughput, System::Kafka, 10.0)],
        ..PLAIN
    },
    Workload {
        name: "sync-one",
        title: "1 KiB, one in flight",
        section: Section::Durable,
        durability: Durability::Sync,
        work: send(same(1, 1, 1)),
        ..PLAIN
    },
    Workload {
        name: "sync-128",
        title: "128 B, 16 connections, one in flight each",
        section: Section::Durable,
        durability: Durability::Sync,
        size: 128,
        work: send(same(16, 1, 1)),
        ..PLAIN
    },
    Workload {
        name: "sync-64k",
        title: "64 KiB, 8 connections, one in flight each",
        section: Section::Durable,
        durability: Durability::Sync,
        size: 65_536,
        work: send(same(8, 1, 1)),
        ..PLAIN
    },
    Workload {
        name: "sync-best",
        title: "1 KiB, own best batching",
        section: Section::Durable,
        durability: Durability::Sync,
        work: send(Shape::Best),
        ..PLAIN
    },
];

/// Those asked for, by parts of their names, and those whose figures they need.
pub fn select(parts: &[String], quick: bool) -> Result<Vec<&'static Workload>, String> {
    let known = |part: &&String| WORKLOADS.iter().any(|w| w.name.contains(part.as_str()));
    if let Some(part) = parts.iter().find(|part| !known(part)) {
        let names: Vec<&str> = WORKLOADS.iter().map(|workload| workload.name).collect();
        return Err(format!(
            "no workload has `{part}` in its name; there are {}",
            names.join(", ")
        ));
    }
    let wanted = |w: &&Workload| match parts {
        [] => w.quick || !quick,
        parts => parts.iter().any(|part| w.name.contains(part.as_str())),
    };
    let needed: Vec<&str> = WORKLOADS
        .iter()
        .filter(wanted)
        .filter_map(|workload| match workload.work.rate() {
            Rate::HalfOf(name) => Some(name),
            Rate::Max => None,
        })
        .collect();
    Ok(WORKLOADS.iter().filter(|w| wanted(w) || needed.contains(&w.name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_what_a_rate_needs_is_measured_before_it() {
        for (i, workload) in WORKLOADS.iter().enumerate() {
            let before = &WORKLOADS[..i];
            assert!(before.iter().all(|w| w.name != workload.name), "{}", workload.name);
            assert!(!workload.name.contains('.'), "dots part a raw file's name");
            if let Rate::HalfOf(name) = workload.work.rate() {
                assert!(before.iter().any(|w| w.name == name), "{} needs {name}", workload.name);
            }
        }
    }

    #[test]
    fn durable_workloads_come_last_so_that_brokers_start_twice_at_most() {
        let first = WORKLOADS.iter().position(|w| w.durability == Durability::Sync).unwrap();
        assert!(WORKLOADS[first..].iter().all(|w| w.durability == Durability::Sync));
    }

    #[test]
    fn a_rate_brings_the_workload_it_is_made_of() {
        let names = |parts: &[&str]| -> Vec<&str> {
            let parts: Vec<String> = parts.iter().map(|part| part.to_string()).collect();
            select(&parts, true).unwrap().iter().map(|workload| workload.name).collect()
        };
        assert_eq!(names(&["half-1k"]), [SINGLE, "half-1k"]);
        assert_eq!(names(&["sync-one", "queues-1"]), ["queues-1", "queues-16", "sync-one"]);
        assert!(names(&[]).len() < select(&[], false).unwrap().len());
        assert!(select(&["nonsense".into()], false).unwrap_err().contains("tail-mixed"));
    }

    #[test]
    fn kafkas_best_batching_is_what_its_clients_reach() {
        let batch = |name: &str| {
            let workload = WORKLOADS.iter().find(|w| w.name == name).unwrap();
            workload.ask(System::Kafka).batch
        };
        assert_eq!((batch("best-1k"), batch("best-128")), (63, 450));
    }
}
