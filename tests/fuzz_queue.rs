//! Index files with changed, cut, grown and spliced bytes, half of them with checksums
//! made right again: the index refuses them or serves something, within the file's own
//! size, and never panics. `RINGMQ_FUZZ_SECONDS` for longer, `RINGMQ_QUEUE_SEED` for one
//! seed again.

use std::env;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use ringmq::base::{LogOffset, QueueOffset};
use ringmq::queue::{
    Bases, Boundary, ColdRange, Entry, Found, QueueIndex, QueueKey, TimeFound, TopicId, read_cold,
};

const START: LogOffset = LogOffset(4096);
const QUEUES: u32 = 6;

fn key(n: u32) -> QueueKey {
    QueueKey { topic: TopicId(n / 2), queue: n % 2 }
}

fn sample(random: &mut SmallRng) -> Vec<u8> {
    let mut index = QueueIndex::new(START);
    for _ in 0..random.random_range(0..60) {
        let slot = index.open(key(random.random_range(0..QUEUES)));
        index.skip(slot, u64::from(random.random_ratio(1, 20)));
        let at = index.dispatched();
        let store_ms = 1000 + random.random_range(0..50);
        index.append(slot, Entry { at, size: 200, tag: random.random(), store_ms });
    }
    index.roll(index.dispatched() + 1);
    let mut file = Vec::new();
    index.take_frozen().unwrap().write_to(&mut file).unwrap();
    file
}

fn change(random: &mut SmallRng, file: &mut Vec<u8>) {
    let at = random.random_range(0..file.len());
    match random.random_range(0..8) {
        0 => file.truncate(at),
        1 => file.extend((0..at).map(|n| n as u8)),
        2 => file[at] = random.random(),
        3 => file.copy_within(at.., 0),
        // Words of the header and the directory: the numbers that lengths come from.
        4 => set(file, random.random_range(2..15) * 4, interesting(random)),
        5..7 => {
            let rows = file.len().saturating_sub(32 * random.random_range(1..6));
            set(file, rows + random.random_range(0..8) * 4, interesting(random));
        }
        _ => file[at] ^= 1 << random.random_range(0..8),
    }
}

fn interesting(random: &mut SmallRng) -> u32 {
    match random.random_range(0..6) {
        0 => 0,
        1 => u32::MAX,
        2 => i32::MAX as u32,
        3 => random.random_range(0..40),
        4 => 4097,
        _ => random.random(),
    }
}

fn set(file: &mut [u8], at: usize, word: u32) {
    if let Some(bytes) = file.get_mut(at..at + 4) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
}

/// Makes the checksums of header, directory and footer right, so that what lies behind
/// them is reached. Positions as in `FORMAT.md`.
fn seal(file: &mut [u8]) {
    if file.len() < 96 {
        return;
    }
    let u32_at = |file: &[u8], at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let crc = crc32fast::hash(&file[..60]);
    set(file, 60, crc);
    let footer = file.len() - 32;
    let (extents, entries) = (u32_at(file, 12) as usize, u32_at(file, 40) as usize);
    let start: [u8; 8] = file[16..24].try_into().unwrap();
    file[footer..].fill(0);
    file[footer..footer + 8].copy_from_slice(b"RMQIXEND");
    file[footer + 8..footer + 16].copy_from_slice(&start);
    let directory = 64 + 16 * (extents + entries);
    let crc = crc32fast::hash(file.get(directory..footer).unwrap_or_default());
    set(file, footer + 16, crc);
    let crc = crc32fast::hash(&file[footer..footer + 28]);
    set(file, footer + 28, crc);
}

/// Uses all that a loaded run leads to. Returns the number of entries served.
fn use_index(random: &mut SmallRng, index: &mut QueueIndex, file: &[u8]) -> usize {
    let mut out = Vec::new();
    let cold = |index: &mut QueueIndex, range: &ColdRange| {
        let mut block = index.take_cold_block();
        let read = read_cold(file, range, &mut block);
        index.insert_cold(block);
        read.is_ok()
    };
    for slot in (0..QUEUES).filter_map(|n| index.get(key(n))).collect::<Vec<_>>() {
        let (min, visible, next) = (index.min(slot), index.visible(slot), index.next(slot));
        assert!(min <= visible && visible <= next);
        index.earliest_ms(slot);
        let mut offset = min;
        // A made-up directory can put extents anywhere, each read leads on though.
        for _ in 0..200 {
            match index.find(slot, offset, 10, &mut out) {
                Found::Here => offset = out.last().unwrap().0 + 1,
                Found::Hole { next } => {
                    assert!(next > offset);
                    offset = next;
                }
                Found::Cold(range) if cold(index, &range) => {}
                Found::Cold(_) | Found::End => break,
            }
        }
        for boundary in [Boundary::Lower, Boundary::Upper] {
            let ms =
                *[i64::MIN, i64::MAX, random.random_range(900..1100)].get(out.len() % 3).unwrap();
            loop {
                match index.search_time(slot, ms, boundary) {
                    TimeFound::At(offset) => {
                        assert!(min <= offset && offset <= visible);
                        break;
                    }
                    TimeFound::Cold(range) if cold(index, &range) => {}
                    TimeFound::Cold(_) => break,
                }
            }
        }
    }
    let at = index.dispatched();
    let slot = index.open(key(0));
    let offset = index.next(slot);
    let entry = Entry { at, size: 100, tag: 0, store_ms: 0 };
    let _ = index.append_recovered(key(0), offset, entry);
    index.truncate_front(at);
    out.len()
}

#[test]
fn a_changed_run_file_never_brings_the_index_down() {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = env::var("RINGMQ_QUEUE_SEED").map_or(time, |seed| seed.parse().unwrap());
    let seconds = env::var("RINGMQ_FUZZ_SECONDS").map_or(2, |seconds| seconds.parse().unwrap());
    println!("RINGMQ_QUEUE_SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut tried, mut loaded, mut served) = (0, 0, 0);
    while tried < 1000 || Instant::now() < end {
        tried += 1;
        let mut file = sample(&mut random);
        for _ in 0..random.random_range(1..4) {
            if !file.is_empty() {
                change(&mut random, &mut file);
            }
        }
        if random.random_ratio(1, 2) {
            seal(&mut file);
        }
        let mut index = QueueIndex::new(START);
        let log_end = LogOffset(i64::MAX as u64 - 4096);
        if index.load_run(&file[..], log_end, |_| true).is_ok() {
            loaded += 1;
            served += use_index(&mut random, &mut index, &file);
        } else {
            let untouched = (index.checkpoint(), index.dispatched()) == (START, START);
            assert!(untouched, "a refused file leaves the index as it was");
            for slot in (0..QUEUES).filter_map(|n| index.get(key(n))).collect::<Vec<_>>() {
                assert_eq!(index.next(slot), QueueOffset(0));
            }
        }
        let _ = Bases::default().fold(&file[..]);
    }
    println!("{tried} files, {loaded} loaded, {served} entries served");
    assert!(loaded > tried / 50 && served > 0, "the changes hide everything");
}

#[test]
fn a_changed_table_of_bases_is_refused_or_in_order() {
    let mut random = SmallRng::seed_from_u64(7);
    let mut bases = Bases::default();
    bases.fold(&sample(&mut random)[..]).unwrap();
    let mut table = Vec::new();
    bases.write_to(&mut table).unwrap();
    let mut read = 0;
    for _ in 0..2000 {
        let mut changed = table.clone();
        change(&mut random, &mut changed);
        if let Some(at) = changed.len().checked_sub(4) {
            let crc = crc32fast::hash(&changed[..at]);
            set(&mut changed, at, crc);
        }
        if let Ok(bases) = Bases::read(&changed[..]) {
            read += 1;
            let keys: Vec<_> = bases.rows().map(|(key, _)| key).collect();
            assert!(keys.is_sorted());
            QueueIndex::new(START).load_bases(&bases, |_| true);
        }
    }
    assert!(read > 0);
}
