//! What operators ask about queues, groups, clients and the broker itself.

use std::collections::BTreeMap;

use ringmq::wire::body::from_bytes;
use ringmq::wire::body::heartbeat::{ConsumeType, MessageModel};
use ringmq::wire::body::lists::{
    ConsumerConnection, GroupList, KvTable, ProducerConnection, ProducerTable, SubscriptionOf,
    TopicList,
};
use ringmq::wire::body::queues::{ConsumeOffset, ConsumeStats, MessageQueue, TopicStats};
use ringmq::wire::code::{request, response};

use crate::frames::{
    Ask, ask, commit, consumer_beat, heartbeat, producer_beat, pull, send, update_topic,
};
use crate::node::{BROKER, Node, Part, START_MS};

fn of_topic(code: i32, topic: &str) -> Ask {
    ask(code).with("topic", topic)
}

fn consume_stats(group: &str) -> Ask {
    ask(request::GET_CONSUME_STATS).with("consumerGroup", group)
}

fn queue(topic: &str, queue_id: i32) -> MessageQueue {
    MessageQueue { broker_name: BROKER.to_owned(), queue_id, topic: topic.to_owned() }
}

#[test]
fn topic_stats_have_every_queue_with_its_ends_and_last_store_time() {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, update_topic("T", 3)).expect(response::SUCCESS);
    node.ask(client, send("T", 1, "a")).expect(response::SUCCESS);
    node.pass(30_000);
    node.ask(client, send("T", 1, "b")).expect(response::SUCCESS);
    let asked = of_topic(request::GET_TOPIC_STATS_INFO, "T");
    let reply = node.ask(client, asked.clone()).expect(response::SUCCESS);
    let text = r#"{"offsetTable":{{"brokerName":"broker-0","queueId":0,"topic":"T"}:{"lastUpdateTimestamp":0,"maxOffset":0,"minOffset":0},{"brokerName":"broker-0","queueId":1,"topic":"T"}:{"lastUpdateTimestamp":1700000030000,"maxOffset":2,"minOffset":0},"#;
    assert!(reply.text().starts_with(text), "{}", reply.text());
    let stats: TopicStats = from_bytes(&reply.body).unwrap();
    assert_eq!(stats.offset_table.0.len(), 3);
    assert_eq!(stats.topic_put_tps, 2.0 / 60.0);
    node.pass(59_000);
    let later: TopicStats = from_bytes(&node.ask(client, asked).body).unwrap();
    assert_eq!(later.topic_put_tps, 1.0 / 60.0, "only the last minute counts");
    let missing = of_topic(request::GET_TOPIC_STATS_INFO, "U");
    node.ask(client, missing).expect(response::TOPIC_NOT_EXIST);
}

#[test]
fn consume_stats_tell_how_far_a_group_is_behind() {
    let mut node = Node::new();
    let client = node.connect();
    for topic in ["T", "U"] {
        node.ask(client, update_topic(topic, 2)).expect(response::SUCCESS);
        for _ in 0..5 {
            node.pass(1);
            node.ask(client, send(topic, 0, "x")).expect(response::SUCCESS);
        }
        node.ask(client, commit("g", topic, 0, 3)).expect(response::SUCCESS);
    }
    node.ask(client, pull("g", "T", 0, 4)).expect(response::SUCCESS);
    let read = |node: &mut Node, asked: Ask| -> BTreeMap<MessageQueue, ConsumeOffset> {
        let reply = node.ask(client, asked).expect(response::SUCCESS);
        from_bytes::<ConsumeStats>(&reply.body).unwrap().offset_table.0
    };
    let all = read(&mut node, consume_stats("g"));
    assert_eq!(all.len(), 4);
    let expected = ConsumeOffset {
        broker_offset: 5,
        consumer_offset: 3,
        last_timestamp: START_MS + 3,
        pull_offset: 4,
    };
    assert_eq!(all[&queue("T", 0)], expected);
    assert_eq!(all[&queue("T", 1)], ConsumeOffset::default());
    assert_eq!(all[&queue("U", 0)].pull_offset, 3, "never pulled: where it stands");
    assert_eq!(read(&mut node, consume_stats("g").with("topic", "U")).len(), 2);
    assert_eq!(read(&mut node, consume_stats("g").with("topicList", "U;T")).len(), 4);
    assert!(read(&mut node, consume_stats("nobody")).is_empty());

    // Online, the group wants only one of the topics: the other is a thing of the past.
    node.ask(client, heartbeat(&consumer_beat("c", "g", &[("T", "*")]))).expect(0);
    let online = read(&mut node, consume_stats("g"));
    assert!(online.keys().all(|queue| queue.topic == "T") && online.len() == 2);
}

#[test]
fn consume_stats_tell_how_fast_a_group_was_given_messages_in_the_last_minute() {
    let mut node = Node::new();
    let client = node.connect();
    for topic in ["T", "U"] {
        node.ask(client, update_topic(topic, 1)).expect(response::SUCCESS);
        for _ in 0..10 {
            node.ask(client, send(topic, 0, "x")).expect(response::SUCCESS);
        }
    }
    let tps = |node: &mut Node, asked: Ask| {
        let told = node.ask(client, asked).expect(response::SUCCESS);
        from_bytes::<ConsumeStats>(&told.body).unwrap().consume_tps
    };
    let of = |group: &str, topic: &str| consume_stats(group).with("topic", topic);
    assert_eq!(tps(&mut node, of("g", "T")), 0.0);
    // Two minutes of ten messages a second from one topic, half of them from the other.
    for second in 0..120 {
        node.ask(client, pull("g", "T", 0, 0)).expect(response::SUCCESS);
        if second % 2 == 0 {
            node.ask(client, pull("g", "U", 0, 0)).expect(response::SUCCESS);
        }
        node.ask(client, pull("other", "T", 0, 10)).expect(response::PULL_NOT_FOUND);
        node.pass(1_000);
    }
    let (one, other) = (tps(&mut node, of("g", "T")), tps(&mut node, of("g", "U")));
    assert!((9.0..11.0).contains(&one) && (4.5..5.5).contains(&other), "{one} and {other}");
    let both = tps(&mut node, of("g", "T").with("topicList", "U;T"));
    assert!((both - one - other).abs() < 1e-6, "{both}");
    assert_eq!(tps(&mut node, of("other", "T")), 0.0);
    node.pass(90_000);
    assert_eq!(tps(&mut node, of("g", "T")), 0.0);
}

#[test]
fn sends_that_the_store_refuses_are_counted() {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, update_topic("T", 1)).expect(response::SUCCESS);
    let failed = |node: &mut Node| {
        let told = node.ask(client, ask(request::GET_BROKER_RUNTIME_INFO)).expect(0);
        from_bytes::<KvTable>(&told.body).unwrap().table["putMessageFailedTimes"].clone()
    };
    // As with Apache, what the checks before the store refuse is no failure of it.
    node.ask(client, send("T", 7, "x")).expect(response::INVALID_PARAMETER);
    node.ask(client, send("T", 0, "x")).expect(response::SUCCESS);
    assert_eq!(failed(&mut node), "0");
    node.ask(client, send("T", 0, vec![0; (4 << 20) + 1])).expect(response::MESSAGE_ILLEGAL);
    let long = send("T", 0, "x").with("i", format!("K\u{1}{}\u{2}", "v".repeat(32_767)));
    node.ask(client, long.clone()).expect(response::MESSAGE_ILLEGAL);
    node.send(client, &long.oneway());
    assert_eq!(failed(&mut node), "3");
}

#[test]
fn statistics_wait_for_index_entries_that_lie_on_disk() {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, update_topic("T", 2)).expect(response::SUCCESS);
    for at in 0..10 {
        node.pass(1);
        node.ask(client, send("T", at % 2, "x")).expect(response::SUCCESS);
    }
    for queue in [0, 1] {
        node.ask(client, commit("g", "T", queue, 2)).expect(response::SUCCESS);
    }
    node.restart();
    let client = node.connect();
    node.hold(Part::Reads);
    let topic = node.send(client, &of_topic(request::GET_TOPIC_STATS_INFO, "T"));
    let group = node.send(client, &consume_stats("g"));
    assert!(node.reply(client, topic).is_none() && node.reply(client, group).is_none());
    assert_eq!(node.waiting(Part::Reads), 2, "both queues at once, and nothing twice");
    node.release(Part::Reads);
    let topic = node.reply(client, topic).unwrap().expect(response::SUCCESS);
    let topic: TopicStats = from_bytes(&topic.body).unwrap();
    assert_eq!(topic.offset_table.0[&queue("T", 1)].last_update_timestamp, START_MS + 10);
    let group = node.reply(client, group).unwrap().expect(response::SUCCESS);
    let group: ConsumeStats = from_bytes(&group.body).unwrap();
    assert_eq!(group.offset_table.0[&queue("T", 0)].last_timestamp, START_MS + 3);
}

#[test]
fn a_question_about_a_topic_opens_none_of_its_queues() {
    let mut node = Node::new();
    let client = node.connect();
    let asked = of_topic(request::GET_TOPIC_STATS_INFO, "BenchmarkTest");
    let reply = node.ask(client, asked).expect(response::SUCCESS);
    let stats: TopicStats = from_bytes(&reply.body).unwrap();
    assert_eq!(stats.offset_table.0.len(), 1024);
    let benchmark = node.metadata.topics["BenchmarkTest"].id;
    let key = ringmq::queue::QueueKey { topic: benchmark, queue: 0 };
    assert!(node.shard.store.find_queue(key).is_none());
}

#[test]
fn who_consumes_a_topic_is_known_by_subscriptions_and_by_offsets() {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, update_topic("T", 1)).expect(response::SUCCESS);
    node.ask(client, commit("was-here", "T", 0, 0)).expect(response::SUCCESS);
    node.ask(client, heartbeat(&consumer_beat("c", "is-here", &[("T", "*")]))).expect(0);
    let reply = node.ask(client, of_topic(request::QUERY_TOPIC_CONSUME_BY_WHO, "T")).expect(0);
    let list: GroupList = from_bytes(&reply.body).unwrap();
    assert_eq!(list.group_list, ["is-here", "was-here"]);
    let topics = ask(request::QUERY_TOPICS_BY_CONSUMER).with("group", "was-here");
    let list: TopicList = from_bytes(&node.ask(client, topics).body).unwrap();
    assert_eq!(list.topic_list, ["T"]);
    assert_eq!(list.broker_addr.unwrap(), "10.0.0.1:10911");
}

#[test]
fn the_members_of_a_consumer_group_are_told_with_their_subscriptions() {
    let mut node = Node::new();
    let client = node.connect();
    let asked = ask(request::GET_CONSUMER_CONNECTION_LIST).with("consumerGroup", "g");
    node.ask(client, asked.clone()).expect(response::CONSUMER_NOT_ONLINE);
    let beat = consumer_beat("10.0.0.7@1", "g", &[("T", "a || b"), ("no name", "*")]);
    node.ask(client, heartbeat(&beat)).expect(response::SUCCESS);
    let reply = node.ask(client, asked).expect(response::SUCCESS);
    let read: ConsumerConnection = from_bytes(&reply.body).unwrap();
    let [member] = &read.connection_set[..] else { panic!("one member") };
    assert_eq!(member.client_id, "10.0.0.7@1");
    assert_eq!(member.client_addr, "10.0.0.7:40001");
    assert_eq!(member.language, "JAVA");
    assert_eq!(read.subscription_table["T"].sub_string, "a || b");
    assert_eq!(read.subscription_table.len(), 1, "what cannot be a topic is no key");
    assert_eq!(read.consume_type, ConsumeType::Passively);
    assert_eq!(read.message_model, MessageModel::Clustering);

    let one = ask(request::QUERY_SUBSCRIPTION_BY_CONSUMER).with("group", "g");
    let one = node.ask(client, one.with("topic", "T")).expect(response::SUCCESS);
    let one: SubscriptionOf = from_bytes(&one.body).unwrap();
    assert_eq!(one.subscription_data.unwrap().sub_string, "a || b");
}

#[test]
fn producers_are_told_by_group_and_all_at_once() {
    let mut node = Node::new();
    let client = node.connect();
    let asked = ask(request::GET_PRODUCER_CONNECTION_LIST).with("producerGroup", "p");
    node.ask(client, asked.clone()).expect(response::SYSTEM_ERROR);
    node.ask(client, heartbeat(&producer_beat("10.0.0.7@1", "p"))).expect(response::SUCCESS);
    let reply = node.ask(client, asked).expect(response::SUCCESS);
    let read: ProducerConnection = from_bytes(&reply.body).unwrap();
    assert_eq!(read.connection_set[0].client_id, "10.0.0.7@1");
    let all = node.ask(client, ask(request::GET_ALL_PRODUCER_INFO)).expect(response::SUCCESS);
    let all: ProducerTable = from_bytes(&all.body).unwrap();
    assert_eq!(all.data["p"][0].last_update_timestamp, START_MS);
    assert_eq!(all.data["p"][0].remote_ip, "10.0.0.7:40001");
}

#[test]
fn a_consumer_hears_that_only_tags_are_understood() {
    let mut node = Node::new();
    let client = node.connect();
    let check = |kind: &str| {
        ask(request::CHECK_CLIENT_CONFIG).body(format!(
            r#"{{"clientId":"c","group":"g","subscriptionData":{{"expressionType":"{kind}","subString":"a","topic":"T"}}}}"#
        ))
    };
    node.ask(client, check("TAG")).expect(response::SUCCESS);
    let refused = node.ask(client, check("SQL92")).expect(response::SYSTEM_ERROR);
    assert!(refused.remark().contains("SQL92"));
    node.ask(client, ask(request::CHECK_CLIENT_CONFIG)).expect(response::SUCCESS);
}

/// The keys of broker-semantics 10.3; older tools stop at one that is missing.
#[test]
fn runtime_information_has_every_key_that_tools_read() {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, update_topic("T", 1)).expect(response::SUCCESS);
    node.ask(client, send("T", 0, "x")).expect(response::SUCCESS);
    node.ask(client, pull("g", "T", 0, 0)).expect(response::SUCCESS);
    node.ask(client, pull("g", "T", 0, 1)).expect(response::PULL_NOT_FOUND);
    node.pass(10_000);
    let reply = node.ask(client, ask(request::GET_BROKER_RUNTIME_INFO)).expect(response::SUCCESS);
    let table = from_bytes::<KvTable>(&reply.body).unwrap().table;
    let mut missing: Vec<String> = Vec::new();
    let mut want = |key: &str| {
        if !table.contains_key(key) {
            missing.push(key.to_owned());
        }
    };
    for key in "brokerVersionDesc putTps getTransferredTps getTransferedTps getFoundTps \
        getMissTps getTotalTps pageCacheLockTimeMills earliestMessageTimeStamp \
        commitLogDiskRatio timerReadBehind timerOffsetBehind timerCongestNum timerEnqueueTps \
        timerDequeueTps brokerActive bootTimestamp runtime putMessageTimesTotal \
        putMessageFailedTimes putMessageSizeTotal putMessageAverageSize \
        putMessageDistributeTime putMessageEntireTimeMax getMessageEntireTimeMax \
        dispatchMaxBuffer dispatchBehindBytes putLatency99 putLatency999 commitLogMinOffset \
        commitLogMaxOffset consumeQueueDiskRatio msgPutTotalYesterdayMorning \
        msgPutTotalTodayMorning msgPutTotalTodayNow msgGetTotalYesterdayMorning \
        msgGetTotalTodayMorning msgGetTotalTodayNow scheduleMessageOffset_1 \
        scheduleMessageOffset_18 startAcceptSendRequestTimeStamp \
        remainTransientStoreBufferNumbs remainHowManyDataToCommit remainHowManyDataToFlush \
        commitLogDirCapacity EndTransactionQueueSize EndTransactionThreadPoolQueueCapacity"
        .split_whitespace()
    {
        want(key);
    }
    for pool in ["send", "pull", "litePull", "query", "ack"] {
        for what in ["Size", "Capacity", "HeadWaitTimeMills"] {
            want(&format!("{pool}ThreadPoolQueue{what}"));
        }
    }
    assert!(missing.is_empty(), "{missing:?}");

    let tps = |key: &str| -> Vec<f64> {
        table[key].split(' ').map(|number| number.parse().unwrap()).collect()
    };
    assert_eq!(tps("putTps")[0], 0.1);
    assert_eq!((tps("getFoundTps")[0], tps("getMissTps")[0]), (0.1, 0.1));
    assert_eq!(tps("getTotalTps")[0], 0.2);
    assert_eq!(table["earliestMessageTimeStamp"], START_MS.to_string());
    assert_eq!(table["bootTimestamp"], START_MS.to_string());
    assert_eq!(table["commitLogDiskRatio"], "0.1");
    assert_eq!(table["msgPutTotalTodayNow"], "1");
    assert_eq!(table["brokerVersionDesc"], "V5_3_3");
    assert_ne!(table["commitLogMaxOffset"], "0");
}

#[test]
fn requests_of_later_issues_are_not_supported() {
    let mut node = Node::new();
    let client = node.connect();
    for code in [12, 36, 37, 41, 42, 222, 307, 309, 324, 325, 200050, 9999] {
        let reply = node.ask(client, ask(code)).expect(response::REQUEST_CODE_NOT_SUPPORTED);
        assert!(reply.remark().contains(&code.to_string()));
    }
}
