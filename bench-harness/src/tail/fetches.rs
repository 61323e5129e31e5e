//! Following in Kafka's protocol: one fetch of all queues of a connection is
//! at the broker, which answers a connection's requests one after the other.

use super::follow::Follows;
use crate::drain::QueueSpan;
use crate::kafka::{self, FetchStyle, Fetched, KafkaError, take_batch};
use std::io;

pub struct KafkaFollows {
    style: FetchStyle,
    queues: Vec<QueueSpan>,
    in_flight: Option<u32>,
    next_correlation: u32,
}

impl KafkaFollows {
    pub fn new(style: FetchStyle, queues: Vec<QueueSpan>) -> KafkaFollows {
        KafkaFollows { style, queues, in_flight: None, next_correlation: 1 }
    }

    fn take_queue(
        &mut self,
        fetched: &Fetched<'_>,
        message: &mut dyn FnMut(&[u8]),
    ) -> io::Result<()> {
        if fetched.code != 0 {
            let why = KafkaError::Refused(fetched.code);
            return Err(io::Error::other(format!("queue {}: {why}", fetched.queue)));
        }
        let queue = self.queues.iter_mut().find(|queue| queue.queue == fetched.queue);
        let queue = queue.ok_or(KafkaError::Nonsense("a reply about another queue"))?;
        let mut rest = fetched.records;
        while let Some(batch) = take_batch(&mut rest)? {
            for record in batch.records().take_while(|_| !batch.is_control()) {
                let record = record?;
                // A fetch may begin inside a batch, which comes whole.
                if record.offset >= queue.next {
                    message(&batch.bytes()[record.value]);
                }
            }
            queue.next = queue.next.max(batch.last_offset + 1);
        }
        Ok(())
    }
}

impl Follows for KafkaFollows {
    fn ask(&mut self, output: &mut Vec<u8>) -> io::Result<()> {
        if self.in_flight.is_none() {
            let correlation = self.next_correlation;
            self.next_correlation = correlation % (i32::MAX as u32) + 1;
            let queues = self.queues.iter().map(|queue| (queue.queue, queue.next));
            output.extend_from_slice(&kafka::fetch_frame(&self.style, queues, correlation)?);
            self.in_flight = Some(correlation);
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8], message: &mut dyn FnMut(&[u8])) -> io::Result<Option<usize>> {
        let Some(frame) = kafka::take_frame(bytes)? else {
            return Ok(None);
        };
        let (correlation, fetched) = kafka::read_fetched(frame)?;
        if self.in_flight.take() != Some(correlation) {
            return Err(KafkaError::Nonsense("a reply to no fetch").into());
        }
        for queue in &fetched {
            self.take_queue(queue, message)?;
        }
        Ok(Some(4 + frame.len()))
    }
}
