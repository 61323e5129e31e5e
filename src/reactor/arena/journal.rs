//! The journal of an arena: small entries that outlive the process.
//!
//! Two halves take turns. Entries go to the active one; when their owner begins to
//! persist everything elsewhere it switches, and clears the other half once that has
//! succeeded. An entry is its length, a CRC over length and content, the content,
//! padded to eight bytes; it counts when the half's length covers it.

use super::layout::{Layout, WORD_JOURNAL_ACTIVE, WORD_JOURNAL_LEN};
use super::memory::Memory;
use crate::base::memory::JournalFull;
use std::rc::Rc;
use std::sync::atomic::Ordering;

const HEAD: usize = 8;

/// The one handle that writes the journal.
pub struct ArenaJournal {
    memory: Rc<Memory>,
    active: usize,
    len: usize,
}

impl ArenaJournal {
    pub(super) fn new(memory: Rc<Memory>) -> Self {
        Self { memory, active: 0, len: 0 }
    }

    /// Adds an entry; once this returns, it survives our crash.
    pub fn append(&mut self, content: &[u8]) -> Result<(), JournalFull> {
        let half = self.memory.layout.sizes.journal_half as usize;
        if content.len() > half || self.len + entry_len(content.len()) > half {
            return Err(JournalFull);
        }
        let len = (content.len() as u32).to_le_bytes();
        let crc = entry_crc(len, content).to_le_bytes();
        let at = self.memory.layout.half_at(self.active) + self.len;
        let base = self.memory.at(at, entry_len(content.len()));
        // SAFETY: the entry lies above the half's length, and only this handle touches halves.
        unsafe {
            base.copy_from_nonoverlapping(len.as_ptr(), 4);
            base.add(4).copy_from_nonoverlapping(crc.as_ptr(), 4);
            base.add(HEAD).copy_from_nonoverlapping(content.as_ptr(), content.len());
        }
        self.len += entry_len(content.len());
        self.store_len(self.active, self.len);
        Ok(())
    }

    /// Later entries go to the other half. Panics unless that was cleared.
    pub fn switch(&mut self) {
        let other = 1 - self.active;
        let other_len = self.memory.word(WORD_JOURNAL_LEN[other]).load(Ordering::Relaxed);
        assert!(other_len == 0, "the other half of the journal still holds entries");
        self.memory.word(WORD_JOURNAL_ACTIVE).store(other as u64, Ordering::Release);
        self.active = other;
        self.len = 0;
    }

    /// Forgets the entries from before the last switch: they are durable elsewhere.
    pub fn clear_other(&mut self) {
        self.store_len(1 - self.active, 0);
    }

    /// Whether `switch` may be called.
    pub fn other_is_clear(&self) -> bool {
        self.memory.word(WORD_JOURNAL_LEN[1 - self.active]).load(Ordering::Relaxed) == 0
    }

    /// Bytes in use and bytes of the active half.
    pub fn usage(&self) -> (usize, usize) {
        (self.len, self.memory.layout.sizes.journal_half as usize)
    }

    fn store_len(&self, half: usize, len: usize) {
        self.memory.word(WORD_JOURNAL_LEN[half]).store(len as u64, Ordering::Release);
    }
}

/// Walks the entries of one half; ends at the first that is not whole.
pub(super) fn entries(half: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = half;
    std::iter::from_fn(move || {
        let len: [u8; 4] = *rest.first_chunk()?;
        let crc = rest.get(4..HEAD)?;
        let content = rest.get(HEAD..HEAD.checked_add(u32::from_le_bytes(len) as usize)?)?;
        if crc != entry_crc(len, content).to_le_bytes() {
            return None;
        }
        rest = rest.get(entry_len(content.len())..).unwrap_or_default();
        Some(content)
    })
}

/// The halves in the order in which they were written, as lengths checked against the layout.
pub(super) fn halves(layout: &Layout, word: impl Fn(usize) -> u64) -> [(usize, usize); 2] {
    let active = usize::from(word(WORD_JOURNAL_ACTIVE) == 1);
    [1 - active, active].map(|half| {
        let len = word(WORD_JOURNAL_LEN[half]).min(u64::from(layout.sizes.journal_half));
        (layout.half_at(half), len as usize)
    })
}

fn entry_len(content: usize) -> usize {
    (HEAD + content).next_multiple_of(8)
}

fn entry_crc(len: [u8; 4], content: &[u8]) -> u32 {
    crate::base::checksum::chained_crc(crc32fast::hash(&len), content)
}
