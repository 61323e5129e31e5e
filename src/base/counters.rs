//! What a data thread counts of its dealings with the kernel.

use super::WriteMode;
use super::transfer::TransferCounters;

/// What a data thread has done since its ring was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Calls of io_uring_enter.
    pub enters: u64,
    /// Of those, calls that slept.
    pub parks: u64,
    pub completions: u64,
    /// Receives that found no buffer.
    pub starved: u64,
    /// Sends that left in more than one call.
    pub short_sends: u64,
    /// Sends whose rest was copied, so that the arena could go on.
    pub copied_sends: u64,
    /// Zero-copy sends that the kernel has copied after all, as it does on loopback.
    pub zero_copy_copied: u64,
    /// Calls by strategy, and what kept one from being used.
    pub transfers: TransferCounters,
    /// Writes of each mode, in the order of `WriteMode::ALL`.
    pub writes: [WriteCounters; WriteMode::ALL.len()],
    /// Writes that were to leave nothing in the page cache, and went as plain ones.
    pub uncached_fallbacks: u64,
    /// Page faults of the thread since it began, for whatever reason: those that found
    /// the page in memory, and those that waited for a disk.
    pub minor_faults: u64,
    pub major_faults: u64,
}

/// What log writes of one mode have taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteCounters {
    /// Writes that were asked for, and their bytes.
    pub calls: u64,
    pub bytes: u64,
    /// Bytes that the CPU copied on their way, on this thread and in the kernel.
    pub user_copied_bytes: u64,
    pub kernel_copied_bytes: u64,
    /// Completions of operations that the kernel always gives to a worker of its own:
    /// FSYNC and SYNC_FILE_RANGE. (Buffered writes are added to that by some file systems.)
    pub punted: u64,
}

impl Counters {
    pub fn of_writes(&mut self, mode: WriteMode) -> &mut WriteCounters {
        &mut self.writes[mode as usize]
    }
}

/// Whoever knows the counters of this thread. To ask may take a system call.
pub trait ThreadCounters {
    fn counters(&self) -> Counters;
}

/// Counters that stand still.
impl ThreadCounters for Counters {
    fn counters(&self) -> Counters {
        *self
    }
}
