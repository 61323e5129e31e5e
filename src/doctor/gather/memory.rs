//! Huge pages, shared memory, monitors and write-back.

use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::statvfs::statvfs;

use super::super::facts::{Fact, HugePages, MemoryFacts, SharedMemory, Unknown};
use super::disk;
use super::tree::Tree;
use crate::config::Config;
use crate::engine::files::identity::arena_name;
use crate::reactor::ArenaPlace;

/// `id`: of the data directory, if there is one.
pub fn gather(tree: &Tree, config: &Config, id: Option<[u8; 16]>, shards: u16) -> MemoryFacts {
    // Of the arenas of a broker that runs on this directory, or was killed on it.
    let held = |place: &Path| match id {
        Some(id) => (0..shards).map(|shard| tree.len(place.join(arena_name(&id, shard)))).sum(),
        None => 0,
    };
    MemoryFacts {
        huge: huge_pages(tree, config, held),
        shmem_huge: shmem_huge(tree),
        shared: shared_memory(tree, config, held),
        monitors: monitors(tree),
        dirty_background_bytes: dirty_background_bytes(tree),
        nodes: nodes(tree),
        numa_balancing: tree.optional("proc/sys/kernel/numa_balancing"),
    }
}

fn huge_pages(
    tree: &Tree,
    config: &Config,
    held: impl Fn(&Path) -> u64,
) -> Fact<Option<HugePages>> {
    let mounts = tree.text("proc/self/mounts")?;
    let mount = match &config.arena_dir {
        None => ArenaPlace::among(&mounts).huge,
        Some(dir) => {
            let dir = absolute(dir);
            let dir = tree.resolved(&dir).map_or(dir, |dir| Path::new("/").join(dir));
            let is_huge = disk::mount_of(tree, &dir)?.facts.kind == "hugetlbfs";
            is_huge.then_some(dir)
        }
    };
    let Some(mount) = mount else { return Ok(None) };
    let mounted = disk::mount_of(tree, &mount)?;
    let page_bytes = match mounted.facts.options.iter().find_map(|option| page_size(option)) {
        Some(bytes) => bytes,
        None => tree.meminfo("Hugepagesize")?,
    };
    if page_bytes == 0 {
        return Err(tree.odd("proc/meminfo"));
    }
    let pool = format!("sys/kernel/mm/hugepages/hugepages-{}kB", page_bytes >> 10);
    Ok(Some(HugePages {
        writable: tree.is_writable(&mount),
        page_bytes,
        pages: tree.number(format!("{pool}/nr_hugepages"))?,
        free_pages: tree.number(format!("{pool}/free_hugepages"))?,
        held_bytes: held(&mount),
        mount,
    }))
}

/// As the broker takes it, from where it is started.
fn absolute(dir: &Path) -> PathBuf {
    std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned())
}

/// `pagesize=2M` among the options of a hugetlbfs.
fn page_size(option: &str) -> Option<u64> {
    let text = option.strip_prefix("pagesize=")?;
    let units = [('K', 10), ('M', 20), ('G', 30)];
    let (unit, shift) = units.into_iter().find(|(unit, _)| text.ends_with(*unit))?;
    let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
    count.checked_mul(1 << shift)
}

fn shmem_huge(tree: &Tree) -> Fact<Option<String>> {
    const PATH: &str = "sys/kernel/mm/transparent_hugepage/shmem_enabled";
    match tree.has(PATH)? {
        true => tree.chosen(PATH).map(Some),
        false => Ok(None),
    }
}

fn shared_memory(tree: &Tree, config: &Config, held: impl Fn(&Path) -> u64) -> SharedMemory {
    let usual = || ArenaPlace::among("").shared;
    let path = config.arena_dir.as_deref().map_or_else(usual, absolute);
    let available = match statvfs(&tree.at(&path)) {
        // One without a bound of its own.
        Ok(space) if space.blocks() == 0 => Ok(u64::MAX),
        Ok(space) => Ok(space.blocks_available().saturating_mul(space.fragment_size())),
        // The broker finds no room there either, and goes on without.
        Err(Errno::ENOENT) => Ok(0),
        Err(error) => {
            Err(Unknown(format!("cannot ask for the space of {}: {error}", path.display())))
        }
    };
    SharedMemory { available, held_bytes: held(&path), path }
}

fn monitors(tree: &Tree) -> Fact<Vec<String>> {
    let mut names = tree.commands()?;
    names.retain(|name| name.starts_with("kdamond"));
    Ok(names)
}

fn dirty_background_bytes(tree: &Tree) -> Fact<u64> {
    let bytes: u64 = tree.number("proc/sys/vm/dirty_background_bytes")?;
    if bytes > 0 {
        return Ok(bytes);
    }
    let percent: u64 = tree.number("proc/sys/vm/dirty_background_ratio")?;
    Ok((tree.meminfo("MemAvailable")? / 100).saturating_mul(percent))
}

fn nodes(tree: &Tree) -> Fact<usize> {
    const PATH: &str = "sys/devices/system/node/online";
    match tree.has(PATH)? {
        true => tree.cpus(PATH).map(|nodes| nodes.len()),
        // A kernel without NUMA.
        false => Ok(1),
    }
}
