//! What a helper does with index files: it writes runs, reads cold entries, and folds
//! expired runs into the table of bases.

use std::io;
use std::sync::Arc;

use super::files::{IndexFile, IndexFiles, SegmentFiles};
use super::helper::IndexWork;
use super::log_source::LogSource;
use crate::base::LogOffset;
use crate::log::Geometry;
use crate::queue::{Bases, ColdBlock, ColdRange, FrozenRun, ReadAt, bases_file_name, read_cold};
use crate::store::{self, LoadId, LostExtent, Owner, rebuild_extent};

impl ReadAt for IndexFile {
    fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        IndexFile::read_exact_at(self, buffer, position)
    }

    fn file_bytes(&self) -> io::Result<u64> {
        IndexFile::file_bytes(self)
    }
}

/// One task.
pub enum IndexTask {
    Write { run: Arc<FrozenRun> },
    Read { load: LoadId, range: ColdRange, block: ColdBlock },
    Rebuild { lost: LostExtent, owner: Owner },
    Fold { start: LogOffset },
}

impl IndexWork for IndexTask {
    /// None: nobody waits for it.
    type Done = Option<store::Done>;

    fn is_slow(&self) -> bool {
        // A run goes after its segment, whose removal waits in the slow lane.
        matches!(self, Self::Rebuild { .. } | Self::Fold { .. })
    }

    fn perform(self, files: &IndexFiles, log: &SegmentFiles) -> Self::Done {
        match self {
            Self::Write { run } => {
                let written = files.write_run(run.start(), |out| run.write_to(out));
                let result = written.map(|(_, directory)| directory).map_err(|e| e.to_string());
                Some(store::Done::RunWritten { run, result })
            }
            Self::Read { load, range, mut block } => {
                let result = read(files, &range, &mut block);
                Some(store::Done::IndexRead { load, range, block, result })
            }
            Self::Rebuild { lost: LostExtent { load, range, mut block }, owner } => {
                let result = rebuild(log, &range, &owner, &mut block);
                Some(store::Done::IndexRebuilt { load, range, block, result })
            }
            Self::Fold { start } => {
                if let Err(why) = fold(files, start) {
                    tracing::error!(run = start.0, why, "cannot fold an expired index run");
                }
                None
            }
        }
    }
}

fn read(files: &IndexFiles, range: &ColdRange, block: &mut ColdBlock) -> Result<(), String> {
    let file = files.open_run(range.run).map_err(|error| error.to_string())?;
    read_cold(&file, range, block).map_err(|error| error.to_string())
}

fn rebuild(
    log: &SegmentFiles,
    range: &ColdRange,
    owner: &Owner,
    block: &mut ColdBlock,
) -> Result<(), String> {
    // A run never crosses the end of its segment.
    let source = LogSource::only(log, range.run);
    let geometry = Geometry::new(log.segment_bytes());
    match rebuild_extent(&source, geometry, range, owner, block) {
        Ok(true) => Ok(()),
        Ok(false) => Err("an extent is damaged, and so is the log that it was made of".to_owned()),
        Err(error) => Err(format!("an extent is damaged, and the log cannot be read: {error}")),
    }
}

/// The bases are durable before the run goes, so that no queue forgets its next offset.
fn fold(files: &IndexFiles, start: LogOffset) -> Result<(), String> {
    let table = files.open_table(bases_file_name()).map_err(|error| error.to_string())?;
    let mut bases = match table {
        Some(file) => Bases::read(&file).map_err(|error| error.to_string())?,
        None => Bases::default(),
    };
    let run = files.open_run(start).map_err(|error| error.to_string())?;
    bases.fold(&run).map_err(|error| error.to_string())?;
    files
        .write_table(bases_file_name(), |out| bases.write_to(out))
        .map_err(|error| error.to_string())?;
    files.unlink_run(start).map_err(|error| error.to_string())
}
