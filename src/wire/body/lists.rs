//! Lists and plain tables: 28, 38, 203, 204, 206, 219, 300, 305 and their kind.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::heartbeat::{ConsumeFromWhere, ConsumeType, MessageModel, SubscriptionData};
use super::lenient::{int32, or_default};

/// The reply to 28, 103 and 219.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KvTable {
    #[serde(deserialize_with = "or_default")]
    pub table: BTreeMap<String, String>,
}

impl KvTable {
    /// Peers choose these keys freely: each is quoted, whatever it looks like.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text keys, and memory takes all bytes")
    }
}

/// The reply to 206, 224, 304, 305, 311 to 313 and 343.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicList {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_addr: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub topic_list: Vec<String>,
}

/// The reply to 300.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupList {
    #[serde(deserialize_with = "or_default")]
    pub group_list: Vec<String>,
}

/// The reply to 38: the client ids of a group's members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerIdList {
    #[serde(deserialize_with = "or_default")]
    pub consumer_id_list: Vec<String>,
}

/// A client's connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Connection {
    #[serde(deserialize_with = "or_default")]
    pub client_addr: String,
    #[serde(deserialize_with = "or_default")]
    pub client_id: String,
    /// A name of `wire::Language`.
    #[serde(deserialize_with = "or_default")]
    pub language: String,
    #[serde(deserialize_with = "int32")]
    pub version: i32,
}

/// The reply to 203.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerConnection {
    #[serde(deserialize_with = "or_default")]
    pub connection_set: Vec<Connection>,
    pub consume_from_where: ConsumeFromWhere,
    pub consume_type: ConsumeType,
    pub message_model: MessageModel,
    /// By topic.
    #[serde(deserialize_with = "or_default")]
    pub subscription_table: BTreeMap<String, SubscriptionData>,
}

/// The reply to 204.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerConnection {
    #[serde(deserialize_with = "or_default")]
    pub connection_set: Vec<Connection>,
}

/// A producer, as 328 tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerInfo {
    #[serde(deserialize_with = "or_default")]
    pub client_id: String,
    #[serde(deserialize_with = "or_default")]
    pub language: String,
    /// When its last heartbeat came, in milliseconds since 1970.
    pub last_update_timestamp: i64,
    #[serde(rename = "remoteIP", deserialize_with = "or_default")]
    pub remote_ip: String,
    #[serde(deserialize_with = "int32")]
    pub version: i32,
}

/// The reply to 328: producers by group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProducerTable {
    #[serde(deserialize_with = "or_default")]
    pub data: BTreeMap<String, Vec<ProducerInfo>>,
}

impl ProducerTable {
    /// Peers choose these keys freely: each is quoted, whatever it looks like.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text keys, and memory takes all bytes")
    }
}

/// The reply to 345: what a group wants of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionOf {
    #[serde(deserialize_with = "or_default")]
    pub group: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data: Option<SubscriptionData>,
    #[serde(deserialize_with = "or_default")]
    pub topic: String,
}

#[cfg(test)]
mod tests {
    use super::super::{from_bytes, to_bytes};
    use super::*;

    #[test]
    fn lists_are_written_as_the_reference_writes_them() {
        let ids = ConsumerIdList { consumer_id_list: vec!["a@1".to_owned()] };
        assert_eq!(to_bytes(&ids), br#"{"consumerIdList":["a@1"]}"#);
        let topics = TopicList { broker_addr: None, topic_list: vec!["T".to_owned()] };
        assert_eq!(to_bytes(&topics), br#"{"topicList":["T"]}"#);
        assert_eq!(to_bytes(&GroupList::default()), br#"{"groupList":[]}"#);
        let table = KvTable { table: BTreeMap::from([("k".to_owned(), "v".to_owned())]) };
        assert_eq!(table.to_bytes(), br#"{"table":{"k":"v"}}"#);
        let odd = KvTable { table: BTreeMap::from([("{\"k".to_owned(), "v".to_owned())]) };
        assert_eq!(serde_json::from_slice::<KvTable>(&odd.to_bytes()).unwrap(), odd);
        assert_eq!(from_bytes::<KvTable>(br#"{"table":null}"#).unwrap(), KvTable::default());
    }

    #[test]
    fn producers_stand_by_group_whatever_the_groups_are_called() {
        let info = ProducerInfo { remote_ip: "10.0.0.1:5".to_owned(), ..ProducerInfo::default() };
        let table = ProducerTable { data: BTreeMap::from([("{\"p".to_owned(), vec![info])]) };
        let text = br#"{"data":{"{\"p":[{"clientId":"","language":"","lastUpdateTimestamp":0,"remoteIP":"10.0.0.1:5","version":0}]}}"#;
        assert_eq!(table.to_bytes(), text);
        let none =
            SubscriptionOf { group: "g".to_owned(), topic: "T".to_owned(), ..Default::default() };
        assert_eq!(to_bytes(&none), br#"{"group":"g","topic":"T"}"#);
    }

    #[test]
    fn connections_are_read_back() {
        let connection = Connection {
            client_addr: "10.0.0.1:5".to_owned(),
            client_id: "c@1".to_owned(),
            language: "GO".to_owned(),
            version: 317,
        };
        let consumers = ConsumerConnection {
            connection_set: vec![connection.clone()],
            consume_from_where: ConsumeFromWhere::Timestamp,
            consume_type: ConsumeType::Actively,
            message_model: MessageModel::Broadcasting,
            subscription_table: BTreeMap::from([("T".to_owned(), SubscriptionData::default())]),
        };
        let text = to_bytes(&consumers);
        assert_eq!(from_bytes::<ConsumerConnection>(&text).unwrap(), consumers);
        let producers = ProducerConnection { connection_set: vec![connection] };
        let text = br#"{"connectionSet":[{"clientAddr":"10.0.0.1:5","clientId":"c@1","language":"GO","version":317}]}"#;
        assert_eq!(to_bytes(&producers), text);
    }
}
