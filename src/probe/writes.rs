//! Writes of the log as the ring does them, over written extents.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::cpu::CpuMark;
use super::source::make_unnamed;
use super::tools::Tools;
use crate::base::LogOffset;
use crate::base::memory::LogRing;
use crate::reactor::{CachedFile, Completion, DirectFile, DiskError, DiskWrite, Wait};

/// Nothing takes this long unless something is broken.
const SILENCE_MAX: Duration = Duration::from_secs(30);
const PARK: Wait =
    Wait::SpinThenPark { spin: Duration::ZERO, at_most: Some(Duration::from_millis(100)) };

/// How a write gets to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WriteKind {
    /// O_DIRECT.
    Direct,
    /// O_DIRECT, durable when it is done (RWF_DSYNC).
    DirectDsync,
    /// O_DIRECT, and an fdatasync after it.
    DirectFdatasync,
    /// Through the page cache, to the end of the write-out.
    Buffered,
}

impl WriteKind {
    pub const ALL: [Self; 4] =
        [Self::Direct, Self::DirectDsync, Self::DirectFdatasync, Self::Buffered];

    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::DirectDsync => "direct-dsync",
            Self::DirectFdatasync => "direct-fdatasync",
            Self::Buffered => "buffered",
        }
    }
}

/// Writes of one size and kind, so many at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteCell {
    pub kind: WriteKind,
    pub bytes: u32,
    pub depth: u32,
}

/// What they have taken.
#[derive(Clone, Debug, Default)]
pub struct Written {
    pub writes: u64,
    pub time: Duration,
    /// The median of single writes.
    pub typical: Duration,
    /// How often the kernel's workers waited: at least once for each write that is handed
    /// to one of them.
    pub worker_waits: u64,
}

/// The files that are written, one for each way, so that neither finds pages of the other.
pub struct Scratch {
    direct: Option<DirectFile>,
    buffered: CachedFile,
    len: u64,
}

impl Scratch {
    pub fn make(directory: &Path, len: u64, direct: bool) -> Result<Self, String> {
        let make = |direct| {
            make_unnamed(directory, len, direct)
                .map_err(|error| format!("cannot make a file in {}: {error}", directory.display()))
        };
        let (buffered, _): (File, _) = make(false)?;
        let direct = if direct { make(true)?.1 } else { None };
        Ok(Self {
            direct: direct.map(DirectFile::from),
            buffered: CachedFile::buffered(buffered, None),
            len,
        })
    }
}

impl Written {
    pub fn bytes_per_second(&self, cell: &WriteCell) -> f64 {
        self.writes as f64 * f64::from(cell.bytes) / self.time.as_secs_f64().max(1e-9)
    }

    pub fn worker_waits_per_write(&self) -> f64 {
        self.worker_waits as f64 / self.writes.max(1) as f64
    }
}

impl Tools {
    /// Writes for so long; `None` where the file system has no such writes.
    pub fn measure_writes(
        &mut self,
        scratch: &Scratch,
        cell: &WriteCell,
        how_long: Duration,
    ) -> Result<Option<Written>, String> {
        if cell.kind != WriteKind::Buffered && scratch.direct.is_none() {
            return Ok(None);
        }
        let span = scratch.len.min(self.arena.log.size());
        if u64::from(cell.bytes) * u64::from(cell.depth) > span {
            return Ok(None);
        }
        let mut writer = Writer { tools: self, scratch, cell: *cell, span, at: 0 };
        let WriteCell { kind, bytes, depth } = cell;
        let written = writer.run(how_long);
        written.map(Some).map_err(|error| {
            format!(
                "cannot measure {} writes of {bytes} bytes, {depth} at once: {error}",
                kind.name()
            )
        })
    }
}

struct Writer<'a> {
    tools: &'a mut Tools,
    scratch: &'a Scratch,
    cell: WriteCell,
    span: u64,
    at: u64,
}

impl Writer<'_> {
    fn run(&mut self, how_long: Duration) -> io::Result<Written> {
        let (mark, begun) = (CpuMark::take(), Instant::now());
        let mut begun_at = vec![begun; self.cell.depth as usize];
        let (mut times, mut last) = (Vec::new(), begun);
        let mut running = self.cell.depth;
        (0..u64::from(self.cell.depth)).for_each(|token| self.write(token));
        let mut out = Vec::new();
        while running > 0 {
            self.tools.ring.turn(PARK, || false, &mut out)?;
            if out.is_empty() && last.elapsed() > SILENCE_MAX {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "a write does not end"));
            }
            for completion in out.drain(..) {
                let Some(token) = self.on_completion(completion)? else { continue };
                last = Instant::now();
                let write = &mut begun_at[token as usize];
                times.push(last - std::mem::replace(write, last));
                if last - begun < how_long {
                    self.write(token);
                } else {
                    running -= 1;
                }
            }
        }
        let used = mark.until(&CpuMark::take());
        times.sort();
        Ok(Written {
            writes: times.len() as u64,
            time: last - begun,
            typical: times[times.len() / 2],
            worker_waits: used.worker_waits,
        })
    }

    fn write(&mut self, token: u64) {
        let len = u64::from(self.cell.bytes);
        if self.at + len > self.span {
            self.at = 0;
        }
        let write = DiskWrite {
            arena: self.tools.arena_id,
            at: LogOffset(self.at),
            len: len as usize,
            file_offset: self.at,
            durable: self.cell.kind == WriteKind::DirectDsync,
        };
        self.at += len;
        match &self.scratch.direct {
            Some(file) if self.cell.kind != WriteKind::Buffered => {
                self.tools.ring.write(file, write, token);
            }
            _ => self.tools.ring.write_cached(&self.scratch.buffered, write, token),
        }
    }

    /// The write that has ended with it, if one has.
    fn on_completion(&mut self, completion: Completion) -> io::Result<Option<u64>> {
        let failed = |error: DiskError| io::Error::other(error);
        match completion {
            Completion::Wrote { token, result } => {
                result.map_err(failed)?;
                match &self.scratch.direct {
                    Some(file) if self.cell.kind == WriteKind::DirectFdatasync => {
                        self.tools.ring.fdatasync(file, token);
                        Ok(None)
                    }
                    _ => Ok(Some(token)),
                }
            }
            Completion::Synced { token, result } => {
                result.map_err(failed)?;
                Ok(Some(token))
            }
            _ => Ok(None),
        }
    }
}
