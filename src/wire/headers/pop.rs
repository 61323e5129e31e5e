//! Consumers without queues of their own: 200050 to 200055.

use super::header;
use crate::wire::Value;

header! {
    /// 200050: messages, for a while invisible to others.
    pub struct Pop<'a> {
        consumer_group: Value<'a> = "consumerGroup",
        topic: Value<'a> = "topic",
        /// -1: all queues.
        queue_id: i32 = "queueId",
        max_msg_nums: i32 = "maxMsgNums",
        invisible_time: i64 = "invisibleTime",
        poll_time: i64 = "pollTime",
        born_time: i64 = "bornTime",
        /// 0: from the first message, 1: from the end.
        init_mode: i32 = "initMode",
        expression_type: Option<Value<'a>> = "expType",
        expression: Option<Value<'a>> = "exp",
        order: bool = "order",
        attempt_id: Option<Value<'a>> = "attemptId",
    }
}

header! {
    /// The reply to 200050. The first four are there whatever the code.
    pub struct PopReply<'a> {
        pop_time: i64 = "popTime",
        invisible_time: i64 = "invisibleTime",
        revive_queue_id: i32 = "reviveQid",
        rest_num: i64 = "restNum",
        start_offset_info: Option<Value<'a>> = "startOffsetInfo",
        message_offset_info: Option<Value<'a>> = "msgOffsetInfo",
        order_count_info: Option<Value<'a>> = "orderCountInfo",
    }
}

header! {
    /// 200051: a message is consumed.
    pub struct Ack<'a> {
        consumer_group: Value<'a> = "consumerGroup",
        topic: Value<'a> = "topic",
        queue_id: i32 = "queueId",
        /// The message's POP_CK.
        extra_info: Value<'a> = "extraInfo",
        offset: i64 = "offset",
    }
}

header! {
    /// 200053: a message shall stay invisible for longer, or shorter, from now.
    pub struct ChangeInvisibleTime<'a> {
        consumer_group: Value<'a> = "consumerGroup",
        topic: Value<'a> = "topic",
        queue_id: i32 = "queueId",
        extra_info: Value<'a> = "extraInfo",
        offset: i64 = "offset",
        invisible_time: i64 = "invisibleTime",
    }
}

header! {
    /// The reply to 200053; the client forms its next POP_CK from it.
    pub struct ChangeInvisibleTimeReply {
        pop_time: i64 = "popTime",
        invisible_time: i64 = "invisibleTime",
        revive_queue_id: i32 = "reviveQid",
    }
}

header! {
    /// 200054: tell me when there is a message.
    pub struct Notification<'a> {
        consumer_group: Value<'a> = "consumerGroup",
        topic: Value<'a> = "topic",
        queue_id: i32 = "queueId",
        poll_time: i64 = "pollTime",
        born_time: i64 = "bornTime",
        order: bool = "order",
        attempt_id: Option<Value<'a>> = "attemptId",
    }
}

header! {
    /// The reply to 200054.
    pub struct NotificationReply {
        has_message: bool = "hasMsg",
        polling_full: bool = "pollingFull",
    }
}

header! {
    /// 200055: how many requests are held at a queue.
    pub struct PollingInfo<'a> {
        consumer_group: Value<'a> = "consumerGroup",
        topic: Value<'a> = "topic",
        queue_id: i32 = "queueId",
    }
}

header! {
    /// The reply to 200055.
    pub struct PollingInfoReply {
        polling_num: i32 = "pollingNum",
    }
}
