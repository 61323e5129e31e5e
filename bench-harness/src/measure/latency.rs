//! Latency histograms of one shape, so that any two can be added.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use std::io;

const LATENCY_NS_MAX: u64 = 600_000_000_000;

/// Nanoseconds with three digits, up to ten minutes; beyond counts as ten minutes.
pub fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3)
        .expect("three digits up to ten minutes are a valid histogram")
}

/// The whole histogram as a text that other HdrHistogram tools read, too.
pub fn encode(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(histogram, &mut bytes).expect("a Vec takes everything");
    STANDARD.encode(bytes)
}

/// What [`encode`] wrote.
pub fn decode(text: &str) -> io::Result<Histogram<u64>> {
    let bad = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let bytes = STANDARD.decode(text).map_err(|error| bad(format!("histogram: {error}")))?;
    Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .map_err(|error| bad(format!("histogram: {error:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_read_back_as_it_was() {
        let mut histogram = latencies();
        for value in [1, 950, 1_000_000, 77_000_000_000] {
            histogram.record_n(value, value % 7 + 1).unwrap();
        }
        assert_eq!(decode(&encode(&histogram)).unwrap(), histogram);
    }

    #[test]
    fn what_is_no_histogram_is_an_error() {
        for text in ["", "HISTFAAA", "not base64!"] {
            assert!(decode(text).is_err(), "{text}");
        }
    }
}
