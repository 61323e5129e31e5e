//! When groups close, writes start and flushes happen: the figures, in one place.

pub use crate::base::AckLevel;
use crate::base::limits::{BLOCK_BYTES, RECORD_BYTES_MAX, WRITE_BYTES_MAX};

/// How the flushed level is reached; the start-up probe knows which is faster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlushMethod {
    /// Writes that are durable when they complete.
    #[default]
    Dsync,
    /// Plain writes, and one fdatasync for all that have completed.
    Fdatasync,
}

/// A running group closes when it holds this much.
pub const GROUP_BYTES_ENOUGH: u64 = 256 * 1024;
/// The same while another group is being written: with its footer block one full write.
pub const GROUP_BYTES_ENOUGH_BEHIND: u64 = WRITE_BYTES_MAX - 2 * BLOCK_BYTES;

/// With this much it closes after `GROUP_AGE_SOME_US`; with less, after `GROUP_AGE_MAX_US`.
pub const GROUP_BYTES_SOME: u64 = 16 * 1024;
pub const GROUP_AGE_SOME_US: u64 = 1_000;
pub const GROUP_AGE_MAX_US: u64 = 100_000;

/// A group grows beyond `GROUP_BYTES_ENOUGH` while the disk is behind, never beyond
/// this. A scan reads a group whole, so this bounds its memory too.
pub const GROUP_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Groups closed and not yet written. Beyond it the running group grows instead.
pub const GROUPS_IN_FLIGHT_MAX: usize = 8;

/// The same while somebody waits for *flushed*: commits of one write gather meanwhile.
pub const GROUPS_IN_FLIGHT_FLUSHED_MAX: usize = 2;

/// Direct writes under way.
pub const WRITES_IN_FLIGHT_MAX: usize = 32;

/// An fdatasync starts at most so long, or so many bytes, after a plain write. While
/// one runs the next waits for its end.
pub const SYNC_AGE_MAX_US: u64 = 500_000;
pub const SYNC_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Written and not yet flushed; beyond it writes wait for the fdatasync. It bounds how
/// far behind a group the first footer lies that may call it flushed.
pub const UNFLUSHED_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// The smallest log ring in which the largest record always finds room, at the end of
/// a segment too: batches take three eighths of a ring at most.
pub const LOG_RING_BYTES_MIN: u64 = 12 * 1024 * 1024;
const _: () = assert!(batch_share(LOG_RING_BYTES_MIN) > RECORD_BYTES_MAX as u64);

/// What a batch may take of a ring: twice this (a batch, and the rest of a segment
/// that it did not fit into) stays below the three quarters at which appends wait.
pub const fn batch_share(ring_bytes: u64) -> u64 {
    ring_bytes / 8 * 3 - ring_bytes / 64
}

/// Unwritten bytes of a ring at which appends wait.
pub const fn unwritten_max(ring_bytes: u64) -> u64 {
    ring_bytes / 4 * 3
}
