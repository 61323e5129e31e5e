//! Messages that are not taken, and the code that says why. Nothing of them is stored.

use ringmq::base::ConnId;
use ringmq::log::retention::DiskUse;
use ringmq::wire::code::{request, response};

use crate::frames::{Ask, ask, consumer_beat, heartbeat, pull, send, send_batch, update_topic};
use crate::node::{Node, Part};

fn node_with_topic() -> (Node, ConnId) {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, update_topic("T", 2)).expect(response::SUCCESS);
    (node, client)
}

#[track_caller]
fn refused(node: &mut Node, client: ConnId, message: Ask, code: i32) -> String {
    let before = node.shard.store.log_range().1;
    let reply = node.ask(client, message).expect(code);
    assert_eq!(node.shard.store.log_range().1, before, "nothing is stored");
    reply.remark().to_owned()
}

fn properties(text: &str) -> Ask {
    send("T", 0, "x").with("i", text)
}

#[test]
fn illegal_names_and_queues_get_code_29() {
    let (mut node, client) = node_with_topic();
    for topic in ["a b", "a/b", &*"x".repeat(128)] {
        refused(&mut node, client, send(topic, 0, "x"), response::INVALID_PARAMETER);
    }
    refused(&mut node, client, send("T", 0, "x").with("b", ""), response::INVALID_PARAMETER);
    let remark = refused(&mut node, client, send("T", 2, "x"), response::INVALID_PARAMETER);
    assert!(remark.contains("queueId[2]"), "{remark}");
    refused(&mut node, client, send("T", 0, "x").with("e", "zero"), 29);
    assert!(node.created.is_empty());
}

#[test]
fn readable_queues_may_be_named_even_where_fewer_are_writable() {
    let (mut node, client) = node_with_topic();
    let more = update_topic("T", 2).with("readQueueNums", 4);
    node.ask(client, more).expect(response::SUCCESS);
    node.ask(client, send("T", 3, "x")).expect(response::SUCCESS);
    refused(&mut node, client, send("T", 4, "x"), response::INVALID_PARAMETER);
}

#[test]
fn the_brokers_own_topics_are_closed_with_code_16() {
    let (mut node, client) = node_with_topic();
    for topic in [
        "SCHEDULE_TOPIC_XXXX",
        "RMQ_SYS_TRANS_HALF_TOPIC",
        "RMQ_SYS_TRANS_OP_HALF_TOPIC",
        "TRANS_CHECK_MAX_TIME_TOPIC",
        "SELF_TEST_TOPIC",
        "OFFSET_MOVED_EVENT",
    ] {
        refused(&mut node, client, send(topic, 0, "x"), response::NO_PERMISSION);
    }
    assert!(node.created.is_empty(), "{:?}", node.created);
}

#[test]
fn a_broker_without_write_permission_refuses_order_topics() {
    let (mut node, client) = node_with_topic();
    node.ask(client, update_topic("Ordered", 1).with("order", true)).expect(0);
    let read_only = ask(request::UPDATE_BROKER_CONFIG).body("brokerPermission=4");
    node.ask(client, read_only).expect(response::SUCCESS);
    refused(&mut node, client, send("Ordered", 0, "x"), response::NO_PERMISSION);
    // Of other topics clients learn by the route.
    node.ask(client, send("T", 0, "x")).expect(response::SUCCESS);
}

#[test]
fn what_is_too_large_gets_code_13() {
    let (mut node, client) = node_with_topic();
    let set = ask(request::UPDATE_BROKER_CONFIG).body("maxMessageSize=100");
    node.ask(client, set).expect(response::SUCCESS);
    let remark = refused(&mut node, client, send("T", 0, "x".repeat(101)), 13);
    assert!(remark.contains("101") && remark.contains("100"), "{remark}");
    node.ask(client, send("T", 0, "x".repeat(100))).expect(response::SUCCESS);
    let long = format!("K\u{1}{}\u{2}", "x".repeat(32_767));
    refused(&mut node, client, properties(&long), response::MESSAGE_ILLEGAL);
}

#[test]
fn a_delayed_or_transactional_message_is_never_taken_for_a_plain_one() {
    let (mut node, client) = node_with_topic();
    for text in [
        "DELAY\u{1}3\u{2}",
        "TIMER_DELAY_SEC\u{1}10\u{2}",
        "TIMER_DELAY_MS\u{1}10\u{2}",
        "TIMER_DELIVER_MS\u{1}1800000000000\u{2}",
        "TRAN_MSG\u{1}true\u{2}",
        "KEYS\u{1}k\u{2}TRAN_MSG\u{1}TRUE",
    ] {
        let remark = refused(&mut node, client, properties(text), response::MESSAGE_ILLEGAL);
        assert!(remark.contains("not supported yet"), "{remark}");
    }
    refused(&mut node, client, send("T", 0, "x").with("f", 4), response::MESSAGE_ILLEGAL);
    for text in ["DELAY\u{1}0\u{2}", "TRAN_MSG\u{1}false\u{2}"] {
        node.ask(client, properties(text)).expect(response::SUCCESS);
    }
    let batch = [("a", ""), ("b", "DELAY\u{1}1\u{2}")];
    refused(&mut node, client, send_batch("T", 0, &batch), response::MESSAGE_ILLEGAL);
}

#[test]
fn a_batch_that_does_not_add_up_is_refused_whole() {
    let (mut node, client) = node_with_topic();
    let whole = send_batch("T", 0, &[("first", ""), ("second", "k\u{1}v\u{2}")]);
    for cut in 1..whole.body.len() {
        let cut_short = whole.clone().body(&whole.body[..cut]);
        let reply = node.ask(client, cut_short);
        // A cut behind the first message leaves a batch of one.
        let first = 22 + 5;
        assert_eq!(reply.code, if cut == first { 0 } else { 13 }, "cut at byte {cut}");
    }
    refused(&mut node, client, whole.clone().body(""), response::MESSAGE_ILLEGAL);
    let client_group = heartbeat(&consumer_beat("c", "g", &[]));
    node.ask(client, client_group).expect(response::SUCCESS);
    let retry = whole.with("b", "%RETRY%g");
    refused(&mut node, client, retry, response::MESSAGE_ILLEGAL);
}

/// They were searched first, and each that the broker sets itself taken out of the rest:
/// a frame of them held the shard for seconds.
#[test]
fn properties_beyond_their_bound_are_refused_unread() {
    let (mut node, client) = node_with_topic();
    let many = "CLUSTER\u{1}a\u{2}".repeat(100_000);
    let remark = refused(&mut node, client, properties(&many), response::MESSAGE_ILLEGAL);
    assert!(remark.contains("1000000 bytes, 32767 are allowed"), "{remark}");
}

#[test]
fn a_full_disk_gets_code_14_until_there_is_room_again() {
    let (mut node, client) = node_with_topic();
    node.disk_use = DiskUse(901);
    node.pass(11_000);
    let remark = refused(&mut node, client, send("T", 0, "x"), response::SERVICE_NOT_AVAILABLE);
    assert!(remark.contains("90"), "{remark}");
    node.disk_use = DiskUse(899);
    node.pass(11_000);
    node.ask(client, send("T", 0, "x")).expect(response::SUCCESS);
}

#[test]
fn a_disk_is_looked_at_within_a_second_of_what_it_matters_for() {
    let (mut node, client) = node_with_topic();
    node.pass(63_000);
    node.disk_use = DiskUse(901);
    // The log grows again after a rest.
    node.ask(client, send("T", 0, "x")).expect(response::SUCCESS);
    node.pass(1_000);
    let remark = refused(&mut node, client, send("T", 0, "x"), response::SERVICE_NOT_AVAILABLE);
    assert!(remark.contains("--disk-refuse-at"), "{remark}");
    // Senders are refused.
    node.pass(30_000);
    node.disk_use = DiskUse(899);
    node.pass(1_000);
    node.ask(client, send("T", 0, "x")).expect(response::SUCCESS);
}

#[test]
fn sends_wait_a_second_for_room_and_then_get_code_2() {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, update_topic("T", 2)).expect(response::SUCCESS);
    node.hold(Part::LogWrites);
    let mut waiting = Vec::new();
    while waiting.is_empty() {
        let sent = node.send(client, &send("T", 0, "x".repeat(100_000)));
        if node.reply(client, sent).is_none() {
            waiting.push(sent);
        }
    }
    let later = node.connect();
    let small = node.send(later, &send("T", 0, "y"));
    node.pass(999);
    assert!(node.reply(client, waiting[0]).is_none());
    node.pass(2);
    let busy = node.reply(client, waiting[0]).unwrap().expect(response::SYSTEM_BUSY);
    assert!(busy.remark().contains("1 s"), "{busy:?}");
    // What still waited goes on once the writes have caught up.
    let again = node.send(client, &send("T", 0, "z".repeat(100_000)));
    node.release(Part::LogWrites);
    node.pass(10);
    node.reply(client, again).unwrap().expect(response::SUCCESS);
    let small = node.reply(later, small).unwrap();
    assert!(small.code == response::SUCCESS || small.code == response::SYSTEM_BUSY);
    assert!(node.ask(client, pull("g", "T", 0, 0)).code == response::SUCCESS);
}

/// Clients went on sending to a shard that took nothing, and got code 14 for each.
#[test]
fn a_failed_log_takes_write_permission_out_of_the_routes_once() {
    let (mut node, client) = node_with_topic();
    let slow = update_topic("Slow", 1).with("attributes", "+ringmq.ack=written");
    node.ask(client, slow).expect(response::SUCCESS);
    let before = node.published.clone();
    let shown = |node: &Node, name: &str| {
        let (version, topics) = node.published.last().unwrap().clone();
        (version, topics.iter().find(|topic| topic.name == name).unwrap().perm)
    };
    assert_eq!(shown(&node, "T").1, 6);

    node.log_fails = true;
    let remark = node.ask(client, send("Slow", 0, "x")).expect(14).remark().to_owned();
    assert!(remark.contains("the CommitLog has failed"), "{remark}");
    assert_eq!(node.published.len(), before.len() + 1);
    let (version, permission) = shown(&node, "T");
    assert_eq!((permission, shown(&node, "Slow").1), (4, 4), "it can still be read");
    assert!(version.counter > before.last().unwrap().0.counter, "name servers take it for news");

    refused(&mut node, client, send("T", 0, "x"), 14);
    node.pass(60_000);
    assert_eq!(node.published.len(), before.len() + 1, "once");
}
