//! A profile for people: the figures, and what follows from them.

use std::fmt::Write;

use super::cell::Heat;
use super::profile::{Profile, TransferFigure, WriteFigure};
use super::rules::{Decision, Pick};
use super::writes::WriteKind;
use crate::base::transfer::{SIZE_CLASSES, Through, Transfer};

/// Tables of all figures, then each decision with its reason.
pub fn table(profile: &Profile) -> String {
    let decision = profile.decide();
    let host = &profile.host;
    let mut text = format!(
        "{}, Linux {}, {} on {} ({})\n",
        host.cpu, host.kernel, host.file_system, host.device_model, host.device
    );
    transfers(
        &mut text,
        profile,
        Heat::Hot,
        "from memory to eight connections on loopback, four pieces a reply, by the size of a piece",
    );
    transfers(
        &mut text,
        profile,
        Heat::Cold,
        "from the disk to one connection on loopback, by the size of a piece",
    );
    writes(&mut text, profile);
    text.push_str("\nWhat `auto` does\n");
    for line in decisions(&decision) {
        let _ = writeln!(text, "  {line}");
    }
    text
}

fn transfers(text: &mut String, profile: &Profile, heat: Heat, what: &str) {
    let figures: Vec<_> = profile.transfers.iter().filter(|one| one.heat == heat).collect();
    if figures.is_empty() {
        let _ = writeln!(text, "\nNothing was measured {what}.");
        return;
    }
    let mut sizes: Vec<u32> = figures.iter().map(|figure| figure.bytes).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let _ = writeln!(text, "\nGB/s {what} (in brackets CPU ns per byte)\n");
    let _ = write!(text, "  {:<10}", "");
    sizes.iter().for_each(|bytes| _ = write!(text, "{:>16}", size(*bytes)));
    text.push('\n');
    for strategy in Transfer::ALL {
        let of = |bytes| figures.iter().find(|one| one.strategy == strategy && one.bytes == bytes);
        if sizes.iter().all(|bytes| of(*bytes).is_none()) {
            continue;
        }
        let _ = write!(text, "  {:<10}", strategy.name());
        for bytes in &sizes {
            let shown = of(*bytes).map_or("-".to_owned(), |one| {
                let cpu = one.cpu_ps_per_byte as f64 / 1e3;
                format!("{} ({cpu:.2})", gigabytes(one))
            });
            let _ = write!(text, "{shown:>16}");
        }
        text.push('\n');
    }
}

fn writes(text: &mut String, profile: &Profile) {
    text.push_str("\nWrites over written extents: median of one, and MB/s");
    text.push_str(" (w: handed to a kernel worker)\n\n");
    let mut cells: Vec<_> = profile.writes.iter().map(|one| (one.bytes, one.depth)).collect();
    cells.sort_unstable();
    cells.dedup();
    let _ = write!(text, "  {:<17}", "");
    for (bytes, depth) in &cells {
        let _ = write!(text, "{:>19}", format!("{} x{depth}", size(*bytes)));
    }
    text.push('\n');
    for kind in WriteKind::ALL {
        let of = |cell: &(u32, u32)| {
            profile.writes.iter().find(|one| one.kind == kind && (one.bytes, one.depth) == *cell)
        };
        let _ = write!(text, "  {:<17}", kind.name());
        for cell in &cells {
            let _ = write!(text, "{:>19}", of(cell).map_or("-".to_owned(), write_shown));
        }
        text.push('\n');
    }
}

fn write_shown(figure: &WriteFigure) -> String {
    let worker = if figure.punted { " w" } else { "" };
    let (us, megabytes) = (figure.typical_ns / 1000, figure.bytes_per_second / 1_000_000);
    format!("{us} us {megabytes}{worker}")
}

fn decisions(decision: &Decision) -> Vec<String> {
    let mut lines = Vec::new();
    let classes = [("arena", &decision.tail), ("page cache", &decision.hot)];
    for (place, picks) in classes {
        for (class, pick) in picks.iter().enumerate() {
            let range = class_shown(class);
            lines.push(match pick {
                Some(pick) => format!("{place}, {range}: {}", pick_shown(pick)),
                None => format!("{place}, {range}: the built-in rule, as nothing was measured"),
            });
        }
    }
    lines.push(cold_shown(decision));
    lines.push(match &decision.flush {
        None => "durable writes: found out at each start, as nothing was measured".to_owned(),
        Some(flush) => {
            let (dsync, fdatasync) = (flush.dsync_ns / 1000, flush.fdatasync_ns / 1000);
            let chosen = if flush.is_dsync_faster() { "dsync" } else { "fdatasync" };
            format!("durable writes: {chosen} (dsync {dsync} us, fdatasync {fdatasync} us)")
        }
    });
    lines
}

fn pick_shown(pick: &Pick) -> String {
    let of = |figure: &TransferFigure| {
        let cpu = figure.cpu_ps_per_byte as f64 / 1e3;
        format!("{} GB/s, {cpu:.2} ns/B", gigabytes(figure))
    };
    let Pick { figure, instead_of } = pick;
    let name = figure.strategy.name();
    match instead_of {
        None => format!("{name}, the fastest ({})", of(figure)),
        Some(other) => format!(
            "{name} ({}), less CPU than {}, which is as fast ({})",
            of(figure),
            other.strategy.name(),
            of(other)
        ),
    }
}

fn cold_shown(decision: &Decision) -> String {
    let compared: Vec<String> = (decision.cold.iter())
        .map(|of| {
            let (cached, direct) = (&of.page_cache, &of.direct);
            format!(
                "{}: {} {} GB/s, direct {}",
                size(direct.bytes),
                cached.strategy.name(),
                gigabytes(cached),
                gigabytes(direct)
            )
        })
        .collect();
    let why = match compared.is_empty() {
        true => "as nothing was measured".to_owned(),
        false => compared.join("; "),
    };
    match decision.rules.cold {
        Through::PageCache => format!("disk: into the page cache, for the next reader ({why})"),
        Through::Direct => format!("disk: direct, more than 10 % faster ({why})"),
    }
}

fn gigabytes(figure: &TransferFigure) -> String {
    format!("{:.2}", figure.bytes_per_second as f64 / 1e9)
}

fn class_shown(class: usize) -> String {
    let bound = |at: usize| SIZE_CLASSES.get(at).map(|bound| size(*bound));
    match (class.checked_sub(1).and_then(bound), bound(class)) {
        (None, Some(end)) => format!("below {end}"),
        (Some(start), Some(end)) => format!("{start} to {end}"),
        (Some(start), None) => format!("from {start}"),
        (None, None) => "all".to_owned(),
    }
}

fn size(bytes: u32) -> String {
    match bytes {
        _ if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ if bytes >= 1 << 10 && bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::class_of;
    use super::*;

    #[test]
    fn classes_are_shown_by_their_bounds_and_hold_what_lies_between() {
        assert_eq!(class_shown(0), "below 8 KiB");
        assert_eq!(class_shown(1), "8 KiB to 32 KiB");
        assert_eq!(class_shown(SIZE_CLASSES.len()), "from 2 MiB");
        assert_eq!((class_of(8 << 10), class_of((8 << 10) - 1)), (1, 0));
    }
}
