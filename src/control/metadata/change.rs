//! What can be changed, what comes of it, and what a start finds.

use std::collections::BTreeMap;

use crate::base::group::GroupConfig;
pub use crate::base::metadata::{DataVersion, TopicRecord};
use crate::base::topic::TopicConfig;
use crate::base::{LogOffset, QueueOffset};

/// Whose change it is: a party (a shard, or the control thread) and its own number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    pub party: u16,
    pub token: u64,
}

/// Everything that changes metadata.
#[derive(Clone, Debug)]
pub enum Change {
    /// Makes the topic on each shard that lacks it. Where it exists it stays as it is.
    CreateTopicOnAllShards {
        config: TopicConfig,
    },
    /// Makes or changes the topic on the shards named.
    PutTopic {
        shards: Vec<u16>,
        config: TopicConfig,
    },
    /// Removes the topic with its consumer offsets. Records below `log_end` will not
    /// belong to a later topic of that name; the shard appends none after it.
    DeleteTopic {
        shard: u16,
        name: String,
        log_end: LogOffset,
    },
    /// The log of a shard came back shorter than it had been: what was said of places
    /// beyond `log_end` is said of `log_end`, since other records will come there.
    CutLog {
        shard: u16,
        log_end: LogOffset,
    },
    /// The log of a shard begins at `log_start`: deleted names below need no memory.
    ForgetDeleted {
        shard: u16,
        log_start: LogOffset,
    },
    PutGroup {
        shard: u16,
        config: GroupConfig,
    },
    DeleteGroup {
        shard: u16,
        name: String,
        with_offsets: bool,
    },
    /// Consumer offsets, all or none.
    PutOffsets {
        shard: u16,
        batch: Vec<OffsetEntry>,
    },
    DeleteOffsets {
        shard: u16,
        topic: String,
        group: String,
    },
    /// Broker options that were set while running, all or none.
    PutOptions {
        shard: u16,
        options: Vec<(String, String)>,
    },
    PutValue {
        namespace: String,
        key: String,
        value: String,
    },
    DeleteValue {
        namespace: String,
        key: String,
    },
}

/// A change that is durable.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// One for each shard concerned, in their order: all shards must learn of it.
    Topics(Vec<TopicPlaced>),
    /// `record` is `None` when there was no such topic.
    TopicDeleted {
        shard: u16,
        record: Option<TopicRecord>,
        version: DataVersion,
    },
    Group {
        shard: u16,
        config: GroupConfig,
        changed: bool,
        version: DataVersion,
    },
    GroupDeleted {
        shard: u16,
        name: String,
        existed: bool,
        version: DataVersion,
    },
    /// Nothing to tell but that it is durable.
    Kept,
    ValueDeleted {
        existed: bool,
    },
}

/// A topic as one shard has it after a change.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicPlaced {
    pub shard: u16,
    pub record: TopicRecord,
    pub effect: TopicEffect,
    /// The shard's version of its topics, after the change.
    pub version: DataVersion,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicEffect {
    Made,
    Changed,
    Unchanged,
}

/// Where a group stands in one queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OffsetEntry {
    pub topic: String,
    pub group: String,
    pub queue: u32,
    pub offset: QueueOffset,
}

/// Everything that a start finds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    pub shards: Vec<ShardMetadata>,
    /// Name server values by namespace and key.
    pub values: BTreeMap<(String, String), String>,
}

/// What one shard finds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShardMetadata {
    pub topics: BTreeMap<String, TopicRecord>,
    pub topic_version: DataVersion,
    pub groups: BTreeMap<String, GroupConfig>,
    pub group_version: DataVersion,
    /// In order of topic, group and queue.
    pub offsets: Vec<OffsetEntry>,
    /// Options that were set while running.
    pub options: BTreeMap<String, String>,
}

/// The version after a change at `now_ms`; it differs even if the clock stood still.
pub(super) fn next_version(version: DataVersion, now_ms: i64) -> DataVersion {
    DataVersion { timestamp: now_ms, counter: version.counter + 1, ..version }
}
