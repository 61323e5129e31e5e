//! `summary.md`.

use super::cell::{Cell, Filter, Place, Strategy};
use super::outcome::{Outcome, RATIO_TO_REACH, ROUNDS_TO_COUNT, Reading, Runs};
use super::plots::{self, Plot};
use super::stage::tail_rate;
use crate::plot;
use crate::results::{Folder, Spread, machine_lines};
use std::fmt::Write;
use std::io;

/// Makes summary and plots from what lies in the folder; returns the summary.
pub fn rebuild(folder: &Folder) -> io::Result<String> {
    let outcome = Outcome::read(folder)?;
    let plots = plots::write(&outcome, &folder.dir().join("plots"))?;
    let text = summary(&outcome, &plots);
    folder.write_text("summary.md", &text)?;
    Ok(text)
}

pub fn summary(outcome: &Outcome, plots: &[Plot]) -> String {
    let mut text = "# Ways of moving bytes, through the broker\n\n".to_string();
    how(&mut text, outcome);
    for (name, what) in plots {
        line(&mut text, format_args!("[![{what}](plots/{name}.png)](plots/{name}.svg)\n"));
    }
    verdicts(&mut text, outcome);
    filtered(&mut text, outcome);
    for place in [Place::Backlog, Place::Tail] {
        figures(&mut text, outcome, place);
    }
    detours(&mut text, outcome);
    failures(&mut text, outcome);
    text.push_str(READING);
    text
}

const READING: &str = "
## How to read it

In a cell all strategies read the same messages from the same broker, in turn, in an order in which over
the rounds nobody is always first or always behind the same other one. Figures are medians of the rounds, with the least and the most in
brackets. Bytes are those of message bodies that were delivered: what a filter leaves out, headers and
properties are not among them. Broker CPU is that of the whole process.

A backlog lies outside of the ring, in segments that are no longer written; every strategy has gone
through it once before the first round, so that the page cache has it for those that read from there.
`gather`, `send-zc` and `direct` bring it from the disk all the same, past the page cache. Backlogs are
compared by delivered GB/s at full speed.

At the tail producers send at a fixed rate that is little for the broker, and consumers wait for each
message. There the figure is what a second of the broker's CPU delivers (receiving and writing are in
it, alike for all): the rate is given, and producers and consumers share the load's cores, so that
latencies, which are from the intended sending to the receipt, say more of these than of the strategy.

A ratio is auto's figure over that of the fixed strategy with the best median, round by round; its
median counts. The best of several noisy medians is a little ahead of its own true value, so that even
an `auto` that always takes the best one stays a little below 1. How far the ways of one cell spread
says how much of that to expect. Raw files are `raw/CELL.STRATEGY.ROUND.json`.
";

fn how(text: &mut String, outcome: &Outcome) {
    let manifest = &outcome.manifest;
    let profile = if manifest.quick { "quick profile" } else { "full profile" };
    let cores = |cores: &[usize]| cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let bytes = manifest.max_bytes.map_or("the broker's bound".into(), |b| format!("{b} B"));
    line(
        text,
        format_args!(
            "One run, {profile}: {} round(s) of at least {} s, strategies in turn, broker on core(s) {}, \
             load on {}; backlogs of {} MiB, sent in requests of {} B; pulls of at most {} messages and \
             {bytes}. The command is in [command](command), the machine in [host.json](host.json).\n",
            manifest.rounds,
            manifest.seconds,
            cores(&manifest.broker_cores),
            cores(&manifest.load_cores),
            manifest.backlog_bytes >> 20,
            manifest.fill_bytes,
            manifest.max_messages
        ),
    );
    if !manifest.ringmq_args.is_empty() {
        line(
            text,
            format_args!("* Further flags of the broker: {}", manifest.ringmq_args.join(" ")),
        );
    }
    text.push_str(&machine_lines(&outcome.facts, outcome.busy()));
    text.push('\n');
}

fn unit(place: Place) -> &'static str {
    match place {
        Place::Backlog => "GB/s",
        Place::Tail => "GB per CPU second",
    }
}

fn verdicts(text: &mut String, outcome: &Outcome) {
    let cells = outcome.manifest.cells();
    let judged: Vec<_> =
        cells.into_iter().filter_map(|cell| Some((cell, outcome.verdict(cell)?))).collect();
    if judged.is_empty() {
        return;
    }
    let reached = judged.iter().filter(|(_, verdict)| verdict.is_reached()).count();
    line(
        text,
        format_args!(
            "## `auto` against the best fixed strategy\n\n{reached} of {} cells reach {RATIO_TO_REACH}.\n",
            judged.len()
        ),
    );
    if judged.iter().any(|(_, verdict)| verdict.rounds < ROUNDS_TO_COUNT) {
        line(
            text,
            format_args!("**Fewer than {ROUNDS_TO_COUNT} rounds: this decides nothing.**\n"),
        );
    }
    text.push_str("| cell | figure | auto | best fixed | its figure | ratio | reached | auto took | reason |\n");
    text.push_str("|---|---|---|---|---|---|---|---|---|\n");
    for (cell, verdict) in judged {
        let score = |strategy| outcome.score(cell, strategy).map_or("–".into(), shown);
        let runs = outcome.runs(cell, Strategy::Auto);
        let reason = match (outcome.reason(&cell.name()), verdict.is_reached()) {
            (Some(reason), _) => reason,
            (None, true) => "",
            (None, false) => "none is noted in reasons.toml",
        };
        line(
            text,
            format_args!(
                "| {}: {} | {} | {} | {} | {} | {} | {} | {} | {reason} |",
                cell.name(),
                cell.title(),
                unit(cell.place),
                score(Strategy::Auto),
                verdict.best.name(),
                score(verdict.best),
                ratio(verdict.ratio),
                if verdict.is_reached() { "yes" } else { "**NO**" },
                runs.map_or("–".into(), took)
            ),
        );
    }
    text.push('\n');
}

/// `mmap 98 %, gather 2 %`
fn took(runs: &Runs) -> String {
    let shares = runs.moved_by();
    let shown = shares.iter().filter(|(_, share)| *share >= 0.005);
    let shown: Vec<String> = shown.map(|(n, s)| format!("{n} {:.0} %", s * 100.0)).collect();
    if shown.is_empty() { "–".into() } else { shown.join(", ") }
}

/// Whether a filtering broker can use sendfile, and what that gives.
fn filtered(text: &mut String, outcome: &Outcome) {
    let cells = outcome.manifest.cells();
    let rows: Vec<String> = cells
        .into_iter()
        .filter(|cell| cell.filter == Filter::On)
        .filter_map(|cell| filtered_row(outcome, cell))
        .collect();
    if rows.is_empty() {
        return;
    }
    text.push_str(
        "## sendfile with a filter that passes one message in two, against copy without\n\n",
    );
    text.push_str(
        "Bytes are delivered ones. A filtered pull's messages lie apart, so that each is a piece of \
         its own, and a call or more for sendfile, where copy without a filter has few large ones.\n\n",
    );
    if let Some(reason) = outcome.reason("filtered-sendfile") {
        line(text, format_args!("{reason}\n"));
    }
    text.push_str("| cell | figure | sendfile, filtered | copy, all | ratio | CPU ns/B | that of copy | sendfile calls per MB | by itself |\n");
    text.push_str("|---|---|---|---|---|---|---|---|---|\n");
    text.push_str(&rows.concat());
    text.push('\n');
}

fn filtered_row(outcome: &Outcome, cell: Cell) -> Option<String> {
    let all = Cell { filter: Filter::Off, ..cell };
    let (sendfile, copy) = (Strategy::Sendfile, Strategy::Copy);
    let (ours, theirs) = (outcome.score(cell, sendfile)?, outcome.score(all, copy)?);
    let cpu = |cell, strategy| cpu(outcome.runs(cell, strategy));
    let runs = outcome.runs(cell, sendfile)?;
    let counted = runs.counted();
    let of = |name: &str| counted.get(&format!("transfer.sendfile.{name}")).copied().unwrap_or(0);
    let calls = match of("bytes") {
        0 => "–".into(),
        bytes => digits(of("calls") as f64 * 1e6 / bytes as f64),
    };
    Some(format!(
        "| {}: {} | {} | {} | {} | {:.3} | {} | {} | {calls} | {} |\n",
        cell.name(),
        cell.title(),
        unit(cell.place),
        shown(ours),
        shown(theirs),
        ours.median / theirs.median,
        cpu(cell, sendfile),
        cpu(all, copy),
        percent(share_of(runs, sendfile))
    ))
}

fn figures(text: &mut String, outcome: &Outcome, place: Place) {
    let cells: Vec<Cell> =
        outcome.manifest.cells().into_iter().filter(|cell| cell.place == place).collect();
    if !cells.iter().any(|cell| outcome.best_fixed(*cell).is_some()) {
        return;
    }
    let what = match place {
        Place::Backlog => "Backlog: GB/s delivered",
        Place::Tail => "Tail: GB delivered per second of broker CPU",
    };
    table(text, outcome, &cells, what, true, |runs| {
        Some(shown(runs.spread(|reading| reading.score(place))?))
    });
    let title = match place {
        Place::Backlog => "Backlog: broker CPU, ns per byte delivered",
        Place::Tail => "Tail: broker CPU, ns per byte delivered",
    };
    table(text, outcome, &cells, title, false, |runs| Some(cpu(Some(runs))));
    if place == Place::Backlog {
        table(text, outcome, &cells, "Backlog: messages per second", false, |runs| {
            Some(plot::short(runs.spread(|reading| Some(reading.messages_per_second))?.median))
        });
        return;
    }
    let time = |runs: &Runs, figure: fn(&Reading) -> f64| {
        Some(plot::time(runs.spread(|reading| Some(figure(reading)))?.median))
    };
    table(text, outcome, &cells, "Tail: from sender to receiver, p50 and p99", false, |runs| {
        Some(format!("{} {}", time(runs, |r| r.p50_us)?, time(runs, |r| r.p99_us)?))
    });
    let rates: Vec<String> = outcome
        .manifest
        .sizes
        .iter()
        .map(|&size| format!("{} at {} B", plot::short(tail_rate(size)), size))
        .collect();
    line(text, format_args!("Messages sent per second: {}.\n", rates.join(", ")));
}

/// A row per cell, a column per strategy; where it is the figure that counts, that of the best
/// fixed one is `bold`.
fn table(
    text: &mut String,
    outcome: &Outcome,
    cells: &[Cell],
    title: &str,
    bold: bool,
    figure: impl Fn(&Runs) -> Option<String>,
) {
    let strategies = &outcome.manifest.strategies;
    let names: Vec<&str> = strategies.iter().map(|strategy| strategy.name()).collect();
    line(text, format_args!("## {title}\n\n| cell | {} |", names.join(" | ")));
    line(text, format_args!("|---|{}", "---|".repeat(names.len())));
    for &cell in cells {
        let best = outcome.best_fixed(cell).filter(|_| bold);
        let entry = |&strategy: &Strategy| {
            let shown = outcome.runs(cell, strategy).and_then(&figure);
            match shown {
                Some(shown) if Some(strategy) == best => format!("**{shown}**"),
                other => other.unwrap_or("–".into()),
            }
        };
        let entries: Vec<String> = strategies.iter().map(entry).collect();
        line(text, format_args!("| {} | {} |", cell.name(), entries.join(" | ")));
    }
    text.push('\n');
}

/// Fixed strategies whose bytes went another way.
fn detours(text: &mut String, outcome: &Outcome) {
    const NOTED_FROM: f64 = 0.01;
    let mut found = String::new();
    for cell in outcome.manifest.cells() {
        for &strategy in outcome.manifest.strategies.iter().filter(|s| **s != Strategy::Auto) {
            let Some(runs) = outcome.runs(cell, strategy) else { continue };
            let share = share_of(runs, strategy);
            if share.is_none_or(|share| 1.0 - share < NOTED_FROM) {
                continue;
            }
            let reasons: Vec<String> =
                runs.fallbacks().iter().map(|(name, count)| format!("{name} {count}")).collect();
            line(
                &mut found,
                format_args!(
                    "| {} | {} | {} | {} | {} |",
                    cell.name(),
                    strategy.name(),
                    percent(share),
                    took(runs),
                    reasons.join(", ")
                ),
            );
        }
    }
    if found.is_empty() {
        return;
    }
    text.push_str("## What went another way than was asked for\n\n");
    text.push_str("Counted by the broker; a reason counts once per piece.\n\n");
    text.push_str(
        "| cell | strategy | by itself | bytes went by | reasons |\n|---|---|---|---|---|\n",
    );
    text.push_str(&found);
    text.push('\n');
}

fn failures(text: &mut String, outcome: &Outcome) {
    let failed = outcome.failed();
    if failed.is_empty() {
        return;
    }
    text.push_str("## Failed\n\n");
    for (cell, strategy, round, why) in failed {
        let why = why.trim().replace('\n', "; ");
        let (cell, strategy) = (cell.name(), strategy.name());
        line(text, format_args!("* {cell}, {strategy}, round {round}: {why}"));
    }
    text.push('\n');
}

/// Of all bytes that were moved; none where the broker counted nothing.
fn share_of(runs: &Runs, strategy: Strategy) -> Option<f64> {
    let shares = runs.moved_by();
    if shares.is_empty() {
        return None;
    }
    let own = shares.iter().find(|(name, _)| name == strategy.name());
    Some(own.map_or(0.0, |(_, share)| *share))
}

fn percent(share: Option<f64>) -> String {
    share.map_or("–".into(), |share| format!("{:.0} %", share * 100.0))
}

fn cpu(runs: Option<&Runs>) -> String {
    let spread = runs.and_then(|runs| runs.spread(|reading| reading.cpu_ns_per_byte));
    spread.map_or("–".into(), shown)
}

/// `median [least..most]`
fn shown(spread: Spread) -> String {
    let Spread { median, least, most } = spread;
    if least == most {
        return digits(median);
    }
    format!("{} [{}..{}]", digits(median), digits(least), digits(most))
}

/// Three that count, as ratios are made of them.
fn digits(value: f64) -> String {
    let whole = if value > 0.0 { value.log10().floor() as i32 } else { 0 };
    format!("{value:.*}", (2 - whole).clamp(0, 6) as usize)
}

fn ratio(Spread { median, least, most }: Spread) -> String {
    format!("{median:.3} [{least:.3}..{most:.3}]")
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a String takes everything");
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::super::outcome::tests::{direct, folder, put};
    use super::*;

    /// Rates in tens of thousands of messages a second, of each round.
    fn put_all(folder: &Folder, cell: Cell, strategy: Strategy, rates: [f64; 5]) {
        for (i, rate) in rates.into_iter().enumerate() {
            put(folder, cell, strategy, i + 1, rate * 1e4, &[(strategy.name(), 1_000_000)]);
        }
    }

    #[test]
    fn a_summary_tells_who_wins_by_how_much_and_what_is_lost() {
        let (_dir, folder) = folder();
        let small = direct(1024, Filter::Off);
        put_all(&folder, small, Strategy::Auto, [95.0, 99.0, 97.0, 98.0, 96.0]);
        put_all(&folder, small, Strategy::Copy, [50.0, 52.0, 51.0, 50.0, 50.0]);
        put_all(&folder, small, Strategy::Sendfile, [100.0; 5]);
        let large = direct(16_384, Filter::Off);
        put_all(&folder, large, Strategy::Auto, [80.0, 81.0, 79.0, 80.0, 80.0]);
        put_all(&folder, large, Strategy::Copy, [100.0; 5]);
        std::fs::write(folder.failed(&large.raw_name(Strategy::Sendfile, 2)), "broke\nbadly")
            .unwrap();
        let filtered = direct(1024, Filter::On);
        put_all(&folder, filtered, Strategy::Sendfile, [25.5; 5]);
        folder.write_text("reasons.toml", "16k-backlog-direct-16q = \"a known one\"").unwrap();

        let text = rebuild(&folder).unwrap();
        let lines = [
            "1 of 2 cells reach 0.95.",
            "| 1k-backlog-direct-16q: 1 KiB, backlog written direct, 16 queues | GB/s \
             | 0.993 [0.973..1.01] | sendfile | 1.02 | 0.970 [0.950..0.990] | yes | auto 100 % |  |",
            "| 0.800 [0.790..0.810] | **NO** | auto 100 % | a known one |",
            "| 1k-backlog-direct-16q-filtered: 1 KiB, backlog written direct, 16 queues, one in two \
             | GB/s | 0.261 | 0.512 [0.512..0.532] | 0.510 | 1.00 | 1.00 | 3.00 | 100 % |",
            "| 16k-backlog-direct-16q | 13.1 [12.9..13.3] | **16.4** | – |",
            "* 16k-backlog-direct-16q, sendfile, round 2: broke; badly",
            "* Commit abc",
            "(plots/backlog.png)](plots/backlog.svg)",
        ];
        for line in lines {
            assert!(text.contains(line), "{line}\nis not in\n{text}");
        }
        assert!(
            !text.contains("Fewer than")
                && !text.contains("Tail:")
                && !text.contains("another way")
        );
        let png = std::fs::read(folder.dir().join("plots/backlog-cpu-lines.png")).unwrap();
        assert!(png.starts_with(b"\x89PNG"));
        let again = std::fs::read_to_string(folder.dir().join("summary.md")).unwrap();
        assert_eq!(rebuild(&folder).unwrap().trim_end(), again.trim_end());
    }

    #[test]
    fn bytes_that_went_another_way_are_told_with_the_reason() {
        let (_dir, folder) = folder();
        let cell = direct(1024, Filter::Off);
        let by = [("sendfile", 750_000), ("direct", 250_000)];
        put(&folder, cell, Strategy::Sendfile, 1, 1e5, &by);
        put(&folder, cell, Strategy::Auto, 1, 1e5, &[("mmap", 1_000_000)]);
        let text = rebuild(&folder).unwrap();
        let line = "| 1k-backlog-direct-16q | sendfile | 75 % | sendfile 75 %, direct 25 % | not-resident 7 |";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("Fewer than 5 rounds") && text.contains("mmap 100 %"), "{text}");
    }
}
