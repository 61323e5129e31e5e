//! Random operations on the index against plain maps: appends, holes, visibility, runs
//! that end, are written late, expire; cold reads; clean stops, crashes, damaged files.
//!
//! `RINGMQ_QUEUE_SEED=n` runs one seed, `RINGMQ_QUEUE_STEPS=n` longer.

use std::collections::BTreeMap;
use std::env;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use ringmq::base::{LogOffset, QueueOffset};
use ringmq::queue::{
    Bases, Boundary, ColdRange, Entry, Found, FrozenRun, IndexError, QueueIndex, QueueKey,
    TimeFound, TopicId, read_cold,
};

/// What a queue should be.
#[derive(Default)]
struct ModelQueue {
    messages: BTreeMap<u64, Entry>,
    /// The offset after the last message ever appended: what a restart must know.
    end: u64,
    next: u64,
    visible: u64,
}

struct World {
    random: SmallRng,
    index: QueueIndex,
    queues: BTreeMap<QueueKey, ModelQueue>,
    topics: Vec<TopicId>,
    topics_made: u32,
    /// The log: every record still there, and where segments end.
    log: BTreeMap<u64, (QueueKey, u64, Entry)>,
    segment_ends: Vec<u64>,
    log_min: u64,
    log_end: u64,
    now_ms: i64,
    /// The disk: run files and the table of bases.
    files: BTreeMap<LogOffset, Vec<u8>>,
    bases: Bases,
    being_written: Vec<Arc<FrozenRun>>,
    /// What has happened, so that a seed that does nothing is noticed.
    cold_reads: u64,
    damages: u64,
    expired: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            random: SmallRng::seed_from_u64(seed),
            index: QueueIndex::new(LogOffset(0)),
            queues: BTreeMap::new(),
            topics: Vec::new(),
            topics_made: 0,
            log: BTreeMap::new(),
            segment_ends: Vec::new(),
            log_min: 0,
            log_end: 0,
            now_ms: 1_700_000_000_000,
            files: BTreeMap::new(),
            bases: Bases::default(),
            being_written: Vec::new(),
            cold_reads: 0,
            damages: 0,
            expired: 0,
        };
        for _ in 0..4 {
            world.make_topic();
        }
        world
    }

    fn step(&mut self) {
        match self.random.random_range(0..1000) {
            0..300 => self.append_some(),
            300..450 => self.make_visible(),
            450..500 => self.end_segment(),
            500..560 => self.finish_a_write(),
            560..580 => self.expire(),
            580..750 => self.read(),
            750..900 => self.search(),
            900..904 => self.remove_topic(),
            904..910 => self.make_topic(),
            910..914 => self.burst(),
            914..920 => self.index.tidy(3),
            920..923 => self.stop_and_start(),
            923..928 => self.crash_and_start(None),
            928..930 => self.crash_with_a_damaged_file(),
            _ => self.check_positions(),
        }
    }

    fn make_topic(&mut self) {
        self.topics_made += 1;
        self.topics.push(TopicId(self.topics_made));
    }

    fn remove_topic(&mut self) {
        if self.topics.len() > 2 {
            let topic = self.topics.swap_remove(self.random.random_range(0..self.topics.len()));
            self.index.remove_topic(topic);
            self.queues.retain(|key, _| key.topic != topic);
        }
    }

    fn some_key(&mut self) -> QueueKey {
        let topic = self.topics[self.random.random_range(0..self.topics.len())];
        // Queue 0 is busy, the others less and less.
        let queue = self.random.random_range(0..4u32) * self.random.random_range(0..4u32) / 2;
        QueueKey { topic, queue }
    }

    fn append_some(&mut self) {
        let key = self.some_key();
        if self.random.random_ratio(1, 50) {
            let slot = self.index.open(key);
            let hole = self.random.random_range(1..1 << 20);
            self.index.skip(slot, hole);
            self.queues.entry(key).or_default().next += hole;
        }
        for _ in 0..self.random.random_range(1..40) {
            self.append(key);
        }
    }

    /// More than an extent at once.
    fn burst(&mut self) {
        let key = self.some_key();
        for _ in 0..self.random.random_range(4000..9000) {
            self.append(key);
        }
        self.make_visible();
    }

    fn append(&mut self, key: QueueKey) {
        self.now_ms += i64::from(self.random.random_ratio(1, 3)) * self.random.random_range(0..5);
        // Records of other kinds lie between.
        self.log_end += self.random.random_range(0..2) * 4096;
        let size = self.random.random_range(91..5000);
        let entry = Entry {
            at: LogOffset(self.log_end),
            size,
            tag: self.random.random(),
            store_ms: self.now_ms,
        };
        let slot = self.index.open(key);
        let offset = self.index.append(slot, entry).0;
        let queue = self.queues.entry(key).or_default();
        assert_eq!(offset, queue.next);
        queue.messages.insert(offset, entry);
        queue.next += 1;
        queue.end = queue.next;
        self.log.insert(self.log_end, (key, offset, entry));
        self.log_end += u64::from(size);
    }

    fn make_visible(&mut self) {
        let some = self.random.random_ratio(1, 2);
        for (key, queue) in &mut self.queues {
            if some && self.random.random_ratio(1, 2) {
                continue;
            }
            let unseen = queue.messages.range(queue.visible..).map(|(offset, _)| offset + 1);
            let ends: Vec<u64> = unseen.collect();
            if let Some(end) = ends.last() {
                let pick = self.random.random_range(0..ends.len());
                let to = if some { ends[pick] } else { *end };
                let slot = self.index.open(*key);
                self.index.advance_visible(slot, QueueOffset(to));
                queue.visible = to;
            }
        }
    }

    fn end_segment(&mut self) {
        self.log_end = (self.log_end + 1).next_multiple_of(1 << 16);
        self.segment_ends.push(self.log_end);
        self.index.roll(LogOffset(self.log_end));
        self.hand_out();
    }

    fn hand_out(&mut self) {
        while let Some(run) = self.index.take_frozen() {
            self.being_written.push(run);
        }
    }

    /// A helper finishes some write; not always the oldest.
    fn finish_a_write(&mut self) {
        self.hand_out();
        if self.being_written.is_empty() {
            return;
        }
        let late = self.random.random_ratio(1, 5);
        let which = if late { self.being_written.len() - 1 } else { 0 };
        let run = self.being_written.remove(which);
        let mut file = Vec::new();
        let directory = run.write_to(&mut file).unwrap();
        self.files.insert(run.start(), file);
        self.index.on_run_persisted(run, directory);
    }

    /// The oldest segments go, though never those that the index still needs.
    fn expire(&mut self) {
        let checkpoint = self.index.checkpoint().0;
        let expirable: Vec<u64> =
            self.segment_ends.iter().copied().filter(|end| *end <= checkpoint).collect();
        let Some(newest) = expirable.len().checked_sub(1) else { return };
        self.log_min = expirable[self.random.random_range(0..=newest)];
        self.segment_ends.retain(|end| *end > self.log_min);
        self.log = self.log.split_off(&self.log_min);
        for queue in self.queues.values_mut() {
            queue.messages.retain(|_, entry| entry.at.0 >= self.log_min);
        }
        self.take_expired_runs();
    }

    fn take_expired_runs(&mut self) {
        for start in self.index.truncate_front(LogOffset(self.log_min)) {
            let file = self.files.remove(&start).expect("an expired run has a file");
            self.bases.fold(&file[..]).unwrap();
            let topics = self.topics.clone();
            self.bases.retain(|topic| topics.contains(&topic));
            let mut table = Vec::new();
            self.bases.write_to(&mut table).unwrap();
            assert_eq!(Bases::read(&table[..]).unwrap(), self.bases);
            self.expired += 1;
        }
    }

    /// Plays the helper for one cold range.
    fn read_cold(&mut self, range: &ColdRange) {
        let mut block = self.index.take_cold_block();
        let file = &self.files[&range.run];
        if self.random.random_ratio(1, 10) {
            let records = self.log.range(range.run.0..range.run_end.0);
            let own = records.filter(|(_, (key, _, _))| *key == range.key);
            assert!(
                block.rebuild(range, own.map(|(_, (_, offset, e))| (QueueOffset(*offset), *e)))
            );
        } else {
            read_cold(&file[..], range, &mut block).unwrap();
        }
        self.index.insert_cold(block);
        self.cold_reads += 1;
    }

    fn some_queue(&mut self) -> Option<QueueKey> {
        let count = self.queues.len();
        let pick = self.random.random_range(0..count.max(1));
        self.queues.keys().nth(pick).copied()
    }

    fn read(&mut self) {
        let Some(key) = self.some_queue() else { return };
        let slot = self.index.open(key);
        let queue = &self.queues[&key];
        let offset = match queue.messages.len() {
            len if len > 0 && self.random.random_ratio(3, 4) => {
                *queue.messages.keys().nth(self.random.random_range(0..len)).unwrap()
            }
            _ => self.random.random_range(0..queue.next + 3),
        };
        let max = self.random.random_range(1..100);
        let mut out = Vec::new();
        let found = loop {
            match self.index.find(slot, QueueOffset(offset), max, &mut out) {
                Found::Cold(range) => self.read_cold(&range),
                found => break found,
            }
        };
        let queue = &self.queues[&key];
        let mut expected = queue.messages.range(offset..).map(|(o, e)| (QueueOffset(*o), *e));
        match found {
            Found::Here => {
                assert!((1..=max).contains(&out.len()));
                assert_eq!(out[0].0.0, offset);
                assert!(out.iter().all(|entry| Some(*entry) == expected.next()));
                assert!(out.last().unwrap().0.0 < queue.visible);
            }
            Found::Hole { next } => {
                let visible = QueueOffset(queue.visible);
                assert_eq!(next, expected.next().map_or(visible, |entry| entry.0.min(visible)));
                assert!(next.0 > offset && out.is_empty());
            }
            Found::End => assert!(offset >= queue.visible && out.is_empty()),
            Found::Cold(_) => unreachable!("read above"),
        }
    }

    fn search(&mut self) {
        let Some(key) = self.some_queue() else { return };
        let slot = self.index.open(key);
        let queue = &self.queues[&key];
        let visible: Vec<(u64, i64)> =
            queue.messages.range(..queue.visible).map(|(o, e)| (*o, e.store_ms)).collect();
        let ms = match visible.len() {
            0 => self.now_ms,
            len => visible[self.random.random_range(0..len)].1 + self.random.random_range(-2..3),
        };
        let min = visible.first().map_or(queue.visible, |first| first.0);
        let lower = visible.iter().find(|(_, t)| *t >= ms).map_or(queue.visible, |found| found.0);
        let upper = visible.iter().rev().find(|(_, t)| *t <= ms).map_or(min, |found| found.0);
        for (boundary, expected) in [(Boundary::Lower, lower), (Boundary::Upper, upper)] {
            let mut reads = 0;
            let found = loop {
                match self.index.search_time(slot, ms, boundary) {
                    TimeFound::At(offset) => break offset.0,
                    TimeFound::Cold(range) => self.read_cold(&range),
                }
                reads += 1;
            };
            assert_eq!(found, expected, "{boundary:?} for {ms} in {key:?}");
            assert!(reads <= 1, "a search needs one extent at most");
        }
    }

    fn check_positions(&mut self) {
        for (key, queue) in &self.queues {
            let slot = self.index.get(*key).expect("queues of living topics are open");
            let first = queue.messages.iter().next();
            let min = first.map_or(queue.visible, |(offset, _)| (*offset).min(queue.visible));
            let positions = (self.index.min(slot), self.index.visible(slot), self.index.next(slot));
            let expected = (QueueOffset(min), QueueOffset(queue.visible), QueueOffset(queue.next));
            assert_eq!(positions, expected, "min, visible and next of {key:?}");
            let earliest = first.filter(|(offset, _)| **offset < queue.visible);
            assert_eq!(self.index.earliest_ms(slot), earliest.map(|(_, entry)| entry.store_ms));
        }
    }

    fn stop_and_start(&mut self) {
        self.index.roll(LogOffset(self.log_end));
        self.hand_out();
        while !self.being_written.is_empty() {
            self.finish_a_write();
        }
        assert_eq!(self.index.checkpoint(), LogOffset(self.log_end));
        self.crash_and_start(None);
    }

    fn crash_with_a_damaged_file(&mut self) {
        // The log from the oldest run on is still there, as `expire` sees to.
        let count = self.files.len();
        if let Some(start) = self.files.keys().nth(self.random.random_range(0..count.max(1))) {
            self.crash_and_start(Some(*start));
        }
    }

    /// What was not on disk is gone: the index comes from files and the rest of the log.
    fn crash_and_start(&mut self, damaged: Option<LogOffset>) {
        self.being_written.clear();
        let topics = self.topics.clone();
        let keep = |topic: TopicId| topics.contains(&topic);
        if let Some(file) = damaged.and_then(|start| self.files.get_mut(&start)) {
            // Somewhere in header or directory; entries are not read at a start.
            let at = if self.random.random_ratio(1, 2) { 20 } else { file.len() - 20 };
            file[at] ^= 1 << self.random.random_range(0..8);
        }
        self.index = QueueIndex::new(LogOffset(self.log_min));
        let mut refused = None;
        for (start, file) in &self.files {
            match self.index.load_run(&file[..], LogOffset(self.log_end), keep) {
                Ok(()) => assert_ne!(Some(*start), damaged),
                Err(error) => {
                    if let IndexError::Damaged { .. } = error {
                        assert_eq!(Some(*start), damaged);
                        self.damages += 1;
                    }
                    refused = Some(*start);
                    break;
                }
            }
        }
        if let Some(start) = refused {
            self.files.split_off(&start);
        }
        self.index.load_bases(&self.bases, keep);
        let checkpoint = self.index.checkpoint();
        let mut ends = self.segment_ends.iter().filter(|end| **end > checkpoint.0).peekable();
        for (at, (key, offset, entry)) in self.log.range(checkpoint.0..) {
            while let Some(end) = ends.next_if(|end| *end <= at) {
                self.index.roll(LogOffset(*end));
            }
            if keep(key.topic) {
                self.index.append_recovered(*key, QueueOffset(*offset), *entry).unwrap();
            }
        }
        for end in ends {
            self.index.roll(LogOffset(*end));
        }
        self.index.dispatched_to(LogOffset(self.log_end));
        self.hand_out();
        for queue in self.queues.values_mut() {
            queue.next = queue.end;
            queue.visible = queue.end;
        }
        self.queues.retain(|_, queue| queue.end > 0);
        self.take_expired_runs();
        self.check_positions();
    }
}

#[test]
fn the_index_answers_as_plain_maps_do() {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let given = env::var("RINGMQ_QUEUE_SEED").map(|seed| seed.parse().expect("a number"));
    let seeds = given.map_or_else(|_| vec![1, 2, 3, time], |seed| vec![seed]);
    let steps = env::var("RINGMQ_QUEUE_STEPS").map_or(4000, |steps| steps.parse().unwrap());
    for seed in seeds {
        println!("RINGMQ_QUEUE_SEED={seed}");
        let mut world = World::new(seed);
        for _ in 0..steps {
            world.step();
        }
        world.stop_and_start();
        println!("{} cold, {} damages, {} expired", world.cold_reads, world.damages, world.expired);
        assert!(world.cold_reads > 50 && world.expired > 5, "the seed did too little");
    }
}
