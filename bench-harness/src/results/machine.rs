//! What a summary says of the machine, the disk and the commit.

use super::Spread;
use serde_json::Value;

/// Lines of a list, made from `host.json` and how busy the machine was while measuring.
pub fn machine_lines(facts: &Value, busy: Option<Spread>) -> String {
    let fact = |at: &str| match facts.pointer(at) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "unknown".into(),
        Some(other) => other.to_string(),
    };
    let number = |at: &str| facts.pointer(at).and_then(Value::as_f64).unwrap_or(0.0);
    let mut lines = vec![format!(
        "Machine: {} × {}, {:.0} GiB, Linux {}; disk {}, scheduler {}, cache {}; {} on {} ({})",
        fact("/host/cpus"),
        fact("/host/cpu"),
        number("/host/memory_kib") / f64::from(1 << 20),
        fact("/host/kernel"),
        fact("/disk/model"),
        fact("/disk/scheduler"),
        fact("/disk/write_cache"),
        fact("/disk/filesystem"),
        fact("/disk/mount_point"),
        fact("/disk/mount_options")
    )];
    let dirty = match facts.pointer("/commit/dirty") {
        Some(Value::Bool(true)) => ", with changes that are not committed",
        _ => "",
    };
    lines.push(format!("Commit {}{dirty}; {}", fact("/commit/hash"), fact("/java")));
    if facts.pointer("/debug_build") == Some(&Value::Bool(true)) {
        let why = "**The load tool was a debug build: the figures mean nothing**";
        lines.push(why.into());
    }
    let during = busy.map_or("nothing was measured".into(), |busy| {
        format!("{:.0} to {:.0} % while measuring", 100.0 * busy.least, 100.0 * busy.most)
    });
    lines.push(format!(
        "The machine was {:.0} % busy before the run ({:.0} % stolen), {during}",
        100.0 * number("/before/busy_share"),
        100.0 * number("/before/stolen_share")
    ));
    lines.iter().map(|line| format!("* {line}\n")).collect()
}
