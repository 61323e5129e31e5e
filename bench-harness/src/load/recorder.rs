//! What became of the requests of one generator thread.

use crate::measure::latencies;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;

/// Replies, and what never became one. Counted in requests but for `messages`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    /// Requests answered with success.
    pub requests: u64,
    /// Messages of these requests.
    pub messages: u64,
    /// Requests answered with anything else, by code.
    pub refused: BTreeMap<i32, u64>,
    /// Replies that no request of ours awaited.
    pub unmatched: u64,
    /// Requests without an answer when the run ended.
    pub unanswered: u64,
    /// Requests that an open loop should have sent by the end, and could not.
    pub unsent: u64,
    /// Connections that ended early, and why.
    pub broken: Vec<String>,
}

impl Outcome {
    pub fn add(&mut self, other: &Outcome) {
        self.requests += other.requests;
        self.messages += other.messages;
        for (code, count) in &other.refused {
            *self.refused.entry(*code).or_default() += count;
        }
        self.unmatched += other.unmatched;
        self.unanswered += other.unanswered;
        self.unsent += other.unsent;
        self.broken.extend_from_slice(&other.broken);
    }

    /// Whether every request was answered with success.
    pub fn is_clean(&self) -> bool {
        let lost = self.unmatched + self.unanswered;
        self.refused.is_empty() && lost == 0 && self.broken.is_empty()
    }
}

/// One second of a measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Second {
    pub messages: u64,
    pub max_us: u64,
}

/// A measurement of a day; what comes later counts for its last second.
const SECONDS_MAX: usize = 86_400;

/// Latencies and outcomes, apart for the warm-up and the measurement.
pub struct Recorder {
    pub latency: Histogram<u64>,
    pub measured: Outcome,
    /// Before the measurement began or after it ended.
    pub outside: Outcome,
    /// The measurement second by second.
    pub seconds: Vec<Second>,
    second: usize,
    /// Equal latencies that follow each other are recorded together.
    run_of: u64,
    run_len: u64,
}

impl Recorder {
    pub fn new() -> Recorder {
        let (measured, outside) = (Outcome::default(), Outcome::default());
        let (seconds, second) = (Vec::new(), 0);
        Recorder { latency: latencies(), measured, outside, seconds, second, run_of: 0, run_len: 0 }
    }

    /// What is recorded from now on happened that long after the measurement began.
    pub fn at(&mut self, measured_ns: u64) {
        self.second = usize::try_from(measured_ns / 1_000_000_000)
            .map_or(SECONDS_MAX - 1, |second| second.min(SECONDS_MAX - 1));
    }

    pub fn outcome(&mut self, measuring: bool) -> &mut Outcome {
        if measuring { &mut self.measured } else { &mut self.outside }
    }

    /// A request was answered with success after `latency_ns`.
    pub fn success(&mut self, measuring: bool, messages: u64, latency_ns: u64) {
        let outcome = self.outcome(measuring);
        outcome.requests += 1;
        outcome.messages += messages;
        if measuring {
            self.latency(latency_ns);
            self.in_second(messages, latency_ns);
        }
    }

    /// A message arrived, `latency_ns` after it was meant to be sent. It counts for the
    /// rate when it arrived in the measurement, for the latencies when it was sent in it:
    /// what is late at the end is not left out.
    pub fn received(&mut self, arrived: bool, sent: bool, latency_ns: u64) {
        let outcome = self.outcome(arrived);
        outcome.requests += 1;
        outcome.messages += 1;
        if arrived {
            self.in_second(1, latency_ns);
        }
        if sent {
            self.latency(latency_ns);
        }
    }

    fn in_second(&mut self, messages: u64, latency_ns: u64) {
        if self.seconds.len() <= self.second {
            self.seconds.resize(self.second + 1, Second::default());
        }
        let second = &mut self.seconds[self.second];
        second.messages += messages;
        second.max_us = second.max_us.max(latency_ns / 1000);
    }

    fn latency(&mut self, latency_ns: u64) {
        if latency_ns != self.run_of {
            self.settle();
            self.run_of = latency_ns;
        }
        self.run_len += 1;
    }

    /// Brings the pending run of equal latencies into the histogram.
    fn settle(&mut self) {
        if self.run_len > 0 {
            self.latency.saturating_record_n(self.run_of.max(1), self.run_len);
            self.run_len = 0;
        }
    }

    pub fn add(&mut self, mut other: Recorder) {
        other.settle();
        self.settle();
        self.latency.add(&other.latency).expect("both have the same bounds");
        self.seconds.resize(self.seconds.len().max(other.seconds.len()), Second::default());
        for (second, more) in self.seconds.iter_mut().zip(&other.seconds) {
            second.messages += more.messages;
            second.max_us = second.max_us.max(more.max_us);
        }
        self.measured.add(&other.measured);
        self.outside.add(&other.outside);
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Recorder::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warm_up_leaves_no_latency() {
        let mut recorder = Recorder::new();
        recorder.success(false, 1, 9_000_000);
        for (at, latency) in [(0, 1_000), (0, 1_000), (0, 2_000), (2_500_000_000, 3_000)] {
            recorder.at(at);
            recorder.success(true, 2, latency);
        }
        let mut all = Recorder::new();
        all.add(recorder);
        assert_eq!((all.latency.len(), all.measured.messages), (4, 8));
        assert!((3_000..3_010).contains(&all.latency.max()));
        assert_eq!(all.outside.requests, 1);
        let seconds: Vec<_> = all.seconds.iter().map(|s| (s.messages, s.max_us)).collect();
        assert_eq!(seconds, [(6, 2), (0, 0), (2, 3)]);
    }
}
