//! A shard in memory with everything around it: disk, metadata, name servers, clients.
//! Whatever a test wants to see happen late is held back by `hold` and let go by
//! `release`; all else happens at once.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use ringmq::base::counters::Counters;
use ringmq::base::memory::{BufferId, LogRing};
use ringmq::base::metadata::DataVersion;
use ringmq::base::options::BrokerOptions;
use ringmq::base::outgoing::{Outgoing, Piece};
use ringmq::base::topic::TopicConfig;
use ringmq::base::transfer::Through;
use ringmq::base::{AckLevel, ConnId, LogOffset, Now, names};
use ringmq::broker::effect::Effect;
use ringmq::broker::{Broker, Identity};
use ringmq::log::retention::{DiskUse, RetentionConfig};
use ringmq::log::{
    ChainEnd, CommitLog, Extents, FlushMethod, Geometry, LogConfig, LogIntent, LogStart,
};
use ringmq::queue::{QueueIndex, read_cold};
use ringmq::shard::{Event, Intent, Shard, World};
use ringmq::store::{self, DiskState, Done, LostExtent, Store, rebuild_extent};

use crate::frames::{Ask, Frame, read_frames};
use crate::memory::{CachedLog, MemoryArena, MemoryBuffers, MemoryDisk, PageCache};
use crate::metadata::Metadata;

pub const CLUSTER: &str = "DefaultCluster";
pub const BROKER: &str = "broker-0";
/// When every test begins.
pub const START_MS: i64 = 1_700_000_000_000;

/// What a test can hold back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Changes of metadata become durable.
    Metadata,
    /// Topics are created on all shards.
    Creation,
    /// Name servers learn of topics.
    Publishing,
    /// Log writes and flushes complete.
    LogWrites,
    /// Log and index are read from disk.
    Reads,
    /// Segments are prepared.
    Segments,
}

pub struct Node {
    pub shard: Shard,
    pub now: Now,
    pub metadata: Metadata,
    /// Metadata changes fail for this reason.
    pub metadata_fails: Option<String>,
    /// The next one does.
    pub metadata_fails_once: Option<String>,
    pub creation_fails: Option<String>,
    /// What name servers were told, last first.
    pub published: Vec<(DataVersion, Vec<TopicConfig>)>,
    /// Creations that were asked for.
    pub created: Vec<TopicConfig>,
    pub disk_use: DiskUse,
    /// Expired segments that may serve again.
    pub recycled: Vec<LogOffset>,
    /// Writes of the log fail.
    pub log_fails: bool,
    /// Reads of it do.
    pub log_unreadable: bool,
    /// Index extents that were made again.
    pub rebuilt: usize,
    pub arena: MemoryArena,
    pub disk: MemoryDisk,
    pub page_cache: PageCache,
    options: BrokerOptions,
    level: AckLevel,
    sizes: Sizes,
    held: BTreeMap<Part, VecDeque<Intent>>,
    frames_of: BTreeMap<ConnId, Vec<Frame>>,
    sub_ms: u64,
    pub closed: Vec<ConnId>,
    /// Sends to peers that read nothing for now.
    stalled: BTreeMap<ConnId, Option<Outgoing>>,
    events: VecDeque<Event>,
    next_opaque: i32,
    next_port: u16,
}

/// Sizes of ring and segment.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub ring: u64,
    pub segment: u64,
    /// What the broker takes for the machine's memory.
    pub memory: u64,
}

/// Enough for small messages.
pub const SMALL: Sizes = Sizes { ring: 1 << 20, segment: 1 << 20, memory: 1 << 40 };
/// Enough for the largest message.
pub const LARGE: Sizes = Sizes { ring: 16 << 20, segment: 16 << 20, memory: 1 << 40 };

impl Node {
    pub fn new() -> Self {
        Self::with(BrokerOptions::default(), AckLevel::Appended, SMALL)
    }

    pub fn with_options(set: &[(&str, &str)]) -> Self {
        let mut options = BrokerOptions::default();
        for (name, value) in set {
            options.set(name, value).unwrap();
        }
        Self::with(options, AckLevel::Appended, SMALL)
    }

    pub fn with(options: BrokerOptions, level: AckLevel, sizes: Sizes) -> Self {
        let now = Now { mono_us: 1_000_000, unix_ms: START_MS };
        let disk = MemoryDisk::default();
        let (shard, arena) = start(&disk, LogStart::default(), options.clone(), level, sizes, now);
        let mut node = Self {
            shard,
            now,
            metadata: Metadata::default(),
            metadata_fails: None,
            metadata_fails_once: None,
            creation_fails: None,
            published: Vec::new(),
            created: Vec::new(),
            disk_use: DiskUse(100),
            recycled: Vec::new(),
            log_fails: false,
            log_unreadable: false,
            rebuilt: 0,
            arena,
            disk,
            page_cache: PageCache::default(),
            options,
            level,
            sizes,
            held: BTreeMap::new(),
            frames_of: BTreeMap::new(),
            sub_ms: 0,
            closed: Vec::new(),
            stalled: BTreeMap::new(),
            events: VecDeque::new(),
            next_opaque: 0,
            next_port: 40_000,
        };
        node.restore();
        node
    }

    /// Takes the metadata in, and makes what a shard has from birth.
    fn restore(&mut self) {
        for config in names::system_topics(CLUSTER, BROKER, Some(8), true) {
            self.metadata.create(config);
        }
        let Shard { broker, store, .. } = &mut self.shard;
        broker.restore(self.metadata.restored(), store);
        self.turn();
    }

    /// Stops cleanly and starts again, with nothing left in memory. A stop waits for what
    /// it began and for nothing else: one that needed the next timer took ten seconds.
    pub fn restart(&mut self) {
        self.act(|shard, world| shard.stop(world));
        self.settle();
        let stopped = self.shard.has_stopped().expect("no time need pass");
        self.start_at(stopped.unwrap());
    }

    /// The process is killed: what was durable by now is there at the next start, and the
    /// arena's journal.
    pub fn kill(&mut self) {
        let [active, other] = &self.arena.journal;
        let journal = [&other[..], &active[..]].concat();
        let durable = self.metadata.clone();
        // The log is not what this is about: it ends well.
        for part in [Part::Metadata, Part::LogWrites] {
            self.release(part);
        }
        self.act(|shard, world| shard.stop(world));
        self.settle();
        let stopped = self.shard.has_stopped().expect("no time need pass");
        self.metadata = durable;
        self.metadata.take_in(&journal);
        self.start_at(stopped.unwrap());
    }

    fn start_at(&mut self, chain: ChainEnd) {
        let geometry = Geometry::new(self.sizes.segment);
        let ready_end = self.disk.segments.keys().last().map(|base| geometry.end(LogOffset(*base)));
        let at = LogStart { chain, ready_end: ready_end.unwrap_or_default() };
        let options = self.options.clone();
        (self.shard, self.arena) = start(&self.disk, at, options, self.level, self.sizes, self.now);
        self.frames_of.clear();
        self.restore();
    }

    // ----- Clients -----------------------------------------------------------------

    pub fn connect(&mut self) -> ConnId {
        self.next_port += 1;
        self.shard.open(SocketAddr::from(([10, 0, 0, 7], self.next_port)), self.now)
    }

    /// Sends a request in a turn of its own. Returns its opaque number.
    pub fn send(&mut self, conn: ConnId, ask: &Ask) -> i32 {
        let opaque = self.opaque();
        self.receive(&[(conn, ask.frame(opaque))]);
        opaque
    }

    /// Sends one request and gives the one reply that must have come of it.
    #[track_caller]
    pub fn ask(&mut self, conn: ConnId, ask: Ask) -> Frame {
        let opaque = self.send(conn, &ask);
        self.reply(conn, opaque).unwrap_or_else(|| panic!("no reply to {ask:?}"))
    }

    /// Sends several requests that arrive in one turn.
    pub fn send_together(&mut self, asks: &[(ConnId, Ask)]) -> Vec<i32> {
        let opaques: Vec<i32> = asks.iter().map(|_| self.opaque()).collect();
        let frames = asks.iter().zip(&opaques);
        let frames: Vec<_> = frames.map(|((conn, ask), at)| (*conn, ask.frame(*at))).collect();
        self.receive(&frames);
        opaques
    }

    /// Bytes arrive, in one turn.
    pub fn receive(&mut self, arrivals: &[(ConnId, Vec<u8>)]) {
        let buffers = MemoryBuffers(arrivals.iter().map(|(_, bytes)| bytes.clone()).collect());
        let mut intents = Vec::new();
        let geometry = Geometry::new(self.sizes.segment);
        let files = CachedLog { disk: &self.disk, cache: &self.page_cache, geometry };
        let mut world = World {
            now: self.now,
            arena: &mut self.arena,
            files: &files,
            thread: &Counters::default(),
            buffers: &buffers,
            intents: &mut intents,
        };
        for (at, (conn, bytes)) in arrivals.iter().enumerate() {
            let buffer = BufferId(at as u16);
            let event = Event::Received { conn: *conn, buffer, len: bytes.len() };
            self.shard.on(event, &mut world);
        }
        self.shard.end_turn(&mut world);
        self.perform_all(intents);
        self.settle();
    }

    /// The peer is gone.
    pub fn hang_up(&mut self, conn: ConnId) {
        self.events.push_back(Event::Ended { conn });
        self.settle();
    }

    /// The reply to a request, once it has come; it is taken out.
    pub fn reply(&mut self, conn: ConnId, opaque: i32) -> Option<Frame> {
        let mut frames = self.frames(conn);
        let at = frames.iter().position(|frame| frame.is_reply && frame.opaque == opaque);
        let found = at.map(|at| frames.remove(at));
        let again = frames.iter().any(|frame| frame.is_reply && frame.opaque == opaque);
        assert!(!again, "a request is answered once");
        self.put_back(conn, frames);
        found
    }

    /// Requests that the broker sent to this peer; they are taken out.
    pub fn requests(&mut self, conn: ConnId) -> Vec<Frame> {
        let (replies, requests) = self.frames(conn).into_iter().partition(|frame| frame.is_reply);
        self.put_back(conn, replies);
        requests
    }

    /// The peer reads nothing until `read_on`: one send stays with the kernel.
    pub fn stall(&mut self, conn: ConnId) {
        self.stalled.insert(conn, None);
    }

    /// The peer reads again, first what the kernel has held for it.
    pub fn read_on(&mut self, conn: ConnId) {
        let held = self.stalled.remove(&conn).expect("it was stalled");
        if let Some(outgoing) = held {
            self.perform(Intent::Send { conn, outgoing });
        }
        self.settle();
    }

    fn frames(&mut self, conn: ConnId) -> Vec<Frame> {
        self.frames_of.remove(&conn).unwrap_or_default()
    }

    fn put_back(&mut self, conn: ConnId, frames: Vec<Frame>) {
        self.frames_of.insert(conn, frames);
    }

    fn opaque(&mut self) -> i32 {
        self.next_opaque += 1;
        self.next_opaque
    }

    // ----- Time and order ----------------------------------------------------------

    /// Time passes; whatever becomes due on the way happens in its order.
    pub fn pass(&mut self, ms: u64) {
        let end = self.now.mono_us + ms * 1000;
        while self.now.mono_us < end {
            let due = self.shard.next_deadline_us(self.now).unwrap_or(end);
            let next = due.clamp(self.now.mono_us + 1, end);
            let us = next - self.now.mono_us;
            self.now.mono_us = next;
            self.sub_ms += us;
            self.now.unix_ms += (self.sub_ms / 1000) as i64;
            self.sub_ms %= 1000;
            self.turn();
        }
    }

    /// A turn without news.
    pub fn turn(&mut self) {
        self.act(|_, _| {});
        self.settle();
    }

    pub fn hold(&mut self, part: Part) {
        self.held.entry(part).or_default();
    }

    /// Lets go what was held back, in its order; nothing more is held back.
    pub fn release(&mut self, part: Part) {
        let held = self.held.remove(&part).unwrap_or_default();
        self.perform_all(held.into());
        self.settle();
    }

    /// How many wishes are held back.
    pub fn waiting(&self, part: Part) -> usize {
        self.held.get(&part).map_or(0, VecDeque::len)
    }

    fn act(&mut self, act: impl FnOnce(&mut Shard, &mut World)) {
        let mut intents = Vec::new();
        let geometry = Geometry::new(self.sizes.segment);
        let files = CachedLog { disk: &self.disk, cache: &self.page_cache, geometry };
        let mut world = World {
            now: self.now,
            arena: &mut self.arena,
            files: &files,
            thread: &Counters::default(),
            buffers: &MemoryBuffers::default(),
            intents: &mut intents,
        };
        act(&mut self.shard, &mut world);
        self.shard.end_turn(&mut world);
        self.perform_all(intents);
    }

    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 100_000, "the shard and its disk keep each other busy");
            let Some(event) = self.events.pop_front() else { return };
            self.act(|shard, world| shard.on(event, world));
        }
    }

    // ----- What the world does -----------------------------------------------------

    fn perform_all(&mut self, intents: Vec<Intent>) {
        for intent in intents {
            match part_of(&intent).and_then(|part| self.held.get_mut(&part)) {
                Some(held) => held.push_back(intent),
                None => self.perform(intent),
            }
        }
    }

    fn perform(&mut self, intent: Intent) {
        let event = match intent {
            Intent::Send { conn, outgoing } if self.stalled.contains_key(&conn) => {
                let held = self.stalled.insert(conn, Some(outgoing));
                assert!(matches!(held, Some(None)), "one send at a time");
                return;
            }
            Intent::CopySend { conn } => {
                let Some(Some(held)) = self.stalled.remove(&conn) else { return };
                let mut copy = Outgoing::default();
                copy.write(|out| out.extend(self.bytes_of(&held)));
                self.stalled.insert(conn, Some(copy));
                Event::Copied { conn, outgoing: held }
            }
            Intent::Send { conn, outgoing } => {
                let bytes = self.bytes_of(&outgoing);
                self.frames_of.entry(conn).or_default().extend(read_frames(&bytes));
                Event::Sent { conn, outgoing, whole: true }
            }
            Intent::Pause { .. } | Intent::Resume { .. } => return,
            Intent::Close { conn } => {
                self.closed.push(conn);
                if let Some(Some(outgoing)) = self.stalled.remove(&conn) {
                    self.events.push_back(Event::Sent { conn, outgoing, whole: false });
                }
                Event::Closed { conn }
            }
            Intent::Store(intent) => match self.perform_store(intent) {
                Some(done) => Event::Store(done),
                None => return,
            },
            Intent::Effect(effect) => return self.perform_effect(effect),
        };
        self.events.push_back(event);
    }

    fn bytes_of(&self, outgoing: &Outgoing) -> Vec<u8> {
        let mut bytes = Vec::new();
        let geometry = Geometry::new(self.sizes.segment);
        let files = CachedLog { disk: &self.disk, cache: &self.page_cache, geometry };
        for piece in &outgoing.pieces {
            bytes.extend_from_slice(match *piece {
                Piece::Own { start, len } => &outgoing.bytes[start as usize..][..len as usize],
                Piece::Log { at, len } => self.arena.readable(at, len as usize),
                Piece::Slot { slot, start, len } => {
                    &self.arena.pool[usize::from(slot.0)][start as usize..][..len as usize]
                }
                Piece::File { at, len, .. } => {
                    assert!(self.page_cache.pins() > 0, "what is sent stays open");
                    files.bytes(at, len)
                }
            });
        }
        bytes
    }

    fn perform_effect(&mut self, effect: Effect) {
        let event = match effect {
            Effect::Persist { token, change } => {
                let fails = self.metadata_fails_once.take().or(self.metadata_fails.clone());
                let result = match fails {
                    None => Ok(self.metadata.apply(change)),
                    Some(why) => Err(why),
                };
                Event::Stored { token, result }
            }
            Effect::CreateEverywhere { config } => {
                self.created.push(config.clone());
                match self.creation_fails.clone() {
                    None => Event::TopicMade(self.metadata.create(config)),
                    Some(why) => Event::TopicReady { name: config.name, result: Err(why) },
                }
            }
            Effect::Installed { topic } => Event::TopicReady { name: topic, result: Ok(()) },
            Effect::Publish { version, topics } => {
                self.published.push((version, topics));
                Event::Published { version }
            }
        };
        self.events.push_back(event);
    }

    fn perform_store(&mut self, intent: store::Intent) -> Option<Done> {
        let geometry = Geometry::new(self.sizes.segment);
        Some(match intent {
            store::Intent::Log(LogIntent::Write { op, .. }) if self.log_fails => {
                Done::Written { op, result: Err(5) }
            }
            store::Intent::Log(LogIntent::Write { op, at, len, .. }) => {
                let bytes = self.arena.readable(at, len as usize);
                let segment = self.disk.segments.get_mut(&geometry.base(at).0).unwrap();
                let position = geometry.position(at) as usize;
                segment[position..position + len as usize].copy_from_slice(bytes);
                Done::Written { op, result: Ok(len) }
            }
            store::Intent::Log(LogIntent::Sync { op, .. }) => Done::Synced { op, result: Ok(()) },
            store::Intent::Log(LogIntent::HurrySegment { .. }) => return None,
            store::Intent::Log(LogIntent::PrepareSegment { base }) => {
                let segment = self.disk.segments.entry(base.0);
                segment.or_insert_with(|| vec![0; geometry.segment_bytes() as usize]);
                Done::SegmentReady { base, result: Ok(Extents::Written) }
            }
            store::Intent::ReadLog { slot, .. } if self.log_unreadable => {
                Done::LogRead { slot, result: Err("Input/output error".to_owned()) }
            }
            store::Intent::ReadLog { slot, at, len, through } => {
                if through == Through::PageCache {
                    self.page_cache.keep(at);
                }
                let segment = &self.disk.segments[&geometry.base(at).0];
                let position = geometry.position(at) as usize;
                self.arena.pool[usize::from(slot.0)][..len as usize]
                    .copy_from_slice(&segment[position..position + len as usize]);
                Done::LogRead { slot, result: Ok(()) }
            }
            store::Intent::WriteRun { run } => {
                let mut file = Vec::new();
                let directory = run.write_to(&mut file).unwrap();
                self.disk.runs.insert(run.start().0, file);
                Done::RunWritten { run, result: Ok(directory) }
            }
            store::Intent::ReadIndex { load, range, mut block } => {
                let file = &self.disk.runs[&range.run.0];
                let result = read_cold(&file[..], &range, &mut block);
                let result = result.map_err(|error| error.to_string());
                Done::IndexRead { load, range, block, result }
            }
            store::Intent::RebuildIndex { lost, owner } => {
                let LostExtent { load, range, mut block } = lost;
                let whole =
                    rebuild_extent(&self.disk.log(geometry), geometry, &range, &owner, &mut block);
                let result = whole.unwrap().then_some(()).ok_or("the log lacks it".to_owned());
                self.rebuilt += 1;
                Done::IndexRebuilt { load, range, block, result }
            }
            store::Intent::FoldRun { start } => {
                self.disk.runs.remove(&start.0);
                return None;
            }
            store::Intent::DropSegment { base, recycle } => {
                self.disk.segments.remove(&base.0);
                self.recycled.extend(recycle.then_some(base));
                return None;
            }
            store::Intent::DisownArena => return None,
            store::Intent::CheckDisk => Done::Disk { disk: self.disk_use },
        })
    }
}

fn part_of(intent: &Intent) -> Option<Part> {
    Some(match intent {
        Intent::Effect(Effect::Persist { .. }) => Part::Metadata,
        Intent::Effect(Effect::CreateEverywhere { .. }) => Part::Creation,
        Intent::Effect(Effect::Publish { .. }) => Part::Publishing,
        Intent::Store(store::Intent::Log(LogIntent::PrepareSegment { .. })) => Part::Segments,
        Intent::Store(store::Intent::Log(_)) => Part::LogWrites,
        Intent::Store(store::Intent::ReadLog { .. } | store::Intent::ReadIndex { .. }) => {
            Part::Reads
        }
        _ => return None,
    })
}

/// A shard whose log goes on at `at`, with the index that lies on disk.
fn start(
    disk: &MemoryDisk,
    at: LogStart,
    options: BrokerOptions,
    level: AckLevel,
    sizes: Sizes,
    now: Now,
) -> (Shard, MemoryArena) {
    let arena = MemoryArena::new(sizes.ring, at.chain.at);
    let config = LogConfig {
        geometry: Geometry::new(sizes.segment),
        flush_method: FlushMethod::Dsync,
        life: at.chain.life + 1,
    };
    let log = CommitLog::new(config, at, &arena);
    let mut index =
        QueueIndex::new(disk.runs.keys().next().map_or(at.chain.at, |at| LogOffset(*at)));
    for file in disk.runs.values() {
        index.load_run(&file[..], at.chain.at, |_| true).unwrap();
    }
    index.dispatched_to(at.chain.at);
    let state = DiskState::new(RetentionConfig::default(), DiskUse(100), []);
    let store = Store::new(log, index, LogOffset(0), state, &arena);
    let identity = Identity {
        cluster: CLUSTER.to_owned(),
        name: BROKER.to_owned(),
        store_host: "10.0.0.1:10911".parse().unwrap(),
        level,
        memory: sizes.memory,
    };
    (Shard::new(Broker::new(identity, options, now.unix_ms), store), arena)
}
