//! What is measured: cells, each under other circumstances, and in every cell
//! all ways of moving bytes.

use serde::{Deserialize, Serialize};

/// How the log gets to the disk.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Write {
    Direct,
    Mmap,
    Buffered,
    BufferedUncached,
}

impl Write {
    pub fn name(self) -> &'static str {
        match self {
            Write::Direct => "direct",
            Write::Mmap => "mmap",
            Write::Buffered => "buffered",
            Write::BufferedUncached => "buffered-uncached",
        }
    }
}

/// How a pull's bytes get to its socket.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    Auto,
    Copy,
    Mmap,
    Gather,
    Sendfile,
    Splice,
    SendZc,
    Direct,
}

impl Strategy {
    pub const ALL: [Strategy; 8] = [
        Strategy::Auto,
        Strategy::Copy,
        Strategy::Mmap,
        Strategy::Gather,
        Strategy::Sendfile,
        Strategy::Splice,
        Strategy::SendZc,
        Strategy::Direct,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Strategy::Auto => "auto",
            Strategy::Copy => "copy",
            Strategy::Mmap => "mmap",
            Strategy::Gather => "gather",
            Strategy::Sendfile => "sendfile",
            Strategy::Splice => "splice",
            Strategy::SendZc => "send-zc",
            Strategy::Direct => "direct",
        }
    }
}

/// Where a reader is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Going through what was sent long ago.
    Backlog,
    /// Waiting for what is being sent.
    Tail,
}

impl Place {
    pub fn name(self) -> &'static str {
        match self {
            Place::Backlog => "backlog",
            Place::Tail => "tail",
        }
    }
}

/// Whether a tag filter passes one message in two.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    Off,
    On,
}

/// What one start of a broker is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ground {
    pub write: Write,
    /// Body bytes of a message.
    pub size: usize,
    pub queues: u32,
}

/// One set of circumstances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cell {
    #[serde(flatten)]
    pub ground: Ground,
    pub place: Place,
    pub filter: Filter,
}

impl Cell {
    /// In file names and in `reasons.toml`.
    pub fn name(&self) -> String {
        format!("{}-{}", size_name(self.ground.size), self.panel_name())
    }

    /// All of it but the size.
    pub fn panel_name(&self) -> String {
        let Ground { write, queues, .. } = self.ground;
        let filter = if self.filter == Filter::On { "-filtered" } else { "" };
        format!("{}-{}-{queues}q{filter}", self.place.name(), write.name())
    }

    pub fn title(&self) -> String {
        format!("{}, {}", size_title(self.ground.size), self.panel_title())
    }

    pub fn panel_title(&self) -> String {
        let Ground { write, queues, .. } = self.ground;
        let queues = if queues == 1 { "1 queue".into() } else { format!("{queues} queues") };
        let filter = if self.filter == Filter::On { ", one in two" } else { "" };
        format!("{} written {}, {queues}{filter}", self.place.name(), write.name())
    }

    /// The raw file's name.
    pub fn raw_name(&self, strategy: Strategy, round: usize) -> String {
        format!("{}.{}.{round}", self.name(), strategy.name())
    }
}

/// `128`, `16k`, `1m`
pub fn size_name(size: usize) -> String {
    match size {
        s if s >= 1 << 20 && s % (1 << 20) == 0 => format!("{}m", s >> 20),
        s if s >= 1 << 10 && s % (1 << 10) == 0 => format!("{}k", s >> 10),
        s => s.to_string(),
    }
}

pub fn size_title(size: usize) -> String {
    match size {
        s if s >= 1 << 20 && s % (1 << 20) == 0 => format!("{} MiB", s >> 20),
        s if s >= 1 << 10 && s % (1 << 10) == 0 => format!("{} KiB", s >> 10),
        s => format!("{s} B"),
    }
}

/// What [`size_name`] writes.
pub fn parse_size(text: &str) -> Result<usize, String> {
    let (digits, shift) = match text.strip_suffix(['k', 'K', 'm', 'M']) {
        Some(digits) if text.ends_with(['m', 'M']) => (digits, 20),
        Some(digits) => (digits, 10),
        None => (text, 0),
    };
    let number: usize =
        digits.parse().map_err(|_| format!("`{text}` is no size like 128 or 16k"))?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("`{text}` is too large"))
}

/// Who goes first in one round does not in the next, and nobody always follows the same one,
/// whose traces in caches and in the disk it may find: over as many rounds as there are
/// strategies, each has every place once, and with an even number of them follows each other
/// one once (a Williams square).
pub fn order(strategies: &[Strategy], round: usize) -> Vec<Strategy> {
    let n = strategies.len();
    // 0, 1, n-1, 2, n-2, …: all steps between neighbours differ.
    let zigzag = |k: usize| if k % 2 == 1 { k.div_ceil(2) } else { (n - k / 2) % n };
    (0..n).map(|k| strategies[(zigzag(k) + round - 1) % n]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_those_of_the_command_line_and_of_the_file() {
        fn check<T: ValueEnum + Serialize>(name: impl Fn(T) -> &'static str) {
            for value in T::value_variants() {
                let shown = name(value.clone());
                assert_eq!(value.to_possible_value().unwrap().get_name(), shown);
                assert_eq!(serde_json::to_value(value).unwrap(), shown);
            }
        }
        check(Write::name);
        check(Strategy::name);
        check(Place::name);
        assert_eq!(Strategy::ALL, Strategy::value_variants());
    }

    #[test]
    fn sizes_are_read_as_they_are_written() {
        for (size, name) in
            [(128, "128"), (1024, "1k"), (16_384, "16k"), (1 << 20, "1m"), (1500, "1500")]
        {
            assert_eq!((size_name(size).as_str(), parse_size(name)), (name, Ok(size)));
        }
        for bad in ["", "k", "1x", "-1", "99999999999999999999k", "18446744073709551615m"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn over_as_many_rounds_as_strategies_each_has_every_place_and_every_predecessor_once() {
        let all = Strategy::ALL;
        let rounds: Vec<_> = (1..=all.len()).map(|round| order(&all, round)).collect();
        for place in 0..all.len() {
            let there: BTreeSet<_> = rounds.iter().map(|round| round[place]).collect();
            assert_eq!(there.len(), all.len(), "place {place}");
        }
        let pairs: BTreeSet<_> =
            rounds.iter().flat_map(|round| round.windows(2).map(|w| (w[0], w[1]))).collect();
        assert_eq!(pairs.len(), all.len() * (all.len() - 1));
    }

    #[test]
    fn a_round_has_everyone_whatever_their_number() {
        for n in 0..=Strategy::ALL.len() {
            for round in 1..20 {
                let mut there = order(&Strategy::ALL[..n], round);
                there.sort();
                assert_eq!(there, Strategy::ALL[..n], "round {round} of {n}");
            }
        }
    }
}
