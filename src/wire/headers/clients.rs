//! What brokers ask of clients (220, 221, 307, 309, 326), what tools ask of clients
//! through a broker, and recalls (370).

use super::header;
use crate::wire::Value;

header! {
    /// 222, from a tool: set a group's offsets.
    pub struct InvokeResetOffset<'a> {
        topic: Value<'a> = "topic",
        group: Value<'a> = "group",
        /// -1 or absent: all queues.
        queue_id: Option<i32> = "queueId",
        offset: Option<i64> = "offset",
        /// -1: the end.
        timestamp: i64 = "timestamp",
        is_force: bool = "isForce",
    }
}

header! {
    /// 220, to a client: its offsets were set.
    pub struct ResetOffset<'a> {
        topic: Value<'a> = "topic",
        group: Value<'a> = "group",
        timestamp: i64 = "timestamp",
        is_force: Option<bool> = "isForce",
    }
}

header! {
    /// 221, to a client, and 223, from a tool.
    pub struct ConsumerStatusOf<'a> {
        topic: Value<'a> = "topic",
        group: Value<'a> = "group",
        client_addr: Option<Value<'a>> = "clientAddr",
    }
}

header! {
    /// 307, handed on to the client it names.
    pub struct RunningInfoOf<'a> {
        consumer_group: Value<'a> = "consumerGroup",
        client_id: Value<'a> = "clientId",
        jstack_enable: bool = "jstackEnable",
    }
}

header! {
    /// 309, handed on to a client with the message as body.
    pub struct ConsumeDirectly<'a> {
        consumer_group: Value<'a> = "consumerGroup",
        client_id: Option<Value<'a>> = "clientId",
        message_id: Option<Value<'a>> = "msgId",
        broker_name: Option<Value<'a>> = "brokerName",
        topic: Option<Value<'a>> = "topic",
        topic_sys_flag: Option<i32> = "topicSysFlag",
        group_sys_flag: Option<i32> = "groupSysFlag",
    }
}

header! {
    /// 326, to the client that asked: the reply message.
    pub struct PushReplyMessage<'a> {
        producer_group: Value<'a> = "producerGroup",
        topic: Value<'a> = "topic",
        default_topic: Value<'a> = "defaultTopic",
        default_topic_queue_nums: i32 = "defaultTopicQueueNums",
        queue_id: i32 = "queueId",
        sys_flag: i32 = "sysFlag",
        born_timestamp: i64 = "bornTimestamp",
        flag: i32 = "flag",
        properties: Option<Value<'a>> = "properties",
        reconsume_times: Option<i32> = "reconsumeTimes",
        unit_mode: bool = "unitMode",
        /// `ip:port`
        born_host: Value<'a> = "bornHost",
        /// `ip:port`
        store_host: Value<'a> = "storeHost",
        store_timestamp: i64 = "storeTimestamp",
    }
}

header! {
    /// 370: takes a delayed message back.
    pub struct RecallMessage<'a> {
        producer_group: Option<Value<'a>> = "producerGroup",
        topic: Value<'a> = "topic",
        recall_handle: Value<'a> = "recallHandle",
    }
}

header! {
    /// The reply to 370.
    pub struct RecallReply<'a> {
        message_id: Value<'a> = "msgId",
    }
}
