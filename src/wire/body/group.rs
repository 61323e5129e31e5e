//! Subscription groups: 200, 201, 225, 352.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::lenient::or_default;
use super::topic::DataVersion;

/// A consumer group as a broker keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupConfig {
    #[serde(deserialize_with = "or_default")]
    pub attributes: BTreeMap<String, String>,
    pub broker_id: i64,
    pub consume_broadcast_enable: bool,
    pub consume_enable: bool,
    pub consume_from_min_enable: bool,
    pub consume_message_orderly: bool,
    pub consume_timeout_minute: i32,
    #[serde(deserialize_with = "or_default")]
    pub group_name: String,
    /// How pop consumers' retries are spaced; handed on as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_retry_policy: Option<serde_json::Value>,
    pub group_sys_flag: i32,
    pub notify_consumer_ids_changed_enable: bool,
    pub retry_max_times: i32,
    pub retry_queue_nums: i32,
    /// Subscriptions fixed by an operator; handed on as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data_set: Option<serde_json::Value>,
    pub which_broker_when_consume_slowly: i64,
}

impl Default for SubscriptionGroupConfig {
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            broker_id: 0,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            consume_message_orderly: false,
            consume_timeout_minute: 15,
            group_name: String::new(),
            group_retry_policy: None,
            group_sys_flag: 0,
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            subscription_data_set: None,
            which_broker_when_consume_slowly: 1,
        }
    }
}

/// The body of 225.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupList {
    #[serde(deserialize_with = "or_default")]
    pub group_config_list: Vec<SubscriptionGroupConfig>,
}

/// The reply to 201.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupTable {
    #[serde(deserialize_with = "or_default")]
    pub data_version: DataVersion,
    /// Group, topic, bits of what is forbidden.
    #[serde(deserialize_with = "or_default")]
    pub forbidden_table: BTreeMap<String, BTreeMap<String, i32>>,
    #[serde(deserialize_with = "or_default")]
    pub subscription_group_table: BTreeMap<String, SubscriptionGroupConfig>,
}

#[cfg(test)]
mod tests {
    use super::super::{from_bytes, to_bytes};
    use super::*;

    #[test]
    fn what_a_group_leaves_out_takes_its_default() {
        let group: SubscriptionGroupConfig = from_bytes(br#"{"groupName":"g"}"#).unwrap();
        let expected = br#"{"attributes":{},"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":true,"consumeFromMinEnable":true,"consumeMessageOrderly":false,"consumeTimeoutMinute":15,"groupName":"g","groupSysFlag":0,"notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"retryQueueNums":1,"whichBrokerWhenConsumeSlowly":1}"#;
        assert_eq!(to_bytes(&group), expected);
    }

    #[test]
    fn a_table_of_groups_is_read_back() {
        let group = SubscriptionGroupConfig {
            group_name: "g".to_owned(),
            retry_max_times: 3,
            group_retry_policy: Some(serde_json::json!({"type": "CUSTOMIZED"})),
            ..SubscriptionGroupConfig::default()
        };
        let table = SubscriptionGroupTable {
            data_version: DataVersion { counter: 1, state_version: 0, timestamp: 2 },
            forbidden_table: BTreeMap::from([(
                "g".to_owned(),
                BTreeMap::from([("T".to_owned(), 1)]),
            )]),
            subscription_group_table: BTreeMap::from([("g".to_owned(), group)]),
        };
        assert_eq!(from_bytes::<SubscriptionGroupTable>(&to_bytes(&table)).unwrap(), table);
    }
}
