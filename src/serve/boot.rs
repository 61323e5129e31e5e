//! The start of one shard, on the data thread that will run it: from the remains of its
//! last life to a seat that serves.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddrV4, TcpListener};
use std::sync::Arc;
use std::time::Instant;

use tracing::{error, info, warn};

use super::arena::{Found, NewArena, arena_id, find_old_arena};
use crate::base::options::BrokerOptions;
use crate::base::transfer::{Through, TransferRules};
use crate::base::{AckLevel, LogOffset, QueueOffset, TopicId};
use crate::broker::{Broker, Identity, OffsetChange, Restored, journaled_positions};
use crate::control::metadata::{OffsetEntry, ShardMetadata};
use crate::engine::files::identity::arena_name;
use crate::engine::files::{
    DataDirectory, FileError, IndexFiles, SegmentFile, SegmentFiles, directory, small,
};
use crate::engine::helper::Helper;
use crate::engine::{Courier, IndexTask, LogSource, Seat, WritableSegment};
use crate::log::recovery::ArenaFound;
use crate::log::retention::{DiskUse, RetentionConfig};
use crate::log::run_mark::{BootId, RunMark};
use crate::log::{FlushMethod, Geometry};
use crate::queue::{QueueKey, ReadAt, bases_file_name};
use crate::reactor::{ArenaIdentity, ArenaPlace, ArenaSizes, Listener, OldArena, Ring};
use crate::shard::Shard;
use crate::store::recovery::{self, BeforeServing, Recovered, Remains};

/// Everything that a shard's start needs to know.
pub struct ShardPlan {
    pub index: u16,
    pub seat: usize,
    pub cluster: String,
    pub name: String,
    pub address: SocketAddrV4,
    pub level: AckLevel,
    pub options: BrokerOptions,
    pub metadata: ShardMetadata,
    pub listeners: Vec<TcpListener>,
    pub arena_bytes: u64,
    pub memory: u64,
    pub place: ArenaPlace,
    pub flush_method: FlushMethod,
    /// What `auto` does.
    pub transfer_rules: TransferRules,
    pub retention: RetentionConfig,
    pub accept_loss: bool,
    pub boot: BootId,
    pub start_ms: i64,
}

/// What a shard's start must have others make durable before it serves.
pub trait Keeper {
    /// The log has lost its tail; nothing is said of places beyond `log_end`.
    fn cut_log(&self, shard: u16, log_end: LogOffset) -> Result<(), String>;
    fn put_offsets(&self, shard: u16, batch: Vec<OffsetEntry>) -> Result<(), String>;
}

/// Starts a shard. The error says what to do.
pub fn boot(
    plan: ShardPlan,
    directory: &DataDirectory,
    helper: &Helper<IndexTask>,
    courier: &Courier,
    keeper: &dyn Keeper,
    ring: &mut Ring,
) -> Result<Seat, String> {
    let shard = plan.index;
    let begun = Instant::now();
    let id = directory.identity().id;
    let name = arena_name(&id, shard);
    let old = find_old_arena(&plan.place, &name);
    let found = match &old {
        Found::Nothing => ArenaFound::Nothing,
        Found::Damaged(_) => ArenaFound::Damaged,
        Found::Arena(_, arena) => {
            let identity = arena.identity();
            ArenaFound::Header {
                id: arena_id(&identity.data_dir, identity.shard),
                life: identity.life,
            }
        }
    };
    let segments = directory.segments(shard);
    let index = directory.index_runs(shard);
    let geometry = Geometry::new(segments.segment_bytes());
    // Before anything is read: a late write of the killed process would land over what
    // this life makes of the log that it has found.
    segments.await_writers(directory::PATIENCE).map_err(text)?;
    let source = LogSource::list(&segments).map_err(text)?;
    let runs = Runs(&index);
    let topics: Vec<_> = plan.metadata.topics.values().cloned().collect();
    let committed = committed(&plan.metadata);
    let mark = read_mark(directory, shard)?;
    let arena = match &old {
        Found::Arena(_, arena) => Some(arena),
        _ => None,
    };
    let remains = Remains {
        mark,
        segments: &source,
        index: &runs,
        arena: found,
        old_arena: arena.map(|arena| arena as &dyn recovery::OldArena),
        topics: &topics,
        committed: &committed,
        geometry,
        boot: plan.boot,
        accept_loss: plan.accept_loss,
    };
    let mut recovered =
        recovery::recover(&remains).map_err(|why| format!("shard {shard} cannot start: {why}"))?;
    let life = recovered.life;
    let offsets = journal_offsets(&recovered, &plan.metadata);
    make_durable(&recovered, arena, &segments, &index, geometry)?;
    keep_metadata(&recovered.before, shard, &offsets, keeper)?;
    let mark_path = directory.run_mark_path(shard);
    if let Some(mark) = recovered.mark_recovered(plan.boot) {
        small::replace(&mark_path, &mark.encode()).map_err(text)?;
    }
    let identity = ArenaIdentity { data_dir: id, shard: shard.into(), life, boot: plan.boot.0 };
    let wanted = NewArena {
        place: &plan.place,
        name: &name,
        sizes: ArenaSizes::of_total(plan.arena_bytes),
        identity,
        start: recovered.chain.at,
    };
    let (new, arena_name) = wanted.in_place_of(old)?;
    let shared = arena_name.as_ref().map(|_| arena_id(&id, shard.into()));
    let running = recovered.mark_running(plan.boot, shared);
    small::replace(&mark_path, &running.encode()).map_err(text)?;
    let mark_without = recovered.mark_running(plan.boot, None).encode().to_vec();
    let writable = open_writable(&segments, geometry, recovered.chain.at)?;
    report(shard, &recovered, begun);
    let folds = std::mem::take(&mut recovered.before.fold_runs);
    let space = directory.disk_space().map_err(text)?;
    let disk = DiskUse::of(space.used, space.available);
    let mut store = recovered.into_store(plan.flush_method, plan.retention, disk, &new);
    store.set_transfer_rules(plan.transfer_rules);
    if arena_name.is_none() {
        store.set_floor(AckLevel::Written);
    }
    if directory.access().mode.is_cached() {
        store.set_writes_through(Through::PageCache);
    }
    let identity = Identity {
        cluster: plan.cluster,
        name: plan.name,
        store_host: plan.address,
        level: plan.level,
        memory: plan.memory,
    };
    let mut broker = Broker::new(identity, plan.options, plan.start_ms);
    broker.restore(restored(plan.metadata, offsets), &mut store);
    let arena_id = ring.add_arena(&new);
    let wake = {
        let (courier, seat) = (courier.clone(), plan.seat);
        Arc::new(move || courier.nudge(seat))
    };
    let client = helper.client(directory, shard, wake);
    let listeners = plan.listeners.into_iter().map(Listener::from_std).collect::<io::Result<_>>();
    let listeners = listeners.map_err(|error| format!("cannot listen: {error}"))?;
    let shard = Shard::new(broker, store);
    let mut seat = Seat::new(plan.index, shard, new, arena_id, listeners, writable, client);
    seat.fold_runs(folds);
    if let Some(name) = arena_name {
        seat.watch_arena(name, mark_without);
    }
    Ok(seat)
}

fn read_mark(directory: &DataDirectory, shard: u16) -> Result<Option<RunMark>, String> {
    use crate::log::run_mark::RunMarkError;
    let Some(bytes) = directory.run_mark(shard).map_err(text)? else { return Ok(None) };
    match RunMark::decode(&bytes) {
        Ok(mark) => Ok(Some(mark)),
        Err(RunMarkError::Damaged) => {
            error!(shard, "the run mark is damaged");
            Ok(None)
        }
        Err(RunMarkError::Version(version)) => Err(format!(
            "shard {shard} was written by a ringmq with log format {version}, which this one \
             does not read: start it with that ringmq, or give another --data-dir"
        )),
    }
}

/// Steps 1, 2 and 4 of what comes before serving.
fn make_durable(
    recovered: &Recovered,
    arena: Option<&OldArena>,
    segments: &SegmentFiles,
    index: &IndexFiles,
    geometry: Geometry,
) -> Result<(), String> {
    if let Some(arena) = arena.filter(|_| recovered.replays()) {
        replay(recovered, arena, segments, geometry)?;
    }
    for base in &recovered.before.sync {
        let file = segments.open_readable(*base).map_err(text)?;
        file.file().sync_data().map_err(|error| format!("cannot flush segment {base}: {error}"))?;
    }
    for start in &recovered.before.unlink_runs {
        index.unlink_run(*start).map_err(text)?;
    }
    if let Some(bases) = &recovered.before.bases {
        index.write_table(bases_file_name(), |out| bases.write_to(out)).map_err(text)?;
    }
    Ok(())
}

/// Writes what only the arena had into the log.
fn replay(
    recovered: &Recovered,
    arena: &OldArena,
    segments: &SegmentFiles,
    geometry: Geometry,
) -> Result<(), String> {
    let mut open: Option<SegmentFile> = None;
    let write = &mut |at: LogOffset, bytes: &[u8]| {
        let base = geometry.base(at);
        if open.as_ref().is_none_or(|file| file.start() != base) {
            if let Some(done) = open.take() {
                done.file().sync_data()?;
            }
            open = Some(segments.open_or_prepare(base).map_err(io::Error::other)?);
        }
        let segment = open.as_ref().expect("opened above");
        segment.write_blocks(bytes, geometry.position(at))
    };
    let written = recovered.write_replay(arena, write);
    let flushed = written.and_then(|()| open.map_or(Ok(()), |file| file.file().sync_data()));
    flushed.map_err(|error| format!("cannot write what the arena held into the log: {error}"))
}

fn keep_metadata(
    before: &BeforeServing,
    shard: u16,
    offsets: &[OffsetChange],
    keeper: &dyn Keeper,
) -> Result<(), String> {
    if let Some(log_end) = before.cut_metadata {
        keeper.cut_log(shard, log_end)?;
    }
    if offsets.is_empty() {
        return Ok(());
    }
    let entry = |change: &OffsetChange| OffsetEntry {
        topic: change.topic.clone(),
        group: change.group.clone(),
        queue: change.queue,
        offset: QueueOffset(change.offset as u64),
    };
    keeper.put_offsets(shard, offsets.iter().map(entry).collect())
}

/// The segments that the log may write: the one that holds its end, made if need be,
/// and those after it.
fn open_writable(
    segments: &SegmentFiles,
    geometry: Geometry,
    end: LogOffset,
) -> Result<Vec<WritableSegment>, String> {
    let mut base = geometry.base(end);
    let mut open = vec![segments.open_or_prepare(base).map_err(text)?];
    base = geometry.end(base);
    let existing = segments.list().map_err(text)?;
    while existing.contains(&base) {
        open.push(segments.open_writable(base, directory::PATIENCE).map_err(text)?);
        base = geometry.end(base);
    }
    open.into_iter().map(WritableSegment::of).collect::<Result<_, _>>().map_err(text)
}

/// Positions in the arena's journal whose topic and group are still the same.
fn journal_offsets(recovered: &Recovered, metadata: &ShardMetadata) -> Vec<OffsetChange> {
    let topics: HashMap<TopicId, &str> =
        metadata.topics.iter().map(|(name, topic)| (topic.id, name.as_str())).collect();
    journaled_positions(
        recovered.journal.iter().map(Vec::as_slice),
        |id| topics.get(&id).copied(),
        |group| metadata.groups.contains_key(group),
    )
}

fn committed(metadata: &ShardMetadata) -> Vec<(QueueKey, QueueOffset)> {
    let id = |name: &str| metadata.topics.get(name).map(|topic| topic.id);
    let key = |entry: &OffsetEntry| -> Option<(QueueKey, QueueOffset)> {
        let topic: TopicId = id(&entry.topic)?;
        Some((QueueKey { topic, queue: entry.queue }, entry.offset))
    };
    metadata.offsets.iter().filter_map(key).collect()
}

/// What the broker takes over: the metadata, and on top of it the arena's journal.
fn restored(metadata: ShardMetadata, journal: Vec<OffsetChange>) -> Restored {
    let durable = metadata.offsets.into_iter().map(|entry| OffsetChange {
        group: entry.group,
        topic: entry.topic,
        queue: entry.queue,
        offset: entry.offset.0 as i64,
    });
    Restored {
        topics: metadata.topics.into_values().collect(),
        topic_version: metadata.topic_version,
        groups: metadata.groups.into_values().collect(),
        group_version: metadata.group_version,
        offsets: durable.chain(journal).collect(),
        // The configuration has taken them over, unless a flag of this start overrules them.
        options: Vec::new(),
    }
}

fn report(shard: u16, recovered: &Recovered, begun: Instant) {
    let report = &recovered.report;
    info!(
        shard,
        decision = ?report.decision,
        life = recovered.life,
        log_end = report.log_end.0,
        scanned = report.records_scanned,
        replayed = report.records_replayed,
        replayed_bytes = report.bytes_replayed,
        ms = begun.elapsed().as_millis() as u64,
        "the log is back",
    );
    for rot in &report.rot {
        error!(shard, ?rot, "damage in flushed log; it is passed over");
    }
    for misplaced in &report.misplaced {
        error!(shard, misplaced, "a record does not fit its queue; it is not served");
    }
    if report.gave_up {
        warn!(
            shard,
            "acknowledged messages of the last life may be gone; each queue goes on {} higher",
            recovery::OFFSETS_SKIPPED
        );
    }
}

fn text(error: FileError) -> String {
    error.to_string()
}

struct Runs<'a>(&'a IndexFiles);

impl recovery::IndexFiles for Runs<'_> {
    fn runs(&self) -> io::Result<Vec<LogOffset>> {
        self.0.list().map_err(io::Error::other)
    }

    fn open_run(&self, start: LogOffset) -> io::Result<Box<dyn ReadAt + '_>> {
        Ok(Box::new(self.0.open_run(start).map_err(io::Error::other)?))
    }

    fn open_bases(&self) -> io::Result<Option<Box<dyn ReadAt + '_>>> {
        let table = self.0.open_table(bases_file_name()).map_err(io::Error::other)?;
        Ok(table.map(|file| Box::new(file) as Box<dyn ReadAt>))
    }
}
