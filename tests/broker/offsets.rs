//! Positions: consumer offsets, ends of queues, search by time, single messages.

use ringmq::wire::StoredMessages;
use ringmq::wire::code::{request, response};

use crate::frames::{Ask, ask, commit, committed, pull, send, update_topic};
use crate::node::{Node, START_MS};

fn of_queue(code: i32, topic: &str, queue: i32) -> Ask {
    ask(code).with("topic", topic).with("queueId", queue)
}

fn search(topic: &str, ms: i64, boundary: &str) -> Ask {
    of_queue(request::SEARCH_OFFSET_BY_TIMESTAMP, topic, 0)
        .with("timestamp", ms)
        .with("boundaryType", boundary)
}

#[test]
fn the_last_commit_counts_also_when_it_goes_back() {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, update_topic("T", 2)).expect(response::SUCCESS);
    for offset in [5, 9, 2] {
        node.ask(client, commit("g", "T", 1, offset)).expect(response::SUCCESS);
        assert_eq!(node.ask(client, committed("g", "T", 1)).number("offset"), offset);
    }
    node.ask(client, committed("g", "T", 0)).expect(response::QUERY_NOT_FOUND);
}

#[test]
fn commits_are_durable_within_five_seconds_and_lie_in_the_arena_until_then() {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, update_topic("T", 1)).expect(response::SUCCESS);
    node.ask(client, commit("g", "T", 0, 1)).expect(response::SUCCESS);
    node.ask(client, commit("g", "T", 0, 2)).expect(response::SUCCESS);
    let kept = |node: &Node| node.metadata.offsets[&("g".to_owned(), "T".to_owned(), 0)];
    assert_eq!((kept(&node), node.arena.journal[0].len()), (1, 1));
    node.pass(5_000);
    assert_eq!(kept(&node), 2);
    assert!(node.arena.journal.iter().all(Vec::is_empty));
    node.ask(client, commit("g", "T", 0, 3)).expect(response::SUCCESS);
    node.restart();
    let client = node.connect();
    assert_eq!(node.ask(client, committed("g", "T", 0)).number("offset"), 3);
}

#[test]
fn offsets_that_could_not_be_kept_are_kept_with_the_next_ones() {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, update_topic("T", 1)).expect(response::SUCCESS);
    node.metadata_fails = Some("disk full".to_owned());
    node.ask(client, commit("g", "T", 0, 4)).expect(response::SUCCESS);
    node.metadata_fails = None;
    assert!(node.metadata.offsets.is_empty());
    node.pass(6_000);
    assert_eq!(node.metadata.offsets[&("g".to_owned(), "T".to_owned(), 0)], 4);
}

#[test]
fn a_commit_needs_group_topic_and_queue() {
    let mut node = Node::with_options(&[("autoCreateSubscriptionGroup", "false")]);
    let client = node.connect();
    node.ask(client, update_topic("T", 2)).expect(response::SUCCESS);
    node.ask(client, commit("g", "T", 0, 1)).expect(response::SUBSCRIPTION_GROUP_NOT_EXIST);
    let group = "TOOLS_CONSUMER";
    node.ask(client, commit(group, "U", 0, 1)).expect(response::TOPIC_NOT_EXIST);
    for (queue, offset) in [(2, 1), (-1, 1), (0, -1)] {
        node.ask(client, commit(group, "T", queue, offset)).expect(response::INVALID_PARAMETER);
    }
    node.ask(client, commit(group, "T", 0, 1).with("queueId", "")).expect(29);
    let silent = node.send(client, &commit(group, "T", 0, 7).oneway());
    assert!(node.reply(client, silent).is_none(), "one-way requests are never answered");
    assert_eq!(node.ask(client, committed(group, "T", 0)).number("offset"), 7);
}

#[test]
fn a_new_group_begins_at_zero_where_the_first_message_is_still_in_memory() {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, update_topic("T", 1)).expect(response::SUCCESS);
    node.ask(client, send("T", 0, "x")).expect(response::SUCCESS);
    let zero = |flag: &str| committed("g", "T", 0).with("setZeroIfNotFound", flag);
    assert_eq!(node.ask(client, zero("")).expect(0).number("offset"), 0);
    assert_eq!(node.ask(client, zero("true")).expect(0).number("offset"), 0);
    node.ask(client, zero("false")).expect(response::QUERY_NOT_FOUND);
    node.restart();
    let client = node.connect();
    node.ask(client, zero("true")).expect(response::QUERY_NOT_FOUND);
}

#[test]
fn the_ends_of_a_queue_are_told() {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, update_topic("T", 1)).expect(response::SUCCESS);
    let max = of_queue(request::GET_MAX_OFFSET, "T", 0);
    let min = of_queue(request::GET_MIN_OFFSET, "T", 0);
    let earliest = of_queue(request::GET_EARLIEST_MSG_STORETIME, "T", 0);
    assert_eq!(node.ask(client, earliest.clone()).number("timestamp"), -1);
    for _ in 0..3 {
        node.pass(10);
        node.ask(client, send("T", 0, "x")).expect(response::SUCCESS);
    }
    assert_eq!(node.ask(client, max.clone()).number("offset"), 3);
    assert_eq!(node.ask(client, min.clone()).number("offset"), 0);
    assert_eq!(node.ask(client, earliest.clone()).number("timestamp"), START_MS + 10);
    for asked in [max, min, earliest] {
        node.ask(client, asked.clone().with("queueId", 1)).expect(response::INVALID_PARAMETER);
        node.ask(client, asked.clone().with("topic", "U")).expect(response::TOPIC_NOT_EXIST);
    }
}

#[test]
fn a_search_finds_the_leftmost_message_at_or_after_the_time() {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, update_topic("T", 1)).expect(response::SUCCESS);
    // Store times: 10, 10, 20, 20.
    for at in 0..4 {
        node.pass(if at % 2 == 0 { 10 } else { 0 });
        node.ask(client, send("T", 0, "x")).expect(response::SUCCESS);
    }
    for restarted in [false, true] {
        if restarted {
            node.restart();
        }
        let client = node.connect();
        for (ms, boundary, offset) in [
            (0, "", 0),
            (10, "", 0),
            (11, "", 2),
            (20, "lower", 2),
            (21, "LOWER", 4),
            (10, "UPPER", 1),
            (15, "upper", 1),
            (20, "UPPER", 3),
            (5, "UPPER", 0),
        ] {
            let found = node.ask(client, search("T", START_MS + ms, boundary)).expect(0);
            assert_eq!(found.number("offset"), offset, "{ms} {boundary}");
        }
    }
}

#[test]
fn a_message_is_found_by_its_physical_offset_and_nothing_else_is() {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, update_topic("T", 1)).expect(response::SUCCESS);
    node.ask(client, send("T", 0, "first")).expect(response::SUCCESS);
    node.ask(client, send("T", 0, "second")).expect(response::SUCCESS);
    let read = node.ask(client, pull("g", "T", 0, 0)).expect(response::SUCCESS);
    let places: Vec<u64> =
        StoredMessages::new(&read.body).map(|message| message.unwrap().physical_offset.0).collect();
    let view = |offset: i64| ask(request::VIEW_MESSAGE_BY_ID).with("offset", offset);
    for restarted in [false, true] {
        if restarted {
            node.restart();
        }
        let client = node.connect();
        let found = node.ask(client, view(places[1] as i64)).expect(response::SUCCESS);
        assert_eq!(found.messages(), ["second"]);
        for elsewhere in [places[1] as i64 + 1, 1 << 40, -1] {
            node.ask(client, view(elsewhere)).expect(response::SYSTEM_ERROR);
        }
    }
}
