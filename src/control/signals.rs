//! SIGTERM and SIGINT as a value that can be awaited.

use std::time::{Duration, Instant};
use std::{io, process, thread};

use nix::sys::signal::{SigSet, Signal};
use tokio::sync::watch;
use tracing::{info, warn};

/// A signal that comes so soon after the first is the same wish, told twice: `timeout`
/// signals its child and then the child's group, a terminal its group and the shell.
const SAME_WISH: Duration = Duration::from_millis(250);

/// Watches for the signals that ask a process to end. The first asks; a later one ends
/// the process at once.
pub struct Signals {
    stop: watch::Receiver<bool>,
}

impl Signals {
    /// Blocks the signals in this thread, and so in all that it starts from now on: call
    /// it before any other thread exists. One thread waits for them.
    pub fn watch() -> io::Result<Self> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGTERM);
        signals.add(Signal::SIGINT);
        signals.thread_block()?;
        let (asked, stop) = watch::channel(false);
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let Ok(signal) = signals.wait() else { return };
            let first = Instant::now();
            info!("{signal}: stopping; the same again ends at once");
            asked.send_replace(true);
            while let Ok(signal) = signals.wait() {
                if first.elapsed() < SAME_WISH {
                    continue;
                }
                warn!("{signal} again: ending at once");
                process::exit(130);
            }
        })?;
        Ok(Self { stop })
    }

    /// Becomes true with the first signal.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.clone()
    }
}
