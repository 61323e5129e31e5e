//! What a run found, read back from its folder.

use super::cell::{Cell, Place, Strategy};
use super::manifest::Manifest;
use crate::counters::Counted;
use crate::plot::three_digits;
use crate::results::{Folder, Spread, spread};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;

pub struct Outcome {
    pub manifest: Manifest,
    /// `host.json`.
    pub facts: Value,
    reasons: toml::Table,
    cells: BTreeMap<(Cell, Strategy), Runs>,
}

/// One strategy in one cell, by round.
#[derive(Default)]
pub struct Runs {
    pub rounds: BTreeMap<usize, Reading>,
    /// Rounds that went wrong, and why.
    pub failed: BTreeMap<usize, String>,
}

/// One measurement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    pub messages_per_second: f64,
    /// Of delivered bodies.
    pub gigabytes_per_second: f64,
    /// Of the whole broker, per byte of delivered bodies.
    pub cpu_ns_per_byte: Option<f64>,
    pub p50_us: f64,
    pub p99_us: f64,
    /// Share of the machine that was busy.
    pub busy: Option<f64>,
    pub counted: Counted,
}

impl Reading {
    /// Of a raw file whose messages have `size` bytes; an error if something did not come.
    pub fn of(json: &Value, size: usize) -> io::Result<Reading> {
        let number = |at: &str| json.pointer(at).and_then(Value::as_f64);
        let wrong = |why: String| Err(io::Error::other(why));
        if let Some(short) = json.pointer("/details/short/0").and_then(Value::as_str) {
            return wrong(short.into());
        }
        if let Some(missing) = number("/details/missing").filter(|missing| *missing > 0.0) {
            return wrong(format!("{missing} messages did not arrive"));
        }
        let refused = json.pointer("/outcome/refused").and_then(Value::as_object);
        if let Some((code, count)) = refused.and_then(|refused| refused.iter().next()) {
            return wrong(format!("{count} sends were refused with code {code}"));
        }
        let messages = number("/throughput/messages").filter(|messages| *messages > 0.0);
        let Some(messages) = messages else { return wrong("nothing was delivered".into()) };
        let rate = number("/throughput/messages_per_second").unwrap_or(0.0);
        let bytes = messages * size as f64;
        Ok(Reading {
            messages_per_second: rate,
            gigabytes_per_second: rate * size as f64 / 1e9,
            cpu_ns_per_byte: cpu_us(json).map(|us| us * 1000.0 / bytes),
            p50_us: number("/latency/p50_us").unwrap_or(0.0),
            p99_us: number("/latency/p99_us").unwrap_or(0.0),
            busy: number("/machine/busy_share"),
            counted: counted(json),
        })
    }

    /// What one cell's strategies are compared by; more is better.
    pub fn score(&self, place: Place) -> Option<f64> {
        match place {
            Place::Backlog => Some(self.gigabytes_per_second),
            // The rate is given at the tail: what counts is what a broker's core could do.
            Place::Tail => self.gigabytes_per_cpu_second(),
        }
    }

    pub fn gigabytes_per_cpu_second(&self) -> Option<f64> {
        self.cpu_ns_per_byte.filter(|ns| *ns > 0.0).map(|ns| 1.0 / ns)
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cpu = self.cpu_ns_per_byte.map_or("–".into(), three_digits);
        let (bytes, p50) = (three_digits(self.gigabytes_per_second), self.p50_us);
        write!(f, "{bytes} GB/s  broker {cpu} ns/B  p50 {p50:.0} µs")
    }
}

/// The scheduler's sums of the threads are finer than the process's ticks, which in turn
/// have those that ended meanwhile.
fn cpu_us(json: &Value) -> Option<f64> {
    const TICKS_US: f64 = 20_000.0;
    let process = json.pointer("/broker/usage/cpu_us")?.as_f64()?;
    let threads = json.pointer("/broker/usage/threads_cpu_us").and_then(Value::as_object);
    let threads = threads.into_iter().flatten().filter_map(|(_, us)| us.as_f64()).sum::<f64>();
    Some(if (process - threads).abs() <= TICKS_US { threads } else { process })
}

fn counted(json: &Value) -> Counted {
    let brokers = json.pointer("/counters").and_then(Value::as_array);
    let mut counted = Counted::new();
    for broker in brokers.into_iter().flatten() {
        for (name, value) in
            broker.pointer("/counted").and_then(Value::as_object).into_iter().flatten()
        {
            *counted.entry(name.clone()).or_default() += value.as_u64().unwrap_or(0);
        }
    }
    counted
}

/// A raw file without what is in it twice or in `host.json`: there are thousands.
pub fn tidied(text: &str) -> io::Result<String> {
    let mut json: Value = serde_json::from_str(text)?;
    if let Some(all) = json.as_object_mut() {
        all.remove("host");
        for name in ["latency", "details"] {
            let Some(part) = all.get_mut(name).and_then(Value::as_object_mut) else { continue };
            part.remove("curve");
            if let Some(send) = part.get_mut("send_latency").and_then(Value::as_object_mut) {
                send.remove("curve");
            }
        }
    }
    Ok(format!("{json}\n"))
}

/// `auto` beside the fixed strategy with the best median.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub best: Strategy,
    /// Of rounds in which both were measured: auto's score over the best one's.
    pub ratio: Spread,
    pub rounds: usize,
}

pub const RATIO_TO_REACH: f64 = 0.95;
pub const ROUNDS_TO_COUNT: usize = 5;

impl Verdict {
    pub fn is_reached(&self) -> bool {
        // What is shown as the ratio to reach has reached it.
        (self.ratio.median * 1000.0).round() >= RATIO_TO_REACH * 1000.0
    }
}

impl Outcome {
    pub fn read(folder: &Folder) -> io::Result<Outcome> {
        let manifest: Manifest = serde_json::from_str(&folder.read("run.json")?)?;
        let facts = serde_json::from_str(&folder.read("host.json")?)?;
        let mut cells = BTreeMap::new();
        for cell in manifest.cells() {
            for &strategy in &manifest.strategies {
                let runs = Runs::read(folder, cell, strategy, manifest.rounds)?;
                cells.insert((cell, strategy), runs);
            }
        }
        Ok(Outcome { manifest, facts, reasons: folder.reasons()?, cells })
    }

    pub fn runs(&self, cell: Cell, strategy: Strategy) -> Option<&Runs> {
        self.cells.get(&(cell, strategy)).filter(|runs| !runs.rounds.is_empty())
    }

    pub fn failed(&self) -> Vec<(Cell, Strategy, usize, &str)> {
        let mut failed = Vec::new();
        for ((cell, strategy), runs) in &self.cells {
            for (round, why) in &runs.failed {
                failed.push((*cell, *strategy, *round, why.as_str()));
            }
        }
        failed
    }

    pub fn score(&self, cell: Cell, strategy: Strategy) -> Option<Spread> {
        self.runs(cell, strategy)?.spread(|reading| reading.score(cell.place))
    }

    /// The fixed strategy that is best here.
    pub fn best_fixed(&self, cell: Cell) -> Option<Strategy> {
        let fixed = self.manifest.strategies.iter().filter(|s| **s != Strategy::Auto);
        let scored = fixed.filter_map(|&s| Some((s, self.score(cell, s)?.median)));
        scored.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(strategy, _)| strategy)
    }

    pub fn verdict(&self, cell: Cell) -> Option<Verdict> {
        let best = self.best_fixed(cell)?;
        let ratios = self.runs(cell, Strategy::Auto)?.ratios(self.runs(cell, best)?, cell.place);
        let rounds = ratios.len();
        Some(Verdict { best, ratio: spread(ratios)?, rounds })
    }

    pub fn reason(&self, name: &str) -> Option<&str> {
        self.reasons.get(name).and_then(toml::Value::as_str)
    }

    /// The busiest and the idlest that the machine was, of all measurements.
    pub fn busy(&self) -> Option<Spread> {
        let readings = self.cells.values().flat_map(|runs| runs.rounds.values());
        spread(readings.filter_map(|reading| reading.busy))
    }
}

impl Runs {
    fn read(folder: &Folder, cell: Cell, strategy: Strategy, rounds: usize) -> io::Result<Runs> {
        let mut runs = Runs::default();
        for round in 1..=rounds {
            let name = cell.raw_name(strategy, round);
            let file = folder.raw(&name);
            if file.exists() {
                let json = serde_json::from_str(&fs::read_to_string(&file)?)?;
                runs.rounds.insert(round, Reading::of(&json, cell.ground.size)?);
            } else if let Ok(why) = fs::read_to_string(folder.failed(&name)) {
                runs.failed.insert(round, why);
            }
        }
        Ok(runs)
    }

    pub fn spread(&self, figure: impl Fn(&Reading) -> Option<f64>) -> Option<Spread> {
        spread(self.rounds.values().filter_map(figure))
    }

    /// This one's score over the other's, of each round that both have.
    fn ratios(&self, other: &Runs, place: Place) -> Vec<f64> {
        let of = |(round, mine): (&usize, &Reading)| {
            let theirs = other.rounds.get(round)?.score(place).filter(|score| *score > 0.0)?;
            Some(mine.score(place)? / theirs)
        };
        self.rounds.iter().filter_map(of).collect()
    }

    /// Counters of all rounds together.
    pub fn counted(&self) -> Counted {
        let mut all = Counted::new();
        for (name, value) in self.rounds.values().flat_map(|reading| &reading.counted) {
            *all.entry(name.clone()).or_default() += value;
        }
        all
    }

    /// By which strategies the bytes went, the largest share first.
    pub fn moved_by(&self) -> Vec<(String, f64)> {
        let counted = self.counted();
        let bytes = counted.iter().filter_map(|(name, bytes)| {
            let name = name.strip_prefix("transfer.")?.strip_suffix(".bytes")?;
            Some((name.to_string(), *bytes as f64))
        });
        let mut shares: Vec<(String, f64)> = bytes.collect();
        let all: f64 = shares.iter().map(|(_, bytes)| bytes).sum();
        for (_, share) in &mut shares {
            *share /= all;
        }
        shares.sort_by(|a, b| b.1.total_cmp(&a.1));
        shares
    }

    /// Why bytes went another way than was asked for, and how often.
    pub fn fallbacks(&self) -> Vec<(String, u64)> {
        let counted = self.counted();
        let of = |(name, count): (&String, &u64)| {
            Some((name.strip_prefix("transfer.fallback.")?.to_string(), *count))
        };
        counted.iter().filter_map(of).collect()
    }
}

#[cfg(test)]
pub mod tests {
    use super::super::cell::{Filter, Ground, Write};
    use super::super::manifest::KIND;
    use super::*;
    use serde_json::json;
    use tempfile::TempDir;

    pub fn direct(size: usize, filter: Filter) -> Cell {
        let ground = Ground { write: Write::Direct, size, queues: 16 };
        Cell { ground, place: Place::Backlog, filter }
    }

    /// A folder of a run in which nothing was measured yet.
    pub fn folder() -> (TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::create(dir.path(), KIND).unwrap();
        let manifest = Manifest {
            kind: KIND.into(),
            quick: true,
            rounds: 5,
            seconds: 1.0,
            backlog_bytes: 1 << 30,
            fill_bytes: 65_536,
            max_messages: 1024,
            max_bytes: None,
            ringmq_args: vec![],
            broker_cores: vec![0],
            load_cores: vec![1],
            writes: vec![Write::Direct],
            strategies: vec![Strategy::Auto, Strategy::Copy, Strategy::Sendfile],
            sizes: vec![1024, 16_384],
            queues: vec![16],
            places: vec![Place::Backlog],
            filters: vec![Filter::Off, Filter::On],
        };
        folder.write_json("run.json", &manifest).unwrap();
        folder.write_json("host.json", &json!({ "commit": { "hash": "abc" } })).unwrap();
        (dir, folder)
    }

    /// A second in which a byte of bodies cost one nanosecond, and a call moved a third of
    /// a megabyte.
    pub fn put(
        folder: &Folder,
        cell: Cell,
        strategy: Strategy,
        round: usize,
        rate: f64,
        moved: &[(&str, u64)],
    ) {
        let mut counted = serde_json::Map::new();
        for (name, bytes) in moved {
            counted.insert(format!("transfer.{name}.bytes"), json!(bytes));
            counted.insert(format!("transfer.{name}.calls"), json!(bytes / 333_333));
        }
        if moved.len() > 1 {
            counted.insert("transfer.fallback.not-resident".into(), json!(7));
        }
        let cpu_us = rate * cell.ground.size as f64 / 1000.0;
        let raw = json!({
            "throughput": { "messages": rate, "messages_per_second": rate, "seconds": 1.0 },
            "latency": { "p50_us": 100.0, "p99_us": 200.0 },
            "broker": { "usage": { "cpu_us": cpu_us, "threads_cpu_us": { "shard": cpu_us } } },
            "counters": [{ "broker": "127.0.0.1:1", "counted": counted }],
            "details": { "short": [], "scanned": rate },
        });
        let text = tidied(&raw.to_string()).unwrap();
        fs::write(folder.raw(&cell.raw_name(strategy, round)), text).unwrap();
    }

    fn reading(gigabytes: f64, cpu: f64) -> Reading {
        let cpu_ns_per_byte = Some(cpu);
        Reading { gigabytes_per_second: gigabytes, cpu_ns_per_byte, ..Reading::default() }
    }

    #[test]
    fn a_ratio_is_of_rounds_that_both_have_and_more_is_better_everywhere() {
        let runs = |rounds: &[(usize, f64, f64)]| Runs {
            rounds: rounds.iter().map(|(round, gb, cpu)| (*round, reading(*gb, *cpu))).collect(),
            ..Runs::default()
        };
        let auto = runs(&[(1, 2.0, 0.5), (2, 3.0, 0.4), (4, 1.0, 0.1)]);
        let best = runs(&[(1, 4.0, 0.4), (2, 3.0, 0.5), (3, 9.0, 0.1)]);
        assert_eq!(auto.ratios(&best, Place::Backlog), [0.5, 1.0]);
        // Less CPU per byte is a higher score.
        assert_eq!(auto.ratios(&best, Place::Tail), [0.8, 1.25]);
    }

    #[test]
    fn the_best_is_a_fixed_one_by_its_median_and_an_outlier_does_not_make_it() {
        let (_dir, folder) = folder();
        let cell = direct(1024, Filter::Off);
        for (round, auto, copy, sendfile) in
            [(1, 90.0, 100.0, 70.0), (2, 95.0, 100.0, 500.0), (3, 300.0, 100.0, 80.0)]
        {
            put(&folder, cell, Strategy::Auto, round, auto, &[]);
            put(&folder, cell, Strategy::Copy, round, copy, &[]);
            put(&folder, cell, Strategy::Sendfile, round, sendfile, &[]);
        }
        let outcome = Outcome::read(&folder).unwrap();
        let verdict = outcome.verdict(cell).unwrap();
        assert_eq!((verdict.best, verdict.rounds), (Strategy::Copy, 3));
        let Spread { median, least, most } = verdict.ratio;
        let thousandths = [median, least, most].map(|ratio| (ratio * 1000.0).round());
        assert_eq!(thousandths, [950.0, 900.0, 3000.0]);
        assert!(verdict.is_reached());
        assert_eq!(outcome.verdict(direct(16_384, Filter::Off)), None);
    }

    #[test]
    fn a_result_in_which_something_did_not_come_is_none() {
        let of = |json: Value| Reading::of(&json, 1000);
        let throughput = json!({ "messages": 5.0, "messages_per_second": 1e6 });
        let whole = of(json!({ "throughput": throughput })).unwrap();
        assert_eq!((whole.gigabytes_per_second, whole.cpu_ns_per_byte), (1.0, None));
        for details in [json!({ "short": ["queue 1 stopped"] }), json!({ "missing": 3 })] {
            assert!(of(json!({ "throughput": throughput, "details": details })).is_err());
        }
        let refused = json!({ "refused": { "2": 7 } });
        assert!(of(json!({ "throughput": throughput, "outcome": refused })).is_err());
        assert!(of(json!({ "throughput": { "messages": 0 } })).is_err());
    }

    #[test]
    fn cpu_is_that_of_the_threads_unless_some_have_ended() {
        let of = |process: u64, threads: u64| {
            let usage = json!({ "cpu_us": process, "threads_cpu_us": { "a": threads, "b": 1 } });
            cpu_us(&json!({ "broker": { "usage": usage } }))
        };
        assert_eq!(of(500_000, 508_123), Some(508_124.0));
        assert_eq!(of(500_000, 100_000), Some(500_000.0));
        assert_eq!(cpu_us(&json!({})), None);
    }
}
