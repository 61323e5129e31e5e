//! When a message counts as stored.

use std::fmt;
use std::str::FromStr;

/// A record is acknowledged, and becomes visible, when its topic's level is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AckLevel {
    /// In the arena: survives a crash of the process.
    #[default]
    Appended,
    /// Its write group has completed: survives a crash of the kernel.
    Written,
    /// Durable on media: survives a power cut.
    Flushed,
}

impl AckLevel {
    pub const ALL: [Self; 3] = [Self::Appended, Self::Written, Self::Flushed];

    pub fn name(self) -> &'static str {
        match self {
            Self::Appended => "appended",
            Self::Written => "written",
            Self::Flushed => "flushed",
        }
    }
}

/// The text names no ack level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownAckLevel;

impl FromStr for AckLevel {
    type Err = UnknownAckLevel;

    fn from_str(text: &str) -> Result<Self, UnknownAckLevel> {
        Self::ALL.into_iter().find(|level| level.name() == text).ok_or(UnknownAckLevel)
    }
}

impl fmt::Display for AckLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_ordered_and_read_back_from_their_names() {
        assert!(AckLevel::Appended < AckLevel::Written && AckLevel::Written < AckLevel::Flushed);
        for level in AckLevel::ALL {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        assert_eq!("durable".parse::<AckLevel>(), Err(UnknownAckLevel));
    }
}
