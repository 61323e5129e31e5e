//! What a run found, read back from its folder.

use super::System;
use super::manifest::{Manifest, WorkloadOf, raw_name};
use super::workloads::{Goal, Metric};
use crate::plot;
use crate::results::{Figures, Folder, Spread, merged, spread};
use hdrhistogram::Histogram;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io;

pub struct Outcome {
    pub manifest: Manifest,
    /// `host.json`.
    pub facts: Value,
    /// `reasons.toml`: why a cell is as it is, in words of people.
    reasons: toml::Table,
    /// By workload and system; none where nothing was measured.
    cells: BTreeMap<(String, System), Cell>,
}

/// One system in one workload, all rounds.
pub struct Cell {
    pub rounds: Vec<Figures>,
    /// The raw files, beside `rounds`.
    pub files: Vec<String>,
    /// Rounds that went wrong, and why.
    pub failed: Vec<(usize, String)>,
    pub latency: Option<Histogram<u64>>,
}

/// Where ours is not ahead of all.
pub struct Lost {
    pub workload: String,
    pub metric: Metric,
    pub ours: Spread,
    pub against: System,
    pub theirs: Spread,
    pub reason: Option<String>,
}

impl Outcome {
    pub fn read(folder: &Folder) -> io::Result<Outcome> {
        let manifest: Manifest = serde_json::from_str(&folder.read("run.json")?)?;
        let facts = serde_json::from_str(&folder.read("host.json")?)?;
        let reasons = folder.reasons()?;
        let mut cells = BTreeMap::new();
        for workload in &manifest.workloads {
            for of in &manifest.systems {
                let cell = Cell::read(folder, &workload.name, of.system, manifest.rounds)?;
                cells.insert((workload.name.clone(), of.system), cell);
            }
        }
        Ok(Outcome { manifest, facts, reasons, cells })
    }

    pub fn cell(&self, workload: &WorkloadOf, system: System) -> &Cell {
        &self.cells[&(workload.name.clone(), system)]
    }

    pub fn systems(&self) -> impl Iterator<Item = System> + '_ {
        self.manifest.systems.iter().map(|of| of.system)
    }

    /// None as well of a system that took no part.
    pub fn value(&self, workload: &WorkloadOf, system: System, metric: Metric) -> Option<Spread> {
        self.cells.get(&(workload.name.clone(), system))?.value(metric)
    }

    /// Every comparison in which another system is ahead of ours, and how many there are.
    pub fn lost(&self) -> (Vec<Lost>, usize) {
        let (mut lost, mut all) = (Vec::new(), 0);
        for workload in &self.manifest.workloads {
            for &metric in &workload.metrics {
                for against in self.systems().filter(|system| *system != System::Ringmq) {
                    let ours = self.value(workload, System::Ringmq, metric);
                    let theirs = self.value(workload, against, metric);
                    let Some((ours, theirs)) = ours.zip(theirs) else { continue };
                    all += 1;
                    if metric.is_ahead(theirs.median, ours.median) {
                        let reason = self.reason(&workload.name, metric);
                        let workload = format!("{}: {}", workload.name, workload.title);
                        lost.push(Lost { workload, metric, ours, against, theirs, reason });
                    }
                }
            }
        }
        (lost, all)
    }

    /// Of the metric if there is one, else of the workload.
    fn reason(&self, workload: &str, metric: Metric) -> Option<String> {
        let of = self.reasons.get(workload)?;
        let of_metric = of.get(metric.key()).and_then(toml::Value::as_str);
        of_metric.or(of.as_str()).map(str::to_string)
    }

    /// Every goal that can be judged: the workload, the goal, our figure over theirs.
    pub fn goals(&self) -> Vec<(&WorkloadOf, Goal, Spread, Spread)> {
        let mut goals = Vec::new();
        for workload in &self.manifest.workloads {
            for goal in &workload.goals {
                let ours = self.value(workload, System::Ringmq, goal.metric);
                let theirs = self.value(workload, goal.against, goal.metric);
                if let Some((ours, theirs)) = ours.zip(theirs) {
                    goals.push((workload, *goal, ours, theirs));
                }
            }
        }
        goals
    }

    /// The busiest that the machine was, of all measurements, and the idlest.
    pub fn busy(&self) -> Option<Spread> {
        let rounds = self.cells.values().flat_map(|cell| &cell.rounds);
        spread(rounds.filter_map(|round| round.machine_busy))
    }
}

impl Cell {
    fn read(folder: &Folder, workload: &str, system: System, rounds: usize) -> io::Result<Cell> {
        let (mut figures, mut files, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        for round in 1..=rounds {
            let name = raw_name(workload, system, round);
            let file = folder.raw(&name);
            if file.exists() {
                figures.push(Figures::read(&file)?);
                files.push(format!("raw/{name}.json"));
            } else if let Ok(why) = fs::read_to_string(folder.failed(&name)) {
                failed.push((round, why));
            }
        }
        let latency = merged(&figures);
        Ok(Cell { rounds: figures, files, failed, latency })
    }

    /// Of the rounds the median, for percentiles that of all requests together.
    pub fn value(&self, metric: Metric) -> Option<Spread> {
        let all = spread(self.rounds.iter().filter_map(|round| metric.of(round)))?;
        let quantile = metric.quantile().zip(self.latency.as_ref());
        let median = match quantile {
            Some((quantile, latency)) => latency.value_at_quantile(quantile) as f64 / 1000.0,
            None => all.median,
        };
        Some(Spread { median, ..all })
    }

    pub fn spread(&self, figure: impl Fn(&Figures) -> Option<f64>) -> Option<Spread> {
        spread(self.rounds.iter().filter_map(figure))
    }
}

impl Metric {
    fn of(self, figures: &Figures) -> Option<f64> {
        match self {
            Metric::Throughput => Some(figures.messages_per_second),
            Metric::P50 => Some(figures.p50_us),
            Metric::P99 => Some(figures.p99_us),
            Metric::P999 => Some(figures.p999_us),
            Metric::CpuPerMessage => figures.cpu_us,
            Metric::CpuPerByte => figures.cpu_ns_per_byte,
        }
    }

    fn quantile(self) -> Option<f64> {
        match self {
            Metric::P50 => Some(0.5),
            Metric::P99 => Some(0.99),
            Metric::P999 => Some(0.999),
            _ => None,
        }
    }

    /// Its name in `reasons.toml`.
    fn key(self) -> &'static str {
        match self {
            Metric::Throughput => "throughput",
            Metric::P50 => "p50",
            Metric::P99 => "p99",
            Metric::P999 => "p999",
            Metric::CpuPerMessage => "cpu-per-message",
            Metric::CpuPerByte => "cpu-per-byte",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Metric::Throughput => "messages per second",
            Metric::P50 => "p50",
            Metric::P99 => "p99",
            Metric::P999 => "p99.9",
            Metric::CpuPerMessage => "broker CPU per message",
            Metric::CpuPerByte => "broker CPU per byte",
        }
    }

    /// Whether `a` is better than `b`.
    pub fn is_ahead(self, a: f64, b: f64) -> bool {
        if self == Metric::Throughput { a > b } else { a < b }
    }

    pub fn show(self, value: f64) -> String {
        match self {
            Metric::Throughput => format!("{}/s", plot::short(value)),
            Metric::P50 | Metric::P99 | Metric::P999 => plot::time(value),
            Metric::CpuPerMessage => format!("{} µs", plot::three_digits(value)),
            Metric::CpuPerByte => format!("{} ns", plot::three_digits(value)),
        }
    }

    /// With both ends, where there is more than one round.
    pub fn show_spread(self, spread: Spread) -> String {
        let median = self.show(spread.median);
        if spread.least == spread.most {
            return median;
        }
        format!("{median} ({}..{})", self.show(spread.least), self.show(spread.most))
    }
}
