//! Metadata: topics, groups, consumer offsets, options and name server values, in one
//! `redb` file on a thread of its own. A change is durable before anyone hears of it;
//! changes that wait together share a transaction. One thread decides all of them, so
//! that two shards which make the same topic at once get the same answer.
//!
//! The mailbox is std's bounded channel: many senders, one receiver that parks, a few
//! messages a second. A ring per sender would need a doorbell of its own for nothing.

mod change;
mod tables;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{fmt, fs, io};

use redb::Database;
use tracing::error;

pub use change::{
    Change, DataVersion, Loaded, OffsetEntry, Outcome, ShardMetadata, Ticket, TopicEffect,
    TopicPlaced, TopicRecord,
};

use crate::base::limits::{
    METADATA_BACKLOG_MAX, METADATA_CACHE_BYTES, METADATA_CHANGES_OF_COMMIT_MAX,
};

/// Opens the database anew: at the start, and after a transaction that failed.
type Opener = Box<dyn FnMut() -> Result<Database, redb::Error> + Send>;

/// An open metadata file whose thread has not been started.
pub struct Metadata {
    shards: u16,
    opener: Opener,
    /// `None` after a failure, until the next change opens it again.
    database: Option<Database>,
}

/// The running thread. Its handles may outlive it; they are refused then.
pub struct MetadataThread {
    handle: MetadataHandle,
    thread: JoinHandle<()>,
}

/// Submits changes; one for each shard.
#[derive(Clone)]
pub struct MetadataHandle {
    mailbox: SyncSender<Mail>,
    commits: Arc<AtomicU64>,
}

/// Why a change was not made. Everything of its transaction shares the answer.
#[derive(Clone, Debug)]
pub struct MetadataError {
    tried: &'static str,
    cause: Arc<str>,
    is_disk_full: bool,
}

/// A change that was not even taken: the backlog is full, or the thread has ended.
#[derive(Debug)]
pub struct NotTaken(pub Box<Change>);

enum Mail {
    Change(Ticket, Box<Change>),
    Stop,
}

impl Metadata {
    /// Opens the file, or makes it, and reads all of it.
    pub fn open(path: &Path, shards: u16) -> Result<(Self, Loaded), MetadataError> {
        let file = path.to_owned();
        let is_new = !path.exists();
        let opened = Self::with_database(shards, move || {
            let mut builder = Database::builder();
            Ok(builder.set_cache_size(METADATA_CACHE_BYTES).create(&file)?)
        })?;
        if is_new {
            let parent = path.parent().unwrap_or(Path::new("/"));
            let synced = fs::File::open(parent).and_then(|directory| directory.sync_all());
            synced
                .map_err(|error| MetadataError::new("flush the folder of the metadata")(error))?;
        }
        Ok(opened)
    }

    /// The same over any database; the simulator brings one that fails when told to.
    pub fn with_database(
        shards: u16,
        open: impl FnMut() -> Result<Database, redb::Error> + Send + 'static,
    ) -> Result<(Self, Loaded), MetadataError> {
        let mut opener: Opener = Box::new(open);
        let failed = MetadataError::new("open the metadata");
        let database = opener().map_err(&failed)?;
        let loaded = tables::load(&database, shards).map_err(&failed)?;
        Ok((Self { shards, opener, database: Some(database) }, loaded))
    }

    /// Starts the thread. `deliver` runs on it after each transaction, once for every
    /// change, and must not block.
    pub fn start(
        mut self,
        mut deliver: impl FnMut(Ticket, Result<Outcome, MetadataError>) + Send + 'static,
    ) -> io::Result<MetadataThread> {
        let (mailbox, mail) = sync_channel(METADATA_BACKLOG_MAX);
        let commits = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&commits);
        let run = move || {
            let mut running = true;
            while running {
                let (batch, is_last) = next_batch(&mail);
                running = !is_last;
                if !batch.is_empty() {
                    self.commit(batch, &counter, &mut deliver);
                }
            }
        };
        let thread = std::thread::Builder::new().name("metadata".to_owned()).spawn(run)?;
        Ok(MetadataThread { handle: MetadataHandle { mailbox, commits }, thread })
    }

    fn commit(
        &mut self,
        batch: Vec<(Ticket, Change)>,
        commits: &AtomicU64,
        deliver: &mut dyn FnMut(Ticket, Result<Outcome, MetadataError>),
    ) {
        let (tickets, changes): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        match self.transact(changes) {
            Ok(outcomes) => {
                commits.fetch_add(1, Ordering::Relaxed);
                for (ticket, outcome) in tickets.into_iter().zip(outcomes) {
                    deliver(ticket, Ok(outcome));
                }
            }
            Err(failure) => {
                // What the file holds now is known only to a fresh look at it.
                self.database = None;
                error!("{failure}; {} changes are refused", tickets.len());
                for ticket in tickets {
                    deliver(ticket, Err(failure.clone()));
                }
            }
        }
    }

    fn transact(&mut self, changes: Vec<Change>) -> Result<Vec<Outcome>, MetadataError> {
        if self.database.is_none() {
            let reopened =
                (self.opener)().map_err(MetadataError::new("open the metadata again"))?;
            self.database = Some(reopened);
        }
        let database = self.database.as_ref().expect("opened above");
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        tables::transact(database, self.shards, now_ms as i64, changes)
            .map_err(MetadataError::new("keep a change of the metadata"))
    }
}

impl MetadataThread {
    pub fn handle(&self) -> MetadataHandle {
        self.handle.clone()
    }

    /// Ends the thread after everything that was submitted before. What is submitted
    /// meanwhile by other handles is refused or stays unanswered.
    pub fn close(self) {
        // An error means that the thread has ended already.
        let _ = self.handle.mailbox.send(Mail::Stop);
        let _ = self.thread.join();
    }
}

impl MetadataHandle {
    /// Asks for a change. Never blocks; the answer goes to `deliver` under the ticket.
    pub fn submit(&self, ticket: Ticket, change: Change) -> Result<(), NotTaken> {
        match self.mailbox.try_send(Mail::Change(ticket, Box::new(change))) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(mail) | TrySendError::Disconnected(mail)) => match mail {
                Mail::Change(_, change) => Err(NotTaken(change)),
                Mail::Stop => unreachable!("a change was sent"),
            },
        }
    }

    /// Transactions that have become durable.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

/// Waits for a change and takes along what waits with it; true with the last batch.
fn next_batch(mail: &Receiver<Mail>) -> (Vec<(Ticket, Change)>, bool) {
    let mut batch = Vec::new();
    let mut next = mail.recv().map_err(|_| TryRecvError::Disconnected);
    loop {
        match next {
            Ok(Mail::Change(ticket, change)) => batch.push((ticket, *change)),
            Err(TryRecvError::Empty) => return (batch, false),
            Ok(Mail::Stop) | Err(TryRecvError::Disconnected) => return (batch, true),
        }
        if batch.len() == METADATA_CHANGES_OF_COMMIT_MAX {
            return (batch, false);
        }
        next = mail.try_recv();
    }
}

impl MetadataError {
    fn new<E: Into<redb::Error>>(tried: &'static str) -> impl Fn(E) -> Self {
        move |error| {
            let error = error.into();
            let is_disk_full = matches!(
                &error,
                redb::Error::Io(io) if matches!(
                    io.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                )
            );
            Self { tried, cause: error.to_string().into(), is_disk_full }
        }
    }

    pub fn is_disk_full(&self) -> bool {
        self.is_disk_full
    }
}

impl fmt::Display for MetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.tried, self.cause)?;
        if self.is_disk_full {
            f.write_str("; free space on the file system of the data directory")?;
        }
        Ok(())
    }
}

impl std::error::Error for MetadataError {}
