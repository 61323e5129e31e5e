//! A topic as operators configure it, under the JSON names of RocketMQ.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

/// Permission bits of a topic or a broker.
pub const PERM_PRIORITY: u32 = 8;
pub const PERM_READ: u32 = 4;
pub const PERM_WRITE: u32 = 2;
pub const PERM_INHERIT: u32 = 1;

/// The attribute that sets a topic's ack level.
pub const ACK_ATTRIBUTE: &str = "ringmq.ack";

/// The attribute that sets how a topic's messages are moved to consumers.
pub const TRANSFER_ATTRIBUTE: &str = "ringmq.transfer";

/// A topic of one shard. Never used again after a deletion, so that what the index
/// holds of a deleted namesake is nobody's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub u32);

/// What operators set and clients see of a topic. The order is that of RocketMQ's own
/// JSON, which sorts by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TopicConfig {
    #[serde(deserialize_with = "null_is_empty")]
    pub attributes: BTreeMap<String, String>,
    pub order: bool,
    pub perm: u32,
    #[serde(rename = "readQueueNums")]
    pub read_queues: u32,
    #[serde(rename = "topicFilterType", deserialize_with = "null_is_empty")]
    pub filter_type: FilterType,
    #[serde(rename = "topicName", deserialize_with = "null_is_empty")]
    pub name: String,
    /// 1 unit, 2 unit subscription.
    #[serde(rename = "topicSysFlag")]
    pub sys_flag: u32,
    #[serde(rename = "writeQueueNums")]
    pub write_queues: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FilterType {
    #[default]
    SingleTag,
    MultiTag,
}

impl FilterType {
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "SINGLE_TAG" => Some(Self::SingleTag),
            "MULTI_TAG" => Some(Self::MultiTag),
            _ => None,
        }
    }
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self::new("", 16, PERM_READ | PERM_WRITE)
    }
}

impl TopicConfig {
    /// A topic with as many read as write queues and nothing special about it.
    pub fn new(name: &str, queues: u32, perm: u32) -> Self {
        Self {
            name: name.to_owned(),
            read_queues: queues,
            write_queues: queues,
            perm,
            filter_type: FilterType::SingleTag,
            sys_flag: 0,
            order: false,
            attributes: BTreeMap::new(),
        }
    }

    pub fn is_readable(&self) -> bool {
        self.perm & PERM_READ != 0
    }

    pub fn is_writable(&self) -> bool {
        self.perm & PERM_WRITE != 0
    }

    /// Whether unknown topics may be made after this one's model.
    pub fn is_inherited(&self) -> bool {
        self.perm & PERM_INHERIT != 0
    }
}

/// Java tools may write `null` for an empty map.
pub(super) fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_names_are_those_of_rocketmq() {
        let text = serde_json::to_string(&TopicConfig::new("T", 4, 6)).unwrap();
        assert_eq!(
            text,
            "{\"attributes\":{},\"order\":false,\"perm\":6,\"readQueueNums\":4,\
             \"topicFilterType\":\"SINGLE_TAG\",\"topicName\":\"T\",\"topicSysFlag\":0,\
             \"writeQueueNums\":4}"
        );
    }

    #[test]
    fn absent_and_null_fields_take_the_defaults_of_rocketmq() {
        let config: TopicConfig =
            serde_json::from_str(r#"{"topicName":"T","attributes":null,"later":1}"#).unwrap();
        assert_eq!(config, TopicConfig { name: "T".to_owned(), ..TopicConfig::default() });
        assert_eq!((config.read_queues, config.write_queues, config.perm), (16, 16, 6));
    }
}
