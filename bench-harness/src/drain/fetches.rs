//! Kafka's fetches, as a drain sends them: each for one queue (a partition).

use super::puller::{Arrival, Pulls};
use super::run::QueueSpan;
use super::verify::Verifier;
use crate::kafka::{self, FetchStyle, KafkaError, take_batch};
use std::io;

/// How a drain fetches.
#[derive(Clone, Debug)]
pub struct Fetches {
    pub style: FetchStyle,
    /// Count messages by their batches' heads without looking into them.
    pub discard: bool,
    /// Compare each batch's CRC, also when discarding.
    pub check_crc: bool,
}

impl Pulls for Fetches {
    fn write(&self, queue: &QueueSpan, opaque: u32, output: &mut Vec<u8>) -> io::Result<()> {
        let queues = std::iter::once((queue.queue, queue.next));
        output.extend_from_slice(&kafka::fetch_frame(&self.style, queues, opaque)?);
        Ok(())
    }

    fn read<'a>(&self, bytes: &'a [u8]) -> io::Result<Option<Arrival<'a>>> {
        let Some(frame) = kafka::take_frame(bytes)? else {
            return Ok(None);
        };
        let (opaque, fetched) = kafka::read_fetched(frame)?;
        let [queue] = fetched[..] else {
            return Err(KafkaError::Nonsense("a reply about another number of queues").into());
        };
        let (next, body) = whole_batches(queue.records)?;
        let (code, len) = (i32::from(queue.code), 4 + frame.len());
        let remark = match queue.code {
            0 => String::new(),
            code => KafkaError::Refused(code).to_string(),
        };
        Ok(Some(Arrival { opaque, code, remark, next, body, len }))
    }

    fn count(&self, body: &[u8], queue: &QueueSpan, verifier: &mut Verifier) -> io::Result<u64> {
        let (mut rest, mut messages) = (body, 0);
        while let Some(batch) = take_batch(&mut rest)? {
            if self.check_crc && !batch.crc_holds() {
                return Err(KafkaError::Nonsense("a record batch with a wrong CRC").into());
            }
            if batch.is_control() {
                continue;
            }
            if self.discard {
                // A fetch may begin inside a batch, which comes whole.
                let before = queue.next.saturating_sub(batch.first_offset);
                messages += u64::from(batch.count).saturating_sub(before);
                continue;
            }
            for record in batch.records() {
                let record = record?;
                if record.offset < queue.next {
                    continue;
                }
                let value = &batch.bytes()[record.value];
                verifier.take_body(value, queue.queue, queue.whole);
                messages += 1;
            }
        }
        Ok(messages)
    }
}

/// The offset after the last whole batch, and all of them.
fn whole_batches(records: &[u8]) -> io::Result<(Option<u64>, &[u8])> {
    let (mut rest, mut next) = (records, None);
    while let Some(batch) = take_batch(&mut rest)? {
        next = Some(batch.last_offset + 1);
    }
    Ok((next, &records[..records.len() - rest.len()]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{self, Stream};

    const STREAM: Stream = Stream { run: 1, producer: 2, queue: 3 };

    /// A stored batch with these sequences, from `offset` on.
    fn stored(offset: u64, seqs: std::ops::Range<u64>) -> Vec<u8> {
        let value = |seq| {
            let (mut body, crc) = body::prepare(64, STREAM);
            body::stamp(body.last_chunk_mut().unwrap(), crc, 0, seq);
            body
        };
        let mut batch = kafka::encode_batch(seqs.map(value)).unwrap();
        batch[..8].copy_from_slice(&offset.to_be_bytes());
        batch
    }

    fn fetches(discard: bool) -> Fetches {
        let style = FetchStyle {
            topic: "t".into(),
            queue_bytes_max: 1 << 20,
            reply_bytes_max: 1 << 20,
            wait_ms_max: 0,
        };
        Fetches { style, discard, check_crc: true }
    }

    fn span(next: u64) -> QueueSpan {
        QueueSpan { queue: 3, next, end: 9, whole: next == 0 }
    }

    #[test]
    fn whole_batches_are_counted_and_verified_and_a_cut_one_waits() {
        let mut bytes = [stored(0, 0..4), stored(4, 4..6)].concat();
        let whole = bytes.len();
        bytes.extend_from_slice(&stored(6, 6..9)[..70]);
        let (next, body) = whole_batches(&bytes).unwrap();
        assert_eq!((next, body.len()), (Some(6), whole));
        for (discard, from, messages) in [(false, 0, 6), (true, 0, 6), (false, 2, 4), (true, 2, 4)]
        {
            let mut verifier = Verifier::default();
            let counted = fetches(discard).count(body, &span(from), &mut verifier).unwrap();
            assert_eq!(counted, messages);
            let found = verifier.finish(None);
            assert_eq!(found.verified, if discard { 0 } else { messages });
            assert!(found.is_clean(), "{found:?}");
        }
    }

    #[test]
    fn a_changed_batch_is_noticed_by_its_crc() {
        let mut bytes = stored(0, 0..3);
        let last = bytes.len() - 10;
        bytes[last] ^= 1;
        let mut verifier = Verifier::default();
        assert!(fetches(true).count(&bytes, &span(0), &mut verifier).is_err());
        let without = Fetches { check_crc: false, ..fetches(false) };
        without.count(&bytes, &span(0), &mut verifier).unwrap();
        assert_eq!(verifier.finish(None).corrupt, 1);
    }
}
