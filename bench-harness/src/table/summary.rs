//! The table of ratios, and below it every figure it stands on.

use super::TableArgs;
use super::results::Results;
use super::rows::{FIRST, Goal, ROWS, Row, Subject};
use crate::results::Figures;
use std::fmt::Write;

/// CPU per message at most this share of Apache's.
const CPU_SHARE: f64 = 1.0 / 20.0;
/// Memory beyond the arenas.
const MEMORY_MIB: u64 = 64;

pub fn markdown(args: &TableArgs, results: &Results) -> String {
    let mut text = String::from("# ringmq against Apache RocketMQ 5.5.0\n\n");
    text.push_str("One run, brokers in turn, medians over the rounds. The broker's whole ");
    let (broker, load) = (&args.broker_cores.0, &args.load_cores.0);
    let (seconds, rounds) = (args.seconds, args.rounds);
    line(
        &mut text,
        format_args!(
            "process on cores {broker:?}, load on {load:?}; {seconds} s each, {rounds} round(s); \
             Apache frozen while ringmq runs.\n"
        ),
    );
    text.push_str(
        "| work | goal | Apache, or the floor | ringmq | ratio | reached |\n|---|---|---|---|---|---|\n",
    );
    for row in ROWS {
        goal_lines(&mut text, row, results);
    }
    cpu_line(&mut text, results);
    memory_lines(&mut text, args, results);
    figures(&mut text, results);
    for (row, subject, why) in &results.failed {
        line(&mut text, format_args!("\nFailed: {row}, {}: {why}", subject.name()));
    }
    text
}

fn goal_lines(text: &mut String, row: &Row, results: &Results) {
    let rate = |m: &Figures| Some(m.messages_per_second);
    match row.goal {
        Goal::Throughput(times) => {
            let them = results.median(row.name, Subject::Apache, rate);
            for subject in row.subjects.iter().filter(|subject| **subject != Subject::Apache) {
                let us = results.median(row.name, *subject, rate);
                let what = format!("{}, {}", row.what, subject.name());
                at_least(text, &what, times, them, us, "/s");
            }
        }
        Goal::BestPass(times) => {
            let best = |m: &Figures| m.best_pass;
            let them = results.median(row.name, Subject::Apache, best);
            let us = results.median(row.name, Subject::Appended, best);
            at_least(text, row.what, times, them, us, "/s");
        }
        Goal::Tail(share) => {
            let tail = |m: &Figures| Some(m.p999_us);
            let them = results.median(row.name, Subject::Apache, tail);
            let us = results.median(row.name, Subject::Appended, tail);
            at_most(text, row.what, share, them, us, " µs");
        }
        Goal::Median(pairs, times) => {
            let p50 = |m: &Figures| Some(m.p50_us);
            for (subject, others) in pairs {
                let floor: Option<f64> =
                    others.iter().map(|other| results.median(row.name, *other, p50)).sum();
                let names: Vec<&str> = others.iter().map(|other| other.name()).collect();
                let what =
                    format!("{}: {} against {}", row.what, subject.name(), names.join(" + "));
                let us = results.median(row.name, *subject, p50);
                at_most(text, &what, times, floor, us, " µs");
            }
        }
    }
}

fn cpu_line(text: &mut String, results: &Results) {
    let cpu = |m: &Figures| m.cpu_us;
    let them = results.median(FIRST, Subject::Apache, cpu);
    let us = results.median(FIRST, Subject::Appended, cpu);
    at_most(text, "broker CPU per 1 KiB message", CPU_SHARE, them, us, " µs");
}

fn memory_lines(text: &mut String, args: &TableArgs, results: &Results) {
    let limit = (MEMORY_MIB + args.arena_mib) as f64;
    let fresh = |name: &str| {
        let of = |(who, _): &&(String, u64)| who.starts_with(name);
        results.fresh.iter().filter(of).map(|(_, mib)| *mib as f64).reduce(f64::max)
    };
    let loaded = |subject| results.median(FIRST, subject, |m| m.memory_mib.map(|mib| mib as f64));
    for (what, them, us) in [
        ("memory in use, fresh start", fresh("apache"), fresh("ringmq")),
        ("memory in use, under load", loaded(Subject::Apache), loaded(Subject::Appended)),
    ] {
        let Some(us) = us else { continue };
        let them = them.map_or("–".into(), |them| format!("{them:.0} MiB"));
        let reached = yes_no(us < limit);
        line(
            text,
            format_args!("| {what} | < {limit:.0} MiB | {them} | {us:.0} MiB | | {reached} |"),
        );
    }
}

fn figures(text: &mut String, results: &Results) {
    text.push_str("\n## Figures\n\n");
    text.push_str(
        "| row | subject | msg/s | MB/s | p50 / p99 / p99.9 / max µs | broker CPU µs/msg ",
    );
    text.push_str("| PSS + huge MiB | disk bytes per payload byte | refused |\n");
    text.push_str("|---|---|---|---|---|---|---|---|---|\n");
    for measured in &results.measured {
        let m = &measured.figures;
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "–".into());
        line(
            text,
            format_args!(
                "| {} | {} | {:.0} | {:.1} | {:.1} / {:.1} / {:.1} / {:.1} | {} | {} | {} | {} |",
                measured.row,
                measured.subject.name(),
                m.messages_per_second,
                m.megabytes_per_second,
                m.p50_us,
                m.p99_us,
                m.p999_us,
                m.max_us,
                or_dash(m.cpu_us.map(|cpu| format!("{cpu:.3}"))),
                or_dash(m.memory_mib.map(|mib| mib.to_string())),
                or_dash(m.disk_ratio.map(|ratio| format!("{ratio:.2}"))),
                m.refused
            ),
        );
    }
}

fn at_least(
    text: &mut String,
    what: &str,
    times: f64,
    them: Option<f64>,
    us: Option<f64>,
    unit: &str,
) {
    let Some((them, us)) = them.zip(us) else { return };
    let ratio = us / them;
    let reached = yes_no(ratio >= times);
    line(
        text,
        format_args!(
            "| {what} | ≥ {times} × | {them:.0}{unit} | {us:.0}{unit} | {ratio:.2} | {reached} |"
        ),
    );
}

fn at_most(
    text: &mut String,
    what: &str,
    share: f64,
    them: Option<f64>,
    us: Option<f64>,
    unit: &str,
) {
    let Some((them, us)) = them.zip(us) else { return };
    let ratio = us / them;
    let reached = yes_no(ratio <= share);
    line(
        text,
        format_args!(
            "| {what} | ≤ {share:.3} × | {them:.1}{unit} | {us:.1}{unit} | {ratio:.3} | {reached} |"
        ),
    );
}

fn yes_no(reached: bool) -> &'static str {
    if reached { "yes" } else { "NO" }
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a String takes everything");
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::super::results::Measured;
    use super::*;
    use crate::results::{Folder, sample};
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: TableArgs,
    }

    #[test]
    fn ratios_are_judged_by_their_goals() {
        let args = Cli::parse_from(["table3", "--data-dir", "/nowhere"]).args;
        let dir = tempfile::tempdir().unwrap();
        let mut results = Results::of(Folder::open(dir.path()));
        for (row, subject, rate, p50) in [
            (FIRST, Subject::Apache, 30_000.0, 9_000.0),
            (FIRST, Subject::Appended, 750_000.0, 400.0),
            (FIRST, Subject::Written, 300_000.0, 400.0),
            ("sync-1", Subject::FlushedParked, 1.0, 230.0),
            ("sync-1", Subject::EchoParked, 1.0, 80.0),
            ("sync-1", Subject::Disk, 1.0, 120.0),
        ] {
            results.measured.push(Measured { row, subject, figures: sample(rate, p50) });
        }
        let text = markdown(&args, &results);
        let has = |line: &str| assert!(text.contains(line), "{line}\n{text}");
        has("window 32, appended | ≥ 20 × | 30000/s | 750000/s | 25.00 | yes |");
        has("window 32, written | ≥ 20 × | 30000/s | 300000/s | 10.00 | NO |");
        has("echo-parked + disk | ≤ 1.150 × | 200.0 µs | 230.0 µs | 1.150 | yes |");
        has("under load | < 128 MiB | 66 MiB | 66 MiB | | yes |");
        assert!(!text.contains("128 B sends"), "rows without figures are left out");
    }
}
