//! Ways in which log bytes get to a socket: their names, which one a pull takes, and what
//! each has moved.

use std::fmt;
use std::str::FromStr;

/// One way of moving log bytes to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Transfer {
    /// Copied into memory of the reply, then sent.
    Copy,
    /// Sent out of a mapping of the segment.
    Mmap,
    /// Sent out of the arena, piece by piece.
    Gather,
    /// sendfile(2) from the page cache.
    Sendfile,
    /// splice(2) from the page cache through a pipe.
    Splice,
    /// Sent out of the arena; the kernel takes the pages instead of copying.
    SendZc,
    /// Read from the disk into the arena, then sent from there.
    Direct,
}

impl Transfer {
    pub const ALL: [Self; 7] = [
        Self::Copy,
        Self::Mmap,
        Self::Gather,
        Self::Sendfile,
        Self::Splice,
        Self::SendZc,
        Self::Direct,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Mmap => "mmap",
            Self::Gather => "gather",
            Self::Sendfile => "sendfile",
            Self::Splice => "splice",
            Self::SendZc => "send-zc",
            Self::Direct => "direct",
        }
    }

    /// Whether it takes bytes from the page cache.
    pub fn is_from_page_cache(self) -> bool {
        FileWay::of(self).is_some()
    }
}

/// What an operator chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TransferChoice {
    /// Whatever the profile finds best for where the bytes lie and how many they are.
    #[default]
    Auto,
    Fixed(Transfer),
}

impl TransferChoice {
    pub const NAMES: &str = "auto, copy, mmap, gather, sendfile, splice, send-zc or direct";

    pub fn all() -> impl Iterator<Item = Self> {
        std::iter::once(Self::Auto).chain(Transfer::ALL.map(Self::Fixed))
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Fixed(transfer) => transfer.name(),
        }
    }
}

/// The name is none of [`TransferChoice::NAMES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownTransfer;

impl fmt::Display for UnknownTransfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a transfer strategy is one of {}", TransferChoice::NAMES)
    }
}

impl std::error::Error for UnknownTransfer {}

impl FromStr for TransferChoice {
    type Err = UnknownTransfer;

    fn from_str(text: &str) -> Result<Self, UnknownTransfer> {
        Self::all().find(|choice| choice.name() == text).ok_or(UnknownTransfer)
    }
}

impl fmt::Display for TransferChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a piece of a segment's file is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileWay {
    Read,
    #[default]
    Map,
    Sendfile,
    Splice,
}

impl FileWay {
    pub fn of(transfer: Transfer) -> Option<Self> {
        match transfer {
            Transfer::Copy => Some(Self::Read),
            Transfer::Mmap => Some(Self::Map),
            Transfer::Sendfile => Some(Self::Sendfile),
            Transfer::Splice => Some(Self::Splice),
            Transfer::Gather | Transfer::SendZc | Transfer::Direct => None,
        }
    }

    pub fn transfer(self) -> Transfer {
        match self {
            Self::Read => Transfer::Copy,
            Self::Map => Transfer::Mmap,
            Self::Sendfile => Transfer::Sendfile,
            Self::Splice => Transfer::Splice,
        }
    }
}

/// How bytes in the arena's ring are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TailWay {
    Copy,
    #[default]
    Gather,
    ZeroCopy,
}

/// Where bytes that are in no memory are brought to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Through {
    /// Into the arena's pool, past the page cache.
    #[default]
    Direct,
    /// Into the page cache.
    PageCache,
}

/// Where one pull's bytes leave from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The page cache is used at all,
    pub from_file: bool,
    /// … and preferred to the ring.
    pub file_first: bool,
    pub cold: Through,
    /// The one strategy that was asked for: any other is a fallback, and counted.
    pub strict: Option<Transfer>,
}

/// Sizes of pieces that `auto` tells apart: the upper bounds of all classes but the last.
/// Pieces, since that is what costs: a gather takes many in one call, sendfile a call each.
pub const SIZE_CLASSES: [u32; 5] = [8 << 10, 32 << 10, 128 << 10, 512 << 10, 2 << 20];

/// What `auto` does, by where bytes lie and how many of a reply lie together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferRules {
    /// For bytes in the ring, by size class.
    pub tail: [TailWay; SIZE_CLASSES.len() + 1],
    /// For bytes in the page cache.
    pub hot: [FileWay; SIZE_CLASSES.len() + 1],
    pub cold: Through,
}

impl Default for TransferRules {
    /// What wins on most machines that were measured (`src/ARCHITECTURE.md` tells where).
    fn default() -> Self {
        const CLASSES: usize = SIZE_CLASSES.len() + 1;
        Self {
            tail: [TailWay::Gather; CLASSES],
            hot: [FileWay::Map; CLASSES],
            cold: Through::PageCache,
        }
    }
}

impl TransferRules {
    /// Where a pull's bytes are taken from.
    pub fn plan(&self, choice: TransferChoice) -> Plan {
        let TransferChoice::Fixed(transfer) = choice else {
            return Plan { from_file: true, file_first: false, cold: self.cold, strict: None };
        };
        let from_file = transfer.is_from_page_cache();
        Plan {
            from_file,
            file_first: from_file && transfer != Transfer::Copy,
            cold: if from_file { Through::PageCache } else { Through::Direct },
            strict: Some(transfer),
        }
    }

    /// How they leave, pieces of about `piece_bytes` each: those of the ring and of the pool,
    /// and those of files, which only strategies of the page cache have.
    pub fn ways(&self, choice: TransferChoice, piece_bytes: u32) -> (TailWay, FileWay) {
        let TransferChoice::Fixed(transfer) = choice else {
            let class = SIZE_CLASSES.partition_point(|bound| *bound <= piece_bytes);
            return (self.tail[class], self.hot[class]);
        };
        let tail = match transfer {
            Transfer::Copy => TailWay::Copy,
            Transfer::SendZc => TailWay::ZeroCopy,
            _ => TailWay::Gather,
        };
        (tail, FileWay::of(transfer).unwrap_or_default())
    }
}

/// Why bytes went another way than was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fallback {
    /// The tail: its file is still being written past the page cache.
    TailNotInPageCache,
    /// The page cache gave the bytes up before they could be sent.
    NotResident,
    /// They are no longer in the arena, and were read into its pool.
    NotInArena,
    /// They are still in the arena, and need no read.
    StillInArena,
    /// Pipes, or descriptors for them, ran out: sendfile.
    NoPipe,
    /// The segment could not be mapped: sendfile.
    NoMapping,
    /// The kernel has no zero-copy send, or no memory may be locked for it: gather.
    NoZeroCopy,
}

impl Fallback {
    pub const ALL: [Self; 7] = [
        Self::TailNotInPageCache,
        Self::NotResident,
        Self::NotInArena,
        Self::StillInArena,
        Self::NoPipe,
        Self::NoMapping,
        Self::NoZeroCopy,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::TailNotInPageCache => "tail-not-in-page-cache",
            Self::NotResident => "not-resident",
            Self::NotInArena => "not-in-arena",
            Self::StillInArena => "still-in-arena",
            Self::NoPipe => "no-pipe",
            Self::NoMapping => "no-mapping",
            Self::NoZeroCopy => "no-zero-copy",
        }
    }
}

/// What one strategy has moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Log bytes that were handed to it.
    pub bytes: u64,
    /// System calls or ring operations that sent them.
    pub calls: u64,
    /// Bytes that the CPU copied in user space.
    pub user_copied: u64,
    /// Bytes that the CPU copied in the kernel, as far as known from the strategy.
    pub kernel_copied: u64,
}

/// What all of them have moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransferCounters {
    by: [Moved; Transfer::ALL.len()],
    fallbacks: [u64; Fallback::ALL.len()],
    /// Looks at the page cache that did not find what was wanted.
    pub residency_misses: u64,
}

impl TransferCounters {
    pub fn of(&self, transfer: Transfer) -> &Moved {
        &self.by[transfer as usize]
    }

    pub fn of_mut(&mut self, transfer: Transfer) -> &mut Moved {
        &mut self.by[transfer as usize]
    }

    /// A call has sent bytes of this strategy.
    pub fn called(&mut self, transfer: Option<Transfer>) {
        if let Some(transfer) = transfer {
            self.of_mut(transfer).calls += 1;
        }
    }

    pub fn fallbacks(&self, reason: Fallback) -> u64 {
        self.fallbacks[reason as usize]
    }

    pub fn fall_back(&mut self, reason: Fallback) {
        self.fallbacks[reason as usize] += 1;
    }

    /// Adds what another part has counted.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.by.iter_mut().zip(&other.by) {
            mine.bytes += theirs.bytes;
            mine.calls += theirs.calls;
            mine.user_copied += theirs.user_copied;
            mine.kernel_copied += theirs.kernel_copied;
        }
        for (mine, theirs) in self.fallbacks.iter_mut().zip(&other.fallbacks) {
            *mine += theirs;
        }
        self.residency_misses += other.residency_misses;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_is_read_from_its_own_name_and_nothing_else_is_one() {
        for choice in TransferChoice::all() {
            assert_eq!(choice.name().parse(), Ok(choice));
            assert!(TransferChoice::NAMES.contains(choice.name()));
        }
        for other in ["", "Auto", "send_zc", "sendfile "] {
            assert_eq!(other.parse::<TransferChoice>(), Err(UnknownTransfer), "{other:?}");
        }
    }

    #[test]
    fn auto_takes_the_rule_of_the_size_and_a_fixed_choice_itself() {
        let mut rules = TransferRules::default();
        rules.hot[1] = FileWay::Sendfile;
        rules.hot[5] = FileWay::Splice;
        let file = |bytes| rules.ways(TransferChoice::Auto, bytes).1;
        assert_eq!(file(SIZE_CLASSES[0] - 1), rules.hot[0]);
        assert_eq!(file(SIZE_CLASSES[0]), FileWay::Sendfile);
        assert_eq!(file(u32::MAX), FileWay::Splice);
        for transfer in Transfer::ALL {
            let choice = TransferChoice::Fixed(transfer);
            let plan = rules.plan(choice);
            assert_eq!(plan.strict, Some(transfer));
            assert_eq!(plan.from_file, transfer.is_from_page_cache());
            assert_eq!(plan.cold == Through::PageCache, transfer.is_from_page_cache());
            if let Some(way) = FileWay::of(transfer) {
                assert_eq!(rules.ways(choice, 1).1, way);
            }
        }
    }
}
