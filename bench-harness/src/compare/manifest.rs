//! `run.json`: what a run was, so that summary and plots can be made again
//! from its folder alone, also by a later version of this tool.

use super::workloads::{Durability, Goal, Metric, Section, Workload};
use super::{CompareArgs, System};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// `compare`.
    pub kind: String,
    pub quick: bool,
    pub rounds: usize,
    pub seconds: f64,
    pub warmup: f64,
    /// Of the same shape of request, once per workload and start of a JVM.
    pub jvm_warmup: f64,
    pub broker_cores: Vec<usize>,
    pub load_cores: Vec<usize>,
    pub systems: Vec<SystemOf>,
    pub workloads: Vec<WorkloadOf>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SystemOf {
    pub system: System,
    pub title: String,
    /// How it was run, beside its defaults.
    pub settings: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkloadOf {
    pub name: String,
    pub title: String,
    pub section: Section,
    pub durability: Durability,
    pub open_loop: bool,
    pub headline: bool,
    pub metrics: Vec<Metric>,
    pub goals: Vec<Goal>,
    /// What each system was asked for.
    pub labels: BTreeMap<System, String>,
}

impl Manifest {
    pub fn of(args: &CompareArgs, systems: Vec<SystemOf>, workloads: &[&Workload]) -> Manifest {
        let pace = args.pace();
        let workload = |workload: &&Workload| WorkloadOf {
            name: workload.name.into(),
            title: workload.title.into(),
            section: workload.section,
            durability: workload.durability,
            open_loop: workload.work.is_open_loop(),
            headline: workload.headline,
            metrics: workload.work.metrics(),
            goals: workload.goals.to_vec(),
            labels: systems.iter().map(|s| (s.system, workload.label(s.system))).collect(),
        };
        Manifest {
            kind: KIND.into(),
            quick: !args.full,
            rounds: pace.rounds,
            seconds: pace.seconds,
            warmup: pace.warmup,
            jvm_warmup: pace.jvm_warmup,
            broker_cores: args.broker_cores.0.clone(),
            load_cores: args.load_cores.0.clone(),
            workloads: workloads.iter().map(workload).collect(),
            systems,
        }
    }
}

pub const KIND: &str = "compare";

/// The name of a measurement's raw file.
pub fn raw_name(workload: &str, system: System, round: usize) -> String {
    format!("{workload}.{}.{round}", system.name())
}
