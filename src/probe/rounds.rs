//! Several rounds of the same.

/// The middle one: what a noisy neighbour did to one round is passed over. Of none, zero.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        len if len % 2 == 1 => values[len / 2],
        len => (values[len / 2 - 1] + values[len / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_passes_over_one_bad_round() {
        assert_eq!(median([3.0, 0.1, 2.9]), 2.9);
        assert_eq!(median([4.0, 2.0]), 3.0);
        assert_eq!(median([]), 0.0);
    }
}
