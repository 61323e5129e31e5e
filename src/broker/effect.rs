//! What a handler asks of the world outside its shard; the answer comes back by token.

use crate::base::LogOffset;
use crate::base::group::GroupConfig;
use crate::base::metadata::{DataVersion, TopicRecord};
use crate::base::topic::TopicConfig;

use super::offsets::Change;

/// One wish. A handler never waits: it keeps what it needs under the token.
#[derive(Debug)]
pub enum Effect {
    /// Make this durable; answered by `Broker::on_stored`.
    Persist { token: u64, change: MetaChange },
    /// Create this topic on every shard of the node; answered by `Broker::on_topic_made`
    /// on each of them, and by `Broker::on_topic_ready` where it was asked for.
    CreateEverywhere { config: TopicConfig },
    /// This shard has installed a topic that was created everywhere.
    Installed { topic: String },
    /// Tell the name servers of this shard's topics; answered by `Broker::on_published`
    /// with a version at least as high.
    Publish { version: DataVersion, topics: Vec<TopicConfig> },
}

/// A durable change of a shard's metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum MetaChange {
    PutTopic {
        config: TopicConfig,
    },
    /// The log's end tells records of this topic from those of a later namesake.
    DeleteTopic {
        name: String,
        log_end: LogOffset,
    },
    PutGroup {
        config: GroupConfig,
    },
    DeleteGroup {
        name: String,
        with_offsets: bool,
    },
    PutOptions {
        options: Vec<(String, String)>,
    },
    Offsets {
        changes: Vec<Change>,
    },
}

/// A topic that was created on every shard, as this shard has it.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicMade {
    pub record: TopicRecord,
    pub version: DataVersion,
}
