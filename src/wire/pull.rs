//! Requests for messages: 11 and 361, and the reply to them.

use super::ext::{ExtFields, FieldError, Value};
use super::headers::header;
use super::reply::FrameWriter;
use super::slots::Slots;

/// Bits of a pull's `sysFlag`.
pub mod pull_flag {
    /// `commitOffset` counts.
    pub const COMMIT_OFFSET: i32 = 1;
    /// The broker may hold the request until there is a message.
    pub const SUSPEND: i32 = 2;
    /// The subscription stands in the request, not in the heartbeat.
    pub const SUBSCRIPTION: i32 = 4;
    /// Obsolete.
    pub const CLASS_FILTER: i32 = 8;
    /// The request is a lite pull (361).
    pub const LITE_PULL: i32 = 16;
}

/// A consumer asks for messages of one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullRequest<'a> {
    pub consumer_group: Value<'a>,
    pub topic: Value<'a>,
    pub queue_id: i32,
    pub queue_offset: i64,
    pub max_msg_nums: i32,
    /// `pull_flag` bits.
    pub sys_flag: i32,
    pub commit_offset: i64,
    pub suspend_timeout_millis: i64,
    pub subscription: Option<Value<'a>>,
    pub sub_version: i64,
    /// Absent means TAG.
    pub expression_type: Option<Value<'a>>,
    pub max_msg_bytes: Option<i32>,
    /// -1 client, 0 proxy in order, 1 proxy broadcast, 2 proxy stream.
    pub request_source: Option<i32>,
    pub proxy_forward_client_id: Option<Value<'a>>,
    /// How the messages are to be moved; a field of ringmq alone.
    pub transfer: Option<Value<'a>>,
}

/// Names on the wire; the spelling of the last but one is theirs.
const NAMES: [&str; 15] = [
    "consumerGroup",
    "topic",
    "queueId",
    "queueOffset",
    "maxMsgNums",
    "sysFlag",
    "commitOffset",
    "suspendTimeoutMillis",
    "subscription",
    "subVersion",
    "expressionType",
    "maxMsgBytes",
    "requestSource",
    "proxyFrowardClientId",
    "ringmq.transfer",
];

/// The slot of a known name.
fn slot_of(key: &[u8]) -> Option<usize> {
    Some(match key {
        b"consumerGroup" => 0,
        b"topic" => 1,
        b"queueId" => 2,
        b"queueOffset" => 3,
        b"maxMsgNums" => 4,
        b"sysFlag" => 5,
        b"commitOffset" => 6,
        b"suspendTimeoutMillis" => 7,
        b"subscription" => 8,
        b"subVersion" => 9,
        b"expressionType" => 10,
        b"maxMsgBytes" => 11,
        b"requestSource" => 12,
        b"proxyFrowardClientId" => 13,
        b"ringmq.transfer" => 14,
        _ => return None,
    })
}

impl<'a> PullRequest<'a> {
    pub fn decode(ext: &ExtFields<'a>) -> Result<Self, FieldError> {
        let slots = Slots::gather(ext, &NAMES, slot_of);
        Ok(Self {
            consumer_group: slots.text(0)?,
            topic: slots.text(1)?,
            queue_id: slots.i32(2)?,
            queue_offset: slots.i64(3)?,
            max_msg_nums: slots.i32(4)?,
            sys_flag: slots.i32(5)?,
            // Only some requests use these three, and not every writer knows them.
            commit_offset: slots.maybe_i64(6)?.unwrap_or(0),
            suspend_timeout_millis: slots.maybe_i64(7)?.unwrap_or(0),
            subscription: slots.get(8),
            sub_version: slots.maybe_i64(9)?.unwrap_or(0),
            expression_type: slots.get(10),
            max_msg_bytes: slots.maybe_i32(11)?,
            request_source: slots.maybe_i32(12)?,
            proxy_forward_client_id: slots.get(13),
            transfer: slots.get(14),
        })
    }

    pub fn encode(&self, writer: &mut FrameWriter<'_>) {
        writer
            .field_value(NAMES[0], self.consumer_group)
            .field_value(NAMES[1], self.topic)
            .field_i64(NAMES[2], i64::from(self.queue_id))
            .field_i64(NAMES[3], self.queue_offset)
            .field_i64(NAMES[4], i64::from(self.max_msg_nums))
            .field_i64(NAMES[5], i64::from(self.sys_flag))
            .field_i64(NAMES[6], self.commit_offset)
            .field_i64(NAMES[7], self.suspend_timeout_millis)
            .field_i64(NAMES[9], self.sub_version);
        let texts = [
            (8, self.subscription),
            (10, self.expression_type),
            (13, self.proxy_forward_client_id),
            (14, self.transfer),
        ];
        for (slot, text) in texts {
            text.iter().for_each(|text| _ = writer.field_value(NAMES[slot], *text));
        }
        for (slot, number) in [(11, self.max_msg_bytes), (12, self.request_source)] {
            number.iter().for_each(|number| _ = writer.field_i64(NAMES[slot], i64::from(*number)));
        }
    }

    pub fn has(&self, flag: i32) -> bool {
        self.sys_flag & flag != 0
    }
}

header! {
    /// The reply to a pull. Java reads the four offsets on codes 0, 19, 20 and 21.
    pub struct PullReply {
        suggest_which_broker_id: i64 = "suggestWhichBrokerId",
        next_begin_offset: i64 = "nextBeginOffset",
        min_offset: i64 = "minOffset",
        max_offset: i64 = "maxOffset",
        offset_delta: Option<i64> = "offsetDelta",
        topic_sys_flag: Option<i32> = "topicSysFlag",
        group_sys_flag: Option<i32> = "groupSysFlag",
        forbidden_type: Option<i32> = "forbiddenType",
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Codec, Request, parse_prefix};
    use super::*;

    #[test]
    fn a_pull_is_read_back_by_both_codecs() {
        let full = PullRequest {
            consumer_group: Value::of("group"),
            topic: Value::of("%RETRY%group"),
            queue_id: 3,
            queue_offset: i64::MAX,
            max_msg_nums: 32,
            sys_flag: pull_flag::COMMIT_OFFSET | pull_flag::SUSPEND,
            commit_offset: 17,
            suspend_timeout_millis: 15_000,
            subscription: Some(Value::of("a || b")),
            sub_version: 1_700_000_000_000,
            expression_type: Some(Value::of("TAG")),
            max_msg_bytes: Some(1 << 20),
            request_source: Some(-1),
            proxy_forward_client_id: Some(Value::of("c@1")),
            transfer: Some(Value::of("sendfile")),
        };
        let bare = PullRequest {
            subscription: None,
            expression_type: None,
            max_msg_bytes: None,
            request_source: None,
            proxy_forward_client_id: None,
            transfer: None,
            ..full
        };
        for pull in [full, bare] {
            for codec in [Codec::Json, Codec::Binary] {
                let mut out = Vec::new();
                let mut writer = FrameWriter::request(&mut out, codec, 1, 11, false);
                pull.encode(&mut writer);
                writer.finish(0);
                let prefix = parse_prefix(&out).unwrap().unwrap();
                let (header, body) = prefix.split(&out).unwrap();
                let request = Request::decode(codec, header, body).unwrap();
                let read = PullRequest::decode(&request.ext);
                assert_eq!(read, Ok(pull));
                assert!(pull.has(pull_flag::SUSPEND) && !pull.has(pull_flag::SUBSCRIPTION));
            }
        }
    }

    #[test]
    fn every_name_leads_to_its_slot() {
        for (expected, name) in NAMES.iter().enumerate() {
            assert_eq!(slot_of(name.as_bytes()), Some(expected), "{name}");
        }
    }

    #[test]
    fn a_missing_or_wrong_field_is_named() {
        let wrong = br#"{"extFields":{"consumerGroup":"g","topic":"T","queueId":"0","queueOffset":"9223372036854775808"}}"#;
        let request = Request::decode(Codec::Json, wrong, b"").unwrap();
        assert_eq!(PullRequest::decode(&request.ext), Err(FieldError::Invalid("queueOffset")));
    }
}
