//! What can be wrong with an index file, and what to do about it.

use std::fmt;
use std::io;

use super::QueueKey;
use crate::base::{LogOffset, QueueOffset};

/// An index file that cannot be used. Whatever the case, the log still has everything:
/// a run is built again by scanning the log from where the run starts.
#[derive(Debug)]
pub enum IndexError {
    /// The file could not be read.
    Io(io::Error),
    /// It does not begin as one of ours.
    NotOurs,
    /// It was written by a version that this one does not know.
    Version(u32),
    /// A part does not have its checksum, or lies outside of the file.
    Damaged { part: &'static str, position: u64 },
    /// The run does not begin where the run before it ends: one between them is missing.
    Gap { expected: LogOffset, found: LogOffset },
    /// The run reaches beyond the end of the log, which has lost its tail.
    BeyondLog { end: LogOffset, log_end: LogOffset },
    /// The run's entries begin below what its queue already has.
    Back { key: QueueKey, first: QueueOffset, next: QueueOffset },
}

/// A record found by a log scan that does not fit the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryError {
    /// The record's queue offset is below the queue's next one.
    Back { key: QueueKey, offset: QueueOffset, next: QueueOffset },
    /// The record's queue offset leaves no room above it.
    OutOfRange { key: QueueKey, offset: QueueOffset },
    /// The record lies below what the index has been told of.
    Indexed { at: LogOffset, dispatched: LogOffset },
}

impl From<io::Error> for IndexError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for IndexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "index file cannot be read: {error}"),
            Self::NotOurs => write!(f, "not an index file of ringmq"),
            Self::Version(version) => write!(f, "index file of unknown version {version}"),
            Self::Damaged { part, position } => {
                write!(f, "index file is damaged: {part} at byte {position}")
            }
            Self::Gap { expected, found } => {
                write!(f, "index run begins at {found}, the one before ends at {expected}")
            }
            Self::BeyondLog { end, log_end } => {
                write!(f, "index run ends at {end}, the log at {log_end}")
            }
            Self::Back { key, first, next } => write!(
                f,
                "index run has offset {first} for queue {} of topic {}, which is at {next}",
                key.queue, key.topic.0
            ),
        }
    }
}

impl std::error::Error for IndexError {}

impl fmt::Display for RecoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Back { key, offset, next } => write!(
                f,
                "record has offset {offset} for queue {} of topic {}, which is at {next}",
                key.queue, key.topic.0
            ),
            Self::OutOfRange { key, offset } => write!(
                f,
                "record has the impossible offset {offset} for queue {} of topic {}",
                key.queue, key.topic.0
            ),
            Self::Indexed { at, dispatched } => {
                write!(f, "record at {at} lies below {dispatched}, up to where the index reaches")
            }
        }
    }
}

impl std::error::Error for RecoveryError {}
