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
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::files::{
    DataDirectory, DiskSpace, FileError, FileId, IndexFiles, Pace, SegmentFile, SegmentFiles, small,
};
use super::writable::WritableSegment;
use crate::base::LogOffset;
use crate::base::limits::HELPER_JOBS_OF_SHARD_MAX;
use crate::reactor::{ArenaName, MappedFile, PagedFile};

/// How long a recycled segment may still be held by whoever wrote to it last.
const RECYCLE_PATIENCE: Duration = Duration::from_secs(5);

/// Work on index files, by whoever knows their formats.
pub trait IndexWork: Send + 'static {
    type Done: Send + 'static;

    /// Whether others should not have to wait for it.
    fn is_slow(&self) -> bool {
        false
    }

    /// Runs on the helper; the answer goes back to the shard.
    fn perform(self, files: &IndexFiles, log: &SegmentFiles) -> Self::Done;
}

/// What a shard asks for.
pub enum Job<I> {
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
    /// Unmap a segment that is written no more.
    Unmap(MappedFile),
    /// Look whether the names of segments that are written still lead to their files.
    CheckSegments(Vec<(LogOffset, FileId)>),
    /// Open an old segment for cold reads.
    OpenSegment {
        start: LogOffset,
    },
    /// Drop a file, and with it its mapping.
    CloseFile(PagedFile),
    Index(I),
    /// Make a run mark durable, in place of the last.
    WriteRunMark(Vec<u8>),
    CheckDisk,
    /// Look whether the next start would find the arena.
    CheckArena {
        name: ArenaName,
    },
}

/// What became of a job.
#[derive(Debug)]
pub enum Done<D> {
    SegmentReady {
        start: LogOffset,
        segment: Result<WritableSegment, FileError>,
    },
    SegmentUnlinked {
        start: LogOffset,
        result: Result<(), FileError>,
    },
    Unmapped,
    SegmentsChecked {
        result: Result<(), FileError>,
    },
    SegmentOpened {
        start: LogOffset,
        segment: Result<OpenedSegment, FileError>,
    },
    FileClosed,
    Index(D),
    RunMarkWritten {
        result: Result<(), FileError>,
    },
    DiskChecked {
        result: Result<DiskSpace, FileError>,
    },
    /// Whether the name leads to the arena.
    ArenaChecked {
        result: io::Result<bool>,
    },
}

/// A segment that was opened for reading: past the page cache, and through it.
#[derive(Debug)]
pub struct OpenedSegment {
    pub direct: SegmentFile,
    pub paged: PagedFile,
}

/// Rings a shard's doorbell when there is something to poll for.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// The threads.
pub struct Helper<I: IndexWork> {
    slow: Lane<I>,
    quick: Lane<I>,
    stopping: Arc<AtomicBool>,
}

/// One shard's side: it submits, and polls when woken.
pub struct HelperClient<I: IndexWork> {
    slow: SyncSender<Mail<I>>,
    quick: SyncSender<Mail<I>>,
    done: Receiver<Done<I::Done>>,
    under_way: usize,
    sender: Arc<Sender<I>>,
}

/// What a thread needs to know of the shard whose job it does.
struct Sender<I: IndexWork> {
    segments: SegmentFiles,
    index: IndexFiles,
    run_mark: PathBuf,
    directory: PathBuf,
    done: SyncSender<Done<I::Done>>,
    wake: Wake,
    /// Segments below are wanted as they are.
    hurried_below: AtomicU64,
}

struct Lane<I: IndexWork> {
    mailbox: SyncSender<Mail<I>>,
    thread: JoinHandle<()>,
}

enum Mail<I: IndexWork> {
    Job(Arc<Sender<I>>, Job<I>),
    Stop,
}

impl<I: IndexWork> Helper<I> {
    /// Starts the threads, with room for the jobs of all shards of a directory.
    pub fn start(shards: u16) -> io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let lane = |name| Lane::start(name, shards, Arc::clone(&stopping));
        Ok(Self { slow: lane("segments")?, quick: lane("index")?, stopping })
    }

    /// The side of one shard, whose doorbell `wake` rings. To be made once per shard.
    pub fn client(&self, directory: &DataDirectory, shard: u16, wake: Wake) -> HelperClient<I> {
        let (sender, done) = sync_channel(HELPER_JOBS_OF_SHARD_MAX);
        let sender = Sender {
            segments: directory.segments(shard),
            index: directory.index_runs(shard),
            run_mark: directory.run_mark_path(shard),
            directory: directory.path().to_owned(),
            done: sender,
            wake,
            hurried_below: AtomicU64::new(0),
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

impl<I: IndexWork> HelperClient<I> {
    /// Gives a job away, or back: when too many are under way, and after the end.
    pub fn submit(&mut self, job: Job<I>) -> Result<(), Job<I>> {
        if self.under_way == HELPER_JOBS_OF_SHARD_MAX {
            return Err(job);
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
    pub fn poll(&mut self) -> Option<Done<I::Done>> {
        let done = self.done.try_recv().ok()?;
        self.under_way -= 1;
        Some(done)
    }

    /// The segment at `start`, if it is not yet prepared, is wanted as it is.
    pub fn hurry(&self, start: LogOffset) {
        self.sender.hurried_below.fetch_max(start.0 + 1, Ordering::Relaxed);
    }

    pub fn under_way(&self) -> usize {
        self.under_way
    }
}

impl<I: IndexWork> Lane<I> {
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

impl<I: IndexWork> Job<I> {
    fn is_slow(&self) -> bool {
        match self {
            Self::PrepareSegment { .. }
            | Self::RecycleSegment { .. }
            | Self::UnlinkSegment { .. }
            | Self::Unmap(_)
            // Behind a renaming that was asked for before.
            | Self::CheckSegments(_) => true,
            Self::Index(work) => work.is_slow(),
            _ => false,
        }
    }
}

impl<I: IndexWork> Sender<I> {
    fn perform(&self, job: Job<I>, stopping: &AtomicBool) -> Done<I::Done> {
        let files = &self.segments;
        match job {
            Job::PrepareSegment { start } => {
                let pace = || {
                    if stopping.load(Ordering::Relaxed) {
                        Pace::GiveUp
                    } else if start.0 < self.hurried_below.load(Ordering::Relaxed) {
                        Pace::HandOver
                    } else {
                        Pace::Fill
                    }
                };
                let made = files.prepare_missing(start, &pace, Duration::ZERO);
                Done::SegmentReady { start, segment: made.and_then(WritableSegment::of) }
            }
            Job::RecycleSegment { from, to } => {
                let renamed = files.recycle(from, to);
                if renamed.is_err() {
                    // It has expired: it must not stay before those that go after it. The
                    // error that counts is the first; a new segment is asked for next.
                    let _ = files.unlink(from);
                }
                let file = renamed.and_then(|()| files.open_writable(to, RECYCLE_PATIENCE));
                Done::SegmentReady { start: to, segment: file.and_then(WritableSegment::of) }
            }
            Job::Unmap(mapping) => {
                drop(mapping);
                Done::Unmapped
            }
            Job::CheckSegments(segments) => {
                let mut checks =
                    segments.iter().map(|(start, id)| files.check_still_there(*start, *id));
                Done::SegmentsChecked { result: checks.find(Result::is_err).unwrap_or(Ok(())) }
            }
            Job::UnlinkSegment { start } => {
                Done::SegmentUnlinked { start, result: files.unlink(start) }
            }
            Job::OpenSegment { start } => {
                let direct = files.open_readable(start);
                let segment = direct.and_then(|direct| {
                    let paged = PagedFile::new(files.open_buffered(start)?);
                    Ok(OpenedSegment { direct, paged })
                });
                Done::SegmentOpened { start, segment }
            }
            Job::CloseFile(file) => {
                drop(file);
                Done::FileClosed
            }
            Job::Index(work) => Done::Index(work.perform(&self.index, &self.segments)),
            Job::WriteRunMark(bytes) => {
                Done::RunMarkWritten { result: small::replace(&self.run_mark, &bytes) }
            }
            Job::CheckArena { name } => Done::ArenaChecked { result: name.check_still_ours() },
            Job::CheckDisk => Done::DiskChecked { result: DiskSpace::of(&self.directory) },
        }
    }
}
