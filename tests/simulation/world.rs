//! The world around one shard: time, disk, network, helper, metadata and clients, all
//! driven by one seed.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use rand::{Rng, SeedableRng};
use ringmq::base::memory::{BufferId, Buffers, LogRing, Pool, SlotId};
use ringmq::base::metadata::{DataVersion, TopicRecord};
use ringmq::base::names;
use ringmq::base::outgoing::{Outgoing, Piece};
use ringmq::base::topic::{ACK_ATTRIBUTE, TopicConfig};
use ringmq::base::{AckLevel, ConnId, LogOffset, Now};
use ringmq::broker::TopicMade;
use ringmq::broker::effect::{Effect, MetaChange};
use ringmq::log::retention::{DiskUse, RetentionConfig};
use ringmq::log::run_mark::{BootId, RunMark};
use ringmq::log::{FlushMethod, Geometry, LogIntent, OpId};
use ringmq::queue::{ColdBlock, ColdRange, FrozenRun, read_cold};
use ringmq::shard::{Event, Intent, Shard};
use ringmq::store::{self, Done, LoadId};
use ringmq::wire::{Request, StoredMessages};

use super::Random;
use super::arena::{ArenaSizes, Crash, Remnant, SimArena};
use super::checker::{Checker, Loss};
use super::client::{Asked, Client};
use super::disk::Disk;
use super::files::{Index, Metadata};
use super::net::Connection;

/// What one run is made of; drawn from its seed.
#[derive(Clone, Debug)]
pub struct Config {
    pub seed: u64,
    /// How long faults and load last, in simulated time.
    pub load_us: u64,
    pub geometry: Geometry,
    pub sizes: ArenaSizes,
    pub flush_method: FlushMethod,
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
    events: BTreeMap<(u64, u64), Happening>,
    next_event: u64,
    pub disk: Disk,
    pub index: Index,
    pub metadata: Metadata,
    /// When the metadata thread has done what it was given.
    metadata_free_us: u64,
    pub mark: Option<RunMark>,
    /// What lies at the arena's place while no process runs.
    pub place: Option<Remnant>,
    /// Somebody has taken the arena away, or put another there.
    pub tampered: bool,
    pub boot: BootId,
    pub process: Option<Process>,
    pub processes: u64,
    pub connections: BTreeMap<u64, Connection>,
    next_connection: u64,
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
    pub power: bool,
    /// After so many steps of filling the arena, or after so many intents.
    pub in_arena: bool,
    pub after: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorldCounts {
    pub turns: u64,
    pub kills: u64,
    pub kills_in_turn: u64,
    pub power_cuts: u64,
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
}

/// One life of the broker.
pub struct Process {
    pub number: u64,
    pub shard: Shard,
    pub arena: SimArena,
    inbox: Vec<Input>,
    by_id: BTreeMap<ConnId, u64>,
    jobs: VecDeque<Job>,
    pub deadline: u64,
    /// Deadlines in a row at which nothing was done.
    idle_turns: u32,
    pub log_failed: bool,
    pub stopping: bool,
}

enum Input {
    Bytes(ConnId, Vec<u8>),
    Event(Box<Event>),
    Stop,
}

/// Work of the helper, one after the other.
enum Job {
    Prepare(LogOffset),
    WriteRun(Arc<FrozenRun>),
    Fold(LogOffset),
    Drop(LogOffset, bool),
}

/// What happens at a time.
pub enum Happening {
    Tick(usize),
    Up(u64),
    Down(u64, Vec<u8>),
    HungUp(u64),
    Left(u64),
    Sent { process: u64, connection: u64, outgoing: Outgoing, bytes: Vec<u8> },
    Closed { process: u64, connection: u64 },
    Written { process: u64, op: OpId, id: u64, at: LogOffset, bytes: Vec<u8>, fails: bool },
    Synced { process: u64, op: OpId, segment: LogOffset, covered: Vec<u64>, fails: bool },
    Job { process: u64 },
    LogRead { process: u64, slot: SlotId, at: LogOffset, len: u32 },
    IndexRead { process: u64, load: LoadId, range: ColdRange, block: ColdBlock },
    DiskChecked { process: u64 },
    Metadata { process: u64, token: u64, change: MetaChange },
    Created { process: u64, config: TopicConfig },
    Ready { process: u64, name: String, result: Result<(), String> },
    Published { process: u64, version: DataVersion },
    Deadline { process: u64, number: u64 },
    Fault,
    Start,
}

struct TurnBuffers(Vec<Vec<u8>>);

impl Buffers for TurnBuffers {
    fn bytes(&self, id: BufferId) -> &[u8] {
        &self.0[usize::from(id.0)]
    }
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
            clients: (0..=config.clients).map(Client::new).collect(),
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
            self.topics.push(Topic { name: level.name().to_owned(), queues: 3 });
            self.checker.levels.push(level);
        }
        for n in 0..3 {
            self.topics.push(Topic { name: format!("made-{n}"), queues: 2 });
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
            Happening::Closed { connection, .. } => {
                let gone = self.connections.get(&connection).map(|it| it.id);
                self.connections.remove(&connection);
                gone.map(|conn| Event::Closed { conn })
            }
            Happening::Written { op, id, at, bytes, fails, .. } => {
                Some(self.written(op, id, at, bytes, fails))
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
                    Some(file) => read_cold(&file[..], &range, &mut block)
                        .map_err(|error| panic!("a run that was written is damaged: {error}")),
                    None => Err("the run is gone".to_owned()),
                };
                Some(Event::Store(Done::IndexRead { load, block, result }))
            }
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

    // ----- Turns -------------------------------------------------------------------

    fn turn(&mut self) {
        if self.process.as_ref().is_some_and(|process| !process.inbox.is_empty()) {
            self.process.as_mut().expect("checked").idle_turns = 0;
            self.run_turn();
        }
    }

    /// One turn of the shard, which its process may not survive.
    fn run_turn(&mut self) {
        let now = self.now();
        let Some(process) = &mut self.process else { return };
        self.counts.turns += 1;
        let crash = self.faults.turn;
        if let Some(crash) = crash.filter(|crash| crash.in_arena) {
            process.arena.fuse.get_or_insert(crash.after);
        }
        let inputs = std::mem::take(&mut process.inbox);
        let Process { shard, arena, .. } = process;
        let mut intents = Vec::new();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let mut buffers = TurnBuffers(Vec::new());
            let mut events = Vec::new();
            let mut stops = false;
            for input in inputs {
                match input {
                    Input::Event(event) => events.push(*event),
                    Input::Stop => stops = true,
                    Input::Bytes(conn, bytes) => {
                        let (buffer, len) = (BufferId(buffers.0.len() as u16), bytes.len());
                        buffers.0.push(bytes);
                        events.push(Event::Received { conn, buffer, len });
                    }
                }
            }
            let mut world =
                ringmq::shard::World { now, arena, buffers: &buffers, intents: &mut intents };
            for event in events {
                if shard.is_full() {
                    shard.end_turn(&mut world);
                }
                shard.on(event, &mut world);
            }
            if stops {
                shard.stop(&mut world);
            }
            shard.end_turn(&mut world);
        }));
        match outcome {
            Ok(()) => {}
            Err(payload) if payload.is::<Crash>() => {
                self.counts.kills_in_turn += 1;
                return self.end_process(crash.is_some_and(|crash| crash.power));
            }
            Err(payload) => resume_unwind(payload),
        }
        let mut left = crash.filter(|crash| !crash.in_arena).map(|crash| crash.after);
        for intent in intents {
            if left == Some(0) {
                self.counts.kills_in_turn += 1;
                return self.end_process(crash.expect("counted down").power);
            }
            left = left.map(|left| left - 1);
            self.perform(intent);
        }
        if left.is_some() {
            self.counts.kills_in_turn += 1;
            return self.end_process(crash.expect("counted down").power);
        }
        self.look_after_process();
    }

    /// After a turn: its deadline, and its end if that was asked for.
    fn look_after_process(&mut self) {
        let now = self.now();
        let Some(process) = &mut self.process else { return };
        self.checker.log_min = process.shard.store.log_range().0;
        let failed = process.shard.store.failure().is_some();
        if failed && !process.log_failed {
            process.log_failed = true;
            self.counts.disk_errors += 1;
        }
        process.deadline += 1;
        let (number, deadline) = (process.number, process.deadline);
        let next = process.shard.next_deadline_us(now);
        if process.stopping
            && let Some(end) = process.shard.has_stopped()
        {
            return self.end_cleanly(end);
        }
        if let Some(next) = next.filter(|next| *next < u64::MAX) {
            self.at(
                next.max(now.mono_us + 1),
                Happening::Deadline { process: number, number: deadline },
            );
        }
    }

    /// The first turn of a process, which has nothing to do but to begin.
    pub fn first_turn(&mut self) {
        self.run_turn();
    }

    /// Tells the shard to stop; it ends once it has.
    pub fn stop(&mut self) {
        let Some(process) = &mut self.process else { return };
        process.stopping = true;
        process.inbox.push(Input::Stop);
        self.turn();
    }

    // ----- Intents -----------------------------------------------------------------

    fn perform(&mut self, intent: Intent) {
        match intent {
            Intent::Send { conn, outgoing } => self.send(conn, outgoing),
            Intent::Pause { conn } => {
                self.counts.paused += 1;
                let late = self.random.random_bool(0.5);
                self.with_connection(conn, |it| {
                    it.paused = true;
                    it.late = late;
                });
                if let Some(number) = self.connection_of(conn) {
                    self.schedule_up(number);
                }
            }
            Intent::Resume { conn } => {
                self.with_connection(conn, |it| it.paused = false);
                if let Some(number) = self.connection_of(conn) {
                    self.schedule_up(number);
                }
            }
            Intent::Close { conn } => self.close(conn),
            Intent::Store(intent) => self.perform_store(intent),
            Intent::Effect(effect) => self.perform_effect(effect),
        }
    }

    fn perform_store(&mut self, intent: store::Intent) {
        let process = self.number();
        let usual = self.config.disk_us;
        match intent {
            store::Intent::Log(LogIntent::Write { op, at, len, durable }) => {
                let arena = &mut self.process.as_mut().expect("it has just acted").arena;
                arena.lend(at, u64::from(len));
                let bytes = arena.readable(at, len as usize).to_vec();
                let id = self.disk.submit(at, bytes.clone(), durable);
                let fails = self.disk_fails();
                let delay = self.delay(usual);
                self.after(delay, Happening::Written { process, op, id, at, bytes, fails });
            }
            store::Intent::Log(LogIntent::Sync { op, segment }) => {
                let covered = self.disk.begin_sync(segment);
                let fails = self.disk_fails();
                let delay = self.delay(usual * 3);
                self.after(delay, Happening::Synced { process, op, segment, covered, fails });
            }
            store::Intent::Log(LogIntent::PrepareSegment { base }) => self.job(Job::Prepare(base)),
            store::Intent::WriteRun { run } => self.job(Job::WriteRun(run)),
            store::Intent::FoldRun { start } => self.job(Job::Fold(start)),
            store::Intent::DropSegment { base, recycle } => self.job(Job::Drop(base, recycle)),
            store::Intent::ReadLog { slot, at, len } => {
                let delay = self.delay(usual);
                self.after(delay, Happening::LogRead { process, slot, at, len });
            }
            store::Intent::ReadIndex { load, range, block } => {
                let delay = self.delay(usual * 2);
                self.after(delay, Happening::IndexRead { process, load, range, block });
            }
            store::Intent::CheckDisk => {
                let delay = self.delay(usual);
                self.after(delay, Happening::DiskChecked { process });
            }
        }
    }

    fn disk_fails(&mut self) -> bool {
        std::mem::take(&mut self.faults.disk_error)
    }

    fn written(&mut self, op: OpId, id: u64, at: LogOffset, bytes: Vec<u8>, fails: bool) -> Event {
        self.note("written", at.0);
        let arena = &mut self.process.as_mut().expect("its write").arena;
        arena.give_back(at, bytes.len() as u64);
        let still = arena.readable(at, bytes.len()) == bytes;
        assert!(still, "bytes at {at} have changed while they were written");
        let len = bytes.len() as u32;
        let result = match fails {
            false => Ok(len),
            true if self.random.random_bool(0.5) => Ok(len - 512),
            true => Err(5),
        };
        match fails {
            false => self.disk.complete(id),
            true => self.disk.fail(id, &mut self.random),
        }
        Event::Store(Done::Written { op, result })
    }

    fn job(&mut self, job: Job) {
        let process = self.process.as_mut().expect("it has just acted");
        process.jobs.push_back(job);
        if process.jobs.len() == 1 {
            self.begin_job();
        }
    }

    fn begin_job(&mut self) {
        let process = self.number();
        let usual = self.config.disk_us;
        let delay = self.delay(usual * 10);
        self.after(delay, Happening::Job { process });
    }

    /// The helper has done its first job.
    fn end_job(&mut self) -> Option<Event> {
        let fails = !self.faults.calm && self.random.random_bool(0.03);
        let process = self.process.as_mut().expect("its job");
        let job = process.jobs.pop_front().expect("a job was begun");
        if !process.jobs.is_empty() {
            self.begin_job();
        }
        match job {
            Job::Prepare(base) => {
                let result = match fails {
                    true => Err("no space left on device".to_owned()),
                    false => {
                        self.disk.prepare(base);
                        Ok(())
                    }
                };
                Some(Event::Store(Done::SegmentReady { base, result }))
            }
            Job::WriteRun(run) if fails => {
                let result = Err("no space left on device".to_owned());
                Some(Event::Store(Done::RunWritten { run, result }))
            }
            Job::WriteRun(run) => {
                self.counts.runs_written += 1;
                let result = self.write_run(&run);
                Some(Event::Store(Done::RunWritten { run, result }))
            }
            Job::Fold(start) => {
                let metadata = &self.metadata;
                self.index.fold(start, |topic| metadata.knows(topic));
                None
            }
            Job::Drop(base, recycle) => {
                self.note("dropped", base.0);
                self.counts.segments_dropped += 1;
                self.disk.drop_segment(base, recycle);
                None
            }
        }
    }

    fn write_run(&mut self, run: &FrozenRun) -> Result<ringmq::queue::Directory, String> {
        let mut bytes = Vec::new();
        let directory = run.write_to(&mut bytes).expect("memory takes all");
        self.index.runs.insert(run.start().0, bytes);
        Ok(directory)
    }

    fn perform_effect(&mut self, effect: Effect) {
        let process = self.number();
        match effect {
            Effect::Persist { token, change } => {
                let delay = self.delay(3_000);
                self.metadata_free_us = self.metadata_free_us.max(self.now_us) + delay;
                self.at(self.metadata_free_us, Happening::Metadata { process, token, change });
            }
            Effect::CreateEverywhere { config } => {
                let delay = self.delay(20_000);
                self.after(delay, Happening::Created { process, config });
            }
            Effect::Installed { topic } => {
                let delay = self.delay(5_000);
                self.after(delay, Happening::Ready { process, name: topic, result: Ok(()) });
            }
            Effect::Publish { version, .. } => {
                let delay = self.delay(30_000);
                self.after(delay, Happening::Published { process, version });
            }
        }
    }

    fn created(&mut self, config: TopicConfig) -> Option<Event> {
        if !self.faults.calm && self.random.random_bool(0.2) {
            let result = Err("no space left on device".to_owned());
            return Some(Event::TopicReady { name: config.name, result });
        }
        let (record, version): (TopicRecord, _) = self.metadata.put_topic(config);
        Some(Event::TopicMade(TopicMade { record, version }))
    }

    // ----- Network -----------------------------------------------------------------

    /// A client connects, if the broker is there.
    pub fn connect(&mut self, client: usize) -> Option<u64> {
        let now = self.now();
        let process = self.process.as_mut().filter(|process| !process.stopping)?;
        let port = 1024 + (self.next_connection % 60_000) as u16;
        let peer = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, client as u8), port));
        let id = process.shard.open(peer, now);
        self.next_connection += 1;
        let number = self.next_connection;
        process.by_id.insert(id, number);
        self.connections.insert(number, Connection::new(client, process.number, id));
        Some(number)
    }

    /// A client writes to its connection.
    pub fn write(&mut self, connection: u64, bytes: &[u8]) {
        let Some(it) = self.connections.get_mut(&connection) else { return };
        it.up.extend(bytes);
        self.schedule_up(connection);
    }

    /// A client closes its connection, or loses it.
    pub fn leave(&mut self, connection: u64) {
        let Some(it) = self.connections.get_mut(&connection) else { return };
        it.left = true;
        it.up.clear();
        let delay = self.delay(1_000);
        self.after(delay, Happening::Left(connection));
    }

    fn schedule_up(&mut self, connection: u64) {
        let Some(it) = self.connections.get_mut(&connection) else { return };
        if it.up_scheduled || (it.paused && !it.late) || it.up.is_empty() {
            return;
        }
        it.up_scheduled = true;
        let delay = self.delay(100);
        self.after(delay, Happening::Up(connection));
    }

    fn deliver_up(&mut self, connection: u64) {
        let Some(it) = self.connections.get_mut(&connection) else { return };
        it.up_scheduled = false;
        if it.is_over() || (it.paused && !std::mem::take(&mut it.late)) {
            return;
        }
        let most = match self.random.random_range(0..4) {
            0 => 16,
            1 => 300,
            _ => 16 * 1024,
        };
        let len = self.random.random_range(1..=most.min(it.up.len().max(1))).min(it.up.len());
        let bytes: Vec<u8> = it.up.drain(..len).collect();
        if bytes.is_empty() {
            return;
        }
        if let Some((process, id)) = self.served(connection) {
            process.inbox.push(Input::Bytes(id, bytes));
        }
        self.schedule_up(connection);
    }

    /// The process that serves a connection, and the name that it has there.
    fn served(&mut self, connection: u64) -> Option<(&mut Process, ConnId)> {
        let it = self.connections.get(&connection)?;
        let process = self.process.as_mut().filter(|process| process.number == it.life)?;
        Some((process, it.id))
    }

    fn connection_of(&self, conn: ConnId) -> Option<u64> {
        self.process.as_ref()?.by_id.get(&conn).copied()
    }

    fn with_connection(&mut self, conn: ConnId, change: impl FnOnce(&mut Connection)) {
        let number = self.connection_of(conn);
        if let Some(it) = number.and_then(|number| self.connections.get_mut(&number)) {
            change(it);
        }
    }

    /// The shard sends: its memory is lent until that has ended.
    fn send(&mut self, conn: ConnId, outgoing: Outgoing) {
        let number = self.connection_of(conn).expect("a connection that was opened");
        let process = self.process.as_mut().expect("it has just acted");
        for piece in &outgoing.pieces {
            if let Piece::Log { at, len } = *piece {
                process.arena.lend(at, u64::from(len));
            }
        }
        let bytes = gather(&outgoing, &process.arena);
        self.check_departure(number, &bytes);
        let it = self.connections.get_mut(&number).expect("it is closed only after its sends");
        assert!(!it.sending && !it.closing, "one send at a time, and none once closed");
        it.sending = true;
        let stalled_us = it.stalled_until_us.saturating_sub(self.now_us);
        let delay = self.delay(200) + stalled_us;
        let process = self.number();
        self.after(delay, Happening::Sent { process, connection: number, outgoing, bytes });
    }

    /// A send has ended: its bytes are on their way, or the connection broke.
    fn sent(&mut self, connection: u64, outgoing: Outgoing, bytes: Vec<u8>) -> Option<Event> {
        self.note("sent", u64::from(crc32fast::hash(&bytes)));
        let process = self.process.as_mut().expect("its send");
        assert!(gather(&outgoing, &process.arena) == bytes, "lent bytes have changed");
        for piece in &outgoing.pieces {
            if let Piece::Log { at, len } = *piece {
                process.arena.give_back(at, u64::from(len));
            }
        }
        let it = self.connections.get_mut(&connection).expect("it is closed only after its sends");
        it.sending = false;
        let (conn, closing, left) = (it.id, it.closing, it.left);
        let whole = !closing && !left;
        if closing {
            let process = self.number();
            let delay = self.delay(100);
            self.after(delay, Happening::Closed { process, connection });
        }
        if !left {
            let len = if whole { bytes.len() } else { self.random.random_range(0..=bytes.len()) };
            self.deliver_later(connection, &bytes[..len]);
        }
        Some(Event::Sent { conn, outgoing, whole })
    }

    /// Bytes travel to the client in pieces, in order.
    fn deliver_later(&mut self, connection: u64, mut bytes: &[u8]) {
        let Some(it) = self.connections.get(&connection) else { return };
        let mut at_us = it.down_free_us.max(self.now_us);
        while !bytes.is_empty() {
            let len = self.random.random_range(1..=bytes.len());
            at_us += self.random.random_range(1..100);
            self.at(at_us, Happening::Down(connection, bytes[..len].to_vec()));
            bytes = &bytes[len..];
        }
        self.connections.get_mut(&connection).expect("it is there").down_free_us = at_us;
    }

    /// The shard closes a connection.
    fn close(&mut self, conn: ConnId) {
        let number = self.connection_of(conn).expect("a connection that was opened");
        let it = self.connections.get_mut(&number).expect("closed once");
        it.closing = true;
        if !it.left {
            self.counts.closed_by_broker += 1;
        }
        if !self.connections[&number].sending {
            let process = self.number();
            let delay = self.delay(100);
            self.after(delay, Happening::Closed { process, connection: number });
        }
        let client = self.connections[&number].client;
        if self.clients[client].connection == Some(number) {
            let delay = self.delay(500);
            self.after(delay, Happening::HungUp(number));
        }
    }

    /// What is shown must have reached its level.
    fn check_departure(&self, connection: u64, bytes: &[u8]) {
        let Some(it) = self.connections.get(&connection).filter(|it| !it.left) else { return };
        let client = &self.clients[it.client];
        if client.connection != Some(connection) {
            return;
        }
        let marks = self.process.as_ref().expect("it sends").shard.store.watermarks();
        let mut rest = bytes;
        while let Ok(Some((reply, len))) = Request::read(rest) {
            rest = &rest[len..];
            let Some(pending) = client.outstanding.get(&reply.opaque) else { continue };
            let Asked::Pull { queue, .. } = &pending.asked else { continue };
            for message in StoredMessages::new(reply.body) {
                let message = message.expect("stored messages are whole");
                let size = stored_len(&message);
                self.checker.departs(queue.0, message.physical_offset + size, &marks);
            }
        }
        let error = Request::read(rest).err();
        assert!(
            rest.is_empty(),
            "a reply that cannot be read leaves the broker: {error:?}, {} of {} bytes: {:?}",
            rest.len(),
            bytes.len(),
            String::from_utf8_lossy(&rest[..rest.len().min(400)])
        );
    }

    /// For reports of what went wrong.
    pub fn describe_connections(&self) -> String {
        let describe = |(number, it): (&u64, &Connection)| {
            format!(
                "connection {number} of {}: {} bytes up, {} down, paused {}, sending {}, \
                 closing {}, left {}, life {} of {}; ",
                it.client,
                it.up.len(),
                it.down.len(),
                it.paused,
                it.sending,
                it.closing,
                it.left,
                it.life,
                self.number()
            )
        };
        self.connections.iter().map(describe).collect()
    }

    // ----- Ends --------------------------------------------------------------------

    pub fn number(&self) -> u64 {
        self.process.as_ref().map_or(0, |process| process.number)
    }

    /// The process ends without a word, and with `power` the machine too.
    pub fn end_process(&mut self, power: bool) {
        let Some(process) = self.process.take() else { return };
        self.faults.turn = None;
        self.note(if power { "power cut" } else { "killed" }, process.number);
        self.flushed = self.flushed.max(process.shard.store.watermarks().flushed());
        let broken = process.log_failed;
        // The window of the levels below flushed: a write's delay, half a second, and
        // what the disk takes for it.
        let window_us = 100_000 + 500_000 + 8 * 20 * 3 * self.config.disk_us;
        self.settled_us = match broken {
            true => self.settled_us,
            false => self.settled_us.max(self.now_us.saturating_sub(window_us)),
        };
        self.settle_metadata(process.number);
        self.drop_connections(process.number);
        let remnant = process.arena.into_remnant(&mut self.random);
        match power {
            true => self.cut_power(),
            false => {
                self.counts.kills += 1;
                self.place = Some(remnant);
            }
        }
        let delay = self.delay(300_000);
        self.after(delay, Happening::Start);
    }

    /// Nothing in memory survives, and of the disk only what must.
    pub fn cut_power(&mut self) {
        self.counts.power_cuts += 1;
        self.loss = self.loss.max(Loss::Unflushed);
        self.disk.power_cut(&mut self.random);
        self.place = None;
        self.tampered = false;
        self.boot = BootId([(self.counts.power_cuts % 250 + 2) as u8; 16]);
    }

    /// The stop that was asked for is complete, or the log had failed.
    fn end_cleanly(&mut self, end: Result<ringmq::log::ChainEnd, String>) {
        let Ok(end) = end else { return self.end_process(false) };
        let process = self.process.take().expect("it has stopped");
        self.note("stopped", end.at.0);
        self.counts.clean_stops += 1;
        let mark = self.mark.expect("a life has a mark");
        self.mark = Some(RunMark { clean: Some(end), ..mark });
        self.flushed = self.flushed.max(end.at);
        self.settled_us = self.now_us;
        self.drop_connections(process.number);
        self.place = Some(process.arena.into_remnant(&mut self.random));
        if !self.faults.calm && self.random.random_bool(0.3) {
            // A clean stop leaves nothing behind that needs the arena or the power.
            match self.random.random_bool(0.5) {
                true => self.place = None,
                false => {
                    self.disk.power_cut(&mut self.random);
                    self.place = None;
                }
            }
        }
        let delay = self.delay(300_000);
        self.after(delay, Happening::Start);
    }

    /// The metadata thread may have come this far with what it was given.
    fn settle_metadata(&mut self, number: u64) {
        let of_process = |what: &Happening| matches!(what, Happening::Metadata { process, .. } if *process == number);
        let keys: Vec<_> =
            self.events.iter().filter(|(_, what)| of_process(what)).map(|(key, _)| *key).collect();
        let done = self.random.random_range(0..=keys.len());
        for key in &keys[..done] {
            if let Some(Happening::Metadata { change, .. }) = self.events.remove(key) {
                self.metadata.apply(change);
            }
        }
        self.metadata_free_us = 0;
    }

    /// The kernel closes what a process had open; some of what it had sent arrives.
    fn drop_connections(&mut self, number: u64) {
        let sending: Vec<_> = self
            .events
            .values()
            .filter_map(|what| match what {
                Happening::Sent { process, connection, bytes, .. } if *process == number => {
                    Some((*connection, bytes.clone()))
                }
                _ => None,
            })
            .collect();
        for (connection, bytes) in sending {
            let left = self.connections.get(&connection).is_none_or(|it| it.left);
            if !left && self.random.random_bool(0.5) {
                let len = self.random.random_range(0..=bytes.len());
                self.deliver_later(connection, &bytes[..len]);
            }
        }
        let gone: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, it)| it.life == number)
            .map(|(number, _)| *number)
            .collect();
        for number in gone {
            let delay = 20_000 + self.delay(5_000);
            self.after(delay, Happening::HungUp(number));
        }
    }

    /// The client notices that its connection is gone.
    fn hang_up(&mut self, connection: u64) {
        if let Some(it) = self.connections.get_mut(&connection) {
            it.left = true;
            let life = it.life;
            if self.process.as_ref().is_none_or(|process| process.number != life) {
                self.connections.remove(&connection);
            }
        }
        let had = |client: &&mut Client| client.connection == Some(connection);
        for client in self.clients.iter_mut().filter(had) {
            client.connection = None;
            client.outstanding.clear();
        }
    }
}

impl Happening {
    fn process(&self) -> Option<u64> {
        match self {
            Self::Sent { process, .. }
            | Self::Closed { process, .. }
            | Self::Written { process, .. }
            | Self::Synced { process, .. }
            | Self::Job { process }
            | Self::LogRead { process, .. }
            | Self::IndexRead { process, .. }
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

impl Process {
    pub fn new(number: u64, shard: Shard, arena: SimArena) -> Self {
        Self {
            number,
            shard,
            arena,
            inbox: Vec::new(),
            by_id: BTreeMap::new(),
            jobs: VecDeque::new(),
            deadline: 0,
            idle_turns: 0,
            log_failed: false,
            stopping: false,
        }
    }
}

/// The bytes of a gather send, where they lie now.
fn gather(outgoing: &Outgoing, arena: &SimArena) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(outgoing.len());
    for piece in &outgoing.pieces {
        bytes.extend_from_slice(match *piece {
            Piece::Own { start, len } => &outgoing.bytes[start as usize..][..len as usize],
            Piece::Log { at, len } => arena.readable(at, len as usize),
            Piece::Slot { slot, start, len } => &arena.slot(slot)[start as usize..][..len as usize],
        });
    }
    bytes
}

/// Bytes of a record in the log.
pub fn stored_len(message: &ringmq::wire::StoredMessage) -> u64 {
    let v6 = message.born_host.is_ipv6();
    let (topic, body) = (message.topic.len(), message.body.len());
    ringmq::log::record::record_len(topic, body, message.properties.len(), v6) as u64
}
