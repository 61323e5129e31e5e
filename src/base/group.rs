//! A subscription group as operators configure it, under the JSON names of RocketMQ.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::topic::null_is_empty;

/// What operators set of a subscription group. The order is that of RocketMQ's own
/// JSON, which sorts by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupConfig {
    #[serde(deserialize_with = "null_is_empty")]
    pub attributes: BTreeMap<String, String>,
    pub broker_id: i64,
    pub consume_broadcast_enable: bool,
    pub consume_enable: bool,
    pub consume_from_min_enable: bool,
    pub consume_message_orderly: bool,
    pub consume_timeout_minute: i32,
    #[serde(rename = "groupName", deserialize_with = "null_is_empty")]
    pub name: String,
    #[serde(deserialize_with = "null_is_empty")]
    pub group_retry_policy: RetryPolicy,
    pub group_sys_flag: i32,
    pub notify_consumer_ids_changed_enable: bool,
    pub retry_max_times: i32,
    pub retry_queue_nums: i32,
    /// Kept as it came: only the tools that wrote it read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data_set: Option<serde_json::Value>,
    pub which_broker_when_consume_slowly: i64,
}

/// When a message that failed comes again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RetryPolicy {
    #[serde(rename = "type")]
    pub kind: RetryKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exponential_retry_policy: Option<ExponentialRetry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customized_retry_policy: Option<CustomizedRetry>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RetryKind {
    #[default]
    Customized,
    Exponential,
}

/// Milliseconds, growing by a factor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExponentialRetry {
    pub initial: i64,
    pub max: i64,
    pub multiplier: i64,
}

/// Milliseconds, one per attempt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CustomizedRetry {
    pub next: Vec<i64>,
}

impl Default for ExponentialRetry {
    fn default() -> Self {
        Self { initial: 5_000, max: 7_200_000, multiplier: 2 }
    }
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self::new("")
    }
}

impl GroupConfig {
    /// A group as RocketMQ makes one by itself.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            consume_enable: true,
            consume_from_min_enable: true,
            consume_broadcast_enable: true,
            consume_message_orderly: false,
            retry_queue_nums: 1,
            retry_max_times: 16,
            group_retry_policy: RetryPolicy::default(),
            broker_id: 0,
            which_broker_when_consume_slowly: 1,
            notify_consumer_ids_changed_enable: true,
            group_sys_flag: 0,
            consume_timeout_minute: 15,
            subscription_data_set: None,
            attributes: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_in_json_has_every_field_that_tools_print() {
        let text = serde_json::to_string(&GroupConfig::new("G")).unwrap();
        for field in [
            r#""groupName":"G""#,
            r#""consumeEnable":true"#,
            r#""consumeFromMinEnable":true"#,
            r#""consumeBroadcastEnable":true"#,
            r#""consumeMessageOrderly":false"#,
            r#""retryQueueNums":1"#,
            r#""retryMaxTimes":16"#,
            r#""groupRetryPolicy":{"type":"CUSTOMIZED"}"#,
            r#""brokerId":0"#,
            r#""whichBrokerWhenConsumeSlowly":1"#,
            r#""notifyConsumerIdsChangedEnable":true"#,
            r#""groupSysFlag":0"#,
            r#""consumeTimeoutMinute":15"#,
            r#""attributes":{}"#,
        ] {
            assert!(text.contains(field), "{field} is missing in {text}");
        }
    }

    #[test]
    fn a_retry_policy_survives_the_round_trip() {
        let text = r#"{"groupName":"G","groupRetryPolicy":{"type":"EXPONENTIAL",
            "exponentialRetryPolicy":{"initial":1000}},"unknown":[1]}"#;
        let group: GroupConfig = serde_json::from_str(text).unwrap();
        assert_eq!(group.group_retry_policy.kind, RetryKind::Exponential);
        let exponential = group.group_retry_policy.exponential_retry_policy.as_ref().unwrap();
        assert_eq!(*exponential, ExponentialRetry { initial: 1000, ..Default::default() });
        let again = serde_json::from_str(&serde_json::to_string(&group).unwrap()).unwrap();
        assert_eq!(group, again);
    }
}
