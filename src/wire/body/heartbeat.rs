//! What clients tell about themselves: 34 and 46.

use serde::{Deserialize, Serialize};

use super::lenient::{int32, int32_list, int64, java_enum, or_default};

/// The body of 34.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Heartbeat {
    #[serde(rename = "clientID", deserialize_with = "or_default")]
    pub client_id: String,
    #[serde(deserialize_with = "or_default")]
    pub consumer_data_set: Vec<ConsumerData>,
    /// Not 0: the client speaks heartbeat V2.
    #[serde(deserialize_with = "int32")]
    pub heartbeat_fingerprint: i32,
    #[serde(deserialize_with = "or_default")]
    pub producer_data_set: Vec<ProducerData>,
    /// Subscriptions are left out, since they are as they were.
    #[serde(deserialize_with = "or_default")]
    pub without_sub: bool,
}

/// A consumer group that the client belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerData {
    pub consume_from_where: ConsumeFromWhere,
    pub consume_type: ConsumeType,
    #[serde(deserialize_with = "or_default")]
    pub group_name: String,
    pub message_model: MessageModel,
    #[serde(deserialize_with = "or_default")]
    pub subscription_data_set: Vec<SubscriptionData>,
    #[serde(deserialize_with = "or_default")]
    pub unit_mode: bool,
}

/// A producer group that the client belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerData {
    #[serde(deserialize_with = "or_default")]
    pub group_name: String,
}

/// What of a topic a group wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionData {
    #[serde(deserialize_with = "or_default")]
    pub class_filter_mode: bool,
    /// Hash codes of the tags as the client computes them. Languages differ beyond
    /// ASCII: recompute them from `tags_set`.
    #[serde(deserialize_with = "int32_list")]
    pub code_set: Vec<i32>,
    /// `TAG` or `SQL92`.
    #[serde(deserialize_with = "expression_type")]
    pub expression_type: String,
    #[serde(deserialize_with = "or_default")]
    pub sub_string: String,
    /// Milliseconds, in Go nanoseconds; only compared.
    #[serde(deserialize_with = "int64")]
    pub sub_version: i64,
    #[serde(deserialize_with = "or_default")]
    pub tags_set: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub topic: String,
}

impl Default for SubscriptionData {
    fn default() -> Self {
        Self {
            class_filter_mode: false,
            code_set: Vec::new(),
            expression_type: TAG.to_owned(),
            sub_string: String::new(),
            sub_version: 0,
            tags_set: Vec::new(),
            topic: String::new(),
        }
    }
}

const TAG: &str = "TAG";

impl SubscriptionData {
    /// Whether the expression is a list of tags.
    pub fn is_tag(&self) -> bool {
        self.expression_type == TAG
    }
}

/// Absent, null and empty all mean TAG.
fn expression_type<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let named = Option::<String>::deserialize(from)?;
    Ok(named.filter(|name| !name.is_empty()).unwrap_or_else(|| TAG.to_owned()))
}

java_enum! {
    pub enum ConsumeType {
        Actively = "CONSUME_ACTIVELY",
        #[default]
        Passively = "CONSUME_PASSIVELY",
        Pop = "CONSUME_POP",
    }
}

java_enum! {
    pub enum MessageModel {
        Broadcasting = "BROADCASTING",
        #[default]
        Clustering = "CLUSTERING",
    }
}

java_enum! {
    /// Where a group begins that has no offset yet.
    pub enum ConsumeFromWhere {
        #[default]
        LastOffset = "CONSUME_FROM_LAST_OFFSET",
        LastOffsetMinAtBoot = "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        MinOffset = "CONSUME_FROM_MIN_OFFSET",
        MaxOffset = "CONSUME_FROM_MAX_OFFSET",
        FirstOffset = "CONSUME_FROM_FIRST_OFFSET",
        Timestamp = "CONSUME_FROM_TIMESTAMP",
    }
}

/// The body of 46: is this filter expression understood?
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CheckClientConfig {
    #[serde(deserialize_with = "or_default")]
    pub client_id: String,
    #[serde(deserialize_with = "or_default")]
    pub group: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub subscription_data: SubscriptionData,
}

#[cfg(test)]
mod tests {
    use super::super::{from_bytes, to_bytes};
    use super::*;

    #[test]
    fn a_java_heartbeat_is_read_and_written_as_it_was() {
        let text = r#"{"clientID":"10.0.0.1@4242","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"g","messageModel":"CLUSTERING","subscriptionDataSet":[{"classFilterMode":false,"codeSet":[65,66],"expressionType":"TAG","subString":"A || B","subVersion":1700000000000,"tagsSet":["A","B"],"topic":"T"}],"unitMode":false}],"heartbeatFingerprint":0,"producerDataSet":[{"groupName":"p"}],"withoutSub":false}"#;
        let heartbeat: Heartbeat = from_bytes(text.as_bytes()).unwrap();
        assert_eq!(
            heartbeat.consumer_data_set[0].consume_from_where,
            ConsumeFromWhere::FirstOffset
        );
        assert_eq!(String::from_utf8(to_bytes(&heartbeat)).unwrap(), text);
    }

    #[test]
    fn heartbeats_of_other_languages_are_read() {
        // C++: enums as numbers, no empty arrays, a newline.
        let cpp = b"{\"clientID\":\"c\",\"consumerDataSet\":[{\"groupName\":\"g\",\"consumeType\":0,\"messageModel\":0,\"consumeFromWhere\":5,\"subscriptionDataSet\":[{\"topic\":\"T\",\"subString\":\"*\",\"subVersion\":\"17\"}]}]}\n";
        let heartbeat: Heartbeat = from_bytes(cpp).unwrap();
        let consumer = &heartbeat.consumer_data_set[0];
        assert_eq!(consumer.consume_type, ConsumeType::Actively);
        assert_eq!(consumer.message_model, MessageModel::Broadcasting);
        assert_eq!(consumer.consume_from_where, ConsumeFromWhere::Timestamp);
        assert_eq!(consumer.subscription_data_set[0].sub_version, 17);
        assert_eq!(consumer.subscription_data_set[0].expression_type, "TAG");
        assert!(heartbeat.producer_data_set.is_empty());

        // Go: codes as texts, versions in nanoseconds, nulls.
        let go = br#"{"clientID":"c","producerDataSet":null,"consumerDataSet":[{"groupName":"g","consumeType":"CONSUME_PASSIVELY","messageModel":"Clustering","consumeFromWhere":9,"subscriptionDataSet":[{"topic":"T","codeSet":["2598919",-1,"x"],"tagsSet":null,"subVersion":1700000000000000000,"expressionType":""}]}]}"#;
        let heartbeat: Heartbeat = from_bytes(go).unwrap();
        let consumer = &heartbeat.consumer_data_set[0];
        assert_eq!(consumer.subscription_data_set[0].code_set, [2_598_919, -1]);
        assert_eq!(consumer.subscription_data_set[0].sub_version, 1_700_000_000_000_000_000);
        assert_eq!(
            consumer.message_model,
            MessageModel::Clustering,
            "unknown names are the default"
        );
        assert_eq!(consumer.consume_from_where, ConsumeFromWhere::LastOffset);
    }
}
