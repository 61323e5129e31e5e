//! The broker as its peers see it: bytes in, bytes out, through a whole shard in memory.
//! `node.rs` is the world around it, `metadata.rs` what would make its changes durable,
//! `requests_common` what peers say; the other files tell what must come of it.

#[path = "../requests_common/mod.rs"]
mod frames;
#[path = "../log_common/mod.rs"]
mod log_common;

mod memory;
mod metadata;
mod node;

mod admin_groups;
mod admin_options;
mod admin_progress;
mod admin_topics;
mod cold_index;
mod creation;
mod members;
mod offsets;
mod pull;
mod pull_hold;
mod send;
mod send_refused;
mod slow_reader;
mod transfer;
