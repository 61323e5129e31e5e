//! ringmq: a RocketMQ-compatible broker. The rooms, in reading order; `ARCHITECTURE.md`
//! beside this file tells who may use whom, and `tests/rooms.rs` checks it.

/// Words all rooms share: log and queue offsets, limits, checksums.
#[forbid(unsafe_code)]
pub mod base;

/// The remoting protocol: bytes to typed requests and replies. No sockets, no clock.
#[forbid(unsafe_code)]
pub mod wire;

/// CommitLog: the truth. Says what to write; never writes.
#[forbid(unsafe_code)]
pub mod log;

/// ConsumeQueue: where each queue's messages lie. Derived from the log.
#[forbid(unsafe_code)]
pub mod queue;

/// One shard's log with its queues: watermarks, visibility, reads.
#[forbid(unsafe_code)]
pub mod store;

/// What a broker does with a request. `dispatch.rs` is the table of contents.
#[forbid(unsafe_code)]
pub mod broker;

/// A connection as a value: bytes in, frames out; replies, backlog, limits.
#[forbid(unsafe_code)]
pub mod net;

/// One shard as a value: events in, intents out.
#[forbid(unsafe_code)]
pub mod shard;

/// io_uring: ring, buffers, arena. The one room with unsafe code.
pub mod reactor;

/// The name server: route table, registration, expiry, as a value.
#[forbid(unsafe_code)]
pub mod namesrv;

/// Flags and file as written, made into one checked configuration.
#[forbid(unsafe_code)]
pub mod config;

/// What waits for disks and networks outside the message path: metadata, registration.
#[forbid(unsafe_code)]
pub mod control;

/// `ringmq send` and `ringmq tail`: an ordinary client, as any other program's.
#[forbid(unsafe_code)]
pub mod client;

/// A data thread: rings, files and mailboxes around its shards.
#[forbid(unsafe_code)]
pub mod engine;

/// `ringmq doctor`: whether this machine can run a broker, and whether it is tuned for one.
#[forbid(unsafe_code)]
pub mod doctor;

/// `ringmq probe`: what moves bytes best on this machine.
#[forbid(unsafe_code)]
pub mod probe;

/// `ringmq serve`: starts the threads, speaks for the node, and ends it.
#[forbid(unsafe_code)]
pub mod serve;
