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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::version;
    use bytes::{Bytes, BytesMut};
    use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
    use kafka_protocol::messages::{FetchResponse, ResponseHeader};
    use kafka_protocol::protocol::{Encodable, HeaderVersion};

    fn follows(next: u64) -> KafkaFollows {
        let style = FetchStyle {
            topic: "t".into(),
            queue_bytes_max: 1 << 20,
            reply_bytes_max: 1 << 20,
            wait_ms_max: 500,
        };
        let queue = |queue| QueueSpan { queue, next, end: next, whole: false };
        KafkaFollows::new(style, vec![queue(0), queue(1)])
    }

    /// A batch of these values, stored from `offset` on.
    fn batch(offset: u64, values: &[&[u8]]) -> Vec<u8> {
        let mut batch = kafka::encode_batch(values.iter().map(|value| value.to_vec())).unwrap();
        batch[..8].copy_from_slice(&offset.to_be_bytes());
        batch
    }

    fn reply(correlation: i32, queue: i32, code: i16, records: Vec<u8>) -> Vec<u8> {
        let queue = PartitionData::default()
            .with_partition_index(queue)
            .with_error_code(code)
            .with_records(Some(Bytes::from(records)));
        let topic = FetchableTopicResponse::default().with_partitions(vec![queue]);
        let mut bytes = BytesMut::zeroed(4);
        let header = ResponseHeader::default().with_correlation_id(correlation);
        header.encode(&mut bytes, FetchResponse::header_version(version::FETCH)).unwrap();
        let body = FetchResponse::default().with_responses(vec![topic]);
        body.encode(&mut bytes, version::FETCH).unwrap();
        let len = bytes.len() as u32 - 4;
        bytes[..4].copy_from_slice(&len.to_be_bytes());
        bytes.to_vec()
    }

    #[test]
    fn one_fetch_waits_at_a_time_and_old_messages_are_left_out() {
        let mut follows = follows(6);
        let mut asked = Vec::new();
        follows.ask(&mut asked).unwrap();
        let once = asked.len();
        follows.ask(&mut asked).unwrap();
        assert_eq!(asked.len(), once);

        let mut records = batch(5, &[b"old", b"first", b"second"]);
        records.extend_from_slice(&batch(8, &[b"cut"])[..40]);
        let bytes = reply(1, 1, 0, records);
        let mut seen = Vec::new();
        let mut message = |body: &[u8]| seen.push(body.to_vec());
        for cut in 0..bytes.len() {
            assert_eq!(follows.take(&bytes[..cut], &mut message).unwrap(), None, "cut at {cut}");
        }
        assert_eq!(follows.take(&bytes, &mut message).unwrap(), Some(bytes.len()));
        assert_eq!(seen, [&b"first"[..], b"second"]);
        assert_eq!(follows.queues.iter().map(|queue| queue.next).collect::<Vec<_>>(), [6, 8]);
        follows.ask(&mut asked).unwrap();
        assert!(asked.len() > once);
    }

    #[test]
    fn what_is_not_an_answer_to_the_fetch_is_an_error() {
        for bad in [
            reply(2, 0, 0, Vec::new()),
            reply(1, 7, 0, Vec::new()),
            reply(1, 0, 1, Vec::new()),
            reply(1, 0, 0, vec![0xff; 80]),
        ] {
            let mut follows = follows(0);
            follows.ask(&mut Vec::new()).unwrap();
            assert!(follows.take(&bad, &mut |_| {}).is_err());
        }
    }
}
