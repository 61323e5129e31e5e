//! Looks at the machine and changes nothing. What stands in files is read below a root, so
//! that tests can make up a machine; what must be tried or asked of the kernel is `Live`.

mod cpu;
mod disk;
mod live;
mod memory;
mod network;
mod tree;

use std::path::Path;

pub use live::Live;

use super::facts::{Fact, Facts, KernelFacts, LimitFacts};
use crate::config::Config;
use tree::Tree;

/// The bit of `CAP_IPC_LOCK` in a set of capabilities.
const CAP_IPC_LOCK: u64 = 1 << 14;

/// All facts: those of the files below `root`, and what was found `live`.
pub fn gather(root: &Path, config: &Config, live: Live) -> Facts {
    let tree = Tree::new(root);
    let mounted = disk::mount_of(&tree, &live.directory.existing);
    let disks = match &mounted {
        Ok(mounted) => disk::disks_of(&tree, mounted),
        Err(unknown) => Err(unknown.clone()),
    };
    let mut devices = disk::devices(&tree, &disks);
    devices.extend(network::device(&tree, live.interface.as_ref()));
    Facts {
        kernel: KernelFacts {
            release: tree.text("proc/sys/kernel/osrelease"),
            ring: live.ring,
            io_uring_disabled: tree.optional("proc/sys/kernel/io_uring_disabled"),
            io_uring_group: tree.optional("proc/sys/kernel/io_uring_group"),
            seccomp: seccomp(&tree),
        },
        limits: LimitFacts {
            locked_memory: live.locked_memory,
            may_lock_all: may_lock_all(&tree),
            open_files: live.open_files,
        },
        memory: memory::gather(&tree, config, live.directory_id, live.wanted.shards),
        cpu: cpu::gather(&tree, &live.wanted.cores, &devices),
        mount: mounted.map(|mounted| mounted.facts),
        disks: disks.map(|disks| disks.into_iter().map(|disk| disk.facts).collect()),
        sockets: network::sockets(&tree),
        network: network::gather(&tree, live.interface),
        wanted: live.wanted,
        directory: live.directory,
    }
}

fn may_lock_all(tree: &Tree) -> Fact<bool> {
    let set = of_status(tree, "CapEff:", |text| u64::from_str_radix(text, 16).ok())?;
    Ok(set & CAP_IPC_LOCK != 0)
}

fn seccomp(tree: &Tree) -> Fact<bool> {
    let mode: u8 = of_status(tree, "Seccomp:", |text| text.parse().ok())?;
    Ok(mode != 0)
}

/// A line of this process's status.
fn of_status<T>(tree: &Tree, key: &str, read: impl Fn(&str) -> Option<T>) -> Fact<T> {
    const PATH: &str = "proc/self/status";
    let status = tree.text(PATH)?;
    let text = status.lines().find_map(|line| line.strip_prefix(key));
    text.and_then(|text| read(text.trim())).ok_or_else(|| tree.odd(PATH))
}
