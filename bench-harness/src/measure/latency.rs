//! Latency histograms of one shape, so that any two can be added.

use hdrhistogram::Histogram;

const LATENCY_NS_MAX: u64 = 600_000_000_000;

/// Nanoseconds with three digits, up to ten minutes; beyond counts as ten minutes.
pub fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3)
        .expect("three digits up to ten minutes are a valid histogram")
}
