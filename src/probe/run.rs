//! `ringmq probe`: all cells in rounds, the profile stored, a table printed.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::cell::{Cell, Heat, Measured, Receiving};
use super::host::Host;
use super::profile::{PROFILE_FILE, Profile, TransferFigure, WriteFigure};
use super::rounds::median;
use super::show::table;
use super::tools::{Cores, Sizes, Tools};
use super::writes::{Scratch, WriteCell, WriteKind, Written};
use crate::base::transfer::Transfer;
use crate::config::ProbeConfig;
use crate::engine::files::{Access, DiskSpace, Occupied};

/// Rounds of everything; the median of them counts.
const ROUNDS: u32 = 3;
/// One in each class of `base::transfer::SIZE_CLASSES`.
const HOT_BYTES: [u32; 6] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20];
/// Of a reply: some, as a queue's messages lie in the log.
const HOT_PIECES: u32 = 4;
/// Consumers are some too. To one alone sendfile is twice as fast as a copy by the sender,
/// to several it is slower: then their side has to fetch each byte from memory.
const HOT_CONNECTIONS: usize = 8;
const COLD_BYTES: [u32; 2] = [64 << 10, 1 << 20];
const WRITE_BYTES: [u32; 3] = [4 << 10, 64 << 10, 512 << 10];
const WRITE_DEPTHS: [u32; 2] = [1, 4];
/// Time of a cold cell and of one of writes, in those of a hot one: a cold one begins with
/// an empty page cache each time.
const COLD_TIMES: f64 = 3.0;
const WRITE_TIMES: f64 = 1.0;

/// As large as a shard's arena by default, three quarters of it for the log.
const SPAN_BYTES: u64 = 48 << 20;
const SLOTS: u16 = 64;
const SLOT_BYTES: u32 = 256 << 10;
/// Of the file, what is kept in the page cache for hot cells: more than caches of CPUs hold,
/// as of a backlog, so that it shows who has to fetch the bytes from memory.
const HOT_FILE_BYTES: u64 = 512 << 20;
/// Of the file that is read, by second of measuring and at least and at most.
const FILE_BYTES_PER_SECOND: u64 = 32 << 20;
const FILE_BYTES: [u64; 2] = [128 << 20, 1 << 30];
const SCRATCH_BYTES: u64 = 32 << 20;
/// So much of the free space may be taken at most: a quarter.
const SPACE_PART: u64 = 4;

/// A write is handed to a worker if one waits this often for each of them.
const PUNTED_WAITS: f64 = 0.5;

/// Measures and stores. The error says what to do.
pub fn run(config: &ProbeConfig) -> Result<(), String> {
    let directory = &config.data_dir;
    let occupied = Occupied::take(directory).map_err(|error| error.to_string())?;
    let (access, no_direct) = Access::probe(directory).map_err(|error| error.to_string())?;
    if let Some(why) = no_direct {
        warn!("{why}: nothing is measured that goes past the page cache");
    }
    let host = Host::of(directory).map_err(|error| format!("cannot tell this host: {error}"))?;
    let seconds = config.seconds;
    info!(directory = %directory.display(), "measuring for about {seconds} s");
    if cfg!(debug_assertions) {
        warn!("this is a debug build: its figures say little about the release build");
    }
    let profile = on_own_thread(config, access.direct, host)?;
    profile.store(directory).map_err(|error| error.to_string())?;
    drop(occupied);
    let path = directory.join(PROFILE_FILE);
    let shown = match config.json {
        true => profile.to_json(),
        false => format!(
            "{}\nStored in {}; `ringmq serve` with this --data-dir reads it at its start.\n",
            table(&profile),
            path.display()
        ),
    };
    let shown = std::io::stdout().write_all(shown.as_bytes());
    shown.map_err(|error| format!("cannot print the profile: {error}"))
}

/// On a thread that is pinned and ends.
fn on_own_thread(config: &ProbeConfig, direct: bool, host: Host) -> Result<Profile, String> {
    std::thread::scope(|scope| {
        let measure = || {
            let cores = Cores::of(&config.cpus);
            measure(&config.data_dir, direct, cores, config.seconds, host)
        };
        let thread = std::thread::Builder::new().name("probe".to_owned());
        let thread = thread.spawn_scoped(scope, measure);
        let thread = thread.map_err(|error| format!("cannot start a thread: {error}"))?;
        thread.join().map_err(|_| "the measuring thread has panicked".to_owned())?
    })
}

fn measure(
    directory: &Path,
    direct: bool,
    cores: Cores,
    seconds: u32,
    host: Host,
) -> Result<Profile, String> {
    let begun = Instant::now();
    let sizes = sizes(directory, seconds)?;
    let mut tools = Tools::new(directory, sizes, direct, cores)?;
    tools.degradations().iter().for_each(|missing| warn!("{missing}"));
    let scratch = Scratch::make(directory, SCRATCH_BYTES, direct)?;
    let (cells, writes) = (transfer_cells(), write_cells());
    let of_cells: f64 = cells.iter().map(|cell| times(cell.heat)).sum();
    let units = (of_cells + writes.len() as f64 * WRITE_TIMES) * f64::from(ROUNDS);
    let all = Duration::from_secs(seconds.into());
    let left = all.saturating_sub(begun.elapsed()).max(all / 10);
    let unit = left.div_f64(units);

    let mut moved: Vec<Vec<Measured>> = vec![Vec::new(); cells.len()];
    let mut written: Vec<Vec<Written>> = vec![Vec::new(); writes.len()];
    for _ in 0..ROUNDS {
        for (cell, rounds) in cells.iter().zip(&mut moved) {
            rounds.extend(tools.measure(cell, unit.mul_f64(times(cell.heat)))?);
        }
        for (cell, rounds) in writes.iter().zip(&mut written) {
            rounds.extend(tools.measure_writes(&scratch, cell, unit.mul_f64(WRITE_TIMES))?);
        }
    }
    let moved = cells.iter().zip(&moved).filter_map(|(cell, rounds)| figure(cell, rounds));
    let written =
        writes.iter().zip(&written).filter_map(|(cell, rounds)| write_figure(cell, rounds));
    Ok(Profile::new(host, moved.collect(), written.collect()))
}

/// How much can be measured with in the space there is.
fn sizes(directory: &Path, seconds: u32) -> Result<Sizes, String> {
    let free = DiskSpace::of(directory).map_err(|error| error.to_string())?.available;
    let [least, most] = FILE_BYTES;
    let wanted = (u64::from(seconds) * FILE_BYTES_PER_SECOND).clamp(least, most);
    let file = wanted.min(free / SPACE_PART).next_multiple_of(u64::from(SLOT_BYTES));
    if file < least {
        return Err(format!(
            "{} has {free} bytes free, and a probe needs {}; free space, or choose another \
             --data-dir on the same device",
            directory.display(),
            least * SPACE_PART
        ));
    }
    let hot = file.min(HOT_FILE_BYTES);
    Ok(Sizes { file, hot, span: SPAN_BYTES, slots: SLOTS, slot_bytes: SLOT_BYTES })
}

fn transfer_cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for (heat, sizes) in [(Heat::Hot, &HOT_BYTES[..]), (Heat::Cold, &COLD_BYTES[..])] {
        for bytes in sizes {
            for transfer in Transfer::ALL {
                let (bytes, receiving) = (*bytes, Receiving::Copies);
                let (pieces, connections) = match heat {
                    Heat::Hot => (HOT_PIECES, HOT_CONNECTIONS),
                    Heat::Cold => (1, 1),
                };
                cells.push(Cell { transfer, bytes, pieces, heat, connections, receiving });
            }
        }
    }
    cells.retain(Cell::makes_sense);
    cells
}

fn write_cells() -> Vec<WriteCell> {
    let mut cells = Vec::new();
    for bytes in WRITE_BYTES {
        for depth in WRITE_DEPTHS {
            cells.extend(WriteKind::ALL.map(|kind| WriteCell { kind, bytes, depth }));
        }
    }
    cells
}

fn times(heat: Heat) -> f64 {
    match heat {
        Heat::Hot => 1.0,
        Heat::Cold => COLD_TIMES,
    }
}

/// The medians of all rounds; none if a cell was not to be had.
fn figure(cell: &Cell, rounds: &[Measured]) -> Option<TransferFigure> {
    let of = |value: fn(&Measured) -> f64| median(rounds.iter().map(value));
    let bytes_per_second = of(Measured::bytes_per_second) as u64;
    (bytes_per_second > 0).then(|| TransferFigure {
        strategy: cell.transfer,
        heat: cell.heat,
        bytes: cell.bytes,
        bytes_per_second,
        cpu_ps_per_byte: (of(Measured::cpu_ns_per_byte) * 1e3) as u64,
        calls_per_gigabyte: (of(Measured::calls_per_megabyte) * 1e3) as u64,
    })
}

fn write_figure(cell: &WriteCell, rounds: &[Written]) -> Option<WriteFigure> {
    let of = |value: &dyn Fn(&Written) -> f64| median(rounds.iter().map(value));
    let typical_ns = of(&|written| written.typical.as_nanos() as f64) as u64;
    (typical_ns > 0).then(|| WriteFigure {
        kind: cell.kind,
        bytes: cell.bytes,
        depth: cell.depth,
        bytes_per_second: of(&|written| written.bytes_per_second(cell)) as u64,
        typical_ns,
        punted: of(&Written::worker_waits_per_write) >= PUNTED_WAITS,
    })
}

#[cfg(test)]
mod tests {
    use super::super::rules::class_of;
    use super::*;

    #[test]
    fn each_size_class_of_auto_is_measured_once() {
        let classes: Vec<_> = HOT_BYTES.into_iter().map(class_of).collect();
        assert_eq!(classes, [0, 1, 2, 3, 4, 5]);
        let hot = transfer_cells().iter().filter(|cell| cell.heat == Heat::Hot).count();
        assert_eq!((hot, transfer_cells().len(), write_cells().len()), (36, 46, 24));
    }

    #[test]
    fn what_was_not_to_be_had_has_no_figure() {
        let cell = transfer_cells()[0];
        assert_eq!(figure(&cell, &[]), None);
        assert_eq!(write_figure(&write_cells()[0], &[]), None);
    }
}
