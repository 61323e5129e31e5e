//! Helpers do for a shard what it may not wait for, and answer every job once.

use std::io::ErrorKind;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringmq::base::limits::HELPER_JOBS_OF_SHARD_MAX;
use ringmq::base::{LogOffset, WriteMode};
use ringmq::engine::files::{
    Access, Choice, DataDirectory, IndexFiles, Pace, SegmentFiles, Wanted,
};
use ringmq::engine::helper::{Done, Helper, HelperClient, IndexWork, Job};
use ringmq::reactor::MappedFile;
use tempfile::TempDir;

const SIZE: u64 = 16 * 1024 * 1024;
const WITHIN: Duration = Duration::from_secs(30);

struct Shard {
    client: HelperClient<Work>,
    bell: Receiver<()>,
}

impl Shard {
    fn new(helper: &Helper<Work>, directory: &DataDirectory, shard: u16) -> Self {
        let (ring, bell) = channel();
        let ring = Mutex::new(ring);
        let wake = move || ring.lock().unwrap().send(()).unwrap();
        Self { client: helper.client(directory, shard, Arc::new(wake)), bell }
    }

    fn submit(&mut self, job: Job<Work>) {
        assert!(self.client.submit(job).is_ok());
    }

    /// Sleeps until the bell rings, as a parked shard does.
    fn next(&mut self) -> Done<Worked> {
        self.bell.recv_timeout(WITHIN).expect("the bell rings for each job");
        self.client.poll().expect("whoever is woken finds something")
    }

    fn ask(&mut self, job: Job<Work>) -> Done<Worked> {
        self.submit(job);
        self.next()
    }
}

fn directory() -> (TempDir, DataDirectory) {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let wanted = Wanted {
        cluster: Choice::Default("c".to_owned()),
        broker_name: Choice::Default("b".to_owned()),
        shards: Choice::Default(2),
        segment_bytes: Some(SIZE),
    };
    let directory = DataDirectory::open(root.path(), &wanted, Duration::ZERO).unwrap();
    (root, directory)
}

/// Work on index files as a test needs it.
enum Work {
    Write(LogOffset, Vec<u8>),
    Read(LogOffset, u64, usize),
    /// Holds its thread until somebody sends.
    Hold(Receiver<()>),
}

#[derive(Debug, PartialEq)]
enum Worked {
    Wrote(u64),
    Read(Result<Vec<u8>, ErrorKind>),
    LetGo,
}

impl IndexWork for Work {
    type Done = Worked;

    fn perform(self, files: &IndexFiles, _: &SegmentFiles) -> Worked {
        match self {
            Self::Write(start, bytes) => {
                let (file, ()) = files.write_run(start, |out| out.write_all(&bytes)).unwrap();
                Worked::Wrote(file.file_bytes().unwrap())
            }
            Self::Read(start, at, len) => {
                let mut found = vec![0; len];
                let result = files.open_run(start).unwrap().read_exact_at(&mut found, at);
                Worked::Read(result.map(|()| found).map_err(|error| error.kind()))
            }
            Self::Hold(release) => {
                release.recv_timeout(WITHIN).expect("the test lets go");
                Worked::LetGo
            }
        }
    }
}

fn hold() -> (Sender<()>, Job<Work>) {
    let (release, held) = channel();
    (release, Job::Index(Work::Hold(held)))
}

/// Each try filled a segment anew, and then found the name taken.
#[test]
fn a_segment_that_was_made_and_could_not_be_opened_is_opened_by_the_next_try() {
    let (_root, directory) = directory();
    let helper = Helper::start(2).unwrap();
    let mut shard = Shard::new(&helper, &directory, 1);
    let start = LogOffset(0);
    directory.segments(1).prepare(start, &|| Pace::Fill).unwrap();
    let held = directory.segments(1).open_writable(start, Duration::ZERO).unwrap();
    let done = shard.ask(Job::PrepareSegment { start });
    assert!(matches!(done, Done::SegmentReady { segment: Err(_), .. }), "{done:?}");
    drop(held);
    let done = shard.ask(Job::PrepareSegment { start });
    assert!(matches!(done, Done::SegmentReady { segment: Ok(_), .. }), "{done:?}");
    helper.stop();
}

#[test]
fn an_expired_segment_that_cannot_be_used_again_does_not_stay() {
    let (_root, directory) = directory();
    let helper = Helper::start(2).unwrap();
    let mut shard = Shard::new(&helper, &directory, 1);
    let (from, to) = (LogOffset(0), LogOffset(SIZE));
    for start in [from, to] {
        directory.segments(1).prepare(start, &|| Pace::Fill).unwrap();
    }
    let done = shard.ask(Job::RecycleSegment { from, to });
    assert!(matches!(done, Done::SegmentReady { segment: Err(_), .. }), "{done:?}");
    assert_eq!(directory.segments(1).list().unwrap(), [to]);
    helper.stop();
}

#[test]
fn a_segment_is_made_recycled_and_removed() {
    let (_root, directory) = directory();
    let helper = Helper::start(2).unwrap();
    let mut shard = Shard::new(&helper, &directory, 1);
    let start = LogOffset(0);
    let done = shard.ask(Job::PrepareSegment { start });
    let Done::SegmentReady { segment: Ok(first), .. } = done else { panic!("{done:?}") };
    assert_eq!(first.file().file().metadata().unwrap().len(), SIZE);
    assert!(directory.segments(1).open_writable(start, Duration::ZERO).is_err(), "it is locked");
    drop(first);

    let to = LogOffset(3 * SIZE);
    let done = shard.ask(Job::RecycleSegment { from: start, to });
    let Done::SegmentReady { segment: Ok(recycled), .. } = done else { panic!("{done:?}") };
    assert_eq!(recycled.start(), to);
    assert_eq!(directory.segments(1).list().unwrap(), [to]);
    assert_eq!(directory.segments(0).list().unwrap(), [], "the other shard has its own");

    let done = shard.ask(Job::OpenSegment { start: to });
    assert!(matches!(done, Done::SegmentOpened { segment: Ok(_), .. }), "{done:?}");
    let done = shard.ask(Job::UnlinkSegment { start: to });
    assert!(matches!(done, Done::SegmentUnlinked { result: Ok(()), .. }), "{done:?}");
    assert_eq!(directory.segments(1).list().unwrap(), []);
    helper.stop();
}

#[test]
fn a_segment_is_mapped_where_that_is_the_mode_and_looked_for_by_its_name() {
    let (_root, mut directory) = directory();
    let access = Access { mode: WriteMode::Mmap, ..directory.access() };
    directory.set_access(access);
    let helper = Helper::start(2).unwrap();
    let mut shard = Shard::new(&helper, &directory, 1);
    let start = LogOffset(0);
    let done = shard.ask(Job::PrepareSegment { start });
    let Done::SegmentReady { segment: Ok(segment), .. } = done else { panic!("{done:?}") };
    let path = directory.segments(1).path(start);
    let is_mapped = || {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        maps.contains(path.to_str().unwrap())
    };
    assert!(is_mapped());
    let look = |shard: &mut Shard| match shard
        .ask(Job::CheckSegments(vec![(start, segment.file().id())]))
    {
        Done::SegmentsChecked { result } => result.map_err(|error| error.to_string()),
        other => panic!("{other:?}"),
    };
    assert_eq!(look(&mut shard), Ok(()));
    directory.segments(1).unlink(start).unwrap();
    let why = look(&mut shard).unwrap_err();
    assert!(why.starts_with(&format!("cannot find {}", path.display())), "{why}");
    // A second mapping, which the helper takes down.
    let mapping = MappedFile::map(segment.file().file(), &path).unwrap();
    drop(segment);
    assert!(is_mapped());
    assert!(matches!(shard.ask(Job::Unmap(mapping)), Done::Unmapped));
    assert!(!is_mapped());
    helper.stop();
}

#[test]
fn a_failed_job_is_answered_with_what_was_tried() {
    let (_root, directory) = directory();
    let helper = Helper::start(2).unwrap();
    let mut shard = Shard::new(&helper, &directory, 0);
    match shard.ask(Job::UnlinkSegment { start: LogOffset(SIZE) }) {
        Done::SegmentUnlinked { start, result: Err(error) } => {
            assert_eq!((start, error.source.kind()), (LogOffset(SIZE), ErrorKind::NotFound));
            assert!(error.to_string().contains("shard-0/log/00000000000016777216"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    helper.stop();
}

#[test]
fn work_on_index_files_is_done_and_answered() {
    let (_root, directory) = directory();
    let helper = Helper::start(2).unwrap();
    let mut shard = Shard::new(&helper, &directory, 0);
    let mut work = |work| match shard.ask(Job::Index(work)) {
        Done::Index(worked) => worked,
        other => panic!("{other:?}"),
    };
    let start = LogOffset(7);
    assert_eq!(work(Work::Write(start, (0..=255).collect())), Worked::Wrote(256));
    assert_eq!(work(Work::Read(start, 250, 3)), Worked::Read(Ok(vec![250, 251, 252])));
    assert_eq!(work(Work::Read(start, 251, 6)), Worked::Read(Err(ErrorKind::UnexpectedEof)));
    helper.stop();
    assert_eq!(directory.index_runs(0).list().unwrap(), [start]);
    assert_eq!(directory.index_runs(1).list().unwrap(), []);
}

#[test]
fn run_marks_and_the_disk_are_answered() {
    let (_root, directory) = directory();
    let helper = Helper::start(2).unwrap();
    let mut shard = Shard::new(&helper, &directory, 1);
    let done = shard.ask(Job::WriteRunMark(b"life 3".to_vec()));
    assert!(matches!(done, Done::RunMarkWritten { result: Ok(()) }), "{done:?}");
    assert_eq!(directory.run_mark(1).unwrap().unwrap(), b"life 3");
    match shard.ask(Job::CheckDisk) {
        Done::DiskChecked { result: Ok(disk) } => assert!(disk.used + disk.available > 0),
        other => panic!("{other:?}"),
    }
    helper.stop();
}

/// Index work holds the quick lane, and segments go on; a pull's index read that waited
/// for a whole segment to be filled would be the same fault.
#[test]
fn a_lane_that_is_held_up_does_not_hold_up_the_other() {
    let (_root, directory) = directory();
    let helper = Helper::start(2).unwrap();
    let mut shard = Shard::new(&helper, &directory, 0);
    let (release, job) = hold();
    shard.submit(job);
    let done = shard.ask(Job::PrepareSegment { start: LogOffset(0) });
    assert!(matches!(done, Done::SegmentReady { segment: Ok(_), .. }), "{done:?}");
    assert_eq!(shard.client.under_way(), 1);
    release.send(()).unwrap();
    assert!(matches!(shard.next(), Done::Index(Worked::LetGo)));
    helper.stop();
}

#[test]
fn a_shard_with_too_many_jobs_gets_the_next_one_back_and_others_go_on() {
    let (_root, directory) = directory();
    let helper = Helper::start(2).unwrap();
    let mut busy = Shard::new(&helper, &directory, 0);
    let mut other = Shard::new(&helper, &directory, 1);
    let (release, job) = hold();
    busy.submit(job);
    for _ in 1..HELPER_JOBS_OF_SHARD_MAX {
        busy.submit(Job::CheckDisk);
    }
    assert!(matches!(busy.client.submit(Job::CheckDisk), Err(Job::CheckDisk)));
    other.submit(Job::CheckDisk);
    assert!(matches!(other.bell.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Timeout)));
    release.send(()).unwrap();
    for _ in 0..HELPER_JOBS_OF_SHARD_MAX {
        busy.next();
    }
    other.next();
    assert!(busy.client.poll().is_none());
    busy.submit(Job::CheckDisk);
    busy.next();
    helper.stop();
}

#[test]
fn stopping_finishes_what_is_due() {
    let (_root, directory) = directory();
    let helper = Helper::start(2).unwrap();
    let mut shard = Shard::new(&helper, &directory, 0);
    let (release, job) = hold();
    shard.submit(job);
    shard.submit(Job::WriteRunMark(b"clean".to_vec()));
    let stopped = std::thread::spawn(|| helper.stop());
    release.send(()).unwrap();
    stopped.join().unwrap();
    shard.next();
    shard.next();
    assert_eq!(directory.run_mark(0).unwrap().unwrap(), b"clean");
    assert!(shard.client.submit(Job::CheckDisk).is_err(), "nobody is there any more");
}

#[test]
fn stopping_answers_segments_that_are_given_up_and_leaves_none_half_made() {
    let (root, directory) = directory();
    let helper = Helper::start(2).unwrap();
    let mut shard = Shard::new(&helper, &directory, 0);
    for number in 0..4 {
        shard.submit(Job::PrepareSegment { start: LogOffset(number * SIZE) });
    }
    helper.stop();
    let mut made = Vec::new();
    for _ in 0..4 {
        match shard.next() {
            Done::SegmentReady { start, segment: Ok(_) } => made.push(start),
            Done::SegmentReady { segment: Err(error), .. } => {
                assert_eq!(error.source.kind(), ErrorKind::Interrupted, "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
    let names = std::fs::read_dir(root.path().join("shard-0/log")).unwrap();
    assert_eq!(names.count(), made.len());
    assert_eq!(directory.segments(0).list().unwrap(), made);
}
