//! Words that all rooms share: positions, bounds, checksums, and the traits by
//! which rooms that never meet speak of the same memory.

pub mod checksum;
pub mod connection;
pub mod limits;
pub mod memory;
pub mod offset;
pub mod outgoing;
pub mod properties;
pub mod time;

pub use connection::ConnId;
pub use offset::{LogOffset, QueueOffset};
pub use time::Now;
