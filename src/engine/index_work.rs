//! What a helper does with index files: it writes runs, reads cold entries, and folds
//! expired runs into the table of bases.

use std::io;
use std::sync::Arc;

use super::files::{IndexFile, IndexFiles};
use super::helper::IndexWork;
use crate::base::LogOffset;
use crate::queue::{Bases, ColdBlock, ColdRange, FrozenRun, ReadAt, bases_file_name, read_cold};
use crate::store::{self, LoadId};

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
    Fold { start: LogOffset },
}

impl IndexWork for IndexTask {
    /// None: nobody waits for it.
    type Done = Option<store::Done>;

    fn perform(self, files: &IndexFiles) -> Self::Done {
        match self {
            Self::Write { run } => {
                let written = files.write_run(run.start(), |out| run.write_to(out));
                let result = written.map(|(_, directory)| directory).map_err(|e| e.to_string());
                Some(store::Done::RunWritten { run, result })
            }
            Self::Read { load, range, mut block } => {
                let result = read(files, &range, &mut block);
                Some(store::Done::IndexRead { load, run_end: range.run_end, block, result })
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
