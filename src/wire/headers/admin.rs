//! Topics, groups and their statistics, as tools ask for them.

use super::header;
use crate::wire::Value;

header! {
    /// 17: a topic as it shall be.
    pub struct CreateTopic<'a> {
        topic: Value<'a> = "topic",
        default_topic: Option<Value<'a>> = "defaultTopic",
        read_queue_nums: i32 = "readQueueNums",
        write_queue_nums: i32 = "writeQueueNums",
        perm: i32 = "perm",
        /// `SINGLE_TAG` or `MULTI_TAG`.
        topic_filter_type: Option<Value<'a>> = "topicFilterType",
        topic_sys_flag: Option<i32> = "topicSysFlag",
        order: bool = "order",
        /// Changes: `+key=value` and `-key`, joined by commas.
        attributes: Option<Value<'a>> = "attributes",
        force: Option<bool> = "force",
    }
}

header! {
    /// 21: all topics, in pages where the asker wants pages.
    pub struct GetAllTopics<'a> {
        topic_seq: Option<i32> = "topicSeq",
        data_version: Option<Value<'a>> = "dataVersion",
        max_topic_num: Option<i32> = "maxTopicNum",
    }
}

header! {
    /// 201: all groups, in pages where the asker wants pages.
    pub struct GetAllGroups<'a> {
        group_seq: Option<i32> = "groupSeq",
        data_version: Option<Value<'a>> = "dataVersion",
        max_group_num: Option<i32> = "maxGroupNum",
    }
}

header! {
    /// The reply to 21. Absent: the body is complete.
    pub struct AllTopicsReply {
        total_topic_num: Option<i32> = "totalTopicNum",
    }
}

header! {
    /// The reply to 201. Absent: the body is complete.
    pub struct AllGroupsReply {
        total_group_num: Option<i32> = "totalGroupNum",
    }
}

header! {
    /// 202, 215, 217 and 300.
    pub struct TopicOf<'a> {
        topic: Value<'a> = "topic",
    }
}

header! {
    /// 351.
    pub struct GetTopicConfig<'a> {
        topic: Value<'a> = "topic",
        logical: Option<bool> = "lo",
    }
}

header! {
    /// 352.
    pub struct GroupOf<'a> {
        group: Value<'a> = "group",
    }
}

header! {
    /// 207.
    pub struct DeleteGroup<'a> {
        group_name: Value<'a> = "groupName",
        clean_offset: bool = "cleanOffset",
    }
}

header! {
    /// 208.
    pub struct GetConsumeStats<'a> {
        consumer_group: Value<'a> = "consumerGroup",
        topic: Option<Value<'a>> = "topic",
        /// Joined by semicolons.
        topic_list: Option<Value<'a>> = "topicList",
    }
}

header! {
    /// The reply to 26: the configuration's DataVersion as JSON.
    pub struct BrokerConfigReply<'a> {
        version: Option<Value<'a>> = "version",
    }
}
