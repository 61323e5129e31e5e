//! The name of a connection, as rooms use it that hold no socket.

/// A connection of one data thread. Its number is reused, with another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    pub index: u32,
    pub generation: u32,
}
