//! One measurement after the other: who is ready, warmed, measured, at rest.

use super::manifest::raw_name;
use super::system::{self, Broker, Ground, Runs};
use super::tool::Tool;
use super::workloads::{Durability, Rate, Work, Workload};
use super::{Pace, System};
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
        let broker = runs.ready(workload.durability).map_err(Failure::Run)?;
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
        let of = |system: &System| self.maxima.get(&(name, *system)).cloned();
        let maxima: Option<Vec<f64>> =
            self.systems.keys().map(|system| of(system).and_then(median)).collect();
        let slowest = maxima.and_then(|maxima| maxima.into_iter().reduce(f64::min));
        match slowest {
            Some(rate) if rate >= 2.0 => Ok((rate / 2.0).floor()),
            _ => Err(io::Error::other(format!("needs a maximum of every system in {name}"))),
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
        }
        let name = self.round.to_string();
        self.tool(&name, pace.warmup, pace.seconds, Some(file))?.run()
    }

    fn start(&self, what: &str) -> io::Result<Tool> {
        let ground = &self.stage.ground;
        Tool::new(what, self.system, self.broker, &ground.load_cores, &ground.data_dir)
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
            .set("--topic", format!("{}-{name}", workload.name))
            .set("--create-topic", workload.queues)
            .set("--size", workload.size)
            .set("--rate", self.rate)
            .set("--warmup", warmup)
            .set("--duration", seconds))
    }

    fn fill_backlog(&self) -> io::Result<()> {
        let size = self.workload.size;
        let messages = (self.stage.pace.backlog_bytes / size as u64).max(1);
        let batch = (FILL_BYTES / size).max(1);
        self.start("send")?
            .set("--topic", backlog_topic(size))
            .set("--create-topic", BACKLOG_QUEUES)
            .set("--size", size)
            .set("--batch", batch)
            .set("--count", messages)
            .set("--connections", 8)
            .set("--window", 4)
            .run()
    }
}

/// Bytes that a measurement may leave on the disk, roughly; for the check before a run.
pub fn bytes_of(workload: &Workload, pace: &Pace) -> u64 {
    let per_second: u64 = match (workload.durability, workload.size) {
        (Durability::Sync, _) => 500_000_000,
        (Durability::Async, size) if size >= 32_768 => 3_000_000_000,
        (Durability::Async, _) => 1_500_000_000,
    };
    let seconds = match workload.work.is_open_loop() || matches!(workload.work, Work::Drain { .. })
    {
        true => 0.0,
        false => pace.warmup + pace.seconds,
    };
    let backlog = if workload.needs_backlog() { 2 * pace.backlog_bytes } else { 0 };
    (per_second as f64 * seconds) as u64 + backlog
}
