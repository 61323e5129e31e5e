//! Topics and the version of tables: 18, 21, 322, 351.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::lenient::or_default;
pub use crate::base::metadata::DataVersion;
pub use crate::base::topic::{FilterType, TopicConfig};

/// The body of 18.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfigList {
    #[serde(deserialize_with = "or_default")]
    pub topic_config_list: Vec<TopicConfig>,
}

/// The reply to 21, and what a broker registers (103). Mappings of static topics are
/// handed on as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfigTable {
    #[serde(deserialize_with = "or_default")]
    pub data_version: DataVersion,
    #[serde(deserialize_with = "or_default")]
    pub mapping_data_version: DataVersion,
    #[serde(deserialize_with = "or_default")]
    pub topic_config_table: BTreeMap<String, TopicConfig>,
    #[serde(deserialize_with = "or_default")]
    pub topic_queue_mapping_detail_map: BTreeMap<String, serde_json::Value>,
    #[serde(deserialize_with = "or_default")]
    pub topic_queue_mapping_info_map: BTreeMap<String, serde_json::Value>,
}

#[cfg(test)]
mod tests {
    use super::super::{from_bytes, to_bytes};
    use super::*;

    #[test]
    fn a_topic_is_written_as_the_reference_writes_it() {
        let topic = TopicConfig {
            name: "T".to_owned(),
            read_queues: 4,
            write_queues: 4,
            ..TopicConfig::default()
        };
        let expected = br#"{"attributes":{},"order":false,"perm":6,"readQueueNums":4,"topicFilterType":"SINGLE_TAG","topicName":"T","topicSysFlag":0,"writeQueueNums":4}"#;
        assert_eq!(to_bytes(&topic), expected);
        assert_eq!(from_bytes::<TopicConfig>(expected).unwrap(), topic);
    }

    #[test]
    fn what_a_topic_leaves_out_takes_its_default() {
        let topic: TopicConfig = from_bytes(br#"{"topicName":"T","attributes":null}"#).unwrap();
        let expected = TopicConfig { name: "T".to_owned(), ..TopicConfig::default() };
        assert_eq!(topic, expected);
        assert_eq!((topic.perm, topic.read_queues, topic.write_queues), (6, 16, 16));
    }

    #[test]
    fn a_table_of_topics_is_read_back() {
        let text = br#"{"dataVersion":{"counter":3,"stateVersion":0,"timestamp":1700000000000},"mappingDataVersion":{"counter":0,"stateVersion":0,"timestamp":0},"topicConfigTable":{"T":{"attributes":{"message.type":"FIFO"},"order":true,"perm":4,"readQueueNums":1,"topicFilterType":"MULTI_TAG","topicName":"T","topicSysFlag":2,"writeQueueNums":2}},"topicQueueMappingDetailMap":{},"topicQueueMappingInfoMap":{}}"#;
        let table: TopicConfigTable = from_bytes(text).unwrap();
        assert_eq!(table.data_version.counter, 3);
        assert_eq!(table.topic_config_table["T"].filter_type, FilterType::MultiTag);
        assert_eq!(to_bytes(&table), text);
        // A 4.9 broker knows no mappings.
        let old: TopicConfigTable =
            from_bytes(br#"{"dataVersion":{"counter":1,"timestamp":2},"topicConfigTable":{}}"#)
                .unwrap();
        assert_eq!(old.data_version, DataVersion { counter: 1, state_version: 0, timestamp: 2 });
    }
}
