//! Generating load: frames built once and patched, connections that keep a
//! window of requests in flight, and what became of each request.

mod connection;
mod flight;
mod pace;
mod recorder;
mod run;
mod template;
mod thread;

pub use recorder::{Outcome, Recorder};
pub use run::{Limit, LoadPlan, LoadResult, Mark, run};
pub use template::{FrameBank, MessageShape};
