//! Write groups that are closed and not yet written: which bytes are written next, and
//! how far the contiguous prefix of completed groups reaches.

use std::collections::VecDeque;

use crate::base::LogOffset;
use crate::base::limits::WRITE_BYTES_MAX;

use super::footer::ChainEnd;
use super::intent::{Cause, Failure, OpId};
use super::policy::WRITES_IN_FLIGHT_MAX;

/// A closed group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    pub start: LogOffset,
    /// The bytes that are written end here: behind the footer, and behind the blank
    /// record's block in a segment's last group.
    pub write_end: LogOffset,
    /// The log offset and the chain behind the group; behind a segment's last group
    /// the offset is the next segment's base.
    pub chain: ChainEnd,
    /// Its writes are durable by themselves.
    pub durable: bool,
}

/// The closed groups in log order, and their writes.
#[derive(Debug, Default)]
pub(super) struct Groups {
    queue: VecDeque<Waiting>,
    /// Number of the queue's front; groups are numbered in log order.
    front: u64,
    writes: Vec<Write>,
}

#[derive(Debug)]
struct Waiting {
    group: Group,
    /// Bytes below are handed out.
    issued: LogOffset,
    issued_us: Option<u64>,
    /// Handed out and not completed.
    writes: u32,
}

#[derive(Clone, Copy, Debug)]
struct Write {
    op: OpId,
    group: u64,
    at: LogOffset,
    len: u32,
}

impl Groups {
    pub fn push(&mut self, group: Group) {
        self.queue.push_back(Waiting { group, issued: group.start, issued_us: None, writes: 0 });
    }

    /// Closed groups that are not yet written.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The next write to hand out as `op`, if one is due: range, and whether it is to be
    /// durable. None begins at or beyond `limit`.
    pub fn next_write(
        &mut self,
        op: OpId,
        limit: LogOffset,
        now_us: u64,
    ) -> Option<(LogOffset, u32, bool)> {
        if self.writes.len() >= WRITES_IN_FLIGHT_MAX {
            return None;
        }
        let i = self.queue.iter().position(|waiting| waiting.issued < waiting.group.write_end)?;
        let waiting = &mut self.queue[i];
        if waiting.issued >= limit {
            return None;
        }
        let at = waiting.issued;
        let len = (waiting.group.write_end - at).min(WRITE_BYTES_MAX) as u32;
        waiting.issued = at + u64::from(len);
        waiting.issued_us.get_or_insert(now_us);
        waiting.writes += 1;
        self.writes.push(Write { op, group: self.front + i as u64, at, len });
        Some((at, len, waiting.group.durable))
    }

    /// A write has ended. Anything but its whole length is a failure.
    pub fn on_written(&mut self, op: OpId, result: Result<u32, i32>) -> Result<(), Failure> {
        let i = self.writes.iter().position(|write| write.op == op);
        let write = self.writes.swap_remove(i.expect("a write completes once"));
        check_write(write.at, write.len, result)?;
        self.queue[(write.group - self.front) as usize].writes -= 1;
        Ok(())
    }

    /// The next group of the prefix, if it is complete.
    pub fn pop_written(&mut self) -> Option<Group> {
        let complete = |w: &Waiting| w.writes == 0 && w.issued == w.group.write_end;
        self.queue.front().filter(|waiting| complete(waiting))?;
        self.front += 1;
        self.queue.pop_front().map(|waiting| waiting.group)
    }

    /// When the earliest plain write among the unwritten groups was handed out.
    pub fn plain_since(&self) -> Option<u64> {
        let plain = self.queue.iter().filter(|waiting| !waiting.group.durable);
        plain.filter_map(|waiting| waiting.issued_us).min()
    }
}

/// What a write's end means: nothing but its whole length is success.
pub(super) fn check_write(
    at: LogOffset,
    len: u32,
    result: Result<u32, i32>,
) -> Result<(), Failure> {
    let cause = match result {
        Ok(done) if done == len => return Ok(()),
        Ok(done) => Cause::Short { done },
        Err(errno) => Cause::Errno(errno),
    };
    Err(Failure::Write { at, len, cause })
}
