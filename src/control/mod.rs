//! Outside the message path: what may wait for a disk or a network.

pub mod clock;
pub mod kept_values;
pub mod metadata;
pub mod name_server;
pub mod registration;
pub mod signals;

mod frames;
