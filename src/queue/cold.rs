//! Entries of written runs, which a helper reads for the shard: whole extents, checked.

use super::file::ReadAt;
use super::format::{UNIT_BYTES, check_extent, encode_entry, parse_entry};
use super::pool::RawEntry;
use super::{Entry, IndexError, QueueKey};
use crate::base::limits::INDEX_EXTENT_ENTRIES_MAX;
use crate::base::{LogOffset, QueueOffset};

/// An extent that lies in a file only. It says all that a helper needs; the run's file
/// may have been unlinked meanwhile, and then the queue is to be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColdRange {
    /// The run, which names the file: where its log range starts.
    pub run: LogOffset,
    /// Where its log range ends.
    pub run_end: LogOffset,
    pub key: QueueKey,
    /// Queue offset of the first entry.
    pub first: QueueOffset,
    pub count: u32,
    /// Where in the file it begins.
    pub(super) position: u64,
    pub(super) base_ms: i64,
}

/// The entries of a cold range, once read. Its memory can be used again.
#[derive(Default)]
pub struct ColdBlock {
    range: Option<ColdRange>,
    bytes: Vec<u8>,
}

/// Reads `range` from its run's file into `block`. Blocks; for helpers. An extent is
/// always read and checked whole, so no entry is ever served unchecked.
pub fn read_cold(
    file: &(impl ReadAt + ?Sized),
    range: &ColdRange,
    block: &mut ColdBlock,
) -> Result<(), IndexError> {
    assert!(range.count <= INDEX_EXTENT_ENTRIES_MAX);
    block.range = None;
    block.bytes.resize((range.count as usize + 1) * UNIT_BYTES, 0);
    file.read_exact_at(&mut block.bytes, range.position)?;
    if !check_extent(&block.bytes, range.key, range.first, range.count) {
        return Err(IndexError::Damaged { part: "extent", position: range.position });
    }
    block.range = Some(*range);
    Ok(())
}

impl ColdBlock {
    /// What was read, if anything was.
    pub fn range(&self) -> Option<&ColdRange> {
        self.range.as_ref()
    }

    /// Makes the block of `range` from the log, where its file has turned out damaged:
    /// from the entries of the range's queue that lie between `run` and `run_end`, in
    /// order. False when they are not what the range says; then the log has lost some.
    pub fn rebuild(
        &mut self,
        range: &ColdRange,
        entries: impl IntoIterator<Item = (QueueOffset, Entry)>,
    ) -> bool {
        self.range = None;
        self.bytes.clear();
        let end = range.first + u64::from(range.count);
        let mut expected = range.first;
        for (offset, entry) in entries {
            if offset < range.first || offset >= end {
                continue;
            }
            let store_ms = entry.store_ms.max(range.base_ms); // As `append` raised it.
            let entry = Entry { store_ms, ..entry };
            let Some(raw) = RawEntry::encode(&entry, range.run, range.base_ms) else {
                return false;
            };
            if offset != expected {
                return false;
            }
            self.bytes.extend_from_slice(&encode_entry(raw));
            expected = expected + 1;
        }
        self.range = (expected == end).then_some(*range);
        self.range.is_some()
    }

    /// The `index`th entry of the range.
    pub(super) fn entry(&self, index: usize) -> Entry {
        let range = self.range.as_ref().expect("only blocks that were read are asked");
        assert!(index < range.count as usize);
        parse_entry(&self.bytes[index * UNIT_BYTES..]).decode(range.run, range.base_ms)
    }

    /// How many entries from the first on are `below`; those are in front of all others.
    pub(super) fn partition_point(&self, below: impl Fn(&Entry) -> bool) -> usize {
        let (mut low, mut high) = (0, self.range.map_or(0, |range| range.count as usize));
        while low < high {
            let middle = low + (high - low) / 2;
            if below(&self.entry(middle)) { low = middle + 1 } else { high = middle }
        }
        low
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + size_of::<Self>()
    }
}
