//! What no file tells: it is asked of the kernel, or tried.

use std::net::Ipv4Addr;
use std::path::Path;

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::unistd::{AccessFlags, access};

use super::super::facts::{DirectWrites, DirectoryFacts, DiskUse, Fact, RingFact, Unknown, Wanted};
use crate::config::{Config, ShardPlan};
use crate::engine::files::directory::{Foreseen, foresee};
use crate::engine::files::{Access, DiskSpace, Identity};
use crate::reactor::{Ring, RingConfig, raise_locked_memory, raise_open_files};

/// Facts of the running kernel and the real data directory.
#[derive(Debug)]
pub struct Live {
    pub wanted: Wanted,
    pub ring: RingFact,
    pub locked_memory: Fact<Option<u64>>,
    pub open_files: Fact<u64>,
    pub directory: DirectoryFacts,
    /// Of a directory that is there.
    pub directory_id: Option<[u8; 16]>,
    /// The interface that clients come by; `None` on loopback.
    pub interface: Option<Fact<String>>,
}

impl Live {
    /// Tries what a start with `config` would. The limits that it raises are those of
    /// this process alone, as the broker raises its own.
    pub fn probe(config: &Config) -> Self {
        let limit = |limit: std::io::Result<u64>| {
            limit.map_err(|error| Unknown(format!("cannot ask for the limit: {error}")))
        };
        let locked_memory = limit(raise_locked_memory()).map(|bytes| {
            // RLIM_INFINITY.
            (bytes != u64::MAX).then_some(bytes)
        });
        let open_files = limit(raise_open_files());
        let ring = match Ring::new(RingConfig::default()) {
            Ok(ring) => RingFact::Made(ring.degradations().to_vec()),
            Err(error) => RingFact::Refused(error),
        };
        let Looked { mut directory, identity } = look_at_directory(config);
        let shards = identity.as_ref().map(|identity| identity.shards);
        let (shards, plan) = plan(config, shards, &mut directory.refused);
        Self {
            wanted: Wanted {
                shards,
                arena_bytes: plan.arena_bytes,
                cores: plan.cores,
                ack: config.ack,
                write: *config.write.value(),
            },
            ring,
            locked_memory,
            open_files,
            directory,
            directory_id: identity.map(|identity| identity.id),
            interface: interface(config),
        }
    }
}

/// What follows for as many shards as the directory has, else for those asked for.
fn plan(config: &Config, shards: Option<u16>, refused: &mut Option<String>) -> (u16, ShardPlan) {
    if let Some(shards) = shards {
        match config.plan(shards) {
            Ok(plan) => return (shards, plan),
            Err(why) => _ = refused.get_or_insert(why.to_string()),
        }
    }
    let asked = *config.wanted.shards.value();
    (asked, config.plan(asked).expect("a configuration is checked with its own shards"))
}

struct Looked {
    directory: DirectoryFacts,
    /// Of a directory that is there.
    identity: Option<Identity>,
}

fn look_at_directory(config: &Config) -> Looked {
    let path = std::path::absolute(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone());
    let existing = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let is_there = existing == path;
    let existing = existing.canonicalize().unwrap_or_else(|_| existing.to_owned());
    let path = if is_there { existing.clone() } else { path };
    let space = DiskSpace::of(&existing).map_err(|error| Unknown(error.to_string()));
    let available = space.as_ref().map_or(0, |space| space.available);
    let (identity, refused) = match foresee(&path, &config.wanted, available) {
        Ok(Foreseen::There(identity)) => (Some(identity), None),
        Ok(Foreseen::ToBeMade(_)) => (None, None),
        Err(why) => (None, Some(why.to_string())),
    };
    let directory = DirectoryFacts {
        writable: is_writable(&existing),
        refused,
        disk_use: space.map(|space| DiskUse {
            available: space.available,
            basis_points: space.basis_points(),
            refuse_at: config.retention.refuse_at,
        }),
        direct: direct_writes(&existing),
        path,
        existing,
    };
    Looked { directory, identity }
}

fn is_writable(existing: &Path) -> Fact<bool> {
    match access(existing, AccessFlags::W_OK | AccessFlags::X_OK) {
        Ok(()) => Ok(true),
        Err(Errno::EACCES | Errno::EROFS | Errno::EPERM) => Ok(false),
        Err(error) => Err(Unknown(format!("cannot ask for {}: {error}", existing.display()))),
    }
}

fn direct_writes(existing: &Path) -> Fact<DirectWrites> {
    match Access::look(existing).map(|(_, no_direct)| no_direct) {
        Ok(None) => Ok(DirectWrites::InPlace),
        Ok(Some(reason)) => Ok(DirectWrites::Missing(reason)),
        Err(error) => Err(Unknown(error.to_string())),
    }
}

/// The interface of the address that is bound, or of the one that routes name.
fn interface(config: &Config) -> Option<Fact<String>> {
    if config.listen.is_loopback() {
        return None;
    }
    let address = match config.listen.is_unspecified() {
        true => config.advertise,
        false => config.listen,
    };
    Some(interface_of(address))
}

fn interface_of(address: Ipv4Addr) -> Fact<String> {
    let all = getifaddrs()
        .map_err(|error| Unknown(format!("cannot list the network interfaces: {error}")))?;
    let has = |found: &nix::ifaddrs::InterfaceAddress| {
        found.address.as_ref().and_then(|found| found.as_sockaddr_in()).map(|found| found.ip())
            == Some(address)
    };
    let named = all.into_iter().find(has).map(|found| found.interface_name);
    named.ok_or_else(|| {
        Unknown(format!("{address} is on no interface of this machine, so none can be looked at"))
    })
}
