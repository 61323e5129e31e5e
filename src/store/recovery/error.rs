//! Why a shard does not start, and what to do about it.

use std::fmt;
use std::io;

use crate::log::recovery::Refusal;
use crate::log::replay::ReplayError;
use crate::queue::IndexError;

#[derive(Debug)]
pub enum StartError {
    /// What was found says that acknowledged messages may be lost.
    Refused(Refusal),
    /// The arena is ours, and what it holds cannot be brought back.
    Replay(ReplayError),
    /// The table of bases is damaged: where queues without messages go on is unknown.
    Bases(IndexError),
    /// The CommitLog cannot be read, or a segment in its middle is missing.
    Log(io::Error),
    /// The index folder cannot be read.
    Index(io::Error),
}

impl From<ReplayError> for StartError {
    fn from(error: ReplayError) -> Self {
        Self::Replay(error)
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Replay(error) => write!(f, "{error}. {}", Refusal::ReplayRefused),
            Self::Bases(error) => write!(
                f,
                "the index's table of bases cannot be used ({error}): queues whose messages \
                 have all expired would begin again below their consumers. Either restore \
                 the file, or start with --accept-loss to let all queues go on far above"
            ),
            Self::Log(error) => write!(
                f,
                "cannot read the CommitLog: {error}. Restore the file, or the access to it"
            ),
            Self::Index(error) => write!(f, "cannot read the index folder: {error}"),
        }
    }
}

impl std::error::Error for StartError {}
