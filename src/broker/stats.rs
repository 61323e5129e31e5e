//! What a shard has done, for operators: totals, and rates over the last minutes.

use std::collections::VecDeque;

/// Counters that only grow, and samples of them.
#[derive(Debug, Default)]
pub struct Stats {
    pub start_ms: i64,
    pub puts: u64,
    pub put_bytes: u64,
    pub puts_failed: u64,
    pub gets: u64,
    pub get_bytes: u64,
    /// Pulls that brought messages, and those that did not.
    pub gets_found: u64,
    pub gets_missed: u64,
    samples: VecDeque<Sample>,
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
/// Ten minutes of samples.
const SAMPLES_MAX: usize = 61;

impl Stats {
    pub fn new(start_ms: i64) -> Self {
        let mut stats = Self { start_ms, ..Self::default() };
        stats.samples.push_back(Sample { ms: start_ms, ..Sample::default() });
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
        self.samples.push_back(self.now(now_ms));
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
