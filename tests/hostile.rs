//! The real node against peers, disks and settings that mean it ill: whatever comes, the
//! answer is the specified one and everybody else is served.

#[path = "hostile/connections.rs"]
mod connections;
#[path = "hostile/damage.rs"]
mod damage;
#[path = "hostile/disk.rs"]
mod disk;
#[path = "hostile/frames.rs"]
mod frames;
#[path = "hostile/late_write.rs"]
mod late_write;
#[path = "hostile/log_failure.rs"]
mod log_failure;
#[path = "hostile/no_arena.rs"]
mod no_arena;
#[path = "hostile/node.rs"]
mod node;
#[path = "hostile/open_files.rs"]
mod open_files;
#[path = "hostile/peer.rs"]
mod peer;
#[path = "hostile/profile.rs"]
mod profile;
#[path = "requests_common/mod.rs"]
mod requests;
#[path = "hostile/sends.rs"]
mod sends;
#[path = "hostile/start.rs"]
mod start;
#[path = "hostile/stop.rs"]
mod stop;
#[path = "hostile/transfer.rs"]
mod transfer;
#[path = "hostile/write_modes.rs"]
mod write_modes;
