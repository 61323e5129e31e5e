//! The run mark: a small file that says which life of the shard ran last, and whether
//! it ended cleanly. It is durable before the first acknowledgement of a life, and
//! again when a clean stop is complete; written aside and renamed, so it is never torn.

use std::fmt;

use crate::base::checksum::chained_crc;

use super::footer::{ChainEnd, FORMAT_VERSION};

/// Bytes of an encoded run mark; `FORMAT.md` has the map.
pub const RUN_MARK_BYTES: usize = 96;

const MAGIC: u64 = u64::from_be_bytes(*b"RMQRUNMK");
const FLAG_CLEAN: u16 = 1;
const FLAG_ARENA: u16 = 2;

/// One boot of the kernel, as `/proc/sys/kernel/random/boot_id` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootId(pub [u8; 16]);

/// One arena file: random, made with it, kept in its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaId(pub [u8; 16]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunMark {
    /// One more at each start.
    pub life: u64,
    pub boot: BootId,
    /// The arena that outlives this life; `None` where none could be shared, or its name
    /// was lost: everything acknowledged is written.
    pub arena: Option<ArenaId>,
    /// Where the log ends, once it has been stopped cleanly: a start needs no scan.
    pub clean: Option<ChainEnd>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunMarkError {
    /// Not a run mark, or a damaged one.
    Damaged,
    /// Written by a ringmq with another format.
    Version(u16),
}

impl RunMark {
    pub fn encode(&self) -> [u8; RUN_MARK_BYTES] {
        let mut out = [0; RUN_MARK_BYTES];
        let clean = self.clean.unwrap_or_default();
        let flags = if self.clean.is_some() { FLAG_CLEAN } else { 0 }
            | if self.arena.is_some() { FLAG_ARENA } else { 0 };
        out[0..8].copy_from_slice(&MAGIC.to_be_bytes());
        out[8..10].copy_from_slice(&FORMAT_VERSION.to_be_bytes());
        out[10..12].copy_from_slice(&flags.to_be_bytes());
        out[16..24].copy_from_slice(&self.life.to_be_bytes());
        out[24..40].copy_from_slice(&self.boot.0);
        out[40..56].copy_from_slice(&self.arena.map_or([0; 16], |arena| arena.0));
        out[56..92].copy_from_slice(&clean.encode());
        let crc = chained_crc(0, &out[..RUN_MARK_BYTES - 4]);
        out[RUN_MARK_BYTES - 4..].copy_from_slice(&crc.to_be_bytes());
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, RunMarkError> {
        let bytes: &[u8; RUN_MARK_BYTES] = bytes.try_into().map_err(|_| RunMarkError::Damaged)?;
        let u16_at = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| u32::from_be_bytes(*bytes[at..].first_chunk().expect("in range"));
        let u64_at = |at: usize| u64::from_be_bytes(*bytes[at..].first_chunk().expect("in range"));
        let id_at = |at: usize| *bytes[at..].first_chunk::<16>().expect("in range");
        let crc = chained_crc(0, &bytes[..RUN_MARK_BYTES - 4]);
        if u64_at(0) != MAGIC || u32_at(RUN_MARK_BYTES - 4) != crc {
            return Err(RunMarkError::Damaged);
        }
        if u16_at(8) != FORMAT_VERSION {
            return Err(RunMarkError::Version(u16_at(8)));
        }
        let clean = ChainEnd::decode(bytes[56..].first_chunk().expect("in range"));
        let flags = u16_at(10);
        Ok(Self {
            life: u64_at(16),
            boot: BootId(id_at(24)),
            arena: (flags & FLAG_ARENA != 0).then(|| ArenaId(id_at(40))),
            clean: (flags & FLAG_CLEAN != 0).then_some(clean),
        })
    }
}

impl fmt::Display for RunMarkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged => write!(f, "the run mark is damaged"),
            Self::Version(found) => write!(
                f,
                "the log was written in format version {found}, this ringmq knows version \
                 {FORMAT_VERSION}: start the ringmq that wrote it"
            ),
        }
    }
}

impl std::error::Error for RunMarkError {}
