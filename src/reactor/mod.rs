//! io_uring: one ring per data thread, its buffers, and the arenas of its shards.
//!
//! This room moves bytes and knows nothing of what they mean. It is the only one with
//! `unsafe`, and what makes that safe is ownership: memory that the kernel may touch
//! belongs to the operation in flight, or is entered in the arena's book of lent
//! ranges (`arena/memory.rs`), until the operation's last completion.
//!
//! A turn of the caller's loop is one [`Ring::turn`]: it submits what was asked for,
//! enters the kernel once, and tells what has completed.

mod arena;
mod buffers;
mod cached_file;
mod completion;
mod disk;
mod doorbell;
pub mod echo;
mod file;
mod gather;
mod lent;
mod mapped_file;
mod mapping;
mod op;
mod paged_file;
mod pipe;
mod ring;
mod rlimits;
mod send_now;
mod setup;
mod sigbus;
mod socket;
mod stream;
mod turn;

pub use arena::{
    Arena, ArenaError, ArenaIdentity, ArenaJournal, ArenaLog, ArenaName, ArenaPlace, ArenaPool,
    ArenaSizes, OldArena, Pages, Survivor, boot_id,
};
pub use cached_file::{CachedFile, CanUncache};
pub use completion::{Completion, DiskError, End};
pub use disk::{DiskRead, DiskWrite};
pub use doorbell::Doorbell;
pub use file::DirectFile;
pub use gather::FilePart;
pub use mapped_file::MappedFile;
pub use paged_file::PagedFile;
pub use ring::{ArenaId, Ring};
pub use rlimits::{raise_locked_memory, raise_open_files};
pub use setup::{Degradation, RingConfig, SetupError};
pub use sigbus::{EXIT_SIGBUS, stop_at_sigbus};
pub use socket::{Listener, Socket};
pub use turn::Wait;
