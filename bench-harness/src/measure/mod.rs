//! What a run cost: the broker's process, and the machine it ran on.

mod host;
mod latency;
mod process;

pub use host::{HostFacts, MachineMark, MachineUse};
pub use latency::{decode, encode, latencies};
pub use process::{ProcessMark, ProcessUse};
