//! The data directory: who owns it, how it is laid out, and how its files are made.
//!
//! ```text
//! ringmq-data/
//!   lock                     held while a process uses the directory; tells its pid
//!   identity                 what was decided when the directory was made
//!   metadata.redb            topics, groups, offsets
//!   profile.json             what `ringmq probe` has measured here
//!   shard-0/
//!     log/00000000000000000000   segments, named by their start
//!     index/00000000000000000000 index runs, named by the log they begin with; `bases`
//!     run-mark                   the newest life, and whether it ended cleanly
//! ```
//!
//! Everything here may block; data threads reach it through `engine::helper`.

pub mod access;
pub mod directory;
pub mod disk;
pub mod error;
pub mod identity;
pub mod index_runs;
pub mod segments;
pub mod small;

pub use access::Access;
pub use directory::{DataDirectory, Occupied};
pub use disk::{DiskSpace, FlushProbe};
pub use error::{DirectoryError, FileError};
pub use identity::{Choice, Identity, Wanted};
pub use index_runs::{IndexFile, IndexFiles};
pub use segments::{FileId, Pace, SegmentFile, SegmentFiles};
