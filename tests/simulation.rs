//! The shard under a simulated disk, network, clock and helper. One printed seed decides
//! everything, so what a run finds can be seen again:
//!
//! ```text
//! RINGMQ_SIM_SEED=17 cargo test --test simulation -- --nocapture      one seed
//! RINGMQ_SIM_SECONDS=3600 cargo test --test simulation                for an hour
//! RINGMQ_SIM_TRACE=1                                                  tell what happens
//! RINGMQ_SIM_WRITE=mmap            write in this mode always, else in any after each start
//! ```

#[path = "simulation/arena.rs"]
mod arena;
#[path = "simulation/checker.rs"]
mod checker;
#[path = "simulation/client.rs"]
mod client;
#[path = "simulation/disk.rs"]
mod disk;
#[path = "simulation/ends.rs"]
mod ends;
#[path = "simulation/files.rs"]
mod files;
#[path = "simulation/load.rs"]
mod load;
#[path = "simulation/net.rs"]
mod net;
#[path = "simulation/page_cache.rs"]
mod page_cache;
#[path = "simulation/perform.rs"]
mod perform;
#[path = "simulation/plan.rs"]
mod plan;
#[path = "simulation/process.rs"]
mod process;
#[path = "simulation/start.rs"]
mod start;
#[path = "simulation/world.rs"]
mod world;

use std::time::{Duration, Instant};

use checker::Counts;
use world::{Config, World, WorldCounts};

/// What everything random is drawn from.
pub type Random = rand::rngs::SmallRng;

/// Load and faults of one run, in simulated time.
const LOAD_US: u64 = 20_000_000;

/// Says which seed has failed.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with RINGMQ_SIM_SEED={}", self.0);
        }
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

fn play(seed: u64, load_us: u64) -> (u64, WorldCounts, Counts) {
    let _seed = Seed(seed);
    let mut config = Config::of_seed(seed, load_us, setting("RINGMQ_SIM_TRACE").is_some());
    config.write = std::env::var("RINGMQ_SIM_WRITE").ok().map(|mode| mode.parse().expect("a mode"));
    let mut world = World::new(config);
    world.play();
    (world.digest, world.counts, world.checker.counts)
}

#[test]
fn no_promise_is_broken_whatever_fails() {
    if let Some(seed) = setting("RINGMQ_SIM_SEED") {
        let (_, world, history) = play(seed, LOAD_US);
        println!("seed {seed}: {world:?} {history:?}");
        return;
    }
    let time = Duration::from_secs(setting("RINGMQ_SIM_SECONDS").unwrap_or(20));
    let begun = Instant::now();
    let mut seed = 1;
    while begun.elapsed() < time {
        let (_, world, history) = play(seed, LOAD_US);
        println!("seed {seed} at {:?}: {world:?} {history:?}", begun.elapsed());
        seed += 1;
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in [1_001, 1_002] {
        let first = play(seed, 3_000_000);
        assert_eq!(first, play(seed, 3_000_000), "seed {seed}");
    }
}
