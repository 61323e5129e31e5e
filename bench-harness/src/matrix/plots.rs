//! A run's plots: maps of strategy by size, a panel for every other
//! circumstance.

use super::cell::{Cell, Filter, Ground, Place, size_title};
use super::outcome::{Outcome, Runs};
use crate::plot::{self, Map, MapPanel};
use std::io;
use std::path::Path;

/// File name without its ending, and what it shows.
pub type Plot = (&'static str, &'static str);

const BACKLOG: Plot = ("backlog", "delivered GB/s of a backlog");
const BACKLOG_CPU: Plot = ("backlog-cpu", "GB per second of broker CPU, backlog");
const TAIL_CPU: Plot = ("tail-cpu", "GB per second of broker CPU, tail");

/// Writes those of what was measured, and says which.
pub fn write(outcome: &Outcome, dir: &Path) -> io::Result<Vec<Plot>> {
    let mut written = Vec::new();
    let mut draw = |plot: Plot, place: Place, unit: &str, figure: fn(&Runs) -> Option<f64>| {
        let panels = panels(outcome, place, figure);
        if panels.is_empty() {
            return Ok(());
        }
        let map = map(outcome, plot.1, unit, panels);
        plot::write(dir, plot.0, &map.draw_cells())?;
        plot::write(dir, &format!("{}-lines", plot.0), &map.draw_lines())?;
        written.push(plot);
        io::Result::Ok(())
    };
    draw(BACKLOG, Place::Backlog, "GB/s of bodies", |runs| {
        Some(runs.spread(|reading| Some(reading.gigabytes_per_second))?.median)
    })?;
    let per_cpu = |runs: &Runs| Some(runs.spread(|r| r.gigabytes_per_cpu_second())?.median);
    draw(BACKLOG_CPU, Place::Backlog, "GB of bodies per second of broker CPU", per_cpu)?;
    draw(TAIL_CPU, Place::Tail, "GB of bodies per second of broker CPU", per_cpu)?;
    Ok(written)
}

fn map(outcome: &Outcome, title: &str, unit: &str, panels: Vec<MapPanel>) -> Map {
    let manifest = &outcome.manifest;
    let (rounds, seconds) = (manifest.rounds, manifest.seconds);
    let capital = title[..1].to_uppercase() + &title[1..];
    Map {
        title: capital,
        subtitle: format!(
            "medians of {rounds} round(s) of at least {seconds} s, strategies in turn; more is better"
        ),
        rows: manifest.strategies.iter().map(|strategy| strategy.name().into()).collect(),
        columns: manifest.sizes.iter().map(|size| size_title(*size)).collect(),
        column_axis: "message size".into(),
        unit: unit.into(),
        panels,
    }
}

/// One for everything but size and strategy, where anything was measured.
fn panels(outcome: &Outcome, place: Place, figure: impl Fn(&Runs) -> Option<f64>) -> Vec<MapPanel> {
    let manifest = &outcome.manifest;
    let panel = |cell: Cell| {
        let at = |size: usize| Cell { ground: Ground { size, ..cell.ground }, ..cell };
        let row = |strategy| {
            let value = |&size: &usize| figure(outcome.runs(at(size), strategy)?);
            manifest.sizes.iter().map(value).collect()
        };
        let values: Vec<Vec<Option<f64>>> = manifest.strategies.iter().map(|&s| row(s)).collect();
        let measured = values.iter().flatten().any(Option::is_some);
        measured.then(|| MapPanel { title: cell.panel_title(), values })
    };
    let firsts = manifest
        .cells()
        .into_iter()
        .filter(|cell| cell.place == place && Some(&cell.ground.size) == manifest.sizes.first());
    // Unfiltered ones first.
    let (off, on): (Vec<_>, Vec<_>) = firsts.partition(|cell| cell.filter == Filter::Off);
    off.into_iter().chain(on).filter_map(panel).collect()
}
