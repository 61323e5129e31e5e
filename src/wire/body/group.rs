//! Subscription groups: 200, 201, 225, 352.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::lenient::or_default;
use super::topic::DataVersion;
pub use crate::base::group::GroupConfig;

/// The body of 225.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupList {
    #[serde(deserialize_with = "or_default")]
    pub group_config_list: Vec<GroupConfig>,
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
    pub subscription_group_table: BTreeMap<String, GroupConfig>,
}

#[cfg(test)]
mod tests {
    use super::super::{from_bytes, to_bytes};
    use super::*;
    use crate::base::group::{RetryKind, RetryPolicy};

    #[test]
    fn what_a_group_leaves_out_takes_its_default() {
        let group: GroupConfig = from_bytes(br#"{"groupName":"g"}"#).unwrap();
        let expected = br#"{"attributes":{},"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":true,"consumeFromMinEnable":true,"consumeMessageOrderly":false,"consumeTimeoutMinute":15,"groupName":"g","groupRetryPolicy":{"type":"CUSTOMIZED"},"groupSysFlag":0,"notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"retryQueueNums":1,"whichBrokerWhenConsumeSlowly":1}"#;
        assert_eq!(to_bytes(&group), expected);
    }

    #[test]
    fn a_table_of_groups_is_read_back() {
        let group = GroupConfig {
            name: "g".to_owned(),
            retry_max_times: 3,
            group_retry_policy: RetryPolicy {
                kind: RetryKind::Exponential,
                ..RetryPolicy::default()
            },
            ..GroupConfig::default()
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
