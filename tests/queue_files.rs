//! Index files: each byte where `FORMAT.md` says, each damage found.

use ringmq::base::{LogOffset, QueueOffset};
use ringmq::queue::{Bases, Entry, Found, IndexError, QueueIndex, QueueKey, TopicId, read_cold};

const END: LogOffset = LogOffset(9000);

fn key(topic: u32, queue: u32) -> QueueKey {
    QueueKey { topic: TopicId(topic), queue }
}

fn append(index: &mut QueueIndex, key: QueueKey, at: u64, store_ms: i64) {
    let slot = index.open(key);
    let offset = index.append(slot, Entry { at: LogOffset(at), size: 100, tag: -7, store_ms });
    index.advance_visible(slot, offset + 1);
}

fn write(index: &mut QueueIndex, edge: LogOffset) -> Vec<u8> {
    index.roll(edge);
    let run = index.take_frozen().unwrap();
    let mut file = Vec::new();
    let directory = run.write_to(&mut file).unwrap();
    index.on_run_persisted(run, directory);
    file
}

/// Three extents: two entries of 1/0, one of 2/5, and one of 1/0 after a hole.
fn sample() -> Vec<u8> {
    let mut index = QueueIndex::new(LogOffset(4096));
    append(&mut index, key(1, 0), 4096, 1000);
    append(&mut index, key(2, 5), 4200, 1001);
    append(&mut index, key(1, 0), 4300, 1001);
    let slot = index.open(key(1, 0));
    index.skip(slot, 10);
    append(&mut index, key(1, 0), 4400, 1009);
    write(&mut index, END)
}

/// Loads a run and reads all of its entries, as the helpers would.
fn read_all(file: &[u8]) -> Result<usize, IndexError> {
    let mut index = QueueIndex::new(LogOffset(4096));
    index.load_run(file, END, |_| true)?;
    let mut out = Vec::new();
    for key in [key(1, 0), key(2, 5)] {
        let Some(slot) = index.get(key) else { continue };
        let mut offset = index.min(slot);
        loop {
            match index.find(slot, offset, 100, &mut out) {
                Found::Here => offset = out.last().unwrap().0 + 1,
                Found::Hole { next } => offset = next,
                Found::End => break,
                Found::Cold(range) => {
                    let mut block = index.take_cold_block();
                    read_cold(file, &range, &mut block)?;
                    index.insert_cold(block);
                }
            }
        }
    }
    Ok(out.len())
}

#[test]
fn every_byte_lies_where_the_format_says() {
    let file = sample();
    let u32_at = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap());
    let crc = crc32fast::hash;
    assert_eq!(&file[..8], b"RMQINDEX");
    assert_eq!((u32_at(8), u32_at(12), u32_at(40)), (1, 3, 4));
    assert_eq!((u64_at(16), u64_at(24), u64_at(32)), (4096, 9000, 1000));
    assert_eq!((&file[44..60], u32_at(60)), (&[0; 16][..], crc(&file[..60])));
    // The first extent: two entries and their seal.
    let words: Vec<u32> = (64..108).step_by(4).map(u32_at).collect();
    let tag = -7_i32 as u32;
    assert_eq!(words, [0, 100, tag, 0, 204, 100, tag, 1, 1, 0, 2]);
    let sealed = [&0_u64.to_le_bytes(), &file[64..108]].concat();
    assert_eq!(u32_at(108), crc(&sealed));
    // The directory begins after four entries and three seals.
    let directory = 64 + 16 * 7;
    let row = |n: usize| {
        let at = directory + n * 32;
        (u32_at(at), u32_at(at + 4), u64_at(at + 8), [16, 20, 24, 28].map(|word| u32_at(at + word)))
    };
    assert_eq!(row(0), (1, 0, 0, [4, 2, 0, 1]));
    assert_eq!(row(1), (2, 5, 0, [7, 1, 1, 1]));
    assert_eq!(row(2), (1, 0, 12, [9, 1, 9, 9]));
    let footer = directory + 3 * 32;
    assert_eq!((&file[footer..footer + 8], u64_at(footer + 8)), (&b"RMQIXEND"[..], 4096));
    assert_eq!(u32_at(footer + 16), crc(&file[directory..footer]));
    assert_eq!((u64_at(footer + 20), u32_at(footer + 28)), (0, crc(&file[footer..footer + 28])));
    assert_eq!(file.len(), footer + 32);
}

#[test]
fn a_whole_file_gives_back_all_entries() {
    assert_eq!(read_all(&sample()).unwrap(), 4);
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let file = sample();
    for cut in 0..file.len() {
        let error = read_all(&file[..cut]).expect_err("a cut file");
        assert!(matches!(error, IndexError::Damaged { .. }), "cut at byte {cut}: {error}");
    }
    let longer = [&file[..], &[0]].concat();
    assert!(matches!(read_all(&longer), Err(IndexError::Damaged { .. })));
}

#[test]
fn any_changed_bit_is_found_before_an_entry_is_served() {
    let file = sample();
    for bit in 0..file.len() * 8 {
        let mut changed = file.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let error = read_all(&changed).expect_err("a changed file");
        match bit / 8 {
            0..8 => assert!(matches!(error, IndexError::NotOurs)),
            8..12 => assert!(matches!(error, IndexError::Version(_))),
            byte => assert!(matches!(error, IndexError::Damaged { .. }), "byte {byte}: {error}"),
        }
    }
}

#[test]
fn an_extent_of_another_place_is_not_taken_for_the_right_one() {
    let mut index = QueueIndex::new(LogOffset(0));
    append(&mut index, key(1, 0), 0, 5);
    append(&mut index, key(1, 1), 100, 5);
    let file = write(&mut index, LogOffset(200));
    let slot = index.open(key(1, 0));
    let Found::Cold(range) = index.find(slot, QueueOffset(0), 1, &mut Vec::new()) else {
        panic!("the entry is in the file");
    };
    let mut swapped = file.clone();
    swapped.copy_within(96..128, 64);
    let mut block = index.take_cold_block();
    assert!(matches!(
        read_cold(&swapped[..], &range, &mut block),
        Err(IndexError::Damaged { part: "extent", position: 64 })
    ));
    assert_eq!(block.range(), None);
    index.insert_cold(block);
    assert_eq!(index.find(slot, QueueOffset(0), 1, &mut Vec::new()), Found::Cold(range));
}

#[test]
fn an_extent_made_again_from_the_log_must_be_what_it_was() {
    let mut index = QueueIndex::new(LogOffset(0));
    for n in 0..3 {
        append(&mut index, key(1, 0), n * 100, 5);
    }
    write(&mut index, LogOffset(300));
    let slot = index.open(key(1, 0));
    let Found::Cold(range) = index.find(slot, QueueOffset(1), 1, &mut Vec::new()) else {
        panic!("the entry is in the file");
    };
    assert_eq!((range.run, range.run_end), (LogOffset(0), LogOffset(300)));
    let from_log = |offsets: &[u64]| {
        let entry = |n: u64| Entry { at: LogOffset(n * 100), size: 100, tag: -7, store_ms: 5 };
        offsets.iter().map(|n| (QueueOffset(*n), entry(*n))).collect::<Vec<_>>()
    };
    let mut block = index.take_cold_block();
    for lost in [&[0, 1][..], &[1, 2], &[0, 2], &[]] {
        assert!(!block.rebuild(&range, from_log(lost)), "{lost:?}");
    }
    assert!(block.rebuild(&range, from_log(&[0, 1, 2, 3])));
    index.insert_cold(block);
    let mut out = Vec::new();
    assert_eq!(index.find(slot, QueueOffset(0), 9, &mut out), Found::Here);
    assert_eq!(out, from_log(&[0, 1, 2]));
}

#[test]
fn a_run_without_entries_has_a_file_that_joins_its_neighbours() {
    let mut index = QueueIndex::new(LogOffset(4096));
    let file = write(&mut index, END);
    assert_eq!(file.len(), 64 + 32);
    let mut index = QueueIndex::new(LogOffset(4096));
    index.load_run(&file[..], END, |_| true).unwrap();
    assert_eq!(index.checkpoint(), END);
}

#[test]
fn the_table_of_bases_keeps_the_highest_offset_and_finds_any_damage() {
    let mut bases = Bases::default();
    bases.fold(&sample()[..]).unwrap();
    bases.fold(&sample()[..]).unwrap();
    let rows: Vec<_> = bases.rows().collect();
    assert_eq!(rows, [(key(1, 0), QueueOffset(13)), (key(2, 5), QueueOffset(1))]);
    let mut file = Vec::new();
    bases.write_to(&mut file).unwrap();
    assert_eq!(file.len(), 16 + 2 * 16 + 4);
    assert_eq!(Bases::read(&file[..]).unwrap(), bases);
    for cut in 0..file.len() {
        assert!(Bases::read(&file[..cut]).is_err(), "cut at byte {cut}");
    }
    for bit in 0..file.len() * 8 {
        let mut changed = file.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(Bases::read(&changed[..]).is_err(), "bit {bit}");
    }
    bases.retain(|topic| topic != TopicId(1));
    assert_eq!(bases.rows().count(), 1);
}
