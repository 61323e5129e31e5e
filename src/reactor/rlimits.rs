//! Resource limits that a process may raise by itself: the soft ones, up to the hard.

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use std::io;

/// Open files: each connection is one. Returns the limit that holds now.
pub fn raise_open_files() -> io::Result<u64> {
    raise(Resource::RLIMIT_NOFILE)
}

/// Locked memory: registered arenas count against it. Returns the limit that holds now.
pub fn raise_locked_memory() -> io::Result<u64> {
    raise(Resource::RLIMIT_MEMLOCK)
}

/// The limit of locked memory that holds now, `None` where there is no limit.
pub(super) fn locked_memory() -> Option<u64> {
    match getrlimit(Resource::RLIMIT_MEMLOCK) {
        Ok((soft, _)) if soft != RLIM_INFINITY => Some(soft),
        _ => None,
    }
}

fn raise(resource: Resource) -> io::Result<u64> {
    let (soft, hard) = getrlimit(resource)?;
    if soft < hard {
        setrlimit(resource, hard, hard)?;
    }
    Ok(soft.max(hard))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_of_open_files_becomes_the_hard_one() {
        let now = raise_open_files().unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (now, now));
    }
}
