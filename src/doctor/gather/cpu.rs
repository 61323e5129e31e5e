//! Clocks and interrupts.

use std::path::{Path, PathBuf};

use super::super::facts::{CpuFacts, Fact, Interrupt};
use super::tree::Tree;

/// Fewer since the boot are those of a device's configuration, not of its work.
const USED_MIN: u64 = 100;

/// A device whose interrupts matter: its name, and where it is in the tree.
pub struct Device {
    pub name: String,
    pub path: PathBuf,
}

pub fn gather(tree: &Tree, cores: &[usize], devices: &[Device]) -> CpuFacts {
    CpuFacts {
        online: tree.cpus("sys/devices/system/cpu/online"),
        governors: governors(tree, cores),
        interrupts: interrupts(tree, devices),
        irqbalance: tree.commands().map(|names| names.iter().any(|name| name == "irqbalance")),
    }
}

fn governors(tree: &Tree, cores: &[usize]) -> Fact<Vec<(usize, Option<String>)>> {
    let of = |cpu: &usize| {
        let path = format!("sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor");
        Ok((*cpu, tree.optional(path)?))
    };
    cores.iter().map(of).collect()
}

fn interrupts(tree: &Tree, devices: &[Device]) -> Fact<Vec<Interrupt>> {
    let counts = tree.text("proc/interrupts")?;
    let mut found = Vec::new();
    for device in devices {
        for number in lines_of(tree, &device.path) {
            if count(&counts, number) < USED_MIN {
                continue;
            }
            let cpus = tree
                .cpus(format!("proc/irq/{number}/effective_affinity_list"))
                .or_else(|_| tree.cpus(format!("proc/irq/{number}/smp_affinity_list")))?;
            found.push(Interrupt { number, device: device.name.clone(), cpus });
        }
    }
    Ok(found)
}

/// The interrupt lines of a device, or of what it is a function of.
fn lines_of(tree: &Tree, device: &Path) -> Vec<u32> {
    let listed = device.ancestors().find_map(|path| tree.names(path.join("msi_irqs")).ok());
    listed.unwrap_or_default().iter().filter_map(|name| name.parse().ok()).collect()
}

/// How often an interrupt came, on all CPUs: ` 36:  0  1002  PCI-MSIX… virtio1-req.0`.
fn count(interrupts: &str, number: u32) -> u64 {
    let label = format!("{number}:");
    let line = interrupts.lines().find_map(|line| line.trim_start().strip_prefix(&label));
    let counts = line.unwrap_or_default().split_whitespace().map_while(|word| word.parse().ok());
    counts.fold(0, u64::saturating_add)
}
