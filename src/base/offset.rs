//! Positions. A bare `u64` is neither of them.

use std::fmt;
use std::ops::{Add, Sub};

/// Bytes from the start of a shard's CommitLog. Clients see it as the physical offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogOffset(pub u64);

/// Messages from the start of one queue of a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueOffset(pub u64);

impl LogOffset {
    /// The largest multiple of `unit` (a power of two) that is not above `self`.
    pub fn align_down(self, unit: u64) -> Self {
        debug_assert!(unit.is_power_of_two());
        Self(self.0 & !(unit - 1))
    }

    /// The smallest multiple of `unit` (a power of two) that is not below `self`.
    pub fn align_up(self, unit: u64) -> Self {
        Self(self.0 + (unit - 1)).align_down(unit)
    }
}

macro_rules! position {
    ($name:ident) => {
        impl Add<u64> for $name {
            type Output = Self;
            fn add(self, count: u64) -> Self {
                Self(self.0 + count)
            }
        }

        /// The distance from an earlier position; an overflow is an invariant broken.
        impl Sub for $name {
            type Output = u64;
            fn sub(self, earlier: Self) -> u64 {
                self.0 - earlier.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

position!(LogOffset);
position!(QueueOffset);
