//! A process as /proc shows it: CPU of all its threads, memory, disk.

use nix::time::ClockId;
use nix::unistd::Pid;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::{Duration, Instant};

/// The process at one moment.
pub struct ProcessMark {
    at: Instant,
    cpu_us: u64,
    written_bytes: u64,
    /// CPU of each living thread by its id, from the scheduler.
    threads: BTreeMap<u32, (String, u64)>,
}

/// What it used between two moments, and its memory at the second.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessUse {
    pub seconds: f64,
    /// User and system time of all threads, the kernel's io_uring workers included. A broker
    /// that ended a thread meanwhile still has its time.
    pub cpu_us: u64,
    /// Bytes that it caused to be written to storage.
    pub written_bytes: u64,
    pub rss_kib: u64,
    pub hugetlb_kib: u64,
    /// From smaps_rollup: resident, which counts a page once per place where it is mapped
    /// (a log ring is mapped twice), and in proportion: each page once.
    pub rollup_rss_kib: u64,
    pub rollup_pss_kib: u64,
    pub rollup_hugetlb_kib: u64,
    /// CPU by thread name. Threads that ended meanwhile are only in `cpu_us`.
    pub threads_cpu_us: BTreeMap<String, u64>,
}

impl ProcessMark {
    pub fn take(pid: u32) -> io::Result<ProcessMark> {
        let written_bytes = field(&read(pid, "io")?, "write_bytes:").unwrap_or(0);
        let threads = threads_of(pid)?;
        // Finer than the ticks of `stat`, which still serve where another user's process is.
        let cpu_us = match clock_us(pid) {
            Some(us) => us,
            None => cpu_us(&read(pid, "stat")?)
                .ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat has no times")))?,
        };
        Ok(ProcessMark { at: Instant::now(), cpu_us, written_bytes, threads })
    }

    pub fn until(&self, end: &ProcessMark, pid: u32) -> io::Result<ProcessUse> {
        let status = read(pid, "status")?;
        // Only its owner may read this one; the rest is enough without it.
        let rollup = read(pid, "smaps_rollup").unwrap_or_default();
        let of = |text: &str, key: &str| field(text, key).unwrap_or(0);
        let mut threads_cpu_us = BTreeMap::new();
        for (id, (name, us)) in &end.threads {
            let before = self.threads.get(id).map_or(0, |(_, us)| *us);
            *threads_cpu_us.entry(name.clone()).or_default() += us.saturating_sub(before);
        }
        Ok(ProcessUse {
            seconds: (end.at - self.at).as_secs_f64(),
            cpu_us: end.cpu_us - self.cpu_us,
            written_bytes: end.written_bytes - self.written_bytes,
            rss_kib: of(&status, "VmRSS:"),
            hugetlb_kib: of(&status, "HugetlbPages:"),
            rollup_rss_kib: of(&rollup, "Rss:"),
            rollup_pss_kib: of(&rollup, "Pss:"),
            rollup_hugetlb_kib: of(&rollup, "Shared_Hugetlb:") + of(&rollup, "Private_Hugetlb:"),
            threads_cpu_us,
        })
    }
}

fn read(pid: u32, file: &str) -> io::Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path)
        .map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))
}

/// The number after `key` at a line's start.
fn field(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The process's own clock of CPU time: all threads that it has or had, in nanoseconds.
fn clock_us(pid: u32) -> Option<u64> {
    let now = ClockId::pid_cpu_clock_id(Pid::from_raw(pid as i32)).ok()?.now().ok()?;
    Some(Duration::from(now).as_micros() as u64)
}

/// User and system time of a `stat` file. The process's file sums up every
/// thread that it has or had; a thread's file has that thread's alone.
fn cpu_us(stat: &str) -> Option<u64> {
    // The name in parentheses may contain anything, so count from its end.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) * 1_000_000 / ticks_per_second())
}

fn ticks_per_second() -> u64 {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK);
    ticks.ok().flatten().map_or(100, |ticks| ticks as u64)
}

fn threads_of(pid: u32) -> io::Result<BTreeMap<u32, (String, u64)>> {
    let mut threads = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let entry = entry?;
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A thread that ends while we look is no error.
        let Ok(name) = fs::read_to_string(entry.path().join("comm")) else { continue };
        let Ok(sched) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
        let ns: u64 = sched.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0);
        threads.insert(id, (name.trim().to_string(), ns / 1000));
    }
    Ok(threads)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn times_are_found_behind_a_name_with_parentheses() {
        let stat = "42 (a) b (c) S 1 1 1 0 -1 4194560 9 0 0 0 250 50 7 7 20 0 3 0 99";
        assert_eq!(cpu_us(stat), Some(300 * 1_000_000 / ticks_per_second()));
    }

    #[test]
    fn both_clocks_of_a_process_tell_the_same() {
        let ticks = || cpu_us(&read(std::process::id(), "stat").unwrap()).unwrap();
        let (before, clock) = (ticks(), clock_us(std::process::id()).unwrap());
        // A tick of each kind of time may still be on its way.
        let slack = 2 * 1_000_000 / ticks_per_second();
        assert!(before <= clock + slack, "{before} {clock}");
        assert!(clock <= ticks() + slack, "{clock}");
    }

    #[test]
    fn the_work_of_a_finished_thread_counts_for_the_process() {
        let pid = std::process::id();
        let before = ProcessMark::take(pid).unwrap();
        let enough = before.cpu_us + 60_000;
        std::thread::spawn(move || {
            // Until it has had the time, however busy the machine is.
            while ProcessMark::take(pid).unwrap().cpu_us < enough {
                std::hint::spin_loop();
            }
        })
        .join()
        .unwrap();
        let used = before.until(&ProcessMark::take(pid).unwrap(), pid).unwrap();
        assert!(used.cpu_us >= 50_000, "{} µs", used.cpu_us);
        assert!(used.rss_kib > 0);
    }

    /// The ring's workers do buffered writes with fsync; they are threads of
    /// the process, named `iou-wrk-…`, so the process's times include them.
    #[test]
    fn kernel_workers_of_the_ring_are_threads_of_the_process() {
        let pid = std::process::id();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[1; 4096]).unwrap();
        let file = tokio_uring::fs::File::from_std(file);
        let seen = crate::threads::ring_runtime().unwrap().block_on(async move {
            for _ in 0..200 {
                file.sync_all().await.unwrap();
                let threads = threads_of(pid).unwrap();
                if threads.values().any(|(name, _)| name.starts_with("iou-wrk-")) {
                    return true;
                }
            }
            false
        });
        assert!(seen, "no worker among the threads of the process");
    }
}
