//! What must be there before anything is measured, got or said.

use super::stage::bytes_of;
use super::workloads::Workload;
use super::{Pace, System};
use crate::results::Disk;
use crate::servers::{self, KAFKA, ROCKETMQ};
use crate::threads;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Broker and load must not share a core.
pub fn check_cores(broker: &[usize], load: &[usize]) -> io::Result<()> {
    threads::check_allowed(broker)?;
    threads::check_allowed(load)?;
    match broker.iter().find(|core| load.contains(core)) {
        Some(core) => {
            Err(io::Error::other(format!("core {core} cannot be the broker's and the load's")))
        }
        None => Ok(()),
    }
}

/// Left to whoever else uses the disk.
pub const SPARE_BYTES: u64 = 2 << 30;

/// Says before the first start what would not fit at its end.
pub fn check_disk(
    dir: &Path,
    systems: &[System],
    workloads: &[&Workload],
    pace: &Pace,
    store_bytes_max: u64,
) -> io::Result<()> {
    let needed = bytes_needed(systems, workloads, pace, store_bytes_max);
    check_room(dir, needed, "--seconds, --backlog-mib or --store-gib")
}

/// A disk, with room for all that a run leaves at once.
pub fn check_room(dir: &Path, needed: u64, lower: &str) -> io::Result<()> {
    let disk = Disk::of(dir)?;
    if disk.is_memory() {
        let why = format!(
            "{}: {} is memory; --data-dir must be on a disk",
            dir.display(),
            disk.filesystem
        );
        return Err(io::Error::other(why));
    }
    if disk.free_bytes < needed {
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        return Err(io::Error::other(format!(
            "{}: {:.1} GiB are free and about {:.1} GiB are needed; choose another --data-dir, \
             or lower {lower}",
            dir.display(),
            gib(disk.free_bytes),
            gib(needed)
        )));
    }
    Ok(())
}

fn bytes_needed(
    systems: &[System],
    workloads: &[&Workload],
    pace: &Pace,
    store_bytes_max: u64,
) -> u64 {
    let together = |workload: &&Workload| {
        systems.iter().map(|&system| bytes_of(workload, system, pace)).sum::<u64>()
    };
    let largest = workloads.iter().map(together).max().unwrap_or(0);
    // Java brokers bring what they have from workload to workload, up to the limit.
    let kept = systems.iter().filter(|system| system.compiles()).count() as u64 * store_bytes_max;
    largest + kept + SPARE_BYTES
}

pub fn install(systems: &[System], baselines: &Path) -> io::Result<()> {
    for (system, package) in [(System::Rocketmq, ROCKETMQ), (System::Kafka, KAFKA)] {
        let dir = baselines.join(system.name());
        if systems.contains(&system) && !package.is_installed(&dir) {
            println!("installing {} into {}", package.name, dir.display());
            package.install(&dir)?;
        }
    }
    Ok(())
}

/// Builds our broker in release mode, whatever this tool was built in.
pub fn build_ringmq() -> io::Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let this = std::env::current_exe()?;
    // target/release/ringmq-bench: two above are where cargo builds.
    let target = this.ancestors().nth(2).ok_or_else(|| io::Error::other("no target directory"))?;
    let binary = target.join("release/ringmq");
    if !manifest.exists() {
        return match binary.exists() {
            true => Ok(binary),
            false => Err(io::Error::other("the source has gone: give our broker by --ringmq")),
        };
    }
    println!("building ringmq in release mode");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--quiet", "-p", "ringmq", "--manifest-path"]).arg(manifest);
    cargo.arg("--target-dir").arg(target);
    let status = servers::run_to_end(cargo)?;
    if status.success() && binary.exists() {
        return Ok(binary);
    }
    let why = format!("cargo build {status}: no {}", binary.display());
    Err(io::Error::other(why))
}

#[cfg(test)]
mod tests {
    use super::super::workloads::select;
    use super::*;

    const PACE: Pace =
        Pace { rounds: 1, seconds: 1e6, warmup: 0.0, jvm_warmup: 0.0, backlog_bytes: 1 << 30 };

    #[test]
    fn a_run_that_cannot_fit_is_refused_before_it_starts() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR"));
        let workloads = select(&["send".into()], true).unwrap();
        let check = |pace: &Pace| check_disk(dir, &[System::Ringmq], &workloads, pace, 1 << 30);
        let error = check(&PACE).unwrap_err().to_string();
        assert!(error.contains("GiB are needed") && error.contains("--seconds"), "{error}");
        assert!(check_disk(Path::new("/dev/shm"), &[], &[], &PACE, 0).is_err());
    }

    #[test]
    fn drains_need_room_for_their_backlog() {
        let workloads = select(&["drain-1m".into()], true).unwrap();
        let needed = bytes_needed(&[System::Ringmq], &workloads, &PACE, 0);
        assert_eq!(needed, SPARE_BYTES + (2 << 30));
    }

    #[test]
    fn broker_and_load_have_cores_of_their_own() {
        assert!(check_cores(&[0], &[0]).is_err());
    }
}
