//! Reading segments in large pieces, for scans.

use std::io;

use crate::base::LogOffset;
use crate::base::limits::{BLOCK_BYTES, RECORD_BYTES_MAX};

use super::record::{
    BLANK_BYTES, Fault, MAGIC_V1, MAGIC_V2, RECORD_BYTES_MIN, RecordError, RecordView,
};
use super::segment::Geometry;

/// What is read at once, at least.
pub(super) const READ_BYTES: u64 = 1024 * 1024;

/// The segments as they are on disk.
pub trait SegmentSource {
    /// The bases of all segments, ascending.
    fn segments(&self) -> &[LogOffset];

    /// Fills `buf` from `at`; both are block aligned, and inside one segment.
    fn read(&self, at: LogOffset, buf: &mut [u8]) -> io::Result<()>;
}

/// A window onto the segments that moves forward.
pub(super) struct Reader<'a> {
    pub source: &'a dyn SegmentSource,
    geometry: Geometry,
    start: LogOffset,
    bytes: Vec<u8>,
}

impl<'a> Reader<'a> {
    pub fn new(source: &'a dyn SegmentSource, geometry: Geometry) -> Self {
        Self { source, geometry, start: LogOffset(0), bytes: Vec::new() }
    }

    pub fn has_segment(&self, at: LogOffset) -> bool {
        self.source.segments().binary_search(&self.geometry.base(at)).is_ok()
    }

    /// The record at `at`; the window keeps all from `from` on.
    pub fn record(
        &mut self,
        from: LogOffset,
        at: LogOffset,
    ) -> io::Result<Result<RecordView<'_>, RecordError>> {
        let skip = (at - from) as usize;
        let error = |have, need| Err(RecordError { at, fault: Fault::Short { have, need } });
        let Some(head) = self.range(from, at - from + BLANK_BYTES as u64)? else {
            return Ok(error(0, BLANK_BYTES));
        };
        let head = &head[skip..];
        let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let magic = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        if magic != MAGIC_V1 && magic != MAGIC_V2 {
            return Ok(Err(RecordError { at, fault: Fault::Magic(magic) }));
        }
        if !(RECORD_BYTES_MIN..=RECORD_BYTES_MAX).contains(&size) {
            return Ok(Err(RecordError { at, fault: Fault::Size(size as u32) }));
        }
        let have = (self.geometry.end(at) - at) as usize;
        match self.range(from, at - from + size as u64)? {
            Some(bytes) => Ok(RecordView::at(&bytes[skip..], at)),
            None => Ok(error(have, size)),
        }
    }

    /// The next place at or after `at` where a sound record begins, or `end`.
    pub fn next_record(&mut self, mut at: LogOffset, end: LogOffset) -> io::Result<LogOffset> {
        while at < end {
            let near = (end - at).min(READ_BYTES).min(self.geometry.end(at) - at);
            let bytes = self.range(at, near)?.unwrap_or_default();
            let hit = bytes.windows(8).position(|window| {
                let magic = u32::from_be_bytes([window[4], window[5], window[6], window[7]]);
                magic == MAGIC_V1 || magic == MAGIC_V2
            });
            match hit {
                Some(skip) => {
                    at = at + skip as u64;
                    if self.record(at, at)?.is_ok_and(|view| view.check_body().is_ok()) {
                        return Ok(at);
                    }
                    at = at + 1;
                }
                // The last bytes of a piece may begin a record that its next piece shows.
                None if near > 8 => at = at + (near - 7),
                None => at = at + near,
            }
        }
        Ok(end)
    }

    /// `len` bytes from `at`; `None` beyond the segment's end.
    pub fn range(&mut self, at: LogOffset, len: u64) -> io::Result<Option<&[u8]>> {
        let (end, segment_end) = (at + len, self.geometry.end(at));
        if end > segment_end {
            return Ok(None);
        }
        if at < self.start || end > self.window_end() {
            self.move_to(at, end, segment_end)?;
        }
        let skip = (at - self.start) as usize;
        Ok(Some(&self.bytes[skip..skip + len as usize]))
    }

    fn window_end(&self) -> LogOffset {
        self.start + self.bytes.len() as u64
    }

    /// Moves the window so that it holds `at` to `end`, and what follows nearby.
    fn move_to(&mut self, at: LogOffset, end: LogOffset, segment_end: LogOffset) -> io::Result<()> {
        let start = at.align_down(BLOCK_BYTES);
        if start >= self.start && start < self.window_end() {
            self.bytes.drain(..(start - self.start) as usize);
        } else {
            self.bytes.clear();
        }
        self.start = start;
        let have = self.bytes.len();
        let until = end.align_up(BLOCK_BYTES).max(self.window_end() + READ_BYTES).min(segment_end);
        self.bytes.resize((until - start) as usize, 0);
        let result = self.source.read(start + have as u64, &mut self.bytes[have..]);
        if result.is_err() {
            self.bytes.truncate(have);
        }
        result
    }
}
