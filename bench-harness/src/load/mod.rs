//! Generating load in either protocol: frames built once and patched, connections that keep a
//! window of requests in flight, and what became of each request.

mod bank;
mod batches;
mod connection;
mod flight;
mod pace;
mod recorder;
mod run;
mod template;
mod thread;

pub use bank::{Bank, MessageShape, Produce, Protocol, Remoting};
pub use batches::BatchBank;
pub use recorder::{Outcome, Recorder, Second};
pub use run::{Beside, Clock, Control, Limit, LoadPlan, LoadResult, Mark, Phase, run, run_by};
pub use template::FrameBank;
