//! Rules: facts in, findings out. No rule looks at the machine.

mod cpu;
mod disk;
mod kernel;
mod memory;
mod network;

use serde::Serialize;

use super::facts::{Fact, Facts};

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub state: State,
    pub found: String,
    /// Why it matters.
    pub why: &'static str,
    /// What to do, a command where there is one.
    pub fix: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum State {
    #[serde(rename = "ok")]
    Ok,
    #[serde(rename = "untuned")]
    Untuned,
    #[serde(rename = "cannot run")]
    CannotRun,
    #[serde(rename = "unknown")]
    Unknown,
}

impl State {
    /// Of the longest name.
    pub const WIDTH: usize = "cannot run".len();

    /// What is not in order before what could not be seen, and that before what is.
    fn gravity(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Unknown => 1,
            Self::Untuned => 2,
            Self::CannotRun => 3,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Untuned => "untuned",
            Self::CannotRun => "cannot run",
            Self::Unknown => "unknown",
        }
    }
}

/// Everything that is looked at, in the order in which it is told.
const RULES: &[fn(&Facts) -> Finding] = &[
    kernel::release,
    kernel::io_uring,
    kernel::io_uring_disabled,
    kernel::locked_memory,
    kernel::open_files,
    disk::data_directory,
    disk::free_space,
    disk::direct_writes,
    disk::file_system,
    disk::mount_options,
    disk::alignment,
    disk::scheduler,
    disk::write_cache,
    disk::rotational,
    memory::shared_memory,
    memory::huge_pages,
    memory::transparent_huge_pages,
    memory::monitor,
    memory::dirty_pages,
    memory::numa,
    cpu::governor,
    cpu::interrupts,
    network::sockets,
    network::offloads,
];

/// Judges everything.
pub fn judge(facts: &Facts) -> Vec<Finding> {
    RULES.iter().map(|rule| rule(facts)).collect()
}

/// The one finding there is where a start would refuse its flags.
pub fn configuration_refused(why: &str) -> Finding {
    const CHECK: Check = Check {
        name: "configuration",
        why: "A start with these flags is refused before anything else is looked at.",
    };
    CHECK.cannot_run(why, "correct the flag or the file, and ask again")
}

/// What a rule is about.
struct Check {
    name: &'static str,
    why: &'static str,
}

impl Check {
    fn finding(&self, state: State, found: impl Into<String>, fix: Option<String>) -> Finding {
        Finding { check: self.name, state, found: found.into(), why: self.why, fix }
    }

    fn ok(&self, found: impl Into<String>) -> Finding {
        self.finding(State::Ok, found, None)
    }

    fn untuned(&self, found: impl Into<String>, fix: impl Into<String>) -> Finding {
        self.finding(State::Untuned, found, Some(fix.into()))
    }

    fn cannot_run(&self, found: impl Into<String>, fix: impl Into<String>) -> Finding {
        self.finding(State::CannotRun, found, Some(fix.into()))
    }

    fn unknown(&self, reason: impl Into<String>) -> Finding {
        self.finding(State::Unknown, reason, None)
    }

    /// Applies a rule to a fact that could be seen.
    fn of<T>(&self, fact: &Fact<T>, rule: impl FnOnce(&T) -> Finding) -> Finding {
        match fact {
            Ok(value) => rule(value),
            Err(unknown) => self.unknown(unknown.to_string()),
        }
    }
}

/// A number of bytes for people: the largest unit of which it has at least ten.
fn told(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(unit, _)| bytes >= 10 * unit) {
        Some((unit, name)) => format!("{} {name}", bytes / unit),
        None if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::Unknown;
    use super::*;

    /// What a rule says of a tuned machine after a change: the state, and what was found
    /// with what to do. Whatever is not in order must say what to do.
    pub fn judged(rule: fn(&Facts) -> Finding, change: impl FnOnce(&mut Facts)) -> (State, String) {
        let mut facts = Facts::tuned();
        change(&mut facts);
        let finding = rule(&facts);
        let needs_fix = matches!(finding.state, State::Untuned | State::CannotRun);
        assert_eq!(finding.fix.is_some(), needs_fix, "{finding:?}");
        (finding.state, finding.found + " | " + &finding.fix.unwrap_or_default())
    }

    #[test]
    fn a_tuned_machine_has_nothing_to_do_and_every_check_has_its_own_name() {
        let findings = judge(&Facts::tuned());
        for finding in &findings {
            assert_eq!((finding.state, &finding.fix), (State::Ok, &None), "{finding:?}");
            assert!(!finding.why.is_empty() && !finding.found.is_empty(), "{finding:?}");
        }
        let mut names: Vec<_> = findings.iter().map(|finding| finding.check).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), RULES.len());
    }

    #[test]
    fn what_cannot_be_seen_is_unknown_with_the_reason() {
        let mut facts = Facts::tuned();
        facts.kernel.release = Err(Unknown("no permission".to_owned()));
        let finding = kernel::release(&facts);
        assert_eq!((finding.state, finding.found.as_str()), (State::Unknown, "no permission"));
    }

    #[test]
    fn sizes_are_told_in_units_of_which_there_are_several() {
        for (bytes, text) in [
            (8 << 20, "8192 KiB"),
            (64 << 20, "64 MiB"),
            (1 << 40, "1024 GiB"),
            (0, "0 MiB"),
            (512, "512 bytes"),
        ] {
            assert_eq!(told(bytes), text);
        }
    }
}
