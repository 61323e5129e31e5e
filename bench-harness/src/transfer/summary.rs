//! `summary.md` of a `transfer` run.

use super::outcome::{Ground, Metric, Outcome, size};
use super::plots::{CPU, LINES, MAP};
use crate::results::Spread;
use ringmq::base::transfer::Transfer;
use std::fmt::Write;

pub fn summary(outcome: &Outcome) -> String {
    let mut text = String::from("# Raw ways from disk and memory to sockets\n\n");
    how(&mut text, outcome);
    for (name, what) in [
        (MAP, "bytes per second, by strategy and size"),
        (LINES, "the same as lines"),
        (CPU, "bytes per CPU time"),
    ] {
        let _ = writeln!(text, "[![{what}](plots/{name}.png)](plots/{name}.svg)\n");
    }
    winners(&mut text, outcome);
    for (metric, title) in [
        (Metric::Speed, "GB/s: median, and in brackets least to most of the rounds"),
        (Metric::Cpu, "CPU ns per byte (sending thread and kernel workers)"),
        (Metric::Calls, "System calls per MB"),
    ] {
        let _ = writeln!(text, "## {title}\n");
        for ground in outcome.grounds() {
            table(&mut text, outcome, ground, metric);
        }
    }
    text.push_str(READING);
    text
}

fn how(text: &mut String, outcome: &Outcome) {
    let of = &outcome.manifest;
    let raw: Vec<String> =
        (1..=outcome.rounds).map(|n| format!("[{n}](raw/round-{n}.json)")).collect();
    let _ = writeln!(
        text,
        "{} rounds (raw data: {}), in each of them every cell: {} ms from memory, up to {} ms from \
         the disk. Sender on core {}, receiver on core {}. The [command](command), the \
         [machine](host.json), [what was asked](run.json).\n",
        outcome.rounds,
        raw.join(", "),
        of.hot_ms,
        of.cold_ms,
        of.sender_core,
        of.receiver_core
    );
    if outcome.rounds < of.rounds {
        let _ = writeln!(text, "**Broken off: {} rounds were asked for.**\n", of.rounds);
    }
}

/// Who is fastest where, and who cannot be told from it.
fn winners(text: &mut String, outcome: &Outcome) {
    text.push_str(
        "## The fastest\n\nIn brackets those whose rounds reach into the fastest one's.\n\n",
    );
    heads(text, outcome, "");
    for ground in outcome.grounds() {
        let _ = write!(text, "| {} ", ground.title());
        for &bytes in &outcome.manifest.sizes {
            let fastest = outcome.fastest(ground, bytes);
            let names: Vec<&str> = fastest.iter().map(|(strategy, _)| strategy.name()).collect();
            let shown = match &names[..] {
                [] => "–".into(),
                [only] => only.to_string(),
                [first, others @ ..] => format!("{first} ({})", others.join(", ")),
            };
            let _ = write!(text, "| {shown} ");
        }
        text.push_str("|\n");
    }
    text.push('\n');
}

fn heads(text: &mut String, outcome: &Outcome, first: &str) {
    let sizes = &outcome.manifest.sizes;
    let heads: Vec<String> = sizes.iter().map(|&bytes| size(bytes)).collect();
    let _ = writeln!(text, "| {first} | {} |", heads.join(" | "));
    let _ = writeln!(text, "|---|{}", "---|".repeat(sizes.len()));
}

fn table(text: &mut String, outcome: &Outcome, ground: Ground, metric: Metric) {
    let strategies = outcome.strategies(ground);
    if strategies.is_empty() {
        let _ = writeln!(text, "Nothing was to be had {}.\n", ground.title());
        return;
    }
    heads(text, outcome, &ground.title());
    for strategy in strategies {
        let _ = write!(text, "| {} ", strategy.name());
        for &bytes in &outcome.manifest.sizes {
            let _ = write!(text, "| {} ", cell(outcome, ground, strategy, bytes, metric));
        }
        text.push_str("|\n");
    }
    text.push('\n');
}

fn cell(
    outcome: &Outcome,
    ground: Ground,
    strategy: Transfer,
    bytes: u32,
    metric: Metric,
) -> String {
    let Some(Spread { median, least, most }) = outcome.value(ground, strategy, bytes, metric)
    else {
        return "–".into();
    };
    let is_first = || {
        let first = outcome.fastest(ground, bytes).first().map(|(strategy, _)| *strategy);
        first == Some(strategy)
    };
    match metric {
        Metric::Speed if is_first() => format!("**{median:.2}** ({least:.2}–{most:.2})"),
        Metric::Speed => format!("{median:.2} ({least:.2}–{most:.2})"),
        Metric::Cpu => format!("{median:.3}"),
        Metric::Calls => format!("{median:.1}"),
    }
}

const READING: &str = "\
## How to read it

* One piece is in flight per connection; the next is sent when the ring says that it has left, so with
  one connection the receiver waits now and then. Loopback: the sender's core also does what the
  kernel does to receive, and `send-zc` is copied there all the same.
* The sender is the broker's own ring, arena and file code, with residency checks and eight blocks of
  reading ahead as in the store. It parks instead of spinning, so that CPU is work.
* `gather` and `send-zc` send out of the arena (hot only), `direct` reads past the page cache into it
  (cold only). `direct` sends to 16 connections at most 2 MiB at a time: their slots hold no more.
* From the disk: the file is dropped from the page cache before each cell, and a cell ends when a
  connection has read its part once.
* A receiver copies into 256 KiB of its own, or has the kernel discard (MSG_TRUNC).
* Calls leave out the two fcntl around each turn of `sendfile` and `splice`.
";
