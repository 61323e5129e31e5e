//! Following in RocketMQ's own protocol: every queue has a pull of its own at
//! the broker.

use super::follow::Follows;
use crate::drain::{Pulls, QueueSpan, RemotingPulls, take_stored};
use std::collections::HashMap;
use std::io;

pub struct RemotingFollows {
    pulls: RemotingPulls,
    queues: Vec<QueueSpan>,
    /// Queues without a pull at the broker.
    idle: Vec<usize>,
    in_flight: HashMap<u32, usize>,
    next_opaque: u32,
}

const FOUND: i32 = 0;
/// Nothing there in all that time, or not yet.
const NOT_FOUND: [i32; 2] = [19, 20];

impl RemotingFollows {
    pub fn new(pulls: RemotingPulls, queues: Vec<QueueSpan>) -> RemotingFollows {
        let idle = (0..queues.len()).collect();
        RemotingFollows { pulls, queues, idle, in_flight: HashMap::new(), next_opaque: 1 }
    }
}

impl Follows for RemotingFollows {
    fn ask(&mut self, output: &mut Vec<u8>) -> io::Result<()> {
        while let Some(index) = self.idle.pop() {
            let opaque = self.next_opaque;
            self.next_opaque = self.next_opaque % (i32::MAX as u32) + 1;
            self.pulls.write(&self.queues[index], opaque, output)?;
            self.in_flight.insert(opaque, index);
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8], message: &mut dyn FnMut(&[u8])) -> io::Result<Option<usize>> {
        let Some(arrival) = self.pulls.read(bytes)? else {
            return Ok(None);
        };
        // Anything else is a request of the broker's own: not for us.
        let Some(index) = self.in_flight.remove(&arrival.opaque) else {
            return Ok(Some(arrival.len));
        };
        self.idle.push(index);
        let queue = &mut self.queues[index];
        if NOT_FOUND.contains(&arrival.code) {
            // Past messages that a filter leaves out.
            queue.next = arrival.next.map_or(queue.next, |next| next.max(queue.next));
            return Ok(Some(arrival.len));
        }
        if arrival.code != FOUND {
            let (queue, code, remark) = (queue.queue, arrival.code, &arrival.remark);
            return Err(io::Error::other(format!("queue {queue}: code {code} {remark}")));
        }
        let next = arrival.next.filter(|next| *next > queue.next);
        queue.next = next.ok_or_else(|| io::Error::other("a reply with messages goes nowhere"))?;
        let mut rest = arrival.body;
        while let Some(stored) = take_stored(rest).map_err(|e| io::Error::other(e.to_string()))? {
            message(stored.body);
            rest = &rest[stored.len..];
        }
        Ok(Some(arrival.len))
    }
}
