//! One measurement after the other: who is ready, warmed, measured, at rest.

use super::manifest::raw_name;
use super::system::{self, Broker, Ground, Runs};
use super::tool::Tool;
use super::workloads::{Durability, Rate, Work, Workload};
use super::{Pace, System};
use crate::kafka::{self, KafkaClient};
use crate::results::{Figures, Folder, median};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

pub struct Stage {
    ground: Ground,
    pace: Pace,
    systems: BTreeMap<System, Box<dyn Runs>>,
    /// Messages per second of every measurement so far, for the rates made of them.
    maxima: BTreeMap<(&'static str, System), Vec<f64>>,
}

/// Why there is no figure.
pub enum Failure {
    /// This one went wrong; others may go well.
    Cell(io::Error),
    /// A broker is not there.
    Run(io::Error),
}

/// Holds what the load tool says.
pub const TOOL_DIR: &str = "tool";

/// Passes of a drain: the last one counts, when caches and compilers have settled.
const PASSES: usize = 3;
const BACKLOG_QUEUES: u32 = 8;
/// What a backlog is filled with: batches, as those who write much do.
const FILL_BYTES: usize = 65_536;

impl Stage {
    pub fn new(ground: Ground, pace: Pace, systems: &[System]) -> Stage {
        let runs = |&system: &System| (system, system::of(system, &ground));
        let systems = systems.iter().map(runs).collect();
        Stage { ground, pace, systems, maxima: BTreeMap::new() }
    }

    pub fn settings(&self, system: System) -> String {
        self.systems[&system].settings()
    }

    /// Measures once; the result is in the folder.
    pub fn measure(
        &mut self,
        workload: &'static Workload,
        system: System,
        round: usize,
        folder: &Folder,
    ) -> Result<Figures, Failure> {
        let file = folder.raw(&raw_name(workload.name, system, round));
        let rate = self.rate_of(workload).map_err(Failure::Cell)?;
        let runs = self.systems.get_mut(&system).expect("only those who take part are measured");
        let broker = runs.ready(workload.durability, round == 1).map_err(Failure::Run)?;
        let warm = system.compiles() && runs.first(workload.name);
        let fill = workload.needs_backlog() && runs.first(&backlog_topic(workload.size));
        let turn = Turn { stage: self, workload, system, broker, round, rate };
        let measured = turn.measure(warm, fill, &file);
        let runs = self.systems.get_mut(&system).expect("it was there above");
        runs.rest().map_err(Failure::Run)?;
        nix::unistd::sync();
        measured.map_err(Failure::Cell)?;
        let figures = Figures::read(&file).map_err(Failure::Cell)?;
        let rates = self.maxima.entry((workload.name, system)).or_default();
        rates.push(figures.messages_per_second);
        Ok(figures)
    }

    /// Messages per second that are to be sent; zero is as many as possible.
    fn rate_of(&self, workload: &Workload) -> io::Result<f64> {
        let Rate::HalfOf(name) = workload.work.rate() else { return Ok(0.0) };
        let of = |system: &System| median(self.maxima.get(&(name, *system))?.clone());
        // One that failed there has no maximum, and does not keep the others from going on.
        let slowest = self.systems.keys().filter_map(of).reduce(f64::min);
        match slowest {
            Some(rate) if rate >= 2.0 => Ok((rate / 2.0).floor()),
            _ => Err(io::Error::other(format!("needs the maxima of {name}, which has none"))),
        }
    }
}

impl Workload {
    fn needs_backlog(&self) -> bool {
        matches!(self.work, Work::Drain { .. } | Work::Tail { catch_up: true, .. })
    }
}

fn backlog_topic(size: usize) -> String {
    format!("backlog-{size}")
}

/// One system's turn in one workload.
struct Turn<'a> {
    stage: &'a Stage,
    workload: &'static Workload,
    system: System,
    broker: Broker,
    round: usize,
    rate: f64,
}

impl Turn<'_> {
    fn measure(&self, warm: bool, fill: bool, file: &Path) -> io::Result<()> {
        if fill {
            self.fill_backlog()?;
        }
        let pace = &self.stage.pace;
        if warm && pace.jvm_warmup > 0.0 {
            self.tool("warm", 0.0, pace.jvm_warmup, None)?.run()?;
            self.clear("warm")?;
        }
        let name = self.round.to_string();
        self.tool(&name, pace.warmup, pace.seconds, Some(file))?.run()?;
        self.clear(&name)
    }

    /// Frees the disk where a broker can: RocketMQ keeps a deleted topic's messages in its log.
    fn clear(&self, name: &str) -> io::Result<()> {
        if self.system != System::Kafka || matches!(self.workload.work, Work::Drain { .. }) {
            return Ok(());
        }
        let mut client = KafkaClient::connect(self.broker.addr)?;
        kafka::delete_topic(&mut client, &self.topic(name))
    }

    fn topic(&self, name: &str) -> String {
        format!("{}-{name}", self.workload.name)
    }

    fn start(&self, what: &str) -> io::Result<Tool> {
        let ground = &self.stage.ground;
        let dir = ground.data_dir.join(TOOL_DIR);
        Tool::new(what, self.system, self.broker, &ground.load_cores, &dir)
    }

    /// The command that loads the broker for so long.
    fn tool(&self, name: &str, warmup: f64, seconds: f64, file: Option<&Path>) -> io::Result<Tool> {
        let workload = self.workload;
        let ask = workload.ask(self.system);
        let tool = match workload.work {
            Work::Drain { reply_bytes } => {
                let messages = (reply_bytes as usize / workload.size).max(1);
                self.start("drain")?
                    .set("--topic", backlog_topic(workload.size))
                    .set("--queues", BACKLOG_QUEUES)
                    .set("--connections", ask.connections)
                    .set("--max-messages", messages)
                    .set("--max-bytes", reply_bytes)
                    .set("--passes", PASSES)
                    .flag("--discard")
            }
            Work::Send { .. } => self.load("send", name, warmup, seconds)?.ask(ask),
            Work::Tail { catch_up, .. } => {
                let tail = self.load("tail", name, warmup, seconds)?.ask(ask);
                match catch_up {
                    true => tail.set("--catch-up", backlog_topic(workload.size)),
                    false => tail,
                }
            }
        };
        Ok(match file {
            Some(file) => tool.set("--json", file.display()),
            None => tool,
        })
    }

    fn load(&self, what: &str, name: &str, warmup: f64, seconds: f64) -> io::Result<Tool> {
        let workload = self.workload;
        Ok(self
            .start(what)?
            .set("--topic", self.topic(name))
            .set("--create-topic", workload.queues)
            .set("--size", workload.size)
            .set("--rate", self.rate)
            .set("--warmup", warmup)
            .set("--duration", seconds))
    }

    fn fill_backlog(&self) -> io::Result<()> {
        let size = self.workload.size;
        let messages = (self.stage.pace.backlog_bytes / size as u64).max(1);
        let fill = |topic: &str| -> io::Result<Tool> {
            Ok(self
                .start("send")?
                .set("--topic", topic)
                .set("--create-topic", BACKLOG_QUEUES)
                .set("--size", size)
                .set("--batch", (FILL_BYTES / size).max(1))
                .set("--connections", 8)
                .set("--window", 4))
        };
        let warmup = self.stage.pace.jvm_warmup;
        if self.system.compiles() && warmup > 0.0 {
            // One that has just started refuses nearly all that is sent at full speed.
            fill("before-backlog")?.set("--warmup", 0).set("--duration", warmup).run()?;
        }
        fill(&backlog_topic(size))?.set("--count", messages).run_unrefused()
    }
}

/// Bytes that all rounds of a workload may have on the disk at once, roughly, by what
/// each system was seen to write on one core; for the check before a run.
pub fn bytes_of(workload: &Workload, system: System, pace: &Pace) -> u64 {
    let large = workload.size >= 32_768;
    let a_second: u64 = match (system, workload.durability) {
        (System::Ringmq, Durability::Async) if large => 2_700_000_000,
        (System::Ringmq, Durability::Async) => 1_300_000_000,
        (System::Rocketmq, Durability::Async) => 250_000_000,
        (System::Kafka, Durability::Async) => 400_000_000,
        (System::Ringmq, Durability::Sync) => 500_000_000,
        (_, Durability::Sync) => 100_000_000,
    };
    let round = pace.warmup + pace.seconds;
    let seconds = match (workload.work, system) {
        (Work::Drain { .. }, _) => 0.0,
        (_, System::Ringmq) => round,
        (_, System::Rocketmq) => pace.jvm_warmup + round * pace.rounds as f64,
        (_, System::Kafka) => pace.jvm_warmup.max(round),
    };
    let share = if workload.work.is_open_loop() { 0.5 } else { 1.0 };
    let backlog = if workload.needs_backlog() { 2 * pace.backlog_bytes } else { 0 };
    (a_second as f64 * seconds * share) as u64 + backlog
}
