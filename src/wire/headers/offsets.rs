//! Positions in queues: what a group has consumed, where a queue begins and ends;
//! single messages.

use super::header;
use crate::wire::Value;

header! {
    /// 14: how far a group has consumed a queue.
    pub struct QueryConsumerOffset<'a> {
        consumer_group: Value<'a> = "consumerGroup",
        topic: Value<'a> = "topic",
        queue_id: i32 = "queueId",
        set_zero_if_not_found: Option<bool> = "setZeroIfNotFound",
    }
}

header! {
    /// 15: a group has consumed a queue up to here.
    pub struct UpdateConsumerOffset<'a> {
        consumer_group: Value<'a> = "consumerGroup",
        topic: Value<'a> = "topic",
        queue_id: i32 = "queueId",
        commit_offset: i64 = "commitOffset",
    }
}

header! {
    /// 29: the first message stored at or after a time.
    pub struct SearchOffset<'a> {
        topic: Value<'a> = "topic",
        queue_id: i32 = "queueId",
        timestamp: i64 = "timestamp",
        /// `LOWER` or `UPPER`, in any case.
        boundary_type: Option<Value<'a>> = "boundaryType",
    }
}

header! {
    /// 30: the offset that the queue's next message will get.
    pub struct GetMaxOffset<'a> {
        topic: Value<'a> = "topic",
        queue_id: i32 = "queueId",
        /// Absent means true.
        committed: Option<bool> = "committed",
    }
}

header! {
    /// 31 (the queue's first offset) and 32 (the store time of its first message).
    pub struct QueueOf<'a> {
        topic: Value<'a> = "topic",
        queue_id: i32 = "queueId",
    }
}

header! {
    /// 33: the message at a physical offset.
    pub struct ViewMessage<'a> {
        topic: Option<Value<'a>> = "topic",
        offset: i64 = "offset",
    }
}

header! {
    /// 12: messages by key, or by unique id.
    pub struct QueryMessage<'a> {
        topic: Value<'a> = "topic",
        key: Value<'a> = "key",
        max_num: i32 = "maxNum",
        begin_timestamp: i64 = "beginTimestamp",
        end_timestamp: i64 = "endTimestamp",
        is_unique_key: bool = "_UNIQUE_KEY_QUERY",
    }
}

header! {
    /// The reply to 12.
    pub struct QueryMessageReply {
        index_last_update_timestamp: i64 = "indexLastUpdateTimestamp",
        index_last_update_phyoffset: i64 = "indexLastUpdatePhyoffset",
    }
}

header! {
    /// The reply to 14, 29, 30 and 31.
    pub struct OffsetReply {
        offset: i64 = "offset",
    }
}

header! {
    /// The reply to 32.
    pub struct TimestampReply {
        timestamp: i64 = "timestamp",
    }
}
