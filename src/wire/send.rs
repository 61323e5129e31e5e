//! Requests that carry messages: 10, 310, 320 and the reply messages 324 and 325.
//!
//! V1 (10, 324) names its fields in words, V2 in single letters; both lead to the
//! same struct.

use super::batch::BatchEntries;
use super::code::request;
use super::ext::{FieldError, Value};
use super::headers::header;
use super::reply::FrameWriter;
use super::request::Request;
use super::slots::Slots;

/// A message, or with `batch` several of them, on its way in. Whether names and sizes
/// are allowed is not decided here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendRequest<'a> {
    pub producer_group: Value<'a>,
    pub topic: Value<'a>,
    /// Whose settings a topic created by this message takes; normally `TBW102`.
    pub default_topic: Value<'a>,
    pub default_topic_queue_nums: i32,
    /// Negative: the broker picks one.
    pub queue_id: i32,
    pub sys_flag: i32,
    pub born_timestamp: i64,
    pub flag: i32,
    /// Property text; in JSON headers its separators are escapes.
    pub properties: Option<Value<'a>>,
    pub reconsume_times: i32,
    pub unit_mode: bool,
    pub max_reconsume_times: Option<i32>,
    /// The body is a sequence of batch entries, whatever the code.
    pub batch: bool,
    pub broker_name: Option<Value<'a>>,
    pub body: &'a [u8],
}

/// V1 names in the order of the V2 letters `a` to `n`.
const NAMES: [&str; 14] = [
    "producerGroup",
    "topic",
    "defaultTopic",
    "defaultTopicQueueNums",
    "queueId",
    "sysFlag",
    "bornTimestamp",
    "flag",
    "properties",
    "reconsumeTimes",
    "unitMode",
    "maxReconsumeTimes",
    "batch",
    "bname",
];
const LETTERS: [&str; 14] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n"];

impl<'a> SendRequest<'a> {
    pub fn decode(request: &Request<'a>) -> Result<Self, FieldError> {
        let slots = match has_names(request.code) {
            true => Slots::gather(&request.ext, &NAMES, slot_of_name),
            false => Slots::gather(&request.ext, &NAMES, slot_of_letter),
        };
        Ok(Self {
            producer_group: slots.text(0)?,
            topic: slots.text(1)?,
            default_topic: slots.text(2)?,
            default_topic_queue_nums: slots.i32(3)?,
            queue_id: slots.i32(4)?,
            sys_flag: slots.i32(5)?,
            born_timestamp: slots.i64(6)?,
            flag: slots.i32(7)?,
            properties: slots.get(8),
            reconsume_times: slots.maybe_i32(9)?.unwrap_or(0),
            unit_mode: slots.bool(10),
            max_reconsume_times: slots.maybe_i32(11)?,
            batch: slots.bool(12),
            broker_name: slots.get(13),
            body: request.body,
        })
    }

    /// Writes the fields as `code` names them. The body is the caller's to append.
    pub fn encode(&self, code: i32, writer: &mut FrameWriter<'_>) {
        let keys = if has_names(code) { &NAMES } else { &LETTERS };
        writer
            .field_value(keys[0], self.producer_group)
            .field_value(keys[1], self.topic)
            .field_value(keys[2], self.default_topic)
            .field_i64(keys[3], i64::from(self.default_topic_queue_nums))
            .field_i64(keys[4], i64::from(self.queue_id))
            .field_i64(keys[5], i64::from(self.sys_flag))
            .field_i64(keys[6], self.born_timestamp)
            .field_i64(keys[7], i64::from(self.flag));
        if let Some(properties) = self.properties {
            writer.field_value(keys[8], properties);
        }
        writer
            .field_i64(keys[9], i64::from(self.reconsume_times))
            .field_bool(keys[10], self.unit_mode);
        if let Some(times) = self.max_reconsume_times {
            writer.field_i64(keys[11], i64::from(times));
        }
        writer.field_bool(keys[12], self.batch);
        if let Some(name) = self.broker_name {
            writer.field_value(keys[13], name);
        }
    }

    /// The messages of a batch.
    pub fn entries(&self) -> BatchEntries<'a> {
        BatchEntries::new(self.body)
    }
}

fn has_names(code: i32) -> bool {
    matches!(code, request::SEND_MESSAGE | request::SEND_REPLY_MESSAGE)
}

fn slot_of_name(key: &[u8]) -> Option<usize> {
    NAMES.iter().position(|name| name.as_bytes() == key)
}

fn slot_of_letter(key: &[u8]) -> Option<usize> {
    match *key {
        [letter @ b'a'..=b'n'] => Some(usize::from(letter - b'a')),
        _ => None,
    }
}

header! {
    /// The reply to a send. Java reads the first three whatever the code.
    pub struct SendReply<'a> {
        /// For a batch one per message, joined by commas.
        message_id: Value<'a> = "msgId",
        queue_id: i32 = "queueId",
        /// For a batch that of its first message.
        queue_offset: i64 = "queueOffset",
        transaction_id: Option<Value<'a>> = "transactionId",
        batch_unique_id: Option<Value<'a>> = "batchUniqId",
        recall_handle: Option<Value<'a>> = "recallHandle",
        region: Option<Value<'a>> = "MSG_REGION",
        trace_on: Option<bool> = "TRACE_ON",
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Codec, parse_prefix};
    use super::*;

    fn decode(frame: &[u8]) -> Request<'_> {
        let prefix = parse_prefix(frame).unwrap().unwrap();
        let (header, body) = prefix.split(frame).unwrap();
        Request::decode(prefix.codec, header, body).unwrap()
    }

    fn sample() -> SendRequest<'static> {
        SendRequest {
            producer_group: Value::of("group"),
            topic: Value::of("topic"),
            default_topic: Value::of("TBW102"),
            default_topic_queue_nums: 4,
            queue_id: -1,
            sys_flag: 1,
            born_timestamp: 1_700_000_000_000,
            flag: -9,
            properties: Some(Value::of("TAGS\u{1}A\u{2}KEYS\u{1}\u{1f600}\u{2}")),
            reconsume_times: 3,
            unit_mode: true,
            max_reconsume_times: Some(16),
            batch: false,
            broker_name: Some(Value::of("broker-0")),
            body: b"hello",
        }
    }

    #[test]
    fn a_send_is_read_back_from_either_naming_and_codec() {
        let bare = SendRequest {
            properties: None,
            max_reconsume_times: None,
            broker_name: None,
            ..sample()
        };
        for send in [sample(), bare] {
            for code in [10, 310, 320, 324, 325] {
                for codec in [Codec::Json, Codec::Binary] {
                    let mut out = Vec::new();
                    let mut writer = FrameWriter::request(&mut out, codec, 1, code, false);
                    send.encode(code, &mut writer);
                    writer.finish_with_body(send.body);
                    let request = decode(&out);
                    assert_eq!(SendRequest::decode(&request), Ok(send), "code {code} {codec:?}");
                }
            }
        }
    }

    #[test]
    fn a_send_as_node_writes_it_is_read() {
        let header = br#"{"code":310,"extFields":{"a":"g","b":"T","c":"TBW102","d":4,"e":2,"f":0,"g":1700000000000,"h":0,"i":"TAGS\u0001A\u0002","j":0,"k":false}}"#;
        let request = Request::decode(Codec::Json, header, b"x").unwrap();
        let send = SendRequest::decode(&request).unwrap();
        assert_eq!((send.queue_id, send.default_topic_queue_nums), (2, 4));
        assert_eq!(send.properties.unwrap(), "TAGS\u{1}A\u{2}");
        assert!(!send.batch && !send.unit_mode && send.broker_name.is_none());
    }

    #[test]
    fn a_missing_or_wrong_field_is_named() {
        let header = br#"{"code":310,"extFields":{"a":"g","b":"T","c":"D","d":"4","e":"x"}}"#;
        let request = Request::decode(Codec::Json, header, b"").unwrap();
        assert_eq!(SendRequest::decode(&request), Err(FieldError::Invalid("queueId")));
        let header = br#"{"code":10,"extFields":{"producerGroup":"g"}}"#;
        let request = Request::decode(Codec::Json, header, b"").unwrap();
        assert_eq!(SendRequest::decode(&request), Err(FieldError::Missing("topic")));
    }
}
