//! Where the bytes of this turn's requests lie.

use crate::base::memory::{Buffers, Frames, Source};

/// The receive buffers of the turn, and the frames that lie in memory of ours.
pub struct TurnFrames<'a> {
    pub buffers: &'a dyn Buffers,
    pub held: &'a [Vec<u8>],
}

impl Frames for TurnFrames<'_> {
    fn source(&self, source: Source) -> &[u8] {
        match source {
            Source::Buffer(id) => self.buffers.bytes(id),
            Source::Held(index) => &self.held[index as usize],
        }
    }
}
