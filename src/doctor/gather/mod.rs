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

use super::facts::{Facts, KernelFacts, LimitFacts};
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

fn may_lock_all(tree: &Tree) -> super::facts::Fact<bool> {
    let status = tree.text("proc/self/status")?;
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    match set {
        Some(set) => Ok(set & CAP_IPC_LOCK != 0),
        None => Err(tree.odd("proc/self/status")),
    }
}
