//! What brokers, clients and tools ask a name server.

use super::header;
use crate::wire::Value;

header! {
    /// 100: stores a value.
    pub struct PutKv<'a> {
        namespace: Value<'a> = "namespace",
        key: Value<'a> = "key",
        value: Value<'a> = "value",
    }
}

header! {
    /// 101 (gives a value) and 102 (deletes it).
    pub struct KeyOf<'a> {
        namespace: Value<'a> = "namespace",
        key: Value<'a> = "key",
    }
}

header! {
    /// The reply to 101.
    pub struct GetKvReply<'a> {
        value: Option<Value<'a>> = "value",
    }
}

header! {
    /// 219: all values of a namespace.
    pub struct NamespaceOf<'a> {
        namespace: Value<'a> = "namespace",
    }
}

header! {
    /// 103: a broker tells its topics, which are in the body.
    pub struct RegisterBroker<'a> {
        broker_name: Value<'a> = "brokerName",
        broker_addr: Value<'a> = "brokerAddr",
        cluster_name: Value<'a> = "clusterName",
        ha_server_addr: Option<Value<'a>> = "haServerAddr",
        broker_id: i64 = "brokerId",
        heartbeat_timeout_millis: Option<i64> = "heartbeatTimeoutMillis",
        /// Absent: the broker is older than acting masters.
        enable_acting_master: Option<bool> = "enableActingMaster",
        compressed: bool = "compressed",
        /// CRC-32 of the body without its sign bit; 0 or absent is not checked.
        body_crc32: Option<i32> = "bodyCrc32",
        zone_name: Option<Value<'a>> = "__ZONE_NAME",
    }
}

header! {
    /// The reply to 103: where a replica finds its primary.
    pub struct RegisterBrokerReply<'a> {
        ha_server_addr: Option<Value<'a>> = "haServerAddr",
        master_addr: Option<Value<'a>> = "masterAddr",
    }
}

header! {
    /// 104 and 322: which broker speaks.
    pub struct BrokerOf<'a> {
        broker_name: Value<'a> = "brokerName",
        broker_addr: Value<'a> = "brokerAddr",
        cluster_name: Value<'a> = "clusterName",
        broker_id: i64 = "brokerId",
    }
}

header! {
    /// The reply to 322: whether the name server's copy is out of date.
    pub struct QueryDataVersionReply {
        changed: bool = "changed",
    }
}

header! {
    /// 105: where a topic's queues are.
    pub struct GetRoute<'a> {
        topic: Value<'a> = "topic",
        accept_standard_json_only: bool = "acceptStandardJsonOnly",
    }
}

header! {
    /// 205 (takes write permission from a broker's topics) and 327 (gives it back).
    pub struct BrokerNameOf<'a> {
        broker_name: Value<'a> = "brokerName",
    }
}

header! {
    /// The reply to 205.
    pub struct WipeWritePermReply {
        wipe_topic_count: i32 = "wipeTopicCount",
    }
}

header! {
    /// The reply to 327.
    pub struct AddWritePermReply {
        add_topic_count: i32 = "addTopicCount",
    }
}

header! {
    /// 216: forgets a topic.
    pub struct DeleteTopic<'a> {
        topic: Value<'a> = "topic",
        cluster_name: Option<Value<'a>> = "clusterName",
    }
}

header! {
    /// 224: the topics of a cluster.
    pub struct ClusterOf<'a> {
        cluster: Value<'a> = "cluster",
    }
}
