//! Reading a backlog and checking it: every queue, from an offset to the end
//! that it had when the drain began.

mod puller;
mod run;
mod stored;
mod verify;

pub use puller::{PullStyle, pull_request};
pub use run::{DrainPlan, DrainResult, QueueSpan, run, spans};
pub use stored::{StoredError, StoredMessage, take_stored};
pub use verify::{Findings, Verifier};
