//! Pulls that are answered at once: checks, outcomes, filters, bounds.

use ringmq::base::ConnId;
use ringmq::base::options::BrokerOptions;
use ringmq::wire::body::heartbeat::MessageModel;
use ringmq::wire::code::{request, response};

use crate::frames::{
    Ask, Frame, ask, committed, consumer_beat, heartbeat, pull, send, update_topic,
};
use crate::memory::{SLOT_BYTES, SLOTS};
use crate::node::{LARGE, Node, Part, SMALL, Sizes};

/// A topic of two queues, and so many messages in the first.
fn node_with(messages: i32) -> (Node, ConnId) {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, update_topic("T", 2)).expect(response::SUCCESS);
    for at in 0..messages {
        node.ask(client, send("T", 0, at.to_string())).expect(response::SUCCESS);
    }
    (node, client)
}

/// A pull that relies on the heartbeat's subscription.
fn subscribed(group: &str, topic: &str, offset: i64) -> Ask {
    pull(group, topic, 0, offset).with("sysFlag", 0).with("subscription", "")
}

fn ends(frame: &Frame) -> (i64, i64, i64) {
    (frame.number("nextBeginOffset"), frame.number("minOffset"), frame.number("maxOffset"))
}

#[test]
fn messages_come_in_order_with_the_queues_ends() {
    let (mut node, client) = node_with(5);
    for code in [request::PULL_MESSAGE, request::LITE_PULL_MESSAGE] {
        let asked = Ask { code, ..pull("g", "T", 0, 1) };
        let read = node.ask(client, asked).expect(response::SUCCESS);
        assert_eq!(read.messages(), ["1", "2", "3", "4"]);
        assert_eq!(ends(&read), (5, 0, 5));
        assert_eq!(read.number("suggestWhichBrokerId"), 0);
        assert_eq!(read.remark(), "FOUND");
    }
}

#[test]
fn every_outcome_has_its_code_and_leads_on() {
    let (mut node, client) = node_with(5);
    let empty = |offset| pull("g", "T", 1, offset);
    let full = |offset| pull("g", "T", 0, offset);
    for (asked, code, status, next) in [
        (empty(0), response::PULL_NOT_FOUND, "NO_MESSAGE_IN_QUEUE", 0),
        (empty(7), response::PULL_OFFSET_MOVED, "NO_MESSAGE_IN_QUEUE", 0),
        (full(5), response::PULL_NOT_FOUND, "OFFSET_OVERFLOW_ONE", 5),
        (full(6), response::PULL_OFFSET_MOVED, "OFFSET_OVERFLOW_BADLY", 5),
        (full(-1), response::PULL_OFFSET_MOVED, "OFFSET_TOO_SMALL", 0),
        (full(0).with("subscription", "nope"), 20, "NO_MATCHED_MESSAGE", 5),
    ] {
        let reply = node.ask(client, asked).expect(code);
        assert_eq!(reply.remark(), status);
        assert_eq!(reply.number("nextBeginOffset"), next, "{status}");
        for field in ["suggestWhichBrokerId", "minOffset", "maxOffset"] {
            reply.number(field);
        }
        assert!(reply.body.is_empty());
    }
}

#[test]
fn checks_come_in_their_order() {
    let mut node = Node::with_options(&[("autoCreateSubscriptionGroup", "false")]);
    let client = node.connect();
    let broker = |permission: u32| {
        ask(request::UPDATE_BROKER_CONFIG).body(format!("brokerPermission={permission}"))
    };
    let asked = subscribed("g", "T", 0).with("queueId", 5).with("subVersion", 9);
    node.ask(client, broker(2)).expect(response::SUCCESS);
    node.ask(client, asked.clone()).expect(response::NO_PERMISSION);
    node.ask(client, broker(6)).expect(response::SUCCESS);
    node.ask(client, asked.clone()).expect(response::SUBSCRIPTION_GROUP_NOT_EXIST);

    let group = |enabled: bool, broadcast: bool| {
        ask(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).body(format!(
            r#"{{"groupName":"g","consumeEnable":{enabled},"consumeBroadcastEnable":{broadcast}}}"#
        ))
    };
    node.ask(client, group(false, true)).expect(response::SUCCESS);
    node.ask(client, asked.clone()).expect(response::NO_PERMISSION);
    node.ask(client, group(true, true)).expect(response::SUCCESS);
    node.ask(client, asked.clone()).expect(response::TOPIC_NOT_EXIST);

    node.ask(client, update_topic("T", 2).with("perm", 2)).expect(response::SUCCESS);
    node.ask(client, asked.clone()).expect(response::NO_PERMISSION);
    node.ask(client, update_topic("T", 2)).expect(response::SUCCESS);
    node.ask(client, asked.clone()).expect(response::INVALID_PARAMETER);
    node.ask(client, asked.clone().with("queueId", -1)).expect(response::INVALID_PARAMETER);

    let asked = asked.with("queueId", 0);
    node.ask(client, asked.clone()).expect(response::SUBSCRIPTION_NOT_EXIST);
    node.ask(client, heartbeat(&consumer_beat("c", "g", &[("U", "*")]))).expect(0);
    node.ask(client, asked.clone()).expect(response::SUBSCRIPTION_NOT_EXIST);
    let mut beat = consumer_beat("c", "g", &[("T", "*")]);
    node.ask(client, heartbeat(&beat)).expect(response::SUCCESS);
    node.ask(client, asked.clone()).expect(response::SUBSCRIPTION_NOT_LATEST);
    node.ask(client, asked.clone().with("subVersion", 1)).expect(response::PULL_NOT_FOUND);

    beat.consumer_data_set[0].message_model = MessageModel::Broadcasting;
    node.ask(client, heartbeat(&beat)).expect(response::SUCCESS);
    node.ask(client, group(true, false)).expect(response::SUCCESS);
    node.ask(client, asked.with("subVersion", 1)).expect(response::NO_PERMISSION);
}

#[test]
fn property_filters_are_refused_and_never_taken_for_tags() {
    let (mut node, client) = node_with(1);
    let sql = pull("g", "T", 0, 0).with("expressionType", "SQL92").with("subscription", "a > 1");
    node.ask(client, sql).expect(response::SYSTEM_ERROR);
    let mut beat = consumer_beat("c", "g", &[("T", "a > 1")]);
    beat.consumer_data_set[0].subscription_data_set[0].expression_type = "SQL92".to_owned();
    node.ask(client, heartbeat(&beat)).expect(response::SUCCESS);
    let asked = subscribed("g", "T", 0);
    node.ask(client, asked).expect(response::SYSTEM_ERROR);
}

#[test]
fn tags_are_chosen_by_request_or_heartbeat() {
    let (mut node, client) = node_with(0);
    for tag in ["a", "b", "c", "\u{e9}"] {
        let message = send("T", 0, tag).with("i", format!("TAGS\u{1}{tag}\u{2}"));
        node.ask(client, message).expect(response::SUCCESS);
    }
    node.ask(client, send("T", 0, "none")).expect(response::SUCCESS);
    let all = ["a", "b", "c", "\u{e9}", "none"];
    for (group, expression, expected) in [
        ("g1", "*", &all[..]),
        ("g2", "", &all),
        ("g3", "b", &["b"]),
        ("g4", "a || c", &["a", "c"]),
        ("g5", "\u{e9}||a", &["a", "\u{e9}"]),
    ] {
        let asked = pull("g", "T", 0, 0).with("subscription", expression);
        let read = node.ask(client, asked).expect(response::SUCCESS);
        assert_eq!(read.messages(), expected, "{expression}");
        assert_eq!(read.number("nextBeginOffset"), 5, "others are passed over");
        node.ask(client, heartbeat(&consumer_beat("c", group, &[("T", expression)]))).expect(0);
        let read = node.ask(client, subscribed(group, "T", 0)).expect(response::SUCCESS);
        assert_eq!(read.messages(), expected, "{expression} by heartbeat");
    }
}

#[test]
fn retry_messages_are_for_the_whole_group_whatever_its_tags() {
    let (mut node, client) = node_with(0);
    let beat = consumer_beat("c", "g", &[("T", "a"), ("%RETRY%g", "a")]);
    node.ask(client, heartbeat(&beat)).expect(response::SUCCESS);
    let message = send("%RETRY%g", 0, "x").with("i", "TAGS\u{1}b\u{2}");
    node.ask(client, message).expect(response::SUCCESS);
    let read = node.ask(client, subscribed("g", "%RETRY%g", 0)).expect(response::SUCCESS);
    assert_eq!(read.messages(), ["x"]);
}

#[test]
fn a_pull_brings_at_least_one_message_and_no_more_than_its_bounds() {
    let (mut node, client) = node_with(40);
    let count = |node: &mut Node, asked: Ask| node.ask(client, asked).expect(0).messages().len();
    assert_eq!(count(&mut node, pull("g", "T", 0, 0).with("maxMsgNums", 100)), 40);
    assert_eq!(count(&mut node, pull("g", "T", 0, 0).with("maxMsgNums", 3)), 3);
    assert_eq!(count(&mut node, pull("g", "T", 0, 0).with("maxMsgNums", 0)), 1);
    assert_eq!(count(&mut node, pull("g", "T", 0, 0).with("maxMsgNums", -5)), 1);
    assert_eq!(count(&mut node, pull("g", "T", 0, 0).with("maxMsgBytes", 1)), 1);
    let set = "maxTransferCountOnMessageInMemory=10\nmaxTransferBytesOnMessageInMemory=600";
    node.ask(client, ask(request::UPDATE_BROKER_CONFIG).body(set)).expect(0);
    let few = count(&mut node, pull("g", "T", 0, 0));
    assert!((1..4).contains(&few), "{few}");
}

#[test]
fn messages_far_from_the_logs_end_come_within_the_bounds_of_the_disk() {
    let sizes = Sizes { memory: 100_000, ..SMALL };
    let mut node = Node::with(BrokerOptions::default(), Default::default(), sizes);
    let client = node.connect();
    node.ask(client, update_topic("T", 1)).expect(response::SUCCESS);
    for _ in 0..100 {
        node.ask(client, send("T", 0, "x".repeat(1000))).expect(response::SUCCESS);
    }
    let count = |node: &mut Node, from: i64| {
        let read = node.ask(client, pull("g", "T", 0, from)).expect(response::SUCCESS);
        read.messages().len()
    };
    let set = |node: &mut Node, options: &str| {
        node.ask(client, ask(request::UPDATE_BROKER_CONFIG).body(options)).expect(0);
    };
    let all = |node: &mut Node| {
        let asked = pull("g", "T", 0, 0).with("maxMsgNums", 1000);
        node.ask(client, asked).expect(response::SUCCESS).messages().len()
    };
    assert_eq!(all(&mut node), 100, "256 KiB are the only bound");
    // 40 percent of the memory hold less than forty of them.
    set(&mut node, "maxTransferCountOnMessageInDisk=8");
    assert_eq!((count(&mut node, 0), count(&mut node, 50), count(&mut node, 68)), (8, 8, 32));
    set(&mut node, "maxTransferCountOnMessageInDisk=20");
    assert_eq!((count(&mut node, 0), count(&mut node, 68)), (20, 32));
    set(&mut node, "maxTransferBytesOnMessageInDisk=5000");
    assert_eq!((count(&mut node, 0), count(&mut node, 68)), (4, 32));
    set(&mut node, "accessMessageInMemoryMaxRatio=80");
    assert_eq!((count(&mut node, 0), count(&mut node, 50)), (4, 32));
}

#[test]
fn a_message_above_the_byte_bound_comes_alone() {
    let mut node = Node::with(BrokerOptions::default(), Default::default(), LARGE);
    let client = node.connect();
    node.ask(client, update_topic("T", 1)).expect(response::SUCCESS);
    for len in [10, 300_000, 10] {
        node.ask(client, send("T", 0, "x".repeat(len))).expect(response::SUCCESS);
    }
    let read = node.ask(client, pull("g", "T", 0, 1)).expect(response::SUCCESS);
    assert_eq!((read.messages().len(), read.number("nextBeginOffset")), (1, 2));
}

#[test]
fn a_commit_that_rides_on_a_pull_counts_only_with_its_flag() {
    let (mut node, client) = node_with(5);
    let asked = pull("g", "T", 0, 3).with("commitOffset", 3);
    node.ask(client, asked.clone()).expect(response::SUCCESS);
    node.ask(client, committed("g", "T", 0)).expect(response::QUERY_NOT_FOUND);
    node.ask(client, asked.with("sysFlag", 1 | 4)).expect(response::SUCCESS);
    assert_eq!(node.ask(client, committed("g", "T", 0)).number("offset"), 3);
}

#[test]
fn a_message_on_disk_may_fill_most_of_the_pool() {
    let mut node = Node::with(BrokerOptions::default(), Default::default(), LARGE);
    let client = node.connect();
    node.ask(client, update_topic("T", 1)).expect(response::SUCCESS);
    // What is read ahead behind a message must not push out the blocks it lies in.
    let sizes = [10, (SLOTS - 3) * SLOT_BYTES, 5 * SLOT_BYTES, 5 * SLOT_BYTES, 10];
    for len in sizes {
        node.ask(client, send("T", 0, "x".repeat(len))).expect(response::SUCCESS);
    }
    node.restart();
    let client = node.connect();
    for (at, len) in sizes.into_iter().enumerate() {
        let read = node.ask(client, pull("g", "T", 0, at as i64).with("maxMsgNums", 1));
        assert_eq!(read.expect(response::SUCCESS).messages(), ["x".repeat(len)], "message {at}");
    }
}

#[test]
fn messages_on_disk_are_read_from_there() {
    let (mut node, _) = node_with(20);
    node.restart();
    let client = node.connect();
    node.hold(Part::Reads);
    let asked = node.send(client, &pull("g", "T", 0, 0));
    assert!(node.reply(client, asked).is_none());
    node.release(Part::Reads);
    let read = node.reply(client, asked).unwrap().expect(response::SUCCESS);
    let expected: Vec<String> = (0..20).map(|at| at.to_string()).collect();
    assert_eq!(read.messages(), expected);
    let tail = node.ask(client, send("T", 0, "new")).expect(response::SUCCESS);
    assert_eq!(tail.number("queueOffset"), 20);
    let across = node.ask(client, pull("g", "T", 0, 19)).expect(response::SUCCESS);
    assert_eq!(across.messages(), ["19", "new"]);
}

/// Each failed read was begun again at once, for ten seconds.
#[test]
fn a_log_that_cannot_be_read_is_said_at_once_with_the_cause() {
    let (mut node, _) = node_with(20);
    node.restart();
    let client = node.connect();
    node.log_unreadable = true;
    let refused = node.ask(client, pull("g", "T", 0, 3)).expect(response::SYSTEM_ERROR);
    assert_eq!(refused.remark(), "the CommitLog cannot be read: Input/output error");
    node.log_unreadable = false;
    let read = node.ask(client, pull("g", "T", 0, 3)).expect(response::SUCCESS);
    assert_eq!(read.messages().len(), 17, "it may be better the next time");
}
