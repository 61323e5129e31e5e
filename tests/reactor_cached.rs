//! Writes through the page cache, from an arena by the ring and by copying into a mapping,
//! on a real file.

mod reactor_common;

use nix::fcntl::{FallocateFlags, fallocate};
use reactor_common::*;
use ringmq::base::WriteMode;
use ringmq::reactor::{
    CachedFile, CanUncache, Completion, DiskError, DiskWrite, EXIT_SIGBUS, MappedFile, Ring,
    RingConfig, stop_at_sigbus,
};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

fn directory() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn open(path: &Path) -> File {
    let mut options = File::options();
    let file = options.read(true).write(true).create(true).truncate(false).open(path).unwrap();
    fallocate(&file, FallocateFlags::empty(), 0, 4 << 20).unwrap();
    file
}

fn cached(path: &Path, mode: WriteMode) -> CachedFile {
    let file = open(path);
    match mode {
        WriteMode::Mmap => {
            let mapping = MappedFile::map(&file, path).unwrap();
            mapping.populate().unwrap();
            CachedFile::mapped(file, mapping)
        }
        WriteMode::Buffered => CachedFile::buffered(file, None),
        WriteMode::BufferedUncached => {
            let can = CanUncache::probe(&open(&path.with_extension("probe"))).unwrap();
            CachedFile::buffered(file, Some(can))
        }
        WriteMode::Direct => unreachable!("not through the page cache"),
    }
}

fn ended(completion: Completion) -> Option<(u64, Result<(), DiskError>)> {
    match completion {
        Completion::Wrote { token, result } | Completion::Synced { token, result } => {
            Some((token, result))
        }
        _ => None,
    }
}

/// The ends of `count` writes and flushes, in the order of their tokens.
fn await_ends(ring: &mut Ring, count: usize) -> Vec<(u64, Result<(), DiskError>)> {
    let mut seen = Vec::new();
    turn_until(ring, |_, out| {
        seen.extend(out.into_iter().filter_map(ended));
        seen.len() >= count
    });
    seen.sort_by_key(|(token, _)| *token);
    seen
}

/// Every mode that goes through the page cache, with the arena registered and without.
fn every_way(test: impl Fn(Ring, WriteMode)) {
    for mode in WriteMode::ALL.into_iter().filter(|mode| mode.is_cached()) {
        for register_arenas in [true, false] {
            let config = RingConfig { register_arenas, ..RingConfig::default() };
            test(Ring::new(config).unwrap(), mode);
        }
    }
}

#[test]
fn bytes_written_across_the_wrap_read_back_in_order_and_are_counted() {
    every_way(|mut ring, mode| {
        let directory = directory();
        let path = directory.path().join("segment");
        let file = cached(&path, mode);
        // The ring holds a MiB: this log range wraps in its middle.
        let (mut arena, id) = add_arena(&mut ring, 7 * MIB / 2);
        let bytes = pattern(MIB as usize, 3);
        let at = append(&mut arena, &bytes);
        for (token, durable) in [(1, false), (2, true)] {
            let file_offset = token * MIB;
            let write = DiskWrite { arena: id, at, len: bytes.len(), file_offset, durable };
            ring.write_cached(&file, write, token);
        }
        ring.fdatasync_cached(&file, 3);
        let ends = await_ends(&mut ring, 3);
        assert!(ends.iter().all(|(_, result)| result.is_ok()), "{mode}: {ends:?}");
        assert_eq!(arena.log.lowest_lent(), None);
        let content = std::fs::read(&path).unwrap();
        assert!(content[MIB as usize..2 * MIB as usize] == bytes, "{mode}");
        assert!(content[2 * MIB as usize..3 * MIB as usize] == bytes, "{mode}");

        let mut counters = ring.counters();
        let writes = *counters.of_writes(mode);
        assert_eq!((writes.calls, writes.bytes), (2, 2 * MIB));
        let copied = (writes.user_copied_bytes, writes.kernel_copied_bytes);
        let expected = if mode == WriteMode::Mmap { (2 * MIB, 0) } else { (0, 2 * MIB) };
        assert_eq!(copied, expected, "{mode}");
        assert!((1..=3).contains(&writes.punted), "{writes:?}");
        assert!(counters.minor_faults > 0);
    });
}

/// Pages of the page cache that the disk does not have, as cachestat counts them; None
/// before Linux 6.5.
fn unwritten_pages(file: &File) -> Option<u64> {
    const CACHESTAT: i64 = 451;
    let whole_file = [0u64, 0];
    // Cached, dirty, being written, evicted, recently evicted.
    let mut counts = [0u64; 5];
    // SAFETY: both arrays have the layout and size that the call reads and fills.
    let done = unsafe {
        let (range, counts) = (whole_file.as_ptr(), counts.as_mut_ptr());
        nix::libc::syscall(CACHESTAT, file.as_raw_fd(), range, counts, 0)
    };
    (done == 0).then_some(counts[1] + counts[2])
}

#[test]
fn when_a_write_is_told_the_disk_has_it() {
    every_way(|mut ring, mode| {
        let directory = directory();
        let path = directory.path().join("segment");
        let file = cached(&path, mode);
        let (mut arena, id) = add_arena(&mut ring, 0);
        let at = append(&mut arena, &pattern(512 * 1024, 3));
        for token in 0..4 {
            let (len, file_offset) = (128 * 1024, token * 128 * 1024);
            let at = at + token * 128 * 1024;
            let write = DiskWrite { arena: id, at, len, file_offset, durable: false };
            ring.write_cached(&file, write, token);
        }
        if mode == WriteMode::Mmap {
            assert_ne!(unwritten_pages(&open(&path)), Some(0), "it is copied and not yet out");
        }
        let ends = await_ends(&mut ring, 4);
        assert!(ends.iter().all(|(_, result)| result.is_ok()), "{ends:?}");
        assert!(unwritten_pages(&open(&path)).is_none_or(|pages| pages == 0), "{mode}");
    });
}

#[test]
fn writes_that_come_while_one_is_written_out_share_the_next_write_out() {
    let directory = directory();
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let (mut arena, id) = add_arena(&mut ring, 0);
    let file = cached(&directory.path().join("segment"), WriteMode::Mmap);
    for token in 0..64 {
        let at = append(&mut arena, &pattern(4096, token));
        let write = DiskWrite { arena: id, at, len: 4096, file_offset: at.0, durable: false };
        ring.write_cached(&file, write, token);
    }
    let ends = await_ends(&mut ring, 64);
    assert!(ends.iter().all(|(_, result)| result.is_ok()), "{ends:?}");
    assert_eq!(ring.counters().of_writes(WriteMode::Mmap).punted, 2);
}

#[test]
fn a_failed_copy_ends_its_write_without_a_write_out() {
    let directory = directory();
    let path = directory.path().join("segment");
    drop(open(&path));
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let (mut arena, id) = add_arena(&mut ring, MIB - 4096);
    let at = append(&mut arena, &pattern(8192, 3));
    let file = CachedFile::buffered(File::open(&path).unwrap(), None);
    let write = DiskWrite { arena: id, at, len: 8192, file_offset: 0, durable: false };
    ring.write_cached(&file, write, 1);
    let ends = await_ends(&mut ring, 1);
    let Err(DiskError::Failed(error)) = &ends[0].1 else { panic!("{ends:?}") };
    assert_eq!(error.raw_os_error(), Some(nix::libc::EBADF));
    assert_eq!(ring.counters().of_writes(WriteMode::Buffered).punted, 0);
}

#[test]
fn after_a_failed_flush_nothing_of_the_file_succeeds() {
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let file = CachedFile::buffered(File::open("/proc/self/maps").unwrap(), None);
    for token in 1..=3 {
        ring.fdatasync_cached(&file, token);
    }
    let ends = await_ends(&mut ring, 3);
    assert!(ends.iter().all(|(_, result)| result.is_err()), "{ends:?}");
    assert_eq!(ring.counters().of_writes(WriteMode::Buffered).punted, 1, "it is asked once");
    ring.fdatasync_cached(&file, 4);
    assert!(matches!(await_ends(&mut ring, 1)[..], [(4, Err(_))]));
    assert_eq!(ring.counters().of_writes(WriteMode::Buffered).punted, 1);
}

#[test]
fn what_cannot_leave_the_page_cache_is_written_plainly_and_counted() {
    let directory = directory();
    let path = directory.path().join("segment");
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let (mut arena, id) = add_arena(&mut ring, 0);
    let at = append(&mut arena, &pattern(4096, 3));
    let file = CachedFile::buffered(open(&path), Some(CanUncache(false)));
    let write = DiskWrite { arena: id, at, len: 4096, file_offset: 0, durable: false };
    ring.write_cached(&file, write, 1);
    await_ends(&mut ring, 1).remove(0).1.unwrap();
    assert_eq!(ring.counters().uncached_fallbacks, 1);
    assert!(std::fs::read(&path).unwrap()[..4096] == pattern(4096, 3));
}

#[test]
fn a_mapping_is_given_back_for_another_thread_only_when_nothing_uses_it() {
    let directory = directory();
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let (mut arena, id) = add_arena(&mut ring, 0);
    let at = append(&mut arena, &pattern(4096, 3));
    let file = cached(&directory.path().join("segment"), WriteMode::Mmap);
    let write = DiskWrite { arena: id, at, len: 4096, file_offset: 0, durable: false };
    ring.write_cached(&file, write, 1);
    assert!(!file.is_idle());
    let file = file.into_mapping().unwrap_err();
    await_ends(&mut ring, 1).remove(0).1.unwrap();
    let lent = file.mapping().unwrap().clone();
    let file = file.into_mapping().unwrap_err();
    drop(lent);
    assert!(file.is_idle());
    let mapping = file.into_mapping().unwrap().expect("it was mapped");
    std::thread::spawn(move || drop(mapping)).join().unwrap();
}

#[test]
#[should_panic(expected = "lent 0+8192 outside 0..4096")]
fn unsealed_bytes_cannot_be_copied() {
    let directory = directory();
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let (mut arena, id) = add_arena(&mut ring, 0);
    let at = append(&mut arena, &pattern(4096, 3));
    let file = cached(&directory.path().join("segment"), WriteMode::Mmap);
    let write = DiskWrite { arena: id, at, len: 8192, file_offset: 0, durable: false };
    ring.write_cached(&file, write, 1);
}

/// Run by the test below as a process of its own, which does not survive it.
#[test]
#[ignore = "ends its process"]
fn child_that_copies_into_a_file_that_is_cut_short() {
    let Ok(path) = std::env::var("RINGMQ_TEST_CUT_FILE") else { return };
    stop_at_sigbus().unwrap();
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let (mut arena, id) = add_arena(&mut ring, 0);
    let at = append(&mut arena, &pattern(4096, 3));
    let file = cached(Path::new(&path), WriteMode::Mmap);
    File::options().write(true).open(&path).unwrap().set_len(8192).unwrap();
    for file_offset in [4096, 8192] {
        let write = DiskWrite { arena: id, at, len: 4096, file_offset, durable: false };
        ring.write_cached(&file, write, 1);
        eprintln!("copied to {file_offset}");
    }
}

#[test]
fn a_copy_into_a_file_that_was_cut_short_names_it_and_ends_the_process() {
    let directory = directory();
    let path = directory.path().join("segment");
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_copies_into_a_file_that_is_cut_short"])
        .args(["--ignored", "--nocapture"])
        .env("RINGMQ_TEST_CUT_FILE", &path)
        .output()
        .unwrap();
    let said = String::from_utf8(child.stderr).unwrap();
    assert_eq!(child.status.code(), Some(EXIT_SIGBUS), "{said}");
    assert!(said.starts_with("copied to 4096\n"), "{said}");
    assert!(said.contains(&format!("ringmq: {} is mapped", path.display())), "{said}");
    assert!(!said.contains("copied to 8192"), "{said}");
}
