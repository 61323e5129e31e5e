//! A shard's place on a data thread: its arena, its files, its connections' sockets,
//! and the helper that works for it.

use std::collections::{HashMap, VecDeque};
use std::io;

use slab::Slab;

use super::files::FileError;
use super::helper::{Done as HelperDone, HelperClient, Job, OpenedSegment};
use super::index_work::IndexTask;
use super::readable::{PendingRead, Readable};
use super::writable::{Writable, WritableSegment};
use crate::base::ConnId;
use crate::base::LogOffset;
use crate::base::transfer::Through;
use crate::log::retention::DiskUse;
use crate::log::{Extents, Geometry, LogIntent};
use crate::reactor::{
    Arena, ArenaId, ArenaName, CachedFile, DiskRead, DiskWrite, Listener, Ring, Socket,
};
use crate::shard::Shard;
use crate::store;

/// One shard with everything outside that belongs to it.
pub struct Seat {
    pub index: u16,
    pub shard: Shard,
    pub arena: Arena,
    pub arena_id: ArenaId,
    pub listeners: Vec<Listener>,
    pub sockets: Slab<Wired>,
    pub by_conn: HashMap<ConnId, usize>,
    files: SeatFiles,
    pub readable: Readable,
    helper: HelperClient<IndexTask>,
    /// Jobs that the helper had no room for.
    jobs: VecDeque<Job<IndexTask>>,
    /// Segments that expired and may serve again under another name.
    retired: VecDeque<LogOffset>,
    /// Store operations in flight, by the token that the ring knows.
    pub operations: Slab<Operation>,
    /// The arena's name, while it is known to lead there.
    arena_name: Option<ArenaName>,
    /// The run mark of a life whose arena nobody needs.
    mark_without_arena: Vec<u8>,
    /// What was done without the ring and without the helper.
    at_once: Vec<store::Done>,
    /// Why the log cannot be written any more: its files are not what was opened.
    pub broken: Option<String>,
    pub stopping: bool,
    pub ended: bool,
}

/// A connection's socket; None once it is being closed.
pub struct Wired {
    pub conn: ConnId,
    pub socket: Option<Socket>,
    /// The peer ended it, or it is broken.
    pub ended: bool,
}

/// A store operation that the ring performs.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    Write { op: crate::log::OpId, len: u32, segment: LogOffset },
    Sync { op: crate::log::OpId },
    Read { segment: LogOffset },
}

/// The files that the log writes to.
#[derive(Default)]
struct SeatFiles {
    /// Held with a lock; the log writes to these.
    writable: HashMap<LogOffset, Writable>,
    /// Mapped, and written no more: to be unmapped by the helper.
    mapped: Vec<(LogOffset, CachedFile)>,
}

impl Seat {
    pub fn new(
        index: u16,
        mut shard: Shard,
        arena: Arena,
        arena_id: ArenaId,
        listeners: Vec<Listener>,
        writable: Vec<WritableSegment>,
        helper: HelperClient<IndexTask>,
    ) -> Self {
        let mut files = SeatFiles::default();
        let readable = Readable::new(shard.store.geometry());
        for segment in writable {
            let base = segment.start();
            shard.store.on_segment_ready(base, files.add_writable(segment));
        }
        Self {
            index,
            shard,
            arena,
            arena_id,
            listeners,
            sockets: Slab::new(),
            by_conn: HashMap::new(),
            files,
            readable,
            helper,
            jobs: VecDeque::new(),
            retired: VecDeque::new(),
            operations: Slab::new(),
            arena_name: None,
            mark_without_arena: Vec::new(),
            at_once: Vec::new(),
            broken: None,
            stopping: false,
            ended: false,
        }
    }

    /// Has runs of expired log folded into the bases.
    pub fn fold_runs(&mut self, runs: Vec<LogOffset>) {
        for start in runs {
            self.submit(Job::Index(IndexTask::Fold { start }));
        }
    }

    /// The arena outlives the process as long as its name leads to it, which is looked
    /// after. `mark_without`: the run mark of a life that needs no arena.
    pub fn watch_arena(&mut self, name: ArenaName, mark_without: Vec<u8>) {
        self.arena_name = Some(name);
        self.mark_without_arena = mark_without;
    }

    /// Begins what the store wants.
    pub fn perform(
        &mut self,
        intent: store::Intent,
        ring: &mut Ring,
        token: impl Fn(usize) -> u64,
    ) {
        match intent {
            store::Intent::Log(LogIntent::Write { op, at, len, durable }) => {
                let geometry = self.shard.store.geometry();
                let segment = geometry.base(at);
                let Some(open) = self.files.writable.get(&segment) else {
                    unreachable!("the log writes to segments that were prepared")
                };
                let key = self.operations.insert(Operation::Write { op, len, segment });
                let write = DiskWrite {
                    arena: self.arena_id,
                    at,
                    len: len as usize,
                    file_offset: geometry.position(at),
                    durable,
                };
                open.write(ring, write, token(key));
            }
            store::Intent::Log(LogIntent::Sync { op, segment }) => {
                let Some(open) = self.files.writable.get(&segment) else {
                    unreachable!("the log flushes segments that it wrote to")
                };
                let key = self.operations.insert(Operation::Sync { op });
                open.flush(ring, token(key));
            }
            store::Intent::Log(LogIntent::PrepareSegment { base })
                if self.files.writable.contains_key(&base) =>
            {
                let result = Ok(self.files.writable[&base].extents);
                self.at_once.push(store::Done::SegmentReady { base, result });
            }
            store::Intent::Log(LogIntent::HurrySegment { base }) => self.helper.hurry(base),
            store::Intent::Log(LogIntent::PrepareSegment { base }) => {
                let job = match self.retired.pop_front() {
                    Some(from) => Job::RecycleSegment { from, to: base },
                    None => Job::PrepareSegment { start: base },
                };
                self.submit(job);
            }
            store::Intent::ReadLog { slot, at, len, through } => {
                let read = PendingRead { slot, at, len, through };
                self.read_log(read, ring, token);
            }
            store::Intent::WriteRun { run } => self.submit(Job::Index(IndexTask::Write { run })),
            store::Intent::ReadIndex { load, range, block } => {
                self.submit(Job::Index(IndexTask::Read { load, range, block }));
            }
            store::Intent::RebuildIndex { lost, owner } => {
                self.submit(Job::Index(IndexTask::Rebuild { lost, owner }));
            }
            store::Intent::FoldRun { start } => self.submit(Job::Index(IndexTask::Fold { start })),
            store::Intent::DropSegment { base, recycle } => self.drop_segment(base, recycle),
            store::Intent::CheckDisk => {
                self.submit(Job::CheckDisk);
                if let Some(name) = self.arena_name.clone() {
                    self.submit(Job::CheckArena { name });
                }
                let written = self.files.writable.iter();
                let written = written.map(|(start, open)| (*start, open.id)).collect();
                self.submit(Job::CheckSegments(written));
            }
            store::Intent::DisownArena => {
                let mark = std::mem::take(&mut self.mark_without_arena);
                self.submit(Job::WriteRunMark(mark));
            }
        }
    }

    fn read_log(&mut self, read: PendingRead, ring: &mut Ring, token: impl Fn(usize) -> u64) {
        let geometry = self.shard.store.geometry();
        let segment = geometry.base(read.at);
        if self.has_expired(segment) {
            self.at_once.push(expired(read));
            return;
        }
        let is_whole = geometry.end(segment) <= self.shard.store.watermarks().written();
        let Some(open) = self.readable.get_mut(segment) else {
            if self.readable.wait(segment, read) {
                self.submit(Job::OpenSegment { start: segment });
            }
            return;
        };
        open.reads += 1;
        let key = self.operations.insert(Operation::Read { segment });
        let disk = DiskRead {
            slot: read.slot,
            start: 0,
            len: read.len as usize,
            file_offset: geometry.position(read.at),
        };
        let pool = &mut self.arena.pool;
        match read.through {
            Through::Direct => ring.read(&open.direct, pool, disk, token(key)),
            Through::PageCache => {
                // Into a segment that is still written past the page cache.
                open.paged.let_read_ahead(is_whole);
                ring.read_paged(&open.paged, pool, disk, token(key));
            }
        }
    }

    /// An expired segment serves again if nobody reads it and no socket may hold pages of
    /// it, else its name goes.
    fn drop_segment(&mut self, base: LogOffset, recycle: bool) {
        self.files.close(|other| other == base);
        // Before anything asks for the segment's lock, which lasts as long as its mapping.
        self.unmap_idle();
        let receivers = self.readable.expire(base);
        let has_unsent = |key: usize| {
            let wired = self.sockets.get(key);
            wired.and_then(|wired| wired.socket.as_ref()).is_some_and(Socket::has_unsent)
        };
        let is_sent = receivers.is_some_and(|receivers| receivers.have_all(has_unsent));
        let is_mapped = self.files.mapped.iter().any(|(other, _)| *other == base);
        // What this side has sent may wait in the queue of a receiver on the same machine.
        let is_left_alone = self.shard.store.leaves_sent_pages_alone();
        if recycle && is_left_alone && is_sent && !is_mapped {
            self.retired.push_back(base);
        } else {
            self.submit(Job::UnlinkSegment { start: base });
        }
    }

    /// Nothing new is read from it.
    fn has_expired(&self, segment: LogOffset) -> bool {
        segment < self.shard.store.log_range().0
    }

    fn submit(&mut self, job: Job<IndexTask>) {
        self.jobs.push_back(job);
        self.submit_waiting();
    }

    fn submit_waiting(&mut self) {
        while let Some(job) = self.jobs.pop_front() {
            if let Err(job) = self.helper.submit(job) {
                self.jobs.push_front(job);
                return;
            }
        }
    }

    /// Whether something was done that the store has not been told.
    pub fn has_done(&self) -> bool {
        !self.at_once.is_empty()
    }

    /// What the helper has done since the last call, for the store.
    pub fn poll_helper(
        &mut self,
        ring: &mut Ring,
        token: impl Fn(usize) -> u64 + Copy,
        done: &mut Vec<store::Done>,
    ) {
        done.append(&mut self.at_once);
        for file in self.readable.take_leaving() {
            self.submit(Job::CloseFile(file));
        }
        // Nothing that was asked for took their place: they must not stay before those
        // that go after them.
        while let Some(start) = self.retired.pop_front() {
            self.submit(Job::UnlinkSegment { start });
        }
        while let Some(next) = self.helper.poll() {
            match next {
                HelperDone::SegmentReady { start, segment } => {
                    let result = segment.map(|file| self.add_segment(file));
                    let result = result.map_err(|error| error.to_string());
                    done.push(store::Done::SegmentReady { base: start, result });
                }
                HelperDone::SegmentOpened { start, segment } => {
                    self.on_segment_opened(
                        start,
                        segment.map_err(|e| e.to_string()),
                        ring,
                        token,
                        done,
                    );
                }
                HelperDone::SegmentUnlinked { start, result } => {
                    if let Err(error) = result {
                        tracing::error!(segment = start.0, %error, "cannot unlink an expired segment");
                    }
                }
                HelperDone::FileClosed => {}
                HelperDone::Unmapped => {}
                HelperDone::SegmentsChecked { result } => {
                    if let Err(error) = result {
                        self.broken.get_or_insert(error.to_string());
                    }
                }
                HelperDone::Index(index) => done.extend(index),
                HelperDone::RunMarkWritten { result } => self.on_disowned(result),
                HelperDone::ArenaChecked { result } => done.extend(self.on_arena_checked(result)),
                HelperDone::DiskChecked { result } => match result {
                    Ok(space) => {
                        let disk = DiskUse::of(space.used, space.available);
                        done.push(store::Done::Disk { disk });
                    }
                    Err(error) => {
                        tracing::error!(%error, "cannot see how full the disk is");
                        let disk = self.shard.store.disk().disk();
                        done.push(store::Done::Disk { disk });
                    }
                },
            }
        }
        self.unmap_idle();
        self.submit_waiting();
    }

    /// Has the helper unmap what no operation uses any more.
    fn unmap_idle(&mut self) {
        for (_, file) in self.files.mapped.extract_if(.., |(_, file)| file.is_idle()) {
            match file.into_mapping() {
                Ok(Some(mapping)) => self.jobs.push_back(Job::Unmap(mapping)),
                Ok(None) | Err(_) => unreachable!("it is mapped and idle"),
            }
        }
    }

    fn on_arena_checked(&mut self, result: io::Result<bool>) -> Option<store::Done> {
        let why = match result {
            Ok(true) => return None,
            Ok(false) => "it leads elsewhere, or nowhere".to_owned(),
            Err(error) => error.to_string(),
        };
        // Checks that were under way find the same.
        let name = self.arena_name.take()?;
        tracing::error!(
            shard = self.index,
            arena = %name.path().display(),
            why,
            "the arena's name is lost: after kill -9 no start would find it. From now on \
             messages are acknowledged when they are written (level `written`), which takes \
             longer; kill -9 takes back consumer offsets of the last 5 s. Find out who removes \
             files there, or give another --arena-dir, and restart"
        );
        Some(store::Done::ArenaLost)
    }

    fn on_disowned(&self, result: Result<(), FileError>) {
        let shard = self.index;
        match result {
            Ok(()) => tracing::warn!(shard, "the run mark says that no arena is needed"),
            Err(error) => tracing::error!(
                shard,
                %error,
                "cannot write the run mark: after kill -9 a start would miss the arena"
            ),
        }
    }

    /// The log has another segment to write to, and is done with some: flushed for good,
    /// they need neither descriptor nor lock. Cold reads open theirs.
    fn add_segment(&mut self, segment: WritableSegment) -> Extents {
        let store = &self.shard.store;
        self.files.close_below(store.watermarks().flushed(), store.geometry());
        self.files.add_writable(segment)
    }

    fn on_segment_opened(
        &mut self,
        segment: LogOffset,
        file: Result<OpenedSegment, String>,
        ring: &mut Ring,
        token: impl Fn(usize) -> u64 + Copy,
        done: &mut Vec<store::Done>,
    ) {
        let ready = self.readable.take_waiting(segment);
        match file {
            // It went while it was opened, perhaps with bytes of it still to be sent.
            Ok(file) if self.has_expired(segment) => {
                self.submit(Job::CloseFile(file.paged));
                done.extend(ready.into_iter().map(expired));
            }
            Ok(file) => {
                self.readable.add(file);
                for read in ready {
                    self.read_log(read, ring, token);
                }
            }
            Err(why) => {
                let failed = |read: PendingRead| store::Done::LogRead {
                    slot: read.slot,
                    result: Err(why.clone()),
                };
                done.extend(ready.into_iter().map(failed));
            }
        }
    }
}

/// Whoever waits for it asks again, and is led on.
fn expired(read: PendingRead) -> store::Done {
    store::Done::LogRead { slot: read.slot, result: Err("its segment has expired".to_owned()) }
}

impl SeatFiles {
    fn add_writable(&mut self, segment: WritableSegment) -> Extents {
        let (start, writable) = (segment.start(), segment.into_writable());
        let extents = writable.extents;
        self.writable.insert(start, writable);
        extents
    }

    /// Segments that end at or below `flushed` are never written or flushed again. What
    /// is still under way in one holds its file.
    fn close_below(&mut self, flushed: LogOffset, geometry: Geometry) {
        self.close(|base| geometry.end(base) <= flushed);
    }

    fn close(&mut self, closes: impl Fn(LogOffset) -> bool) {
        let closed = self.writable.extract_if(|base, _| closes(*base));
        let mapped = |(base, writable): (_, Writable)| Some((base, writable.into_mapped()?));
        self.mapped.extend(closed.filter_map(mapped));
    }
}
