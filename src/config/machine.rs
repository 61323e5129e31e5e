//! What this machine lets the process use, under affinity and cgroups, and its name.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Limits on the process, read once at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// CPUs that affinity allows, in order.
    pub cpus: Vec<usize>,
    /// One CPU of each physical core among them, at most as many as the cgroup's quota.
    pub cores: Vec<usize>,
    /// Bytes of memory that the process may use.
    pub memory: u64,
    /// The host's name.
    pub host: String,
}

/// Larger than any machine: what "no limit" is written as.
const NO_LIMIT: u64 = 1 << 60;

impl Machine {
    pub fn of_this_process() -> Self {
        let cpus = core_affinity::get_core_ids().unwrap_or_default();
        Self::read(Path::new("/"), cpus.into_iter().map(|cpu| cpu.id).collect())
    }

    /// The limits that the files under `root` tell.
    pub fn read(root: &Path, mut cpus: Vec<usize>) -> Self {
        cpus.sort_unstable();
        if cpus.is_empty() {
            cpus.push(0);
        }
        let groups = Cgroups::read(root);
        let mut cores = one_per_core(root, &cpus);
        cores.truncate(groups.cpu_quota().unwrap_or(usize::MAX).max(1));
        let total = memory_total(root).unwrap_or(NO_LIMIT);
        let memory = groups.memory().map_or(total, |limit| limit.min(total));
        let host = fs::read_to_string(root.join("proc/sys/kernel/hostname")).unwrap_or_default();
        Self { cpus, cores, memory, host: host.trim().to_owned() }
    }
}

/// The first CPU of each physical core: siblings share what makes a core fast.
fn one_per_core(root: &Path, cpus: &[usize]) -> Vec<usize> {
    let mut seen = BTreeSet::new();
    let is_first = |cpu: &usize| {
        let topology = root.join(format!("sys/devices/system/cpu/cpu{cpu}/topology"));
        let read = |name| fs::read_to_string(topology.join(name)).ok();
        match (read("physical_package_id"), read("core_id")) {
            (Some(package), Some(core)) => seen.insert((package, core)),
            _ => true,
        }
    };
    cpus.iter().copied().filter(is_first).collect()
}

fn memory_total(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The folders whose limits bind this process: each of its groups and all above it.
/// Inside a container the path may not exist as written; those above it still do.
struct Cgroups {
    unified: Vec<PathBuf>,
    cpu: Vec<PathBuf>,
    memory: Vec<PathBuf>,
}

impl Cgroups {
    fn read(root: &Path) -> Self {
        let mount = root.join("sys/fs/cgroup");
        let mut groups = Self { unified: vec![], cpu: vec![], memory: vec![] };
        let text = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
        for line in text.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            if controllers.is_empty() {
                groups.unified.extend(upwards(&mount, path));
            }
            for controller in controllers.split(',') {
                match controller {
                    "cpu" => groups.cpu.extend(upwards(&mount.join("cpu"), path)),
                    "memory" => groups.memory.extend(upwards(&mount.join("memory"), path)),
                    _ => {}
                }
            }
        }
        groups
    }

    fn memory(&self) -> Option<u64> {
        let limits = |folders: &[PathBuf], name: &str| {
            let of = |folder: &PathBuf| fs::read_to_string(folder.join(name)).ok();
            folders.iter().filter_map(of).filter_map(|text| text.trim().parse().ok()).min()
        };
        let (new, old) =
            (limits(&self.unified, "memory.max"), limits(&self.memory, "memory.limit_in_bytes"));
        new.into_iter().chain(old).min().filter(|limit| *limit < NO_LIMIT)
    }

    /// Whole CPUs of the tightest quota, rounded up.
    fn cpu_quota(&self) -> Option<usize> {
        let new = self.unified.iter().filter_map(|folder| {
            let text = fs::read_to_string(folder.join("cpu.max")).ok()?;
            let (quota, period) = text.trim().split_once(' ')?;
            Some((quota.parse::<u64>().ok()?, period.parse::<u64>().ok()?))
        });
        let old = self.cpu.iter().filter_map(|folder| {
            let read = |name| fs::read_to_string(folder.join(name)).ok();
            // A quota of -1 is none, and is no u64.
            let quota = read("cpu.cfs_quota_us")?.trim().parse().ok()?;
            Some((quota, read("cpu.cfs_period_us")?.trim().parse().ok()?))
        });
        let cpus = |(quota, period): (u64, u64)| quota.div_ceil(period.max(1)) as usize;
        new.chain(old).map(cpus).min()
    }
}

/// `mount/path` and every folder between it and the mount, the mount included.
fn upwards(mount: &Path, path: &str) -> Vec<PathBuf> {
    let inner = path.trim_start_matches('/');
    Path::new(inner).ancestors().map(|ancestor| mount.join(ancestor)).collect()
}
