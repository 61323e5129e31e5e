//! Generating load: frames built once and patched, connections that keep a
//! window of requests in flight, and what became of each request.

mod connection;
mod flight;
mod pace;
mod recorder;
mod run;
mod template;
mod thread;

pub use recorder::{Outcome, Recorder, Second};
pub use run::{Clock, Control, Limit, LoadPlan, LoadResult, Mark, Phase, run, run_by};
pub use template::{FrameBank, MessageShape};
