//! Helper threads: what a data thread needs of files and may not wait for.
//!
//! Two lanes, so that zero-filling a segment never stands before an index read that a
//! pull waits for. A lane's mailbox is std's bounded channel: many shards send, one
//! thread parks on it, a few jobs a second; a ring per shard would need its own way to
//! park. A shard has a bounded number of jobs under way, and both mailboxes hold that
//! many, so neither side ever blocks on the other.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::files::{
    DataDirectory, DiskUse, FileError, IndexFiles, ReadAt, RunFile, RunMark, SegmentFile,
    SegmentFiles, WriteRun,
};
use crate::base::LogOffset;
use crate::base::limits::{HELPER_JOBS_OF_SHARD_MAX, INDEX_READ_BYTES_MAX};

/// How long a recycled segment may still be held by whoever wrote to it last.
const RECYCLE_PATIENCE: Duration = Duration::from_secs(5);

/// What a shard asks for.
pub enum Job {
    /// Make the segment; it comes back open for writing.
    PrepareSegment {
        start: LogOffset,
    },
    /// Rename an expired segment into a ready one; it comes back open for writing.
    RecycleSegment {
        from: LogOffset,
        to: LogOffset,
    },
    UnlinkSegment {
        start: LogOffset,
    },
    /// Open an old segment for cold reads.
    OpenSegment {
        start: LogOffset,
    },
    /// Write an index run; it comes back open, in place of one of the same start.
    WriteIndexRun {
        start: LogOffset,
        content: Box<dyn WriteRun + Send>,
    },
    UnlinkIndexRun {
        start: LogOffset,
    },
    /// Fill `buffer` (its length says how much) from `at`.
    ReadIndexRange {
        run: Arc<RunFile>,
        at: u64,
        buffer: Vec<u8>,
        token: u64,
    },
    WriteRunMark(Box<RunMark>),
    CheckDisk,
}

/// What became of a job.
#[derive(Debug)]
pub enum Done {
    SegmentReady {
        start: LogOffset,
        segment: Result<SegmentFile, FileError>,
    },
    SegmentUnlinked {
        start: LogOffset,
        result: Result<(), FileError>,
    },
    SegmentOpened {
        start: LogOffset,
        segment: Result<SegmentFile, FileError>,
    },
    IndexRunWritten {
        start: LogOffset,
        run: Result<Arc<RunFile>, FileError>,
    },
    IndexRunUnlinked {
        start: LogOffset,
        result: Result<(), FileError>,
    },
    /// The buffer comes back, filled unless there is an error.
    IndexRangeRead {
        token: u64,
        at: u64,
        buffer: Vec<u8>,
        result: io::Result<()>,
    },
    RunMarkWritten {
        result: Result<(), FileError>,
    },
    DiskChecked {
        result: Result<DiskUse, FileError>,
    },
}

/// Rings a shard's doorbell when there is something to poll for.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// The threads.
pub struct Helper {
    slow: Lane,
    quick: Lane,
    stopping: Arc<AtomicBool>,
}

/// One shard's side: it submits, and polls when woken.
pub struct HelperClient {
    slow: SyncSender<Mail>,
    quick: SyncSender<Mail>,
    done: Receiver<Done>,
    under_way: usize,
    sender: Arc<Sender>,
}

/// What a thread needs to know of the shard whose job it does.
struct Sender {
    segments: SegmentFiles,
    index: IndexFiles,
    run_mark: PathBuf,
    directory: PathBuf,
    done: SyncSender<Done>,
    wake: Wake,
}

struct Lane {
    mailbox: SyncSender<Mail>,
    thread: JoinHandle<()>,
}

enum Mail {
    Job(Arc<Sender>, Job),
    Stop,
}

impl Helper {
    /// Starts the threads, with room for the jobs of all shards of a directory.
    pub fn start(shards: u16) -> io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let lane = |name| Lane::start(name, shards, Arc::clone(&stopping));
        Ok(Self { slow: lane("segments")?, quick: lane("index")?, stopping })
    }

    /// The side of one shard, whose doorbell `wake` rings. To be made once per shard.
    pub fn client(&self, directory: &DataDirectory, shard: u16, wake: Wake) -> HelperClient {
        let (sender, done) = sync_channel(HELPER_JOBS_OF_SHARD_MAX);
        let sender = Sender {
            segments: directory.segments(shard),
            index: directory.index_runs(shard),
            run_mark: directory.run_mark_path(shard),
            directory: directory.path().to_owned(),
            done: sender,
            wake,
        };
        HelperClient {
            slow: self.slow.mailbox.clone(),
            quick: self.quick.mailbox.clone(),
            done,
            under_way: 0,
            sender: Arc::new(sender),
        }
    }

    /// Ends the threads after the jobs submitted before; segments that are not yet made
    /// are given up.
    pub fn stop(self) {
        self.stopping.store(true, Ordering::Relaxed);
        for lane in [self.quick, self.slow] {
            // An error means that the thread has ended already.
            let _ = lane.mailbox.send(Mail::Stop);
            let _ = lane.thread.join();
        }
    }
}

impl HelperClient {
    /// Gives a job away, or back: when too many are under way, and after the end.
    pub fn submit(&mut self, job: Job) -> Result<(), Job> {
        if self.under_way == HELPER_JOBS_OF_SHARD_MAX {
            return Err(job);
        }
        if let Job::ReadIndexRange { buffer, .. } = &job {
            assert!(buffer.len() <= INDEX_READ_BYTES_MAX, "a read of {} bytes", buffer.len());
        }
        let lane = if job.is_slow() { &self.slow } else { &self.quick };
        match lane.try_send(Mail::Job(Arc::clone(&self.sender), job)) {
            Ok(()) => {
                self.under_way += 1;
                Ok(())
            }
            Err(TrySendError::Full(Mail::Job(_, job)))
            | Err(TrySendError::Disconnected(Mail::Job(_, job))) => Err(job),
            Err(_) => unreachable!("a job was sent"),
        }
    }

    /// The next job that is done.
    pub fn poll(&mut self) -> Option<Done> {
        let done = self.done.try_recv().ok()?;
        self.under_way -= 1;
        Some(done)
    }

    pub fn under_way(&self) -> usize {
        self.under_way
    }
}

impl Lane {
    fn start(name: &str, shards: u16, stopping: Arc<AtomicBool>) -> io::Result<Self> {
        let (mailbox, mail) = sync_channel(usize::from(shards) * HELPER_JOBS_OF_SHARD_MAX);
        let run = move || {
            while let Ok(Mail::Job(sender, job)) = mail.recv() {
                let done = sender.perform(job, &stopping);
                // A shard that is gone needs no answer.
                if sender.done.try_send(done).is_ok() {
                    (sender.wake)();
                }
            }
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Self { mailbox, thread })
    }
}

impl Job {
    fn is_slow(&self) -> bool {
        matches!(
            self,
            Self::PrepareSegment { .. } | Self::RecycleSegment { .. } | Self::UnlinkSegment { .. }
        )
    }
}

impl Sender {
    fn perform(&self, job: Job, stopping: &AtomicBool) -> Done {
        let files = &self.segments;
        match job {
            Job::PrepareSegment { start } => {
                let made = files.prepare(start, &|| !stopping.load(Ordering::Relaxed));
                let segment = made.and_then(|()| files.open_writable(start, Duration::ZERO));
                Done::SegmentReady { start, segment }
            }
            Job::RecycleSegment { from, to } => {
                let renamed = files.recycle(from, to);
                let segment = renamed.and_then(|()| files.open_writable(to, RECYCLE_PATIENCE));
                Done::SegmentReady { start: to, segment }
            }
            Job::UnlinkSegment { start } => {
                Done::SegmentUnlinked { start, result: files.unlink(start) }
            }
            Job::OpenSegment { start } => {
                Done::SegmentOpened { start, segment: files.open_readable(start) }
            }
            Job::WriteIndexRun { start, mut content } => {
                let run = self.index.write(start, &mut *content).map(Arc::new);
                Done::IndexRunWritten { start, run }
            }
            Job::UnlinkIndexRun { start } => {
                Done::IndexRunUnlinked { start, result: self.index.unlink(start) }
            }
            Job::ReadIndexRange { run, at, mut buffer, token } => {
                let result = run.read_exact_at(&mut buffer, at);
                Done::IndexRangeRead { token, at, buffer, result }
            }
            Job::WriteRunMark(mark) => Done::RunMarkWritten { result: mark.store(&self.run_mark) },
            Job::CheckDisk => Done::DiskChecked { result: DiskUse::of(&self.directory) },
        }
    }
}
