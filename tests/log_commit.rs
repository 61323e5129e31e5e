//! The life of a running log: what is written when, and how watermarks follow.

mod log_common;

use log_common::{BLOCK, Bench, Options, record};
use ringmq::base::LogOffset;
use ringmq::base::memory::LogRing;
use ringmq::log::footer::Footer;
use ringmq::log::{AckLevel, Extents, FlushMethod, LogIntent, NoRoom, RecordView};

fn fdatasync() -> Options {
    Options { method: FlushMethod::Fdatasync, ..Options::default() }
}

fn is_sync(intent: &LogIntent) -> bool {
    matches!(intent, LogIntent::Sync { .. })
}

#[test]
fn an_appended_record_is_whole_in_the_ring_and_published() {
    let mut bench = Bench::new(&Options::default());
    let placed = bench.append(&[b"one", b"two"]);
    assert_eq!(bench.ring.published, bench.log.watermarks().appended());
    for (appended, body) in placed.iter().zip([b"one", b"two"]) {
        let bytes = bench.ring.readable(appended.at, appended.len as usize);
        let view = RecordView::at(bytes, appended.at).unwrap();
        view.check_body().unwrap();
        assert_eq!((view.body(), view.store_ms()), (&body[..], bench.now.unix_ms));
        assert_eq!(view.properties(), b"TAGS\x01TagA\x02MSG_REGION\x01DefaultRegion\x02");
    }
}

#[test]
fn few_bytes_are_written_after_a_hundred_milliseconds_and_more_after_one() {
    let mut bench = Bench::new(&Options::default());
    bench.append(&[b"little"]);
    bench.poll();
    assert!(bench.pending.is_empty());
    assert_eq!(bench.log.next_deadline(), Some(100_000));
    bench.append(&[&[7; 17_000]]);
    assert_eq!(bench.log.next_deadline(), Some(1_000));
    bench.pass(1_000);
    bench.poll();
    let LogIntent::Write { at, len, durable, .. } = bench.pending[0] else { panic!() };
    assert_eq!((at, u64::from(len) % BLOCK, durable), (LogOffset(0), 0, false));
}

#[test]
fn a_demand_for_flushed_makes_durable_writes_at_the_end_of_the_turn() {
    let mut bench = Bench::new(&Options::default());
    bench.append(&[b"now"]);
    bench.log.demand(AckLevel::Flushed);
    bench.poll();
    assert!(matches!(bench.pending[..], [LogIntent::Write { durable: true, .. }]));
    bench.complete(0);
    let marks = bench.log.watermarks();
    assert_eq!((marks.written(), marks.flushed()), (marks.appended(), marks.appended()));
    assert_eq!(bench.log.checkpoint().at, marks.flushed());
    bench.poll();
    assert!(bench.pending.is_empty(), "no fdatasync for what is durable");
}

#[test]
fn a_durable_write_does_not_make_a_plain_one_before_it_flushed() {
    let mut bench = Bench::new(&Options::default());
    bench.append(&[b"plain"]);
    bench.log.demand(AckLevel::Written);
    bench.poll();
    let plain_end = bench.log.watermarks().appended();
    bench.append(&[b"durable"]);
    bench.log.demand(AckLevel::Flushed);
    bench.poll();
    assert_eq!(bench.pending.len(), 2);
    // The durable one lands first: nothing moves.
    bench.complete(1);
    assert_eq!(bench.log.watermarks().written(), LogOffset(0));
    bench.complete(0);
    let marks = bench.log.watermarks();
    assert_eq!((marks.written(), marks.flushed()), (marks.appended(), LogOffset(0)));
    bench.poll();
    assert!(matches!(bench.pending[..], [LogIntent::Sync { .. }]));
    bench.complete(0);
    let marks = bench.log.watermarks();
    assert!(plain_end < marks.flushed());
    assert_eq!(marks.flushed(), marks.appended());
    assert_eq!(bench.log.checkpoint().at, marks.flushed());
}

#[test]
fn a_flush_covers_only_what_was_written_when_it_began() {
    let mut bench = Bench::new(&fdatasync());
    bench.append(&[b"first"]);
    bench.log.demand(AckLevel::Flushed);
    bench.poll();
    bench.complete(0);
    let first_end = bench.log.watermarks().written();
    bench.poll();
    assert!(is_sync(&bench.pending[0]));
    bench.append(&[b"second"]);
    bench.log.demand(AckLevel::Written);
    bench.poll();
    bench.complete(1);
    let written = bench.log.watermarks().written();
    assert!(written > first_end);
    bench.complete(0);
    assert_eq!(bench.log.watermarks().flushed(), first_end);
    assert_eq!(bench.log.checkpoint().at, first_end);
    bench.pass(499_999);
    bench.poll();
    assert!(bench.pending.is_empty());
    assert_eq!(bench.log.next_deadline(), Some(500_000));
    bench.pass(1);
    bench.poll();
    assert!(is_sync(&bench.pending[0]));
    bench.complete(0);
    assert_eq!(bench.log.watermarks().flushed(), written);
}

#[test]
fn commits_gather_while_two_groups_are_in_flight() {
    let mut bench = Bench::new(&Options::default());
    for body in [b"a", b"b", b"c", b"d"] {
        bench.append(&[body]);
        bench.log.demand(AckLevel::Flushed);
        bench.poll();
    }
    assert_eq!(bench.pending.len(), 2);
    bench.complete(0);
    bench.poll();
    assert_eq!(bench.pending.len(), 2, "c and d share a group");
    bench.complete(0);
    bench.complete(0);
    let marks = bench.log.watermarks();
    assert_eq!(marks.flushed(), marks.appended());
    assert_eq!(bench.stats().groups, 3);
}

#[test]
fn commits_gather_while_an_fdatasync_runs() {
    let mut bench = Bench::new(&fdatasync());
    bench.append(&[b"a"]);
    bench.log.demand(AckLevel::Flushed);
    bench.poll();
    bench.complete(0);
    bench.poll();
    for body in [b"b", b"c", b"d", b"e"] {
        bench.append(&[body]);
        bench.log.demand(AckLevel::Flushed);
        bench.poll();
        if let Some(i) = bench.pending.iter().position(|intent| !is_sync(intent)) {
            bench.complete(i);
        }
    }
    assert_eq!(bench.stats().groups, 2, "b was closed for the next flush, the rest waits");
    bench.settle();
    let marks = bench.log.watermarks();
    assert_eq!(marks.flushed(), marks.appended());
    assert_eq!((bench.stats().groups, bench.stats().syncs), (3, 3));
}

#[test]
fn watermarks_follow_the_contiguous_prefix_whatever_the_order_of_completions() {
    let mut bench = Bench::new(&Options::default());
    let mut ends = Vec::new();
    for body in [b"a", b"b", b"c", b"d", b"e"] {
        bench.append(&[body]);
        bench.log.demand(AckLevel::Written);
        bench.poll();
        ends.push(bench.log.watermarks().appended());
    }
    let mut expect = |index, edge| {
        bench.complete(index);
        assert_eq!(bench.log.watermarks().written(), edge);
    };
    expect(4, LogOffset(0));
    expect(1, LogOffset(0));
    expect(0, ends[1]);
    expect(1, ends[1]);
    expect(0, ends[4]);
}

#[test]
fn a_batch_lies_inside_one_group_and_no_group_spans_two_segments() {
    let mut bench = Bench::new(&Options::default());
    let geometry = bench.log.geometry();
    let mut rng = 12345u64;
    for _ in 0..300 {
        rng = rng.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let body = vec![b'x'; (rng >> 33) as usize % 20_000];
        let placed = bench.append(&[&body, b"small"]);
        assert_eq!(placed[0].at + u64::from(placed[0].len), placed[1].at);
        let end = placed[1].at + u64::from(placed[1].len);
        assert!(geometry.footer_end(end) + BLOCK <= geometry.end(placed[0].at));
        if rng & 1 == 0 {
            bench.log.demand(AckLevel::Written);
        }
        bench.settle();
        bench.pass(500);
    }
    assert!(bench.segments.len() > 10);
    for (base, segment) in &bench.segments {
        let bytes = bench.log.geometry().segment_bytes();
        if base + bytes > bench.log.watermarks().written().0 {
            continue;
        }
        // Exactly one footer is its segment's last, and the blank record follows it.
        let blocks = (1..=bytes / BLOCK).map(|n| n * BLOCK);
        let footers = blocks.filter_map(|end| {
            Footer::in_block_tail(&segment[..end as usize], LogOffset(base + end))
        });
        let last: Vec<_> = footers.filter(|footer| footer.last_of_segment).collect();
        let [footer] = last[..] else { panic!("segment {base}: {last:?}") };
        let blank = (footer.end.0 - base) as usize;
        let rest = (bytes as usize - blank) as u32;
        assert_eq!(segment[blank..blank + 4], rest.to_be_bytes());
        assert_eq!(segment[blank + 4..blank + 8], 0xCBD4_3194_u32.to_be_bytes());
    }
}

#[test]
fn a_group_that_ends_at_any_distance_from_the_segments_end_leaves_room_for_the_blank() {
    // Sizes around each edge: footer just fits, does not fit, two blocks left, one left.
    let overhead = record(b"").stored_len() as u64;
    let footer = ringmq::log::footer::FOOTER_BYTES_MIN as u64;
    let segment = Options::default().segment;
    for blocks_left in 1..=4u64 {
        for delta in [-1i64, 0, 1] {
            let end = (segment - blocks_left * BLOCK - footer).wrapping_add_signed(delta);
            let mut bench = Bench::new(&Options::default());
            let half = bench.append(&[&[1; 30_000]])[0].len as u64;
            bench.append(&[&vec![1; (end - half - overhead) as usize]]);
            bench.log.demand(AckLevel::Written);
            bench.settle();
            let next = bench.append(&[b"next"])[0].at;
            bench.log.demand(AckLevel::Written);
            bench.settle();
            let marks = bench.log.watermarks();
            assert_eq!(marks.written(), marks.appended());
            let too_near = blocks_left == 1 && delta == 1;
            if too_near {
                // The second batch did not fit, and went into the next segment.
                let second = (end - half + footer).next_multiple_of(BLOCK);
                assert_eq!(next.0, segment + second, "{blocks_left} {delta}");
                continue;
            }
            let first_end = segment - blocks_left * BLOCK + if delta == 1 { BLOCK } else { 0 };
            let left = segment - first_end;
            let expected = if left < 2 * BLOCK { segment } else { first_end };
            assert_eq!(next.0, expected, "{blocks_left} {delta}");
        }
    }
}

#[test]
fn appends_wait_for_the_disk_at_three_quarters_of_the_ring() {
    let mut bench = Bench::new(&Options::default());
    let room = |bench: &mut Bench| {
        let edge = bench.log.reclaim_edge(5_000).max(bench.ring.reclaimed());
        bench.ring.reclaim(edge);
        bench.log.room_for(5_000, &bench.ring)
    };
    while room(&mut bench).is_ok() {
        bench.append(&[&[1; 4_000]]);
        bench.poll();
    }
    assert_eq!(room(&mut bench), Err(NoRoom::ArenaFull));
    let marks = bench.log.watermarks();
    let unwritten = marks.appended() - marks.written();
    assert!((170_000..=196_608).contains(&unwritten), "{unwritten}");
    bench.settle();
    assert_eq!(room(&mut bench), Ok(()));
}

#[test]
fn the_largest_batch_always_finds_room_once_the_disk_has_caught_up() {
    let ring = ringmq::log::policy::LOG_RING_BYTES_MIN;
    let options = Options { segment: 16 << 20, ring, ..Options::default() };
    let mut bench = Bench::new(&options);
    let overhead = record(b"").stored_len() as u64;
    let largest = bench.log.batch_bytes_max();
    assert!(largest >= ringmq::base::limits::RECORD_BYTES_MAX as u64);
    for n in 0..20u64 {
        // Some bytes before it, so that it meets the segments' ends everywhere.
        bench.append(&[&vec![1; (n * 300_007 % 1_000_000) as usize]]);
        bench.pass(100_000);
        bench.settle();
        bench.append(&[&vec![2; (largest - overhead) as usize]]);
        bench.log.demand(AckLevel::Written);
        bench.settle();
        bench.segments.retain(|base, _| base + 48 * (1 << 20) > bench.log.watermarks().written().0);
    }
    assert!(bench.log.watermarks().written().0 > 4 * options.segment);
}

#[test]
fn a_segment_is_entered_only_when_it_is_prepared() {
    let mut bench = Bench::new(&Options::default());
    // From here on the helper answers late.
    let mut asked = Vec::new();
    for _ in 0..200 {
        let total = record(&[0; 3_000]).stored_len() as u64;
        match bench.log.room_for(total, &bench.ring) {
            Ok(()) => bench.append(&[&[0; 3_000]]),
            Err(NoRoom::SegmentNotReady) => break,
            Err(other) => panic!("{other:?}"),
        };
        bench.pass(1_000);
        let mut out = Vec::new();
        bench.log.poll(bench.now, &mut bench.ring, &mut out);
        for intent in out {
            match intent {
                LogIntent::PrepareSegment { base } => asked.push(base),
                LogIntent::HurrySegment { .. } => {}
                other => bench.pending.push(other),
            }
        }
        while !bench.pending.is_empty() {
            bench.complete(0);
        }
        let edge = bench.log.reclaim_edge(total).max(bench.ring.reclaimed());
        bench.ring.reclaim(edge);
    }
    let segment = Options::default().segment;
    assert_eq!(asked, [LogOffset(3 * segment), LogOffset(4 * segment)]);
    bench.log.on_segment_unavailable(asked[0], bench.now);
    assert_eq!(bench.log.room_for(3_000, &bench.ring), Err(NoRoom::SegmentNotReady));
    bench.pass(1_000_000);
    bench.poll(); // Asked again, and prepared this time.
    assert_eq!(bench.log.room_for(3_000, &bench.ring), Ok(()));
}

#[test]
fn in_a_segment_that_was_only_reserved_written_waits_for_the_flush() {
    let mut bench = Bench::new(&Options::default());
    bench.log.on_segment_ready(LogOffset(0), Extents::Reserved);
    bench.append(&[b"nobody waits"]);
    bench.pass(100_000);
    bench.poll();
    assert!(matches!(bench.complete(0), LogIntent::Write { durable: false, .. }));
    let marks = bench.log.watermarks();
    assert!(marks.written() > LogOffset(0), "the ring may have its bytes back");
    assert_eq!(marks.of(AckLevel::Written), LogOffset(0), "the kernel may forget it");
    bench.pass(500_000);
    bench.settle();
    let marks = bench.log.watermarks();
    assert_eq!(marks.of(AckLevel::Written), marks.written());

    bench.append(&[b"somebody waits for written"]);
    bench.log.demand(AckLevel::Written);
    bench.poll();
    assert!(matches!(bench.complete(0), LogIntent::Write { durable: true, .. }));
    let marks = bench.log.watermarks();
    assert_eq!(marks.of(AckLevel::Written), marks.appended());
}

#[test]
fn behind_a_reserved_segment_written_is_written_again() {
    let options = Options::default();
    let mut bench = Bench::new(&options);
    bench.log.on_segment_ready(LogOffset(0), Extents::Reserved);
    while bench.log.watermarks().flushed().0 < options.segment {
        bench.append(&[&[0; 3_000]]);
        bench.pass(500_000);
        bench.settle();
        let edge = bench.log.reclaim_edge(4096).max(bench.ring.reclaimed());
        bench.ring.reclaim(edge);
    }
    bench.append(&[b"somebody waits for written"]);
    bench.log.demand(AckLevel::Written);
    bench.poll();
    assert!(matches!(bench.complete(0), LogIntent::Write { durable: false, .. }));
    let marks = bench.log.watermarks();
    assert_eq!(marks.of(AckLevel::Written), marks.appended());
}

#[test]
fn a_segment_that_is_late_is_hurried_once_half_of_the_current_one_is_full() {
    let mut bench = Bench::new(&Options::default());
    let segment = Options::default().segment;
    let (mut asked, mut hurried) = (Vec::new(), Vec::new());
    while bench.log.room_for(3_000, &bench.ring) != Err(NoRoom::SegmentNotReady) {
        bench.append(&[&[0; 2_000]]);
        bench.pass(1_000);
        let mut out = Vec::new();
        bench.log.poll(bench.now, &mut bench.ring, &mut out);
        for intent in out {
            match intent {
                LogIntent::PrepareSegment { base } => asked.push(base),
                LogIntent::HurrySegment { base } => {
                    let filled = bench.log.watermarks().appended().0 % segment;
                    assert!(filled >= segment / 2, "{filled} of {segment}");
                    hurried.push(base);
                }
                other => bench.pending.push(other),
            }
        }
        while !bench.pending.is_empty() {
            bench.complete(0);
        }
        let edge = bench.log.reclaim_edge(4096).max(bench.ring.reclaimed());
        bench.ring.reclaim(edge);
    }
    assert_eq!(hurried, asked[..1], "the next one, and only once");
    // While the disk is behind, those after it are wanted as they are from the beginning.
    bench.log.on_segment_ready(hurried[0], Extents::Reserved);
    bench.append(&[&[0; 2_000]]);
    let mut out = Vec::new();
    bench.log.poll(bench.now, &mut bench.ring, &mut out);
    let base = LogOffset(5 * segment);
    assert!(out.contains(&LogIntent::HurrySegment { base }), "{out:?}");
}

#[test]
fn a_short_write_or_a_failed_flush_ends_the_log_for_good() {
    let mut bench = Bench::new(&Options::default());
    bench.append(&[b"lost"]);
    bench.log.demand(AckLevel::Written);
    bench.poll();
    assert!(!bench.log.on_written(bench.pending_op(0), Ok(512)));
    let failure = *bench.log.failed().expect("failed");
    assert!(failure.to_string().contains("only 512 bytes"), "{failure}");
    assert_eq!(bench.log.room_for(100, &bench.ring), Err(NoRoom::Failed(failure)));
    bench.pending.clear();
    bench.pass(10_000_000);
    bench.poll();
    assert!(bench.pending.is_empty() && bench.log.next_deadline().is_none());
    assert_eq!(bench.log.watermarks().written(), LogOffset(0));

    let mut bench = Bench::new(&fdatasync());
    bench.append(&[b"unsure"]);
    bench.log.demand(AckLevel::Flushed);
    bench.poll();
    bench.complete(0);
    bench.poll();
    assert!(!bench.log.on_synced(bench.pending_op(0), Err(5)));
    assert!(bench.log.failed().is_some());
    bench.pending.clear();
    bench.pass(10_000_000);
    bench.poll();
    assert!(bench.pending.is_empty(), "an fdatasync is never tried again");
    assert_eq!(bench.log.watermarks().flushed(), LogOffset(0));
}

#[test]
fn a_clean_stop_leaves_a_zero_block_behind_the_end() {
    let options = Options { segment: 64 * 1024, ..Options::default() };
    let mut bench = Bench::new(&options);
    // A recycled segment is full of something else.
    bench.segments.insert(0, vec![0xEE; options.segment as usize]);
    bench.append(&[b"last words"]);
    let (segments, end) = bench.stop();
    let at = end.at.0 as usize;
    assert_eq!(end.at.0, BLOCK);
    assert!(segments[&0][at..at + BLOCK as usize].iter().all(|byte| *byte == 0));
    assert_eq!(segments[&0][at + BLOCK as usize], 0xEE);
}

#[test]
fn writes_are_at_most_half_a_mebibyte_and_blocks_large() {
    let options = Options { segment: 16 << 20, ring: 16 << 20, ..Options::default() };
    let mut bench = Bench::new(&options);
    for _ in 0..3 {
        bench.append(&[&vec![9; 1 << 20]]);
    }
    bench.poll();
    assert_eq!(bench.pending.len(), 7);
    let mut at = LogOffset(0);
    for intent in &bench.pending {
        let LogIntent::Write { at: start, len, .. } = intent else { panic!() };
        assert_eq!(*start, at);
        assert!(*len <= 512 * 1024 && len % 4096 == 0);
        at = at + u64::from(*len);
    }
    assert_eq!(at, bench.log.watermarks().appended());
}
