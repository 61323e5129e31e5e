//! The byte map of an arena file.
//!
//! ```text
//!  0        4096      8192                                       front
//!  | fixed  | words   | journal half 0 | journal half 1 | pool … | log ring |
//! ```
//!
//! The fixed page is written once, before the arena gets its name. The words change
//! while it is used, each one aligned eight bytes on a cache line of its own. Numbers
//! are little-endian; an arena never leaves the machine, nor the boot, it was made in.

use super::ArenaError;
use crate::base::limits::BLOCK_BYTES;

const MAGIC: u64 = u64::from_le_bytes(*b"ringmqAR");
const VERSION: u32 = 1;
const FIXED_BYTES: usize = 4096;
/// Bytes of the fixed page that its checksum covers; the checksum follows them.
const FIXED_USED: usize = 128;

/// Words of the second page.
pub(super) const WORD_START: usize = 4096;
pub(super) const WORD_EDGE: usize = 4096 + 64;
pub(super) const WORD_JOURNAL_ACTIVE: usize = 4096 + 128;
pub(super) const WORD_JOURNAL_LEN: [usize; 2] = [4096 + 192, 4096 + 256];
const JOURNAL_AT: usize = 8192;

/// A transparent huge page.
const HUGE_PAGE: usize = 2 * 1024 * 1024;

/// Lent bytes of the ring are counted per page of this size.
pub(in crate::reactor) const LEND_PAGE: u64 = 64 * 1024;

/// The sizes that an arena is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaSizes {
    /// Bytes of the log ring, a multiple of 64 KiB.
    pub ring: u64,
    /// Slots of the pool, and bytes of each, a multiple of 4096.
    pub slots: u16,
    pub slot_bytes: u32,
    /// Bytes of one half of the journal, a multiple of 4096.
    pub journal_half: u32,
}

impl ArenaSizes {
    /// Divides a whole arena: three quarters for the log ring, the rest for a pool of
    /// 256 KiB slots and for the journal. `total` is at least 4 MiB.
    pub fn of_total(total: u64) -> Self {
        const SLOT: u64 = 256 * 1024;
        const UNIT: u64 = 2 * 1024 * 1024;
        assert!(total >= 2 * UNIT, "an arena of {total} bytes is too small to divide");
        let ring = (total / 4 * 3).max(UNIT) / UNIT * UNIT;
        let journal_half = (total / 64).clamp(64 * 1024, 1024 * 1024) & !(BLOCK_BYTES - 1);
        let front = total - ring;
        let slots = (front - JOURNAL_AT as u64 - 2 * journal_half) / SLOT;
        Self {
            ring,
            slots: slots.min(u64::from(u16::MAX)) as u16,
            slot_bytes: SLOT as u32,
            journal_half: journal_half as u32,
        }
    }
}

/// Whose arena it is, and of which life of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArenaIdentity {
    pub data_dir: [u8; 16],
    pub shard: u32,
    /// One more at each start of the shard.
    pub life: u64,
    /// The boot of the machine: shared memory does not outlive it.
    pub boot: [u8; 16],
}

/// The kernel's name for the time since the machine started.
pub fn boot_id() -> std::io::Result<[u8; 16]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let mut id = [0; 16];
    let mut digits = text.chars().filter_map(|c| c.to_digit(16));
    for byte in &mut id {
        let (Some(high), Some(low)) = (digits.next(), digits.next()) else {
            return Err(std::io::Error::other("the boot id is shorter than 32 digits"));
        };
        *byte = (high * 16 + low) as u8;
    }
    Ok(id)
}

/// Where the parts lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::reactor) struct Layout {
    pub sizes: ArenaSizes,
    /// Bytes before the log ring, a multiple of `unit`.
    pub front: usize,
    /// The page size of the file: 4096, or that of its huge pages.
    pub unit: usize,
}

impl Layout {
    pub fn new(mut sizes: ArenaSizes, unit: usize) -> Result<Self, ArenaError> {
        sizes.ring = sizes.ring.next_multiple_of(unit as u64);
        let layout = Self { sizes, front: 0, unit };
        // Transparent huge pages need the ring to begin where one of them may begin.
        let huge = unit.max(HUGE_PAGE);
        let align = if layout.ring().is_multiple_of(huge) { huge } else { unit };
        let front = layout.slot_at(sizes.slots).next_multiple_of(align);
        let layout = Self { front, ..layout };
        layout.check()?;
        Ok(layout)
    }

    /// The bounds that every range computed from a layout relies on.
    fn check(&self) -> Result<(), ArenaError> {
        let block = BLOCK_BYTES as u32;
        let sizes = &self.sizes;
        let sound = self.unit.is_power_of_two()
            && self.unit >= BLOCK_BYTES as usize
            && self.unit <= 1 << 30
            && sizes.ring > 0
            && sizes.ring.is_multiple_of(LEND_PAGE)
            && sizes.ring.is_multiple_of(self.unit as u64)
            && sizes.ring <= 1 << 40
            && sizes.slot_bytes.is_multiple_of(block)
            && sizes.journal_half.is_multiple_of(block)
            && self.front.is_multiple_of(self.unit)
            && self.front >= self.slot_at(sizes.slots)
            && self.front <= 1 << 40;
        if sound { Ok(()) } else { Err(ArenaError::Sizes(*sizes)) }
    }

    pub fn ring(&self) -> usize {
        self.sizes.ring as usize
    }

    /// Bytes of the file.
    pub fn file_len(&self) -> usize {
        self.front + self.ring()
    }

    pub fn half_at(&self, half: usize) -> usize {
        JOURNAL_AT + half * self.sizes.journal_half as usize
    }

    /// Where a slot begins; of the slot after the last, where the pool ends.
    pub fn slot_at(&self, slot: u16) -> usize {
        self.half_at(2) + slot as usize * self.sizes.slot_bytes as usize
    }

    /// The address of a log offset, from the start of the mapping.
    pub fn log_at(&self, offset: u64) -> usize {
        self.front + (offset % self.sizes.ring) as usize
    }

    /// The fixed page.
    pub fn encode(&self, identity: &ArenaIdentity) -> [u8; FIXED_BYTES] {
        let mut page = [0; FIXED_BYTES];
        let sizes = &self.sizes;
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            page[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&MAGIC.to_le_bytes());
        put(&VERSION.to_le_bytes());
        put(&identity.shard.to_le_bytes());
        put(&identity.data_dir);
        put(&identity.life.to_le_bytes());
        put(&identity.boot);
        put(&sizes.ring.to_le_bytes());
        put(&(self.front as u64).to_le_bytes());
        put(&(self.unit as u64).to_le_bytes());
        put(&u32::from(sizes.slots).to_le_bytes());
        put(&sizes.slot_bytes.to_le_bytes());
        put(&sizes.journal_half.to_le_bytes());
        assert!(at <= FIXED_USED);
        let crc = crc32fast::hash(&page[..FIXED_USED]);
        page[FIXED_USED..FIXED_USED + 4].copy_from_slice(&crc.to_le_bytes());
        page
    }

    /// Reads a fixed page back; every size is checked before anyone computes with it.
    pub fn decode(page: &[u8; FIXED_BYTES]) -> Result<(Self, ArenaIdentity), ArenaError> {
        let mut reader = Reader { page, at: 0 };
        if reader.u64() != MAGIC {
            return Err(ArenaError::NotAnArena);
        }
        let version = reader.u32();
        if version != VERSION {
            return Err(ArenaError::Version(version));
        }
        let crc = crc32fast::hash(&page[..FIXED_USED]);
        if page[FIXED_USED..FIXED_USED + 4] != crc.to_le_bytes() {
            return Err(ArenaError::HeaderChecksum);
        }
        let shard = reader.u32();
        let data_dir = reader.array();
        let life = reader.u64();
        let boot = reader.array();
        let ring = reader.u64();
        let front = reader.u64() as usize;
        let unit = reader.u64() as usize;
        let slots = reader.u32() as u16;
        let slot_bytes = reader.u32();
        let journal_half = reader.u32();
        let sizes = ArenaSizes { ring, slots, slot_bytes, journal_half };
        let layout = Self { sizes, front, unit };
        layout.check()?;
        Ok((layout, ArenaIdentity { data_dir, shard, life, boot }))
    }
}

struct Reader<'a> {
    page: &'a [u8; FIXED_BYTES],
    at: usize,
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.page[self.at..self.at + N]);
        self.at += N;
        bytes
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_page_reads_back_as_it_was_written() {
        let layout = Layout::new(ArenaSizes::of_total(64 << 20), 4096).unwrap();
        let identity = ArenaIdentity { data_dir: [7; 16], shard: 3, life: 9, boot: [8; 16] };
        assert_eq!(Layout::decode(&layout.encode(&identity)).unwrap(), (layout, identity));
    }

    #[test]
    fn any_flipped_bit_of_the_fixed_page_is_noticed() {
        let layout = Layout::new(ArenaSizes::of_total(64 << 20), 4096).unwrap();
        let page = layout.encode(&ArenaIdentity::default());
        for bit in 0..(FIXED_USED + 4) * 8 {
            let mut flipped = page;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Layout::decode(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_divided_arena_uses_what_it_was_given() {
        for total in [16 << 20, 64 << 20, 100 << 20, 4u64 << 30] {
            let layout = Layout::new(ArenaSizes::of_total(total), 2 << 20).unwrap();
            assert!(layout.file_len() as u64 <= total + (4 << 20), "{total}");
            assert!(layout.file_len() as u64 >= total - (4 << 20), "{total}");
            assert!(layout.sizes.slots >= 8, "{total}");
        }
    }
}
