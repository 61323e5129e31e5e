//! The systems, each started the way its operators would, and kept off the
//! processor while another one is measured.

use super::workloads::Durability;
use crate::measure::ProcessMark;
use crate::plot::Colour;
use crate::servers::{
    Apache, ApacheFlush, ApacheSettings, COLLECTOR_DEFAULT, HEAP_MIB_DEFAULT, KAFKA, Kafka,
    KafkaFlush, KafkaSettings, ROCKETMQ, Ringmq, RingmqSettings, Scratch,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Who takes part.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum System {
    Ringmq,
    Rocketmq,
    Kafka,
}

impl System {
    pub const ALL: [System; 3] = [System::Ringmq, System::Rocketmq, System::Kafka];

    pub fn name(self) -> &'static str {
        match self {
            System::Ringmq => "ringmq",
            System::Rocketmq => "rocketmq",
            System::Kafka => "kafka",
        }
    }

    pub fn title(self) -> String {
        match self {
            System::Ringmq => format!("ringmq {}", env!("CARGO_PKG_VERSION")),
            System::Rocketmq => ROCKETMQ.name.into(),
            System::Kafka => KAFKA.name.into(),
        }
    }

    pub fn colour(self) -> (Colour, &'static str) {
        Colour::of_series(self as usize)
    }

    /// Whether it runs faster once it has run for a while.
    pub fn compiles(self) -> bool {
        self != System::Ringmq
    }
}

/// Where and on what everything runs.
#[derive(Clone, Debug)]
pub struct Ground {
    pub data_dir: PathBuf,
    pub broker_cores: Vec<usize>,
    pub load_cores: Vec<usize>,
    /// Holds `rocketmq` and `kafka`.
    pub baselines: PathBuf,
    pub ringmq: PathBuf,
    pub ringmq_args: Vec<String>,
    /// A store above this is begun anew.
    pub store_bytes_max: u64,
}

/// A broker that can be loaded now.
#[derive(Clone, Copy, Debug)]
pub struct Broker {
    pub addr: SocketAddr,
    pub pid: u32,
}

/// One system over the whole run.
pub trait Runs {
    /// Running with this durability, and on the processor. A store that has become too
    /// large is begun anew where another workload begins.
    fn ready(&mut self, durability: Durability, another: bool) -> io::Result<Broker>;
    /// Off the processor until it is asked for again.
    fn rest(&mut self) -> io::Result<()>;
    /// How it is started, for people.
    fn settings(&self) -> String;
    /// Notes that something is done; says whether it is the first time since its start.
    fn first(&mut self, what: &str) -> bool;
}

pub fn of(system: System, ground: &Ground) -> Box<dyn Runs> {
    match system {
        System::Ringmq => Box::new(Afresh { ground: ground.clone(), running: None }),
        jvm => Box::new(Staying { system: jvm, ground: ground.clone(), running: None }),
    }
}

/// ringmq: starts in a moment, so every measurement has a new one.
struct Afresh {
    ground: Ground,
    // The broker before its store, so that it is gone when that is removed.
    running: Option<(Ringmq, BTreeSet<String>, Scratch)>,
}

impl Afresh {
    /// What was asked for goes before what we think best.
    fn flags(&self) -> Vec<String> {
        let given = &self.ground.ringmq_args;
        match given.iter().any(|flag| flag.starts_with(RINGMQ_REPLIES[0])) {
            true => given.clone(),
            false => [&RINGMQ_REPLIES.map(String::from), &given[..]].concat(),
        }
    }
}

impl Runs for Afresh {
    fn ready(&mut self, durability: Durability, _another: bool) -> io::Result<Broker> {
        self.rest()?;
        let scratch = Scratch::make(self.ground.data_dir.join("ringmq"))?;
        let ack = match durability {
            Durability::Async => "appended",
            Durability::Sync => "flushed",
        };
        let ringmq = Ringmq::start(&RingmqSettings {
            binary: self.ground.ringmq.clone(),
            data_dir: scratch.path().join("store"),
            cores: self.ground.broker_cores.clone(),
            ack: ack.into(),
            spin_us: None,
            more: self.flags(),
        })?;
        let broker = Broker { addr: ringmq.broker_addr, pid: ringmq.broker.pid() };
        self.running = Some((ringmq, BTreeSet::new(), scratch));
        Ok(broker)
    }

    fn rest(&mut self) -> io::Result<()> {
        if let Some((mut ringmq, ..)) = self.running.take() {
            ringmq.broker.stop()?;
        }
        Ok(())
    }

    fn settings(&self) -> String {
        format!("--shards 1, --ack appended or flushed, {}", self.flags().join(" "))
    }

    fn first(&mut self, what: &str) -> bool {
        self.running.as_mut().is_some_and(|(_, done, _)| done.insert(what.into()))
    }
}

/// Lets replies be as large as a drain asks for, up to the most that there is; 256 KiB are its
/// default.
const RINGMQ_REPLIES: [&str; 2] = ["--pull-bytes", "8MiB"];

/// A JVM takes long to start and to warm: it stays, stopped by a signal between its turns.
struct Staying {
    system: System,
    ground: Ground,
    running: Option<Stay>,
}

struct Stay {
    durability: Durability,
    // Before the directory, so that the broker is gone when that is removed.
    jvm: Jvm,
    done: BTreeSet<String>,
    dir: Scratch,
}

enum Jvm {
    Rocketmq(Apache),
    Kafka(Kafka),
}

/// Lets replies be as large as a drain asks for; its default is 256 KiB and 32 messages.
const ROCKETMQ_REPLIES: [&str; 4] = [
    "maxTransferBytesOnMessageInMemory=16777216",
    "maxTransferCountOnMessageInMemory=16384",
    "maxTransferBytesOnMessageInDisk=16777216",
    "maxTransferCountOnMessageInDisk=16384",
];
/// Stopped while others are measured, a broker would pass for lost after nine seconds: its own
/// controller would take its queues away for a while.
const KAFKA_PATIENCE: &str = "broker.session.timeout.ms=86400000";
const ROCKETMQ_HEAP_MIB: u32 = 4096;

impl Staying {
    fn start(&self, durability: Durability) -> io::Result<Stay> {
        let ground = &self.ground;
        let dir = Scratch::make(ground.data_dir.join(self.system.name()))?;
        let sync = durability == Durability::Sync;
        let jvm = match self.system {
            System::Kafka => Jvm::Kafka(Kafka::start(&KafkaSettings {
                dir: ground.baselines.join("kafka"),
                data_dir: dir.path().into(),
                cores: ground.broker_cores.clone(),
                flush: if sync { KafkaFlush::Sync } else { KafkaFlush::Async },
                heap_mib: HEAP_MIB_DEFAULT,
                collector: COLLECTOR_DEFAULT.into(),
                port: 0,
                more: vec![KAFKA_PATIENCE.into()],
            })?),
            _ => Jvm::Rocketmq(Apache::start(&ApacheSettings {
                dir: ground.baselines.join("rocketmq"),
                data_dir: dir.path().into(),
                cores: ground.broker_cores.clone(),
                namesrv_cores: ground.load_cores.clone(),
                flush: if sync { ApacheFlush::Sync } else { ApacheFlush::Async },
                heap_mib: ROCKETMQ_HEAP_MIB,
                port: 0,
                namesrv_port: 0,
                more: ROCKETMQ_REPLIES.map(String::from).to_vec(),
            })?),
        };
        Ok(Stay { durability, jvm, done: BTreeSet::new(), dir })
    }
}

impl Stay {
    fn broker(&self) -> Broker {
        match &self.jvm {
            Jvm::Rocketmq(apache) => Broker { addr: apache.broker_addr, pid: apache.broker.pid() },
            Jvm::Kafka(kafka) => Broker { addr: kafka.broker_addr, pid: kafka.broker.pid() },
        }
    }

    fn freeze(&self) -> io::Result<()> {
        match &self.jvm {
            Jvm::Rocketmq(apache) => apache.freeze(),
            Jvm::Kafka(kafka) => kafka.broker.freeze(),
        }
    }

    fn thaw(&self) -> io::Result<()> {
        match &self.jvm {
            Jvm::Rocketmq(apache) => apache.thaw(),
            Jvm::Kafka(kafka) => kafka.broker.thaw(),
        }
    }

    /// One that died meanwhile must not pass for a slow one.
    fn check_alive(&self, title: &str) -> io::Result<()> {
        ProcessMark::take(self.broker().pid)
            .map(drop)
            .map_err(|error| io::Error::other(format!("{title} has ended: {error}")))
    }
}

impl Runs for Staying {
    fn ready(&mut self, durability: Durability, another: bool) -> io::Result<Broker> {
        if let Some(stay) = &self.running {
            let full = another && stored_bytes(stay.dir.path())? > self.ground.store_bytes_max;
            if stay.durability != durability || full {
                self.running = None;
            }
        }
        let stay = match self.running.take() {
            Some(stay) => stay,
            None => self.start(durability)?,
        };
        stay.thaw()?;
        stay.check_alive(&self.system.title())?;
        Ok(self.running.insert(stay).broker())
    }

    fn rest(&mut self) -> io::Result<()> {
        let Some(stay) = &self.running else { return Ok(()) };
        stay.check_alive(&self.system.title())?;
        stay.freeze()
    }

    fn settings(&self) -> String {
        match self.system {
            System::Kafka => format!(
                "heap {HEAP_MIB_DEFAULT} MiB, {COLLECTOR_DEFAULT} collector; acks=1; durable: flush.messages=1; \
                 {KAFKA_PATIENCE}"
            ),
            _ => format!(
                "heap {ROCKETMQ_HEAP_MIB} MiB, G1 collector; ASYNC_FLUSH, durable: SYNC_FLUSH; {}",
                ROCKETMQ_REPLIES.join(", ")
            ),
        }
    }

    fn first(&mut self, what: &str) -> bool {
        self.running.as_mut().is_some_and(|stay| stay.done.insert(what.into()))
    }
}

/// Bytes that the directory takes on the disk.
fn stored_bytes(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let found = entry.metadata().and_then(|data| match data.is_dir() {
            true => stored_bytes(&entry.path()),
            false => Ok(data.blocks() * 512),
        });
        bytes += match found {
            // A broker removes files of its own whenever it likes.
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            other => other?,
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_of_our_broker_goes_before_what_we_think_best() {
        let flags = |given: &[&str]| {
            let ground = Ground {
                data_dir: PathBuf::new(),
                broker_cores: vec![],
                load_cores: vec![],
                baselines: PathBuf::new(),
                ringmq: PathBuf::new(),
                ringmq_args: given.iter().map(|flag| flag.to_string()).collect(),
                store_bytes_max: 0,
            };
            Afresh { ground, running: None }.flags().join(" ")
        };
        assert_eq!(flags(&["--write", "mmap"]), "--pull-bytes 8MiB --write mmap");
        assert_eq!(flags(&["--pull-bytes=1MiB"]), "--pull-bytes=1MiB");
    }

    #[test]
    fn a_store_counts_by_what_it_takes_on_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("in")).unwrap();
        fs::write(dir.path().join("in/full"), vec![1; 100_000]).unwrap();
        fs::File::create(dir.path().join("sparse")).unwrap().set_len(1 << 30).unwrap();
        let bytes = stored_bytes(dir.path()).unwrap();
        assert!((100_000..1_000_000).contains(&bytes), "{bytes}");
    }
}
