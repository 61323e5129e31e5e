//! Replies to sends whose topic's level is not reached yet, in log order.

use std::collections::VecDeque;

use crate::base::LogOffset;
use crate::base::ack::AckLevel;
use crate::base::limits::ACK_WAIT_US_MAX;
use crate::log::Watermarks;

use super::send::SendReply;

/// Two lines, one for each level that takes time. Their memory is reused, so that
/// nothing is allocated per message.
#[derive(Debug, Default)]
pub struct Deferred {
    written: Line,
    flushed: Line,
}

#[derive(Debug, Default)]
struct Line {
    replies: VecDeque<Waiting>,
    /// What the replies carry: physical offsets and unique ids, one after the other.
    data: VecDeque<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// The level must reach this.
    end: LogOffset,
    since_us: u64,
    reply: SendReply,
    data_len: u32,
}

impl Deferred {
    /// A send's records end at `end`; its reply leaves once `level` is there. `data` is
    /// what `SendReply::write` needs again.
    pub fn push(
        &mut self,
        level: AckLevel,
        end: LogOffset,
        since_us: u64,
        reply: SendReply,
        data: &[u8],
    ) {
        let line = self.line(level);
        line.data.extend(data);
        line.replies.push_back(Waiting { end, since_us, reply, data_len: data.len() as u32 });
    }

    /// Hands out every reply whose level is reached, and those that have waited for
    /// `ACK_WAIT_US_MAX`: `late` is true for them.
    pub fn release(
        &mut self,
        marks: &Watermarks,
        now_us: u64,
        data: &mut Vec<u8>,
        mut send: impl FnMut(SendReply, &[u8], bool),
    ) {
        for level in [AckLevel::Written, AckLevel::Flushed] {
            let edge = marks.of(level);
            let line = self.line(level);
            while let Some(waiting) = line.replies.front().copied() {
                let reached = waiting.end <= edge;
                if !reached && now_us < waiting.since_us + ACK_WAIT_US_MAX {
                    break;
                }
                line.replies.pop_front();
                data.clear();
                data.extend(line.data.drain(..waiting.data_len as usize));
                send(waiting.reply, data, !reached);
            }
        }
    }

    /// Hands out all that wait: the log has failed.
    pub fn fail(&mut self, mut refuse: impl FnMut(SendReply)) {
        for line in [&mut self.written, &mut self.flushed] {
            line.data.clear();
            line.replies.drain(..).for_each(|waiting| refuse(waiting.reply));
        }
    }

    pub fn next_deadline_us(&self) -> Option<u64> {
        let first = |line: &Line| line.replies.front().map(|at| at.since_us + ACK_WAIT_US_MAX);
        [first(&self.written), first(&self.flushed)].into_iter().flatten().min()
    }

    fn line(&mut self, level: AckLevel) -> &mut Line {
        match level {
            AckLevel::Written => &mut self.written,
            AckLevel::Flushed => &mut self.flushed,
            AckLevel::Appended => unreachable!("an appended record is answered in its turn"),
        }
    }
}
