//! Data threads: completions become events, intents become operations. What a shard
//! decides is not known here, and topics and groups neither.

mod data_thread;
pub mod files;
pub mod helper;
mod index_work;
mod log_source;
mod mail;
mod readable;
mod seat;
mod writable;

pub use data_thread::{DataThread, Timing};
pub use index_work::IndexTask;
pub use log_source::LogSource;
pub use mail::{Courier, Letter, Mail, Outbox, mailbox};
pub use seat::Seat;
pub use writable::WritableSegment;
