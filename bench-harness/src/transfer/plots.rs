//! The transfer map: strategies by size, a panel for each circumstance.

use super::outcome::{Metric, Outcome, size};
use crate::plot::{self, Map, MapPanel};
use ringmq::base::transfer::Transfer;
use std::io;
use std::path::Path;

/// Their file names without an ending.
pub const MAP: &str = "transfer";
pub const LINES: &str = "transfer-lines";
pub const CPU: &str = "transfer-cpu";

pub fn write(outcome: &Outcome, dir: &Path) -> io::Result<()> {
    let rounds = outcome.rounds;
    let subtitle = format!("raw, without a broker, over loopback; medians of {rounds} rounds");
    let speed = map(outcome, "Bytes per second to sockets", &subtitle, "GB/s", |outcome, at| {
        Some(outcome.value(at.0, at.1, at.2, Metric::Speed)?.median)
    });
    plot::write(dir, MAP, &speed.draw_cells())?;
    plot::write(dir, LINES, &speed.draw_lines())?;
    let subtitle = format!("of the sending thread and the kernel's workers; {subtitle}");
    // Turned round, so that more is better here too.
    let cpu = map(outcome, "Bytes per CPU time", &subtitle, "GB per CPU second", |outcome, at| {
        let cpu = outcome.value(at.0, at.1, at.2, Metric::Cpu)?.median;
        (cpu > 0.0).then(|| 1.0 / cpu)
    });
    plot::write(dir, CPU, &cpu.draw_cells())
}

type At = (super::outcome::Ground, Transfer, u32);

fn map(
    outcome: &Outcome,
    title: &str,
    subtitle: &str,
    unit: &str,
    value: impl Fn(&Outcome, At) -> Option<f64>,
) -> Map {
    let sizes = &outcome.manifest.sizes;
    let panel = |ground| {
        let row = |strategy| {
            sizes.iter().map(|&bytes| value(outcome, (ground, strategy, bytes))).collect()
        };
        MapPanel { title: ground.title(), values: Transfer::ALL.map(row).to_vec() }
    };
    Map {
        title: title.into(),
        subtitle: subtitle.into(),
        rows: Transfer::ALL.iter().map(|strategy| strategy.name().into()).collect(),
        columns: sizes.iter().map(|&bytes| size(bytes)).collect(),
        column_axis: "bytes of a piece".into(),
        unit: unit.into(),
        panels: outcome.grounds().into_iter().map(panel).collect(),
    }
}
