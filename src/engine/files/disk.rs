//! What the disk and the machine say of themselves.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::statvfs::statvfs;

use super::error::{FileError, Tried};
use super::segments::Aligned;
use super::small;
use crate::base::limits::BLOCK_BYTES;

/// Space of the file system of a path, counted as `df` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    pub used: u64,
    pub available: u64,
}

/// What a small durable write took: by `O_DSYNC`, and by a plain write with fdatasync.
#[derive(Clone, Copy, Debug)]
pub struct FlushProbe {
    pub dsync: Duration,
    pub fdatasync: Duration,
}

const PROBE_WRITES: usize = 20;
const PROBE_WRITES_MIN: usize = 3;
const PROBE_BUDGET: Duration = Duration::from_millis(100);

impl FlushProbe {
    pub fn is_dsync_faster(&self) -> bool {
        self.dsync <= self.fdatasync
    }
}

impl DiskSpace {
    pub fn of(path: &Path) -> Result<Self, FileError> {
        let space = statvfs(path).tried("ask for the space of", path)?;
        let unit = space.fragment_size();
        let used = space.blocks().saturating_sub(space.blocks_free());
        Ok(Self { used: used * unit, available: space.blocks_available() * unit })
    }

    /// Used of what this user may use, in hundredths of a percent, rounded up.
    pub fn basis_points(self) -> u64 {
        let all = u128::from(self.used) + u128::from(self.available);
        if all == 0 {
            return 10_000;
        }
        (u128::from(self.used) * 10_000).div_ceil(all) as u64
    }
}

/// The kernel's name for this boot: another one means that memory is gone.
pub fn boot_id() -> Result<[u8; 16], FileError> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let text = fs::read_to_string(path).tried("read", path)?;
    small::unhex(&text)
        .ok_or_else(|| std::io::Error::other("it is no UUID"))
        .tried("understand", path)
}

/// Whether a direct write of a block is taken, by a file that is removed again.
pub(super) fn write_to_named(directory: &Path) -> Result<bool, FileError> {
    let path = directory.join("probe.tmp");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).custom_flags(libc::O_DIRECT);
    let works = direct_write_works(&options, &path);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
    .tried("remove", &path)?;
    works
}

/// The same by a file that never has a name, so that nothing changes there. Where no file
/// can be without a name it is an error.
pub(super) fn write_to_unnamed(directory: &Path) -> Result<bool, FileError> {
    let mut options = OpenOptions::new();
    let unnamed = options.write(true).custom_flags(libc::O_TMPFILE).open(directory);
    unnamed.tried("make a file without a name in", directory)?;
    direct_write_works(options.custom_flags(libc::O_TMPFILE | libc::O_DIRECT), directory)
}

fn direct_write_works(options: &OpenOptions, path: &Path) -> Result<bool, FileError> {
    let zeros = Aligned::zeros(BLOCK_BYTES as usize);
    let written = options.open(path).and_then(|file| file.write_all_at(zeros.bytes(), 0));
    match written {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {
            Ok(false)
        }
        result => result.tried("write", path).map(|()| true),
    }
}

/// Times small durable writes both ways, over written extents as the log has them.
/// Bounded: on a slow disk it stops after a few writes.
pub fn probe_flush(directory: &Path, direct: bool) -> Result<FlushProbe, FileError> {
    let path = directory.join("probe.tmp");
    let probed = probe_flush_at(&path, direct);
    fs::remove_file(&path).tried("remove", &path)?;
    probed
}

fn probe_flush_at(path: &Path, direct: bool) -> Result<FlushProbe, FileError> {
    let direct_flag = if direct { libc::O_DIRECT } else { 0 };
    let open = |flags| {
        let mut options = OpenOptions::new();
        options.write(true).create(true).custom_flags(direct_flag | flags).open(path)
    };
    let plain = open(libc::O_TRUNC).tried("create", path)?;
    let zeros = Aligned::zeros(2 * PROBE_WRITES * BLOCK_BYTES as usize);
    plain.write_all_at(zeros.bytes(), 0).tried("write", path)?;
    plain.sync_all().tried("flush", path)?;
    let dsync = open(libc::O_DSYNC).tried("open", path)?;

    let block = &zeros.bytes()[..BLOCK_BYTES as usize];
    let write = |file: &File, at| file.write_all_at(block, at as u64 * BLOCK_BYTES);
    let by_dsync = median((0..PROBE_WRITES).map(|at| write(&dsync, at))).tried("write", path)?;
    let by_fdatasync = median((PROBE_WRITES..2 * PROBE_WRITES).map(|at| {
        write(&plain, at)?;
        plain.sync_data()
    }))
    .tried("flush", path)?;
    Ok(FlushProbe { dsync: by_dsync, fdatasync: by_fdatasync })
}

/// The median time of the steps, as many of them as the budget allows.
fn median(steps: impl Iterator<Item = std::io::Result<()>>) -> std::io::Result<Duration> {
    let start = Instant::now();
    let mut last = start;
    let mut times = Vec::new();
    for step in steps {
        step?;
        let now = Instant::now();
        times.push(now - last);
        last = now;
        if times.len() >= PROBE_WRITES_MIN && now - start > PROBE_BUDGET {
            break;
        }
    }
    times.sort();
    Ok(times[times.len() / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_use_counts_as_df_does_and_rounds_up() {
        let disk = |used, available| DiskSpace { used, available };
        assert_eq!(disk(75, 25).basis_points(), 7_500);
        assert_eq!(disk(1, 2).basis_points(), 3_334);
        assert_eq!(disk(0, 0).basis_points(), 10_000, "no space is no room");
        assert_eq!(disk(u64::MAX, u64::MAX).basis_points(), 5_000);
    }

    #[test]
    fn this_disk_this_boot_and_both_flush_methods_answer() {
        let directory = tempfile::tempdir().unwrap();
        let disk = DiskSpace::of(directory.path()).unwrap();
        assert!(disk.used + disk.available > 0);
        assert_eq!(boot_id().unwrap(), boot_id().unwrap());
        let direct = write_to_named(directory.path()).unwrap();
        assert_eq!(write_to_unnamed(directory.path()).unwrap(), direct);
        let probe = probe_flush(directory.path(), direct).unwrap();
        assert!(probe.dsync > Duration::ZERO && probe.fdatasync > Duration::ZERO);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "scratch files are gone");
    }
}
