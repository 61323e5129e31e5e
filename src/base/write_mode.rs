//! How the log's bytes get into its segments.

use std::fmt;
use std::str::FromStr;

/// One format on disk, written in one of these ways; a directory may change from start
/// to start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WriteMode {
    /// Past the page cache, straight out of the arena (O_DIRECT).
    #[default]
    Direct,
    /// Copied by the CPU into the mapped segment, then written out.
    Mmap,
    /// Copied by the kernel into the page cache, then written out.
    Buffered,
    /// The same, and dropped from the page cache once it is on the disk.
    BufferedUncached,
}

impl WriteMode {
    pub const ALL: [Self; 4] = [Self::Direct, Self::Mmap, Self::Buffered, Self::BufferedUncached];

    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Mmap => "mmap",
            Self::Buffered => "buffered",
            Self::BufferedUncached => "buffered-uncached",
        }
    }

    /// Whether a write that is done may so far be a copy in the page cache alone.
    pub fn is_cached(self) -> bool {
        self != Self::Direct
    }
}

/// The text names no write mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownWriteMode;

impl FromStr for WriteMode {
    type Err = UnknownWriteMode;

    fn from_str(text: &str) -> Result<Self, UnknownWriteMode> {
        Self::ALL.into_iter().find(|mode| mode.name() == text).ok_or(UnknownWriteMode)
    }
}

impl fmt::Display for WriteMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_read_back_from_their_names() {
        for mode in WriteMode::ALL {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert_eq!("sync".parse::<WriteMode>(), Err(UnknownWriteMode));
    }
}
