//! What a start finds in images of the disk that were cut, torn, reordered or rotten.

mod log_common;

use std::collections::BTreeMap;
use std::io;

use log_common::{BLOCK, Bench, Disk, Options, scan_disk};
use ringmq::base::LogOffset;
use ringmq::log::footer::Footer;
use ringmq::log::scan::{Broken, ScanFrom, SegmentSource, ends_with, scan};
use ringmq::log::{AckLevel, ChainEnd, Geometry, LogIntent, LogStart};

/// A log of groups of several sizes, at `level`; with the end of each group.
fn sample(options: &Options, groups: u64, level: AckLevel) -> (Bench, Vec<LogOffset>) {
    let mut bench = Bench::new(options);
    let mut ends = vec![LogOffset(0)];
    for n in 0..groups {
        let body = vec![n as u8; (n as usize * 1_733) % 9_000];
        bench.append(&[&body, b"second", &[n as u8; 40]]);
        bench.log.demand(level);
        bench.settle();
        bench.pass(2_000);
        ends.push(bench.log.watermarks().appended());
    }
    (bench, ends)
}

/// The records of `bench` that lie below `end`.
fn below(bench: &Bench, end: LogOffset) -> Vec<(LogOffset, Vec<u8>)> {
    let records = bench.records.iter().filter(|(placed, _)| placed.at < end);
    records.map(|(placed, body)| (placed.at, body.clone())).collect()
}

#[test]
fn a_whole_log_is_found_whole() {
    let (bench, ends) = sample(&Options::default(), 30, AckLevel::Flushed);
    assert!(bench.segments.len() > 3, "it spans segments");
    let (scanned, found) = scan_disk(&bench.segments, &Options::default());
    assert_eq!(scanned.end.at, *ends.last().unwrap());
    assert_eq!(scanned.end, bench.log.checkpoint());
    assert_eq!(found, below(&bench, scanned.end.at));
    assert!(scanned.rot.is_empty());
}

#[test]
fn a_scan_begins_at_a_checkpoint_as_well() {
    let (mut bench, _) = sample(&Options::default(), 10, AckLevel::Flushed);
    let checkpoint = bench.log.checkpoint();
    bench.append(&[b"behind"]);
    bench.log.demand(AckLevel::Flushed);
    bench.settle();
    let disk = Disk::new(&bench.segments, 64 * 1024);
    let mut bodies = Vec::new();
    let request = disk.scan_from(ScanFrom::Checkpoint(checkpoint));
    let scanned =
        scan(&disk, request, &mut |found| bodies.push(found.record.body().to_vec())).unwrap();
    assert_eq!(bodies, [b"behind"]);
    assert_eq!(scanned.end, bench.log.checkpoint());
    // Below the oldest segment a checkpoint is void, and the oldest segment serves.
    let mut fewer = bench.segments.clone();
    fewer.pop_first();
    let disk = Disk::new(&fewer, 64 * 1024);
    let void = ChainEnd { at: LogOffset(BLOCK), ..ChainEnd::default() };
    let scanned = scan(&disk, disk.scan_from(ScanFrom::Checkpoint(void)), &mut |_| {}).unwrap();
    assert_eq!((scanned.end, scanned.rot_total), (bench.log.checkpoint(), 0));
}

/// Cut a log at every byte near an edge, and at every 97th elsewhere, as a crash might.
#[test]
fn whole_groups_survive_a_cut_anywhere_and_torn_ones_go() {
    let options = Options::default();
    let (bench, ends) = sample(&options, 6, AckLevel::Written);
    let end = ends.last().unwrap().0;
    let near = |cut: u64| ends.iter().any(|edge| edge.0.abs_diff(cut) < 120);
    for cut in (0..=end).filter(|cut| near(*cut) || cut % 97 == 0) {
        let mut image = bench.segments.clone();
        let first = image.get_mut(&0).unwrap();
        first[cut as usize..].fill(0xD7);
        let (scanned, found) = scan_disk(&image, &options);
        let last_whole = *ends.iter().rfind(|edge| edge.0 <= cut).unwrap();
        assert_eq!(scanned.end.at, last_whole, "cut at byte {cut}");
        assert_eq!(found, below(&bench, last_whole), "cut at byte {cut}");
        assert_eq!(scanned.rot_total, 0);
    }
}

#[test]
fn a_group_with_any_sector_torn_out_is_gone_as_a_whole() {
    let options = Options::default();
    let (bench, ends) = sample(&options, 6, AckLevel::Written);
    for sector in 0..ends.last().unwrap().0 / 512 {
        let at = (sector * 512) as usize;
        let mut image = bench.segments.clone();
        let bytes = &mut image.get_mut(&0).unwrap()[at..at + 512];
        bytes.fill(0x5A); // What the sector held before.
        let (scanned, found) = scan_disk(&image, &options);
        let end = *ends.iter().rfind(|edge| edge.0 <= sector * 512).unwrap();
        assert_eq!(scanned.end.at, end, "sector {sector}");
        assert_eq!(found, below(&bench, end), "sector {sector}");
    }
}

#[test]
fn groups_that_landed_out_of_order_end_at_the_first_gap() {
    for landed in 0..32u32 {
        let options = Options::default();
        let mut bench = Bench::new(&options);
        let mut ends = vec![LogOffset(0)];
        for body in [b"a", b"b", b"c", b"d", b"e"] {
            bench.append(&[body]);
            bench.log.demand(AckLevel::Written);
            bench.poll();
            ends.push(bench.log.watermarks().appended());
        }
        let pending: Vec<LogIntent> = bench.pending.clone();
        for (n, intent) in pending.iter().enumerate() {
            if landed & (1 << n) != 0 {
                bench.land(*intent);
            }
        }
        let (scanned, _) = scan_disk(&bench.segments, &options);
        assert_eq!(scanned.end.at, ends[landed.trailing_ones() as usize], "{landed:05b}");
    }
}

#[test]
fn rot_below_the_flushed_edge_costs_only_the_record_it_hit() {
    let options = Options::default();
    let (bench, ends) = sample(&options, 12, AckLevel::Flushed);
    let last_named = ends[ends.len() - 2];
    for (i, (placed, _)) in bench.records.iter().enumerate() {
        // In the size, the magic, the physical offset, the body's length, and the body.
        for byte in [1, 5, 30, 86, 88] {
            if byte == 88 && bench.records[i].1.is_empty() {
                continue;
            }
            let mut image = bench.segments.clone();
            let base = placed.at.0 / options.segment * options.segment;
            image.get_mut(&base).unwrap()[(placed.at.0 - base) as usize + byte] ^= 0x10;
            let (scanned, found) = scan_disk(&image, &options);
            if placed.at >= last_named {
                assert_eq!(scanned.end.at, last_named, "the last group ends the log");
                continue;
            }
            assert_eq!(scanned.end.at, *ends.last().unwrap(), "record {i} byte {byte}");
            let mut expected = below(&bench, scanned.end.at);
            expected.remove(i);
            assert_eq!(found, expected, "record {i} byte {byte}");
            let [rot] = &scanned.rot[..] else { panic!("{:?}", scanned.rot) };
            assert_eq!(rot.lost[0].at, placed.at);
            assert!(rot.start <= placed.at && placed.at < rot.end);
        }
    }
}

#[test]
fn rot_in_a_body_is_reported_with_offset_and_both_checksums() {
    let options = Options::default();
    let (bench, _) = sample(&options, 4, AckLevel::Flushed);
    let mut image = bench.segments.clone();
    let placed = bench.records[4].0;
    image.get_mut(&0).unwrap()[placed.at.0 as usize + 90] ^= 1;
    let (scanned, _) = scan_disk(&image, &options);
    let rot = &scanned.rot[0];
    let Broken::GroupCrc { start, stored, computed } = rot.cause else { panic!("{rot:?}") };
    assert!(start < placed.at && stored != computed);
    let text = rot.lost[0].to_string();
    assert!(text.contains(&format!("log offset {}", placed.at)), "{text}");
    assert!(text.contains("stored 0x") && text.contains("computed 0x"), "{text}");
}

#[test]
fn rot_in_a_footer_loses_no_record() {
    let options = Options::default();
    let (bench, ends) = sample(&options, 12, AckLevel::Flushed);
    for end in &ends[1..ends.len() - 1] {
        let mut image = bench.segments.clone();
        let base = (end.0 - 1) / options.segment * options.segment;
        if end.0 % options.segment == 0 {
            continue; // Its footer ends a blank earlier; the test of edges has it.
        }
        image.get_mut(&base).unwrap()[(end.0 - base) as usize - 60] ^= 1;
        let (scanned, found) = scan_disk(&image, &options);
        assert_eq!(scanned.end.at, *ends.last().unwrap(), "footer before {end}");
        assert_eq!(found, below(&bench, scanned.end.at), "footer before {end}");
        assert_eq!(scanned.rot_total, 1);
    }
}

#[test]
fn several_rotten_groups_in_a_row_are_passed() {
    let options = Options::default();
    let (bench, ends) = sample(&options, 12, AckLevel::Flushed);
    let mut image = bench.segments.clone();
    let (from, to) = (ends[2].0 as usize, ends[5].0 as usize);
    image.get_mut(&0).unwrap()[from..to].fill(0x33);
    let (scanned, found) = scan_disk(&image, &options);
    assert_eq!(scanned.end.at, *ends.last().unwrap());
    let mut expected = below(&bench, scanned.end.at);
    expected.retain(|(at, _)| *at < ends[2] || *at >= ends[5]);
    assert_eq!(found, expected);
    assert_eq!((scanned.rot[0].start, scanned.rot[0].end), (ends[2], ends[5]));
}

#[test]
fn a_missing_segment_with_flushed_log_behind_it_is_an_error() {
    let (bench, _) = sample(&Options::default(), 60, AckLevel::Flushed);
    let mut image = bench.segments.clone();
    image.remove(&(2 * 64 * 1024)).unwrap();
    let disk = Disk::new(&image, 64 * 1024);
    let error = scan(&disk, disk.scan_from(ScanFrom::Oldest), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("segment 00000000000000131072 is missing"), "{error}");
    // Prepared segments behind a gap are none.
    let mut image = bench.segments.clone();
    let end = bench.log.watermarks().appended().0 / 65_536 * 65_536;
    image.remove(&(end + 65_536)).unwrap();
    image.insert(end + 2 * 65_536, vec![0; 65_536]);
    let disk = Disk::new(&image, 64 * 1024);
    assert!(scan(&disk, disk.scan_from(ScanFrom::Oldest), &mut |_| {}).is_ok());
}

#[test]
fn what_a_recycled_segment_held_before_never_passes_for_new() {
    // The old content: a log's first segment, groups and all.
    let options = Options::default();
    let (old, _) = sample(&options, 20, AckLevel::Flushed);
    let stale = old.segments[&0].clone();
    let mut bench = Bench::new(&options);
    for base in 0..3 {
        bench.segments.insert(base * options.segment, stale.clone());
    }
    // At its own place it is from an earlier life too: no arena, no mark, another log.
    let mut ends = vec![];
    for n in 0..8u8 {
        bench.append(&[&vec![n; 11_000], b"x"]);
        bench.log.demand(AckLevel::Flushed);
        bench.settle();
        ends.push(bench.log.watermarks().appended());
    }
    assert!(ends.last().unwrap().0 > options.segment);
    let (scanned, found) = scan_disk(&bench.segments, &options);
    assert_eq!(scanned.end, bench.log.checkpoint());
    assert_eq!(found, below(&bench, scanned.end.at));
}

/// Groups of an earlier life, behind the place where a power cut ended it, are of the
/// same log offsets. Nothing but life and chain tells them from new ones.
#[test]
fn a_stale_group_of_an_earlier_life_never_passes_for_new() {
    let options = Options::default();
    let (bench, ends) = sample(&options, 6, AckLevel::Written);
    // The power cut took the third group; the fourth to sixth had landed.
    let mut image = bench.segments.clone();
    image.get_mut(&0).unwrap()[ends[2].0 as usize..ends[3].0 as usize].fill(0);
    let (scanned, _) = scan_disk(&image, &options);
    assert_eq!(scanned.end.at, ends[2]);
    // The next life writes a group of exactly the third one's size in its place.
    let next = Options { life: 2, ..Options::default() };
    let start = LogStart { chain: scanned.end, ..LogStart::default() };
    let mut second = Bench::at(&next, start, image);
    let lost = &bench.records[6..9];
    let bodies: Vec<&[u8]> = lost.iter().map(|(_, body)| &body[..]).collect();
    second.append(&bodies);
    second.log.demand(AckLevel::Written);
    second.settle();
    assert_eq!(second.log.watermarks().written(), ends[3]);
    let footer = Footer::in_block_tail(&second.segments[&0][..ends[4].0 as usize], ends[4]);
    assert_eq!(footer.expect("the stale footer is intact").start, ends[3]);
    let (scanned, found) = scan_disk(&second.segments, &options);
    assert_eq!(scanned.end.at, ends[3]);
    assert_eq!(found.len(), 9);
    assert!(matches!(scanned.stopped_by, Some(Broken::Chain { .. })), "{scanned:?}");
}

/// A life that left no whole group behind, and no run mark, is counted again. Then the
/// number of the life does not tell its stale groups from new ones; the chain does.
#[test]
fn a_stale_group_of_a_life_with_the_same_number_never_passes_for_new() {
    let options = Options::default();
    let (bench, ends) = sample(&options, 2, AckLevel::Written);
    let chain = scan_disk(&bench.segments, &options).0.end;
    let start = LogStart { chain, ..LogStart::default() };
    let life = |segments: BTreeMap<u64, Vec<u8>>, bodies: &[&[u8]]| {
        let next = Options { life: 2, ..Options::default() };
        let mut bench = Bench::at(&next, start, segments);
        for body in bodies {
            bench.append(&[body]);
            bench.log.demand(AckLevel::Written);
            bench.settle();
        }
        bench.segments
    };
    let first = life(bench.segments, &[b"one of the first try", b"two of the first try"]);
    let second = life(first, &[b"one of the second one"]);
    let (scanned, found) = scan_disk(&second, &options);
    assert_eq!(scanned.end.at, *ends.last().unwrap() + BLOCK);
    assert_eq!(found.last().unwrap().1, b"one of the second one");
    let Some(Broken::Chain { expected_seed, found_seed, .. }) = scanned.stopped_by else {
        panic!("{:?}", scanned.stopped_by)
    };
    assert_ne!(expected_seed, found_seed);
}

#[test]
fn a_clean_end_is_checked_against_its_last_footer() {
    let (bench, _) = sample(&Options::default(), 5, AckLevel::Flushed);
    let (segments, end) = bench.stop();
    let disk = Disk::new(&segments, 64 * 1024);
    let geometry = Geometry::new(64 * 1024);
    assert!(ends_with(&disk, geometry, end).unwrap());
    assert!(!ends_with(&disk, geometry, ChainEnd { crc: end.crc ^ 1, ..end }).unwrap());
    let later = ChainEnd { at: end.at + BLOCK, ..end };
    assert!(!ends_with(&disk, geometry, later).unwrap());
}

#[test]
fn a_log_goes_on_where_it_was_stopped() {
    let options = Options::default();
    let (bench, _) = sample(&options, 5, AckLevel::Appended);
    let before = bench.records.clone();
    let (segments, end) = bench.stop();
    let next = Options { life: 2, ..Options::default() };
    let start = LogStart { chain: end, ..LogStart::default() };
    let mut bench = Bench::at(&next, start, segments);
    bench.now.unix_ms -= 3_600_000; // The clock was set back while the broker was down.
    let placed = bench.append(&[b"again"]);
    assert_eq!(placed[0].store_ms, before.last().unwrap().0.store_ms);
    let (segments, end) = bench.stop();
    let (scanned, found) = scan_disk(&segments, &options);
    assert_eq!(scanned.end, end);
    assert_eq!(found.len(), before.len() + 1);
}

#[test]
fn an_error_of_the_disk_is_the_scans_error() {
    struct Failing;
    impl SegmentSource for Failing {
        fn segments(&self) -> &[LogOffset] {
            &[LogOffset(0)]
        }
        fn read(&self, _: LogOffset, _: &mut [u8]) -> io::Result<()> {
            Err(io::Error::from_raw_os_error(5))
        }
    }
    let disk = Disk::new(&BTreeMap::new(), 64 * 1024);
    let error = scan(&Failing, disk.scan_from(ScanFrom::Oldest), &mut |_| {}).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(5));
}
