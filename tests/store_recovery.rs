//! Starts of a store, one situation each. The simulator finds the situations nobody
//! thought of; these are the ones that the order of a start was made for.

#[path = "simulation/arena.rs"]
#[allow(dead_code)]
mod arena;
#[path = "simulation/disk.rs"]
#[allow(dead_code)]
mod disk;
#[path = "simulation/files.rs"]
#[allow(dead_code)]
mod files;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use arena::{ArenaSizes, Remnant, SimArena};
use disk::Disk;
use files::Index;
use rand::SeedableRng;
use ringmq::base::memory::LogRing;
use ringmq::base::metadata::TopicRecord;
use ringmq::base::topic::TopicConfig;
use ringmq::base::{AckLevel, LogOffset, Now, QueueOffset, TopicId};
use ringmq::log::recovery::{ArenaFound, Decision, Refusal};
use ringmq::log::retention::{DiskUse, RetentionConfig};
use ringmq::log::run_mark::{ArenaId, BootId, RunMark};
use ringmq::log::{Extents, FlushMethod, Geometry, LogIntent, NewRecord};
use ringmq::queue::{Bases, QueueKey};
use ringmq::store::recovery::{OFFSETS_SKIPPED, Recovered, Remains, StartError, recover};
use ringmq::store::{Done, Intent, Store};

pub type Random = rand::rngs::SmallRng;

const SEGMENT: u64 = 64 * 1024;
const SIZES: ArenaSizes =
    ArenaSizes { ring: 256 * 1024, slots: 9, slot_bytes: 16 * 1024, journal_half: 4096 };
const QUEUE: QueueKey = QueueKey { topic: TopicId(1), queue: 0 };

/// A shard's files, and its store while that runs.
struct Bench {
    disk: Disk,
    index: Index,
    topics: Vec<TopicRecord>,
    mark: Option<RunMark>,
    place: Option<Remnant>,
    boot: BootId,
    committed: Vec<(QueueKey, QueueOffset)>,
    running: Option<(Store, SimArena)>,
    now: Now,
    random: Random,
}

impl Bench {
    fn new() -> Self {
        let config = TopicConfig::new("topic", 2, 6);
        let topic = TopicRecord { id: QUEUE.topic, birth: LogOffset(0), config };
        let mut bench = Self {
            disk: Disk::new(Geometry::new(SEGMENT)),
            index: Index::default(),
            topics: vec![topic],
            mark: None,
            place: None,
            boot: BootId([1; 16]),
            committed: Vec::new(),
            running: None,
            now: Now { mono_us: 1, unix_ms: 1_700_000_000_000 },
            random: Random::seed_from_u64(1),
        };
        let recovered = bench.recover(false).unwrap();
        assert_eq!(recovered.report.decision, Decision::Fresh);
        bench.serve(recovered);
        bench
    }

    fn recover(&self, accept_loss: bool) -> Result<Recovered, StartError> {
        let found = |remnant: &Remnant| ArenaFound::Header { id: remnant.id, life: remnant.life };
        recover(&Remains {
            mark: self.mark,
            segments: &self.disk,
            index: &self.index,
            arena: self.place.as_ref().map_or(ArenaFound::Nothing, found),
            old_arena: self.place.as_ref().map(|remnant| remnant as _),
            topics: &self.topics,
            committed: &self.committed,
            geometry: self.disk.geometry,
            boot: self.boot,
            accept_loss,
        })
    }

    /// Does what must be done before, and begins the next life.
    fn serve(&mut self, recovered: Recovered) {
        if let Some(remnant) = self.place.take() {
            let disk = &mut self.disk;
            disk.forget_above(LogOffset(0));
            let written = recovered.write_replay(&remnant, &mut |at, bytes| {
                let id = disk.submit(at, bytes.to_vec(), false);
                disk.complete(id);
                Ok(())
            });
            written.unwrap();
        }
        self.disk.forget_above(recovered.chain.at);
        recovered.before.sync.iter().for_each(|base| self.disk.sync(*base));
        for run in &recovered.before.unlink_runs {
            self.index.runs.remove(&run.0);
        }
        if let Some(bases) = &recovered.before.bases {
            self.index.put_bases(bases);
        }
        recovered.before.fold_runs.iter().for_each(|run| self.index.fold(*run, |_| true));
        let id = ArenaId([recovered.life as u8; 16]);
        self.mark = Some(recovered.mark_running(self.boot, Some(id)));
        let arena = SimArena::new(id, recovered.life, SIZES, recovered.chain.at);
        let retention = RetentionConfig::default();
        let store = recovered.into_store(FlushMethod::Dsync, retention, DiskUse(0), &arena);
        self.running = Some((store, arena));
        self.turn(true);
    }

    /// Appends `count` messages of a queue, in a batch each.
    fn append(&mut self, key: QueueKey, count: usize, level: AckLevel) {
        for _ in 0..count {
            let (store, arena) = self.running.as_mut().unwrap();
            let host = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 10911);
            let record = NewRecord {
                topic: b"topic",
                queue_id: key.queue,
                flag: 0,
                sys_flag: 0,
                queue_offset: 0,
                born_ms: 0,
                born_host: SocketAddr::V4(host),
                store_host: host,
                reconsume_times: 0,
                prepared_offset: 0,
                body: &[7; 3_000],
                properties: &[b"TAGS\x01a\x02"],
            };
            let slot = store.open_queue(key);
            store.begin_batch(record.stored_len() as u64, self.now, arena).expect("room");
            store.append(arena, slot, 0, level, record);
            store.end_batch(arena);
            store.demand(level);
            self.turn(true);
        }
    }

    /// Turns until nothing is left to do; without `disk` log writes are never performed.
    fn turn(&mut self, disk: bool) {
        let Some((store, arena)) = &mut self.running else { return };
        loop {
            let mut intents = Vec::new();
            store.poll(self.now, arena, &mut intents);
            if intents.is_empty() {
                return;
            }
            for intent in intents {
                let done = match intent {
                    Intent::Log(LogIntent::Write { .. } | LogIntent::Sync { .. }) if !disk => {
                        continue;
                    }
                    Intent::Log(LogIntent::Write { op, at, len, durable }) => {
                        let bytes = arena.readable(at, len as usize).to_vec();
                        let id = self.disk.submit(at, bytes, durable);
                        self.disk.complete(id);
                        Done::Written { op, result: Ok(len) }
                    }
                    Intent::Log(LogIntent::Sync { op, segment }) => {
                        self.disk.sync(segment);
                        Done::Synced { op, result: Ok(()) }
                    }
                    Intent::Log(LogIntent::PrepareSegment { base }) => {
                        self.disk.prepare(base);
                        Done::SegmentReady { base, result: Ok(Extents::Written) }
                    }
                    Intent::WriteRun { run } => {
                        let mut bytes = Vec::new();
                        let directory = run.write_to(&mut bytes).unwrap();
                        self.index.runs.insert(run.start().0, bytes);
                        Done::RunWritten { run, result: Ok(directory) }
                    }
                    Intent::CheckDisk => Done::Disk { disk: DiskUse(0) },
                    Intent::DisownArena => {
                        self.mark.as_mut().unwrap().arena = None;
                        continue;
                    }
                    _ => continue,
                };
                store.on_done(done, self.now);
            }
        }
    }

    fn kill(&mut self) {
        let (_, arena) = self.running.take().unwrap();
        self.place = Some(arena.into_remnant(&mut self.random));
    }

    /// Of what is not durable nothing is left.
    fn cut_power(&mut self) {
        self.kill();
        self.place = None;
        self.boot = BootId([self.boot.0[0] + 1; 16]);
        self.disk.lose_unflushed();
    }

    fn next(&mut self, key: QueueKey) -> u64 {
        let (store, _) = self.running.as_mut().unwrap();
        let slot = store.open_queue(key);
        store.max_offset(slot).0
    }
}

#[test]
fn after_a_kill_all_that_was_appended_is_replayed_at_its_offsets() {
    let mut bench = Bench::new();
    bench.append(QUEUE, 3, AckLevel::Flushed);
    bench.append(QUEUE, 4, AckLevel::Appended);
    bench.kill();
    let recovered = bench.recover(false).unwrap();
    let report = recovered.report.clone();
    assert_eq!((report.decision, report.gave_up), (Decision::Replay, false));
    assert_eq!((report.records_scanned, report.records_replayed), (3, 4));
    bench.serve(recovered);
    assert_eq!(bench.next(QUEUE), 7);
}

#[test]
fn an_arena_that_is_gone_is_refused_by_name_until_loss_is_accepted() {
    let mut bench = Bench::new();
    bench.append(QUEUE, 3, AckLevel::Appended);
    bench.kill();
    bench.place = None;
    let refused = bench.recover(false).err().unwrap();
    assert!(matches!(refused, StartError::Refused(Refusal::ArenaMissing)), "{refused}");
    assert!(refused.to_string().contains("--accept-loss"), "{refused}");
    let recovered = bench.recover(true).unwrap();
    assert!(recovered.report.gave_up);
}

#[test]
fn a_lost_arena_is_let_go_once_all_is_written_and_a_kill_then_takes_nothing() {
    let mut bench = Bench::new();
    bench.append(QUEUE, 3, AckLevel::Appended);
    let (store, _) = bench.running.as_mut().unwrap();
    store.on_done(Done::ArenaLost, bench.now);
    bench.turn(true);
    assert!(bench.mark.unwrap().arena.is_some(), "three messages lie there alone");
    bench.now.mono_us += 200_000;
    bench.turn(true);
    assert!(bench.mark.unwrap().arena.is_none(), "they are written by now");
    bench.append(QUEUE, 1, AckLevel::Appended);
    assert_eq!(bench.next(QUEUE), 4, "it is written at once, and shown");

    bench.kill();
    bench.place = None;
    let recovered = bench.recover(false).unwrap();
    let report = recovered.report.clone();
    assert_eq!(report.decision, Decision::Scan { gave_up: false });
    assert_eq!((report.records_scanned, report.gave_up), (4, false));
    bench.serve(recovered);
    assert_eq!(bench.next(QUEUE), 4);
}

#[test]
fn an_index_that_is_ahead_of_the_log_is_cut_back_to_it() {
    let mut bench = Bench::new();
    bench.append(QUEUE, 10, AckLevel::Flushed);
    // Two segments of messages that were written and never flushed, and their runs.
    bench.append(QUEUE, 40, AckLevel::Written);
    let runs: Vec<LogOffset> = bench.index.runs.keys().copied().map(LogOffset).collect();
    assert!(runs.len() > 1);
    bench.cut_power();
    let recovered = bench.recover(false).unwrap();
    assert_eq!(recovered.before.unlink_runs, runs);
    assert_eq!(recovered.report.records_scanned, 10);
    assert!(recovered.report.log_end < LogOffset(SEGMENT));
    bench.serve(recovered);
    assert_eq!(bench.next(QUEUE), 10 + OFFSETS_SKIPPED);
}

#[test]
fn offsets_left_out_after_a_loss_stay_left_out_when_nothing_was_sent_since() {
    let mut bench = Bench::new();
    bench.append(QUEUE, 5, AckLevel::Appended);
    let silent = QueueKey { queue: 1, ..QUEUE };
    bench.committed = vec![(silent, QueueOffset(900))];
    bench.cut_power();
    let recovered = bench.recover(false).unwrap();
    bench.serve(recovered);
    // All messages of both queues are gone; their consumers are not.
    assert_eq!(bench.next(QUEUE), OFFSETS_SKIPPED);
    assert_eq!(bench.next(silent), 900 + OFFSETS_SKIPPED);
    bench.kill();
    let recovered = bench.recover(false).unwrap();
    assert!(!recovered.report.gave_up);
    bench.serve(recovered);
    assert_eq!(bench.next(QUEUE), OFFSETS_SKIPPED);
    assert_eq!(bench.next(silent), 900 + OFFSETS_SKIPPED);
}

#[test]
fn a_scan_begins_near_the_end_of_a_long_log_and_finds_what_no_run_has() {
    let mut bench = Bench::new();
    bench.append(QUEUE, 150, AckLevel::Flushed);
    bench.kill();
    let recovered = bench.recover(false).unwrap();
    let report = recovered.report.clone();
    assert!(report.log_end.0 - report.scanned_from.0 <= 2 * SEGMENT, "{report:?}");
    assert!(report.records_scanned < 50, "{report:?}");
    bench.serve(recovered);
    assert_eq!(bench.next(QUEUE), 150);
    // The same without a single run: from the first segment on.
    bench.kill();
    bench.index.runs.clear();
    let recovered = bench.recover(false).unwrap();
    assert_eq!(recovered.report.scanned_from, LogOffset(0));
    assert_eq!(recovered.report.records_scanned, 150);
    bench.serve(recovered);
    assert_eq!(bench.next(QUEUE), 150);
}

#[test]
fn records_below_a_topics_birth_and_of_unknown_topics_belong_to_nobody() {
    let mut bench = Bench::new();
    bench.append(QUEUE, 6, AckLevel::Flushed);
    let end = bench.running.as_ref().unwrap().0.log_range().1;
    bench.kill();
    bench.index.runs.clear();
    let born_later = TopicRecord { id: TopicId(2), birth: end, ..bench.topics[0].clone() };
    for topics in [vec![born_later], vec![]] {
        bench.topics = topics;
        let recovered = bench.recover(false).unwrap();
        assert_eq!(recovered.report.records_of_nobody, 6);
    }
}

#[test]
fn a_log_that_lost_its_tail_brings_births_beyond_its_end_back() {
    let mut bench = Bench::new();
    bench.append(QUEUE, 4, AckLevel::Appended);
    bench.cut_power();
    let recovered = bench.recover(false).unwrap();
    assert_eq!(recovered.before.cut_metadata, Some(recovered.chain.at));
    bench.serve(recovered);
    bench.kill();
    assert_eq!(bench.recover(false).unwrap().before.cut_metadata, None);
}

#[test]
fn a_new_log_begins_at_0_though_its_first_segment_was_never_prepared() {
    let mut bench = Bench::new();
    bench.kill();
    bench.disk = Disk::new(Geometry::new(SEGMENT));
    bench.disk.prepare(LogOffset(SEGMENT));
    let recovered = bench.recover(false).unwrap();
    assert_eq!(recovered.chain.at, LogOffset(0));
    // The old arena goes before the new mark is there, and a start in between must not
    // miss it.
    let between = recovered.mark_recovered(bench.boot).expect("a kill came before");
    assert!(between.clean.is_some() && between.arena.is_none());
    bench.serve(recovered);
    bench.append(QUEUE, 1, AckLevel::Flushed);
    assert_eq!(bench.next(QUEUE), 1);
}

#[test]
fn a_damaged_table_of_bases_is_refused_until_loss_is_accepted() {
    let mut bench = Bench::new();
    bench.append(QUEUE, 2, AckLevel::Flushed);
    bench.kill();
    bench.index.put_bases(&Bases::default());
    bench.index.bases.as_mut().unwrap()[13] ^= 1;
    let refused = bench.recover(false).err().unwrap();
    assert!(matches!(refused, StartError::Bases(_)), "{refused}");
    let recovered = bench.recover(true).unwrap();
    assert!(recovered.report.gave_up && recovered.before.bases.is_some());
    bench.serve(recovered);
    assert_eq!(bench.next(QUEUE), 2 + OFFSETS_SKIPPED);
}

#[test]
fn runs_of_expired_log_are_folded_though_a_crash_kept_them() {
    let mut bench = Bench::new();
    bench.append(QUEUE, 60, AckLevel::Flushed);
    bench.kill();
    bench.disk.drop_segment(LogOffset(0), false);
    let recovered = bench.recover(false).unwrap();
    assert_eq!(recovered.before.fold_runs, [LogOffset(0)]);
    bench.serve(recovered);
    assert_eq!(bench.next(QUEUE), 60);
    let (store, _) = bench.running.as_mut().unwrap();
    let slot = store.open_queue(QUEUE);
    assert!(store.min_offset(slot).0 > 0);
}
