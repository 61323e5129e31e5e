//! What a shard has done, for operators: totals, and rates over the last minutes.

use std::collections::VecDeque;

/// Counters that only grow, and samples of them.
#[derive(Debug, Default)]
pub struct Stats {
    pub start_ms: i64,
    pub puts: u64,
    pub put_bytes: u64,
    /// Sends that the checks of topic and queue let pass and the store did not take, as
    /// Apache counts them: too large, malformed, or the log has failed.
    pub puts_failed: u64,
    pub gets: u64,
    pub get_bytes: u64,
    /// Pulls that brought messages, and those that did not.
    pub gets_found: u64,
    pub gets_missed: u64,
    samples: VecDeque<Sample>,
    /// What had been done when the day before began, and when this one did.
    mornings: [Sample; 2],
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    pub ms: i64,
    pub puts: u64,
    pub gets: u64,
    pub gets_found: u64,
    pub gets_missed: u64,
}

const SAMPLE_MS: i64 = 10_000;
/// Days begin at midnight of UTC: a broker knows no other place.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Ten minutes of samples.
const SAMPLES_MAX: usize = 61;

impl Stats {
    pub fn new(start_ms: i64) -> Self {
        let mut stats = Self { start_ms, ..Self::default() };
        let start = Sample { ms: start_ms, ..Sample::default() };
        stats.samples.push_back(start);
        stats.mornings = [start; 2];
        stats
    }

    /// Takes a sample when the last one is old enough.
    pub fn sample(&mut self, now_ms: i64) {
        if self.samples.back().is_some_and(|last| now_ms - last.ms < SAMPLE_MS) {
            return;
        }
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        let now = self.now(now_ms);
        self.samples.push_back(now);
        let [_, today] = self.mornings;
        let days = now_ms.div_euclid(DAY_MS) - today.ms.div_euclid(DAY_MS);
        if days > 0 {
            // Over a day without a sample nothing was done.
            self.mornings = [if days == 1 { today } else { now }, now];
        }
    }

    /// What had been done when yesterday began, and when today did.
    pub fn mornings(&self) -> [Sample; 2] {
        self.mornings
    }

    fn now(&self, ms: i64) -> Sample {
        Sample {
            ms,
            puts: self.puts,
            gets: self.gets,
            gets_found: self.gets_found,
            gets_missed: self.gets_missed,
        }
    }

    /// Rates per second over the last 10 s, 60 s and 600 s, as `clusterList` shows them.
    pub fn rates(&self, now_ms: i64, of: impl Fn(&Sample) -> u64) -> [f64; 3] {
        let now = self.now(now_ms);
        [10_000, 60_000, 600_000].map(|span| {
            let since = self.samples.iter().find(|sample| now_ms - sample.ms <= span);
            let since = since.or(self.samples.back()).copied().unwrap_or_default();
            let ms = (now_ms - since.ms).max(1) as f64;
            of(&now).saturating_sub(of(&since)) as f64 * 1000.0 / ms
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_with_what_was_done_before_it() {
        let noon = 100 * DAY_MS + DAY_MS / 2;
        let mut stats = Stats::new(noon);
        stats.puts = 5;
        stats.sample(noon + DAY_MS);
        stats.puts = 7;
        stats.sample(noon + DAY_MS + SAMPLE_MS);
        assert_eq!(stats.mornings().map(|morning| morning.puts), [0, 5]);
        stats.sample(noon + 2 * DAY_MS);
        assert_eq!(stats.mornings().map(|morning| morning.puts), [5, 7]);
    }

    #[test]
    fn rates_are_those_of_their_span() {
        let mut stats = Stats::new(0);
        for second in 1..=120 {
            stats.puts += 10;
            stats.sample(second * 1000);
        }
        let [short, middle, long] = stats.rates(120_000, |sample| sample.puts);
        assert_eq!([short.round(), middle.round(), long.round()], [10.0, 10.0, 10.0]);
        assert_eq!(stats.rates(120_000, |sample| sample.gets), [0.0; 3]);
    }
}
