//! The write mode of a start: what was asked for, held against what is possible here.

use std::fs::{self, File};
use std::path::Path;

use tracing::{info, warn};

use crate::base::WriteMode;
use crate::config::Choice;
use crate::engine::files::{Access, DataDirectory};
use crate::reactor::{CanUncache, MappedFile};

/// Settles how the log of this directory is written. The error says what is possible.
pub fn settle(wanted: Choice<WriteMode>, directory: &mut DataDirectory) -> Result<(), String> {
    let access = directory.access();
    let mode = choose(wanted, |mode| is_possible(mode, directory))
        .map_err(|why| format!("{}: {why}", directory.path().display()))?;
    if mode != *wanted.value() {
        let why = directory.no_direct().unwrap_or("no direct writes");
        warn!(
            directory = %directory.path().display(),
            "{why}: the log is written through the page cache (--write {mode}), which costs \
             memory and more CPU per byte; ext4 or xfs avoid that"
        );
    }
    let can_uncache = mode == WriteMode::BufferedUncached && can_uncache(directory)?;
    directory.set_access(Access { mode, can_uncache, ..access });
    info!(%mode, "the log's write mode");
    if mode.is_cached() && !access.in_place {
        warn!(
            "this file system gives a block another place when it is written again: messages \
             of level `written` are acknowledged when they are flushed, which takes longer"
        );
    }
    Ok(())
}

/// The mode that was asked for, or else the usual one where it is to be had.
fn choose(
    wanted: Choice<WriteMode>,
    is_possible: impl Fn(WriteMode) -> Result<(), String>,
) -> Result<WriteMode, String> {
    match (wanted, is_possible(*wanted.value())) {
        (_, Ok(())) => Ok(*wanted.value()),
        (Choice::Default(_), Err(_)) => Ok(WriteMode::Buffered),
        (Choice::Given(mode), Err(why)) => {
            let possible = WriteMode::ALL.into_iter().filter(|mode| is_possible(*mode).is_ok());
            let possible: Vec<_> = possible.map(WriteMode::name).collect();
            Err(format!("--write {mode}: {why}; possible here: {}", possible.join(", ")))
        }
    }
}

fn is_possible(mode: WriteMode, directory: &DataDirectory) -> Result<(), String> {
    match mode {
        WriteMode::Direct => directory.no_direct().map_or(Ok(()), |why| Err(why.to_owned())),
        WriteMode::Mmap => with_probe_file(directory, |file, path| {
            MappedFile::map(file, path)
                .and_then(|mapping| mapping.populate())
                .map_err(|error| format!("files cannot be mapped to be written ({error})"))
        }),
        // Without uncached writes it goes on as `buffered`, and says so.
        WriteMode::Buffered | WriteMode::BufferedUncached => Ok(()),
    }
}

fn can_uncache(directory: &DataDirectory) -> Result<bool, String> {
    let probed = with_probe_file(directory, |file, path| {
        CanUncache::probe(file).map_err(|error| format!("cannot write {}: {error}", path.display()))
    });
    let CanUncache(can) = probed?;
    if !can {
        warn!(
            "this kernel or file system has no uncached buffered writes (Linux 6.14 and ext4, xfs \
             or btrfs have them): the log is written as with --write buffered, and its bytes \
             stay in the page cache"
        );
    }
    Ok(can)
}

/// Has `probe` try something with a file of one block.
fn with_probe_file<T>(
    directory: &DataDirectory,
    probe: impl FnOnce(&File, &Path) -> Result<T, String>,
) -> Result<T, String> {
    let path = directory.path().join("probe.tmp");
    let cannot = |error| format!("cannot write {}: {error}", path.display());
    let mut options = File::options();
    let file = options.read(true).write(true).create(true).truncate(true).open(&path);
    let probed = file
        .and_then(|file| file.set_len(4096).map(|()| file))
        .map_err(cannot)
        .and_then(|file| probe(&file, &path));
    let _ = fs::remove_file(&path);
    probed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_that_was_asked_for_and_cannot_be_had_is_refused_with_those_that_can() {
        let possible = |mode| match mode {
            WriteMode::Direct => Err("the file system refuses O_DIRECT".to_owned()),
            WriteMode::Mmap => Err("files cannot be mapped".to_owned()),
            _ => Ok(()),
        };
        for mode in WriteMode::ALL {
            match choose(Choice::Given(mode), possible) {
                Ok(chosen) => assert_eq!((chosen, possible(mode)), (mode, Ok(()))),
                Err(why) => {
                    assert!(why.starts_with(&format!("--write {mode}: ")), "{why}");
                    assert!(why.ends_with("; possible here: buffered, buffered-uncached"), "{why}");
                }
            }
        }
        assert_eq!(choose(Choice::Default(WriteMode::Direct), possible), Ok(WriteMode::Buffered));
        let all = |_| Ok(());
        assert_eq!(choose(Choice::Default(WriteMode::Direct), all), Ok(WriteMode::Direct));
    }
}
