//! The control thread's clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::base::Now;

/// Reads both clocks; monotonic time starts with it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    pub fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono_us: self.started.elapsed().as_micros() as u64, unix_ms: unix.as_millis() as i64 }
    }
}
