//! The kernel, its io_uring, and the limits it sets.

use super::super::facts::{Facts, RingFact};
use super::{Check, Finding, told};
use crate::reactor::{Degradation, SetupError};

/// Where everything that is required is there.
const RELEASE_MIN: (u32, u32) = (6, 1);
/// From where on a ring needs no array of submission indices.
const RELEASE_FULL: (u32, u32) = (6, 6);
/// Connections, and what the broker keeps open itself.
const OPEN_FILES: u64 = 65_536;
/// Below this a start fails: one shard needed 20, four needed 40.
const OPEN_FILES_MIN: u64 = 16;
const OPEN_FILES_OF_SHARD: u64 = 8;
/// Locked memory beside the arena: a ring's queues.
const RING_BYTES: u64 = 1 << 20;

const SYSCTL: &str = "sudo sysctl -w kernel.io_uring_disabled=0";
const MEMLOCK: &str = "LimitMEMLOCK=infinity in the systemd unit, `ulimit -l unlimited`, or \
                       `sudo tuning/tune apply limits`";

pub fn release(facts: &Facts) -> Finding {
    const CHECK: Check = Check {
        name: "kernel",
        why: "Data threads need what io_uring has since Linux 6.1; 6.6 saves a memory access \
              per submission.",
    };
    CHECK.of(&facts.kernel.release, |release| match version(release) {
        None => CHECK.unknown(format!("{release:?} is no version")),
        Some(version) if version < RELEASE_MIN => {
            CHECK.cannot_run(format!("Linux {release}"), "boot Linux 6.1 or later")
        }
        Some(version) if version < RELEASE_FULL => {
            CHECK.untuned(format!("Linux {release}"), "boot Linux 6.6 or later")
        }
        Some(_) => CHECK.ok(format!("Linux {release}")),
    })
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

pub fn io_uring(facts: &Facts) -> Finding {
    const CHECK: Check = Check {
        name: "io-uring",
        why: "Everything that a data thread does goes through its ring.",
    };
    let missing = match &facts.kernel.ring {
        // Not the sysctl, and no filter: what else says no.
        RingFact::Refused(SetupError::Forbidden) if facts.kernel.seccomp == Ok(false) => {
            return CHECK.cannot_run(
                "io_uring is not permitted, and no seccomp filter is on: a security module",
                "allow io_uring to this user in SELinux or AppArmor (ausearch -m avc shows it)",
            );
        }
        RingFact::Refused(error) => return CHECK.cannot_run(error.to_string(), allow(error)),
        RingFact::Made(missing) => missing,
    };
    // The kernel's own line tells of its age.
    match missing.iter().find(|one| **one != Degradation::SubmissionIndex) {
        Some(small) => CHECK.untuned(small.to_string(), MEMLOCK),
        None => CHECK.ok("a ring with everything was made"),
    }
}

fn allow(error: &SetupError) -> &'static str {
    match error {
        SetupError::Disabled(_) => SYSCTL,
        SetupError::Forbidden => "docker run --security-opt seccomp=tuning/seccomp-io-uring.json …",
        SetupError::LockedMemory(_) => MEMLOCK,
        SetupError::KernelTooOld { .. } => "boot Linux 6.1 or later",
        SetupError::Io { .. } => "free what the error names, and ask again",
    }
}

pub fn io_uring_disabled(facts: &Facts) -> Finding {
    const CHECK: Check = Check {
        name: "io-uring-switch",
        why: "kernel.io_uring_disabled keeps rings from all users (2), or from all but root \
              and one group (1).",
    };
    let made = matches!(facts.kernel.ring, RingFact::Made(_));
    CHECK.of(&facts.kernel.io_uring_disabled, |switch| match switch {
        None => CHECK.ok("this kernel has no such switch"),
        Some(0) => CHECK.ok("kernel.io_uring_disabled = 0"),
        Some(value) => {
            let found = format!("kernel.io_uring_disabled = {value}");
            let fix = match facts.kernel.io_uring_group {
                Ok(Some(group @ 0..)) if *value == 1 => {
                    format!("{SYSCTL}, or the broker's user in group {group}")
                }
                _ => SYSCTL.to_owned(),
            };
            match made {
                true => CHECK.untuned(format!("{found}; this user may, others may not"), fix),
                false => CHECK.cannot_run(found, fix),
            }
        }
    })
}

pub fn locked_memory(facts: &Facts) -> Finding {
    const CHECK: Check = Check {
        name: "locked-memory",
        why: "An arena that cannot be registered costs 2-4 times the cycles per log write.",
    };
    let rings = facts.wanted.cores.len() as u64 * RING_BYTES;
    let needed = facts.wanted.arenas_bytes() + rings;
    CHECK.of(&facts.limits.locked_memory, |limit| match limit {
        None => CHECK.ok("no limit"),
        Some(limit) if *limit >= needed => {
            CHECK.ok(format!("{}, and {} are needed", told(*limit), told(needed)))
        }
        Some(limit) => CHECK.of(&facts.limits.may_lock_all, |may| match may {
            true => CHECK
                .ok(format!("{}, which does not bind this process (CAP_IPC_LOCK)", told(*limit))),
            false => CHECK.untuned(
                format!(
                    "{}, and {} are needed for the arenas of {} shards",
                    told(*limit),
                    told(needed),
                    facts.wanted.shards
                ),
                MEMLOCK,
            ),
        }),
    })
}

pub fn open_files(facts: &Facts) -> Finding {
    const CHECK: Check = Check {
        name: "open-files",
        why: "Each connection is an open file; beyond the limit further ones are not accepted.",
    };
    const FIX: &str = "LimitNOFILE=1048576 in the systemd unit, or `sudo tuning/tune apply limits`";
    let least = OPEN_FILES_MIN + u64::from(facts.wanted.shards) * OPEN_FILES_OF_SHARD;
    CHECK.of(&facts.limits.open_files, |limit| match *limit {
        limit if limit < least => {
            CHECK.cannot_run(format!("{limit}, and a start takes up to {least}"), FIX)
        }
        limit if limit < OPEN_FILES => {
            CHECK.untuned(format!("{limit}, and {OPEN_FILES} are advised"), FIX)
        }
        u64::MAX => CHECK.ok("no limit"),
        limit => CHECK.ok(limit.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::super::tests::judged;
    use super::*;

    #[test]
    fn a_kernel_is_judged_by_its_version_however_it_is_written() {
        for (release, state) in [
            ("5.15.0-91-generic", State::CannotRun),
            ("6.0.12", State::CannotRun),
            ("6.1.0-18-amd64", State::Untuned),
            ("6.5", State::Untuned),
            ("6.6.1", State::Ok),
            ("6.18.44-fc-v657", State::Ok),
            ("7.0-rc1", State::Ok),
            ("newest", State::Unknown),
            ("99999999999.1", State::Unknown),
        ] {
            let set = |facts: &mut Facts| facts.kernel.release = Ok(release.to_owned());
            assert_eq!(judged(super::release, set).0, state, "{release}");
        }
    }

    #[test]
    fn a_ring_that_is_refused_says_what_allows_it() {
        let refused =
            |error| judged(io_uring, |facts| facts.kernel.ring = RingFact::Refused(error));
        let forbidden = |filtered| {
            judged(io_uring, |facts| {
                facts.kernel.ring = RingFact::Refused(SetupError::Forbidden);
                facts.kernel.seccomp = Ok(filtered);
            })
        };
        let (state, text) = forbidden(true);
        assert_eq!(state, State::CannotRun);
        assert!(text.contains("seccomp-io-uring.json"), "{text}");
        let (state, text) = forbidden(false);
        assert_eq!(state, State::CannotRun);
        assert!(text.contains("SELinux"), "{text}");
        let (_, text) = refused(SetupError::Disabled(2));
        assert!(text.ends_with("kernel.io_uring_disabled=0"), "{text}");
        let (_, text) = refused(SetupError::LockedMemory(Some(65_536)));
        assert!(text.contains("LimitMEMLOCK"), "{text}");
    }

    #[test]
    fn a_ring_that_had_to_be_small_is_untuned_and_an_index_array_is_the_kernels_matter() {
        let made = |missing| judged(io_uring, |facts| facts.kernel.ring = RingFact::Made(missing));
        let small = Degradation::SmallQueues { entries: 64, limit: Some(8 << 20) };
        assert_eq!(made(vec![Degradation::SubmissionIndex, small]).0, State::Untuned);
        assert_eq!(made(vec![Degradation::SubmissionIndex]).0, State::Ok);
    }

    #[test]
    fn the_switch_stops_a_broker_only_where_it_stopped_the_ring() {
        let at = |value, refused: bool| {
            let change = |facts: &mut Facts| {
                facts.kernel.io_uring_disabled = Ok(value);
                if refused {
                    facts.kernel.ring = RingFact::Refused(SetupError::Disabled(2));
                }
            };
            judged(io_uring_disabled, change).0
        };
        assert_eq!(at(None, false), State::Ok);
        assert_eq!(at(Some(1), false), State::Untuned);
        assert_eq!(at(Some(2), true), State::CannotRun);
        let (_, text) = judged(io_uring_disabled, |facts| {
            facts.kernel.io_uring_disabled = Ok(Some(1));
            facts.kernel.io_uring_group = Ok(Some(1005));
        });
        assert!(text.ends_with("or the broker's user in group 1005"), "{text}");
    }

    #[test]
    fn locked_memory_must_hold_the_arenas_unless_the_process_is_free_of_it() {
        let at = |limit, free| {
            let change = |facts: &mut Facts| {
                facts.limits.locked_memory = Ok(Some(limit));
                facts.limits.may_lock_all = Ok(free);
            };
            judged(locked_memory, change).0
        };
        // Two arenas of 64 MiB, two rings.
        assert_eq!(at(130 << 20, false), State::Ok);
        assert_eq!(at((130 << 20) - 1, false), State::Untuned);
        assert_eq!(at(8 << 20, true), State::Ok);
    }

    #[test]
    fn few_open_files_are_untuned_and_very_few_stop_the_start() {
        let at = |limit| judged(open_files, |facts| facts.limits.open_files = Ok(limit)).0;
        assert_eq!(at(31), State::CannotRun);
        assert_eq!(at(32), State::Untuned);
        assert_eq!(at(65_535), State::Untuned);
        assert_eq!(at(65_536), State::Ok);
        assert_eq!(at(u64::MAX), State::Ok);
    }
}
