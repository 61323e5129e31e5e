//! `ringmq doctor`: can this machine run a broker, is it tuned for one, and what is to be
//! done where not.
//!
//! `gather` looks, and changes nothing; `judge` is rules over what was seen, without a look
//! at the machine, so that tests can make up any; `report` is what people and programs read.

pub mod facts;
mod gather;
mod judge;
mod report;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

pub use facts::Facts;
pub use gather::{Live, gather};
pub use judge::{Finding, State, judge};
pub use report::{Report, Verdict};

use crate::config::{Config, DoctorConfig};

/// Examines this machine, prints what was found, and ends with the verdict's exit code.
pub fn run(asked: DoctorConfig) -> ExitCode {
    let findings = match &asked.serve {
        Ok(config) => examine(config),
        Err(refused) => vec![judge::configuration_refused(&refused.to_string())],
    };
    let report = Report::new(findings);
    let text = if asked.json { report.to_json() } else { report.to_string() };
    // Whoever closes the pipe early has seen enough; the exit code is told all the same.
    let _ = io::stdout().lock().write_all(text.as_bytes());
    report.verdict().exit_code()
}

fn examine(config: &Config) -> Vec<Finding> {
    let live = Live::probe(config);
    judge(&gather(Path::new("/"), config, live))
}
