//! What a run leaves: `run.json`, and a raw file of each round.

use ringmq::probe::{Cell, Heat, Measured, Receiving};
use serde::{Deserialize, Serialize};

pub const KIND: &str = "transfer";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// `transfer`.
    pub kind: String,
    pub quick: bool,
    pub rounds: usize,
    pub hot_ms: u64,
    pub cold_ms: u64,
    /// Of pieces, from small to large.
    pub sizes: Vec<u32>,
    pub connections: Vec<usize>,
    pub file_bytes: u64,
    /// What hot cells of the page cache go round in; in runs of the first days as much as
    /// those of the arena.
    #[serde(default)]
    pub hot_file_bytes: u64,
    /// What hot cells of the arena go round in.
    pub span_bytes: u64,
    pub sender_core: usize,
    pub receiver_core: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Round {
    pub round: usize,
    pub rows: Vec<Row>,
}

/// A cell of one round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub strategy: String,
    pub heat: Heat,
    pub connections: usize,
    pub receiving: Receiving,
    /// Of a piece.
    pub piece_bytes: u32,
    pub bytes: u64,
    pub seconds: f64,
    pub cpu_ns: u64,
    pub worker_cpu_ns: u64,
    pub calls: u64,
}

impl Row {
    pub fn of(cell: &Cell, measured: &Measured) -> Row {
        Row {
            strategy: cell.transfer.name().into(),
            heat: cell.heat,
            connections: cell.connections,
            receiving: cell.receiving,
            piece_bytes: cell.bytes,
            bytes: measured.bytes,
            seconds: measured.time.as_secs_f64(),
            cpu_ns: measured.cpu_ns,
            worker_cpu_ns: measured.worker_cpu_ns,
            calls: measured.calls,
        }
    }

    pub fn gigabytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.seconds.max(1e-9) / 1e9
    }

    pub fn cpu_ns_per_byte(&self) -> f64 {
        (self.cpu_ns + self.worker_cpu_ns) as f64 / self.bytes.max(1) as f64
    }

    pub fn calls_per_megabyte(&self) -> f64 {
        self.calls as f64 * 1e6 / self.bytes.max(1) as f64
    }
}

pub fn raw_name(round: usize) -> String {
    format!("round-{round}")
}
