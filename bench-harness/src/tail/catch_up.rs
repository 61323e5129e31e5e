//! A reader that goes through a backlog again and again beside the tail.

use crate::drain::{self, DrainPlan};
use crate::load::{Control, Phase};
use serde::Serialize;
use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// How fast it went, over all of its passes.
#[derive(Clone, Debug, Serialize)]
pub struct CatchUp {
    pub passes: u64,
    pub messages_per_second: f64,
    /// Whole records.
    pub megabytes_per_second: f64,
}

/// Reads until the measurement ends; the pass that is under way then is finished.
pub fn spawn(
    plan: DrainPlan,
    control: Arc<Control>,
) -> io::Result<JoinHandle<io::Result<CatchUp>>> {
    Builder::new().name("catch-up".into()).spawn(move || {
        let (mut passes, mut messages, mut bytes, mut time) = (0, 0, 0, Duration::ZERO);
        while control.phase() != Phase::Ending {
            let result = drain::run(&plan, || ())?;
            if let Some(why) = result.short.first() {
                return Err(io::Error::other(format!("catching up: {why}")));
            }
            passes += 1;
            messages += result.messages;
            bytes += result.body_bytes;
            time += result.elapsed;
        }
        let per_second = |count: u64| count as f64 / time.as_secs_f64().max(f64::MIN_POSITIVE);
        Ok(CatchUp {
            passes,
            messages_per_second: per_second(messages),
            megabytes_per_second: per_second(bytes) / 1e6,
        })
    })
}
