//! What a log says: what the engine shall do, where records lie, why it cannot go on.

use std::fmt;

use crate::base::LogOffset;

/// One operation of the disk, named to its completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpId(pub u64);

/// What the engine shall do. Ranges are block aligned and inside one segment; bytes
/// are those of the ring at the same offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogIntent {
    /// Write; `durable`: so that it survives a power cut when it completes.
    Write { op: OpId, at: LogOffset, len: u32, durable: bool },
    /// fdatasync the segment with this base.
    Sync { op: OpId, segment: LogOffset },
    /// Make the segment ready: final size, written extents, its name, all durable.
    PrepareSegment { base: LogOffset },
    /// The log will soon need the segment that is being prepared: it may come with
    /// extents that are only reserved.
    HurrySegment { base: LogOffset },
}

/// What a write into a prepared segment has to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extents {
    /// Nothing but the bytes: what has been written survives the kernel.
    Written,
    /// Its extents have space and nothing in them. That a block was written is in the
    /// kernel's memory alone until the segment is flushed.
    Reserved,
}

/// Where a record lies now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub at: LogOffset,
    pub len: u32,
    pub store_ms: i64,
}

/// Why a batch cannot be appended now. All but the last two pass by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// The disk is behind, or readers hold the ring.
    ArenaFull,
    /// The batch needs a segment that is not prepared yet.
    SegmentNotReady,
    /// The log has failed for good.
    Failed(Failure),
    /// The log is being closed.
    Stopping,
}

impl NoRoom {
    /// Whether the same batch may find room later in this life.
    pub fn passes(&self) -> bool {
        matches!(self, Self::ArenaFull | Self::SegmentNotReady)
    }
}

/// The write or flush that ended this log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    Write { at: LogOffset, len: u32, cause: Cause },
    Sync { segment: LogOffset, cause: Cause },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Errno(i32),
    /// The kernel wrote less than it was given.
    Short {
        done: u32,
    },
}

/// Counters for the metrics; they only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    pub records: u64,
    pub record_bytes: u64,
    pub groups: u64,
    pub writes: u64,
    pub written_bytes: u64,
    pub syncs: u64,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = match self {
            Self::Write { at, len, cause } => {
                write!(f, "write of {len} bytes at log offset {at}: ")?;
                cause
            }
            Self::Sync { segment, cause } => {
                write!(f, "fdatasync of segment {:020}: ", segment.0)?;
                cause
            }
        };
        match cause {
            Cause::Errno(errno) => write!(f, "{}", std::io::Error::from_raw_os_error(*errno)),
            Cause::Short { done } => write!(f, "only {done} bytes were written"),
        }
    }
}

impl std::error::Error for Failure {}
