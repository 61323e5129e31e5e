//! Outside the message path: what may wait for a disk or a network.

pub mod metadata;
