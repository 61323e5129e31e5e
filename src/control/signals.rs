//! SIGTERM and SIGINT as a value that can be awaited.

use std::{io, process, thread};

use nix::sys::signal::{SigSet, Signal};
use tokio::sync::watch;
use tracing::{info, warn};

/// Watches for the signals that ask a process to end. The first asks; a second one
/// ends the process at once.
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
            info!("{signal}: stopping; the same again ends at once");
            asked.send_replace(true);
            if let Ok(signal) = signals.wait() {
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
