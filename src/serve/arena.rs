//! Where a shard's arena is: the old one found, the new one put in its place, or none.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::base::LogOffset;
use crate::engine::files::identity::arena_name;
use crate::log::run_mark::ArenaId;
use crate::reactor::{
    Arena, ArenaError, ArenaIdentity, ArenaName, ArenaPlace, ArenaSizes, OldArena,
};
use crate::store::recovery;

/// How long the arena of a killed process may stay in use while it is taken down.
const ARENA_PATIENCE: Duration = Duration::from_secs(10);

/// What lies at the arena's place.
pub enum Found {
    Nothing,
    Damaged(PathBuf),
    Arena(PathBuf, OldArena),
}

impl Found {
    fn path(&self) -> Option<&Path> {
        match self {
            Self::Nothing => None,
            Self::Damaged(path) | Self::Arena(path, _) => Some(path),
        }
    }
}

pub fn find_old_arena(place: &ArenaPlace, name: &str) -> Found {
    let deadline = Instant::now() + ARENA_PATIENCE;
    let mut said = false;
    for path in place.candidates(name) {
        loop {
            match OldArena::open(&path) {
                Ok(arena) => return Found::Arena(path, arena),
                Err(ArenaError::InUse(_)) if Instant::now() < deadline => {
                    if !std::mem::replace(&mut said, true) {
                        info!(arena = %path.display(), "waiting for the last process to let go");
                    }
                    std::thread::yield_now();
                }
                Err(ArenaError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                    break;
                }
                Err(why) => {
                    warn!(arena = %path.display(), %why, "the old arena cannot be read");
                    return Found::Damaged(path);
                }
            }
        }
    }
    Found::Nothing
}

/// The arena of this life, as it is to become.
pub struct NewArena<'a> {
    pub place: &'a ArenaPlace,
    pub name: &'a str,
    pub sizes: ArenaSizes,
    pub identity: ArenaIdentity,
    pub start: LogOffset,
}

impl NewArena<'_> {
    /// Makes it, and takes the old one away, which nothing needs any more. Without a name
    /// where no shared memory can be had.
    pub fn in_place_of(&self, old: Found) -> Result<(Arena, Option<ArenaName>), String> {
        let mut made = self.create();
        if made.is_err() && old.path().is_some() {
            // The old one's memory may be what is missing.
            unlink(old, None);
            made = self.create();
        } else {
            unlink(old, made.as_ref().ok().and_then(Arena::path));
        }
        let why = match made.and_then(Self::install) {
            Ok((arena, name)) => return Ok((arena, Some(name))),
            Err(why) => no_shared_arena(self.place, &why),
        };
        warn!(
            shard = self.identity.shard,
            "{why}. Until then messages are acknowledged when they are written (level \
             `written`), which takes longer, and kill -9 takes back consumer offsets of the \
             last 5 s"
        );
        let arena = Arena::unshared(self.sizes, &self.identity, self.start)
            .map_err(|error| format!("{why}; without a name: {error}"))?;
        Ok((arena, None))
    }

    fn create(&self) -> Result<Arena, ArenaError> {
        Arena::create(self.place, self.name, self.sizes, &self.identity, self.start)
    }

    fn install(mut arena: Arena) -> Result<(Arena, ArenaName), ArenaError> {
        let installed = arena.install().and_then(|()| arena.name());
        match installed {
            Ok(name) => Ok((arena, name.expect("it was installed just now"))),
            Err(error) => Err(ArenaError::Io { tried: "put it at its place".to_owned(), error }),
        }
    }
}

/// Removes an old arena, unless a new one has taken its name.
fn unlink(old: Found, new: Option<&Path>) {
    let Some(path) = old.path().filter(|path| new != Some(path)) else { return };
    if let Err(error) = std::fs::remove_file(path) {
        warn!(arena = %path.display(), %error, "cannot remove an old arena");
    }
}

/// Gives the memory back after a stop that left nothing in the arena alone.
pub fn remove_arena(place: &ArenaPlace, directory: &[u8; 16], shard: u16) {
    for path in place.candidates(&arena_name(directory, shard)) {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                warn!(arena = %path.display(), %error, "cannot remove the arena");
            }
            _ => {}
        }
    }
}

/// The arena of a shard of a data directory; its lives are told apart by their number.
pub fn arena_id(directory: &[u8; 16], shard: u32) -> ArenaId {
    let mut id = *directory;
    for (byte, other) in id.iter_mut().zip(shard.to_be_bytes()) {
        *byte ^= other;
    }
    ArenaId(id)
}

fn no_shared_arena(place: &ArenaPlace, why: &ArenaError) -> String {
    format!(
        "cannot make an arena that outlives the process in {}: {why}; give a smaller --arena, \
         or another --arena-dir on a tmpfs or hugetlbfs with room",
        place.shared.display()
    )
}

impl recovery::OldArena for OldArena {
    fn start(&self) -> LogOffset {
        OldArena::start(self)
    }

    fn edge(&self) -> LogOffset {
        OldArena::edge(self)
    }

    fn log(&self, at: LogOffset, len: usize) -> &[u8] {
        OldArena::log(self, at, len)
    }

    fn journal(&self, visit: &mut dyn FnMut(&[u8])) {
        OldArena::journal(self).for_each(visit);
    }
}
