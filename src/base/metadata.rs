//! Metadata as it is kept: what a broker remembers besides messages.

use serde::{Deserialize, Serialize};

use super::group::GroupConfig;
use super::topic::{TopicConfig, null_is_empty};
use super::{LogOffset, TopicId};

/// A topic of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRecord {
    pub id: TopicId,
    /// Records below belong to a deleted namesake.
    pub birth: LogOffset,
    pub config: TopicConfig,
}

/// How name servers and tools tell one state of a configuration from another.
/// A change raises `counter` and sets `timestamp`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataVersion {
    #[serde(deserialize_with = "null_is_empty")]
    pub counter: i64,
    /// The controller's epoch; 0 without one.
    pub state_version: i64,
    /// Milliseconds since 1970 of the last change.
    pub timestamp: i64,
}

/// A change of one shard's metadata that has become durable.
#[derive(Clone, Debug, PartialEq)]
pub enum Durable {
    /// The topic as the shard has it now; `changed` unless it was so before.
    Topic {
        record: TopicRecord,
        version: DataVersion,
        changed: bool,
    },
    TopicDeleted {
        version: DataVersion,
    },
    Group {
        config: GroupConfig,
        version: DataVersion,
    },
    GroupDeleted {
        version: DataVersion,
    },
    /// Nothing to tell but that it is durable.
    Kept,
}
