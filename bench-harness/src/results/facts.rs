//! What a run stood on, gathered before it begins: `host.json`.

use crate::measure::{HostFacts, MachineMark, MachineUse};
use serde::Serialize;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    pub host: HostFacts,
    pub disk: Disk,
    pub commit: Commit,
    /// First line of `java -version`; none where there is no Java.
    pub java: Option<String>,
    /// This tool's; its figures mean nothing then.
    pub debug_build: bool,
    /// Of the machine in the second before the run.
    pub before: MachineUse,
}

/// Where the stores are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Disk {
    pub mount_point: String,
    pub filesystem: String,
    pub mount_options: String,
    pub source: String,
    pub model: Option<String>,
    pub scheduler: Option<String>,
    /// `write back`: it has a cache that a power cut empties.
    pub write_cache: Option<String>,
    pub rotational: Option<bool>,
    pub free_bytes: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Commit {
    pub hash: Option<String>,
    /// Whether files differ from it.
    pub dirty: bool,
}

impl Facts {
    /// About the machine and the disk that holds `data_dir`, which must exist.
    pub fn gather(data_dir: &Path) -> io::Result<Facts> {
        let before = MachineMark::take();
        std::thread::sleep(Duration::from_secs(1));
        Ok(Facts {
            host: HostFacts::gather(),
            disk: Disk::of(data_dir)?,
            commit: Commit::here(),
            debug_build: cfg!(debug_assertions),
            java: said_first(Command::new("java").arg("-version")),
            before: before.until(&MachineMark::take()),
        })
    }
}

impl Disk {
    pub fn of(dir: &Path) -> io::Result<Disk> {
        let dir = fs::canonicalize(dir)?;
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let (device, mut disk) = mount_of(&dir, &mounts).unwrap_or_default();
        let space = nix::sys::statvfs::statvfs(&dir)?;
        disk.free_bytes = space.blocks_available() * space.fragment_size();
        // A partition's queue is its disk's, one directory up.
        let partition = Path::new("/sys/dev/block").join(device);
        let fact = |name: &str| {
            let read = |at: &str| fs::read_to_string(partition.join(at).join(name)).ok();
            read(".").or_else(|| read("..")).map(|text| text.trim().to_string())
        };
        disk.model = fact("device/model");
        disk.scheduler = fact("queue/scheduler");
        disk.write_cache = fact("queue/write_cache");
        disk.rotational = fact("queue/rotational").map(|text| text == "1");
        Ok(disk)
    }

    /// Whether nothing written there reaches a disk.
    pub fn is_memory(&self) -> bool {
        matches!(self.filesystem.as_str(), "tmpfs" | "ramfs")
    }
}

/// The mount that holds `dir`: the device's number, and what is known of it.
///
/// `36 35 98:0 /root /mnt rw,noatime master:1 - ext4 /dev/root rw,errors=continue`
fn mount_of(dir: &Path, mounts: &str) -> Option<(String, Disk)> {
    let parse = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let (device, point, options) = (left.get(2)?, left.get(4)?, left.get(5)?);
        let disk = Disk {
            mount_point: point.replace("\\040", " "),
            filesystem: right.first()?.to_string(),
            source: right.get(1)?.to_string(),
            mount_options: format!("{options};{}", right.get(2).unwrap_or(&"")),
            ..Disk::default()
        };
        dir.starts_with(&disk.mount_point).then(|| (device.to_string(), disk))
    };
    // Of two mounts at one place the later one is seen.
    mounts.lines().filter_map(parse).max_by_key(|(_, disk)| disk.mount_point.len())
}

impl Commit {
    fn here() -> Commit {
        let git = |arguments: &[&str]| {
            let output = Command::new("git").args(arguments).output().ok()?;
            let text = String::from_utf8_lossy(&output.stdout).trim().to_string();
            output.status.success().then_some(text)
        };
        let changed = git(&["status", "--porcelain", "--untracked-files=no"]);
        Commit {
            hash: git(&["rev-parse", "HEAD"]),
            dirty: changed.is_some_and(|files| !files.is_empty()),
        }
    }
}

/// Java talks on stderr.
fn said_first(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    text.lines().next().map(str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n\
30 22 0:25 / /tmp rw,nosuid - tmpfs tmpfs rw,size=1g\n\
31 22 254:17 /sub /data\\040disk rw,noatime shared:1 master:2 - xfs /dev/vdb1 rw\n";

    #[test]
    fn a_directory_lies_on_the_longest_mount_above_it() {
        let of = |dir: &str| mount_of(Path::new(dir), MOUNTS).unwrap();
        let (device, disk) = of("/data disk/bench");
        assert_eq!((device.as_str(), disk.filesystem.as_str()), ("254:17", "xfs"));
        assert_eq!(disk.mount_options, "rw,noatime;rw");
        assert_eq!(of("/data").1.source, "/dev/vda");
        assert!(of("/tmp/x").1.is_memory());
        assert!(mount_of(Path::new("/x"), "nonsense\n").is_none());
    }

    #[test]
    fn this_machine_has_facts() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::of(dir.path()).unwrap();
        assert!(disk.free_bytes > 0 && !disk.filesystem.is_empty(), "{disk:?}");
    }
}
