//! Crashes of the process: the arena outlives it, and what was published comes back.

mod log_common;

use std::collections::BTreeMap;

use log_common::{Bench, Disk, Options, VecRing};
use ringmq::base::LogOffset;
use ringmq::base::memory::LogRing;
use ringmq::log::replay::{Replay, ReplayError};
use ringmq::log::scan::{Scan, ScanFrom, Scanned, scan};
use ringmq::log::{AckLevel, Geometry, LogIntent, LogStart};

type Records = Vec<(LogOffset, Vec<u8>)>;
type Segments = BTreeMap<u64, Vec<u8>>;

/// Scans `segments` and checks the replay of `ring`: what a start does.
fn start(
    ring: &VecRing,
    segments: &Segments,
    life: u64,
) -> (Scanned, Result<Replay, ReplayError>, Records) {
    let disk = Disk::new(segments, 64 * 1024);
    let arena_start = Some(ring.reclaimed());
    let request = Scan { arena_start, ..disk.scan_from(ScanFrom::Oldest) };
    let mut records = Vec::new();
    let scanned = scan(&disk, request, &mut |found| {
        records.push((found.at, found.record.body().to_vec()));
    });
    let scanned = scanned.expect("readable");
    let geometry = Geometry::new(64 * 1024);
    let replay = Replay::check(ring, geometry, &scanned, life, &mut |found| {
        records.push((found.at, found.record.body().to_vec()));
    });
    (scanned, replay, records)
}

fn perform(replay: &Replay, ring: &VecRing, segments: &mut Segments, pieces: usize) {
    for (at, bytes) in replay.writes(ring).take(pieces) {
        assert!(at.0 % 4096 == 0 && bytes.len() % 4096 == 0 && bytes.len() <= 512 * 1024);
        let base = at.0 / 65_536 * 65_536;
        let position = (at.0 - base) as usize;
        segments.get_mut(&base).expect("prepared")[position..position + bytes.len()]
            .copy_from_slice(bytes);
    }
}

fn expected(bench: &Bench) -> Records {
    bench.records.iter().map(|(placed, body)| (placed.at, body.clone())).collect()
}

/// A life with groups in every state: flushed, written, in flight, closed, and running.
fn busy_life() -> Bench {
    let mut bench = Bench::new(&Options::default());
    let mut level = [AckLevel::Flushed, AckLevel::Written, AckLevel::Appended].iter().cycle();
    for n in 0..20u8 {
        bench.append(&[&vec![n; usize::from(n) * 300], b"x"]);
        bench.log.demand(*level.next().unwrap());
        bench.settle();
        bench.pass(1_000);
    }
    for n in 0..3u8 {
        bench.append(&[&vec![n; 7_000]]);
        bench.log.demand(AckLevel::Written);
        bench.poll();
    }
    bench.append(&[b"only appended", b"and so is this"]);
    assert!(bench.pending.len() >= 3);
    bench
}

#[test]
fn all_that_was_published_comes_back_whichever_writes_had_landed() {
    let count = busy_life().pending.len();
    for landed in 0..1u32 << count {
        let mut bench = busy_life();
        for (n, intent) in bench.pending.clone().into_iter().enumerate() {
            if landed & (1 << n) != 0 {
                bench.land(intent);
            }
        }
        let expected = expected(&bench);
        let edge = bench.log.watermarks().appended();
        let late = bench.pending.clone();
        let (mut segments, ring) = (bench.segments, bench.ring.after_crash());
        let (scanned, replay, records) = start(&ring, &segments, 2);
        let replay = replay.unwrap();
        assert_eq!(records, expected, "{landed:b}");
        assert!(replay.records >= 2 && replay.end.at >= edge);
        perform(&replay, &ring, &mut segments, usize::MAX);
        // Writes of the killed process that land after all change nothing.
        let before = segments.clone();
        for intent in late {
            let LogIntent::Write { at, len, .. } = intent else { continue };
            let base = at.0 / 65_536 * 65_536;
            let position = (at.0 - base) as usize;
            segments.get_mut(&base).unwrap()[position..position + len as usize]
                .copy_from_slice(ring.readable(at, len as usize));
        }
        assert_eq!(segments, before);
        assert!(scanned.end.at <= edge);
        // The next life goes on from there, and a scan without the arena finds it all.
        let life = Options { life: 3, ..Options::default() };
        let log_start = LogStart { chain: replay.end, ..LogStart::default() };
        let mut next = Bench::at(&life, log_start, segments);
        next.append(&[b"next life"]);
        let (segments, _) = next.stop();
        let (_, found) = log_common::scan_disk(&segments, &Options::default());
        assert_eq!(found[..expected.len()], expected);
        assert_eq!(found.last().unwrap().1, b"next life");
    }
}

#[test]
fn a_group_closed_and_not_written_keeps_the_footer_of_its_own_life() {
    let mut bench = Bench::new(&Options::default());
    bench.append(&[b"in flight when the process died"]);
    bench.log.demand(AckLevel::Written);
    bench.poll();
    let LogIntent::Write { at, len, .. } = bench.pending[0] else { panic!() };
    let mut segments = bench.segments.clone();
    let ring = bench.ring.after_crash();
    let (_, replay, _) = start(&ring, &segments, 2);
    let replay = replay.unwrap();
    perform(&replay, &ring, &mut segments, usize::MAX);
    // The kernel may still perform the old write; it must find its own bytes there.
    assert_eq!(segments[&0][..len as usize], *ring.readable(at, len as usize));
    assert_eq!((replay.end.life, replay.end.sequence), (1, 1));
}

#[test]
fn a_replay_that_is_killed_itself_is_done_again() {
    let bench = busy_life();
    let expected = expected(&bench);
    let (segments, ring) = (bench.segments, bench.ring.after_crash());
    let (_, first, _) = start(&ring, &segments, 2);
    let first = first.unwrap();
    let pieces = first.writes(&ring).count();
    for performed in 0..=pieces {
        let mut segments = segments.clone();
        perform(&first, &ring, &mut segments, performed);
        let (scanned, again, records) = start(&ring, &segments, 2);
        let again = again.unwrap();
        assert_eq!(records, expected, "after {performed} of {pieces} writes");
        perform(&again, &ring, &mut segments, usize::MAX);
        assert_eq!(again.end.at, first.end.at);
        if performed == pieces {
            assert_eq!((again.records, scanned.end), (0, first.end));
        }
        let (scanned, found) = log_common::scan_disk(&segments, &Options::default());
        assert_eq!((scanned.end.at, found), (first.end.at, expected.clone()));
    }
}

#[test]
fn a_crash_at_any_moment_of_many_turns_loses_nothing_published() {
    let mut seed = 20u64;
    let mut random = move |bound: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % bound
    };
    for run in 0..150 {
        let mut bench = Bench::new(&Options::default());
        for _ in 0..random(60) {
            let body = vec![b'r'; random(12_000) as usize];
            let total = log_common::record(&body).stored_len() as u64;
            let edge = bench.log.reclaim_edge(total).max(bench.ring.reclaimed());
            bench.ring.reclaim(edge);
            if bench.log.room_for(total, &bench.ring).is_ok() {
                bench.append(&[&body]);
            }
            match random(4) {
                0 => bench.log.demand(AckLevel::Written),
                1 => bench.log.demand(AckLevel::Flushed),
                _ => {}
            }
            bench.poll();
            while !bench.pending.is_empty() && random(3) > 0 {
                let which = random(bench.pending.len() as u64) as usize;
                bench.complete(which);
            }
            bench.pass(random(3_000));
        }
        // Some of what is in flight has landed, perhaps only in part.
        for intent in bench.pending.clone() {
            if random(2) == 0 {
                bench.land(intent);
            }
        }
        let expected = expected(&bench);
        let (segments, ring) = (bench.segments, bench.ring.after_crash());
        let (_, replay, records) = start(&ring, &segments, 2);
        replay.unwrap_or_else(|error| panic!("run {run}: {error}"));
        assert_eq!(records, expected, "run {run}");
    }
}

#[test]
fn a_damaged_record_below_the_published_edge_is_refused_by_name() {
    let bench = busy_life();
    let written = bench.log.watermarks().written();
    let acknowledged: Vec<_> =
        bench.records.iter().filter(|(placed, _)| placed.at >= written).cloned().collect();
    assert!(acknowledged.len() >= 4);
    let segments = bench.segments.clone();
    for (placed, body) in acknowledged {
        // Its magic, and a byte of its body.
        for byte in [4, 88 + body.len() as u64 - 1] {
            let mut ring = busy_life().ring.after_crash();
            ring.corrupt(placed.at + byte);
            let (_, replay, _) = start(&ring, &segments, 2);
            let error = replay.unwrap_err();
            assert!(matches!(error, ReplayError::Record(e) if e.at == placed.at), "{error}");
            assert!(error.to_string().contains(&placed.at.to_string()), "{error}");
        }
    }
}

#[test]
fn damage_that_only_the_group_checksum_sees_is_refused_in_closed_groups() {
    let bench = busy_life();
    let written = bench.log.watermarks().written();
    let segments = bench.segments.clone();
    let first = bench.records.iter().find(|(placed, _)| placed.at >= written).unwrap().0;
    let mut ring = bench.ring.after_crash();
    ring.corrupt(first.at + 15); // The queue id.
    let (_, replay, _) = start(&ring, &segments, 2);
    assert!(matches!(replay, Err(ReplayError::Group { start, .. }) if start == written));
}

#[test]
fn an_arena_that_does_not_continue_the_log_is_refused() {
    let bench = busy_life();
    let mut segments = bench.segments.clone();
    let (edge, ring) = (bench.log.watermarks().appended(), bench.ring.after_crash());
    let mut later = VecRing::new(ring.size(), LogOffset(65_536 * 2)).after_crash();
    let (scanned, replay, _) = start(&later, &segments, 2);
    let log_end = scanned.end.at;
    let arena_start = later.reclaimed();
    assert_eq!(replay.unwrap_err(), ReplayError::Gap { log_end, arena_start });
    // An arena that published less than the disk holds is not this log's.
    let (_, replay, _) = start(&ring, &segments, 2);
    perform(&replay.unwrap(), &ring, &mut segments, usize::MAX);
    later = VecRing::new(ring.size(), LogOffset(0)).after_crash();
    let (scanned, replay, _) = start(&later, &segments, 2);
    assert!(scanned.end.at > edge);
    let beyond = ReplayError::LogBeyondEdge { log_end: scanned.end.at, edge: later.sealed() };
    assert_eq!(replay.unwrap_err(), beyond);
}

#[test]
fn records_above_the_published_edge_do_not_come_back() {
    let mut bench = busy_life();
    let expected = expected(&bench);
    // A crash inside a turn: the batch lies in the ring, and nothing says so.
    let record = log_common::record(b"never acknowledged");
    let total = record.stored_len() as u64;
    bench.log.begin_batch(total, bench.now, &mut bench.ring);
    bench.log.append(&mut bench.ring, &record);
    let (segments, ring) = (bench.segments, bench.ring.after_crash());
    let (_, replay, records) = start(&ring, &segments, 2);
    replay.unwrap();
    assert_eq!(records, expected);
}
