//! The way to a clean stop.

use super::CommitLog;
use crate::base::limits::BLOCK_BYTES;
use crate::base::memory::LogRing;
use crate::log::intent::{LogIntent, OpId};

/// The way to a clean stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    No,
    /// The last group is being closed and written.
    Draining,
    /// The zero block behind the log's end is being written.
    ZeroBlock(OpId),
    /// All is being flushed.
    Flushing,
    /// The segment with the zero block is being flushed.
    LastSync(OpId),
    Done,
}

impl CommitLog {
    /// Begins a clean stop: the last group is closed, a zero block written behind it, so
    /// that Apache's own store stops there in a recycled segment too, and all flushed.
    pub fn close(&mut self) {
        if self.stop == Stop::No {
            self.stop = Stop::Draining;
        }
    }

    /// Whether the stop that `close` began is complete.
    pub fn is_closed(&self) -> bool {
        self.stop == Stop::Done
    }

    pub(super) fn go_on_stopping(&mut self, ring: &mut dyn LogRing, out: &mut Vec<LogIntent>) {
        let end = self.marks.appended();
        self.flush.want(end);
        match self.stop {
            Stop::Draining if self.groups.is_empty() && !self.ready.is_ready(end) => {
                // No segment is there that could hold a stale record behind the end.
                let flushed = self.marks.flushed() == end;
                self.stop = if flushed { Stop::Done } else { Stop::Flushing };
            }
            Stop::Draining if self.groups.is_empty() => {
                if end + BLOCK_BYTES > ring.reclaimed() + self.ring_bytes {
                    return; // The store reclaims what is written by now.
                }
                ring.writable(end, BLOCK_BYTES as usize).fill(0);
                ring.seal(end + BLOCK_BYTES);
                let op = self.take_op();
                self.stop = Stop::ZeroBlock(op);
                let len = BLOCK_BYTES as u32;
                out.push(LogIntent::Write { op, at: end, len, durable: false });
            }
            Stop::Flushing if self.marks.flushed() == end && !self.ready.is_ready(end) => {
                self.stop = Stop::Done;
            }
            Stop::Flushing if self.marks.flushed() == end => {
                let op = self.take_op();
                self.stop = Stop::LastSync(op);
                out.push(LogIntent::Sync { op, segment: self.geometry.base(end) });
            }
            _ => {}
        }
    }
}
