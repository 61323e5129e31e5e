//! Files that the ring writes and reads.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;

/// A file opened elsewhere, usually with O_DIRECT. Clones share one descriptor, and
/// every operation in flight holds a clone: it closes when the last of them ends.
#[derive(Clone, Debug)]
pub struct DirectFile(Rc<OwnedFd>);

impl DirectFile {
    pub(super) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<OwnedFd> for DirectFile {
    fn from(fd: OwnedFd) -> Self {
        Self(Rc::new(fd))
    }
}

impl From<std::fs::File> for DirectFile {
    fn from(file: std::fs::File) -> Self {
        OwnedFd::from(file).into()
    }
}
