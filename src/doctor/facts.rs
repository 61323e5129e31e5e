//! What was found out about a machine, without an opinion.

use std::fmt;
use std::path::PathBuf;

use crate::base::{AckLevel, WriteMode};
use crate::reactor::{Degradation, SetupError};

/// Something that was looked for: it, or why it could not be seen.
pub type Fact<T> = Result<T, Unknown>;

/// Why a fact is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown(pub String);

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Debug)]
pub struct Facts {
    pub wanted: Wanted,
    pub kernel: KernelFacts,
    pub limits: LimitFacts,
    pub memory: MemoryFacts,
    pub cpu: CpuFacts,
    pub directory: DirectoryFacts,
    pub mount: Fact<MountFacts>,
    /// The disks below the data directory.
    pub disks: Fact<Vec<DiskFacts>>,
    pub sockets: SocketFacts,
    /// `None` where the broker listens on loopback only.
    pub network: Option<Fact<NetworkFacts>>,
}

/// What the broker would ask of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub shards: u16,
    /// Of each shard.
    pub arena_bytes: u64,
    /// CPUs of data threads.
    pub cores: Vec<usize>,
    pub ack: AckLevel,
    pub write: WriteMode,
}

impl Wanted {
    pub fn arenas_bytes(&self) -> u64 {
        u64::from(self.shards) * self.arena_bytes
    }
}

#[derive(Debug)]
pub struct KernelFacts {
    pub release: Fact<String>,
    pub ring: RingFact,
    /// `kernel.io_uring_disabled`; `None` where the kernel has no such switch.
    pub io_uring_disabled: Fact<Option<u8>>,
    /// `kernel.io_uring_group`, whose members may where only a group may; -1 is none.
    pub io_uring_group: Fact<Option<i64>>,
    /// Whether a filter of system calls is on this process.
    pub seccomp: Fact<bool>,
}

/// What came of making a ring as a data thread makes it.
#[derive(Debug)]
pub enum RingFact {
    Made(Vec<Degradation>),
    Refused(SetupError),
}

#[derive(Debug)]
pub struct LimitFacts {
    /// The hard limit, which the broker raises its own to; `None` where there is none.
    pub locked_memory: Fact<Option<u64>>,
    /// Whether this process has `CAP_IPC_LOCK`, whom the limit does not bind.
    pub may_lock_all: Fact<bool>,
    /// The hard limit.
    pub open_files: Fact<u64>,
}

#[derive(Debug)]
pub struct MemoryFacts {
    /// `None` where no hugetlbfs is mounted, or `--arena-dir` passes it over.
    pub huge: Fact<Option<HugePages>>,
    /// The chosen word of `shmem_enabled`; `None` where the kernel has no such pages.
    pub shmem_huge: Fact<Option<String>>,
    /// Where arenas lie that got no reserved huge pages.
    pub shared: SharedMemory,
    /// Kernel threads of memory monitors that run, such as `kdamond.0`.
    pub monitors: Fact<Vec<String>>,
    /// Dirty bytes from which the kernel writes back by itself.
    pub dirty_background_bytes: Fact<u64>,
    pub nodes: Fact<usize>,
    /// `kernel.numa_balancing`; `None` where the kernel has no such switch.
    pub numa_balancing: Fact<Option<u8>>,
}

/// A mounted hugetlbfs and the pool behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HugePages {
    pub mount: PathBuf,
    pub writable: bool,
    pub page_bytes: u64,
    pub pages: u64,
    pub free_pages: u64,
    /// Bytes of arenas of this data directory that lie there already.
    pub held_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedMemory {
    pub path: PathBuf,
    pub available: Fact<u64>,
    pub held_bytes: u64,
}

#[derive(Debug)]
pub struct CpuFacts {
    pub online: Fact<Vec<usize>>,
    /// Of each core of a data thread; `None` where its frequency is not ours to choose.
    pub governors: Fact<Vec<(usize, Option<String>)>>,
    /// Of the disks, and of the network interface if there is one.
    pub interrupts: Fact<Vec<Interrupt>>,
    pub irqbalance: Fact<bool>,
}

/// An interrupt line that is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interrupt {
    pub number: u32,
    pub device: String,
    /// Where it arrives.
    pub cpus: Vec<usize>,
}

#[derive(Debug)]
pub struct DirectoryFacts {
    pub path: PathBuf,
    /// The directory itself, or the nearest one above it that is there.
    pub existing: PathBuf,
    pub writable: Fact<bool>,
    /// Why a start would not take it, in the start's own words.
    pub refused: Option<String>,
    pub disk_use: Fact<DiskUse>,
    pub direct: Fact<DirectWrites>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskUse {
    pub available: u64,
    /// Hundredths of a percent, as `df` counts.
    pub basis_points: u64,
    /// Percent from which the broker refuses sends.
    pub refuse_at: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectWrites {
    InPlace,
    Missing(&'static str),
}

/// The mount that the data directory lies on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountFacts {
    pub point: String,
    pub kind: String,
    pub source: String,
    /// Of the mount and of the file system.
    pub options: Vec<String>,
}

#[derive(Debug)]
pub struct DiskFacts {
    pub name: String,
    /// The chosen word of `queue/scheduler`.
    pub scheduler: Fact<String>,
    pub rotational: Fact<bool>,
    /// `write back` or `write through`.
    pub write_cache: Fact<String>,
    pub fua: Fact<bool>,
    pub logical_block_bytes: Fact<u64>,
    /// Where the partition begins, counted from where the device's own blocks begin.
    pub start_bytes: Fact<u64>,
}

#[derive(Debug)]
pub struct SocketFacts {
    pub backlog_max: Fact<u64>,
    /// The largest buffers that TCP gives by itself.
    pub receive_max: Fact<u64>,
    pub send_max: Fact<u64>,
}

#[derive(Debug)]
pub struct NetworkFacts {
    pub interface: String,
    pub receive_queues: usize,
    pub offloads: Fact<Offloads>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloads {
    pub checksum: bool,
    pub segmentation: bool,
}

#[cfg(test)]
impl Facts {
    /// A machine at which nothing is to be found fault with: two shards on a bare machine
    /// with a good disk, in the same network as its clients.
    pub fn tuned() -> Self {
        Self {
            wanted: Wanted {
                shards: 2,
                arena_bytes: 64 << 20,
                cores: vec![2, 3],
                ack: AckLevel::Appended,
                write: WriteMode::Direct,
            },
            kernel: KernelFacts {
                release: Ok("6.12.9".to_owned()),
                ring: RingFact::Made(Vec::new()),
                io_uring_disabled: Ok(Some(0)),
                io_uring_group: Ok(Some(-1)),
                seccomp: Ok(false),
            },
            limits: LimitFacts {
                locked_memory: Ok(None),
                may_lock_all: Ok(false),
                open_files: Ok(1 << 20),
            },
            memory: MemoryFacts {
                huge: Ok(Some(HugePages {
                    mount: "/dev/hugepages".into(),
                    writable: true,
                    page_bytes: 2 << 20,
                    pages: 128,
                    free_pages: 128,
                    held_bytes: 0,
                })),
                shmem_huge: Ok(Some("advise".to_owned())),
                shared: SharedMemory {
                    path: "/dev/shm".into(),
                    available: Ok(8 << 30),
                    held_bytes: 0,
                },
                monitors: Ok(Vec::new()),
                dirty_background_bytes: Ok(64 << 20),
                nodes: Ok(1),
                numa_balancing: Ok(Some(0)),
            },
            cpu: CpuFacts {
                online: Ok(vec![0, 1, 2, 3]),
                governors: Ok(vec![
                    (2, Some("performance".to_owned())),
                    (3, Some("performance".to_owned())),
                ]),
                interrupts: Ok(vec![Interrupt {
                    number: 36,
                    device: "eth0".to_owned(),
                    cpus: vec![0],
                }]),
                irqbalance: Ok(false),
            },
            directory: DirectoryFacts {
                path: "/data/ringmq".into(),
                existing: "/data/ringmq".into(),
                writable: Ok(true),
                refused: None,
                disk_use: Ok(DiskUse { available: 1 << 40, basis_points: 1000, refuse_at: 90 }),
                direct: Ok(DirectWrites::InPlace),
            },
            mount: Ok(MountFacts {
                point: "/data".to_owned(),
                kind: "ext4".to_owned(),
                source: "/dev/nvme0n1p1".to_owned(),
                options: vec!["rw".to_owned(), "noatime".to_owned()],
            }),
            disks: Ok(vec![DiskFacts {
                name: "nvme0n1".to_owned(),
                scheduler: Ok("none".to_owned()),
                rotational: Ok(false),
                write_cache: Ok("write through".to_owned()),
                fua: Ok(true),
                logical_block_bytes: Ok(512),
                start_bytes: Ok(1 << 20),
            }]),
            sockets: SocketFacts {
                backlog_max: Ok(4096),
                receive_max: Ok(6 << 20),
                send_max: Ok(4 << 20),
            },
            network: Some(Ok(NetworkFacts {
                interface: "eth0".to_owned(),
                receive_queues: 4,
                offloads: Ok(Offloads { checksum: true, segmentation: true }),
            })),
        }
    }
}
