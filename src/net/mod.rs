//! Connections as values: bytes in, frames out; replies, backlog, limits. What a
//! request means is not known here.

mod connection;
mod connections;

pub use connection::{Connection, Reading};
pub use connections::{Broken, Connections, Departure, Stuck};
