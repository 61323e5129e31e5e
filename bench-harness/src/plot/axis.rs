//! Values to places, and the ticks that people expect.

/// An axis on which each step is the same factor.
#[derive(Clone, Copy, Debug)]
pub struct LogAxis {
    from: f64,
    to: f64,
}

impl LogAxis {
    /// Covers all positive values, widened to 1, 2 or 5 times a power of ten.
    pub fn covering(values: impl Iterator<Item = f64> + Clone) -> LogAxis {
        let positive = values.filter(|value| value.is_finite() && *value > 0.0);
        let low = positive.clone().fold(f64::INFINITY, f64::min);
        let high = positive.fold(0.0, f64::max);
        if low > high {
            return LogAxis { from: 1.0, to: 10.0 };
        }
        let (from, to) = (step_below(low), step_above(high));
        LogAxis { from, to: if to > from { to } else { from * 10.0 } }
    }

    /// Between 0 and 1.
    pub fn place(&self, value: f64) -> f64 {
        let share = (value / self.from).ln() / (self.to / self.from).ln();
        share.clamp(0.0, 1.0)
    }

    /// Powers of ten; with 2 and 5 between where these are few.
    pub fn ticks(&self) -> Vec<f64> {
        let decades = (self.to / self.from).log10();
        let steps: &[f64] = if decades < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let first = self.from.log10().floor() as i32;
        let last = self.to.log10().ceil() as i32;
        let powers = (first..=last).map(|power| 10f64.powi(power));
        let all = powers.flat_map(|power| steps.iter().map(move |step| power * step));
        let near = 1e-9;
        all.filter(|t| *t >= self.from * (1.0 - near) && *t <= self.to * (1.0 + near)).collect()
    }
}

fn step_below(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    [5.0, 2.0].into_iter().map(|step| step * power).find(|v| *v <= value).unwrap_or(power)
}

fn step_above(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|s| s * power).find(|v| *v >= value).unwrap_or(10.0 * power)
}

/// Three digits and a letter: 935 k, 1.13 M.
pub fn short(value: f64) -> String {
    let (scaled, letter) = match value.abs() {
        v if v >= 1e9 => (value / 1e9, " G"),
        v if v >= 1e6 => (value / 1e6, " M"),
        v if v >= 1e4 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    format!("{}{letter}", three_digits(scaled))
}

/// Microseconds in the unit that reads best.
pub fn time(us: f64) -> String {
    match us {
        us if us >= 999_500.0 => format!("{} s", three_digits(us / 1e6)),
        us if us >= 999.5 => format!("{} ms", three_digits(us / 1e3)),
        us if us >= 0.9995 => format!("{} µs", three_digits(us)),
        us => format!("{} ns", three_digits(us * 1e3)),
    }
}

/// As many places as three digits need; large numbers with their thousands apart.
pub fn three_digits(value: f64) -> String {
    let places = match value.abs() {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        v if v >= 0.9995 => 2,
        v if v > 0.0 => 3,
        _ => 0,
    };
    let text = format!("{value:.places$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    };
    match text.len() {
        4.. if places == 0 => format!("{},{}", &text[..text.len() - 3], &text[text.len() - 3..]),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_axis_covers_what_it_shows_and_ticks_inside() {
        let axis = LogAxis::covering([3.0, 0.0, 70_000.0, f64::NAN].into_iter());
        assert_eq!((axis.place(2.0), axis.place(100_000.0)), (0.0, 1.0));
        assert_eq!(axis.ticks(), [10.0, 100.0, 1e3, 1e4, 1e5]);
        let narrow = LogAxis::covering([30.0, 170.0].into_iter());
        assert_eq!(narrow.ticks(), [20.0, 50.0, 100.0, 200.0]);
        assert_eq!(LogAxis::covering(std::iter::empty()).ticks(), [1.0, 2.0, 5.0, 10.0]);
        assert_eq!(LogAxis::covering([5.0].into_iter()).ticks().first(), Some(&5.0));
    }

    #[test]
    fn numbers_are_short_and_carry_their_unit() {
        assert_eq!(short(935_484.0), "935 k");
        assert_eq!(short(1_132_890.0), "1.13 M");
        assert_eq!(short(5_926.0), "5,926");
        assert_eq!(short(0.034), "0.034");
        assert_eq!(time(88_604.7), "88.6 ms");
        assert_eq!(time(0.5), "500 ns");
        assert_eq!(time(1_000.0), "1 ms");
        assert_eq!(time(2_500_000.0), "2.5 s");
        assert_eq!(three_digits(0.0), "0");
    }
}
