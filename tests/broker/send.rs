//! Messages that are taken: what is stored of them, and what their senders hear.

use ringmq::base::options::BrokerOptions;
use ringmq::base::properties;
use ringmq::base::{AckLevel, LogOffset};
use ringmq::wire::code::{request, response};
use ringmq::wire::{Codec, OffsetMessageId, StoredMessages};

use crate::frames::{Ask, ask, pull, send, send_batch, update_topic};
use crate::node::{LARGE, Node, Part, SMALL, START_MS};

fn node_with_topic() -> (Node, ringmq::base::ConnId) {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, update_topic("T", 4)).expect(response::SUCCESS);
    (node, client)
}

/// The same by the first form, with fields named in words.
fn send_v1(topic: &str, queue: i32, body: &str) -> Ask {
    let v2 = send(topic, queue, body);
    let names = [
        ("a", "producerGroup"),
        ("b", "topic"),
        ("c", "defaultTopic"),
        ("d", "defaultTopicQueueNums"),
        ("e", "queueId"),
        ("f", "sysFlag"),
        ("g", "bornTimestamp"),
        ("h", "flag"),
    ];
    let mut v1 = ask(request::SEND_MESSAGE).body(body);
    for (key, value) in v2.ext {
        let name = names.iter().find(|(letter, _)| *letter == key).unwrap().1;
        v1 = v1.with(name, value);
    }
    v1
}

/// Segments that had expired were unlinked by the next look at the disk, and new ones
/// filled with zeros meanwhile.
#[test]
fn a_segment_that_the_log_needs_is_an_expired_one_if_there_is_any() {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, update_topic("T", 1)).expect(response::SUCCESS);
    let fill = |node: &mut Node, segments: u64| {
        let end = node.shard.store.log_range().1 + segments * SMALL.segment;
        while node.shard.store.log_range().1 < end {
            node.ask(client, send("T", 0, vec![b'x'; 50_000])).expect(response::SUCCESS);
        }
    };
    fill(&mut node, 3);
    node.pass(600);
    assert_eq!(node.recycled, []);
    // All of it is old, and nobody looks at the disk before the next segment is needed.
    node.now.unix_ms += 73 * 3_600_000;
    fill(&mut node, 1);
    assert_eq!(node.recycled, [LogOffset(0)]);
    assert_eq!(node.shard.store.log_range().0, LogOffset(SMALL.segment));
}

/// Its name stayed in the log while segments behind it went, and the next start found a
/// hole and refused, or took it for the log's end.
#[test]
fn what_expires_while_a_segment_is_being_prepared_is_not_kept_for_later() {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, update_topic("T", 1)).expect(response::SUCCESS);
    for _ in 0..60 {
        node.ask(client, send("T", 0, vec![b'x'; 50_000])).expect(response::SUCCESS);
    }
    node.hold(Part::Segments);
    for _ in 0..20 {
        node.ask(client, send("T", 0, vec![b'x'; 50_000])).expect(response::SUCCESS);
    }
    assert!(node.waiting(Part::Segments) > 0, "a preparation is under way");
    node.pass(600);
    node.now.unix_ms += 73 * 3_600_000;
    node.pass(11_000);
    assert!(node.shard.store.log_range().0 > LogOffset(0), "segments went");
    assert_eq!(node.recycled, []);
}

#[test]
fn a_reply_tells_where_the_message_is() {
    let (mut node, client) = node_with_topic();
    for (at, codec) in [Codec::Json, Codec::Binary].into_iter().enumerate() {
        let message = send("T", 2, "hello").with("i", "UNIQ_KEY\u{1}ABC\u{2}").codec(codec);
        let reply = node.ask(client, message).expect(response::SUCCESS);
        assert_eq!((reply.number("queueId"), reply.number("queueOffset")), (2, at as i64));
        assert_eq!(reply.ext["transactionId"], "ABC");
        assert_eq!(reply.ext["MSG_REGION"], "DefaultRegion");
        assert_eq!(reply.ext["TRACE_ON"], "true");
        assert_eq!(reply.remark, None);
        let id = OffsetMessageId::parse(reply.ext["msgId"].as_bytes()).unwrap();
        assert_eq!(id.store_host, "10.0.0.1:10911".parse().unwrap());
        let view = ask(request::VIEW_MESSAGE_BY_ID).with("offset", id.physical_offset);
        assert_eq!(node.ask(client, view).messages(), ["hello"]);
    }
}

#[test]
fn a_message_is_stored_with_all_that_its_sender_said() {
    let (mut node, client) = node_with_topic();
    let text = "TAGS\u{1}a\u{2}POP_CK\u{1}x\u{2}KEYS\u{1}k1 k2\u{2}CLUSTER\u{1}theirs";
    let message = send("T", 1, "hello").with("h", 7).with("f", 1).with("i", text).with("j", 3);
    node.ask(client, message).expect(response::SUCCESS);
    let read = node.ask(client, pull("g", "T", 1, 0)).expect(response::SUCCESS);
    let stored = StoredMessages::new(&read.body).next().unwrap().unwrap();
    assert_eq!((stored.flag, stored.sys_flag, stored.reconsume_times), (7, 1, 3));
    assert_eq!((stored.queue_id, stored.queue_offset.0), (1, 0));
    assert_eq!((stored.born_timestamp, stored.store_timestamp), (1_700_000_000_001, START_MS));
    assert_eq!(stored.born_host, "10.0.0.7:40001".parse().unwrap());
    assert_eq!(stored.store_host, "10.0.0.1:10911".parse().unwrap());
    assert_eq!(stored.topic, b"T");
    let of = |key: &str| properties::get(stored.properties, key.as_bytes());
    assert_eq!(of("TAGS"), Some(&b"a"[..]));
    assert_eq!(of("KEYS"), Some(&b"k1 k2"[..]));
    assert_eq!(of("POP_CK"), None);
    assert_eq!(of("MSG_REGION"), Some(&b"DefaultRegion"[..]));
    assert_eq!(of("TRACE_ON"), Some(&b"true"[..]));
    assert_eq!(of("CLUSTER"), Some(&b"DefaultCluster"[..]), "the broker's, not the sender's");
    let unique = of("UNIQ_KEY").unwrap();
    let unique = str::from_utf8(unique).unwrap();
    assert!(unique.starts_with("0A000001"), "the broker's address: {unique}");
    // 2023-11-01, when the month began by which tools tell when the message was made.
    let span_ms = i64::from_str_radix(&unique[20..28], 16).unwrap();
    assert_eq!((span_ms, unique.len()), (START_MS - 1_698_796_800_000, 32));
}

#[test]
fn the_first_form_of_a_send_is_understood_as_well() {
    let (mut node, client) = node_with_topic();
    node.ask(client, send_v1("T", 3, "old")).expect(response::SUCCESS);
    assert_eq!(node.ask(client, pull("g", "T", 3, 0)).messages(), ["old"]);
}

#[test]
fn a_sender_that_names_no_queue_gets_each_in_turn() {
    let (mut node, client) = node_with_topic();
    let mut queues: Vec<i64> =
        (0..8).map(|_| node.ask(client, send("T", -1, "x")).expect(0).number("queueId")).collect();
    queues.sort_unstable();
    assert_eq!(queues, [0, 0, 1, 1, 2, 2, 3, 3]);
}

#[test]
fn a_one_way_send_is_stored_and_never_answered() {
    let (mut node, client) = node_with_topic();
    let sent = node.send(client, &send("T", 0, "x").oneway());
    let refused = node.send(client, &send("T", 99, "x").oneway());
    assert!(node.reply(client, sent).is_none() && node.reply(client, refused).is_none());
    assert_eq!(node.ask(client, pull("g", "T", 0, 0)).messages(), ["x"]);
}

#[test]
fn messages_of_one_turn_keep_their_order_in_each_queue() {
    let (mut node, one) = node_with_topic();
    let two = node.connect();
    let sends: Vec<_> = (0..12)
        .map(|at| (if at % 3 == 0 { two } else { one }, send("T", at % 2, at.to_string())))
        .collect();
    let opaques = node.send_together(&sends);
    for (at, ((conn, _), opaque)) in sends.iter().zip(opaques).enumerate() {
        let reply = node.reply(*conn, opaque).unwrap().expect(response::SUCCESS);
        assert_eq!(reply.number("queueOffset"), at as i64 / 2);
    }
    assert_eq!(node.ask(one, pull("g", "T", 1, 0)).messages(), ["1", "3", "5", "7", "9", "11"]);
}

#[test]
fn a_batch_is_stored_as_many_messages_with_consecutive_offsets() {
    let (mut node, client) = node_with_topic();
    node.ask(client, send("T", 0, "before")).expect(response::SUCCESS);
    let entries =
        [("a", "UNIQ_KEY\u{1}U1\u{2}TAGS\u{1}x\u{2}"), ("b", "UNIQ_KEY\u{1}U2"), ("c", "")];
    let batch = send_batch("T", 0, &entries).with("i", "SHARED\u{1}s\u{2}");
    let reply = node.ask(client, batch).expect(response::SUCCESS);
    assert_eq!(reply.number("queueOffset"), 1);
    assert_eq!(reply.ext["transactionId"], "U1");
    let ids: Vec<&str> = reply.ext["msgId"].split(',').collect();
    let read = node.ask(client, pull("g", "T", 0, 1)).expect(response::SUCCESS);
    assert_eq!(read.messages(), ["a", "b", "c"]);
    for ((at, stored), id) in StoredMessages::new(&read.body).enumerate().zip(ids) {
        let stored = stored.unwrap();
        assert_eq!(stored.queue_offset.0, at as u64 + 1);
        let id = OffsetMessageId::parse(id.as_bytes()).unwrap();
        assert_eq!(stored.physical_offset, id.physical_offset);
        assert_eq!(properties::get(stored.properties, b"SHARED"), Some(&b"s"[..]));
        assert!(properties::get(stored.properties, b"UNIQ_KEY").is_some());
    }
    let tagged = pull("g", "T", 0, 1).with("subscription", "x");
    assert_eq!(node.ask(client, tagged).messages(), ["a"]);
}

#[test]
fn the_field_and_not_the_code_makes_a_batch() {
    let (mut node, client) = node_with_topic();
    let batch = send_batch("T", 0, &[("a", ""), ("b", "")]);
    let as_single = Ask { code: request::SEND_MESSAGE_V2, ..batch };
    node.ask(client, as_single).expect(response::SUCCESS);
    assert_eq!(node.ask(client, pull("g", "T", 0, 0)).messages(), ["a", "b"]);
}

#[test]
fn the_largest_message_is_taken() {
    let mut node = Node::with(BrokerOptions::default(), AckLevel::Appended, LARGE);
    let client = node.connect();
    node.ask(client, update_topic("T", 1)).expect(response::SUCCESS);
    let body = vec![b'x'; 4 * 1024 * 1024];
    node.ask(client, send("T", 0, &body)).expect(response::SUCCESS);
    let read = node.ask(client, pull("g", "T", 0, 0)).expect(response::SUCCESS);
    assert_eq!(StoredMessages::new(&read.body).next().unwrap().unwrap().body, body);
    let larger = vec![b'x'; 4 * 1024 * 1024 + 1];
    node.ask(client, send("T", 0, larger)).expect(response::MESSAGE_ILLEGAL);
}

#[test]
fn each_level_is_acknowledged_and_shown_when_it_is_reached() {
    for (level, waits) in
        [(AckLevel::Appended, false), (AckLevel::Written, true), (AckLevel::Flushed, true)]
    {
        let mut node = Node::with(BrokerOptions::default(), level, SMALL);
        let client = node.connect();
        node.ask(client, update_topic("T", 1)).expect(response::SUCCESS);
        node.hold(Part::LogWrites);
        let sent = node.send(client, &send("T", 0, "x"));
        let no_wait = node.send(client, &send("T", 0, "y").with("i", "WAIT\u{1}false\u{2}"));
        let no_wait = node.reply(client, no_wait).unwrap().expect(response::SUCCESS);
        assert_eq!(no_wait.number("queueOffset"), 1, "it needs only to be appended");
        let max = ask(request::GET_MAX_OFFSET).with("topic", "T").with("queueId", 0);
        let seen = node.ask(client, max.clone()).number("offset");
        assert_eq!(seen, if waits { 0 } else { 2 }, "{level}");
        if waits {
            assert!(node.reply(client, sent).is_none(), "{level}");
            node.release(Part::LogWrites);
            node.pass(1_000);
            assert_eq!(node.ask(client, max).number("offset"), 2);
        }
        node.reply(client, sent).unwrap().expect(response::SUCCESS);
    }
}

#[test]
fn a_durability_that_takes_too_long_is_told_with_the_whole_reply() {
    let mut node = Node::with(BrokerOptions::default(), AckLevel::Flushed, SMALL);
    let client = node.connect();
    node.ask(client, update_topic("T", 1)).expect(response::SUCCESS);
    node.hold(Part::LogWrites);
    let sent = node.send(client, &send("T", 0, "x"));
    node.pass(4_999);
    assert!(node.reply(client, sent).is_none());
    node.pass(1);
    let reply = node.reply(client, sent).unwrap().expect(response::FLUSH_DISK_TIMEOUT);
    assert_eq!(reply.number("queueOffset"), 0);
    assert!(!reply.ext["msgId"].is_empty());
}
