//! `run.json`: what a run was, so that summary and plots can be made again
//! from its folder alone.

use super::cell::{Cell, Filter, Ground, Place, Strategy, Write};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// `matrix`.
    pub kind: String,
    pub quick: bool,
    pub rounds: usize,
    /// Least seconds of a measurement.
    pub seconds: f64,
    pub backlog_bytes: u64,
    pub fill_bytes: usize,
    pub max_messages: u32,
    /// None: the broker's own bound.
    pub max_bytes: Option<u32>,
    pub ringmq_args: Vec<String>,
    pub broker_cores: Vec<usize>,
    pub load_cores: Vec<usize>,
    pub writes: Vec<Write>,
    pub strategies: Vec<Strategy>,
    pub sizes: Vec<usize>,
    pub queues: Vec<u32>,
    pub places: Vec<Place>,
    pub filters: Vec<Filter>,
}

pub const KIND: &str = "matrix";

impl Manifest {
    pub fn grounds(&self) -> Vec<Ground> {
        let mut grounds = Vec::new();
        for &write in &self.writes {
            for &queues in &self.queues {
                grounds.extend(self.sizes.iter().map(|&size| Ground { write, size, queues }));
            }
        }
        grounds
    }

    /// The cells of one start, a filtered one after its unfiltered one.
    pub fn cells_of(&self, ground: Ground, place: Place) -> Vec<Cell> {
        self.filters.iter().map(|&filter| Cell { ground, place, filter }).collect()
    }

    pub fn cells(&self) -> Vec<Cell> {
        let of = |&place: &Place| {
            let all = self.grounds().into_iter();
            all.flat_map(move |ground| self.cells_of(ground, place)).collect::<Vec<_>>()
        };
        self.places.iter().flat_map(of).collect()
    }
}
