//! A run's plots.

use super::manifest::WorkloadOf;
use super::outcome::Outcome;
use super::workloads::{Metric, Section};
use crate::plot::{self, Bar, BarGroup, BarPlot, BarSection, Curve, CurvePanel, CurvePlot};
use hdrhistogram::Histogram;
use std::io;
use std::path::Path;

/// Their file names without an ending.
pub const THROUGHPUT: &str = "throughput";
pub const CPU: &str = "cpu";
pub const LATENCY: &str = "latency";

pub fn write(outcome: &Outcome, dir: &Path) -> io::Result<()> {
    plot::write(dir, THROUGHPUT, &throughput(outcome).draw())?;
    plot::write(dir, CPU, &cpu(outcome).draw())?;
    plot::write(dir, LATENCY, &latency(outcome).draw())
}

fn throughput(outcome: &Outcome) -> BarPlot {
    let is_max = |workload: &WorkloadOf| !workload.open_loop;
    BarPlot {
        title: "Messages per second".into(),
        subtitle: format!(
            "{}; more is better; 16 × 32: connections × requests in flight",
            rounds(outcome)
        ),
        axis: "messages per second, as a share of the group's fastest".into(),
        legend: legend(outcome),
        sections: sections(outcome, is_max, |_| Metric::Throughput),
    }
}

fn cpu(outcome: &Outcome) -> BarPlot {
    let metric = |workload: &WorkloadOf| match workload.section {
        Section::Drain => Metric::CpuPerByte,
        _ => Metric::CpuPerMessage,
    };
    BarPlot {
        title: "CPU time of the whole broker, µs per message (drains: ns per byte)".into(),
        subtitle: format!("{}; less is better", rounds(outcome)),
        axis: "CPU time, as a share of the group's dearest".into(),
        legend: legend(outcome),
        sections: sections(outcome, |_| true, metric),
    }
}

fn rounds(outcome: &Outcome) -> String {
    let manifest = &outcome.manifest;
    let (rounds, seconds) = (manifest.rounds, manifest.seconds);
    match rounds {
        1 => format!("one round of {seconds} s"),
        n => format!("medians of {n} rounds of {seconds} s, whiskers from the least to the most"),
    }
}

fn legend(outcome: &Outcome) -> Vec<(String, plot::Colour)> {
    let systems = outcome.manifest.systems.iter();
    systems.map(|of| (of.title.clone(), of.system.colour().0)).collect()
}

fn sections(
    outcome: &Outcome,
    wanted: impl Fn(&WorkloadOf) -> bool,
    metric: impl Fn(&WorkloadOf) -> Metric,
) -> Vec<BarSection> {
    let groups_of = |section: Section| -> Vec<BarGroup> {
        let of = |w: &&WorkloadOf| w.section == section && wanted(w);
        let all = outcome.manifest.workloads.iter().filter(of);
        all.map(|workload| group(outcome, workload, metric(workload)))
            .filter(|group| !group.bars.is_empty())
            .collect()
    };
    let all = Section::ALL
        .map(|section| BarSection { title: section.title().into(), groups: groups_of(section) });
    all.into_iter().filter(|section| !section.groups.is_empty()).collect()
}

fn group(outcome: &Outcome, workload: &WorkloadOf, metric: Metric) -> BarGroup {
    let bar = |system| {
        let value = outcome.value(workload, system, metric)?;
        Some(Bar {
            colour: system.colour().0,
            value: value.median,
            spread: (value.least < value.most).then_some((value.least, value.most)),
            note: workload.labels.get(&system).cloned().unwrap_or_default(),
        })
    };
    BarGroup { title: workload.title.clone(), bars: outcome.systems().filter_map(bar).collect() }
}

fn latency(outcome: &Outcome) -> CurvePlot {
    // Latencies at a rate say most; where there are none, all of full load are shown.
    let has_open = outcome.manifest.workloads.iter().any(|workload| workload.open_loop);
    let shown = |w: &&WorkloadOf| {
        let wanted = w.open_loop || w.headline || !has_open;
        // Replies of a drain differ in size from system to system.
        wanted && w.section != Section::Drain
    };
    let panel = |workload: &WorkloadOf| {
        let loop_of = match workload.open_loop {
            true => "open loop, from the intended time",
            false => "closed loop at full speed",
        };
        let rate = outcome.systems().find_map(|system| {
            outcome.cell(workload, system).rounds.first().and_then(|round| round.rate)
        });
        let rate = rate.map_or(String::new(), |rate| format!("; {} msg/s", plot::short(rate)));
        CurvePanel {
            title: format!("{}: {}", workload.name, workload.title),
            note: format!("{loop_of}{rate}"),
            curves: curves(outcome, workload),
        }
    };
    CurvePlot {
        title: "Latency".into(),
        subtitle: "all rounds together; a curve that lies lower is better".into(),
        panels: outcome
            .manifest
            .workloads
            .iter()
            .filter(shown)
            .map(panel)
            .filter(|panel| !panel.curves.is_empty())
            .collect(),
    }
}

fn curves(outcome: &Outcome, workload: &WorkloadOf) -> Vec<Curve> {
    let curve = |of: &super::manifest::SystemOf| {
        let latency = outcome.cell(workload, of.system).latency.as_ref()?;
        let (colour, dashes) = of.system.colour();
        Some(Curve { name: of.title.clone(), colour, dashes, points: points(latency) })
    };
    outcome.manifest.systems.iter().filter_map(curve).collect()
}

/// Ticks per halving of what is slower.
const CURVE_TICKS: u32 = 5;

fn points(latency: &Histogram<u64>) -> Vec<(f64, f64)> {
    let steps = latency.iter_quantiles(CURVE_TICKS);
    steps.map(|s| (s.quantile_iterated_to(), s.value_iterated_to() as f64 / 1000.0)).collect()
}
