//! All rounds of a run, read back from its folder.

use super::record::{Manifest, Round, Row, raw_name};
use crate::results::{Folder, Spread, spread};
use ringmq::base::transfer::Transfer;
use ringmq::probe::{Heat, Receiving};
use std::fs;
use std::io;

pub struct Outcome {
    pub manifest: Manifest,
    rows: Vec<Row>,
    /// Rounds whose file is there; fewer where a run was broken off.
    pub rounds: usize,
}

/// What a table or a panel is about: all but strategy and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ground {
    pub heat: Heat,
    pub connections: usize,
    pub receiving: Receiving,
}

/// What is told of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    Speed,
    Cpu,
    Calls,
}

impl Outcome {
    pub fn read(folder: &Folder) -> io::Result<Outcome> {
        let manifest: Manifest = serde_json::from_str(&folder.read("run.json")?)?;
        let (mut rows, mut rounds) = (Vec::new(), 0);
        for round in 1..=manifest.rounds {
            let path = folder.raw(&raw_name(round));
            let text = match fs::read_to_string(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                text => text?,
            };
            let in_file = |error| io::Error::other(format!("{}: {error}", path.display()));
            let round: Round = serde_json::from_str(&text).map_err(in_file)?;
            rows.extend(round.rows);
            rounds += 1;
        }
        if rounds == 0 {
            let dir = folder.dir().display();
            return Err(io::Error::other(format!("{dir} holds no whole round")));
        }
        Ok(Outcome { manifest, rows, rounds })
    }

    /// In the order in which they are shown.
    pub fn grounds(&self) -> Vec<Ground> {
        let mut grounds = Vec::new();
        for heat in Heat::ALL {
            for &connections in &self.manifest.connections {
                for receiving in Receiving::ALL {
                    grounds.push(Ground { heat, connections, receiving });
                }
            }
        }
        grounds
    }

    pub fn value(
        &self,
        ground: Ground,
        strategy: Transfer,
        bytes: u32,
        metric: Metric,
    ) -> Option<Spread> {
        let is_it = |row: &&Row| {
            let of =
                Ground { heat: row.heat, connections: row.connections, receiving: row.receiving };
            of == ground && row.strategy == strategy.name() && row.piece_bytes == bytes
        };
        spread(self.rows.iter().filter(is_it).map(|row| match metric {
            Metric::Speed => row.gigabytes_per_second(),
            Metric::Cpu => row.cpu_ns_per_byte(),
            Metric::Calls => row.calls_per_megabyte(),
        }))
    }

    /// Strategies that have a figure there.
    pub fn strategies(&self, ground: Ground) -> Vec<Transfer> {
        let has_any = |strategy: &Transfer| {
            let sizes = self.manifest.sizes.iter();
            sizes
                .into_iter()
                .any(|&bytes| self.value(ground, *strategy, bytes, Metric::Speed).is_some())
        };
        Transfer::ALL.into_iter().filter(has_any).collect()
    }

    /// The fastest, and those whose rounds reach into its own: no run tells them apart.
    pub fn fastest(&self, ground: Ground, bytes: u32) -> Vec<(Transfer, Spread)> {
        let of = |strategy: Transfer| {
            let speed = self.value(ground, strategy, bytes, Metric::Speed)?;
            Some((strategy, speed))
        };
        let mut all: Vec<_> = Transfer::ALL.into_iter().filter_map(of).collect();
        all.sort_by(|a, b| b.1.median.total_cmp(&a.1.median));
        let Some(least) = all.first().map(|(_, speed)| speed.least) else { return all };
        let mut place = 0;
        all.retain(|(_, speed)| {
            place += 1;
            place == 1 || speed.most >= least
        });
        all
    }
}

impl Ground {
    pub fn title(&self) -> String {
        let Ground { heat, connections, receiving } = self;
        let place = match heat {
            Heat::Hot => "from memory",
            Heat::Cold => "from the disk",
        };
        let plural = if *connections == 1 { "" } else { "s" };
        format!("{place}, {connections} connection{plural}, receiver {}", receiving.name())
    }
}

pub fn size(bytes: u32) -> String {
    match bytes {
        _ if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ => format!("{} KiB", bytes >> 10),
    }
}
