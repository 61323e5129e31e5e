//! From where the log is scanned: a segment's base at or below what the index covers,
//! that is known to be flushed, and whose chain is known from the group before it.
//!
//! Index runs may be durable before the log that they speak of is. After a power cut the
//! log may then have a hole below them, and it ends there; so the scan must not begin
//! above the flushed edge. Any footer that is valid by itself names one, and a flushed
//! prefix never changes, whichever life's footer says so.

use std::io;

use crate::base::LogOffset;
use crate::base::limits::BLOCK_BYTES;
use crate::log::Geometry;
use crate::log::footer::{ChainEnd, Footer};
use crate::log::policy::GROUP_BYTES_MAX;
use crate::log::scan::{ScanFrom, SegmentSource};

/// Where a scan begins.
pub(super) struct ScanStart {
    pub at: LogOffset,
    pub from: ScanFrom,
}

/// A segment's last group ends at most so far before the segment's end: behind it not
/// even the largest batch found room.
const LOOK_BYTES: u64 = GROUP_BYTES_MAX + 4 * BLOCK_BYTES;
const READ_BYTES: u64 = 1024 * 1024;

/// The place to scan from, when the index has everything below `covered`.
pub(super) fn scan_start(
    source: &dyn SegmentSource,
    geometry: Geometry,
    covered: LogOffset,
) -> io::Result<ScanStart> {
    let all = source.segments();
    let oldest = all.first().copied().unwrap_or_default();
    let below = all.partition_point(|base| *base <= covered);
    let mut flushed = LogOffset(0);
    for base in all[..below].iter().rev().copied().take_while(|base| *base > oldest) {
        let look = LOOK_BYTES.min(geometry.segment_bytes());
        let ahead = footers(source, geometry, base, base + look)?;
        let behind = footers(source, geometry, LogOffset(base.0 - look), base)?;
        let named = ahead.iter().chain(&behind).map(|footer| footer.flushed).max();
        flushed = flushed.max(named.unwrap_or_default());
        // Stale ones of earlier lives may lie behind the one that counts.
        let last = behind.iter().filter(|footer| footer.last_of_segment);
        let last = last.max_by_key(|footer| (footer.life, footer.sequence));
        if let Some(last) = last.filter(|_| base <= flushed) {
            let from = ScanFrom::Checkpoint(ChainEnd::behind(last, base));
            return Ok(ScanStart { at: base, from });
        }
    }
    Ok(ScanStart { at: oldest, from: ScanFrom::Oldest })
}

/// The footers between `from` and `to` that are valid by themselves. The range lies in
/// one segment; if that is not there, nothing does.
fn footers(
    source: &dyn SegmentSource,
    geometry: Geometry,
    from: LogOffset,
    to: LogOffset,
) -> io::Result<Vec<Footer>> {
    let mut found = Vec::new();
    if source.segments().binary_search(&geometry.base(from)).is_err() {
        return Ok(found);
    }
    let mut bytes = Vec::new();
    let mut at = from;
    while at < to {
        bytes.resize((to - at).min(READ_BYTES) as usize, 0);
        source.read(at, &mut bytes)?;
        for block in bytes.chunks_exact(BLOCK_BYTES as usize) {
            at = at + BLOCK_BYTES;
            found.extend(Footer::in_block_tail(block, at));
        }
    }
    Ok(found)
}
