//! The machine, so that a figure can be judged later.

use serde::Serialize;
use std::fs;

/// Facts that do not change while a run lasts.
#[derive(Clone, Debug, Serialize)]
pub struct HostFacts {
    pub kernel: String,
    pub cpu: String,
    pub cpus: usize,
    pub memory_kib: u64,
    pub load_average: String,
}

impl HostFacts {
    pub fn gather() -> HostFacts {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let after = |text: &str, key: &str| {
            let line = text.lines().find(|line| line.starts_with(key));
            line.and_then(|line| line.split_once(':')).map(|(_, v)| v.trim().to_string())
        };
        let cpuinfo = text("/proc/cpuinfo");
        let memory = after(&text("/proc/meminfo"), "MemTotal").unwrap_or_default();
        HostFacts {
            kernel: text("/proc/sys/kernel/osrelease").trim().to_string(),
            cpu: after(&cpuinfo, "model name").unwrap_or_default(),
            cpus: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
            memory_kib: memory.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0),
            load_average: text("/proc/loadavg").trim().to_string(),
        }
    }
}

/// Jiffies of the whole machine since it was started.
#[derive(Clone, Copy)]
pub struct MachineMark {
    busy: u64,
    stolen: u64,
    all: u64,
}

/// How busy the machine was between two moments, all its cores together.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MachineUse {
    pub busy_share: f64,
    pub stolen_share: f64,
}

impl MachineMark {
    pub fn take() -> MachineMark {
        MachineMark::parse(&fs::read_to_string("/proc/stat").unwrap_or_default())
    }

    /// `cpu user nice system idle iowait irq softirq steal …`
    fn parse(stat: &str) -> MachineMark {
        let line = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> =
            line.split_whitespace().skip(1).take(8).filter_map(|n| n.parse().ok()).collect();
        let all = ticks.iter().sum();
        let at = |i: usize| ticks.get(i).copied().unwrap_or(0);
        MachineMark { busy: all - at(3) - at(4) - at(7), stolen: at(7), all }
    }

    pub fn until(&self, end: &MachineMark) -> MachineUse {
        let all = (end.all - self.all).max(1) as f64;
        MachineUse {
            busy_share: (end.busy - self.busy) as f64 / all,
            stolen_share: (end.stolen - self.stolen) as f64 / all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_not_busy() {
        let before = MachineMark::parse("cpu 10 0 10 80 0 0 0 0 0 0\n");
        let after = MachineMark::parse("cpu 30 0 20 120 10 0 10 10 0 0\n");
        let used = before.until(&after);
        assert_eq!((used.busy_share, used.stolen_share), (0.4, 0.1));
    }
}
