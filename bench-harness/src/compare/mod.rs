//! `compare`: ringmq, Apache RocketMQ and Apache Kafka side by side in one
//! run. Inside a workload the systems take turns, round by round, on the same
//! cores and the same disk, driven by one generator.

mod manifest;
mod outcome;
mod plots;
mod ready;
mod stage;
mod summary;
mod system;
mod tool;
mod workloads;

pub use manifest::KIND;
pub(crate) use ready::{SPARE_BYTES, build_ringmq, check_cores, check_room};
pub use summary::{headline, rebuild, summarize};
pub(crate) use system::Broker;
pub use system::System;
pub(crate) use tool::Tool;

use crate::baselines::ROOT_DEFAULT;
use crate::progress::Progress;
use crate::results::{Facts, Figures, Folder};
use crate::send::CoreList;
use crate::servers::{self, Scratch};
use clap::Args;
use manifest::{Manifest, SystemOf, raw_name};
use stage::{Failure, Stage};
use std::fs;
use std::io;
use std::path::PathBuf;
use system::Ground;
use workloads::{Work, Workload, select};

#[derive(Args, Clone, Debug)]
pub struct CompareArgs {
    /// About five minutes: what matters most, short (the default)
    #[arg(long, conflicts_with = "full")]
    pub quick: bool,
    /// Hours: every workload, long enough to be quoted
    #[arg(long)]
    pub full: bool,
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = System::ALL)]
    pub systems: Vec<System>,
    /// Only workloads whose name contains one of these, separated by commas
    #[arg(long, value_delimiter = ',')]
    pub workloads: Vec<String>,
    /// Times that everything is measured (default: 2, full 5)
    #[arg(long)]
    pub rounds: Option<usize>,
    /// Seconds that a measurement takes (default: 2, full 8)
    #[arg(long)]
    pub seconds: Option<f64>,
    /// Seconds of load before each measurement (default: 0.5, full 2)
    #[arg(long)]
    pub warmup: Option<f64>,
    /// Seconds of the same load that a Java broker gets before its first round of a workload,
    /// for its compiler (default: 3, full 30)
    #[arg(long)]
    pub jvm_warmup: Option<f64>,
    /// MiB of the backlog that is drained (default: 512, full 2048)
    #[arg(long)]
    pub backlog_mib: Option<u64>,
    #[arg(long, value_parser = CoreList::parse, default_value = "0")]
    pub broker_cores: CoreList,
    #[arg(long, value_parser = CoreList::parse, default_value = "1")]
    pub load_cores: CoreList,
    /// Stores are made and removed in here; on a disk
    #[arg(long, default_value = "target/compare")]
    pub data_dir: PathBuf,
    /// A folder named by date is made in here
    #[arg(long, default_value = "results")]
    pub results: PathBuf,
    /// Where RocketMQ and Kafka are, or are installed
    #[arg(long, default_value = ROOT_DEFAULT)]
    pub baselines: PathBuf,
    /// Our broker (default: built from here, in release mode)
    #[arg(long)]
    pub ringmq: Option<PathBuf>,
    /// Further flags for our broker
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    pub ringmq_args: String,
    /// GiB of a Java broker's store at which it is begun anew
    #[arg(long, default_value_t = 6)]
    pub store_gib: u64,
}

/// How long everything takes.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub rounds: usize,
    pub seconds: f64,
    pub warmup: f64,
    pub jvm_warmup: f64,
    pub backlog_bytes: u64,
}

impl CompareArgs {
    pub fn pace(&self) -> Pace {
        let by_profile = |quick: f64, full: f64| if self.full { full } else { quick };
        Pace {
            rounds: self.rounds.unwrap_or(by_profile(2.0, 5.0) as usize),
            seconds: self.seconds.unwrap_or(by_profile(2.0, 8.0)),
            warmup: self.warmup.unwrap_or(by_profile(0.5, 2.0)),
            jvm_warmup: self.jvm_warmup.unwrap_or(by_profile(3.0, 30.0)),
            backlog_bytes: self.backlog_mib.unwrap_or(by_profile(512.0, 2048.0) as u64) << 20,
        }
    }

    pub fn run(&self) -> io::Result<()> {
        let workloads = select(&self.workloads, !self.full).map_err(io::Error::other)?;
        let systems = self.who()?;
        servers::end_all_on_signal()?;
        let ground = self.ground(&systems, &workloads)?;
        let facts = Facts::gather(&ground.data_dir)?;
        let mut stage = Stage::new(ground, self.pace(), &systems);
        let described = systems.iter().map(|&system| SystemOf {
            system,
            title: system.title(),
            settings: stage.settings(system),
        });
        let manifest = Manifest::of(self, described.collect(), &workloads);
        let folder = Folder::create(&self.results, manifest::KIND)?;
        folder.write_text("command", &std::env::args().collect::<Vec<_>>().join(" "))?;
        folder.write_json("host.json", &facts)?;
        folder.write_json("run.json", &manifest)?;
        println!("results go to {}", folder.dir().display());
        self.measure(&workloads, &systems, &mut stage, &folder)?;
        println!("\n{}", rebuild(&folder)?);
        crate::results::index(&self.results)
    }

    /// Those asked for, each once, ours first.
    fn who(&self) -> io::Result<Vec<System>> {
        let mut systems = self.systems.clone();
        systems.sort();
        systems.dedup();
        let pace = self.pace();
        if pace.rounds == 0 || pace.seconds <= 0.0 || pace.warmup < 0.0 || pace.jvm_warmup < 0.0 {
            return Err(io::Error::other("rounds and seconds must be more than nothing"));
        }
        Ok(systems)
    }

    /// Everything that is needed, or what is missing.
    fn ground(&self, systems: &[System], workloads: &[&Workload]) -> io::Result<Ground> {
        ready::check_cores(&self.broker_cores.0, &self.load_cores.0)?;
        fs::create_dir_all(&self.data_dir)?;
        let store_bytes_max = self.store_gib << 30;
        ready::check_disk(&self.data_dir, systems, workloads, &self.pace(), store_bytes_max)?;
        ready::install(systems, &self.baselines)?;
        let ringmq = match &self.ringmq {
            Some(binary) => binary.clone(),
            None if systems.contains(&System::Ringmq) => ready::build_ringmq()?,
            None => PathBuf::new(),
        };
        Ok(Ground {
            data_dir: fs::canonicalize(&self.data_dir)?,
            broker_cores: self.broker_cores.0.clone(),
            load_cores: self.load_cores.0.clone(),
            baselines: self.baselines.clone(),
            ringmq,
            ringmq_args: self.ringmq_args.split_whitespace().map(str::to_string).collect(),
            store_bytes_max,
        })
    }

    fn measure(
        &self,
        workloads: &[&'static Workload],
        systems: &[System],
        stage: &mut Stage,
        folder: &Folder,
    ) -> io::Result<()> {
        let pace = self.pace();
        // Whatever the tools leave beside the stores goes, too.
        let _scratch = Scratch::make(self.data_dir.join(stage::TOOL_DIR))?;
        let turns = || {
            let rounds = move |workload| (1..=pace.rounds).map(move |round| (workload, round));
            let all = workloads.iter().copied().flat_map(rounds);
            all.flat_map(|(workload, round)| systems.iter().map(move |&s| (workload, round, s)))
        };
        let planned: f64 = turns().map(|(w, round, system)| pace.planned(w, round, system)).sum();
        let mut progress = Progress::new(turns().count() as u64, planned);
        for (workload, round, system) in turns() {
            let what = format!("{} {} round {round}", workload.name, system.name());
            progress.begin(&what);
            let outcome = stage.measure(workload, system, round, folder);
            // What a signal broke off is no result.
            servers::stay_if_ending();
            let planned = pace.planned(workload, round, system);
            match outcome {
                Ok(figures) => progress.end(&what, planned, &short(&figures)),
                // One that fails is a result too: the others go on.
                Err(Failure::Cell(error)) => {
                    let why = error.to_string();
                    fs::write(folder.failed(&raw_name(workload.name, system, round)), &why)?;
                    progress.end(&what, planned, &format!("failed: {why}"));
                }
                Err(Failure::Run(error)) => return Err(error),
            }
        }
        Ok(())
    }
}

fn short(figures: &Figures) -> String {
    let cpu = figures.cpu_us.map_or("–".into(), |us| format!("{us:.2}"));
    format!(
        "{:.0} msg/s  p50 {:.0} µs  p99 {:.0} µs  broker {cpu} µs/msg",
        figures.messages_per_second, figures.p50_us, figures.p99_us
    )
}

impl Pace {
    /// Seconds that a turn will take, before anything is known.
    fn planned(&self, workload: &Workload, round: usize, system: System) -> f64 {
        let first = round == 1 && system.compiles();
        let warm = if first { self.jvm_warmup } else { 0.0 };
        let load = match workload.work {
            Work::Drain { .. } => 3.0 * self.backlog_bytes as f64 / 0.5e9,
            _ => self.warmup + self.seconds,
        };
        const START_AND_END: f64 = 1.0;
        warm + load + START_AND_END
    }
}
