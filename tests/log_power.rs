//! Power cuts, life after life: what was flushed is there, whatever became of the rest.

mod log_common;

use std::collections::BTreeMap;

use log_common::{Bench, Options, scan_disk};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use ringmq::base::LogOffset;
use ringmq::base::memory::LogRing;
use ringmq::log::{AckLevel, FlushMethod, LogIntent, LogStart, OpId};

const SEGMENT: u64 = 64 * 1024;

/// A write that the media may or may not keep.
struct Volatile {
    op: OpId,
    at: LogOffset,
    bytes: Vec<u8>,
    completed: bool,
}

/// A disk with a volatile cache.
#[derive(Default)]
struct Media {
    kept: BTreeMap<u64, Vec<u8>>,
    cache: Vec<Volatile>,
    /// Of the fdatasync under way: the writes that it covers.
    covered: Vec<OpId>,
}

impl Media {
    fn keep(&mut self, at: LogOffset, bytes: &[u8]) {
        let base = at.0 / SEGMENT * SEGMENT;
        let position = (at.0 - base) as usize;
        let segment = self.kept.get_mut(&base).expect("a prepared segment");
        segment[position..position + bytes.len()].copy_from_slice(bytes);
    }

    fn start(&mut self, intent: LogIntent, bench: &Bench) {
        match intent {
            LogIntent::Write { op, at, len, .. } => {
                let bytes = bench.ring.readable(at, len as usize).to_vec();
                self.cache.push(Volatile { op, at, bytes, completed: false });
            }
            LogIntent::Sync { segment, .. } => {
                let inside = |at: LogOffset| at >= segment && at < segment + SEGMENT;
                let done = self.cache.iter().filter(|write| write.completed && inside(write.at));
                self.covered = done.map(|write| write.op).collect();
            }
            LogIntent::PrepareSegment { .. } | LogIntent::HurrySegment { .. } => {
                unreachable!("done at once")
            }
        }
    }

    fn complete(&mut self, intent: LogIntent) {
        match intent {
            LogIntent::Write { op, durable, .. } => {
                let i = self.cache.iter().position(|write| write.op == op).unwrap();
                self.cache[i].completed = true;
                if durable {
                    let write = self.cache.swap_remove(i);
                    self.keep(write.at, &write.bytes);
                }
            }
            LogIntent::Sync { .. } => {
                let covered = std::mem::take(&mut self.covered);
                let cache = std::mem::take(&mut self.cache);
                for write in cache {
                    match covered.contains(&write.op) {
                        true => self.keep(write.at, &write.bytes),
                        false => self.cache.push(write),
                    }
                }
            }
            LogIntent::PrepareSegment { .. } | LogIntent::HurrySegment { .. } => {
                unreachable!("done at once")
            }
        }
    }

    /// The cache is lost, kept, or torn at 512 bytes, write by write.
    fn cut(&mut self, rng: &mut SmallRng) {
        for write in std::mem::take(&mut self.cache) {
            let fate = rng.random_range(0..3);
            for (n, sector) in write.bytes.chunks(512).enumerate() {
                if fate == 0 || (fate == 1 && rng.random()) {
                    self.keep(write.at + n as u64 * 512, sector);
                }
            }
        }
    }
}

fn live(rng: &mut SmallRng, bench: &mut Bench, media: &mut Media) {
    let mut started = 0;
    for _ in 0..rng.random_range(1..50) {
        let body = vec![rng.random(); rng.random_range(0..9_000)];
        let total = log_common::record(&body).stored_len() as u64;
        let edge = bench.log.reclaim_edge(total).max(bench.ring.reclaimed());
        bench.ring.reclaim(edge);
        if bench.log.room_for(total, &bench.ring).is_ok() {
            bench.append(&[&body]);
        }
        match rng.random_range(0..5) {
            0 => bench.log.demand(AckLevel::Written),
            1 => bench.log.demand(AckLevel::Flushed),
            _ => {}
        }
        bench.poll();
        for base in bench.segments.keys() {
            // Recycled segments hold anything.
            media.kept.entry(*base).or_insert_with(|| vec![0x77; SEGMENT as usize]);
        }
        for intent in &bench.pending[started..] {
            media.start(*intent, bench);
        }
        while !bench.pending.is_empty() && rng.random_range(0..4) > 0 {
            let which = rng.random_range(0..bench.pending.len());
            media.complete(bench.pending[which]);
            bench.complete(which);
        }
        started = bench.pending.len();
        bench.pass(rng.random_range(0..200_000));
    }
}

#[test]
fn what_was_flushed_survives_power_cuts_life_after_life() {
    for seed in 0..120 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut media = Media::default();
        let mut chain = Default::default();
        let mut known: Vec<(LogOffset, Vec<u8>)> = Vec::new();
        for life in 1..=5 {
            let method = match rng.random() {
                true => FlushMethod::Dsync,
                false => FlushMethod::Fdatasync,
            };
            let options = Options { method, life, ..Options::default() };
            let start = LogStart { chain, ..LogStart::default() };
            let mut bench = Bench::at(&options, start, media.kept.clone());
            live(&mut rng, &mut bench, &mut media);
            let context = format!("seed {seed}, life {life}, {method:?}");
            let flushed = bench.log.watermarks().flushed();
            known.extend(bench.records.iter().map(|(at, body)| (at.at, body.clone())));
            media.cut(&mut rng);
            let (scanned, found) = scan_disk(&media.kept, &options);
            assert_eq!(scanned.rot_total, 0, "{context}: {scanned:?}");
            assert!(scanned.end.at >= flushed, "{context}: {} < {flushed}", scanned.end.at);
            assert!(scanned.flushed <= flushed.max(chain.at), "{context}");
            known.retain(|(at, _)| *at < scanned.end.at);
            assert_eq!(found, known, "{context}");
            chain = scanned.end;
        }
    }
}
