//! CommitLog: the truth of a shard. It decides where records lie, when write groups
//! close, what is written and flushed, and how far acknowledgements may go; an engine
//! performs it. The bytes are told in `FORMAT.md`.
//!
//! Reading order: [`record`] and [`footer`] are the bytes, [`segment`] the files,
//! [`commit_log`] the life of a running log, [`watermarks`] and [`policy`] its rules;
//! [`run_mark`], [`recovery`], [`scan`] and [`replay`] bring it back after any end, and
//! [`retention`] lets old segments go.

pub mod commit_log;
mod flush;
pub mod footer;
mod groups;
mod intent;
pub mod policy;
mod reader;
pub mod record;
pub mod records;
pub mod recovery;
pub mod replay;
pub mod retention;
pub mod run_mark;
pub mod scan;
pub mod segment;
pub mod watermarks;

pub use commit_log::{CommitLog, LogConfig, LogStart};
pub use footer::ChainEnd;
pub use intent::{Appended, Cause, Extents, Failure, LogIntent, LogStats, NoRoom, OpId};
pub use policy::{AckLevel, FlushMethod};
pub use record::{NewRecord, RecordError, RecordView, Stored};
pub use segment::Geometry;
pub use watermarks::Watermarks;
