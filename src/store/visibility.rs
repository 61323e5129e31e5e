//! When what is appended becomes visible.

use std::collections::VecDeque;

use crate::base::{AckLevel, LogOffset, QueueOffset};
use crate::log::Watermarks;
use crate::queue::{QueueIndex, QueueSlot};

/// Messages that are appended and not visible yet, by the level they wait for.
#[derive(Debug, Default)]
pub struct Visibility {
    lines: [VecDeque<Step>; 3],
    shown: Vec<QueueSlot>,
    /// The queue of the last message of this batch: its next one joins that step.
    joining: Option<QueueSlot>,
}

/// Once the log has reached `log_end`, messages of the queue below `end` are visible.
#[derive(Clone, Copy, Debug)]
struct Step {
    slot: QueueSlot,
    end: QueueOffset,
    log_end: LogOffset,
}

impl Visibility {
    /// One message was appended at `offset` of a queue that is visible up to `visible`.
    pub fn add(
        &mut self,
        slot: QueueSlot,
        visible: QueueOffset,
        offset: QueueOffset,
        level: AckLevel,
        log_end: LogOffset,
    ) {
        let level = self.level_of(slot, visible, offset, level);
        let step = Step { slot, end: offset + 1, log_end };
        let line = &mut self.lines[level as usize];
        match line.back_mut() {
            Some(last) if self.joining == Some(slot) && last.slot == slot => *last = step,
            _ => line.push_back(step),
        }
        self.joining = Some(slot);
    }

    /// Earlier messages of the queue may still wait for a higher level, which the topic
    /// had then; a later one must not show them before their time.
    fn level_of(
        &self,
        slot: QueueSlot,
        visible: QueueOffset,
        offset: QueueOffset,
        level: AckLevel,
    ) -> AckLevel {
        if visible == offset || self.joining == Some(slot) {
            return level;
        }
        let waits = |higher: &AckLevel| {
            *higher > level && self.lines[*higher as usize].iter().any(|step| step.slot == slot)
        };
        AckLevel::ALL.into_iter().rev().find(waits).unwrap_or(level)
    }

    /// Whether anything waits for `level`.
    pub fn wants(&self, level: AckLevel) -> bool {
        !self.lines[level as usize].is_empty()
    }

    /// Makes visible what the watermarks have reached.
    pub fn show(&mut self, index: &mut QueueIndex, marks: &Watermarks) {
        self.joining = None;
        for level in AckLevel::ALL {
            let edge = marks.of(level);
            let line = &mut self.lines[level as usize];
            while line.front().is_some_and(|step| step.log_end <= edge) {
                let step = line.pop_front().expect("there is a front");
                if !index.is_open(step.slot) {
                    continue; // Its topic was deleted meanwhile.
                }
                index.advance_visible(step.slot, step.end);
                if self.shown.last() != Some(&step.slot) {
                    self.shown.push(step.slot);
                }
            }
        }
    }

    /// Queues in which messages became visible since the last call.
    pub fn take_shown(&mut self, shown: &mut Vec<QueueSlot>) {
        shown.append(&mut self.shown);
    }
}
