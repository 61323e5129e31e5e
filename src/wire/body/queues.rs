//! Bodies about single queues: locks (41, 42), resets (220, 222), positions and
//! statistics (202, 208, 221, 223). Most are maps whose keys are message queues.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, MapAccess, Visitor};
use serde::ser::{Error as _, SerializeMap};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::lenient::or_default;

/// A queue as clients name it. `broker_name` must be the one that the route says.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageQueue {
    #[serde(deserialize_with = "or_default")]
    pub broker_name: String,
    pub queue_id: i32,
    #[serde(deserialize_with = "or_default")]
    pub topic: String,
}

/// A map from message queues; see `odd_json` for its form.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueMap<V>(pub BTreeMap<MessageQueue, V>);

/// The body of 41 and 42.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LockRequest {
    #[serde(deserialize_with = "or_default")]
    pub client_id: String,
    #[serde(deserialize_with = "or_default")]
    pub consumer_group: String,
    #[serde(deserialize_with = "or_default")]
    pub mq_set: Vec<MessageQueue>,
    #[serde(deserialize_with = "or_default")]
    pub only_this_broker: bool,
}

/// The reply to 41.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LockReply {
    #[serde(rename = "lockOKMQSet", deserialize_with = "or_default")]
    pub lock_ok_mq_set: Vec<MessageQueue>,
}

/// The body of 220, and of the reply to 222.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResetOffset {
    #[serde(deserialize_with = "or_default")]
    pub offset_table: QueueMap<i64>,
}

/// The body of 220 as C++ clients read it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResetOffsetForCpp {
    pub offset_table: Vec<QueueWithOffset>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueWithOffset {
    pub broker_name: String,
    pub offset: i64,
    pub queue_id: i32,
    pub topic: String,
}

/// The reply to 221 and 223.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerStatus {
    #[serde(deserialize_with = "or_default")]
    pub consumer_table: BTreeMap<String, QueueMap<i64>>,
    #[serde(deserialize_with = "or_default")]
    pub message_queue_table: QueueMap<i64>,
}

/// The reply to 202.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicStats {
    #[serde(deserialize_with = "or_default")]
    pub offset_table: QueueMap<TopicOffset>,
    pub topic_put_tps: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicOffset {
    /// Milliseconds since 1970; 0 when the queue is empty.
    pub last_update_timestamp: i64,
    pub max_offset: i64,
    pub min_offset: i64,
}

/// The reply to 208.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeStats {
    pub consume_tps: f64,
    #[serde(deserialize_with = "or_default")]
    pub offset_table: QueueMap<ConsumeOffset>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeOffset {
    pub broker_offset: i64,
    pub consumer_offset: i64,
    /// Store time of the last message consumed.
    pub last_timestamp: i64,
    pub pull_offset: i64,
}

impl<V> Default for QueueMap<V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<V: Serialize> Serialize for QueueMap<V> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.0.len()))?;
        for (queue, value) in &self.0 {
            let key = serde_json::to_string(queue).map_err(S::Error::custom)?;
            map.serialize_entry(&key, value)?;
        }
        map.end()
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for QueueMap<V> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(QueueMapVisitor(PhantomData))
    }
}

struct QueueMapVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for QueueMapVisitor<V> {
    type Value = QueueMap<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map from message queues")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((key, value)) = entries.next_entry::<String, V>()? {
            map.insert(serde_json::from_str(&key).map_err(A::Error::custom)?, value);
        }
        Ok(QueueMap(map))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{from_bytes, to_bytes};
    use super::*;

    fn queue(topic: &str, queue_id: i32) -> MessageQueue {
        MessageQueue { broker_name: "a".to_owned(), queue_id, topic: topic.to_owned() }
    }

    #[test]
    fn queues_stand_as_objects_where_keys_are() {
        let body = ResetOffset {
            offset_table: QueueMap(BTreeMap::from([(queue("T", 0), 5), (queue("%RETRY%g", 1), 7)])),
        };
        let text = br#"{"offsetTable":{{"brokerName":"a","queueId":0,"topic":"T"}:5,{"brokerName":"a","queueId":1,"topic":"%RETRY%g"}:7}}"#;
        assert_eq!(to_bytes(&body), text);
        assert_eq!(from_bytes::<ResetOffset>(text).unwrap(), body);
    }

    #[test]
    fn names_with_odd_characters_survive_as_keys() {
        let odd = queue("q\"uote\\ {brace}:,\n\u{e9}", -1);
        let body = ResetOffset { offset_table: QueueMap(BTreeMap::from([(odd, i64::MIN)])) };
        assert_eq!(from_bytes::<ResetOffset>(&to_bytes(&body)).unwrap(), body);
    }

    #[test]
    fn statistics_are_written_as_tools_read_them() {
        let offset = TopicOffset { last_update_timestamp: 9, max_offset: 8, min_offset: 7 };
        let stats = TopicStats {
            offset_table: QueueMap(BTreeMap::from([(queue("T", 0), offset)])),
            topic_put_tps: 0.0,
        };
        let text = br#"{"offsetTable":{{"brokerName":"a","queueId":0,"topic":"T"}:{"lastUpdateTimestamp":9,"maxOffset":8,"minOffset":7}},"topicPutTps":0.0}"#;
        assert_eq!(to_bytes(&stats), text);
        assert_eq!(from_bytes::<TopicStats>(text).unwrap(), stats);

        let offset = ConsumeOffset {
            broker_offset: 4,
            consumer_offset: 3,
            last_timestamp: 2,
            pull_offset: 1,
        };
        let stats = ConsumeStats {
            consume_tps: 1.5,
            offset_table: QueueMap(BTreeMap::from([(queue("T", 0), offset)])),
        };
        let text = br#"{"consumeTps":1.5,"offsetTable":{{"brokerName":"a","queueId":0,"topic":"T"}:{"brokerOffset":4,"consumerOffset":3,"lastTimestamp":2,"pullOffset":1}}}"#;
        assert_eq!(to_bytes(&stats), text);
        assert_eq!(from_bytes::<ConsumeStats>(text).unwrap(), stats);

        let status = ConsumerStatus {
            consumer_table: BTreeMap::from([(
                "c@1".to_owned(),
                QueueMap(BTreeMap::from([(queue("T", 0), 5)])),
            )]),
            ..ConsumerStatus::default()
        };
        let text = br#"{"consumerTable":{"c@1":{{"brokerName":"a","queueId":0,"topic":"T"}:5}},"messageQueueTable":{}}"#;
        assert_eq!(to_bytes(&status), text);
        assert_eq!(from_bytes::<ConsumerStatus>(text).unwrap(), status);
    }

    #[test]
    fn locks_are_read_from_go_and_answered() {
        let go = br#"{"consumerGroup":"g","clientId":"c","mqSet":[{"topic":"T","brokerName":"a","queueId":3}]}"#;
        let lock: LockRequest = from_bytes(go).unwrap();
        assert_eq!(lock.mq_set, [queue("T", 3)]);
        assert!(!lock.only_this_broker);
        let reply = LockReply { lock_ok_mq_set: lock.mq_set };
        let text = br#"{"lockOKMQSet":[{"brokerName":"a","queueId":3,"topic":"T"}]}"#;
        assert_eq!(to_bytes(&reply), text);
    }

    #[test]
    fn resets_for_cpp_are_a_list() {
        let offset = QueueWithOffset {
            broker_name: "a".to_owned(),
            offset: 5,
            queue_id: 0,
            topic: "T".to_owned(),
        };
        let text = br#"{"offsetTable":[{"brokerName":"a","offset":5,"queueId":0,"topic":"T"}]}"#;
        assert_eq!(to_bytes(&ResetOffsetForCpp { offset_table: vec![offset] }), text);
    }
}
