//! What a run cost: the broker's process, and the machine it ran on.

mod host;
mod process;

pub use host::{HostFacts, MachineMark, MachineUse};
pub use process::{ProcessMark, ProcessUse};
