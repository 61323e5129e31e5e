//! The index told step by step: one queue or two, runs that end, are written, expire.

use std::sync::Arc;

use ringmq::base::{LogOffset, QueueOffset};
use ringmq::queue::{
    Bases, Boundary, ColdBlock, Entry, Found, FrozenRun, IndexError, QueueIndex, QueueKey,
    RecoveryError, TimeFound, TopicId, read_cold,
};

const RECORD: u32 = 100;

fn key(topic: u32, queue: u32) -> QueueKey {
    QueueKey { topic: TopicId(topic), queue }
}

fn entry(at: u64, ms: i64) -> Entry {
    Entry { at: LogOffset(at), size: RECORD, tag: at as i32, store_ms: ms }
}

/// Appends `count` messages, 1 ms apart, at the end of what was dispatched.
fn fill(index: &mut QueueIndex, key: QueueKey, count: u64) {
    let slot = index.open(key);
    for _ in 0..count {
        let at = index.dispatched().0;
        let next = index.append(slot, entry(at, at as i64 / i64::from(RECORD)));
        index.advance_visible(slot, next + 1);
    }
}

/// Plays the helper: writes the run and tells the index. Returns the file.
fn persist(index: &mut QueueIndex, run: Arc<FrozenRun>) -> Vec<u8> {
    let mut file = Vec::new();
    let directory = run.write_to(&mut file).unwrap();
    index.on_run_persisted(run, directory);
    file
}

/// Ends the active run where it is and writes it.
fn roll_and_persist(index: &mut QueueIndex) -> Vec<u8> {
    index.roll(index.dispatched());
    let run = index.take_frozen().expect("the run has been frozen");
    assert!(index.take_frozen().is_none(), "each run is handed out once");
    persist(index, run)
}

fn offsets(found: &[(QueueOffset, Entry)]) -> Vec<u64> {
    found.iter().map(|(offset, _)| offset.0).collect()
}

#[test]
fn a_message_is_found_only_once_it_is_visible() {
    let mut index = QueueIndex::new(LogOffset(0));
    let slot = index.open(key(1, 0));
    let offset = index.append(slot, entry(0, 5));
    let mut out = Vec::new();
    assert_eq!(index.find(slot, offset, 32, &mut out), Found::End);
    assert_eq!((index.next(slot), index.visible(slot)), (QueueOffset(1), QueueOffset(0)));
    assert_eq!(index.earliest_ms(slot), None);
    index.advance_visible(slot, offset + 1);
    index.advance_visible(slot, offset);
    assert_eq!(index.visible(slot), QueueOffset(1), "visibility never goes back");
    assert_eq!(index.find(slot, offset, 32, &mut out), Found::Here);
    assert_eq!(out, [(offset, entry(0, 5))]);
    assert_eq!(index.earliest_ms(slot), Some(5));
}

#[test]
fn a_skipped_stretch_leads_on_to_the_next_message() {
    let mut index = QueueIndex::new(LogOffset(0));
    fill(&mut index, key(1, 0), 3);
    let slot = index.open(key(1, 0));
    index.skip(slot, 1 << 20);
    let mut out = Vec::new();
    assert_eq!(index.find(slot, QueueOffset(3), 32, &mut out), Found::End);
    fill(&mut index, key(1, 0), 2);
    let next = QueueOffset(3 + (1 << 20));
    assert_eq!(index.find(slot, QueueOffset(3), 32, &mut out), Found::Hole { next });
    assert_eq!(index.find(slot, next, 32, &mut out), Found::Here);
    out.clear();
    assert_eq!(index.find(slot, QueueOffset(1), 32, &mut out), Found::Here);
    assert_eq!(offsets(&out), [1, 2, next.0, next.0 + 1]);
}

#[test]
fn written_entries_take_one_read_and_the_next_ones_none() {
    let mut index = QueueIndex::new(LogOffset(0));
    fill(&mut index, key(1, 0), 5000);
    let file = roll_and_persist(&mut index);
    fill(&mut index, key(1, 0), 10);
    let slot = index.open(key(1, 0));
    let mut out = Vec::new();
    let Found::Cold(range) = index.find(slot, QueueOffset(10), 32, &mut out) else {
        panic!("the entries are in the file");
    };
    assert_eq!((range.run, range.first, range.count), (LogOffset(0), QueueOffset(0), 4096));
    let mut block = index.take_cold_block();
    read_cold(&file[..], &range, &mut block).unwrap();
    index.insert_cold(block);
    assert_eq!(index.find(slot, QueueOffset(10), 32, &mut out), Found::Here);
    assert_eq!(out[0], (QueueOffset(10), entry(1000, 10)));
    out.clear();
    assert_eq!(index.find(slot, QueueOffset(4090), 32, &mut out), Found::Here);
    assert_eq!(offsets(&out), [4090, 4091, 4092, 4093, 4094, 4095]);
    out.clear();
    assert_eq!(index.find(slot, QueueOffset(5000), 32, &mut out), Found::Here);
    assert_eq!(out.len(), 10, "the tail never needs a file");
}

#[test]
fn a_frozen_run_serves_reads_until_it_is_written() {
    let mut index = QueueIndex::new(LogOffset(0));
    fill(&mut index, key(1, 0), 100);
    index.roll(index.dispatched());
    let slot = index.open(key(1, 0));
    let mut out = Vec::new();
    assert_eq!(index.find(slot, QueueOffset(0), 100, &mut out), Found::Here);
    assert_eq!(out.len(), 100);
    assert_eq!(index.checkpoint(), LogOffset(0));
    let run = index.take_frozen().unwrap();
    persist(&mut index, run);
    assert_eq!(index.checkpoint(), LogOffset(100 * u64::from(RECORD)));
    assert!(matches!(index.find(slot, QueueOffset(0), 100, &mut out), Found::Cold(_)));
}

#[test]
fn a_queue_without_messages_left_goes_on_where_it_was() {
    let mut index = QueueIndex::new(LogOffset(0));
    fill(&mut index, key(1, 0), 50);
    let old = roll_and_persist(&mut index);
    fill(&mut index, key(2, 0), 5);
    let new = roll_and_persist(&mut index);
    let log_min = LogOffset(50 * u64::from(RECORD));
    let slot = index.open(key(1, 0));
    assert_eq!(index.truncate_front(log_min), [LogOffset(0)]);
    assert_eq!(index.truncate_front(log_min), []);
    let all_gone = QueueOffset(50);
    assert_eq!(
        (index.min(slot), index.visible(slot), index.next(slot)),
        (all_gone, all_gone, all_gone)
    );
    let mut out = Vec::new();
    let found = index.find(slot, QueueOffset(7), 32, &mut out);
    assert_eq!(found, Found::Hole { next: all_gone });

    // The helper folds what is unlinked; a start has the table and the newer run.
    let mut bases = Bases::default();
    bases.fold(&old[..]).unwrap();
    let mut table = Vec::new();
    bases.write_to(&mut table).unwrap();
    let mut index = QueueIndex::new(log_min);
    index.load_run(&new[..], LogOffset(u64::MAX), |_| true).unwrap();
    index.load_bases(&Bases::read(&table[..]).unwrap(), |_| true);
    let slot = index.open(key(1, 0));
    assert_eq!(
        (index.min(slot), index.visible(slot), index.next(slot)),
        (all_gone, all_gone, all_gone)
    );
    let other = index.open(key(2, 0));
    assert_eq!((index.min(other), index.next(other)), (QueueOffset(0), QueueOffset(5)));
}

#[test]
fn a_run_that_expires_while_it_is_written_is_unlinked_later() {
    let mut index = QueueIndex::new(LogOffset(0));
    fill(&mut index, key(1, 0), 50);
    index.roll(index.dispatched());
    let run = index.take_frozen().unwrap();
    let log_min = index.dispatched();
    assert_eq!(index.truncate_front(log_min), []);
    let slot = index.open(key(1, 0));
    assert_eq!(index.min(slot), QueueOffset(50), "minimum offsets do not wait for the file");
    persist(&mut index, run);
    assert_eq!(index.truncate_front(log_min), [LogOffset(0)]);
    fill(&mut index, key(1, 0), 1);
    assert_eq!(index.min(slot), QueueOffset(50));
}

#[test]
fn a_run_that_a_crash_kept_from_being_unlinked_may_be_in_the_bases_too() {
    let mut index = QueueIndex::new(LogOffset(0));
    fill(&mut index, key(1, 0), 5000);
    let file = roll_and_persist(&mut index);
    let mut bases = Bases::default();
    bases.fold(&file[..]).unwrap();
    let mut index = QueueIndex::new(LogOffset(0));
    index.load_run(&file[..], LogOffset(u64::MAX), |_| true).unwrap();
    index.load_bases(&bases, |_| true);
    let slot = index.open(key(1, 0));
    assert_eq!((index.min(slot), index.next(slot)), (QueueOffset(0), QueueOffset(5000)));
}

#[test]
fn the_checkpoint_waits_for_the_oldest_write() {
    let mut index = QueueIndex::new(LogOffset(0));
    let mut runs = Vec::new();
    for n in 1..=8 {
        assert!(!index.is_behind());
        fill(&mut index, key(1, 0), 10);
        index.roll(index.dispatched());
        runs.extend(index.take_frozen());
        assert_eq!(runs.len(), n);
    }
    assert!(index.is_behind(), "eight runs wait");
    persist(&mut index, runs.remove(1));
    assert_eq!(index.checkpoint(), LogOffset(0));
    persist(&mut index, runs.remove(0));
    assert_eq!(index.checkpoint(), LogOffset(2000));
    assert!(!index.is_behind());
    assert_eq!(index.truncate_front(LogOffset(1000)), [LogOffset(0)]);
    persist(&mut index, runs.remove(0));
    assert_eq!(index.checkpoint(), LogOffset(3000));
}

#[test]
fn runs_and_the_index_may_change_threads() {
    fn shared<T: Send + Sync>() {}
    fn sent<T: Send>() {}
    shared::<FrozenRun>();
    sent::<(QueueIndex, ColdBlock, ringmq::queue::Directory)>();
}

#[test]
fn a_missing_or_overlong_run_is_refused_and_leaves_no_trace() {
    let mut index = QueueIndex::new(LogOffset(0));
    fill(&mut index, key(1, 0), 10);
    let first = roll_and_persist(&mut index);
    fill(&mut index, key(1, 0), 10);
    let _missing = roll_and_persist(&mut index);
    fill(&mut index, key(1, 0), 10);
    let third = roll_and_persist(&mut index);

    let mut index = QueueIndex::new(LogOffset(0));
    let everything = LogOffset(u64::MAX);
    index.load_run(&first[..], everything, |_| true).unwrap();
    let error = index.load_run(&third[..], everything, |_| true).unwrap_err();
    assert!(matches!(error, IndexError::Gap { expected: LogOffset(1000), found: LogOffset(2000) }));
    assert_eq!(index.checkpoint(), LogOffset(1000));

    let mut index = QueueIndex::new(LogOffset(0));
    let error = index.load_run(&first[..], LogOffset(999), |_| true).unwrap_err();
    assert!(matches!(error, IndexError::BeyondLog { end: LogOffset(1000), .. }));
    assert_eq!((index.queues(), index.checkpoint()), (0, LogOffset(0)));
}

#[test]
fn recovered_records_may_leave_holes_but_not_go_back() {
    let mut index = QueueIndex::new(LogOffset(1000));
    let (a, b) = (key(1, 0), key(2, 7));
    let slot = index.append_recovered(a, QueueOffset(5), entry(1000, 1)).unwrap();
    index.append_recovered(a, QueueOffset(9), entry(1100, 2)).unwrap();
    index.append_recovered(b, QueueOffset(0), entry(1200, 2)).unwrap();
    assert_eq!((index.min(slot), index.visible(slot)), (QueueOffset(5), QueueOffset(10)));
    assert_eq!(
        index.append_recovered(a, QueueOffset(9), entry(1300, 3)),
        Err(RecoveryError::Back { key: a, offset: QueueOffset(9), next: QueueOffset(10) })
    );
    assert_eq!(
        index.append_recovered(a, QueueOffset(10), entry(1299, 3)),
        Err(RecoveryError::Indexed { at: LogOffset(1299), dispatched: LogOffset(1300) })
    );
    let far = QueueOffset(u64::MAX);
    assert_eq!(
        index.append_recovered(a, far, entry(1300, 3)),
        Err(RecoveryError::OutOfRange { key: a, offset: far })
    );
    index.append_recovered(a, QueueOffset(10), entry(1300, 3)).unwrap();
}

#[test]
fn a_removed_topic_leaves_no_queue_and_its_number_may_not_be_seen_again() {
    let mut index = QueueIndex::new(LogOffset(0));
    for queue in 0..3 {
        fill(&mut index, key(1, queue), 5);
        fill(&mut index, key(2, queue), 5);
    }
    index.remove_topic(TopicId(1));
    index.remove_topic(TopicId(9));
    assert_eq!(index.queues(), 3);
    assert_eq!(index.get(key(1, 0)), None);
    fill(&mut index, key(3, 0), 1);
    let file = roll_and_persist(&mut index);
    let slot = index.get(key(2, 1)).unwrap();
    assert_eq!((index.key(slot), index.next(slot)), (key(2, 1), QueueOffset(5)));

    let mut index = QueueIndex::new(LogOffset(0));
    index.load_run(&file[..], LogOffset(u64::MAX), |topic| topic != TopicId(1)).unwrap();
    assert_eq!(index.queues(), 4);
    assert_eq!(index.get(key(1, 0)), None);
}

#[test]
#[should_panic(expected = "the slot's topic has been removed")]
fn a_slot_kept_beyond_its_topic_is_found_out() {
    let mut index = QueueIndex::new(LogOffset(0));
    let slot = index.open(key(1, 0));
    index.remove_topic(TopicId(1));
    index.open(key(2, 0));
    index.next(slot);
}

#[test]
fn a_run_ends_before_its_log_range_or_its_times_overflow() {
    let mut index = QueueIndex::new(LogOffset(0));
    let slot = index.open(key(1, 0));
    index.append(slot, entry(0, 0));
    index.append(slot, entry(100, i64::from(u32::MAX)));
    assert!(index.take_frozen().is_none());
    index.append(slot, entry(200, i64::from(u32::MAX) + 1));
    let run = index.take_frozen().expect("50 days do not fit");
    assert_eq!((run.start(), run.end(), run.entries()), (LogOffset(0), LogOffset(200), 2));
    index.append(slot, entry((256 << 20) + 101, i64::MAX));
    let run = index.take_frozen().expect("more than 256 MiB do not fit");
    assert_eq!((run.start(), run.end()), (LogOffset(200), LogOffset((256 << 20) + 101)));
    index.dispatched_to(LogOffset(1 << 40));
    let run = index.take_frozen().expect("also a stretch without entries counts");
    assert_eq!(run.end(), LogOffset(1 << 40));
    index.advance_visible(slot, QueueOffset(4));
    let mut out = Vec::new();
    index.find(slot, QueueOffset(0), 4, &mut out);
    let times: Vec<_> = out.iter().map(|(_, entry)| entry.store_ms).collect();
    assert_eq!(times, [0, i64::from(u32::MAX), i64::from(u32::MAX) + 1, i64::MAX]);
}

#[test]
fn later_runs_use_the_memory_of_written_ones() {
    let mut index = QueueIndex::new(LogOffset(0));
    let mut after = Vec::new();
    for _ in 0..6 {
        for queue in 0..200 {
            fill(&mut index, key(1, queue), 50);
        }
        roll_and_persist(&mut index);
        after.push(index.memory().runs);
    }
    assert!(after[2..].iter().all(|bytes| *bytes == after[1]), "{after:?}");
}

#[test]
fn expired_extents_are_given_back_by_tidying() {
    let mut index = QueueIndex::new(LogOffset(0));
    for _ in 0..20 {
        fill(&mut index, key(1, 0), 1);
        fill(&mut index, key(1, 1), 1);
        roll_and_persist(&mut index);
    }
    let full = index.memory().directories;
    index.truncate_front(index.dispatched());
    index.tidy(1);
    index.tidy(1);
    let slot = index.open(key(1, 0));
    assert_eq!(index.min(slot), QueueOffset(20));
    assert!(full - index.memory().directories >= 40 * 32, "{:?}", index.memory());
}

#[test]
fn of_equal_times_lower_means_the_first_and_upper_the_last() {
    let mut index = QueueIndex::new(LogOffset(0));
    let slot = index.open(key(1, 0));
    for (n, ms) in [10, 20, 20, 20, 30].into_iter().enumerate() {
        index.append(slot, entry(n as u64 * 100, ms));
    }
    index.advance_visible(slot, QueueOffset(5));
    let mut at = |ms, boundary| match index.search_time(slot, ms, boundary) {
        TimeFound::At(offset) => offset.0,
        TimeFound::Cold(range) => panic!("{range:?} is in memory"),
    };
    let lower: Vec<_> = [9, 10, 11, 20, 30, 31].map(|ms| at(ms, Boundary::Lower)).into();
    assert_eq!(lower, [0, 0, 1, 1, 4, 5]);
    let upper: Vec<_> = [9, 10, 11, 20, 30, 31].map(|ms| at(ms, Boundary::Upper)).into();
    assert_eq!(upper, [0, 0, 0, 3, 4, 4]);
}

#[test]
fn an_earlier_store_time_is_raised_also_after_a_start() {
    let mut index = QueueIndex::new(LogOffset(0));
    let slot = index.open(key(1, 0));
    index.append(slot, entry(0, 1000));
    index.append(slot, entry(100, 999));
    let file = roll_and_persist(&mut index);
    let mut index = QueueIndex::new(LogOffset(0));
    index.load_run(&file[..], LogOffset(u64::MAX), |_| true).unwrap();
    let slot = index.open(key(1, 0));
    index.append(slot, entry(200, 5));
    index.advance_visible(slot, QueueOffset(3));
    let mut out = Vec::new();
    assert_eq!(index.find(slot, QueueOffset(2), 1, &mut out), Found::Here);
    assert_eq!(out[0].1.store_ms, 1000);
    assert_eq!(index.search_time(slot, 1001, Boundary::Lower), TimeFound::At(QueueOffset(3)));
    assert_eq!(index.search_time(slot, 1000, Boundary::Lower), TimeFound::At(QueueOffset(0)));
}

#[test]
fn cold_blocks_stay_within_their_bytes() {
    let mut index = QueueIndex::new(LogOffset(0));
    let queues = 300;
    for queue in 0..queues {
        fill(&mut index, key(1, queue), 4096);
    }
    let file = roll_and_persist(&mut index);
    let mut out = Vec::new();
    for queue in 0..queues {
        let slot = index.open(key(1, queue));
        let Found::Cold(range) = index.find(slot, QueueOffset(0), 1, &mut out) else {
            panic!("nothing of this queue has been read");
        };
        let mut block = index.take_cold_block();
        read_cold(&file[..], &range, &mut block).unwrap();
        index.insert_cold(block);
        assert_eq!(index.find(slot, QueueOffset(0), 1, &mut out), Found::Here);
        assert!(index.memory().cold <= 8 << 20);
    }
    let oldest = index.open(key(1, 0));
    assert!(matches!(index.find(oldest, QueueOffset(0), 1, &mut out), Found::Cold(_)));
    index.insert_cold(ColdBlock::default());
}
