//! `transfer`: the ways from disk and memory to a socket, as raw as they can be had: the
//! broker's own ring, arena and files, and nothing of a broker. What a broker reaches is
//! measured against it.

mod outcome;
mod plots;
mod record;
mod summary;

pub use record::KIND;

use crate::progress::Progress;
use crate::results::{self, Facts, Folder};
use crate::threads;
use clap::Args;
use outcome::Outcome;
use record::{Manifest, Round, Row};
use ringmq::base::transfer::Transfer;
use ringmq::probe::{Cell, Cores, Heat, Measured, Receiving, Sizes, Tools};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Args, Clone, Debug)]
pub struct TransferArgs {
    /// About two minutes: every fourth size, short (the default)
    #[arg(long, conflicts_with = "full")]
    pub quick: bool,
    /// Three quarters of an hour: all sizes, five rounds
    #[arg(long)]
    pub full: bool,
    /// Piece sizes in KiB (default: 4 to 16384 in steps of 16, full: of 4)
    #[arg(long, value_delimiter = ',')]
    pub sizes_kib: Vec<u32>,
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16])]
    pub connections: Vec<usize>,
    /// Times that everything is measured (default: 3, full 5)
    #[arg(long)]
    pub rounds: Option<usize>,
    /// Milliseconds of a cell whose bytes lie in memory (default: 100, full 1000)
    #[arg(long)]
    pub hot_ms: Option<u64>,
    /// … on the disk (default: 300, full 2000)
    #[arg(long)]
    pub cold_ms: Option<u64>,
    /// MiB of the file; a cold cell ends when it has read it once (default: 1024, full 4096)
    #[arg(long)]
    pub file_mib: Option<u64>,
    #[arg(long, default_value_t = 0)]
    pub sender_core: usize,
    #[arg(long, default_value_t = 1)]
    pub receiver_core: usize,
    /// The file is made and removed in here; on a disk
    #[arg(long, default_value = "target/transfer")]
    pub data_dir: PathBuf,
    /// A folder named by date is made in here
    #[arg(long, default_value = "results")]
    pub results: PathBuf,
}

const QUICK_KIB: [u32; 4] = [4, 64, 1024, 16384];
const FULL_KIB: [u32; 7] = [4, 16, 64, 256, 1024, 4096, 16384];
const PIECE_BYTES_MAX: u32 = 16 << 20;
/// What hot cells go round in: of the page cache more than CPUs' caches hold, as of a
/// backlog; of an arena as much as it has.
const HOT_FILE_BYTES: u64 = 512 << 20;
const SPAN_BYTES: u64 = 64 << 20;
const SLOTS: u16 = 256;
const SLOT_BYTES: u32 = 256 << 10;
/// What a cell takes beside its time: connections made, pages dropped.
const AROUND_SECONDS: f64 = 0.05;

impl TransferArgs {
    pub fn run(&self) -> io::Result<()> {
        let manifest = self.manifest()?;
        threads::check_allowed(&[self.sender_core, self.receiver_core])?;
        fs::create_dir_all(&self.data_dir)?;
        let facts = Facts::gather(&self.data_dir)?;
        let needed = 2 * manifest.file_bytes;
        if facts.disk.free_bytes < needed {
            let dir = self.data_dir.display();
            let why = format!("{dir} needs {} MiB free: give a smaller --file-mib", needed >> 20);
            return Err(io::Error::other(why));
        }
        let folder = Folder::create(&self.results, KIND)?;
        folder.write_text("command", &std::env::args().collect::<Vec<_>>().join(" "))?;
        folder.write_json("host.json", &facts)?;
        folder.write_json("run.json", &manifest)?;
        println!("results go to {}", folder.dir().display());
        let (dir, to) = (self.data_dir.clone(), folder.clone());
        let measuring =
            threads::spawn("transfer", None, move || measure_all(&dir, &manifest, &to))?;
        measuring.join().map_err(|_| io::Error::other("the measuring thread has panicked"))??;
        println!("\n{}", rebuild(&folder)?);
        results::index(&self.results)
    }

    fn manifest(&self) -> io::Result<Manifest> {
        let profile = |quick: u64, full: u64| if self.full { full } else { quick };
        let sizes_kib = match &self.sizes_kib[..] {
            [] if self.full => &FULL_KIB[..],
            [] => &QUICK_KIB,
            given => given,
        };
        let is_size = |kib: &&u32| **kib > 0 && **kib <= PIECE_BYTES_MAX >> 10;
        let mut sizes: Vec<u32> = sizes_kib.iter().filter(is_size).map(|kib| kib << 10).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let file_bytes = self.file_mib.unwrap_or(profile(1024, 4096)) << 20;
        let manifest = Manifest {
            kind: KIND.into(),
            quick: !self.full,
            rounds: self.rounds.unwrap_or(profile(3, 5) as usize),
            hot_ms: self.hot_ms.unwrap_or(profile(100, 1000)),
            cold_ms: self.cold_ms.unwrap_or(profile(300, 2000)),
            sizes,
            connections: self.connections.clone(),
            file_bytes,
            hot_file_bytes: HOT_FILE_BYTES.min(file_bytes),
            span_bytes: SPAN_BYTES,
            sender_core: self.sender_core,
            receiver_core: self.receiver_core,
        };
        let all_wanted = manifest.sizes.len() == sizes_kib.len();
        let can_connect = manifest.connections.iter().all(|count| (1..=64).contains(count));
        if !all_wanted || !can_connect || manifest.rounds == 0 || manifest.file_bytes < SPAN_BYTES {
            let why = "sizes are from 1 to 16384 KiB, each once, connections from 1 to 64, rounds \
                       at least one, and the file at least 64 MiB";
            return Err(io::Error::other(why));
        }
        Ok(manifest)
    }
}

/// Every round in turn, each kept as soon as it is whole.
fn measure_all(dir: &std::path::Path, manifest: &Manifest, folder: &Folder) -> io::Result<()> {
    let sizes = Sizes {
        file: manifest.file_bytes,
        hot: manifest.hot_file_bytes,
        span: manifest.span_bytes,
        slots: SLOTS,
        slot_bytes: SLOT_BYTES,
    };
    let (sender, receiver) = (Some(manifest.sender_core), Some(manifest.receiver_core));
    let cores = Cores { sender, receiver };
    let mut tools = Tools::new(dir, sizes, true, cores).map_err(io::Error::other)?;
    tools.degradations().iter().for_each(|missing| eprintln!("note: {missing}"));
    let cells = cells(manifest);
    let planned = |cell: &Cell| manifest.how_long(cell).as_secs_f64() + AROUND_SECONDS;
    let in_round: f64 = cells.iter().map(planned).sum();
    let mut progress =
        Progress::new((cells.len() * manifest.rounds) as u64, in_round * manifest.rounds as f64);
    for round in 1..=manifest.rounds {
        let mut rows = Vec::new();
        for cell in &cells {
            let what = format!("round {round}, {cell}");
            progress.begin(&what);
            let measured = tools.measure(cell, manifest.how_long(cell));
            let measured = measured.map_err(io::Error::other)?;
            let said = measured.as_ref().map_or("not to be had here".into(), short);
            progress.end(&what, planned(cell), &said);
            rows.extend(measured.map(|measured| Row::of(cell, &measured)));
        }
        let name = record::raw_name(round);
        let text = serde_json::to_string(&Round { round, rows })?;
        // A line for each cell, so that two runs can be compared.
        fs::write(folder.raw(&name), text.replace("},{", "},\n{") + "\n")?;
    }
    Ok(())
}

/// Neighbours differ in strategy alone: what the machine does meanwhile concerns all.
fn cells(manifest: &Manifest) -> Vec<Cell> {
    let mut cells = Vec::new();
    for heat in Heat::ALL {
        for &connections in &manifest.connections {
            for receiving in Receiving::ALL {
                for &bytes in &manifest.sizes {
                    let cell = |transfer| Cell {
                        transfer,
                        bytes,
                        pieces: 1,
                        heat,
                        connections,
                        receiving,
                    };
                    cells.extend(Transfer::ALL.map(cell));
                }
            }
        }
    }
    cells.retain(Cell::makes_sense);
    cells
}

impl Manifest {
    fn how_long(&self, cell: &Cell) -> Duration {
        Duration::from_millis(match cell.heat {
            Heat::Hot => self.hot_ms,
            Heat::Cold => self.cold_ms,
        })
    }
}

fn short(measured: &Measured) -> String {
    format!(
        "{:.2} GB/s  {:.3} CPU ns/B  {:.1} calls/MB",
        measured.bytes_per_second() / 1e9,
        measured.cpu_ns_per_byte(),
        measured.calls_per_megabyte()
    )
}

/// Writes summary and plots from what lies in the folder; returns the summary.
pub fn rebuild(folder: &Folder) -> io::Result<String> {
    let outcome = Outcome::read(folder)?;
    plots::write(&outcome, &folder.dir().join("plots"))?;
    let text = summary::summary(&outcome);
    folder.write_text("summary.md", &text)?;
    Ok(text)
}
