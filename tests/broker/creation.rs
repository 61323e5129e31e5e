//! Topics that come into being with their first send.

use ringmq::wire::code::{request, response};

use crate::frames::{ask, send};
use crate::node::{Node, Part};

#[test]
fn a_send_to_an_unknown_topic_waits_until_every_shard_has_it() {
    let mut node = Node::new();
    let client = node.connect();
    node.hold(Part::Creation);
    let first = node.send(client, &send("Orders", 0, "one"));
    let second = node.send(client, &send("Orders", 0, "two"));
    assert!(node.reply(client, first).is_none() && node.reply(client, second).is_none());
    assert_eq!(node.waiting(Part::Creation), 1, "a topic is created once");
    node.release(Part::Creation);
    let first = node.reply(client, first).unwrap().expect(response::SUCCESS);
    let second = node.reply(client, second).unwrap().expect(response::SUCCESS);
    assert_eq!((first.number("queueOffset"), second.number("queueOffset")), (0, 1));
    assert_eq!(node.published.last().unwrap().1.iter().filter(|it| it.name == "Orders").count(), 1);
}

#[test]
fn a_new_topic_has_the_queues_that_its_sender_asks_for_up_to_the_option() {
    let mut node = Node::with_options(&[("defaultTopicQueueNums", "6")]);
    let client = node.connect();
    for (topic, asked, given) in [("A", 4, 4), ("B", 16, 6), ("C", 0, 1), ("D", -3, 1)] {
        node.ask(client, send(topic, 0, "x").with("d", asked)).expect(response::SUCCESS);
        let made = node.created.last().unwrap();
        assert_eq!((made.name.as_str(), made.write_queues, made.perm), (topic, given, 6));
    }
}

#[test]
fn auto_creation_off_means_off() {
    let mut node = Node::with_options(&[("autoCreateTopicEnable", "false")]);
    let client = node.connect();
    node.ask(client, send("Orders", 0, "x")).expect(response::TOPIC_NOT_EXIST);
    assert!(node.created.is_empty());
}

#[test]
fn a_send_waits_two_seconds_for_its_topic_and_then_gets_code_1() {
    let mut node = Node::new();
    let client = node.connect();
    node.hold(Part::Creation);
    let sent = node.send(client, &send("Orders", 0, "x"));
    node.pass(1_999);
    assert!(node.reply(client, sent).is_none());
    node.pass(2);
    node.reply(client, sent).unwrap().expect(response::SYSTEM_ERROR);
}

/// They used to ask again at once, and again, for as long as the failure lasted.
#[test]
fn a_creation_that_fails_is_told_to_the_sends_that_wait_and_tried_by_the_next() {
    let mut node = Node::new();
    let client = node.connect();
    node.creation_fails = Some("the disk is full".to_owned());
    let refused = node.ask(client, send("Orders", 0, "x")).expect(response::SYSTEM_ERROR);
    assert_eq!(refused.remark(), "topic[Orders] could not be created: the disk is full");
    assert_eq!(node.created.len(), 1);
    node.creation_fails = None;
    node.ask(client, send("Orders", 0, "x")).expect(response::SUCCESS);
}

#[test]
fn a_retry_topic_comes_into_being_for_a_known_group_only() {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, send("%RETRY%strangers", 0, "x")).expect(response::TOPIC_NOT_EXIST);
    let group = ask(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).body(r#"{"groupName":"g"}"#);
    node.ask(client, group).expect(response::SUCCESS);
    node.ask(client, send("%RETRY%g", 0, "x")).expect(response::SUCCESS);
    let made = node.created.last().unwrap();
    assert_eq!((made.write_queues, made.perm), (1, 6));
}
