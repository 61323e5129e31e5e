//! The folder of one comparison, and the figures read back from its files.

use super::rows::Subject;
use serde_json::Value;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Everything measured so far.
pub struct Results {
    dir: PathBuf,
    pub measured: Vec<Measured>,
    pub failed: Vec<(&'static str, Subject, String)>,
    /// Memory right after the start, in MiB.
    pub fresh: Vec<(String, u64)>,
}

/// The figures of one file of raw results that the summary shows.
#[derive(Clone, Debug)]
pub struct Measured {
    pub row: &'static str,
    pub subject: Subject,
    pub messages_per_second: f64,
    pub megabytes_per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
    pub cpu_us: Option<f64>,
    pub memory_mib: Option<u64>,
    pub disk_ratio: Option<f64>,
    /// Requests that were answered with another code than success, or not at all.
    pub refused: u64,
    pub best_pass: Option<f64>,
}

impl Measured {
    pub fn read(row: &'static str, subject: Subject, path: &Path) -> io::Result<Measured> {
        let json: Value = serde_json::from_str(&fs::read_to_string(path)?)?;
        Ok(Measured::of(row, subject, &json))
    }

    fn of(row: &'static str, subject: Subject, json: &Value) -> Measured {
        let number = |at: &str| json.pointer(at).and_then(Value::as_f64);
        let latency = |name: &str| number(&format!("/latency/{name}")).unwrap_or(0.0);
        let memory = |name: &str| number(&format!("/broker/usage/{name}"));
        let memory_kib = memory("rollup_pss_kib")
            .zip(memory("hugetlb_kib"))
            .map(|(own, huge)| (own + huge) as u64);
        let by_code = json.pointer("/outcome/refused").and_then(Value::as_object);
        let refused: u64 = by_code.into_iter().flatten().filter_map(|(_, n)| n.as_u64()).sum();
        Measured {
            row,
            subject,
            messages_per_second: number("/throughput/messages_per_second").unwrap_or(0.0),
            megabytes_per_second: number("/throughput/megabytes_per_second").unwrap_or(0.0),
            p50_us: latency("p50_us"),
            p99_us: latency("p99_us"),
            p999_us: latency("p999_us"),
            max_us: latency("max_us"),
            cpu_us: number("/details/best_broker_cpu_us_per_message")
                .or(number("/broker/cpu_us_per_message")),
            memory_mib: memory_kib.map(|kib| kib / 1024),
            disk_ratio: number("/broker/written_per_payload_byte"),
            refused: refused + number("/outcome/unanswered").unwrap_or(0.0) as u64,
            best_pass: number("/details/best_messages_per_second"),
        }
    }
}

impl Results {
    /// A new folder, numbered where the day already has one.
    pub fn create(parent: &Path) -> io::Result<Results> {
        let date = Command::new("date").args(["-u", "+%F"]).output()?;
        let date = String::from_utf8_lossy(&date.stdout).trim().to_string();
        let name = |n: usize| match n {
            1 => format!("{date}-broker-vs-apache"),
            n => format!("{date}-broker-vs-apache-{n}"),
        };
        let free = (1..).map(|n| parent.join(name(n))).find(|dir| !dir.exists());
        let dir = free.expect("numbers do not end");
        fs::create_dir_all(dir.join("raw"))?;
        Ok(Results { dir, measured: Vec::new(), failed: Vec::new(), fresh: Vec::new() })
    }

    /// A folder that was made before.
    pub fn open(dir: &Path) -> Results {
        Results {
            dir: dir.to_path_buf(),
            measured: Vec::new(),
            failed: Vec::new(),
            fresh: Vec::new(),
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn raw(&self, name: &str) -> PathBuf {
        self.dir.join("raw").join(format!("{name}.json"))
    }

    pub fn write_text(&self, name: &str, text: &str) -> io::Result<()> {
        fs::write(self.dir.join(name), format!("{}\n", text.trim_end()))
    }

    pub fn add(&mut self, measured: Measured) {
        self.measured.push(measured);
    }

    pub fn fail(&mut self, row: &'static str, subject: Subject, why: String) {
        self.failed.push((row, subject, why));
    }

    /// The median over the rounds of one figure.
    pub fn median(
        &self,
        row: &str,
        subject: Subject,
        figure: impl Fn(&Measured) -> Option<f64>,
    ) -> Option<f64> {
        let of = |m: &&Measured| m.row == row && m.subject == subject;
        let mut values: Vec<f64> = self.measured.iter().filter(of).filter_map(figure).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        match values.len() {
            0 => None,
            n if n % 2 == 1 => Some(values[middle]),
            _ => Some((values[middle - 1] + values[middle]) / 2.0),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn measured(row: &'static str, subject: Subject, rate: f64, p50_us: f64) -> Measured {
        let json = serde_json::json!({
            "throughput": { "messages_per_second": rate, "megabytes_per_second": 1.0 },
            "latency": { "p50_us": p50_us, "p99_us": 2.0, "p999_us": 3.0, "max_us": 4.0 },
            "outcome": { "refused": { "2": 5, "14": 1 }, "unanswered": 1 },
            "broker": {
                "cpu_us_per_message": 28.0, "written_per_payload_byte": 1.5,
                "usage": { "rollup_pss_kib": 2048, "hugetlb_kib": 65536 },
            },
        });
        Measured::of(row, subject, &json)
    }

    pub fn empty(dir: &Path) -> Results {
        Results::create(dir).unwrap()
    }

    #[test]
    fn figures_are_found_in_a_result_file() {
        let m = measured("r", Subject::Apache, 10.0, 1.0);
        assert_eq!((m.refused, m.memory_mib, m.cpu_us), (7, Some(66), Some(28.0)));
    }

    #[test]
    fn each_comparison_has_a_folder_and_rounds_a_median() {
        let dir = tempfile::tempdir().unwrap();
        let mut results = empty(dir.path());
        assert_ne!(results.dir(), empty(dir.path()).dir());
        for rate in [1.0, 9.0, 3.0] {
            results.add(measured("r", Subject::Apache, rate, 1.0));
        }
        let rate = |m: &Measured| Some(m.messages_per_second);
        assert_eq!(results.median("r", Subject::Apache, rate), Some(3.0));
        assert_eq!(results.median("r", Subject::Written, rate), None);
    }
}
