//! How fast the cores of data threads run, and what interrupts them.

use super::super::facts::{Facts, Interrupt};
use super::{Check, Finding};

const PERFORMANCE: &str = "performance";

pub fn governor(facts: &Facts) -> Finding {
    const CHECK: Check = Check {
        name: "cpu-governor",
        why: "A data thread that was parked wakes on a slow clock, and its first requests wait \
              for it to rise.",
    };
    CHECK.of(&facts.cpu.governors, |governors| {
        let slow: Vec<_> = governors
            .iter()
            .filter_map(|(cpu, governor)| Some((*cpu, governor.as_deref()?)))
            .filter(|(_, governor)| *governor != PERFORMANCE)
            .collect();
        let Some((_, first)) = slow.first() else {
            return match governors.iter().any(|(_, governor)| governor.is_some()) {
                true => CHECK.ok(PERFORMANCE),
                false => CHECK.ok("no frequency is to be chosen here (as in virtual machines)"),
            };
        };
        let cpus: Vec<_> = slow.iter().map(|(cpu, _)| *cpu).collect();
        let files = if let [cpu] = cpus[..] { cpu.to_string() } else { braced(&cpus) };
        CHECK.untuned(
            format!("{first} on CPU {}", list(&cpus)),
            format!(
                "echo {PERFORMANCE} | sudo tee \
                 /sys/devices/system/cpu/cpu{files}/cpufreq/scaling_governor"
            ),
        )
    })
}

pub fn interrupts(facts: &Facts) -> Finding {
    const CHECK: Check = Check {
        name: "interrupts",
        why: "An interrupt on a data thread's core stops every shard of that core meanwhile.",
    };
    let cores = &facts.wanted.cores;
    CHECK.of(&facts.cpu.online, |online| {
        let free: Vec<_> = online.iter().copied().filter(|cpu| !cores.contains(cpu)).collect();
        if free.is_empty() {
            return CHECK.ok("every CPU runs a data thread: there is nowhere else for them");
        }
        CHECK.of(&facts.cpu.interrupts, |interrupts| {
            let disturbs = |one: &&Interrupt| one.cpus.iter().any(|cpu| cores.contains(cpu));
            let disturbing: Vec<_> = interrupts.iter().filter(disturbs).collect();
            let mut devices: Vec<_> = disturbing.iter().map(|one| one.device.as_str()).collect();
            devices.dedup();
            if !devices.is_empty() {
                return CHECK.untuned(
                    format!("{} of {} arrive at data cores", disturbing.len(), devices.join(", ")),
                    format!("sudo tuning/tune apply irq --data-cores {}", list(cores)),
                );
            }
            match facts.cpu.irqbalance {
                Ok(true) if !interrupts.is_empty() => CHECK.untuned(
                    "none at data cores now, but irqbalance runs and may move them there",
                    format!(
                        "IRQBALANCE_BANNED_CPULIST={} in /etc/default/irqbalance, then sudo \
                         systemctl restart irqbalance",
                        list(cores)
                    ),
                ),
                _ => CHECK.ok("none of the disk's and the network's arrive at data cores"),
            }
        })
    })
}

fn list(cpus: &[usize]) -> String {
    cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

/// As the shell multiplies a word.
fn braced(cpus: &[usize]) -> String {
    format!("{{{}}}", list(cpus))
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::super::tests::judged;
    use super::*;

    #[test]
    fn only_the_cores_of_data_threads_must_run_at_full_clock() {
        let at = |governors: &[(usize, Option<&str>)]| {
            judged(governor, |facts| {
                let owned = |(cpu, word): &(usize, Option<&str>)| (*cpu, word.map(str::to_owned));
                facts.cpu.governors = Ok(governors.iter().map(owned).collect());
            })
        };
        assert_eq!(at(&[(2, None), (3, None)]).0, State::Ok);
        let (state, text) = at(&[(2, Some("powersave")), (3, Some("performance"))]);
        assert_eq!(state, State::Untuned);
        assert!(text.starts_with("powersave on CPU 2 |") && text.contains("/cpu2/"), "{text}");
        let (_, text) = at(&[(2, Some("schedutil")), (3, Some("schedutil"))]);
        assert!(text.contains("/cpu{2,3}/"), "{text}");
    }

    #[test]
    fn interrupts_at_data_cores_are_told_by_device() {
        let at = |cpus: &[&[usize]], balanced| {
            judged(interrupts, |facts| {
                let made = |(at, cpus): (usize, &&[usize])| Interrupt {
                    number: at as u32,
                    device: "eth0".to_owned(),
                    cpus: cpus.to_vec(),
                };
                facts.cpu.interrupts = Ok(cpus.iter().enumerate().map(made).collect());
                facts.cpu.irqbalance = Ok(balanced);
            })
        };
        assert_eq!(at(&[&[0], &[0, 1]], false).0, State::Ok);
        let (state, text) = at(&[&[0], &[1, 2], &[3]], false);
        assert_eq!(state, State::Untuned);
        assert!(text.starts_with("2 of eth0 arrive at data cores"), "{text}");
        assert!(text.ends_with("--data-cores 2,3"), "{text}");
        assert_eq!(at(&[&[0]], true).0, State::Untuned);
        assert_eq!(at(&[], true).0, State::Ok, "nothing for it to move");
    }

    #[test]
    fn where_every_cpu_runs_a_data_thread_interrupts_have_nowhere_else_to_go() {
        let all = |facts: &mut Facts| facts.wanted.cores = vec![0, 1, 2, 3];
        assert_eq!(judged(interrupts, all).0, State::Ok);
    }
}
