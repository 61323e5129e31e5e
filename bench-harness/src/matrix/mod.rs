//! `matrix`: which way of moving bytes is best, asked of the broker. In every
//! cell (write mode, message size, queues, place, filter) all strategies take
//! turns, round by round, over the same messages.

mod cell;
mod manifest;
mod outcome;
mod plots;
mod stage;
mod summary;

pub use manifest::KIND;
pub use summary::rebuild;

use crate::body::TRAILER_BYTES;
use crate::compare::{SPARE_BYTES, build_ringmq, check_cores, check_room};
use crate::progress::Progress;
use crate::results::{Facts, Folder};
use crate::send::CoreList;
use crate::servers::{self, Scratch, run_to_end};
use cell::{Cell, Filter, Ground, Place, Strategy, Write, order, parse_size};
use clap::Args;
use manifest::Manifest;
use stage::{PROFILE, Stage};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Args, Clone, Debug)]
pub struct MatrixArgs {
    /// About six minutes: the backlog by direct and buffered writes, 16 queues (the default)
    #[arg(long, conflicts_with = "full")]
    pub quick: bool,
    /// Hours: everything
    #[arg(long)]
    pub full: bool,
    #[arg(long, value_enum, value_delimiter = ',')]
    pub writes: Vec<Write>,
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Strategy::ALL)]
    pub strategies: Vec<Strategy>,
    /// Body bytes of a message, like 128,1k,16k,256k
    #[arg(long, value_parser = parse_size, value_delimiter = ',')]
    pub sizes: Vec<usize>,
    #[arg(long, value_delimiter = ',')]
    pub queues: Vec<u32>,
    #[arg(long, value_enum, value_delimiter = ',')]
    pub places: Vec<Place>,
    /// on: a tag filter passes one message in two
    #[arg(long, value_enum, value_delimiter = ',')]
    pub filters: Vec<Filter>,
    /// Times that every strategy takes its turn in a cell
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Least seconds of a measurement (default: 0.6, full 2)
    #[arg(long)]
    pub seconds: Option<f64>,
    /// MiB of bodies in a backlog, at most a million messages (default: 384, full 1024)
    #[arg(long)]
    pub backlog_mib: Option<u64>,
    /// Bytes of the requests that fill a backlog: so much of one queue lies together in the log
    #[arg(long, value_parser = parse_size, default_value = "64k")]
    pub fill_bytes: usize,
    /// Messages per pull
    #[arg(long, default_value_t = 1024)]
    pub max_messages: u32,
    /// Bytes per pull (default: the broker's bound, 256 KiB)
    #[arg(long)]
    pub max_bytes: Option<u32>,
    #[arg(long, value_parser = CoreList::parse, default_value = "0")]
    pub broker_cores: CoreList,
    #[arg(long, value_parser = CoreList::parse, default_value = "1")]
    pub load_cores: CoreList,
    /// Stores are made and removed in here; on a disk
    #[arg(long, default_value = "target/matrix")]
    pub data_dir: PathBuf,
    /// A folder named by date is made in here
    #[arg(long, default_value = "results")]
    pub results: PathBuf,
    /// Our broker (default: built from here, in release mode)
    #[arg(long)]
    pub ringmq: Option<PathBuf>,
    /// Further flags for our broker
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    pub ringmq_args: String,
}

/// Messages of a backlog, however small they are.
const BACKLOG_MESSAGES_MAX: u64 = 1 << 20;
const QUEUES_MAX: u32 = 1024;

impl MatrixArgs {
    pub fn run(&self) -> io::Result<()> {
        let manifest = self.manifest()?;
        check_cores(&self.broker_cores.0, &self.load_cores.0)?;
        servers::end_all_on_signal()?;
        fs::create_dir_all(&self.data_dir)?;
        let grounds = manifest.grounds();
        let needed = grounds.iter().map(|ground| stage::bytes_of(&manifest, ground));
        let needed = needed.max().unwrap_or(0) + SPARE_BYTES;
        check_room(&self.data_dir, needed, "--seconds or --backlog-mib")?;
        let binary = match &self.ringmq {
            Some(binary) => binary.clone(),
            None => build_ringmq()?,
        };
        let facts = Facts::gather(&self.data_dir)?;
        let folder = Folder::create(&self.results, KIND)?;
        folder.write_text("command", &std::env::args().collect::<Vec<_>>().join(" "))?;
        folder.write_json("host.json", &facts)?;
        folder.write_json("run.json", &manifest)?;
        println!("results go to {}", folder.dir().display());
        let scratch = Scratch::make(fs::canonicalize(&self.data_dir)?.join("matrix"))?;
        let profile = probe(&binary, scratch.path(), &folder)?;
        let stage =
            Stage { manifest: &manifest, folder: &folder, binary, dir: scratch.path(), profile };
        measure(&manifest, &stage)?;
        drop(scratch);
        println!("\n{}", rebuild(&folder)?);
        crate::results::index(&self.results)
    }

    fn manifest(&self) -> io::Result<Manifest> {
        let full = self.full;
        let manifest = Manifest {
            kind: KIND.into(),
            quick: !full,
            rounds: self.rounds,
            seconds: self.seconds.unwrap_or(if full { 2.0 } else { 0.6 }),
            backlog_bytes: self.backlog_mib.unwrap_or(if full { 1024 } else { 384 }) << 20,
            fill_bytes: self.fill_bytes,
            max_messages: self.max_messages,
            max_bytes: self.max_bytes,
            ringmq_args: self.ringmq_args.split_whitespace().map(str::to_string).collect(),
            broker_cores: self.broker_cores.0.clone(),
            load_cores: self.load_cores.0.clone(),
            writes: given(
                &self.writes,
                match full {
                    true => &[Write::Direct, Write::Mmap, Write::Buffered],
                    false => &[Write::Direct, Write::Buffered],
                },
            ),
            strategies: given(&self.strategies, &Strategy::ALL),
            sizes: given(
                &self.sizes,
                match full {
                    true => &[128, 1 << 10, 16 << 10, 256 << 10],
                    false => &[1 << 10, 16 << 10, 256 << 10],
                },
            ),
            queues: given(&self.queues, if full { &[1, 16] } else { &[16] }),
            places: given(
                &self.places,
                match full {
                    true => &[Place::Backlog, Place::Tail],
                    false => &[Place::Backlog],
                },
            ),
            filters: given(
                &self.filters,
                match full {
                    true => &[Filter::Off, Filter::On],
                    false => &[Filter::Off],
                },
            ),
        };
        check(&manifest).map_err(io::Error::other)?;
        Ok(manifest)
    }
}

/// What `auto` goes by, as an operator makes it; kept with the results.
fn probe(binary: &Path, dir: &Path, folder: &Folder) -> io::Result<PathBuf> {
    let probed = dir.join("probed");
    let mut command = Command::new(binary);
    command.arg("probe").arg("--data-dir").arg(&probed);
    let status = run_to_end(command)?;
    if !status.success() {
        return Err(io::Error::other(format!("`ringmq probe` failed: {status}")));
    }
    let profile = probed.join(PROFILE);
    fs::copy(&profile, folder.dir().join(PROFILE))?;
    Ok(profile)
}

/// What was asked for, each once, or else the profile's.
fn given<T: Clone + Ord>(asked: &[T], profile: &[T]) -> Vec<T> {
    let mut values = if asked.is_empty() { profile.to_vec() } else { asked.to_vec() };
    values.sort();
    values.dedup();
    values
}

fn check(manifest: &Manifest) -> Result<(), String> {
    const BODY_BYTES_MAX: usize = 4 << 20;
    let Manifest { rounds, seconds, sizes, queues, .. } = manifest;
    if *rounds == 0 || !seconds.is_finite() || *seconds <= 0.0 {
        return Err("rounds and seconds must be more than nothing".into());
    }
    if let Some(size) = sizes.iter().find(|size| !(TRAILER_BYTES..=BODY_BYTES_MAX).contains(*size))
    {
        return Err(format!("a size of {size} is not in {TRAILER_BYTES}..={BODY_BYTES_MAX}"));
    }
    if let Some(queues) = queues.iter().find(|queues| !(1..=QUEUES_MAX).contains(*queues)) {
        return Err(format!("{queues} queues are not in 1..={QUEUES_MAX}"));
    }
    if manifest.backlog_bytes == 0 || manifest.max_messages == 0 || manifest.max_bytes == Some(0) {
        return Err("--backlog-mib, --max-messages and --max-bytes start at 1".into());
    }
    if !(1..=BODY_BYTES_MAX).contains(&manifest.fill_bytes) {
        return Err(format!("--fill-bytes is not in 1..={BODY_BYTES_MAX}"));
    }
    Ok(())
}

impl Manifest {
    fn messages_of(&self, size: usize) -> u64 {
        (self.backlog_bytes / size as u64).clamp(1, BACKLOG_MESSAGES_MAX)
    }
}

fn measure(manifest: &Manifest, stage: &Stage) -> io::Result<()> {
    let turns = manifest.cells().len() * manifest.strategies.len() * manifest.rounds;
    let mut shown = Shown {
        progress: Progress::new(
            turns as u64,
            stage::TURN_OVERHEAD.mul_add(turns as f64, turns as f64 * manifest.seconds),
        ),
        planned: manifest.seconds + stage::TURN_OVERHEAD,
    };
    for ground in manifest.grounds() {
        if manifest.places.contains(&Place::Backlog) {
            measure_backlog(manifest, stage, ground, &mut shown)?;
        }
        if manifest.places.contains(&Place::Tail) {
            measure_tail(manifest, stage, ground, &mut shown)?;
        }
    }
    Ok(())
}

/// One start and one backlog for all of it.
fn measure_backlog(
    manifest: &Manifest,
    stage: &Stage,
    ground: Ground,
    shown: &mut Shown,
) -> io::Result<()> {
    let broker = stage.start(ground)?;
    broker.fill(manifest.messages_of(ground.size))?;
    for cell in manifest.cells_of(ground, Place::Backlog) {
        for &strategy in &manifest.strategies {
            broker.warm(cell, strategy)?;
        }
        for round in 1..=manifest.rounds {
            for strategy in order(&manifest.strategies, round) {
                shown.turn(cell, strategy, round, || broker.drain(cell, strategy, round))?;
            }
        }
    }
    broker.stop()
}

/// A start per round, as what is sent stays on the disk.
fn measure_tail(
    manifest: &Manifest,
    stage: &Stage,
    ground: Ground,
    shown: &mut Shown,
) -> io::Result<()> {
    for cell in manifest.cells_of(ground, Place::Tail) {
        for round in 1..=manifest.rounds {
            let broker = stage.start(ground)?;
            broker.warm_tail(cell)?;
            for strategy in order(&manifest.strategies, round) {
                shown.turn(cell, strategy, round, || broker.follow(cell, strategy, round))?;
            }
            broker.stop()?;
        }
    }
    Ok(())
}

/// Says what goes on.
struct Shown {
    progress: Progress,
    planned: f64,
}

impl Shown {
    fn turn(
        &mut self,
        cell: Cell,
        strategy: Strategy,
        round: usize,
        turn: impl FnOnce() -> io::Result<Result<String, String>>,
    ) -> io::Result<()> {
        let what = format!("{} {} round {round}", cell.name(), strategy.name());
        self.progress.begin(&what);
        let said = turn()?.unwrap_or_else(|why| format!("failed: {why}"));
        self.progress.end(&what, self.planned, &said);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        matrix: MatrixArgs,
    }

    fn manifest(flags: &str) -> io::Result<Manifest> {
        let words = std::iter::once("x").chain(flags.split_whitespace());
        Line::try_parse_from(words).unwrap().matrix.manifest()
    }

    #[test]
    fn the_profiles_have_their_cells_and_flags_choose_others() {
        let quick = manifest("").unwrap();
        assert_eq!((quick.cells().len(), quick.strategies.len(), quick.rounds), (6, 8, 5));
        let full = manifest("--full").unwrap();
        assert_eq!(full.cells().len(), 3 * 4 * 2 * 2 * 2);
        let mut names: Vec<_> = full.cells().iter().map(Cell::name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), full.cells().len());
        let some =
            manifest("--full --writes mmap --sizes 1k,128 --queues 1 --places tail --filters on");
        let cells = some.unwrap().cells();
        let names: Vec<_> = cells.iter().map(Cell::name).collect();
        assert_eq!(names, ["128-tail-mmap-1q-filtered", "1k-tail-mmap-1q-filtered"]);
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        for flags in [
            "--rounds 0",
            "--seconds 0",
            "--seconds inf",
            "--sizes 8",
            "--queues 0",
            "--max-bytes 0",
            "--sizes 64m",
            "--fill-bytes 0",
        ] {
            assert!(manifest(flags).is_err(), "{flags}");
        }
    }
}
