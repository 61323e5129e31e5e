//! The arena: its log ring, its journal, and what is left of it after a crash.

mod reactor_common;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use reactor_common::*;
use ringmq::base::LogOffset;
use ringmq::base::memory::{JournalFull, LogRing};
use ringmq::reactor::{
    Arena, ArenaError, ArenaIdentity, ArenaPlace, ArenaSizes, OldArena, Pages, boot_id,
};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

fn identity() -> ArenaIdentity {
    ArenaIdentity { data_dir: [7; 16], shard: 2, life: 5, boot: boot_id().unwrap() }
}

/// A directory on shared memory, gone with the test.
fn shared() -> (TempDir, ArenaPlace) {
    let directory = TempDir::with_prefix_in("ringmq-test-", "/dev/shm").unwrap();
    let place = ArenaPlace { huge: None, shared: directory.path().to_path_buf() };
    (directory, place)
}

fn create(place: &ArenaPlace, start: u64) -> Arena {
    Arena::create(place, "arena", SMALL, &identity(), LogOffset(start)).unwrap()
}

/// Opens an arena whose process may still be going down.
fn open_when_free(path: &Path) -> OldArena {
    let deadline = Instant::now() + LIMIT;
    loop {
        match OldArena::open(path) {
            Err(ArenaError::InUse(_)) => assert!(Instant::now() < deadline, "still in use"),
            other => return other.unwrap(),
        }
    }
}

#[test]
fn random_appends_read_back_like_a_plain_log() {
    let mut random = SmallRng::seed_from_u64(20);
    let start = 3 * MIB - 4096;
    let mut arena = arena_from(start);
    let mut log: Vec<u8> = Vec::new();
    for round in 0..2000u64 {
        let (head, low) = (arena.log.sealed(), arena.log.reclaimed());
        let room = low.0 + arena.log.size() - head.0;
        match random.random_range(0..4) {
            0 | 1 if room > 0 => {
                let len = random.random_range(1..=room.min(100_000));
                let bytes = pattern(len as usize, round);
                append(&mut arena, &bytes);
                log.extend(bytes);
            }
            2 => {
                let end = low + random.random_range(0..=head - low);
                arena.log.reclaim(end);
                assert!(arena.log.reclaimed() <= end && end - arena.log.reclaimed() < 64 * 1024);
            }
            _ => {
                let at = low + random.random_range(0..=head - low);
                let len = random.random_range(0..=head - at) as usize;
                let expected = &log[(at.0 - start) as usize..][..len];
                assert!(arena.log.readable(at, len) == expected, "{at}+{len}");
            }
        }
    }
    assert!(log.len() as u64 > 20 * MIB, "the ring has wrapped many times");
}

#[test]
fn one_write_across_the_wrap_is_seen_at_both_ends() {
    let mut arena = arena_from(2 * MIB - 4);
    append(&mut arena, b"0123456789");
    assert_eq!(arena.log.readable(LogOffset(2 * MIB - 4), 10), b"0123456789");
    assert_eq!(arena.log.readable(LogOffset(2 * MIB), 6), b"456789");
}

#[test]
#[should_panic(expected = "writable 0+1 outside 4096..")]
fn sealed_bytes_cannot_be_written() {
    let mut arena = arena_from(0);
    append(&mut arena, &[1; 4096]);
    arena.log.writable(LogOffset(0), 1);
}

#[test]
#[should_panic(expected = "outside 4096..1048576")]
fn a_full_ring_has_no_room() {
    let mut arena = arena_from(0);
    append(&mut arena, &[1; 4096]);
    arena.log.writable(LogOffset(4096), MIB as usize);
}

#[test]
#[should_panic(expected = "published 8192 outside 0..4096")]
fn unsealed_bytes_cannot_be_published() {
    let mut arena = arena_from(0);
    append(&mut arena, &[1; 4096]);
    arena.log.publish(LogOffset(8192));
}

#[test]
fn a_crash_keeps_exactly_what_was_published() {
    let start = MIB - 8192;
    let mut arena = Arena::anonymous(SMALL, &identity(), LogOffset(start)).unwrap();
    let bytes = pattern(MIB as usize, 4);
    append(&mut arena, &bytes);
    arena.log.publish(LogOffset(start + 500_000));
    arena.log.publish(LogOffset(start + 600_000));

    let survivor = arena.crash();
    let old = survivor.open().unwrap();
    assert_eq!(*old.identity(), identity());
    assert_eq!(old.sizes(), SMALL);
    assert_eq!((old.start(), old.edge()), (LogOffset(start), LogOffset(start + 600_000)));
    assert!(old.log(old.start(), 600_000) == &bytes[..600_000]);
    assert_eq!(old.journal().count(), 0);
}

#[test]
fn an_old_arena_starts_above_what_was_being_overwritten() {
    let mut arena = arena_from(0);
    append(&mut arena, &pattern(MIB as usize, 4));
    arena.log.publish(arena.log.sealed());
    arena.log.reclaim(LogOffset(100_000));
    // The crash comes while the freed bytes are being written, before they are published.
    arena.log.writable(LogOffset(MIB), 1000).fill(0xee);
    let old = arena.crash().open().unwrap();
    assert_eq!((old.start(), old.edge()), (LogOffset(65536), LogOffset(MIB)));
    let expected = &pattern(MIB as usize, 4)[65536..];
    assert!(old.log(old.start(), expected.len()) == expected);
}

#[test]
#[should_panic(expected = "is not in the old arena")]
fn an_old_arena_shows_nothing_above_its_edge() {
    let mut arena = arena_from(0);
    append(&mut arena, &[1; 4096]);
    arena.log.publish(LogOffset(100));
    arena.crash().open().unwrap().log(LogOffset(0), 101);
}

fn journal_of(arena: Arena) -> Vec<Vec<u8>> {
    arena.crash().open().unwrap().journal().map(<[u8]>::to_vec).collect()
}

#[test]
fn a_journal_keeps_its_entries_in_order_across_a_switch() {
    let mut arena = arena_from(0);
    for entry in ["one", "", "three is longer than eight bytes"] {
        arena.journal.append(entry.as_bytes()).unwrap();
    }
    arena.journal.switch();
    arena.journal.append(b"four").unwrap();
    assert!(!arena.journal.other_is_clear());
    let expected: [&[u8]; 4] = [b"one", b"", b"three is longer than eight bytes", b"four"];
    assert_eq!(journal_of(arena), expected);
}

#[test]
fn a_cleared_half_is_forgotten_and_used_again() {
    let mut arena = arena_from(0);
    arena.journal.append(b"persisted").unwrap();
    arena.journal.switch();
    arena.journal.append(b"second").unwrap();
    arena.journal.clear_other();
    arena.journal.switch();
    arena.journal.append(b"third").unwrap();
    assert_eq!(journal_of(arena), [&b"second"[..], b"third"]);
}

#[test]
fn a_full_half_refuses_and_keeps_what_it_has() {
    let mut arena = arena_from(0);
    let mut kept = 0;
    while arena.journal.append(&[9; 100]).is_ok() {
        kept += 1;
    }
    // 8 bytes of head, 100 of content, padded to 112: 36 of them in 4096.
    assert_eq!(kept, 36);
    assert_eq!(arena.journal.append(&[9; 5000]), Err(JournalFull));
    assert_eq!(arena.journal.usage(), (36 * 112, 4096));
    arena.journal.append(&[8; 40]).unwrap();
    assert_eq!(journal_of(arena).len(), 37);
}

#[test]
#[should_panic(expected = "still holds entries")]
fn a_journal_does_not_switch_onto_entries() {
    let mut arena = arena_from(0);
    arena.journal.append(b"one").unwrap();
    arena.journal.switch();
    arena.journal.append(b"two").unwrap();
    arena.journal.switch();
}

#[test]
fn a_named_arena_is_found_again_and_locked_while_it_lives() {
    let (directory, place) = shared();
    let path = place.candidates("arena")[0].clone();
    assert_eq!(path, directory.path().join("arena"));
    let mut arena = create(&place, 0);
    assert!(!path.exists(), "it gets its name when it is ready");
    assert!(arena.name().unwrap().is_none());
    arena.install().unwrap();
    assert!(arena.name().unwrap().unwrap().check_still_ours().unwrap());
    append(&mut arena, b"kept");
    arena.log.publish(LogOffset(4));
    assert!(matches!(OldArena::open(&path), Err(ArenaError::InUse(_))));
    let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    drop(arena);
    let old = OldArena::open(&path).unwrap();
    assert_eq!(old.log(LogOffset(0), 4), b"kept");
}

#[test]
fn a_new_life_replaces_the_old_arena_and_leaves_its_pages_alone() {
    let (_directory, place) = shared();
    let mut first = create(&place, 0);
    first.install().unwrap();
    append(&mut first, b"old bytes");
    first.log.publish(LogOffset(9));
    let path = first.path().unwrap().to_path_buf();
    drop(first);

    let old = OldArena::open(&path).unwrap();
    let mut second = create(&place, 0);
    let at = append(&mut second, old.log(LogOffset(0), 9));
    second.log.publish(at + 9);
    second.install().unwrap();
    append(&mut second, b"new bytes");
    assert_eq!(old.log(LogOffset(0), 9), b"old bytes");
    let name = second.name().unwrap().unwrap();
    assert!(name.check_still_ours().unwrap());

    let mut third = create(&place, 0);
    third.install().unwrap();
    assert!(!name.check_still_ours().unwrap(), "the name leads elsewhere now");
    let name = third.name().unwrap().unwrap();
    assert!(name.check_still_ours().unwrap());
    std::fs::remove_file(&path).unwrap();
    assert!(!name.check_still_ours().unwrap(), "the name leads nowhere");
}

#[test]
fn a_start_that_failed_half_way_leaves_nothing_in_the_way() {
    let (directory, place) = shared();
    drop(create(&place, 0));
    assert_eq!(directory.path().read_dir().unwrap().count(), 1);
    create(&place, 0).install().unwrap();
    let names: Vec<_> = directory.path().read_dir().unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(names, [directory.path().join("arena")]);
}

#[test]
fn what_is_no_arena_is_refused_by_name() {
    let (directory, place) = shared();
    let path = directory.path().join("arena");
    std::fs::write(&path, b"short").unwrap();
    assert!(matches!(OldArena::open(&path), Err(ArenaError::NotAnArena)));
    std::fs::write(&path, vec![0; 1 << 20]).unwrap();
    assert!(matches!(OldArena::open(&path), Err(ArenaError::NotAnArena)));

    let mut arena = create(&place, 0);
    arena.install().unwrap();
    drop(arena);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 4096]).unwrap();
    assert!(matches!(OldArena::open(&path), Err(ArenaError::Length { .. })));
    let mut flipped = whole.clone();
    flipped[40] ^= 1;
    std::fs::write(&path, &flipped).unwrap();
    assert!(matches!(OldArena::open(&path), Err(ArenaError::HeaderChecksum)));
    let mut edges = whole;
    edges[4096..4104].copy_from_slice(&u64::MAX.to_le_bytes());
    std::fs::write(&path, &edges).unwrap();
    assert!(matches!(OldArena::open(&path), Err(ArenaError::Edges { .. })));
}

#[test]
fn an_arena_larger_than_its_place_is_refused_before_memory_is_taken() {
    let (directory, place) = shared();
    let sizes = ArenaSizes { ring: 1 << 39, ..SMALL };
    let error = Arena::create(&place, "arena", sizes, &identity(), LogOffset(0)).err().unwrap();
    assert!(matches!(error, ArenaError::NoMemory { .. }), "{error}");
    assert!(error.to_string().contains("--arena-dir"), "{error}");
    assert_eq!(directory.path().read_dir().unwrap().count(), 0);
}

#[test]
fn without_huge_pages_the_shared_place_serves() {
    let (directory, mut place) = shared();
    place.huge = Some(PathBuf::from("/nonexistent"));
    let mut arena = create(&place, 0);
    arena.install().unwrap();
    assert_eq!(arena.path(), Some(&*directory.path().join("arena")));
    assert!(!matches!(arena.pages(), Pages::Hugetlb(_)));
}

#[test]
#[ignore = "needs a mounted hugetlbfs with 4 free huge pages"]
fn huge_pages_are_used_where_they_are() {
    let mut place = ArenaPlace::usual();
    place.shared = PathBuf::from("/nonexistent");
    let mut arena = create(&place, 0);
    arena.install().unwrap();
    assert!(matches!(arena.pages(), Pages::Hugetlb(_)));
    let path = arena.path().unwrap().to_path_buf();
    let size = arena.log.size();
    let start = append(&mut arena, &pattern(size as usize, 1));
    arena.log.publish(LogOffset(size));
    drop(arena);
    let old = OldArena::open(&path).unwrap();
    assert!(old.log(start, size as usize) == pattern(size as usize, 1));
    std::fs::remove_file(path).unwrap();
}

#[test]
#[ignore = "needs /dev/shm mounted with huge=always"]
fn transparent_huge_pages_are_used_where_they_are() {
    let (_directory, place) = shared();
    let sizes = ArenaSizes::of_total(16 * MIB);
    let arena = Arena::create(&place, "arena", sizes, &identity(), LogOffset(0)).unwrap();
    assert_eq!(arena.pages(), Pages::Transparent);
}

const CHILD: &str = "RINGMQ_TEST_ARENA_CHILD";

/// The process that `a_killed_process_leaves_what_it_published` kills.
#[test]
fn child_that_waits_to_be_killed() {
    let Some(directory) = std::env::var_os(CHILD) else { return };
    let place = ArenaPlace { huge: None, shared: directory.into() };
    let mut arena = create(&place, 0);
    arena.install().unwrap();
    append(&mut arena, &pattern(300_000, 1));
    arena.log.publish(LogOffset(300_000));
    arena.journal.append(b"offset 17").unwrap();
    std::fs::write(place.shared.join("ready"), []).unwrap();
    append(&mut arena, &pattern(1000, 2));
    // Ends when the parent kills this process, or goes away itself.
    let _ = std::io::read_to_string(std::io::stdin());
}

#[test]
fn a_killed_process_leaves_what_it_published() {
    let (directory, place) = shared();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_waits_to_be_killed"])
        .env(CHILD, directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + LIMIT;
    while !directory.path().join("ready").exists() {
        assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none());
        std::thread::yield_now();
    }
    let path = place.candidates("arena")[0].clone();
    assert!(matches!(OldArena::open(&path), Err(ArenaError::InUse(_))));
    child.kill().unwrap();
    child.wait().unwrap();

    let old = open_when_free(&path);
    assert_eq!(old.identity().life, 5);
    assert_eq!(old.edge(), LogOffset(300_000));
    assert!(old.log(LogOffset(0), 300_000) == pattern(300_000, 1));
    assert_eq!(old.journal().collect::<Vec<_>>(), [b"offset 17"]);
}
