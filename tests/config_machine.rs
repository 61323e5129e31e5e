//! Cores and memory are those that affinity and cgroups leave, old hierarchy or new.

use std::fs;
use std::path::Path;

use ringmq::config::Machine;
use tempfile::TempDir;

/// A machine with two CPUs per core and 16 GiB.
fn machine(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("proc/meminfo", "MemTotal:       16777216 kB\nMemFree: 1 kB\n");
    write("proc/sys/kernel/hostname", "rack7\n");
    for cpu in 0..8 {
        let topology = format!("sys/devices/system/cpu/cpu{cpu}/topology");
        write(&format!("{topology}/core_id"), &format!("{}\n", cpu % 4));
        write(&format!("{topology}/physical_package_id"), "0\n");
    }
    for (path, text) in files {
        write(path, text);
    }
    root
}

fn read(root: &Path) -> Machine {
    Machine::read(root, (0..8).collect())
}

#[test]
fn without_limits_there_is_one_core_per_pair_of_siblings_and_all_memory() {
    let root = machine(&[]);
    let found = read(root.path());
    assert_eq!(found.cores, [0, 1, 2, 3]);
    assert_eq!(found.cpus, [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(found.memory, 16 << 30);
    assert_eq!(found.host, "rack7");
}

#[test]
fn affinity_decides_which_sibling_counts() {
    let root = machine(&[]);
    let found = Machine::read(root.path(), vec![7, 5, 1]);
    assert_eq!(found.cores, [1, 7], "1 and 5 are siblings");
}

#[test]
fn the_tightest_group_above_the_process_limits_it() {
    let root = machine(&[
        ("proc/self/cgroup", "0::/kube/pod/box\n"),
        ("sys/fs/cgroup/kube/memory.max", "4294967296\n"),
        ("sys/fs/cgroup/kube/pod/memory.max", "1073741824\n"),
        ("sys/fs/cgroup/kube/pod/box/memory.max", "max\n"),
        ("sys/fs/cgroup/kube/pod/cpu.max", "250000 100000\n"),
        ("sys/fs/cgroup/kube/pod/box/cpu.max", "max 100000\n"),
    ]);
    let found = read(root.path());
    assert_eq!(found.memory, 1 << 30);
    assert_eq!(found.cores, [0, 1, 2], "two and a half CPUs");
}

#[test]
fn a_container_that_sees_only_its_own_root_is_limited_by_it() {
    let root = machine(&[
        ("proc/self/cgroup", "0::/not/visible/here\n"),
        ("sys/fs/cgroup/memory.max", "536870912\n"),
        ("sys/fs/cgroup/cpu.max", "50000 100000\n"),
    ]);
    let found = read(root.path());
    assert_eq!((found.memory, found.cores.len()), (512 << 20, 1));
}

#[test]
fn the_old_hierarchy_is_understood_with_its_ways_of_saying_no_limit() {
    let groups = "5:cpuset:/\n4:memory:/a\n2:cpu,cpuacct:/a\n1:name=systemd:/\n0::/\n";
    let root = machine(&[
        ("proc/self/cgroup", groups),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "2147483648\n"),
        ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
        ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "200000\n"),
        ("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n"),
    ]);
    let found = read(root.path());
    assert_eq!(found.memory, 2 << 30);
    assert_eq!(found.cores, [0, 1]);

    let unlimited = machine(&[
        ("proc/self/cgroup", "4:memory:/\n2:cpu:/\n"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
        ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
    ]);
    assert_eq!(read(unlimited.path()), read(machine(&[]).path()));
}

#[test]
fn this_machine_has_at_least_a_core_and_some_memory() {
    let found = Machine::of_this_process();
    assert!(!found.cores.is_empty() && found.cores.iter().all(|core| found.cpus.contains(core)));
    assert!(found.memory > 1 << 20);
}
