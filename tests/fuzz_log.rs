//! Random damage to records, footers and whole images: no panic, no hang, and nothing
//! passes that was not written. `RINGMQ_FUZZ_SECONDS` sets the length (2), and
//! `RINGMQ_FUZZ_SEED` repeats a run.

mod log_common;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use log_common::{Bench, Disk, Options, scan_disk};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use ringmq::base::LogOffset;
use ringmq::base::memory::LogRing;
use ringmq::log::footer::Footer;
use ringmq::log::record::Placement;
use ringmq::log::replay::Replay;
use ringmq::log::scan::{Found, Scan, ScanFrom, scan};
use ringmq::log::{AckLevel, Geometry, RecordView, Stored};

/// Runs `one` with fresh randomness until the time is over.
fn for_a_while(one: &mut dyn FnMut(&mut SmallRng)) {
    let setting = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seconds = setting("RINGMQ_FUZZ_SECONDS").unwrap_or(2);
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let first = setting("RINGMQ_FUZZ_SEED").unwrap_or_else(clock);
    let end = Instant::now() + Duration::from_secs(seconds);
    for seed in first.. {
        // Shown only when the test fails.
        println!("RINGMQ_FUZZ_SEED={seed}");
        one(&mut SmallRng::seed_from_u64(seed));
        if Instant::now() >= end {
            return;
        }
    }
}

fn random_bytes(rng: &mut SmallRng, max: usize) -> Vec<u8> {
    let len = rng.random_range(0..=max);
    (0..len).map(|_| rng.random()).collect()
}

/// Touches every accessor: none may reach out of the record.
fn read_all(view: &RecordView<'_>) {
    let parts = view.body().len() + view.topic().len() + view.properties().len();
    assert!(parts + 91 <= view.stored_len());
    let _ = (view.queue_id(), view.flag(), view.queue_offset(), view.physical_offset());
    let _ = (view.sys_flag(), view.born_ms(), view.born_host(), view.store_ms());
    let _ = (view.store_host(), view.reconsume_times(), view.prepared_offset());
    let _ = (view.check_body(), view.is_dispatched(), Footer::in_record(view));
}

#[test]
fn damaged_records_are_errors_or_readable() {
    for_a_while(&mut |rng| {
        let at = LogOffset(rng.random_range(0..1 << 40));
        let body = random_bytes(rng, 400);
        let record = log_common::record(&body);
        let mut bytes = vec![0; record.stored_len()];
        record.encode(Placement { at, store_ms: 1 }, &mut bytes);
        for _ in 0..rng.random_range(0..4) {
            let i = rng.random_range(0..bytes.len());
            bytes[i] = match rng.random_range(0..4) {
                0 => 0,
                1 => 0xFF,
                2 => 0x7F,
                _ => rng.random(),
            };
        }
        bytes.truncate(rng.random_range(0..=bytes.len()));
        if let Ok(Stored::Record(view)) = Stored::parse(&bytes, at) {
            read_all(&view);
        }
        let noise = random_bytes(rng, 200);
        if let Ok(Stored::Record(view)) = Stored::parse(&noise, at) {
            read_all(&view);
        }
        assert_eq!(Footer::in_block_tail(&noise, at), None);
    });
}

/// A log of a few segments, its bodies by offset.
fn image(rng: &mut SmallRng) -> (Bench, HashMap<u64, Vec<u8>>) {
    let mut bench = Bench::new(&Options::default());
    for _ in 0..rng.random_range(1..30) {
        let bodies = [random_bytes(rng, 3_000), random_bytes(rng, 50), random_bytes(rng, 9_000)];
        let bodies: Vec<&[u8]> = bodies.iter().map(|body| &body[..]).collect();
        bench.append(&bodies[..rng.random_range(1..=3)]);
        let levels = [AckLevel::Appended, AckLevel::Written, AckLevel::Flushed];
        bench.log.demand(levels[rng.random_range(0..3)]);
        bench.pass(rng.random_range(0..200_000));
        bench.settle();
    }
    let bodies = bench.records.iter().map(|(placed, body)| (placed.at.0, body.clone())).collect();
    (bench, bodies)
}

/// A footer whose topic has changed is a record like others, and indexed nowhere.
fn is_damaged_footer(found: &Found<'_>) -> bool {
    !found.sound_group && !found.record.is_dispatched()
}

fn damage(rng: &mut SmallRng, segments: &mut BTreeMap<u64, Vec<u8>>) {
    let bases: Vec<u64> = segments.keys().copied().collect();
    for _ in 0..rng.random_range(1..6) {
        let base = bases[rng.random_range(0..bases.len())];
        let other = bases[rng.random_range(0..bases.len())];
        let unit = [1, 512, 4096][rng.random_range(0..3)];
        let pick = |rng: &mut SmallRng| rng.random_range(0..65_536 / unit) * unit;
        let (at, from) = (pick(rng), pick(rng));
        let source = segments[&other][from..from + unit].to_vec();
        let target = &mut segments.get_mut(&base).unwrap()[at..at + unit];
        match rng.random_range(0..4) {
            0 => target[0] ^= 1 << rng.random_range(0..8),
            1 => target.fill(0),
            2 => target.copy_from_slice(&source),
            _ => rng.fill(target),
        }
    }
    if rng.random_bool(0.1) && bases.len() > 1 {
        segments.remove(&bases[rng.random_range(0..bases.len())]);
    }
}

#[test]
fn a_scan_over_a_damaged_image_shows_nothing_that_was_not_written() {
    for_a_while(&mut |rng| {
        let (bench, bodies) = image(rng);
        let end = bench.log.watermarks().appended();
        let (scanned, found) = scan_disk(&bench.segments, &Options::default());
        assert_eq!(scanned.rot_total, 0);
        assert_eq!(found.len() as u64, scanned.records);
        for _ in 0..8 {
            let mut segments = bench.segments.clone();
            damage(rng, &mut segments);
            let disk = Disk::new(&segments, 65_536);
            let mut last = None;
            let scanned = scan(&disk, disk.scan_from(ScanFrom::Oldest), &mut |found| {
                assert!(last < Some(found.at), "in log order, none twice");
                last = Some(found.at);
                match bodies.get(&found.at.0) {
                    Some(body) => assert_eq!(found.record.body(), body, "at {}", found.at),
                    None => assert!(is_damaged_footer(&found), "at {}", found.at),
                }
            });
            let Ok(scanned) = scanned else { continue }; // A segment is missing.
            // Where all segments with records are gone, it ends where the rest begins.
            let oldest = LogOffset(*segments.first_key_value().unwrap().0);
            assert!(scanned.end.at <= end.max(oldest));
            assert!(scanned.flushed <= bench.log.watermarks().flushed().max(oldest));
            assert!(scanned.rot.iter().all(|rot| rot.start < rot.end && rot.end <= end));
        }
    });
}

#[test]
fn a_replay_of_a_damaged_arena_is_refused_or_right() {
    for_a_while(&mut |rng| {
        let (bench, bodies) = image(rng);
        let mut ring = bench.ring.after_crash();
        let (start, edge) = (ring.reclaimed(), ring.sealed());
        let mut segments = bench.segments.clone();
        // All that the arena still has is torn out of the disk, down to some group.
        let from = rng.random_range(start.0..=edge.0) / 4096 * 4096;
        for (base, bytes) in &mut segments {
            let keep = from.saturating_sub(*base).min(65_536);
            bytes[keep as usize..].fill(0x11);
        }
        let damaged = rng.random_bool(0.5).then(|| rng.random_range(start.0..=edge.0));
        if let Some(at) = damaged {
            ring.corrupt(LogOffset(at));
        }
        let disk = Disk::new(&segments, 65_536);
        let request = Scan { arena_start: Some(start), ..disk.scan_from(ScanFrom::Oldest) };
        let mut seen = 0;
        let scanned = scan(&disk, request, &mut |_| seen += 1).expect("readable");
        let geometry = Geometry::new(65_536);
        let replay = Replay::check(&ring, geometry, &scanned, 2, &mut |found| {
            seen += 1;
            match bodies.get(&found.at.0) {
                Some(body) => assert_eq!(found.record.body(), body, "at {}", found.at),
                None => assert!(damaged.is_some() && !found.record.is_dispatched()),
            }
        });
        match (replay, damaged) {
            (Ok(replay), None) => {
                assert_eq!(seen, bodies.len());
                assert!(replay.end.at >= edge);
            }
            (Err(error), None) => {
                // Only if the disk lost more than the arena has.
                assert!(scanned.end.at < start, "{error}");
            }
            _ => {}
        }
    });
}
