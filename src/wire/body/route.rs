//! Where topics are and who serves them: 105, 106, 217.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::lenient::or_default;
use super::{to_bytes, to_standard_bytes};

/// Clients from this version (V4_9_4) on get standard JSON.
const STANDARD_JSON_FROM: i32 = 401;

/// The reply to 105.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicRoute {
    #[serde(deserialize_with = "or_default")]
    pub broker_datas: Vec<BrokerData>,
    /// Obsolete, but clients want it to be there.
    #[serde(deserialize_with = "or_default")]
    pub filter_server_table: BTreeMap<String, Vec<String>>,
    /// `brokerA:4;brokerB:4`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_topic_conf: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub queue_datas: Vec<QueueData>,
}

/// One broker's queues of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueData {
    #[serde(deserialize_with = "or_default")]
    pub broker_name: String,
    pub perm: i32,
    pub read_queue_nums: i32,
    // Up to 4.8 it had another name.
    #[serde(alias = "topicSynFlag")]
    pub topic_sys_flag: i32,
    pub write_queue_nums: i32,
}

/// One broker: its primary (id 0) and replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerData {
    #[serde(deserialize_with = "or_default")]
    pub broker_addrs: BTreeMap<i64, String>,
    #[serde(deserialize_with = "or_default")]
    pub broker_name: String,
    #[serde(deserialize_with = "or_default")]
    pub cluster: String,
    pub enable_acting_master: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone_name: Option<String>,
}

/// The reply to 106.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterInfo {
    #[serde(deserialize_with = "or_default")]
    pub broker_addr_table: BTreeMap<String, BrokerData>,
    /// Clusters and the names of their brokers.
    #[serde(deserialize_with = "or_default")]
    pub cluster_addr_table: BTreeMap<String, Vec<String>>,
}

impl TopicRoute {
    /// The body for a client of a version that may ask for standard JSON.
    pub fn to_bytes_for(&self, client_version: i32, standard_json_only: bool) -> Vec<u8> {
        if client_version >= STANDARD_JSON_FROM || standard_json_only {
            to_standard_bytes(self)
        } else {
            to_bytes(self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::from_bytes;
    use super::*;

    fn route() -> TopicRoute {
        TopicRoute {
            broker_datas: vec![BrokerData {
                broker_addrs: BTreeMap::from([(0, "10.0.0.1:10911".to_owned())]),
                broker_name: "broker-a".to_owned(),
                cluster: "DefaultCluster".to_owned(),
                ..BrokerData::default()
            }],
            queue_datas: vec![QueueData {
                broker_name: "broker-a".to_owned(),
                perm: 6,
                read_queue_nums: 4,
                topic_sys_flag: 0,
                write_queue_nums: 4,
            }],
            ..TopicRoute::default()
        }
    }

    const LEGACY: &[u8] = br#"{"brokerDatas":[{"brokerAddrs":{0:"10.0.0.1:10911"},"brokerName":"broker-a","cluster":"DefaultCluster","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#;

    #[test]
    fn a_route_is_written_byte_by_byte_as_old_clients_read_it() {
        for (version, only) in [(317, false), (400, false), (0, false)] {
            assert_eq!(route().to_bytes_for(version, only), LEGACY);
        }
        let standard = String::from_utf8_lossy(LEGACY).replace("{0:", "{\"0\":");
        for (version, only) in [(401, false), (479, false), (121, true)] {
            assert_eq!(route().to_bytes_for(version, only), standard.as_bytes());
        }
    }

    #[test]
    fn a_route_is_read_in_both_forms() {
        assert_eq!(from_bytes::<TopicRoute>(LEGACY).unwrap(), route());
        let standard = route().to_bytes_for(479, false);
        assert_eq!(from_bytes::<TopicRoute>(&standard).unwrap(), route());
        let old =
            br#"{"queueDatas":[{"brokerName":"b","topicSynFlag":3}],"filterServerTable":null}"#;
        assert_eq!(from_bytes::<TopicRoute>(old).unwrap().queue_datas[0].topic_sys_flag, 3);
    }

    #[test]
    fn cluster_info_has_bare_numbers_as_keys() {
        let info = ClusterInfo {
            broker_addr_table: BTreeMap::from([(
                "broker-a".to_owned(),
                route().broker_datas.remove(0),
            )]),
            cluster_addr_table: BTreeMap::from([("C".to_owned(), vec!["broker-a".to_owned()])]),
        };
        let text = br#"{"brokerAddrTable":{"broker-a":{"brokerAddrs":{0:"10.0.0.1:10911"},"brokerName":"broker-a","cluster":"DefaultCluster","enableActingMaster":false}},"clusterAddrTable":{"C":["broker-a"]}}"#;
        assert_eq!(to_bytes(&info), text);
        assert_eq!(from_bytes::<ClusterInfo>(text).unwrap(), info);
    }
}
