//! A data thread's surroundings: the files of its shards and the helpers that wait for them.

pub mod files;
pub mod helper;
