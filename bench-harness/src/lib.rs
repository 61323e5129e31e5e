//! Load tools for any broker that speaks the RocketMQ remoting protocol, and for Kafka.
//!
//! In reading order; each room may use those above it.
#![forbid(unsafe_code)]

/// Frames, headers and replies. No sockets.
pub mod wire;

/// What message bodies carry, so that loss, change and order can be seen.
pub mod body;

/// What was sent and acknowledged, as a file between send and drain.
pub mod ledger;

/// Pinned threads, each with a ring.
pub mod threads;

/// The broker's process and the machine, from /proc.
pub mod measure;

/// One request at a time, for set-up.
pub mod admin;

/// What ringmq counts of its own work.
pub mod counters;

/// The Kafka protocol: requests by its crate, replies read in place.
pub mod kafka;

/// Brokers and queues to talk to.
pub mod target;

/// Requests at full speed or at a rate.
pub mod load;

/// Backlogs read back and checked.
pub mod drain;

/// A server that answers everything with success, to measure the tool itself.
pub mod sink;

/// Results as text and as JSON.
pub mod report;

/// Figures as drawings.
pub mod plot;

/// The folders that runs leave.
pub mod results;

/// How far a run is.
pub mod progress;

/// The subcommands `send` and `echo`.
pub mod send;

/// The subcommand `drain`.
pub mod pull;

/// The subcommand `tail`: from sender to receiver.
pub mod tail;

/// Brokers as child processes.
pub mod servers;

/// The subcommand `baselines`.
pub mod baselines;

/// The subcommand `disk`.
pub mod disk;

/// The subcommand `compare`: ringmq, RocketMQ and Kafka side by side.
pub mod compare;

/// The subcommand `matrix`: which way of moving bytes is best, asked of the broker.
pub mod matrix;
/// The subcommand `transfer`: from a file or the arena to sockets, without a broker.
pub mod transfer;

/// The subcommand `report`: texts and plots from raw results.
pub mod rebuild;

/// The subcommand `table3`: the whole comparison.
pub mod table;
