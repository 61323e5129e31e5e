//! Operations in flight: what each one keeps alive until the kernel has let go.

use super::arena::memory::Memory;
use super::cached_file::CachedFile;
use super::file::DirectFile;
use super::gather::Gather;
use super::lent::Lent;
use super::paged_file::PagedFile;
use super::socket::{ListenerState, SocketState};
use crate::base::LogOffset;
use crate::base::memory::SlotId;
use slab::Slab;
use std::rc::Rc;

/// One operation, from its submission to its last completion.
pub(super) enum Op {
    Accept {
        listener: Rc<ListenerState>,
        token: u64,
    },
    Receive {
        socket: Rc<SocketState>,
        token: u64,
    },
    Send {
        socket: Rc<SocketState>,
        token: u64,
        gather: Lent<Gather>,
    },
    Write(Write),
    Read {
        token: u64,
        slot: SlotId,
        len: usize,
        pool: Rc<Memory>,
        _file: Source,
    },
    Sync {
        token: u64,
        _file: DirectFile,
    },
    /// A write-out or flush of a file in the page cache, which knows who waits for it.
    Check {
        file: CachedFile,
    },
    Doorbell,
}

/// What a read is from, held until it has ended.
pub(super) enum Source {
    Direct { _file: DirectFile },
    Paged { _file: Rc<PagedFile> },
}

/// A write of arena bytes, in up to `parts` calls where the ring wraps.
pub(super) struct Write {
    pub token: u64,
    pub arena: Rc<Memory>,
    pub at: LogOffset,
    pub len: usize,
    pub parts: u32,
    pub done: usize,
    /// The first failure, as a negative errno.
    pub failed: i32,
    pub _file: DirectFile,
    /// Through the page cache: the write-out that follows, of which file, from where on,
    /// and whether it has to be durable.
    pub checked: Option<(CachedFile, u64, bool)>,
}

/// User data of submissions whose completion nobody waits for.
pub(super) const UNWATCHED: u64 = u64::MAX;

/// The operations in flight, each under the user data that its completions carry.
#[derive(Default)]
pub(super) struct InFlight {
    ops: Slab<(u32, Op)>,
    generation: u32,
}

impl InFlight {
    /// Keeps an operation and gives its user data. A place is reused with another
    /// generation, so a late cancel never meets a later operation.
    pub fn insert(&mut self, op: Op) -> u64 {
        self.generation = self.generation.wrapping_add(1) & 0x7fff_ffff;
        let key = self.ops.insert((self.generation, op));
        u64::from(self.generation) << 32 | key as u64
    }

    pub fn get(&mut self, user_data: u64) -> Option<&mut Op> {
        let (generation, op) = self.ops.get_mut(user_data as u32 as usize)?;
        (u64::from(*generation) == user_data >> 32).then_some(op)
    }

    pub fn remove(&mut self, user_data: u64) -> Op {
        let (generation, op) = self.ops.remove(user_data as u32 as usize);
        assert!(u64::from(generation) == user_data >> 32, "a completion of an operation long gone");
        op
    }

    pub fn len(&self) -> usize {
        self.ops.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}
