//! `disk`: how long one durable 4 KiB write takes here, over extents that are
//! written already: the floor under every acknowledged flush.

use crate::measure::latencies;
use crate::report::{Latency, Report, Throughput, Watch};
use crate::threads;
use clap::Args;
use nix::fcntl::OFlag;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[derive(Args, Clone, Debug, Serialize)]
pub struct DiskArgs {
    /// A file is made here and removed again
    #[arg(long)]
    pub dir: PathBuf,
    /// Bytes per write, a multiple of 4096
    #[arg(long, default_value_t = 4096)]
    pub size: usize,
    #[arg(long, default_value_t = 5.0)]
    pub duration: f64,
    /// The core to write from (default: any). It matters: interrupts come to one of them
    #[arg(long)]
    pub core: Option<usize>,
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

const BLOCK: usize = 4096;
const FILE_BYTES: usize = 64 * 1024 * 1024;

impl DiskArgs {
    pub fn run(&self) -> io::Result<()> {
        if self.size == 0 || !self.size.is_multiple_of(BLOCK) || self.size > FILE_BYTES {
            return Err(io::Error::other("--size must be a multiple of 4096, up to 64 MiB"));
        }
        if let Some(core) = self.core {
            threads::pin(core)?;
        }
        let path = self.dir.join(format!("ringmq-bench-disk-{}", std::process::id()));
        let measured = self.measure(&path);
        let removed = std::fs::remove_file(&path);
        let (histogram, seconds, watch) = measured?;
        removed?;
        let writes = histogram.len();
        let throughput = Throughput::of(writes, writes * self.size as u64, seconds);
        let mut report = Report::new("disk", self.clone(), throughput, &watch);
        report.latency = Some(Latency::of(&histogram));
        report.print();
        report.write(self.json.as_deref())
    }

    fn measure(&self, path: &Path) -> io::Result<(hdrhistogram::Histogram<u64>, f64, Watch)> {
        let file = prepare(path)?;
        let memory = vec![0x5a; self.size + BLOCK];
        let aligned = memory.as_ptr().align_offset(BLOCK);
        let block = &memory[aligned..aligned + self.size];
        let mut histogram = latencies();
        let mut watch = Watch::new(None);
        watch.begin()?;
        let (begun, limit) = (Instant::now(), Duration::from_secs_f64(self.duration));
        let mut at = 0;
        while begun.elapsed() < limit {
            let sent = Instant::now();
            file.write_all_at(block, at as u64)?;
            histogram.saturating_record(sent.elapsed().as_nanos() as u64);
            at = (at + self.size) % (FILE_BYTES - self.size + BLOCK);
        }
        let seconds = begun.elapsed().as_secs_f64();
        watch.end()?;
        Ok((histogram, seconds, watch))
    }
}

/// A file with every block written and durable, opened for direct durable writes.
fn prepare(path: &Path) -> io::Result<File> {
    let file = File::create_new(path)?;
    let zeros = vec![0; 1 << 20];
    for at in (0..FILE_BYTES).step_by(zeros.len()) {
        file.write_all_at(&zeros, at as u64)?;
    }
    file.sync_all()?;
    let flags = OFlag::O_DIRECT | OFlag::O_DSYNC;
    OpenOptions::new().write(true).custom_flags(flags.bits()).open(path)
}
