//! Members of groups, messages sent back by them, transactions.

use super::header;
use crate::wire::Value;

header! {
    /// The reply to 34.
    pub struct HeartbeatReply {
        supports_v2: bool = "IS_SUPPORT_HEART_BEAT_V2",
        subscription_changed: bool = "IS_SUB_CHANGE",
    }
}

header! {
    /// 35: a client leaves.
    pub struct UnregisterClient<'a> {
        client_id: Value<'a> = "clientID",
        producer_group: Option<Value<'a>> = "producerGroup",
        consumer_group: Option<Value<'a>> = "consumerGroup",
    }
}

header! {
    /// 36: a consumer gives a message back.
    pub struct SendMessageBack<'a> {
        offset: i64 = "offset",
        group: Value<'a> = "group",
        delay_level: i32 = "delayLevel",
        origin_message_id: Option<Value<'a>> = "originMsgId",
        origin_topic: Option<Value<'a>> = "originTopic",
        unit_mode: bool = "unitMode",
        max_reconsume_times: Option<i32> = "maxReconsumeTimes",
    }
}

header! {
    /// 37: what became of a transaction.
    pub struct EndTransaction<'a> {
        topic: Option<Value<'a>> = "topic",
        producer_group: Value<'a> = "producerGroup",
        tran_state_table_offset: i64 = "tranStateTableOffset",
        commit_log_offset: i64 = "commitLogOffset",
        /// 8 commit, 12 roll back, 0 unknown.
        commit_or_rollback: i32 = "commitOrRollback",
        from_transaction_check: bool = "fromTransactionCheck",
        message_id: Option<Value<'a>> = "msgId",
        transaction_id: Option<Value<'a>> = "transactionId",
    }
}

header! {
    /// 39, to a producer: what became of this transaction?
    pub struct CheckTransactionState<'a> {
        topic: Option<Value<'a>> = "topic",
        tran_state_table_offset: i64 = "tranStateTableOffset",
        commit_log_offset: i64 = "commitLogOffset",
        message_id: Option<Value<'a>> = "msgId",
        transaction_id: Option<Value<'a>> = "transactionId",
        offset_message_id: Option<Value<'a>> = "offsetMsgId",
        broker_name: Option<Value<'a>> = "bname",
    }
}

header! {
    /// 38, 203 and, to a client, 40.
    pub struct ConsumerGroup<'a> {
        consumer_group: Value<'a> = "consumerGroup",
    }
}

header! {
    /// 204.
    pub struct ProducerGroup<'a> {
        producer_group: Value<'a> = "producerGroup",
    }
}
