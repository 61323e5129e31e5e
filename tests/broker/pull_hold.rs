//! Pulls that wait for a message.

use ringmq::base::ConnId;
use ringmq::wire::code::{request, response};

use crate::frames::{Ask, ask, committed, held_pull, pull, send, update_topic};
use crate::node::{Node, Part};

fn node_with_topic() -> (Node, ConnId, ConnId) {
    let mut node = Node::new();
    let (producer, consumer) = (node.connect(), node.connect());
    node.ask(producer, update_topic("T", 2)).expect(response::SUCCESS);
    (node, producer, consumer)
}

fn tagged(tag: &str) -> Ask {
    send("T", 0, tag).with("i", format!("TAGS\u{1}{tag}\u{2}"))
}

#[test]
fn a_held_pull_is_answered_by_the_message_that_it_waits_for() {
    let (mut node, producer, consumer) = node_with_topic();
    let other = node.connect();
    let held = node.send(consumer, &held_pull("g", "T", 0, 0, 15_000));
    let second = node.send(other, &held_pull("h", "T", 0, 0, 15_000));
    let elsewhere = node.send(other, &held_pull("h", "T", 1, 0, 15_000));
    node.pass(14_000);
    assert!(node.reply(consumer, held).is_none());
    node.ask(producer, send("T", 0, "x")).expect(response::SUCCESS);
    for (conn, opaque) in [(consumer, held), (other, second)] {
        let reply = node.reply(conn, opaque).unwrap().expect(response::SUCCESS);
        assert_eq!((reply.messages(), reply.number("nextBeginOffset")), (vec!["x".to_owned()], 1));
    }
    assert!(node.reply(other, elsewhere).is_none());
}

#[test]
fn a_held_pull_is_answered_with_code_19_when_its_time_is_up() {
    let (mut node, producer, consumer) = node_with_topic();
    node.ask(producer, send("T", 0, "x")).expect(response::SUCCESS);
    let held = node.send(consumer, &held_pull("g", "T", 0, 1, 15_000));
    node.pass(14_999);
    assert!(node.reply(consumer, held).is_none());
    node.pass(1);
    let reply = node.reply(consumer, held).unwrap().expect(response::PULL_NOT_FOUND);
    assert_eq!((reply.number("nextBeginOffset"), reply.number("maxOffset")), (1, 1));
}

#[test]
fn nobody_is_held_beyond_25_seconds_nor_without_the_flag() {
    let (mut node, _, consumer) = node_with_topic();
    node.ask(consumer, pull("g", "T", 0, 0)).expect(response::PULL_NOT_FOUND);
    let held = node.send(consumer, &held_pull("g", "T", 0, 0, 3_600_000));
    node.pass(24_999);
    assert!(node.reply(consumer, held).is_none());
    node.pass(1);
    node.reply(consumer, held).unwrap().expect(response::PULL_NOT_FOUND);
}

#[test]
fn without_long_polling_a_pull_is_held_for_the_short_time() {
    let (mut node, _, consumer) = node_with_topic();
    let set = ask(request::UPDATE_BROKER_CONFIG)
        .body("longPollingEnable=false\nshortPollingTimeMills=200");
    node.ask(consumer, set).expect(response::SUCCESS);
    let held = node.send(consumer, &held_pull("g", "T", 0, 0, 15_000));
    node.pass(199);
    assert!(node.reply(consumer, held).is_none());
    node.pass(1);
    node.reply(consumer, held).unwrap().expect(response::PULL_NOT_FOUND);
}

#[test]
fn a_message_with_another_tag_wakes_nobody_but_moves_the_answer_on() {
    let (mut node, producer, consumer) = node_with_topic();
    let wanted = |offset| held_pull("g", "T", 0, offset, 10_000).with("subscription", "a");
    let held = node.send(consumer, &wanted(0));
    node.ask(producer, tagged("b")).expect(response::SUCCESS);
    node.ask(producer, tagged("c")).expect(response::SUCCESS);
    assert!(node.reply(consumer, held).is_none());
    node.ask(producer, tagged("a")).expect(response::SUCCESS);
    let reply = node.reply(consumer, held).unwrap().expect(response::SUCCESS);
    assert_eq!((reply.messages(), reply.number("nextBeginOffset")), (vec!["a".to_owned()], 3));

    let held = node.send(consumer, &wanted(3));
    node.ask(producer, tagged("b")).expect(response::SUCCESS);
    node.pass(10_000);
    let reply = node.reply(consumer, held).unwrap();
    assert!([19, 20].contains(&reply.code), "{reply:?}");
    assert_eq!(reply.number("nextBeginOffset"), 4, "it is not looked at again");
}

#[test]
fn a_message_that_does_not_count_yet_wakes_nobody() {
    let (mut node, producer, consumer) = node_with_topic();
    let written = update_topic("T", 2).with("attributes", "+ringmq.ack=written");
    node.ask(producer, written).expect(response::SUCCESS);
    node.hold(Part::LogWrites);
    let held = node.send(consumer, &held_pull("g", "T", 0, 0, 15_000));
    let sent = node.send(producer, &send("T", 0, "x"));
    assert!(node.reply(consumer, held).is_none() && node.reply(producer, sent).is_none());
    node.release(Part::LogWrites);
    node.reply(producer, sent).unwrap().expect(response::SUCCESS);
    let reply = node.reply(consumer, held).unwrap().expect(response::SUCCESS);
    assert_eq!(reply.messages(), ["x"]);
}

#[test]
fn the_commit_of_a_held_pull_counts_once_at_its_arrival() {
    let (mut node, producer, consumer) = node_with_topic();
    node.ask(producer, send("T", 0, "x")).expect(response::SUCCESS);
    let asked = held_pull("g", "T", 0, 1, 15_000).with("sysFlag", 7).with("commitOffset", 1);
    let held = node.send(consumer, &asked);
    assert_eq!(node.ask(producer, committed("g", "T", 0)).number("offset"), 1);
    node.ask(producer, crate::frames::commit("g", "T", 0, 0)).expect(response::SUCCESS);
    node.ask(producer, send("T", 0, "y")).expect(response::SUCCESS);
    node.reply(consumer, held).unwrap().expect(response::SUCCESS);
    assert_eq!(node.ask(producer, committed("g", "T", 0)).number("offset"), 0);
}

#[test]
fn a_held_pull_goes_with_its_connection() {
    let (mut node, producer, consumer) = node_with_topic();
    for queue in [0, 1] {
        node.send(consumer, &held_pull("g", "T", queue, 0, 15_000));
    }
    let kept = node.send(producer, &held_pull("g", "T", 1, 0, 15_000));
    node.hang_up(consumer);
    let info = node.ask(producer, ask(request::GET_BROKER_RUNTIME_INFO)).expect(0);
    assert!(info.text().contains("\"heldPulls\":\"1\""), "{}", info.text());
    node.ask(producer, send("T", 1, "x")).expect(response::SUCCESS);
    node.reply(producer, kept).unwrap().expect(response::SUCCESS);
}

#[test]
fn many_held_pulls_of_one_queue_share_one_message() {
    let (mut node, producer, _) = node_with_topic();
    let held: Vec<(ConnId, i32)> = (0..50)
        .map(|_| {
            let conn = node.connect();
            (conn, node.send(conn, &held_pull("g", "T", 0, 0, 15_000)))
        })
        .collect();
    node.ask(producer, send("T", 0, "x")).expect(response::SUCCESS);
    for (conn, opaque) in held {
        assert_eq!(node.reply(conn, opaque).unwrap().expect(0).messages(), ["x"]);
    }
}
