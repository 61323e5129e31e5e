//! `ringmq doctor`: facts are gathered from made-up machines, and the real program examines
//! this one.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use ringmq::base::{AckLevel, WriteMode};
use ringmq::config::{self, Config, Machine, Role};
use ringmq::doctor::facts::{
    DirectWrites, DirectoryFacts, DiskUse, Interrupt, MountFacts, Offloads, RingFact, Unknown,
    Wanted,
};
use ringmq::doctor::{Facts, Finding, Live, State, gather, judge};
use serde_json::Value;
use tempfile::TempDir;

const DISK: &str = "sys/devices/pci0000:00/0000:00:02.0/virtio1/block/vda";
const INTERFACE: &str = "sys/devices/pci0000:00/0000:00:04.0/virtio3";
const ID: [u8; 16] = [0xab; 16];

/// A root with the files of a virtual machine: one disk in a partition, one interface.
struct Made(TempDir);

impl Made {
    fn new() -> Self {
        let made = Self(tempfile::tempdir().unwrap());
        for (path, text) in [
            ("proc/sys/kernel/osrelease", "6.12.9\n"),
            ("proc/sys/kernel/io_uring_disabled", "0\n"),
            ("proc/sys/kernel/io_uring_group", "-1\n"),
            ("proc/sys/kernel/numa_balancing", "1\n"),
            ("proc/sys/vm/dirty_background_bytes", "0\n"),
            ("proc/sys/vm/dirty_background_ratio", "10\n"),
            ("proc/sys/net/core/somaxconn", "4096\n"),
            ("proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t6291456\n"),
            ("proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t4194304\n"),
            ("proc/self/status", "Name:\tx\nCapEff:\t0000000000004000\nSeccomp:\t2\n"),
            ("proc/meminfo", "MemAvailable:   10240000 kB\nHugepagesize:       2048 kB\n"),
            ("proc/1/comm", "systemd\n"),
            ("proc/2/comm", "kthreadd\n"),
            ("proc/77/comm", "kdamond.0\n"),
            ("proc/interrupts", INTERRUPTS),
            ("proc/irq/35/smp_affinity_list", "0-3\n"),
            ("proc/irq/36/smp_affinity_list", "0-3\n"),
            ("proc/irq/36/effective_affinity_list", "1\n"),
            ("proc/irq/41/smp_affinity_list", "2-3\n"),
            ("proc/self/mountinfo", MOUNTINFO),
            ("proc/self/mounts", "tmpfs /dev/shm tmpfs rw 0 0\nnone /dev/huge hugetlbfs rw 0 0\n"),
            ("sys/devices/system/cpu/online", "0-3\n"),
            ("sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "powersave\n"),
            ("sys/devices/system/node/online", "0-1\n"),
            ("sys/kernel/mm/transparent_hugepage/shmem_enabled", "always [advise] never\n"),
            ("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "100\n"),
            ("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "40\n"),
            ("sys/devices/pci0000:00/0000:00:02.0/msi_irqs/35", ""),
            ("sys/devices/pci0000:00/0000:00:02.0/msi_irqs/36", ""),
            ("sys/devices/pci0000:00/0000:00:04.0/msi_irqs/41", ""),
        ] {
            made.write(path, text);
        }
        made.disk();
        made.interface();
        made.folder("dev/huge");
        made.folder("dev/shm");
        made
    }

    fn disk(&self) {
        for (name, text) in [
            ("queue/scheduler", "none [mq-deadline] kyber\n"),
            ("queue/rotational", "0\n"),
            ("queue/write_cache", "write back\n"),
            ("queue/fua", "0\n"),
            ("queue/logical_block_size", "512\n"),
            ("vda1/partition", "1\n"),
            ("vda1/start", "2048\n"),
        ] {
            self.write(&format!("{DISK}/{name}"), text);
        }
        self.link(&format!("{DISK}/device"), "../..");
        self.link("sys/dev/block/254:1", &format!("../../../{DISK}/vda1"));
        self.link("sys/class/block/vda", &format!("../../../{DISK}"));
    }

    fn interface(&self) {
        self.write(&format!("{INTERFACE}/features"), "1100000000010000\n");
        self.folder("sys/bus/virtio/drivers/virtio_net");
        self.link(&format!("{INTERFACE}/driver"), "../../../../bus/virtio/drivers/virtio_net");
        for queue in ["rx-0", "rx-1", "tx-0"] {
            self.folder(&format!("sys/class/net/eth0/queues/{queue}"));
        }
        self.link("sys/class/net/eth0/device", &format!("../../../../{INTERFACE}"));
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn folder(&self, path: &str) {
        fs::create_dir_all(self.0.path().join(path)).unwrap();
    }

    fn link(&self, path: &str, to: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(to, path).unwrap();
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.0.path().join(path)).unwrap();
    }

    fn facts(&self) -> Facts {
        self.facts_with("", live())
    }

    fn facts_with(&self, flags: &str, live: Live) -> Facts {
        gather(self.0.path(), &config(flags), live)
    }
}

const INTERRUPTS: &str = "           CPU0       CPU1
 35:          1          0  PCI-MSIX-0000:00:02.0   0-edge      virtio1-config
 36:          0       1002  PCI-MSIX-0000:00:02.0   1-edge      virtio1-req.0
 41:         60         40  PCI-MSIX-0000:00:04.0   1-edge      virtio3-rx
NMI:          0          0  Non-maskable interrupts
";

const MOUNTINFO: &str = "\
22 1 0:21 / /proc rw,relatime - proc proc rw
27 1 253:0 / / rw,relatime - overlay overlay rw,lowerdir=/a
28 27 254:1 / /my\\040data rw,noatime shared:1 - ext4 /dev/vda1 rw,discard
29 27 0:40 / /sub rw,relatime - btrfs /dev/vda rw,compress
30 27 0:41 / /dev/huge rw,relatime - hugetlbfs none rw,pagesize=2M
31 27 0:42 / /dev/shm rw - tmpfs tmpfs rw
";

fn config(flags: &str) -> Config {
    let machine =
        Machine { cpus: vec![0, 1, 2, 3], cores: vec![2], memory: 8 << 30, host: String::new() };
    let words = std::iter::once("ringmq").chain(flags.split_whitespace());
    match config::parse(words, &machine) {
        Ok(Role::Serve(config)) => *config,
        other => panic!("{other:?}"),
    }
}

fn live() -> Live {
    Live {
        wanted: Wanted {
            shards: 1,
            arena_bytes: 64 << 20,
            cores: vec![2],
            ack: AckLevel::Appended,
            write: WriteMode::Direct,
        },
        ring: RingFact::Made(Vec::new()),
        locked_memory: Ok(Some(8 << 20)),
        open_files: Ok(1 << 20),
        directory: DirectoryFacts {
            path: "/my data/ringmq".into(),
            existing: "/my data".into(),
            writable: Ok(true),
            refused: None,
            disk_use: Ok(DiskUse { available: 1 << 40, basis_points: 1, refuse_at: 90 }),
            direct: Ok(DirectWrites::InPlace),
        },
        directory_id: Some(ID),
        interface: Some(Ok("eth0".to_owned())),
    }
}

fn at(directory: &str) -> Live {
    let mut live = live();
    live.directory.existing = directory.into();
    live
}

#[test]
fn the_files_of_a_machine_become_facts() {
    let facts = Made::new().facts();
    assert_eq!(facts.kernel.release.as_deref(), Ok("6.12.9"));
    assert_eq!(facts.kernel.io_uring_disabled, Ok(Some(0)));
    assert_eq!((facts.kernel.io_uring_group, facts.kernel.seccomp), (Ok(Some(-1)), Ok(true)));
    assert_eq!(facts.limits.may_lock_all, Ok(true));
    assert_eq!(facts.memory.shmem_huge, Ok(Some("advise".to_owned())));
    assert_eq!(facts.memory.monitors, Ok(vec!["kdamond.0".to_owned()]));
    assert_eq!(facts.memory.dirty_background_bytes, Ok(1024 * 1_024_000), "a tenth");
    assert_eq!((facts.memory.nodes, facts.memory.numa_balancing), (Ok(2), Ok(Some(1))));
    assert_eq!(facts.cpu.online, Ok(vec![0, 1, 2, 3]));
    assert_eq!(facts.cpu.governors, Ok(vec![(2, Some("powersave".to_owned()))]));
    assert_eq!(facts.cpu.irqbalance, Ok(false));
    let sockets = &facts.sockets;
    assert_eq!((&sockets.backlog_max, &sockets.receive_max), (&Ok(4096), &Ok(6 << 20)));
}

#[test]
fn a_directory_is_on_the_mount_that_reaches_deepest_and_on_the_disk_of_its_partition() {
    let made = Made::new();
    let facts = made.facts();
    let expected = MountFacts {
        point: "/my data".to_owned(),
        kind: "ext4".to_owned(),
        source: "/dev/vda1".to_owned(),
        options: ["rw", "noatime", "rw", "discard"].map(str::to_owned).to_vec(),
    };
    assert_eq!(facts.mount, Ok(expected));
    let disks = facts.disks.unwrap();
    assert_eq!(disks.len(), 1);
    assert_eq!(disks[0].name, "vda");
    assert_eq!(disks[0].scheduler.as_deref(), Ok("mq-deadline"));
    assert_eq!((&disks[0].rotational, &disks[0].fua), (&Ok(false), &Ok(false)));
    assert_eq!(disks[0].write_cache.as_deref(), Ok("write back"));
    assert_eq!(disks[0].start_bytes, Ok(1 << 20));

    let facts = made.facts_with("", at("/sub/volume"));
    assert_eq!(facts.mount.unwrap().kind, "btrfs");
    assert_eq!(facts.disks.unwrap()[0].name, "vda", "found by its source");
    let facts = made.facts_with("", at("/somewhere"));
    assert_eq!(facts.mount.unwrap().kind, "overlay");
    assert!(facts.disks.unwrap_err().0.contains("overlay at /"));
}

#[test]
fn a_mapped_disk_is_followed_down_to_the_real_ones() {
    let made = Made::new();
    made.remove("sys/dev/block/254:1");
    made.link("sys/dev/block/254:1", "../../devices/virtual/block/dm-0");
    made.link("sys/devices/virtual/block/dm-0/slaves/md0", "../../md0");
    made.link(
        "sys/devices/virtual/block/md0/slaves/vda1",
        &format!("../../../../../../{DISK}/vda1"),
    );
    made.link("sys/devices/virtual/block/md0/slaves/itself", "../../dm-0");
    let disks = made.facts().disks.unwrap();
    assert!(disks.iter().any(|disk| disk.name == "vda"));
    assert!(disks.len() < 100, "a circle ends");
}

#[test]
fn interrupts_are_those_of_the_disk_and_the_interface_that_are_used() {
    let made = Made::new();
    let interrupt = |number, device: &str, cpus: &[usize]| Interrupt {
        number,
        device: device.to_owned(),
        cpus: cpus.to_vec(),
    };
    let disk = interrupt(36, "vda", &[1]);
    let expected = vec![disk.clone(), interrupt(41, "eth0", &[2, 3])];
    assert_eq!(made.facts().cpu.interrupts, Ok(expected));
    let loopback = Live { interface: None, ..live() };
    let facts = made.facts_with("", loopback);
    assert_eq!(facts.cpu.interrupts, Ok(vec![disk]));
    assert!(facts.network.is_none());
}

#[test]
fn offloads_are_known_of_virtio_and_unknown_of_other_drivers() {
    let made = Made::new();
    let network = made.facts().network.unwrap().unwrap();
    assert_eq!((network.interface.as_str(), network.receive_queues), ("eth0", 2));
    assert_eq!(network.offloads, Ok(Offloads { checksum: true, segmentation: true }));
    made.write(&format!("{INTERFACE}/features"), "1100000000000000\n");
    let network = made.facts().network.unwrap().unwrap();
    assert_eq!(network.offloads, Ok(Offloads { checksum: true, segmentation: false }));
    made.remove(&format!("{INTERFACE}/driver"));
    let network = made.facts().network.unwrap().unwrap();
    assert!(network.offloads.unwrap_err().0.contains("ethtool -k eth0"));
}

#[test]
fn huge_pages_are_those_of_the_mount_that_the_arenas_will_use() {
    let made = Made::new();
    let arena = |place: &str| format!("{place}/ringmq-{}-0", "ab".repeat(16));
    made.write(&arena("dev/huge"), "12345");
    made.write(&arena("dev/shm"), "123");
    made.write("dev/huge/ringmq-of-somebody-else-0", "12345");
    let facts = made.facts();
    let huge = facts.memory.huge.unwrap().unwrap();
    assert_eq!(huge.mount, Path::new("/dev/huge"));
    assert_eq!((huge.page_bytes, huge.pages, huge.free_pages), (2 << 20, 100, 40));
    assert_eq!((huge.held_bytes, facts.memory.shared.held_bytes), (5, 3));
    let named = made.facts_with("--arena-dir /dev/huge", live());
    assert_eq!(named.memory.huge.unwrap().unwrap().mount, Path::new("/dev/huge"));
    let elsewhere = made.facts_with("--arena-dir /dev/shm", live());
    assert_eq!(elsewhere.memory.huge, Ok(None));
    assert_eq!(elsewhere.memory.shared.path, Path::new("/dev/shm"));
    let nowhere = made.facts_with("--arena-dir /no/such/folder", live());
    assert_eq!(nowhere.memory.shared.available, Ok(0));
}

#[test]
fn a_machine_that_shows_nothing_is_unknown_in_every_such_line_and_never_a_panic() {
    let empty = tempfile::tempdir().unwrap();
    let facts = gather(empty.path(), &config(""), live());
    let findings = judge(&facts);
    let state = |name: &str| findings.iter().find(|finding| finding.check == name).unwrap();
    for name in ["kernel", "mount-options", "io-scheduler", "memory-monitor", "sockets"] {
        let Finding { state, found, .. } = state(name);
        assert_eq!(*state, State::Unknown, "{name}");
        assert!(found.contains('/'), "{name} names what it wanted to see: {found}");
    }
}

#[test]
fn where_kernel_threads_are_hidden_nobody_claims_that_none_watches_the_memory() {
    let made = Made::new();
    made.remove("proc/2/comm");
    let facts = made.facts();
    assert!(facts.memory.monitors.is_err() && facts.cpu.irqbalance.is_err());
    made.remove("proc/77/comm");
    assert!(made.facts().memory.monitors.is_err());
}

#[test]
fn files_that_are_not_as_expected_are_unknown_and_never_a_panic() {
    let made = Made::new();
    let root = made.0.path().to_owned();
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 30);
    for text in ["", "\u{fffd} x y", "-1", "99999999999999999999999", "[", "a - b - c"] {
        for file in &files {
            let before = fs::read(file).unwrap();
            fs::write(file, text).unwrap();
            judge(&made.facts());
            fs::write(file, before).unwrap();
        }
    }
    for size in [0, 1 << 34, u64::MAX / 1024] {
        made.write("proc/meminfo", &format!("MemAvailable: 1 kB\nHugepagesize: {size} kB\n"));
        made.write(&format!("sys/kernel/mm/hugepages/hugepages-{size}kB/nr_hugepages"), "1");
        made.write(&format!("sys/kernel/mm/hugepages/hugepages-{size}kB/free_hugepages"), "1");
        made.write("proc/self/mountinfo", &MOUNTINFO.replace(",pagesize=2M", ""));
        judge(&made.facts());
    }
    made.write("proc/sys/vm/dirty_background_ratio", "18446744073709551615");
    made.write("proc/sys/net/core/somaxconn", "many");
    let facts = made.facts();
    assert_eq!(
        facts.sockets.backlog_max,
        Err(Unknown("/proc/sys/net/core/somaxconn is not as expected".to_owned()))
    );
    judge(&facts);
}

/// The plain files below a folder, links aside.
fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let kind = path.symlink_metadata().unwrap();
        if kind.is_dir() {
            collect(&path, files);
        } else if kind.is_file() {
            files.push(path);
        }
    }
}

fn doctor(flags: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq"));
    command.arg("doctor").args(flags).stdin(Stdio::null()).stderr(Stdio::inherit());
    let Output { status, stdout, .. } = command.output().unwrap();
    (status.code().expect("it ends by itself"), String::from_utf8(stdout).unwrap())
}

/// The exit code that the states of a report ask for.
fn code_of(checks: &[Value]) -> i32 {
    let has = |state: &str| checks.iter().any(|check| check["state"] == state);
    if has("cannot run") { 2 } else { i32::from(has("untuned")) }
}

#[test]
fn this_machine_is_examined_and_nothing_is_changed() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let flags = ["--data-dir", data.to_str().unwrap(), "--arena", "16MiB", "--shards", "1"];
    let (code, text) = doctor(&flags);
    let (json_code, json) = doctor(&[&flags[..], &["--json"]].concat());
    assert_eq!(code, json_code);
    let read: Value = serde_json::from_str(&json).unwrap();
    let checks = read["checks"].as_array().unwrap();
    assert_eq!((code, &read["exit_code"]), (code_of(checks), &Value::from(code)));
    assert!(checks.len() > 20);
    for check in checks {
        let (state, name) = (check["state"].as_str().unwrap(), check["check"].as_str().unwrap());
        let line = format!("{state:<10}  {name} ");
        assert!(text.lines().any(|found| found.starts_with(&line)), "{line:?} in:\n{text}");
        let found = check["found"].as_str().unwrap();
        // The space and the threads of a machine do not stand still between two looks.
        if !["free-space", "shared-memory", "dirty-pages"].contains(&name) {
            assert!(text.contains(found), "{found:?} in:\n{text}");
        }
        let needs_fix = ["untuned", "cannot run"].contains(&state);
        assert_eq!(check["fix"].is_string(), needs_fix, "{check}");
    }
    let ring = checks.iter().find(|check| check["check"] == "io-uring").unwrap();
    assert_ne!(ring["state"], "cannot run", "tests of the reactor make rings here: {ring}");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0, "not even the directory is made");
}

#[test]
fn what_a_start_would_refuse_ends_with_code_2() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("thesis.tex"), "years of work").unwrap();
    let data = ["--data-dir", root.path().to_str().unwrap()];
    let (code, text) = doctor(&data);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("cannot run  data-directory") && text.contains("thesis.tex"), "{text}");
    let (code, json) = doctor(&[&data[..], &["--arena", "17MiB", "--json"]].concat());
    let read: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, read["verdict"].as_str()), (2, Some("cannot-run")));
    assert!(read["checks"][0]["found"].as_str().unwrap().starts_with("--arena 17MiB: "));
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "nothing was added");
}
