//! Reading a backlog and checking it: every queue, from an offset to the end
//! that it had when the drain began.

mod fetches;
mod puller;
mod remoting;
mod run;
mod stored;
mod subscription;
mod verify;

pub use fetches::Fetches;
pub use puller::{Arrival, Pulls};
pub use remoting::RemotingPulls;
pub use run::{DrainPlan, DrainResult, DrainStyle, QueueSpan, kafka_spans, run, spans};
pub use stored::{StoredError, StoredMessage, take_stored};
pub use subscription::Subscription;
pub use verify::{Findings, Verifier};
