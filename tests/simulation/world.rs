//! The world around one shard: time, disk, network, helper, metadata and clients, all
//! driven by one seed.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use ringmq::base::memory::SlotId;
use ringmq::base::metadata::DataVersion;
use ringmq::base::names;
use ringmq::base::outgoing::Outgoing;
use ringmq::base::topic::{ACK_ATTRIBUTE, TopicConfig};
use ringmq::base::{AckLevel, LogOffset, Now, WriteMode};
use ringmq::broker::effect::MetaChange;
use ringmq::log::retention::{DiskUse, RetentionConfig};
use ringmq::log::run_mark::{BootId, RunMark};
use ringmq::log::{FlushMethod, Geometry, OpId};
use ringmq::queue::{ColdBlock, ColdRange, read_cold};
use ringmq::shard::Event;
use ringmq::store::{Done, LoadId, LostExtent, Owner};

use super::Random;
use super::arena::{ArenaSizes, Remnant};
use super::checker::{Checker, Loss};
use super::client::Client;
use super::disk::Disk;
use super::files::{Index, Metadata};
use super::net::Connection;
use super::process::{Input, Process};

/// What one run is made of; drawn from its seed.
#[derive(Clone, Debug)]
pub struct Config {
    pub seed: u64,
    /// How long faults and load last, in simulated time.
    pub load_us: u64,
    pub geometry: Geometry,
    pub sizes: ArenaSizes,
    pub flush_method: FlushMethod,
    /// How every life writes the log; else each as it comes.
    pub write: Option<WriteMode>,
    pub level: AckLevel,
    pub retention: RetentionConfig,
    pub clients: usize,
    /// Mean time between the actions of a client, and between faults.
    pub action_us: u64,
    pub fault_us: u64,
    /// The longest that a disk operation takes, but for rare ones.
    pub disk_us: u64,
    pub trace: bool,
}

pub struct World {
    pub config: Config,
    pub random: Random,
    pub now_us: u64,
    /// What the wall clock is off.
    pub skew_ms: i64,
    pub events: BTreeMap<(u64, u64), Happening>,
    pub next_event: u64,
    pub disk: Disk,
    /// How this life writes the log.
    pub write: WriteMode,
    pub index: Index,
    pub metadata: Metadata,
    /// When the metadata thread has done what it was given.
    pub metadata_free_us: u64,
    pub mark: Option<RunMark>,
    /// What lies at the arena's place while no process runs.
    pub place: Option<Remnant>,
    /// Somebody has taken the arena away, or put another there.
    pub tampered: bool,
    pub boot: BootId,
    pub process: Option<Process>,
    pub processes: u64,
    pub connections: BTreeMap<u64, Connection>,
    pub next_connection: u64,
    pub clients: Vec<Client>,
    pub topics: Vec<Topic>,
    pub checker: Checker,
    /// What may have been lost since the last start, and what was durable then.
    pub loss: Loss,
    pub flushed: LogOffset,
    /// A start has said that acknowledged messages may be gone.
    pub gave_up: bool,
    pub settled_us: u64,
    pub faults: Faults,
    /// Queues that an audit has still to read.
    pub audit_left: Vec<super::checker::Queue>,
    /// Over everything that has happened.
    pub digest: u64,
    pub counts: WorldCounts,
}

pub struct Topic {
    pub name: String,
    pub queues: u32,
    /// It is being deleted, or was: a namesake is another topic.
    pub retired: bool,
}

/// Faults that wait for their moment.
#[derive(Debug)]
pub struct Faults {
    /// No more of them; the run comes to its end.
    pub calm: bool,
    pub turn: Option<TurnCrash>,
    /// The next write or flush of the log fails.
    pub disk_error: bool,
    pub disk_use: DiskUse,
}

/// The end of a process with its next turn.
#[derive(Clone, Copy, Debug)]
pub struct TurnCrash {
    pub death: Death,
    /// After so many steps of filling the arena, or after so many intents.
    pub in_arena: bool,
    pub after: u64,
}

/// What ends a process, and what goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// The process alone.
    Killed,
    /// The kernel, and all that is in memory.
    Kernel,
    /// The power, and what the device had not made durable.
    Power,
}

impl Death {
    /// One that takes the memory.
    pub fn of_machine(random: &mut Random) -> Self {
        if random.random_bool(0.5) { Self::Kernel } else { Self::Power }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorldCounts {
    pub turns: u64,
    pub kills: u64,
    pub kills_in_turn: u64,
    pub power_cuts: u64,
    pub kernel_crashes: u64,
    /// Lives that wrote the log in each mode.
    pub modes: [u64; WriteMode::ALL.len()],
    pub clean_stops: u64,
    pub refused_starts: u64,
    pub broken_starts: u64,
    pub starts: u64,
    pub replayed: u64,
    pub scanned: u64,
    pub disk_errors: u64,
    pub cold_reads: u64,
    pub index_reads: u64,
    pub runs_written: u64,
    pub segments_dropped: u64,
    pub closed_by_broker: u64,
    pub runs_lost: u64,
    pub paused: u64,
    pub copied_sends: u64,
    pub topics_deleted: u64,
    pub extents_rebuilt: u64,
    pub unshared: u64,
    pub names_lost: u64,
}

/// What happens at a time.
pub enum Happening {
    Tick(usize),
    Up(u64),
    Down(u64, Vec<u8>),
    HungUp(u64),
    Left(u64),
    Sent {
        process: u64,
        connection: u64,
        outgoing: Outgoing,
        bytes: Vec<u8>,
    },
    Copied {
        process: u64,
        connection: u64,
    },
    Closed {
        process: u64,
        connection: u64,
    },
    /// The bytes of a write are in the page cache.
    InCache {
        process: u64,
        id: u64,
    },
    Written {
        process: u64,
        op: OpId,
        id: u64,
        at: LogOffset,
        bytes: Vec<u8>,
        fails: bool,
    },
    Synced {
        process: u64,
        op: OpId,
        segment: LogOffset,
        covered: Vec<u64>,
        fails: bool,
    },
    Job {
        process: u64,
    },
    LogRead {
        process: u64,
        slot: SlotId,
        at: LogOffset,
        len: u32,
    },
    IndexRead {
        process: u64,
        load: LoadId,
        range: ColdRange,
        block: ColdBlock,
    },
    IndexRebuilt {
        process: u64,
        lost: LostExtent,
        owner: Owner,
    },
    DiskChecked {
        process: u64,
    },
    Metadata {
        process: u64,
        token: u64,
        change: MetaChange,
    },
    Created {
        process: u64,
        config: TopicConfig,
    },
    Ready {
        process: u64,
        name: String,
        result: Result<(), String>,
    },
    Published {
        process: u64,
        version: DataVersion,
    },
    Deadline {
        process: u64,
        number: u64,
    },
    Fault,
    Start,
}

impl World {
    pub fn new(config: Config) -> Self {
        let random = Random::seed_from_u64(config.seed);
        let mut world = Self {
            random,
            now_us: 1_000_000,
            skew_ms: 0,
            events: BTreeMap::new(),
            next_event: 0,
            disk: Disk::new(config.geometry),
            write: WriteMode::Direct,
            index: Index::default(),
            metadata: Metadata::default(),
            metadata_free_us: 0,
            mark: None,
            place: None,
            tampered: false,
            boot: BootId([1; 16]),
            process: None,
            processes: 0,
            connections: BTreeMap::new(),
            next_connection: 0,
            // The last two are the auditor and the operator.
            clients: (0..config.clients + 2).map(Client::new).collect(),
            topics: Vec::new(),
            checker: Checker::default(),
            loss: Loss::Nothing,
            flushed: LogOffset(0),
            gave_up: false,
            settled_us: 0,
            faults: Faults { calm: false, turn: None, disk_error: false, disk_use: DiskUse(500) },
            audit_left: Vec::new(),
            digest: 0,
            counts: WorldCounts::default(),
            config,
        };
        world.make_topics();
        world
    }

    fn make_topics(&mut self) {
        for config in names::system_topics("cluster", "broker-0", Some(8), true) {
            self.metadata.put_topic(config);
        }
        for level in AckLevel::ALL {
            let mut config = TopicConfig::new(level.name(), 3, 6);
            config.attributes.insert(ACK_ATTRIBUTE.to_owned(), level.name().to_owned());
            self.metadata.put_topic(config);
            let name = level.name().to_owned();
            self.topics.push(Topic { name, queues: 3, retired: false });
            self.checker.levels.push(level);
        }
        for n in 0..3 {
            self.topics.push(Topic { name: format!("made-{n}"), queues: 2, retired: false });
            self.checker.levels.push(self.config.level);
        }
    }

    pub fn now(&self) -> Now {
        let unix_ms = 1_700_000_000_000 + (self.now_us / 1_000) as i64 + self.skew_ms;
        Now { mono_us: self.now_us, unix_ms }
    }

    pub fn at(&mut self, time_us: u64, what: Happening) {
        self.events.insert((time_us.max(self.now_us), self.next_event), what);
        self.next_event += 1;
    }

    pub fn after(&mut self, delay_us: u64, what: Happening) {
        self.at(self.now_us + delay_us, what);
    }

    /// A delay: mostly short, sometimes long.
    pub fn delay(&mut self, usual_us: u64) -> u64 {
        let usual = self.random.random_range(1..=usual_us);
        if self.random.random_bool(0.02) { usual * 20 } else { usual }
    }

    /// Puts something into the history's digest.
    pub fn note(&mut self, what: &str, number: u64) {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.digest as u32);
        hasher.update(what.as_bytes());
        hasher.update(&number.to_be_bytes());
        hasher.update(&self.now_us.to_be_bytes());
        self.digest = self.digest.rotate_left(17) ^ u64::from(hasher.finalize());
        if self.config.trace {
            println!("{:>12} {what} {number}", self.now_us);
        }
    }

    // ----- Running -----------------------------------------------------------------

    /// Lets the world go on until `end_us`, or until `done` says so.
    pub fn run(&mut self, end_us: u64, mut done: impl FnMut(&Self) -> bool) {
        while !done(self) {
            let Some(entry) = self.events.first_entry() else { return };
            let (time, _) = *entry.key();
            if time > end_us {
                self.now_us = end_us;
                return;
            }
            let what = entry.remove();
            self.now_us = time;
            self.happen(what);
            // What comes at about the same time mostly meets in one turn.
            let window = if self.random.random_bool(0.5) { 40 } else { 0 };
            while let Some(entry) = self.events.first_entry() {
                if entry.key().0 > time + window || self.process.is_none() {
                    break;
                }
                self.now_us = self.now_us.max(entry.key().0);
                let what = entry.remove();
                self.happen(what);
            }
            self.turn();
        }
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Tick(client) => self.tick(client),
            Happening::Up(connection) => self.deliver_up(connection),
            Happening::Down(connection, bytes) => self.deliver_down(connection, &bytes),
            Happening::HungUp(connection) => self.hang_up(connection),
            Happening::Left(connection) => {
                if let Some((process, id)) = self.served(connection) {
                    process.inbox.push(Input::Event(Box::new(Event::Ended { conn: id })));
                }
            }
            Happening::Fault => self.strike(),
            Happening::Start => self.start(),
            other => self.happen_to_process(other),
        }
    }

    fn happen_to_process(&mut self, what: Happening) {
        let number = what.process().expect("the others are told above");
        if self.process.as_ref().is_none_or(|process| process.number != number) {
            return;
        }
        let event = match what {
            Happening::Sent { connection, outgoing, bytes, .. } => {
                self.sent(connection, outgoing, bytes)
            }
            Happening::Copied { connection, .. } => self.copied(connection),
            Happening::Closed { connection, .. } => {
                let gone = self.connections.get(&connection).map(|it| it.id);
                self.connections.remove(&connection);
                gone.map(|conn| Event::Closed { conn })
            }
            Happening::Written { op, id, at, bytes, fails, .. } => {
                Some(self.written(op, id, at, bytes, fails))
            }
            Happening::InCache { id, .. } => {
                self.disk.copy(id);
                None
            }
            Happening::Synced { op, segment, covered, fails, .. } => {
                self.note("synced", segment.0);
                let result = if fails { Err(5) } else { Ok(()) };
                if !fails {
                    self.disk.end_sync(segment, &covered);
                }
                Some(Event::Store(Done::Synced { op, result }))
            }
            Happening::Job { .. } => self.end_job(),
            Happening::LogRead { slot, at, len, .. } => {
                self.counts.cold_reads += 1;
                let process = self.process.as_mut().expect("checked above");
                let result = match self.disk.read_at(at, len as usize) {
                    Some(bytes) => {
                        process.arena.fill(slot, bytes);
                        Ok(())
                    }
                    None => Err("the segment is gone".to_owned()),
                };
                Some(Event::Store(Done::LogRead { slot, result }))
            }
            Happening::IndexRead { load, range, mut block, .. } => {
                self.counts.index_reads += 1;
                let result = match self.index.runs.get(&range.run.0) {
                    Some(file) => {
                        read_cold(&file[..], &range, &mut block).map_err(|error| error.to_string())
                    }
                    None => Err("the run is gone".to_owned()),
                };
                Some(Event::Store(Done::IndexRead { load, range, block, result }))
            }
            Happening::IndexRebuilt { lost, owner, .. } => Some(self.rebuilt(lost, &owner)),
            Happening::DiskChecked { .. } => {
                let disk = self.faults.disk_use;
                Some(Event::Store(Done::Disk { disk }))
            }
            Happening::Metadata { token, change, .. } => {
                let fails = !self.faults.calm && self.random.random_bool(0.02);
                let result = match fails {
                    true => Err("no space left".to_owned()),
                    false => Ok(self.metadata.apply(change)),
                };
                Some(Event::Stored { token, result })
            }
            Happening::Created { config, .. } => self.created(config),
            Happening::Ready { name, result, .. } => Some(Event::TopicReady { name, result }),
            Happening::Published { version, .. } => Some(Event::Published { version }),
            Happening::Deadline { number, .. } => {
                let process = self.process.as_mut().expect("checked above");
                if process.deadline == number {
                    process.deadline += 1;
                    process.idle_turns += 1;
                    assert!(process.idle_turns < 20_000, "the shard spins on its deadlines");
                    self.run_turn();
                }
                None
            }
            _ => unreachable!("these are told above"),
        };
        if let (Some(event), Some(process)) = (event, &mut self.process) {
            process.inbox.push(Input::Event(Box::new(event)));
        }
    }
}

impl Happening {
    fn process(&self) -> Option<u64> {
        match self {
            Self::Sent { process, .. }
            | Self::Copied { process, .. }
            | Self::Closed { process, .. }
            | Self::InCache { process, .. }
            | Self::Written { process, .. }
            | Self::Synced { process, .. }
            | Self::Job { process }
            | Self::LogRead { process, .. }
            | Self::IndexRead { process, .. }
            | Self::IndexRebuilt { process, .. }
            | Self::DiskChecked { process }
            | Self::Metadata { process, .. }
            | Self::Created { process, .. }
            | Self::Ready { process, .. }
            | Self::Published { process, .. }
            | Self::Deadline { process, .. } => Some(*process),
            _ => None,
        }
    }
}
