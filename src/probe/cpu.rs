//! CPU time of this thread, and of the kernel's workers for io_uring.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// How far clocks and counts were at one moment.
#[derive(Default)]
pub struct CpuMark {
    thread_ns: u64,
    workers: HashMap<u32, Worker>,
}

/// What lies between two marks.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuUse {
    pub thread_ns: u64,
    pub worker_ns: u64,
    /// How often workers waited: for work, or in it for the disk.
    pub worker_waits: u64,
}

#[derive(Clone, Copy, Default)]
struct Worker {
    ns: u64,
    waits: u64,
}

impl CpuMark {
    pub fn take() -> Self {
        let thread = getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |usage| {
            usage.user_time().num_microseconds() + usage.system_time().num_microseconds()
        });
        Self { thread_ns: thread as u64 * 1000, workers: workers() }
    }

    pub fn until(&self, later: &Self) -> CpuUse {
        let mut used = CpuUse {
            thread_ns: later.thread_ns.saturating_sub(self.thread_ns),
            ..CpuUse::default()
        };
        for (thread, now) in &later.workers {
            let before = self.workers.get(thread).copied().unwrap_or_default();
            used.worker_ns += now.ns.saturating_sub(before.ns);
            used.worker_waits += now.waits.saturating_sub(before.waits);
        }
        used
    }
}

/// The workers of all rings of this process. The number in their names is no help: it is
/// their owner's outside of all containers.
fn workers() -> HashMap<u32, Worker> {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return HashMap::new() };
    let worker = |task: &Path| {
        let name = fs::read_to_string(task.join("comm")).ok()?;
        if !name.starts_with("iou-wrk-") {
            return None;
        }
        let id = task.file_name()?.to_str()?.parse().ok()?;
        let times = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
        let ns = times.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
        let status = fs::read_to_string(task.join("status")).unwrap_or_default();
        Some((id, Worker { ns, waits: waits(&status) }))
    };
    tasks.flatten().filter_map(|task| worker(&task.path())).collect()
}

fn waits(status: &str) -> u64 {
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_began_between_two_marks_counts_whole() {
        let mark = |thread_ns, workers: &[(u32, u64, u64)]| CpuMark {
            thread_ns,
            workers: workers.iter().map(|&(id, ns, waits)| (id, Worker { ns, waits })).collect(),
        };
        let before = mark(10, &[(1, 100, 5), (2, 50, 1)]);
        let used = before.until(&mark(25, &[(1, 130, 6), (3, 7, 2)]));
        assert_eq!((used.thread_ns, used.worker_ns, used.worker_waits), (15, 37, 3));
        assert_eq!(waits("Name:\tx\nvoluntary_ctxt_switches:\t42\nnonvol:\t1\n"), 42);
    }

    #[test]
    fn the_clock_of_a_thread_moves_with_its_work() {
        let before = CpuMark::take();
        let mut sum = 0u64;
        while before.until(&CpuMark::take()).thread_ns == 0 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
    }
}
