//! The rows of the comparison: what is done, by whom, and what must come out.

use crate::servers::ApacheFlush;

/// Which Apache runs beside.
pub const PHASES: [ApacheFlush; 2] = [ApacheFlush::Async, ApacheFlush::Sync];

/// Who does the work of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Apache,
    Appended,
    /// The same, recycling segments all the time.
    Recycled,
    Written,
    Flushed,
    /// Parks at once when there is nothing to do.
    Parked,
    /// Never parks.
    Spinning,
    FlushedParked,
    EchoParked,
    EchoSpinning,
    Disk,
}

impl Subject {
    pub fn name(self) -> &'static str {
        match self {
            Subject::Apache => "apache",
            Subject::Appended => "appended",
            Subject::Recycled => "recycled",
            Subject::Written => "written",
            Subject::Flushed => "flushed",
            Subject::Parked => "parked",
            Subject::Spinning => "spinning",
            Subject::FlushedParked => "flushed-parked",
            Subject::EchoParked => "echo-parked",
            Subject::EchoSpinning => "echo-spinning",
            Subject::Disk => "disk",
        }
    }

    /// The ack level under which our broker runs.
    pub fn ack(self) -> &'static str {
        match self {
            Subject::Written => "written",
            Subject::Flushed | Subject::FlushedParked => "flushed",
            _ => "appended",
        }
    }

    /// How long it spins before it parks, where that is the point.
    pub fn spin_us(self) -> Option<u64> {
        match self {
            Subject::Parked | Subject::EchoParked | Subject::FlushedParked => Some(0),
            Subject::Spinning | Subject::EchoSpinning => Some(1_000_000),
            _ => None,
        }
    }
}

/// What is done.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    Send {
        connections: usize,
        window: usize,
        size: usize,
        batch: usize,
    },
    /// Sends at half of the rate that Apache reached in the first row.
    HalfRate {
        connections: usize,
        window: usize,
        size: usize,
    },
    Drain {
        connections: usize,
        window: usize,
    },
}

/// What must come out, as our figure over theirs.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// Messages per second, at least this many times theirs.
    Throughput(f64),
    /// The best pass of each, at least this many times theirs.
    BestPass(f64),
    /// p99.9 at most this share of theirs.
    Tail(f64),
    /// p50 of the first at most this many times the sum of the others'.
    Median(&'static [(Subject, &'static [Subject])], f64),
}

pub struct Row {
    pub name: &'static str,
    pub what: &'static str,
    pub phase: ApacheFlush,
    pub work: Work,
    pub subjects: &'static [Subject],
    pub goal: Goal,
}

/// The row that gives Apache's maximum, the CPU per message and the memory under load.
pub const FIRST: &str = "send-1k";

const fn send(connections: usize, window: usize, size: usize) -> Work {
    Work::Send { connections, window, size, batch: 1 }
}

pub const ROWS: &[Row] = &[
    Row {
        name: FIRST,
        what: "1 KiB sends, 16 connections × window 32",
        phase: ApacheFlush::Async,
        work: send(16, 32, 1024),
        subjects: &[Subject::Apache, Subject::Appended, Subject::Written, Subject::Recycled],
        goal: Goal::Throughput(20.0),
    },
    Row {
        name: "send-128",
        what: "128 B sends, 16 × 64",
        phase: ApacheFlush::Async,
        work: send(16, 64, 128),
        subjects: &[Subject::Apache, Subject::Appended, Subject::Written],
        goal: Goal::Throughput(30.0),
    },
    Row {
        name: "send-64k",
        what: "64 KiB sends, 8 × 8",
        phase: ApacheFlush::Async,
        work: send(8, 8, 65536),
        subjects: &[Subject::Apache, Subject::Appended, Subject::Written],
        goal: Goal::Throughput(7.0),
    },
    Row {
        name: "batch",
        what: "batches of 32 × 128 B, 4 × 8",
        phase: ApacheFlush::Async,
        work: Work::Send { connections: 4, window: 8, size: 128, batch: 32 },
        subjects: &[Subject::Apache, Subject::Appended, Subject::Written],
        goal: Goal::Throughput(8.0),
    },
    Row {
        name: "one",
        what: "1 KiB sends, one in flight, p50 against an echo",
        phase: ApacheFlush::Async,
        work: send(1, 1, 1024),
        subjects: &[
            Subject::Apache,
            Subject::Parked,
            Subject::EchoParked,
            Subject::Spinning,
            Subject::EchoSpinning,
        ],
        goal: Goal::Median(
            &[
                (Subject::Parked, &[Subject::EchoParked]),
                (Subject::Spinning, &[Subject::EchoSpinning]),
            ],
            1.15,
        ),
    },
    Row {
        name: "half-rate",
        what: "1 KiB sends at half of Apache's maximum, p99.9",
        phase: ApacheFlush::Async,
        work: Work::HalfRate { connections: 16, window: 512, size: 1024 },
        subjects: &[Subject::Apache, Subject::Appended],
        goal: Goal::Tail(1.0 / 30.0),
    },
    Row {
        name: "drain",
        what: "backlog of 1 KiB messages, 8 connections, 32 per pull, best pass",
        phase: ApacheFlush::Async,
        work: Work::Drain { connections: 8, window: 1 },
        subjects: &[Subject::Apache, Subject::Appended],
        goal: Goal::BestPass(2.0),
    },
    Row {
        name: "sync-64",
        what: "1 KiB durable sends, 64 connections, one in flight each",
        phase: ApacheFlush::Sync,
        work: send(64, 1, 1024),
        subjects: &[Subject::Apache, Subject::Flushed],
        goal: Goal::Throughput(5.0),
    },
    Row {
        name: "sync-1",
        what: "1 KiB durable sends, one in flight, p50 against echo + disk",
        phase: ApacheFlush::Sync,
        work: send(1, 1, 1024),
        subjects: &[Subject::Apache, Subject::FlushedParked, Subject::EchoParked, Subject::Disk],
        goal: Goal::Median(
            &[(Subject::FlushedParked, &[Subject::EchoParked, Subject::Disk])],
            1.15,
        ),
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_goals_only_compare_who_takes_part() {
        let names: HashSet<&str> = ROWS.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), ROWS.len());
        for row in ROWS {
            assert_eq!(row.subjects[0], Subject::Apache);
            if let Goal::Median(pairs, _) = row.goal {
                let all = pairs.iter().flat_map(|(one, others)| others.iter().chain([one]));
                for subject in all {
                    assert!(row.subjects.contains(subject), "{} in {}", subject.name(), row.name);
                }
            }
        }
    }
}
