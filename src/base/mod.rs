//! Words that all rooms share: positions, bounds, checksums, and the traits by
//! which rooms that never meet speak of the same memory.

pub mod ack;
pub mod checksum;
pub mod connection;
pub mod counters;
pub mod group;
pub mod hex;
pub mod limits;
pub mod memory;
pub mod metadata;
pub mod names;
pub mod offset;
pub mod options;
pub mod outgoing;
pub mod properties;
pub mod time;
pub mod topic;
pub mod transfer;
pub mod unique_id;
pub mod write_mode;

pub use ack::AckLevel;
pub use connection::ConnId;
pub use offset::{LogOffset, QueueOffset};
pub use time::Now;
pub use topic::TopicId;
pub use unique_id::UniqueIds;
pub use write_mode::WriteMode;
