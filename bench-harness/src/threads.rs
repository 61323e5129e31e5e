//! Pinned threads with a ring of their own.

use std::io;
use std::thread::{Builder, JoinHandle};

/// The core of the `i`-th thread, if threads are to be pinned at all.
pub fn core_of(cores: &[usize], i: usize) -> Option<usize> {
    (!cores.is_empty()).then(|| cores[i % cores.len()])
}

/// Refuses cores that this process may not use, before any thread depends on them.
pub fn check_allowed(cores: &[usize]) -> io::Result<()> {
    let allowed = core_affinity::get_core_ids().unwrap_or_default();
    match cores.iter().find(|core| !allowed.iter().any(|id| id.id == **core)) {
        Some(core) => Err(cannot_pin(*core)),
        None => Ok(()),
    }
}

fn cannot_pin(core: usize) -> io::Error {
    io::Error::other(format!("cannot pin to core {core}: not allowed or not there"))
}

/// Keeps the calling thread on one core.
pub fn pin(core: usize) -> io::Result<()> {
    if core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
        return Ok(());
    }
    Err(cannot_pin(core))
}

/// A thread that is pinned before it does anything.
pub fn spawn<T: Send + 'static>(
    name: &str,
    core: Option<usize>,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<JoinHandle<io::Result<T>>> {
    Builder::new().name(name.into()).spawn(move || {
        if let Some(core) = core {
            pin(core)?;
        }
        work()
    })
}

/// Submissions that wait for one enter.
const RING_ENTRIES: u32 = 1024;

/// A runtime whose ring does its task work when the thread enters the kernel anyway.
pub fn ring_runtime() -> io::Result<tokio_uring::Runtime> {
    let mut ring = tokio_uring::uring_builder();
    ring.setup_coop_taskrun().setup_single_issuer().setup_cqsize(4 * RING_ENTRIES);
    let mut builder = tokio_uring::builder();
    builder.entries(RING_ENTRIES).uring_builder(&ring);
    tokio_uring::Runtime::new(&builder)
}

/// A list of cores as people write it: `0`, `0,2`, `1-3`.
pub fn parse_cores(text: &str) -> Result<Vec<usize>, String> {
    let number = |text: &str| {
        text.trim().parse::<usize>().map_err(|_| format!("`{text}` is no core number"))
    };
    let mut cores = Vec::new();
    for part in text.split(',') {
        match part.split_once('-') {
            Some((from, to)) => cores.extend(number(from)?..=number(to)?),
            None => cores.push(number(part)?),
        }
    }
    Ok(cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_lists_are_read_as_written() {
        assert_eq!(parse_cores("1"), Ok(vec![1]));
        assert_eq!(parse_cores("0,2-4"), Ok(vec![0, 2, 3, 4]));
        assert!(parse_cores("1-x").is_err());
    }
}
