//! The same measurement several times.

use super::Figures;
use crate::measure::latencies;
use hdrhistogram::Histogram;
use serde::Serialize;

/// One figure over the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

pub fn spread(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
    let values: Vec<f64> = values.into_iter().collect();
    let least = values.iter().copied().reduce(f64::min)?;
    let most = values.iter().copied().reduce(f64::max)?;
    Some(Spread { median: median(values)?, least, most })
}

/// The latencies of all rounds as one histogram; none where no round kept its own.
pub fn merged(rounds: &[Figures]) -> Option<Histogram<u64>> {
    let mut all = latencies();
    // A file of another tool's may go further than ours.
    all.auto(true);
    for histogram in rounds.iter().filter_map(|round| round.latency.as_ref()) {
        all.add(histogram).expect("it grows to what it is given");
    }
    (!all.is_empty()).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::sample;
    use super::*;

    #[test]
    fn the_middle_and_both_ends_are_told() {
        let of = |values: &[f64]| spread(values.iter().copied());
        assert_eq!(of(&[9.0, 1.0, 3.0]), Some(Spread { median: 3.0, least: 1.0, most: 9.0 }));
        assert_eq!(of(&[4.0, 1.0]).unwrap().median, 2.5);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn percentiles_of_all_rounds_come_from_all_their_requests() {
        let round = |ns: u64, count: u64| {
            let mut histogram = latencies();
            histogram.record_n(ns, count).unwrap();
            Figures { latency: Some(histogram), ..sample(1.0, 1.0) }
        };
        let all = merged(&[round(1_000, 90), round(50_000, 10), sample(1.0, 1.0)]).unwrap();
        assert_eq!(all.len(), 100);
        // The mean of both medians would be 25 µs.
        assert!(all.value_at_quantile(0.5) <= 1_000);
        assert!(all.value_at_quantile(0.95) >= 50_000);
        assert!(merged(&[sample(1.0, 1.0)]).is_none());
    }
}
