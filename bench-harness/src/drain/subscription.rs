//! Which messages a reader asks for, as RocketMQ's consumers say it: `*`, or
//! tags like `a || b`.

use crate::ledger::{Ledger, StreamRecord};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    expression: String,
    /// None asks for all.
    tags: Vec<String>,
}

impl Subscription {
    pub fn of(expression: &str) -> Subscription {
        let tags = expression.split("||").map(str::trim).filter(|tag| !tag.is_empty());
        let tags = tags.filter(|_| expression.trim() != "*").map(String::from).collect();
        Subscription { expression: expression.into(), tags }
    }

    pub fn all() -> Subscription {
        Subscription::of("*")
    }

    pub fn expression(&self) -> &str {
        &self.expression
    }

    pub fn is_all(&self) -> bool {
        self.tags.is_empty()
    }

    /// Whether a message with this tag is asked for.
    pub fn passes(&self, tag: Option<&[u8]>) -> bool {
        self.is_all() || tag.is_some_and(|tag| self.tags.iter().any(|t| t.as_bytes() == tag))
    }

    /// How many of the acknowledged messages it asks for, if those of each stream took these
    /// tags in turn (`Stream::tag_of`).
    pub fn share_of(&self, ledger: &Ledger, tags: &[String]) -> u64 {
        let turn = tags.len().max(1) as u64;
        let of_stream = |record: &StreamRecord| {
            let passes = |seq: &u64| match tags {
                [] => self.is_all(),
                tags => self.passes(Some(tags[record.stream.tag_of(*seq, tags.len())].as_bytes())),
            };
            let count = |seqs: std::ops::Range<u64>| seqs.filter(passes).count() as u64;
            let sent = record.sent / turn * count(0..turn) + count(0..record.sent % turn);
            sent - record.unacknowledged.iter().filter(|seq| passes(seq)).count() as u64
        };
        ledger.streams.iter().map(of_stream).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Stream;

    #[test]
    fn tags_pass_that_are_named_and_a_star_passes_all() {
        let some = Subscription::of("a || bc");
        let passes = |tag: &[u8]| some.passes(Some(tag));
        assert!(passes(b"a") && passes(b"bc") && !passes(b"b") && !some.passes(None));
        let all = Subscription::of("*");
        assert!(all.is_all() && all.passes(None) && all.passes(Some(b"x")));
    }

    #[test]
    fn the_share_of_a_subscription_follows_from_what_was_acknowledged() {
        let record = |queue, sent, unacknowledged| StreamRecord {
            stream: Stream { run: 1, producer: 0, queue },
            sent,
            unacknowledged,
        };
        let ledger = Ledger { streams: vec![record(0, 7, vec![0, 3]), record(2, 4, vec![])] };
        let tags = ["a".to_string(), "b".to_string(), "c".to_string()];
        let share = |expression: &str| Subscription::of(expression).share_of(&ledger, &tags);
        // a: 6 of 0 3 6, and 1; b: 1 4, and 2; c: 2 5, and 0 3.
        assert_eq!([share("a"), share("b"), share("a || c"), share("*")], [2, 3, 6, 9]);
        assert_eq!(Subscription::of("a").share_of(&ledger, &[]), 0);
    }
}
