//! The Kafka protocol as a load tool needs it.
//!
//! Requests are encoded by `kafka-protocol`. Replies are read in place by
//! [`Reader`], which allocates nothing by a peer's lengths; the tests hold it
//! against what the crate writes.

mod client;
mod read;
mod request;
mod topic;

pub use client::KafkaClient;
pub use read::{KafkaError, Reader, take_frame};
pub use request::{FRAME_BYTES_MAX, Request, topic_name, version};
pub use topic::{QueueEnds, create_topic, leaders_known, queue_ends};
