//! An index extent whose file is damaged, made again from the log.

use std::io;

use crate::base::{LogOffset, QueueOffset, properties};
use crate::log::records::for_each_record;
use crate::log::scan::SegmentSource;
use crate::log::{Geometry, RecordView};
use crate::queue::{ColdBlock, ColdRange, Entry};

use super::LoadId;

/// An extent that could not be read. Its load goes on until it is made again.
pub struct LostExtent {
    pub load: LoadId,
    pub range: ColdRange,
    pub block: ColdBlock,
}

/// Whose records an extent is of, as the log knows it: an older namesake's are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub topic: String,
    pub birth: LogOffset,
}

/// Makes the extent again. Reads up to a segment; for helpers. False: the log has not all
/// of its records any more.
pub fn rebuild_extent(
    source: &dyn SegmentSource,
    geometry: Geometry,
    range: &ColdRange,
    owner: &Owner,
    block: &mut ColdBlock,
) -> io::Result<bool> {
    let mut entries = Vec::with_capacity(range.count as usize);
    for_each_record(source, geometry, range.run, range.run_end, &mut |record| {
        let ours = record.is_dispatched()
            && record.physical_offset() >= owner.birth
            && record.queue_id() == range.key.queue
            && record.topic() == owner.topic.as_bytes();
        if ours {
            entries.push((QueueOffset(record.queue_offset() as u64), entry_of(record)));
        }
    })?;
    Ok(block.rebuild(range, entries))
}

/// What the index keeps of a record.
pub(super) fn entry_of(record: &RecordView<'_>) -> Entry {
    let tag = properties::get(record.properties(), b"TAGS").map_or(0, properties::tag_code);
    Entry {
        at: record.physical_offset(),
        size: record.stored_len() as u32,
        tag,
        store_ms: record.store_ms(),
    }
}
