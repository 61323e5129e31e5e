//! The Kafka protocol as a load tool needs it.
//!
//! Requests are encoded by `kafka-protocol`. Replies are read in place by
//! [`Reader`], which allocates nothing by a peer's lengths; the tests hold it
//! against what the crate writes.

mod batch;
mod client;
mod fetch;
mod produce;
mod read;
mod request;
mod topic;

pub use batch::{Batch, CRC_AT, FIRST_TIME_AT, FLAGS_AT, LAST_TIME_AT, Record, take_batch};
pub use client::KafkaClient;
pub use fetch::{FetchStyle, Fetched, fetch_frame, read_fetched};
pub use produce::{encode_batch, produce_frame, produced_reply, scan_produced};
pub use read::{KafkaError, Reader, take_frame};
pub use request::{CORRELATION_AT, FRAME_BYTES_MAX, Request, version};
pub use topic::{QueueEnds, create_topic, delete_topic, leaders_known, queue_ends};
