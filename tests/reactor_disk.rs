//! Direct writes from an arena and direct reads into its pool, on a real file.

mod reactor_common;

use nix::fcntl::{FallocateFlags, fallocate};
use reactor_common::*;
use ringmq::base::LogOffset;
use ringmq::base::memory::{LogRing, Pool, SlotId};
use ringmq::reactor::{
    Completion, Degradation, DirectFile, DiskError, DiskRead, DiskWrite, Ring, RingConfig,
};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

fn directory() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn open_direct(path: &Path) -> File {
    let mut options = File::options();
    let file = options.read(true).write(true).create(true).custom_flags(nix::libc::O_DIRECT);
    let file = file.open(path).unwrap();
    fallocate(&file, FallocateFlags::empty(), 0, 4 << 20).unwrap();
    file
}

fn wrote(completion: Completion) -> Option<(u64, Result<(), DiskError>)> {
    match completion {
        Completion::Wrote { token, result } => Some((token, result)),
        _ => None,
    }
}

/// With the arena registered, and as it goes where the memlock limit forbids that.
fn both_ways(test: impl Fn(Ring)) {
    for register_arenas in [true, false] {
        let ring = Ring::new(RingConfig { register_arenas, ..RingConfig::default() }).unwrap();
        test(ring);
    }
}

#[test]
fn bytes_written_across_the_wrap_read_back_in_order() {
    both_ways(|mut ring| {
        let directory = directory();
        let path = directory.path().join("segment");
        let file = DirectFile::from(open_direct(&path));
        // The ring holds a MiB: this log range wraps in its middle.
        let (mut arena, id) = add_arena(&mut ring, 7 * MIB / 2);
        let bytes = pattern(MIB as usize, 3);
        let at = append(&mut arena, &bytes);
        for (token, durable) in [(1, false), (2, true)] {
            let file_offset = token * MIB;
            let write = DiskWrite { arena: id, at, len: bytes.len(), file_offset, durable };
            ring.write(&file, write, token);
        }
        let mut seen = Vec::new();
        turn_until(&mut ring, |_, out| {
            seen.extend(out.into_iter().filter_map(wrote));
            seen.len() == 2
        });
        assert!(seen.iter().all(|(_, result)| result.is_ok()), "{seen:?}");
        assert_eq!(arena.log.lowest_lent(), None);

        let mut content = Vec::new();
        File::open(&path).unwrap().read_to_end(&mut content).unwrap();
        assert!(content[MIB as usize..2 * MIB as usize] == bytes);
        assert!(content[2 * MIB as usize..3 * MIB as usize] == bytes);

        let read = DiskRead { slot: SlotId(2), start: 4096, len: 16384, file_offset: MIB + 8192 };
        ring.read(&file, &mut arena.pool, read, 4);
        assert!(!arena.pool.is_idle(SlotId(2)));
        let result = next(&mut ring, |completion| match completion {
            Completion::Read { token: 4, slot: SlotId(2), result } => Some(result),
            _ => None,
        });
        result.unwrap();
        assert!(arena.pool.slot(SlotId(2))[4096..][..16384] == bytes[8192..][..16384]);
    });
}

#[test]
fn a_flush_completes() {
    let directory = directory();
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let file = DirectFile::from(open_direct(&directory.path().join("segment")));
    ring.fdatasync(&file, 8);
    let result = next(&mut ring, |completion| match completion {
        Completion::Synced { token: 8, result } => Some(result),
        _ => None,
    });
    result.unwrap();
}

#[test]
fn failed_and_short_operations_say_what_was_wrong() {
    both_ways(|mut ring| {
        let directory = directory();
        let path = directory.path().join("segment");
        let file = DirectFile::from(open_direct(&path));
        let read_only = DirectFile::from(File::open(&path).unwrap());
        let (mut arena, id) = add_arena(&mut ring, MIB - 4096);
        let at = append(&mut arena, &pattern(8192, 3));
        // Both parts of this one fail, and it is told once.
        let write = DiskWrite { arena: id, at, len: 8192, file_offset: 0, durable: false };
        ring.write(&read_only, write, 1);
        let (_, result) = next(&mut ring, wrote);
        let Err(DiskError::Failed(error)) = result else { panic!("{result:?}") };
        assert_eq!(error.raw_os_error(), Some(nix::libc::EBADF));

        let past_the_end = (4 << 20) - 4096;
        let read = DiskRead { slot: SlotId(0), start: 0, len: 8192, file_offset: past_the_end };
        ring.read(&file, &mut arena.pool, read, 2);
        let result = next(&mut ring, |completion| match completion {
            Completion::Read { result, .. } => Some(result),
            _ => None,
        });
        assert!(matches!(result, Err(DiskError::Short { done: 4096, asked: 8192 })), "{result:?}");
        assert!(arena.pool.is_idle(SlotId(0)));

        ring.fdatasync(&DirectFile::from(File::open("/proc/self/maps").unwrap()), 3);
        let result = next(&mut ring, |completion| match completion {
            Completion::Synced { result, .. } => Some(result),
            _ => None,
        });
        assert!(matches!(result, Err(DiskError::Failed(_))), "{result:?}");
    });
}

#[test]
fn a_file_stays_open_until_its_last_operation_has_ended() {
    let directory = directory();
    let path = directory.path().join("segment");
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let (mut arena, id) = add_arena(&mut ring, 0);
    let at = append(&mut arena, &pattern(4096, 3));
    let file = open_direct(&path);
    file.lock().unwrap();
    let file = DirectFile::from(file);
    let write = DiskWrite { arena: id, at, len: 4096, file_offset: 0, durable: false };
    ring.write(&file, write, 1);
    drop(file);
    let other = File::open(&path).unwrap();
    assert!(other.try_lock().is_err(), "the operation keeps the description, and so its lock");
    next(&mut ring, wrote).1.unwrap();
    other.try_lock().unwrap();
}

#[test]
#[should_panic(expected = "past lent bytes")]
fn bytes_being_written_cannot_be_reclaimed() {
    let directory = directory();
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let (mut arena, id) = add_arena(&mut ring, 0);
    let at = append(&mut arena, &pattern(MIB as usize / 2, 3));
    let file = DirectFile::from(open_direct(&directory.path().join("segment")));
    let write = DiskWrite { arena: id, at, len: 4096, file_offset: 0, durable: false };
    ring.write(&file, write, 1);
    arena.log.reclaim(arena.log.sealed());
}

#[test]
#[should_panic(expected = "lent 0+8192 outside 0..4096")]
fn unsealed_bytes_cannot_be_written() {
    let directory = directory();
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let (mut arena, id) = add_arena(&mut ring, 0);
    append(&mut arena, &pattern(4096, 3));
    let file = DirectFile::from(open_direct(&directory.path().join("segment")));
    let write =
        DiskWrite { arena: id, at: LogOffset(0), len: 8192, file_offset: 0, durable: false };
    ring.write(&file, write, 1);
}

#[test]
#[should_panic(expected = "is being read into")]
fn a_slot_cannot_be_seen_while_it_is_read_into() {
    let directory = directory();
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let (mut arena, _) = add_arena(&mut ring, 0);
    let file = DirectFile::from(open_direct(&directory.path().join("segment")));
    let read = DiskRead { slot: SlotId(0), start: 0, len: 4096, file_offset: 0 };
    ring.read(&file, &mut arena.pool, read, 1);
    arena.pool.slot(SlotId(0));
}

#[test]
fn several_arenas_of_a_ring_are_kept_apart() {
    let directory = directory();
    let path = directory.path().join("segment");
    let file = DirectFile::from(open_direct(&path));
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let mut arenas: Vec<_> = (0..5).map(|_| add_arena(&mut ring, 0)).collect();
    for (index, (arena, id)) in arenas.iter_mut().enumerate() {
        let at = append(arena, &pattern(4096, index as u64));
        let file_offset = index as u64 * 4096;
        let write = DiskWrite { arena: *id, at, len: 4096, file_offset, durable: false };
        ring.write(&file, write, index as u64);
    }
    let mut done = 0;
    turn_until(&mut ring, |_, out| {
        done += out.into_iter().filter_map(wrote).map(|(_, result)| result.unwrap()).count();
        done == 5
    });
    let mut content = Vec::new();
    File::open(&path).unwrap().read_to_end(&mut content).unwrap();
    for index in 0..5 {
        assert!(content[index * 4096..][..4096] == pattern(4096, index as u64), "arena {index}");
    }
    // An ordinary user's limit of locked memory may be too low for five: that is told once
    // for each, and changes nothing else.
    for degradation in ring.degradations() {
        let told = degradation.to_string();
        match degradation {
            Degradation::SubmissionIndex => assert!(told.contains("6.6")),
            _ => assert!(told.contains("ulimit -l"), "{told}"),
        }
    }
}
