//! Findings as people and programs read them.

use std::fmt;
use std::process::ExitCode;

use serde::Serialize;

use super::judge::{Finding, State};

/// All findings of an examination, in the order of judging.
#[derive(Debug)]
pub struct Report {
    findings: Vec<Finding>,
}

/// What the findings come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Tuned,
    Untuned,
    CannotRun,
}

impl Verdict {
    pub fn code(self) -> u8 {
        match self {
            Self::Tuned => 0,
            Self::Untuned => 1,
            Self::CannotRun => 2,
        }
    }

    pub fn exit_code(self) -> ExitCode {
        ExitCode::from(self.code())
    }
}

impl Report {
    pub fn new(findings: Vec<Finding>) -> Self {
        Self { findings }
    }

    /// What could not be seen is told, and takes no part.
    pub fn verdict(&self) -> Verdict {
        let has = |state| self.count(state) > 0;
        if has(State::CannotRun) {
            Verdict::CannotRun
        } else if has(State::Untuned) {
            Verdict::Untuned
        } else {
            Verdict::Tuned
        }
    }

    fn count(&self, state: State) -> usize {
        self.findings.iter().filter(|finding| finding.state == state).count()
    }

    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Document<'a> {
            verdict: Verdict,
            exit_code: u8,
            checks: &'a [Finding],
        }
        let verdict = self.verdict();
        let document = Document { verdict, exit_code: verdict.code(), checks: &self.findings };
        let text = serde_json::to_string_pretty(&document);
        text.expect("text and numbers always have a JSON form") + "\n"
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checks = self.findings.iter().map(|finding| finding.check.len());
        let indent = State::WIDTH + checks.max().unwrap_or(0) + 4;
        for finding in &self.findings {
            let Finding { check, state, found, why, fix } = finding;
            let state = state.name();
            let width = indent - State::WIDTH - 4;
            writeln!(f, "{state:<0$}  {check:<width$}  {found}", State::WIDTH)?;
            if finding.state != State::Ok {
                writeln!(f, "{:indent$}why  {why}", "")?;
            }
            if let Some(fix) = fix {
                writeln!(f, "{:indent$}fix  {fix}", "")?;
            }
        }
        let unknown = match self.count(State::Unknown) {
            0 => String::new(),
            count => format!("; {count} could not be seen"),
        };
        let untuned = self.count(State::Untuned);
        match self.verdict() {
            Verdict::Tuned => writeln!(f, "\nThe broker can run here, and all is tuned{unknown}."),
            Verdict::Untuned => writeln!(
                f,
                "\nThe broker can run here; {untuned} of {} could be better{unknown}. \
                 tuning/tune shows, applies and reverts settings.",
                self.findings.len()
            ),
            Verdict::CannotRun => writeln!(
                f,
                "\nThe broker CANNOT run here: {} must be mended first{unknown}.",
                self.count(State::CannotRun)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(state: State, fix: Option<&str>) -> Finding {
        let found = format!("is {}", state.name());
        Finding { check: "a-check", state, found, why: "It matters.", fix: fix.map(str::to_owned) }
    }

    #[test]
    fn the_worst_finding_decides_and_what_is_unknown_does_not() {
        use State::{CannotRun, Ok, Unknown, Untuned};
        for (states, verdict, code) in [
            (&[][..], Verdict::Tuned, 0),
            (&[Ok, Unknown], Verdict::Tuned, 0),
            (&[Ok, Untuned, Unknown], Verdict::Untuned, 1),
            (&[CannotRun, Untuned, Ok], Verdict::CannotRun, 2),
        ] {
            let findings = states.iter().map(|state| finding(*state, None)).collect();
            let report = Report::new(findings);
            assert_eq!((report.verdict(), report.verdict().code()), (verdict, code), "{states:?}");
        }
    }

    #[test]
    fn columns_stand_below_each_other_and_reasons_where_something_is_to_do() {
        let mut long = finding(State::Untuned, Some("do this"));
        long.check = "a-longer-check";
        let text = Report::new(vec![finding(State::Ok, None), long]).to_string();
        let expected = "\
ok          a-check         is ok
untuned     a-longer-check  is untuned
                            why  It matters.
                            fix  do this

The broker can run here; 1 of 2 could be better. tuning/tune shows, applies and reverts settings.
";
        assert_eq!(text, expected);
    }

    #[test]
    fn programs_get_every_field_of_every_line() {
        let report = Report::new(vec![finding(State::CannotRun, Some("do this"))]);
        let read: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        let expected = serde_json::json!({
            "verdict": "cannot-run",
            "exit_code": 2,
            "checks": [{
                "check": "a-check",
                "state": "cannot run",
                "found": "is cannot run",
                "why": "It matters.",
                "fix": "do this",
            }],
        });
        assert_eq!(read, expected);
    }
}
