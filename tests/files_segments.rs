//! Segments are born whole, keep to one writer, and survive being renamed.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::Duration;

use ringmq::base::{LogOffset, WriteMode};
use ringmq::engine::files::{Access, IndexFiles, Pace, SegmentFiles};
use tempfile::TempDir;

const SIZE: u64 = 2 * 1024 * 1024 + 4096;
const AT_ONCE: Duration = Duration::ZERO;
const PATIENT: Duration = Duration::from_secs(20);

fn log(access: Access) -> (TempDir, SegmentFiles) {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let files = SegmentFiles::new(root.path().to_owned(), SIZE, access);
    (root, files)
}

/// Every write mode, where O_DIRECT is to be had and where not.
fn every_access() -> impl Iterator<Item = Access> {
    let with_direct = WriteMode::ALL.map(|mode| Access { mode, ..Access::usual(true) });
    with_direct.into_iter().chain([Access::usual(false)])
}

fn prepare(files: &SegmentFiles, start: u64) {
    files.prepare(LogOffset(start), &|| Pace::Fill).unwrap();
}

#[test]
fn a_prepared_segment_has_its_size_its_zeros_and_its_space() {
    for access in every_access() {
        let (_root, files) = log(access);
        prepare(&files, SIZE);
        let path = files.path(LogOffset(SIZE));
        assert_eq!(path.file_name().unwrap().len(), 20);
        assert!(fs::read(&path).unwrap() == vec![0; SIZE as usize]);
        let metadata = fs::metadata(&path).unwrap();
        assert!(metadata.blocks() * 512 >= SIZE, "space is taken, not promised");
        assert_eq!(files.list().unwrap(), [LogOffset(SIZE)]);
    }
}

#[test]
fn a_segment_that_was_handed_over_early_is_known_by_its_extents() {
    for access in every_access() {
        let (_root, files) = log(access);
        let is_filled = || files.open_writable(LogOffset(0), AT_ONCE).unwrap().is_filled();
        files.prepare(LogOffset(0), &|| Pace::HandOver).unwrap();
        let metadata = fs::metadata(files.path(LogOffset(0))).unwrap();
        assert!(metadata.len() == SIZE && metadata.blocks() * 512 >= SIZE, "space is taken");
        assert!(!is_filled());
        // What a reader leaves in the page cache is no extent.
        assert!(fs::read(files.path(LogOffset(0))).unwrap() == vec![0; SIZE as usize]);
        assert!(!is_filled());
        let segment = files.open_writable(LogOffset(0), AT_ONCE).unwrap();
        segment.write_blocks(&vec![1; SIZE as usize - 4096], 0).unwrap();
        segment.file().sync_all().unwrap();
        drop(segment);
        assert!(!is_filled(), "the last block is missing");
        let segment = files.open_writable(LogOffset(0), AT_ONCE).unwrap();
        segment.write_blocks(&[1; 4096], SIZE - 4096).unwrap();
        segment.file().sync_all().unwrap();
        drop(segment);
        assert!(is_filled());
        prepare(&files, SIZE);
        assert!(files.open_writable(LogOffset(SIZE), AT_ONCE).unwrap().is_filled());
    }
}

/// On such a file system metadata has to be durable before a block can be found.
#[test]
fn where_blocks_move_when_they_are_written_no_cached_segment_counts_as_filled() {
    for (mode, counts) in [(WriteMode::Direct, true), (WriteMode::Mmap, false)] {
        let access = Access { mode, in_place: false, ..Access::usual(true) };
        let (_root, files) = log(access);
        assert_eq!(files.open_or_prepare(LogOffset(0)).unwrap().is_filled(), counts, "{mode}");
        let again = files.open_writable(LogOffset(0), AT_ONCE).unwrap();
        assert_eq!(again.is_filled(), counts, "{mode}");
    }
}

#[test]
fn a_name_that_leads_to_another_file_or_to_a_shorter_one_is_told() {
    let (_root, files) = log(Access::usual(true));
    let (start, other) = (LogOffset(0), LogOffset(SIZE));
    let id = files.open_or_prepare(start).unwrap().id();
    files.check_still_there(start, id).unwrap();
    prepare(&files, SIZE);
    fs::rename(files.path(start), files.path(LogOffset(2 * SIZE))).unwrap();
    let why = files.check_still_there(start, id).unwrap_err().to_string();
    assert!(why.starts_with("cannot find "), "{why}");
    fs::rename(files.path(other), files.path(start)).unwrap();
    let why = files.check_still_there(start, id).unwrap_err().to_string();
    assert!(why.contains("another file has taken its place"), "{why}");
    fs::rename(files.path(LogOffset(2 * SIZE)), files.path(start)).unwrap();
    files.check_still_there(start, id).unwrap();
    File::options().write(true).open(files.path(start)).unwrap().set_len(4096).unwrap();
    let why = files.check_still_there(start, id).unwrap_err().to_string();
    assert!(why.contains("it has 4096 bytes"), "{why}");
}

/// What a start writes from a dead process's arena ends in a group that was closed in
/// ordinary memory; a direct write refused it, and with it the start.
#[test]
fn blocks_are_written_wherever_they_lie_in_memory() {
    for access in every_access() {
        let (_root, files) = log(access);
        let segment = files.open_or_prepare(LogOffset(0)).unwrap();
        let memory: Vec<u8> = (0..3 * 4096).map(|i| (i % 251) as u8).collect();
        let blocks = |skip: usize| &memory[memory.as_ptr().align_offset(4096) + skip..][..4096];
        segment.write_blocks(blocks(0), 4096).unwrap();
        segment.write_blocks(blocks(16), 8192).unwrap();
        let stored = fs::read(files.path(LogOffset(0))).unwrap();
        assert!(stored[4096..8192] == *blocks(0) && stored[8192..12288] == *blocks(16));
        assert!(stored[..4096].iter().chain(&stored[12288..]).all(|byte| *byte == 0));
    }
}

#[test]
fn segments_are_listed_in_order_and_leftovers_of_a_kill_are_removed() {
    let (root, files) = log(Access::usual(false));
    for start in [2 * SIZE, 0, SIZE] {
        prepare(&files, start);
    }
    File::create(root.path().join("00000000000000000009.preparing")).unwrap();
    fs::write(root.path().join("README"), "not a segment").unwrap();
    assert_eq!(files.list().unwrap(), [0, SIZE, 2 * SIZE].map(LogOffset));
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 4);
}

#[test]
fn a_segment_of_another_size_is_named_instead_of_being_read() {
    let (root, files) = log(Access::usual(false));
    fs::write(root.path().join("00000000000000000000"), "short").unwrap();
    let error = files.list().unwrap_err().to_string();
    assert!(error.contains("00000000000000000000") && error.contains("5 bytes"), "{error}");
}

#[test]
fn an_interrupted_preparation_leaves_nothing() {
    let (root, files) = log(Access::usual(false));
    let pieces = std::cell::Cell::new(0);
    let pace = || {
        pieces.set(pieces.get() + 1);
        if pieces.get() < 2 { Pace::Fill } else { Pace::GiveUp }
    };
    let error = files.prepare(LogOffset(0), &pace).unwrap_err();
    assert_eq!(error.source.kind(), ErrorKind::Interrupted);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn a_segment_that_exists_is_never_replaced() {
    let (_root, files) = log(Access::usual(false));
    prepare(&files, 0);
    prepare(&files, SIZE);
    files.open_writable(LogOffset(0), AT_ONCE).unwrap().file().write_all_at(b"kept", 0).unwrap();
    let error = files.prepare(LogOffset(0), &|| Pace::Fill).unwrap_err();
    assert_eq!(error.source.kind(), ErrorKind::AlreadyExists);
    let error = files.recycle(LogOffset(SIZE), LogOffset(0)).unwrap_err();
    assert_eq!(error.source.kind(), ErrorKind::AlreadyExists);
    assert!(fs::read(files.path(LogOffset(0))).unwrap().starts_with(b"kept"));
    assert_eq!(files.list().unwrap(), [LogOffset(0), LogOffset(SIZE)]);
}

#[test]
fn a_recycled_segment_keeps_its_content_under_the_new_name() {
    let (_root, files) = log(Access::usual(false));
    prepare(&files, 0);
    let old = files.open_writable(LogOffset(0), AT_ONCE).unwrap();
    old.file().write_all_at(b"stale", 4096).unwrap();
    drop(old);
    files.recycle(LogOffset(0), LogOffset(5 * SIZE)).unwrap();
    assert_eq!(files.list().unwrap(), [LogOffset(5 * SIZE)]);
    let mut found = [0; 5];
    let renamed = files.open_readable(LogOffset(5 * SIZE)).unwrap();
    renamed.file().read_exact_at(&mut found, 4096).unwrap();
    assert_eq!(&found, b"stale");
    files.unlink(LogOffset(5 * SIZE)).unwrap();
    assert_eq!(files.list().unwrap(), []);
}

#[test]
fn a_segment_has_one_writer_and_any_number_of_readers() {
    let (_root, files) = log(Access::usual(false));
    prepare(&files, 0);
    let writer = files.open_writable(LogOffset(0), AT_ONCE).unwrap();
    let error = files.open_writable(LogOffset(0), AT_ONCE).unwrap_err();
    assert_eq!(error.source.kind(), ErrorKind::ResourceBusy);
    files.open_readable(LogOffset(0)).unwrap();
    std::thread::scope(|scope| {
        let next = scope.spawn(|| files.open_writable(LogOffset(0), PATIENT));
        drop(writer);
        next.join().unwrap().unwrap();
    });
}

/// A write that is still on its way holds the description, and so the lock, after
/// everything else of the process is gone. A duplicated descriptor plays that part.
#[test]
fn the_lock_lasts_as_long_as_the_description_and_not_just_the_descriptor() {
    let (_root, files) = log(Access::usual(false));
    prepare(&files, 0);
    let writer = files.open_writable(LogOffset(0), AT_ONCE).unwrap();
    let in_flight = writer.file().try_clone().unwrap();
    drop(writer);
    assert!(files.open_writable(LogOffset(0), AT_ONCE).is_err());
    drop(in_flight);
    files.open_writable(LogOffset(0), AT_ONCE).unwrap();
}

#[test]
fn an_index_file_appears_whole_and_its_readers_outlive_a_replacement() {
    let root = tempfile::tempdir().unwrap();
    let files = IndexFiles::new(root.path().to_owned());
    let start = LogOffset(4096);
    let write = |bytes: &'static [u8]| {
        let content = |out: &mut dyn io::Write| out.write_all(bytes).map(|()| bytes.len());
        files.write_run(start, content).unwrap()
    };
    let ((first, told), (second, _)) = (write(b"first run"), write(b"second"));
    assert_eq!((told, first.file_bytes().unwrap(), second.file_bytes().unwrap()), (9, 9, 6));
    let mut found = [0; 3];
    first.read_exact_at(&mut found, 6).unwrap();
    assert_eq!(&found, b"run");
    second.read_exact_at(&mut found, 3).unwrap();
    assert_eq!(&found, b"ond");
    assert!(second.read_exact_at(&mut found, 4).is_err(), "past the end");

    let broken = files.write_run(start, |out| {
        out.write_all(b"half of it")?;
        Err::<(), _>(io::Error::other("the source broke"))
    });
    let error = broken.expect_err("it fails").to_string();
    assert!(error.contains("the source broke"), "{error}");
    assert_eq!(files.open_run(start).unwrap().file_bytes().unwrap(), 6, "the old one stays");

    assert!(files.open_table("bases").unwrap().is_none());
    files.write_table("bases", |out| out.write_all(b"table")).unwrap();
    assert_eq!(files.open_table("bases").unwrap().unwrap().file_bytes().unwrap(), 5);
    File::create(root.path().join("00000000000000000000.tmp")).unwrap();
    assert_eq!(files.list().unwrap(), [start]);
    files.unlink_run(start).unwrap();
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "the table");
}
