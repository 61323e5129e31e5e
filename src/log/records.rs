//! The records of a range of the log, one by one, whatever groups they are in: for what is
//! derived from a log that a start has found to be good.

use std::io;

use crate::base::LogOffset;

use super::reader::{Reader, SegmentSource};
use super::record::{Fault, MAGIC_BLANK, RecordError, RecordView};
use super::segment::Geometry;

/// Visits the records between `from` and `to`, footers among them. What is damaged is
/// passed over; bodies are not looked at.
pub fn for_each_record(
    source: &dyn SegmentSource,
    geometry: Geometry,
    from: LogOffset,
    to: LogOffset,
    visit: &mut dyn FnMut(&RecordView<'_>),
) -> io::Result<()> {
    let mut reader = Reader::new(source, geometry);
    let mut at = from;
    while at < to {
        at = match reader.record(at, at)? {
            Ok(record) => {
                visit(&record);
                at + record.stored_len() as u64
            }
            Err(RecordError { fault: Fault::Magic(MAGIC_BLANK), .. }) => geometry.end(at),
            Err(_) => reader.next_record(at + 1, to)?,
        };
    }
    Ok(())
}
