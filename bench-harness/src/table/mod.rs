//! `table3`: every row of the comparison with Apache RocketMQ in one run,
//! the brokers taking turns, results in a folder that can be kept.

mod results;
mod rows;
mod stage;
mod summary;

use crate::baselines::DIR_DEFAULT;
use crate::results::{Facts, Folder};
use crate::send::CoreList;
use crate::servers;
use clap::Args;
use results::Results;
use rows::{ROWS, Row, Subject};
use stage::Stage;
use std::io;
use std::path::PathBuf;

#[derive(Args, Clone, Debug)]
pub struct TableArgs {
    /// Our broker, a release build
    #[arg(long, default_value = "target/release/ringmq")]
    pub ringmq: PathBuf,
    /// Where `baselines install` put Apache RocketMQ
    #[arg(long, default_value = DIR_DEFAULT)]
    pub apache_dir: PathBuf,
    /// Stores are made and removed in here; on a disk with much space
    #[arg(long)]
    pub data_dir: PathBuf,
    /// A folder named by date is made in here
    #[arg(long, default_value = "results")]
    pub results: PathBuf,
    #[arg(long, value_parser = CoreList::parse, default_value = "0")]
    pub broker_cores: CoreList,
    #[arg(long, value_parser = CoreList::parse, default_value = "1")]
    pub load_cores: CoreList,
    /// Seconds that each measurement takes
    #[arg(long, default_value_t = 60.0)]
    pub seconds: f64,
    /// Seconds before each measurement
    #[arg(long, default_value_t = 5.0)]
    pub warmup: f64,
    /// Seconds of load that Apache gets once, for its compiler
    #[arg(long, default_value_t = 30.0)]
    pub apache_warmup: f64,
    /// Messages of the backlog that is drained
    #[arg(long, default_value_t = 2_000_000)]
    pub backlog: u64,
    #[arg(long, default_value_t = 1)]
    pub rounds: usize,
    /// Only rows whose name contains one of these, separated by commas
    #[arg(long, value_delimiter = ',')]
    pub rows: Vec<String>,
    #[arg(long, default_value_t = 4096)]
    pub heap_mib: u32,
    /// The arena's size, for the row on memory
    #[arg(long, default_value_t = 64)]
    pub arena_mib: u64,
    /// Flags for our broker in every run
    #[arg(long, default_value = "")]
    pub ringmq_args: String,
    /// Flags under which segments are recycled; given, the first row is measured so as well
    #[arg(long)]
    pub recycled_args: Option<String>,
    /// Seconds until recycling is steady
    #[arg(long, default_value_t = 30.0)]
    pub recycled_warmup: f64,
    /// Measure nothing: make the summary of this folder's raw results
    #[arg(long)]
    pub summarize: Option<PathBuf>,
}

impl TableArgs {
    pub fn run(&self) -> io::Result<()> {
        if let Some(dir) = &self.summarize {
            return self.summarize(Results::of(Folder::open(dir)));
        }
        servers::end_all_on_signal()?;
        servers::install(&self.apache_dir)?;
        std::fs::create_dir_all(&self.data_dir)?;
        let facts = Facts::gather(&self.data_dir)?;
        let mut results = Results::create(&self.results)?;
        let folder = &results.folder;
        folder.write_text("command", &std::env::args().collect::<Vec<_>>().join(" "))?;
        folder.write_json("host.json", &facts)?;
        println!("results go to {}", folder.dir().display());
        // One Apache after the other: each holds gigabytes.
        for phase in rows::PHASES {
            let rows: Vec<&Row> =
                ROWS.iter().filter(|row| row.phase == phase && self.wants(row)).collect();
            if rows.is_empty() {
                continue;
            }
            let mut stage = Stage::start(self, phase, &mut results)?;
            for round in 1..=self.rounds {
                for row in &rows {
                    self.measure(row, round, &mut stage, &mut results)?;
                }
            }
        }
        self.write_summary(&results)
    }

    /// Reads what was measured back; a run that was ended early has a summary so, too.
    fn summarize(&self, mut results: Results) -> io::Result<()> {
        for row in ROWS {
            for subject in row.subjects {
                for round in 1..=self.rounds {
                    let file =
                        results.folder.raw(&format!("{}.{}.{round}", row.name, subject.name()));
                    if file.exists() {
                        results.read(row.name, *subject, &file)?;
                    }
                }
            }
        }
        self.write_summary(&results)
    }

    fn write_summary(&self, results: &Results) -> io::Result<()> {
        let text = summary::markdown(self, results);
        results.folder.write_text("summary.md", &text)?;
        println!("\n{text}");
        Ok(())
    }

    fn wants(&self, row: &Row) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|part| row.name.contains(part.as_str()))
    }

    fn measure(
        &self,
        row: &Row,
        round: usize,
        stage: &mut Stage,
        results: &mut Results,
    ) -> io::Result<()> {
        for subject in row.subjects {
            if *subject == Subject::Recycled && self.recycled_args.is_none() {
                continue;
            }
            let name = format!("{}.{}.{round}", row.name, subject.name());
            println!("\n== {name}");
            // A row that fails is a result too: the others go on.
            match stage.measure(row, *subject, &name, results) {
                Ok(file) => results.read(row.name, *subject, &file)?,
                Err(error) => {
                    println!("failed: {error}");
                    results.fail(row.name, *subject, error.to_string());
                }
            }
            nix::unistd::sync();
        }
        Ok(())
    }
}
