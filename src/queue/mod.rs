//! ConsumeQueue: where the messages of each queue lie in a shard's log.
//!
//! Everything here is derived from the log and can be built again from it. The room
//! decides how positions are kept, how little memory an idle queue costs, and what the
//! files look like (`FORMAT.md`); it opens no file and reads no clock. The shard's
//! thread owns one `QueueIndex`; helper threads write its runs, read cold entries and
//! fold expired runs into the table of bases.
//!
//! ```text
//!   log       |------ run ------|------ run ------|------ run ------|--- active --->
//!             0                 A                 B                 C
//!   index      persisted: file,  persisted         frozen: memory,   memory of the
//!              directory here                      being written     shard's thread
//! ```
//!
//! A *run* indexes one range of the log, at most a segment. Inside a run the entries of
//! a queue form *extents*: up to 4096 entries with consecutive queue offsets. A queue
//! knows its extents by number, so ending, writing and dropping a run touches no queue.

mod bases;
mod blocks;
mod cache;
mod cold;
mod error;
mod file;
mod find;
mod format;
mod index;
mod keys;
mod pool;
mod run;
mod runs;
mod search;
mod slots;

pub use bases::Bases;
pub use cold::{ColdBlock, ColdRange, read_cold};
pub use error::{IndexError, RecoveryError};
pub use file::{ReadAt, bases_file_name};
pub use find::Found;
pub use format::Directory;
pub use index::{Memory, QueueIndex};
pub use run::FrozenRun;
pub use search::{Boundary, TimeFound};
pub use slots::QueueSlot;

use crate::base::LogOffset;
pub use crate::base::TopicId;

/// A queue of a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueKey {
    pub topic: TopicId,
    pub queue: u32,
}

/// What the index knows of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where the record begins.
    pub at: LogOffset,
    /// Its length in the log.
    pub size: u32,
    /// The hash of its tag, by which pulls filter without reading the record.
    pub tag: i32,
    /// Its store time. Never below the entry's before it in the shard: an earlier time
    /// is raised to that, so that search by time stays a binary search.
    pub store_ms: i64,
}
