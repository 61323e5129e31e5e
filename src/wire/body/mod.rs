//! JSON bodies, off the path of sends and pulls: serde structs with the names, the
//! order and the omissions of the reference, whitespace-free.
//!
//! The reference's own JSON is not standard: numbers and whole objects stand as keys.
//! `to_bytes` writes that form, `from_bytes` reads it and the standard one.

pub mod group;
pub mod heartbeat;
mod lenient;
pub mod lists;
mod odd_json;
pub mod properties;
pub mod queues;
pub mod register;
pub mod route;
pub mod topic;

pub use odd_json::{BodyError, from_bytes, to_bytes, to_standard_bytes};
