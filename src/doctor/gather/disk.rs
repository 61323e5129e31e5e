//! The mount that a path lies on, and the disks below it.

use std::path::{Path, PathBuf};

use super::super::facts::{DiskFacts, Fact, MountFacts, Unknown};
use super::cpu::Device;
use super::tree::Tree;

/// Mappings upon mappings; more are none that anybody made.
const LAYERS_MAX: usize = 8;
const SECTOR_BYTES: u64 = 512;

pub struct Mounted {
    pub facts: MountFacts,
    /// `major:minor`.
    device: String,
}

pub struct Disk {
    pub facts: DiskFacts,
    path: PathBuf,
}

/// The mount that a resolved path lies on.
pub fn mount_of(tree: &Tree, path: &Path) -> Fact<Mounted> {
    let mounts = tree.text("proc/self/mountinfo")?;
    // Of several at the same point the last covers the others.
    let on = mounts
        .lines()
        .filter_map(parse_mount)
        .filter(|mounted| path.starts_with(&mounted.facts.point))
        .max_by_key(|mounted| Path::new(&mounted.facts.point).components().count());
    on.ok_or_else(|| Unknown(format!("no mount is known for {}", path.display())))
}

/// `27 1 254:0 / /data rw,relatime shared:1 - ext4 /dev/vda1 rw,discard`
fn parse_mount(line: &str) -> Option<Mounted> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mount: Vec<&str> = mount.split(' ').collect();
    let [_, _, device, _, point, options, ..] = mount[..] else { return None };
    let mut words = file_system.split(' ');
    let (kind, source) = (words.next()?, words.next()?);
    let options = options.split(',').chain(words.next().unwrap_or_default().split(','));
    let options = options.filter(|option| !option.is_empty()).map(str::to_owned).collect();
    Some(Mounted {
        facts: MountFacts {
            point: unescaped(point),
            kind: kind.to_owned(),
            source: unescaped(source),
            options,
        },
        device: device.to_owned(),
    })
}

/// The kernel writes blanks and the like in octal, `\040`.
fn unescaped(text: &str) -> String {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let octal = tail.get(..3).and_then(|digits| str::from_utf8(digits).ok());
        let code = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        rest = match code.filter(|_| *first == b'\\') {
            Some(code) => {
                plain.push(code);
                &tail[3..]
            }
            None => {
                plain.push(*first);
                tail
            }
        };
    }
    String::from_utf8_lossy(&plain).into_owned()
}

pub fn disks_of(tree: &Tree, mounted: &Mounted) -> Fact<Vec<Disk>> {
    let by_number = tree.resolved(format!("sys/dev/block/{}", mounted.device));
    // btrfs has a device number of its own; its source tells.
    let by_name = || {
        let name = mounted.facts.source.strip_prefix("/dev/")?;
        tree.resolved(Path::new("sys/class/block").join(name))
    };
    let Some(block) = by_number.or_else(by_name) else {
        let MountFacts { kind, point, .. } = &mounted.facts;
        return Err(Unknown(format!("the {kind} at {point} lies on no disk of this machine")));
    };
    let mut disks = Vec::new();
    descend(tree, &block, LAYERS_MAX, &mut disks);
    Ok(disks)
}

/// From a block device to the disks that it is made of.
fn descend(tree: &Tree, block: &Path, layers: usize, disks: &mut Vec<Disk>) {
    let below = tree.names(block.join("slaves")).unwrap_or_default();
    let below: Vec<_> =
        below.iter().filter_map(|name| tree.resolved(block.join("slaves").join(name))).collect();
    if below.is_empty() || layers == 0 {
        disks.push(disk(tree, block));
    }
    for block in below.iter().filter(|_| layers > 0) {
        descend(tree, block, layers - 1, disks);
    }
}

fn disk(tree: &Tree, block: &Path) -> Disk {
    let is_partition = tree.has(block.join("partition")) == Ok(true);
    let (path, start_bytes) = match block.parent().filter(|_| is_partition) {
        Some(disk) => {
            let start: Fact<u64> = tree.number(block.join("start"));
            (disk, start.map(|sectors| sectors.saturating_mul(SECTOR_BYTES)))
        }
        None => (block, Ok(0)),
    };
    let queue = path.join("queue");
    let is_set = |name| tree.number::<u8>(queue.join(name)).map(|value| value != 0);
    let facts = DiskFacts {
        name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        scheduler: tree.chosen(queue.join("scheduler")),
        rotational: is_set("rotational"),
        write_cache: tree.text(queue.join("write_cache")),
        fua: is_set("fua"),
        logical_block_bytes: tree.number(queue.join("logical_block_size")),
        start_bytes,
    };
    Disk { facts, path: path.to_owned() }
}

/// The devices whose interrupts tell of writes that are done. Those of NVMe are bound to
/// the CPUs that submit, and nobody can move them.
pub fn devices(tree: &Tree, disks: &Fact<Vec<Disk>>) -> Vec<Device> {
    let disks = disks.as_deref().unwrap_or_default();
    let movable = disks.iter().filter(|disk| !disk.facts.name.starts_with("nvme"));
    let device = |disk: &Disk| {
        let path = tree.resolved(disk.path.join("device"))?;
        Some(Device { name: disk.facts.name.clone(), path })
    };
    movable.filter_map(device).collect()
}
