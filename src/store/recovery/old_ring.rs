//! An old arena as the replay reads it.

use super::OldArena;
use crate::base::LogOffset;
use crate::base::memory::LogRing;

/// Its log, never written.
pub(super) struct OldRing<'a>(pub &'a dyn OldArena);

impl LogRing for OldRing<'_> {
    fn size(&self) -> u64 {
        self.0.edge() - self.0.start()
    }

    fn readable(&self, at: LogOffset, len: usize) -> &[u8] {
        self.0.log(at, len)
    }

    fn reclaimed(&self) -> LogOffset {
        self.0.start()
    }

    fn sealed(&self) -> LogOffset {
        self.0.edge()
    }

    fn writable(&mut self, _: LogOffset, _: usize) -> &mut [u8] {
        unreachable!("the arena of an earlier life is never written")
    }

    fn seal(&mut self, _: LogOffset) {
        unreachable!("the arena of an earlier life is never written")
    }

    fn reclaim(&mut self, _: LogOffset) {
        unreachable!("the arena of an earlier life is never written")
    }

    fn publish(&mut self, _: LogOffset) {
        unreachable!("the arena of an earlier life is never written")
    }
}
