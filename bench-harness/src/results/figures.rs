//! The figures of one raw file that summaries and plots show.

use crate::measure;
use hdrhistogram::Histogram;
use serde_json::Value;
use std::fs;
use std::io;
use std::path::Path;

#[derive(Clone, Debug)]
pub struct Figures {
    pub messages_per_second: f64,
    pub megabytes_per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
    pub cpu_us: Option<f64>,
    pub cpu_ns_per_byte: Option<f64>,
    /// Cores' worth of CPU that the broker and the load tool took: a full one is the limit.
    pub broker_cores: Option<f64>,
    pub load_cores: Option<f64>,
    pub memory_mib: Option<u64>,
    pub disk_ratio: Option<f64>,
    /// Requests that were answered with another code than success, or not at all.
    pub refused: u64,
    /// What an open loop had to send and could not.
    pub unsent: u64,
    pub best_pass: Option<f64>,
    /// Of a drain: what a reply with messages held.
    pub bytes_per_reply: Option<f64>,
    /// A second reader's rate beside the one that is measured.
    pub catch_up_megabytes_per_second: Option<f64>,
    /// Share of the machine that was busy, all its cores together.
    pub machine_busy: Option<f64>,
    /// The rate that was asked for; none: as fast as possible.
    pub rate: Option<f64>,
    /// Missing in files from before histograms were kept.
    pub latency: Option<Histogram<u64>>,
}

impl Figures {
    pub fn read(path: &Path) -> io::Result<Figures> {
        let in_file =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let text = fs::read_to_string(path).map_err(in_file)?;
        let json = serde_json::from_str(&text).map_err(|error| in_file(error.into()))?;
        Figures::of(&json).map_err(in_file)
    }

    pub fn of(json: &Value) -> io::Result<Figures> {
        let number = |at: &str| json.pointer(at).and_then(Value::as_f64);
        let latency = |name: &str| number(&format!("/latency/{name}")).unwrap_or(0.0);
        let memory = |name: &str| number(&format!("/broker/usage/{name}"));
        let memory_kib = memory("rollup_pss_kib")
            .zip(memory("hugetlb_kib"))
            .map(|(own, huge)| (own + huge) as u64);
        let by_code = json.pointer("/outcome/refused").and_then(Value::as_object);
        let refused: u64 = by_code.into_iter().flatten().filter_map(|(_, n)| n.as_u64()).sum();
        let replies = number("/details/pulls_by_code/0").filter(|replies| *replies > 0.0);
        let bytes = number("/throughput/payload_bytes");
        let whole = json.pointer("/latency/hdr_v2").and_then(Value::as_str);
        Ok(Figures {
            messages_per_second: number("/throughput/messages_per_second").unwrap_or(0.0),
            megabytes_per_second: number("/throughput/megabytes_per_second").unwrap_or(0.0),
            p50_us: latency("p50_us"),
            p99_us: latency("p99_us"),
            p999_us: latency("p999_us"),
            max_us: latency("max_us"),
            cpu_us: number("/details/best_broker_cpu_us_per_message")
                .or(number("/broker/cpu_us_per_message")),
            cpu_ns_per_byte: number("/broker/cpu_ns_per_byte"),
            broker_cores: number("/broker/cpu_cores"),
            load_cores: number("/generator_cpu_cores"),
            memory_mib: memory_kib.map(|kib| kib / 1024),
            disk_ratio: number("/broker/written_per_payload_byte"),
            refused: refused + number("/outcome/unanswered").unwrap_or(0.0) as u64,
            unsent: number("/outcome/unsent").unwrap_or(0.0) as u64,
            best_pass: number("/details/best_messages_per_second"),
            bytes_per_reply: replies.zip(bytes).map(|(replies, bytes)| bytes / replies),
            catch_up_megabytes_per_second: number("/details/catch_up/megabytes_per_second"),
            machine_busy: number("/machine/busy_share"),
            rate: number("/settings/rate").filter(|rate| *rate > 0.0),
            latency: whole.map(measure::decode).transpose()?,
        })
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn sample(rate: f64, p50_us: f64) -> Figures {
        let json = serde_json::json!({
            "throughput": { "messages_per_second": rate, "megabytes_per_second": 1.0 },
            "latency": { "p50_us": p50_us, "p99_us": 2.0, "p999_us": 3.0, "max_us": 4.0 },
            "outcome": { "refused": { "2": 5, "14": 1 }, "unanswered": 1 },
            "broker": {
                "cpu_us_per_message": 28.0, "written_per_payload_byte": 1.5,
                "usage": { "rollup_pss_kib": 2048, "hugetlb_kib": 65536 },
            },
        });
        Figures::of(&json).unwrap()
    }

    #[test]
    fn figures_are_found_in_a_result_file() {
        let figures = sample(10.0, 1.0);
        assert_eq!(
            (figures.refused, figures.memory_mib, figures.cpu_us),
            (7, Some(66), Some(28.0))
        );
    }

    #[test]
    fn a_histogram_that_cannot_be_read_is_said() {
        let json = serde_json::json!({ "latency": { "hdr_v2": "AAAA" } });
        assert!(Figures::of(&json).is_err());
    }
}
