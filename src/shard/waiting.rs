//! Frames that wait for something outside their shard. A frame that has to wait is
//! copied once and handled again from the start, so no handler knows of waiting.

use std::collections::{HashMap, VecDeque};

use crate::base::ConnId;
use crate::base::limits::{
    CHANGE_WAIT_US_MAX, LOAD_WAIT_US_MAX, ROOM_WAIT_US_MAX, TOPIC_WAIT_US_MAX, WAITING_BYTES_MAX,
};
use crate::broker::context::Cause;

/// All waiting frames of a shard, in lines by what they wait for, in arrival order.
#[derive(Debug, Default)]
pub struct Waiting {
    lines: HashMap<Cause, VecDeque<WaitingFrame>>,
    bytes: usize,
}

/// One whole frame.
#[derive(Debug)]
pub struct WaitingFrame {
    pub conn: ConnId,
    pub bytes: Vec<u8>,
    /// When it came; waiting again does not make it younger.
    pub since_us: u64,
}

/// The frames of all lines together would exceed `WAITING_BYTES_MAX`.
/// … and the frame is given back.
#[derive(Debug)]
pub struct Full(pub WaitingFrame);

impl Waiting {
    pub fn park(&mut self, cause: Cause, frame: WaitingFrame) -> Result<(), Full> {
        if self.bytes + frame.bytes.len() > WAITING_BYTES_MAX {
            return Err(Full(frame));
        }
        self.bytes += frame.bytes.len();
        self.lines.entry(cause).or_default().push_back(frame);
        Ok(())
    }

    /// Whether anything waits for `cause`.
    pub fn has(&self, cause: &Cause) -> bool {
        self.lines.contains_key(cause)
    }

    /// The line whose cause has ended, in its order.
    pub fn take(&mut self, cause: &Cause) -> VecDeque<WaitingFrame> {
        let line = self.lines.remove(cause).unwrap_or_default();
        self.bytes -= line.iter().map(|frame| frame.bytes.len()).sum::<usize>();
        line
    }

    /// Takes the frames whose time is up, with what they waited for.
    pub fn expire(&mut self, now_us: u64) -> Vec<(Cause, WaitingFrame)> {
        let mut expired = Vec::new();
        for (cause, line) in &mut self.lines {
            let ends = |frame: &WaitingFrame| now_us >= frame.since_us + wait_us_max(cause);
            while line.front().is_some_and(ends) {
                expired.extend(line.pop_front().map(|frame| (cause.clone(), frame)));
            }
        }
        self.lines.retain(|_, line| !line.is_empty());
        self.bytes -= expired.iter().map(|(_, frame)| frame.bytes.len()).sum::<usize>();
        expired
    }

    pub fn next_deadline_us(&self) -> Option<u64> {
        let first = |(cause, line): (&Cause, &VecDeque<WaitingFrame>)| {
            line.front().map(|frame| frame.since_us + wait_us_max(cause))
        };
        self.lines.iter().filter_map(first).min()
    }
}

fn wait_us_max(cause: &Cause) -> u64 {
    match cause {
        Cause::Topic(_) => TOPIC_WAIT_US_MAX,
        Cause::TopicChange(_) | Cause::GroupChange(_) => CHANGE_WAIT_US_MAX,
        Cause::Load(_) => LOAD_WAIT_US_MAX,
        Cause::Room => ROOM_WAIT_US_MAX,
    }
}
