//! Whether what comes out is what went in: each stream whole, once, in order.

use super::stored::{StoredMessage, take_stored};
use super::subscription::Subscription;
use crate::body::{self, BodyError, Stream};
use crate::ledger::Ledger;
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};

/// What a drain found. All but the first two ought to be zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    pub verified: u64,
    /// Messages that this tool did not send.
    pub foreign: u64,
    /// Sequences that were acknowledged (or, without a ledger, lie between others) and are not there.
    pub missing: u64,
    pub duplicate: u64,
    /// Came after one that was sent later.
    pub reordered: u64,
    /// Bodies that differ from what was sent.
    pub corrupt: u64,
    /// Right bodies stored with a wrong BODYCRC.
    pub wrong_stored_crc: u64,
    /// Served from another topic or queue than asked for, or below the offset asked for.
    pub misplaced: u64,
    /// Replies whose bytes are no messages.
    pub malformed: u64,
    /// Messages that the subscription does not ask for.
    pub unfitting: u64,
    /// Sent, not acknowledged, and there all the same: allowed.
    pub unacknowledged_present: u64,
}

impl Findings {
    pub fn add(&mut self, other: &Findings) {
        self.verified += other.verified;
        self.foreign += other.foreign;
        self.missing += other.missing;
        self.duplicate += other.duplicate;
        self.reordered += other.reordered;
        self.corrupt += other.corrupt;
        self.wrong_stored_crc += other.wrong_stored_crc;
        self.misplaced += other.misplaced;
        self.malformed += other.malformed;
        self.unfitting += other.unfitting;
        self.unacknowledged_present += other.unacknowledged_present;
    }

    /// Whether nothing is wrong; order is up to the caller.
    pub fn is_clean(&self) -> bool {
        let wrong = self.missing + self.duplicate + self.corrupt + self.wrong_stored_crc;
        wrong + self.misplaced + self.malformed + self.unfitting == 0
    }
}

/// Checks the messages of some queues; a queue has one verifier.
#[derive(Default)]
pub struct Verifier {
    findings: Findings,
    streams: HashMap<Stream, Progress>,
    /// Gaps are what a filter leaves out.
    filtered: bool,
}

/// How far a stream has come.
struct Progress {
    next: u64,
    /// Below `next` and not seen.
    missing: BTreeSet<u64>,
    /// Too many to remember one by one.
    missing_uncounted: u64,
}

/// Gaps remembered by number, per stream.
const MISSING_MAX: usize = 1 << 20;

/// Where a reply's messages must lie.
#[derive(Clone, Copy)]
pub struct Expected<'a> {
    pub topic: &'a [u8],
    pub queue: u32,
    pub from_offset: u64,
    /// The queue is read from its very beginning, so streams begin at zero.
    pub whole: bool,
    /// What it leaves out is not missing.
    pub subscription: &'a Subscription,
}

impl Verifier {
    /// Checks a reply's body; returns how many messages it has.
    pub fn take(&mut self, mut bytes: &[u8], expected: Expected<'_>) -> u64 {
        let mut at = expected;
        let mut count = 0;
        loop {
            match take_stored(bytes) {
                Ok(None) => return count,
                Ok(Some(message)) => {
                    self.check(&message, at);
                    at.from_offset = message.queue_offset + 1;
                    bytes = &bytes[message.len..];
                    count += 1;
                }
                Err(_) => {
                    self.findings.malformed += 1;
                    return count;
                }
            }
        }
    }

    fn check(&mut self, message: &StoredMessage<'_>, expected: Expected<'_>) {
        if message.queue != expected.queue
            || message.topic != expected.topic
            || message.queue_offset < expected.from_offset
        {
            self.findings.misplaced += 1;
        }
        if !expected.subscription.passes(message.tag()) {
            self.findings.unfitting += 1;
        }
        self.filtered |= !expected.subscription.is_all();
        let body_crc = self.take_body(message.body, message.queue, expected.whole);
        if body_crc.is_some_and(|crc| crc & 0x7fff_ffff != message.body_crc) {
            self.findings.wrong_stored_crc += 1;
        }
    }

    /// Checks a body that lay in this queue; returns its CRC if it is one of ours.
    pub fn take_body(&mut self, body: &[u8], queue: u32, whole: bool) -> Option<u32> {
        let stamp = match body::check(body) {
            Ok(stamp) => stamp,
            Err(BodyError::Foreign) => {
                self.findings.foreign += 1;
                return None;
            }
            Err(BodyError::Corrupt { .. }) => {
                self.findings.corrupt += 1;
                return None;
            }
        };
        if stamp.stream.queue != queue {
            self.findings.misplaced += 1;
        }
        let first = if whole { 0 } else { stamp.seq };
        let progress = self.streams.entry(stamp.stream).or_insert_with(|| Progress {
            next: first,
            missing: BTreeSet::new(),
            missing_uncounted: 0,
        });
        progress.see(stamp.seq, &mut self.findings);
        self.findings.verified += 1;
        Some(stamp.body_crc)
    }

    /// The verdict, against what was acknowledged where that is known.
    pub fn finish(mut self, ledger: Option<&Ledger>) -> Findings {
        if self.filtered {
            return self.findings;
        }
        let mut known = ledger.map(Ledger::by_stream).unwrap_or_default();
        for (stream, progress) in &self.streams {
            self.findings.missing += progress.missing_uncounted;
            let Some(record) = known.remove(stream) else {
                self.findings.missing += progress.missing.len() as u64;
                continue;
            };
            let excused: BTreeSet<u64> = record.unacknowledged.iter().copied().collect();
            let beyond = progress.next..record.sent;
            let lost = |seq: &u64| !excused.contains(seq);
            self.findings.missing += progress.missing.iter().filter(|seq| lost(seq)).count() as u64;
            self.findings.missing += beyond.filter(lost).count() as u64;
            let there = |seq: &&u64| **seq < progress.next && !progress.missing.contains(seq);
            self.findings.unacknowledged_present += excused.iter().filter(there).count() as u64;
        }
        self.findings
    }

    /// Streams that showed up.
    pub fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.streams.keys()
    }
}

impl Progress {
    fn see(&mut self, seq: u64, findings: &mut Findings) {
        if seq == self.next {
            self.next += 1;
        } else if seq > self.next {
            let gap = seq - self.next;
            if self.missing.len() as u64 + gap <= MISSING_MAX as u64 {
                self.missing.extend(self.next..seq);
            } else {
                self.missing_uncounted += gap;
            }
            self.next = seq + 1;
        } else if self.missing.remove(&seq) {
            findings.reordered += 1;
        } else {
            findings.duplicate += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::stored::tests::record;
    use super::*;
    use crate::ledger::StreamRecord;
    use std::sync::LazyLock;

    const STREAM: Stream = Stream { run: 1, producer: 2, queue: 3 };

    fn stored(seqs: &[u64]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (offset, &seq) in seqs.iter().enumerate() {
            let (mut body, crc) = body::prepare(64, STREAM);
            body::stamp(body.last_chunk_mut().unwrap(), crc, 0, seq);
            bytes.extend_from_slice(&record("t", 3, offset as u64, &body, false));
        }
        bytes
    }

    fn expected(queue: u32, from_offset: u64) -> Expected<'static> {
        static ALL: LazyLock<Subscription> = LazyLock::new(Subscription::all);
        Expected { topic: b"t", queue, from_offset, whole: true, subscription: &ALL }
    }

    fn findings(bytes: &[u8], ledger: Option<&Ledger>) -> Findings {
        let mut verifier = Verifier::default();
        verifier.take(bytes, expected(3, 0));
        verifier.finish(ledger)
    }

    #[test]
    fn a_whole_stream_in_order_has_nothing_wrong() {
        let found = findings(&stored(&[0, 1, 2, 3]), None);
        assert_eq!(found, Findings { verified: 4, ..Findings::default() });
    }

    #[test]
    fn gaps_duplicates_and_disorder_are_told_apart() {
        let found = findings(&stored(&[0, 1, 1, 4, 2, 5]), None);
        assert_eq!((found.missing, found.duplicate, found.reordered), (1, 1, 1));
        assert!(!found.is_clean());
    }

    #[test]
    fn the_ledger_excuses_refusals_and_finds_a_lost_end() {
        let record = StreamRecord { stream: STREAM, sent: 6, unacknowledged: vec![1, 2, 5] };
        let ledger = Ledger { streams: vec![record] };
        let found = findings(&stored(&[0, 2, 3]), Some(&ledger));
        assert_eq!((found.missing, found.unacknowledged_present), (1, 1));
    }

    #[test]
    fn a_changed_byte_and_a_wrong_place_are_noticed() {
        let good = stored(&[0]);
        let mut changed = good.clone();
        let in_body = good.len() - 40;
        changed[in_body] ^= 1;
        assert_eq!(findings(&changed, None).corrupt, 1);
        let mut crc = good.clone();
        crc[8] ^= 1;
        assert_eq!(findings(&crc, None).wrong_stored_crc, 1);
        for expected in [expected(4, 0), expected(3, 1)] {
            let mut verifier = Verifier::default();
            verifier.take(&good, expected);
            assert_eq!(verifier.finish(None).misplaced, 1);
        }
    }

    #[test]
    fn what_a_filter_leaves_out_is_not_missing_and_what_it_should_is_noticed() {
        let mut bytes = Vec::new();
        for (offset, tag) in [(0, "a"), (2, "a"), (3, "b"), (6, "a")] {
            let (mut body, crc) = body::prepare(64, STREAM);
            body::stamp(body.last_chunk_mut().unwrap(), crc, 0, offset);
            let properties = format!("WAIT\u{1}true\u{2}TAGS\u{1}{tag}\u{2}");
            let plain = record("t", 3, offset, &body, false);
            let kept = &plain[..plain.len() - 4];
            let mut tagged = [kept, &[0, properties.len() as u8], properties.as_bytes()].concat();
            let len = tagged.len() as u32;
            tagged[..4].copy_from_slice(&len.to_be_bytes());
            bytes.extend_from_slice(&tagged);
        }
        let only = Subscription::of("a");
        let mut verifier = Verifier::default();
        assert_eq!(verifier.take(&bytes, Expected { subscription: &only, ..expected(3, 0) }), 4);
        let found = verifier.finish(None);
        assert_eq!((found.verified, found.missing, found.unfitting), (4, 0, 1));
        assert!(!found.is_clean());
    }

    #[test]
    fn bytes_that_are_no_message_end_the_reply() {
        let mut bytes = stored(&[0, 1]);
        bytes.truncate(bytes.len() - 1);
        let found = findings(&bytes, None);
        assert_eq!((found.verified, found.malformed), (1, 1));
    }
}
