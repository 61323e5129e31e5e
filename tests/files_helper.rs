//! Helpers do for a shard what it may not wait for, and answer every job once.

use std::io::{ErrorKind, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringmq::base::LogOffset;
use ringmq::base::limits::HELPER_JOBS_OF_SHARD_MAX;
use ringmq::engine::files::{Choice, DataDirectory, ReadAt, RunFile, RunMark, Wanted, WriteRun};
use ringmq::engine::helper::{Done, Helper, HelperClient, Job};
use tempfile::TempDir;

const SIZE: u64 = 16 * 1024 * 1024;
const WITHIN: Duration = Duration::from_secs(30);

struct Shard {
    client: HelperClient,
    bell: Receiver<()>,
}

impl Shard {
    fn new(helper: &Helper, directory: &DataDirectory, shard: u16) -> Self {
        let (ring, bell) = channel();
        let ring = Mutex::new(ring);
        let wake = move || ring.lock().unwrap().send(()).unwrap();
        Self { client: helper.client(directory, shard, Arc::new(wake)), bell }
    }

    fn submit(&mut self, job: Job) {
        assert!(self.client.submit(job).is_ok());
    }

    /// Sleeps until the bell rings, as a parked shard does.
    fn next(&mut self) -> Done {
        self.bell.recv_timeout(WITHIN).expect("the bell rings for each job");
        self.client.poll().expect("whoever is woken finds something")
    }

    fn ask(&mut self, job: Job) -> Done {
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

struct Bytes(Vec<u8>);

impl WriteRun for Bytes {
    fn write_run(&mut self, out: &mut dyn Write) -> std::io::Result<()> {
        out.write_all(&self.0)
    }
}

/// Content that comes when somebody sends it: holds the thread that writes it.
struct Held(Receiver<Vec<u8>>);

impl WriteRun for Held {
    fn write_run(&mut self, out: &mut dyn Write) -> std::io::Result<()> {
        out.write_all(&self.0.recv_timeout(WITHIN).expect("the test lets go"))
    }
}

fn held() -> (Sender<Vec<u8>>, Box<Held>) {
    let (release, content) = channel();
    (release, Box::new(Held(content)))
}

fn written(done: Done) -> Arc<RunFile> {
    match done {
        Done::IndexRunWritten { run: Ok(run), .. } => run,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_segment_is_made_recycled_and_removed() {
    let (_root, directory) = directory();
    let helper = Helper::start(2).unwrap();
    let mut shard = Shard::new(&helper, &directory, 1);
    let start = LogOffset(0);
    let done = shard.ask(Job::PrepareSegment { start });
    let Done::SegmentReady { segment: Ok(first), .. } = done else { panic!("{done:?}") };
    assert_eq!(first.file().metadata().unwrap().len(), SIZE);
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
fn an_index_run_is_written_and_read_in_ranges() {
    let (_root, directory) = directory();
    let helper = Helper::start(2).unwrap();
    let mut shard = Shard::new(&helper, &directory, 0);
    let content = Box::new(Bytes((0..=255).collect()));
    let start = LogOffset(7);
    let run = written(shard.ask(Job::WriteIndexRun { start, content }));
    assert_eq!((run.start(), run.len()), (start, 256));
    let read = |at, len| Job::ReadIndexRange {
        run: Arc::clone(&run),
        at,
        buffer: vec![0; len],
        token: at,
    };
    match shard.ask(read(250, 6)) {
        Done::IndexRangeRead { token: 250, at: 250, buffer, result: Ok(()) } => {
            assert_eq!(buffer, [250, 251, 252, 253, 254, 255]);
        }
        other => panic!("{other:?}"),
    }
    match shard.ask(read(251, 6)) {
        Done::IndexRangeRead { buffer, result: Err(error), .. } => {
            assert_eq!((buffer.len(), error.kind()), (6, ErrorKind::UnexpectedEof));
        }
        other => panic!("{other:?}"),
    }
    let done = shard.ask(Job::UnlinkIndexRun { start });
    assert!(matches!(done, Done::IndexRunUnlinked { result: Ok(()), .. }), "{done:?}");
    helper.stop();
}

#[test]
fn run_marks_and_the_disk_are_answered() {
    let (_root, directory) = directory();
    let helper = Helper::start(2).unwrap();
    let mut shard = Shard::new(&helper, &directory, 1);
    let mark = RunMark { life: 3, clean: false, boot_id: [1; 16], arena: None, log_end: None };
    let done = shard.ask(Job::WriteRunMark(Box::new(mark.clone())));
    assert!(matches!(done, Done::RunMarkWritten { result: Ok(()) }), "{done:?}");
    assert_eq!(directory.run_mark(1).unwrap(), Some(mark));
    match shard.ask(Job::CheckDisk) {
        Done::DiskChecked { result: Ok(disk) } => assert!(disk.used + disk.available > 0),
        other => panic!("{other:?}"),
    }
    helper.stop();
}

/// The quick lane is held by an index run: segments go on; the other way round, an index
/// read would wait for a whole segment to be filled.
#[test]
fn a_lane_that_is_held_up_does_not_hold_up_the_other() {
    let (_root, directory) = directory();
    let helper = Helper::start(2).unwrap();
    let mut shard = Shard::new(&helper, &directory, 0);
    let (release, content) = held();
    shard.submit(Job::WriteIndexRun { start: LogOffset(0), content });
    let done = shard.ask(Job::PrepareSegment { start: LogOffset(0) });
    assert!(matches!(done, Done::SegmentReady { segment: Ok(_), .. }), "{done:?}");
    assert_eq!(shard.client.under_way(), 1);
    release.send(b"late".to_vec()).unwrap();
    assert_eq!(written(shard.next()).len(), 4);
    helper.stop();
}

#[test]
fn a_shard_with_too_many_jobs_gets_the_next_one_back_and_others_go_on() {
    let (_root, directory) = directory();
    let helper = Helper::start(2).unwrap();
    let mut busy = Shard::new(&helper, &directory, 0);
    let mut other = Shard::new(&helper, &directory, 1);
    let (release, content) = held();
    busy.submit(Job::WriteIndexRun { start: LogOffset(0), content });
    for _ in 1..HELPER_JOBS_OF_SHARD_MAX {
        busy.submit(Job::CheckDisk);
    }
    assert!(matches!(busy.client.submit(Job::CheckDisk), Err(Job::CheckDisk)));
    other.submit(Job::CheckDisk);
    assert!(matches!(other.bell.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Timeout)));
    release.send(Vec::new()).unwrap();
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
    let (release, content) = held();
    shard.submit(Job::WriteIndexRun { start: LogOffset(0), content });
    let mark = RunMark { life: 1, clean: true, boot_id: [0; 16], arena: None, log_end: Some(0) };
    shard.submit(Job::WriteRunMark(Box::new(mark.clone())));
    let stopped = std::thread::spawn(|| helper.stop());
    release.send(Vec::new()).unwrap();
    stopped.join().unwrap();
    shard.next();
    shard.next();
    assert_eq!(directory.run_mark(0).unwrap(), Some(mark));
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
