//! `summary.md`, and the part of the README that is made of it.

use super::System;
use super::manifest::WorkloadOf;
use super::outcome::{Cell, Lost, Outcome};
use super::plots::{self, CPU, LATENCY, THROUGHPUT};
use super::workloads::{Metric, Section};
use crate::plot;
use crate::results::{Folder, Spread, machine_lines};
use std::fmt::Write;
use std::io;

/// The summary of what lies in the folder now.
pub fn summarize(folder: &Folder) -> io::Result<String> {
    Ok(summary(&Outcome::read(folder)?))
}

/// Writes summary and plots from what lies in the folder; returns the summary.
pub fn rebuild(folder: &Folder) -> io::Result<String> {
    let outcome = Outcome::read(folder)?;
    plots::write(&outcome, &folder.dir().join("plots"))?;
    let text = summary(&outcome);
    folder.write_text("summary.md", &text)?;
    Ok(text)
}

fn summary(outcome: &Outcome) -> String {
    let names: Vec<&str> = outcome.manifest.systems.iter().map(|of| of.title.as_str()).collect();
    let mut text = format!("# {}\n\n", heading(&names));
    how(&mut text, outcome);
    for (name, what) in [
        (THROUGHPUT, "messages per second"),
        (LATENCY, "latency by percentile"),
        (CPU, "broker CPU"),
    ] {
        line(&mut text, format_args!("[![{what}](plots/{name}.png)](plots/{name}.svg)\n"));
    }
    lost(&mut text, outcome);
    goals(&mut text, outcome);
    for section in Section::ALL {
        figures(&mut text, outcome, section);
    }
    failures(&mut text, outcome);
    text.push_str(READING);
    text
}

/// `a beside b and c`
fn heading(names: &[&str]) -> String {
    match names {
        [one] => one.to_string(),
        [first, others @ ..] => format!("{first} beside {}", others.join(" and ")),
        [] => "Nothing".into(),
    }
}

const READING: &str = "
## How to read it

A closed loop keeps so many requests in flight and tells the maximum; its latencies are those of full
load. An open loop sends by a schedule that was made before, and a latency counts from the moment at
which the request was meant to be sent. At full speed receivers may fall behind senders: latencies
from sender to receiver are those of a growing queue there. Figures are medians of the rounds, with
the least and the most in brackets; percentiles are of all rounds' requests together. Broker CPU is
user and system time of the whole process, its kernel workers included. Where the load's core is full
and the broker's is not, the load tool is the limit (below 3 ms between requests an open loop spins,
and its core is always full). Memory is PSS and huge pages. Drains copy what they receive; their bytes
are whole records or batches as they came. Disk is what the process caused to be written per byte of
bodies; what only the page cache holds yet is not in it.
";

fn how(text: &mut String, outcome: &Outcome) {
    let manifest = &outcome.manifest;
    let profile = if manifest.quick { "quick profile" } else { "full profile" };
    line(
        text,
        format_args!(
            "One run, {profile}: {} round(s) of {} s after {} s of warm-up (JVMs once {} s more per workload), \
             systems in turn, brokers on core(s) {}, load on {}. The command is in [command](command), the \
             machine in [host.json](host.json).\n",
            manifest.rounds,
            manifest.seconds,
            manifest.warmup,
            manifest.jvm_warmup,
            list(&manifest.broker_cores),
            list(&manifest.load_cores)
        ),
    );
    for of in &manifest.systems {
        line(text, format_args!("* {}: {}", of.title, of.settings));
    }
    text.push_str(&machine_lines(&outcome.facts, outcome.busy()));
    text.push('\n');
}

fn lost(text: &mut String, outcome: &Outcome) {
    let (lost, all) = outcome.lost();
    if all == 0 {
        return;
    }
    line(text, format_args!("## Lost cells\n\n{} of {all} comparisons are lost.\n", lost.len()));
    for Lost { workload, metric, ours, against, theirs, reason } in &lost {
        let overlap = ours.least <= theirs.most && theirs.least <= ours.most;
        let overlap = if overlap { ", within the spread of the rounds" } else { "" };
        let reason = reason.as_deref().unwrap_or("no reason is noted in reasons.toml");
        line(
            text,
            format_args!(
                "* lost: {workload}, {}: ringmq {}, {} {}{overlap}. Reason: {reason}",
                metric.title(),
                metric.show_spread(*ours),
                against.title(),
                metric.show_spread(*theirs)
            ),
        );
    }
    if !lost.is_empty() {
        text.push('\n');
    }
}

fn goals(text: &mut String, outcome: &Outcome) {
    let goals = outcome.goals();
    if goals.is_empty() {
        return;
    }
    text.push_str("## Goals\n\n| work | figure | ringmq | against | ratio | goal | reached |\n");
    text.push_str("|---|---|---|---|---|---|---|\n");
    for (workload, goal, ours, theirs) in goals {
        let ratio = ours.median / theirs.median;
        let at_least = goal.metric == Metric::Throughput;
        let reached = if at_least { ratio >= goal.ratio } else { ratio <= goal.ratio };
        line(
            text,
            format_args!(
                "| {}: {} | {} | {} | {} {} | {ratio:.3} | {} {:.3} | {} |",
                workload.name,
                workload.title,
                goal.metric.title(),
                goal.metric.show_spread(ours),
                goal.against.title(),
                goal.metric.show_spread(theirs),
                if at_least { "≥" } else { "≤" },
                goal.ratio,
                if reached { "yes" } else { "NO" }
            ),
        );
    }
    text.push('\n');
}

fn figures(text: &mut String, outcome: &Outcome, section: Section) {
    let workloads = outcome.manifest.workloads.iter().filter(|w| w.section == section);
    let rows: Vec<String> = workloads
        .flat_map(|workload| {
            outcome.systems().filter_map(move |system| row(outcome, workload, system))
        })
        .collect();
    if rows.is_empty() {
        return;
    }
    line(text, format_args!("## {}\n", section.title()));
    text.push_str(
        "| work | system | setting | msg/s | MB/s | p50 | p99 | p99.9 | max | cores broker / load | CPU µs/msg | CPU ns/B \
         | memory MiB | disk B/B | refused or unsent | raw |\n",
    );
    text.push_str("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
    for row in rows {
        text.push_str(&row);
        text.push('\n');
    }
    text.push('\n');
}

fn row(outcome: &Outcome, workload: &WorkloadOf, system: System) -> Option<String> {
    let cell = outcome.cell(workload, system);
    let rate = cell.value(Metric::Throughput)?;
    let plain = |spread: Option<Spread>| {
        spread.map_or("–".into(), |spread| plot::three_digits(spread.median))
    };
    let of = |metric: Metric| {
        cell.value(metric).map_or("–".into(), |spread| metric.show_spread(spread))
    };
    let max = cell.rounds.iter().map(|round| round.max_us).fold(0.0, f64::max);
    let refused: u64 = cell.rounds.iter().map(|round| round.refused + round.unsent).sum();
    let raw: Vec<String> =
        cell.files.iter().enumerate().map(|(i, file)| format!("[{}]({file})", i + 1)).collect();
    Some(format!(
        "| {}: {} | {} | {} | {} | {} | {} | {} | {} | {} | {} / {} | {} | {} | {} | {} | {refused} | {} |",
        workload.name,
        workload.title,
        system.name(),
        setting(workload, system, cell),
        Metric::Throughput.show_spread(rate),
        plain(cell.spread(|round| Some(round.megabytes_per_second))),
        of(Metric::P50),
        of(Metric::P99),
        of(Metric::P999),
        plot::time(max),
        plain(cell.spread(|round| round.broker_cores)),
        plain(cell.spread(|round| round.load_cores)),
        plain(cell.value(Metric::CpuPerMessage)),
        plain(cell.value(Metric::CpuPerByte)),
        plain(cell.spread(|round| round.memory_mib.map(|mib| mib as f64))),
        plain(cell.spread(|round| round.disk_ratio)),
        raw.join(" ")
    ))
}

/// What was asked for, and what came of it.
fn setting(workload: &WorkloadOf, system: System, cell: &Cell) -> String {
    let mut text = workload.labels.get(&system).cloned().unwrap_or_default();
    if let Some(rate) = cell.rounds.first().and_then(|round| round.rate) {
        write!(text, ", {} msg/s asked", plot::short(rate)).expect("a String takes everything");
    }
    if let Some(reply) = cell.spread(|round| round.bytes_per_reply) {
        let kib = plot::three_digits(reply.median / 1024.0);
        write!(text, ", {kib} KiB came on average").expect("a String takes everything");
    }
    if let Some(read) = cell.spread(|round| round.catch_up_megabytes_per_second) {
        let rate = plot::three_digits(read.median);
        write!(text, ", the other reader {rate} MB/s").expect("a String takes everything");
    }
    text
}

fn failures(text: &mut String, outcome: &Outcome) {
    let mut failed = String::new();
    for workload in &outcome.manifest.workloads {
        for system in outcome.systems() {
            for (round, why) in &outcome.cell(workload, system).failed {
                let why = why.trim().replace('\n', "; ");
                let name = &workload.name;
                let system = system.name();
                line(&mut failed, format_args!("* {name}, {system}, round {round}: {why}"));
            }
        }
    }
    if !failed.is_empty() {
        line(text, format_args!("## Failed\n\n{failed}"));
    }
}

/// The newest headline: a plot, a table and where both come from. `link` leads to the folder.
pub fn headline(folder: &Folder, link: &str) -> io::Result<String> {
    let outcome = Outcome::read(folder)?;
    let manifest = &outcome.manifest;
    let mut text = format!(
        "[![messages per second]({link}/plots/{THROUGHPUT}.png)]({link}/plots/{THROUGHPUT}.svg)\n\n"
    );
    let profile = if manifest.quick { "short" } else { "long" };
    line(
        &mut text,
        format_args!(
            "One {profile} run, {} round(s) of {} s, systems in turn on the same core and disk: [summary with \
             every figure, latencies and settings]({link}/summary.md), [raw data]({link}/raw), \
             [machine]({link}/host.json). Each figure links to what was measured.\n",
            manifest.rounds, manifest.seconds
        ),
    );
    let titles: Vec<&str> = manifest.systems.iter().map(|of| of.title.as_str()).collect();
    line(&mut text, format_args!("| work | figure | {} |", titles.join(" | ")));
    line(&mut text, format_args!("|---|---|{}", "---|".repeat(titles.len())));
    for workload in manifest.workloads.iter().filter(|workload| workload.headline) {
        for metric in headline_metrics(workload) {
            headline_row(&mut text, &outcome, workload, metric, link);
        }
    }
    let (lost, all) = outcome.lost();
    line(
        &mut text,
        format_args!(
            "\nLost: {} of {all} comparisons; [which, and why]({link}/summary.md#lost-cells).",
            lost.len()
        ),
    );
    Ok(text)
}

/// Two figures say what a workload is about.
fn headline_metrics(workload: &WorkloadOf) -> [Metric; 2] {
    match (workload.section, workload.open_loop) {
        (Section::Drain, _) => [Metric::Throughput, Metric::CpuPerByte],
        (_, true) => [Metric::P50, Metric::P999],
        (_, false) => [Metric::Throughput, Metric::CpuPerMessage],
    }
}

fn headline_row(
    text: &mut String,
    outcome: &Outcome,
    workload: &WorkloadOf,
    metric: Metric,
    link: &str,
) {
    let cell = |system: System| {
        let cell = outcome.cell(workload, system);
        match (cell.value(metric), cell.files.first()) {
            (Some(value), Some(file)) => format!("[{}]({link}/{file})", metric.show(value.median)),
            _ => "–".into(),
        }
    };
    let cells: Vec<String> = outcome.systems().map(cell).collect();
    if cells.iter().all(|cell| cell == "–") {
        return;
    }
    let figure = match (metric, workload.open_loop) {
        (Metric::Throughput, _) if workload.section != Section::Drain => "closed-loop maximum",
        _ => metric.title(),
    };
    let what = format!("{}, {}", place(workload.section), workload.title);
    line(text, format_args!("| {what} | {figure} | {} |", cells.join(" | ")));
}

/// A section in a word or two.
fn place(section: Section) -> &'static str {
    match section {
        Section::Single | Section::Batches | Section::Best | Section::Queues | Section::Rate => {
            "sends"
        }
        Section::Durable => "durable sends",
        Section::Drain => "drain",
        Section::EndToEnd => "end to end",
    }
}

fn list(cores: &[usize]) -> String {
    cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a String takes everything");
    text.push('\n');
}
