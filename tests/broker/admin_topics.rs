//! Operators make, change, list and delete topics.

use ringmq::base::AckLevel;
use ringmq::base::names::AUTO_CREATE_MODEL;
use ringmq::base::options::BrokerOptions;
use ringmq::base::topic::{FilterType, TopicConfig};
use ringmq::wire::body::from_bytes;
use ringmq::wire::body::lists::TopicList;
use ringmq::wire::body::topic::TopicConfigTable;
use ringmq::wire::code::{request, response};

use crate::frames::{
    Ask, Frame, ask, commit, committed, consumer_beat, heartbeat, held_pull, pull, send,
    update_topic,
};
use crate::node::{BROKER, CLUSTER, Node, Part, SMALL};

fn get_topic(topic: &str) -> Ask {
    ask(request::GET_TOPIC_CONFIG).with("topic", topic)
}

fn delete_topic(topic: &str) -> Ask {
    ask(request::DELETE_TOPIC_IN_BROKER).with("topic", topic)
}

fn config(frame: Frame) -> TopicConfig {
    from_bytes(&frame.expect(response::SUCCESS).body).unwrap()
}

#[test]
fn a_topic_is_made_as_it_is_asked_for() {
    let mut node = Node::new();
    let client = node.connect();
    let wanted = update_topic("Orders", 4)
        .with("writeQueueNums", 8)
        .with("perm", 4)
        .with("order", true)
        .with("topicFilterType", "MULTI_TAG")
        .with("topicSysFlag", 2)
        .with("attributes", "+message.type=FIFO,+ringmq.ack=flushed");
    node.ask(client, wanted).expect(response::SUCCESS);
    let made = config(node.ask(client, get_topic("Orders")));
    assert_eq!((made.read_queues, made.write_queues, made.perm), (4, 8, 4));
    assert_eq!((made.order, made.sys_flag), (true, 2));
    assert_eq!(made.filter_type, FilterType::MultiTag);
    assert_eq!(made.attributes["ringmq.ack"], "flushed");
    assert!(node.created.is_empty(), "a tool's topic is made on the shard it asks");
    node.ask(client, get_topic("Others")).expect(response::TOPIC_NOT_EXIST);
}

#[test]
fn an_update_answers_after_it_is_durable_and_published() {
    let mut node = Node::new();
    let client = node.connect();
    node.hold(Part::Metadata);
    node.hold(Part::Publishing);
    let asked = node.send(client, &update_topic("Orders", 4));
    node.ask(client, get_topic("Orders")).expect(response::TOPIC_NOT_EXIST);
    assert!(node.reply(client, asked).is_none());
    node.release(Part::Metadata);
    assert!(node.reply(client, asked).is_none(), "the name servers do not know it yet");
    node.ask(client, get_topic("Orders")).expect(response::SUCCESS);
    node.release(Part::Publishing);
    node.reply(client, asked).unwrap().expect(response::SUCCESS);
}

#[test]
fn name_servers_that_do_not_answer_hold_an_update_up_for_one_second() {
    let mut node = Node::new();
    let client = node.connect();
    node.hold(Part::Publishing);
    let asked = node.send(client, &update_topic("Orders", 4));
    node.pass(999);
    assert!(node.reply(client, asked).is_none());
    node.pass(1);
    node.reply(client, asked).unwrap().expect(response::SUCCESS);
}

#[test]
fn an_update_that_cannot_be_kept_is_an_error_and_changes_nothing() {
    let mut node = Node::new();
    let client = node.connect();
    node.metadata_fails = Some("cannot keep a change of the metadata: disk full".to_owned());
    let refused = node.ask(client, update_topic("Orders", 4)).expect(response::SYSTEM_ERROR);
    assert!(refused.remark().contains("disk full"));
    node.ask(client, get_topic("Orders")).expect(response::TOPIC_NOT_EXIST);
}

#[test]
fn the_same_configuration_again_is_success_without_a_new_version() {
    let mut node = Node::new();
    let client = node.connect();
    let wanted = update_topic("Orders", 4).with("attributes", "+queue.type=SimpleCQ");
    node.ask(client, wanted.clone()).expect(response::SUCCESS);
    let (version, published) = (node.metadata.topic_version, node.published.len());
    node.ask(client, wanted).expect(response::SUCCESS);
    node.ask(client, update_topic("Orders", 4)).expect(response::SUCCESS);
    assert_eq!((node.metadata.topic_version, node.published.len()), (version, published));
    node.ask(client, update_topic("Orders", 5)).expect(response::SUCCESS);
    assert!(node.metadata.topic_version.counter > version.counter);
}

#[test]
fn attributes_are_edited_under_their_rules() {
    let mut node = Node::new();
    let client = node.connect();
    let edit = |edits: &str| update_topic("Orders", 4).with("attributes", edits);
    node.ask(client, edit("-message.type")).expect(response::SYSTEM_ERROR);
    node.ask(client, edit("+queue.type=SimpleCQ,+ringmq.ack=written")).expect(response::SUCCESS);
    node.ask(client, edit("-ringmq.ack,+message.type=DELAY")).expect(response::SUCCESS);
    let made = config(node.ask(client, get_topic("Orders")));
    assert_eq!(made.attributes.keys().collect::<Vec<_>>(), ["message.type", "queue.type"]);
    for edits in ["-queue.type", "+ringmq.ack=often", "+cleanup.policy=COMPACTION", "+x=y", "oops"]
    {
        let refused = node.ask(client, edit(edits)).expect(response::SYSTEM_ERROR);
        assert!(refused.remark().contains("attribute"), "{edits}: {refused:?}");
    }
    assert_eq!(config(node.ask(client, get_topic("Orders"))), made);
}

#[test]
fn the_ack_attribute_counts_from_the_next_send_on() {
    let mut node = Node::with(BrokerOptions::default(), AckLevel::Appended, SMALL);
    let client = node.connect();
    node.ask(client, update_topic("Orders", 1)).expect(response::SUCCESS);
    node.hold(Part::LogWrites);
    node.ask(client, send("Orders", 0, "at once")).expect(response::SUCCESS);
    let attribute = update_topic("Orders", 1).with("attributes", "+ringmq.ack=written");
    node.ask(client, attribute).expect(response::SUCCESS);
    let sent = node.send(client, &send("Orders", 0, "later"));
    assert!(node.reply(client, sent).is_none());
    node.release(Part::LogWrites);
    node.reply(client, sent).unwrap().expect(response::SUCCESS);
}

#[test]
fn numbers_and_names_outside_their_rules_are_invalid() {
    let mut node = Node::new();
    let client = node.connect();
    for (field, value) in [
        ("topic", "no spaces"),
        ("topic", "a/b"),
        ("topic", &*"x".repeat(128)),
        ("readQueueNums", "-1"),
        ("writeQueueNums", "65537"),
        ("perm", "16"),
        ("perm", "-2"),
        ("topicFilterType", "SQL"),
        ("topicSysFlag", "-1"),
    ] {
        let asked = update_topic("Orders", 4).with(field, value);
        node.ask(client, asked).expect(response::INVALID_PARAMETER);
    }
    node.ask(client, update_topic("Orders", 4).with("topic", "")).expect(29);
    assert!(node.metadata.log.is_empty());
}

#[test]
fn the_systems_topics_can_neither_be_made_nor_deleted() {
    let mut node = Node::new();
    let client = node.connect();
    for topic in [AUTO_CREATE_MODEL, CLUSTER, BROKER, "rmq_sys_any", "DefaultCluster_REPLY_TOPIC"] {
        node.ask(client, update_topic(topic, 4)).expect(response::INVALID_PARAMETER);
        node.ask(client, delete_topic(topic)).expect(response::INVALID_PARAMETER);
    }
    assert!(node.metadata.log.is_empty());
}

#[test]
fn a_list_of_topics_is_made_whole_or_not_at_all() {
    let mut node = Node::new();
    let client = node.connect();
    let list = |topics: &str| {
        ask(request::UPDATE_AND_CREATE_TOPIC_LIST)
            .body(format!("{{\"topicConfigList\":[{topics}]}}"))
    };
    let two = r#"{"topicName":"A","perm":6,"attributes":{"+message.type":"FIFO"}},{"topicName":"B","readQueueNums":3}"#;
    node.ask(client, list(&format!("{two},{{\"topicName\":\"a b\"}}"))).expect(29);
    assert!(node.metadata.log.is_empty());
    node.ask(client, list(two)).expect(response::SUCCESS);
    assert_eq!(config(node.ask(client, get_topic("A"))).attributes["message.type"], "FIFO");
    assert_eq!(config(node.ask(client, get_topic("B"))).read_queues, 3);
    node.ask(client, list("")).expect(response::SUCCESS);
    node.ask(client, list("{")).expect(response::INVALID_PARAMETER);
}

#[test]
fn a_list_of_which_one_part_cannot_be_kept_is_an_error() {
    let mut node = Node::new();
    let client = node.connect();
    node.metadata_fails = Some("disk full".to_owned());
    let list = r#"{"topicConfigList":[{"topicName":"A"},{"topicName":"B"},{"topicName":"C"}]}"#;
    let asked = ask(request::UPDATE_AND_CREATE_TOPIC_LIST).body(list);
    node.ask(client, asked).expect(response::SYSTEM_ERROR);
}

#[test]
fn all_topics_come_in_one_table_or_in_pages() {
    let mut node = Node::new();
    let client = node.connect();
    for topic in ["A", "B", "C"] {
        node.ask(client, update_topic(topic, 4)).expect(response::SUCCESS);
    }
    let all = node.ask(client, ask(request::GET_ALL_TOPIC_CONFIG)).expect(response::SUCCESS);
    assert!(!all.ext.contains_key("totalTopicNum"));
    let all: TopicConfigTable = from_bytes(&all.body).unwrap();
    assert_eq!(all.topic_config_table["B"].read_queues, 4);
    assert!(all.topic_config_table.contains_key(AUTO_CREATE_MODEL));
    assert_eq!(all.data_version.counter, node.metadata.topic_version.counter);

    let version = serde_json::to_string(&all.data_version).unwrap();
    let (mut names, mut from) = (Vec::new(), 0);
    loop {
        let page = ask(request::GET_ALL_TOPIC_CONFIG)
            .with("topicSeq", from)
            .with("maxTopicNum", 4)
            .with("dataVersion", &version);
        let page = node.ask(client, page).expect(response::SUCCESS);
        assert_eq!(page.number("totalTopicNum"), all.topic_config_table.len() as i64);
        let rows = from_bytes::<TopicConfigTable>(&page.body).unwrap().topic_config_table;
        if rows.is_empty() {
            break;
        }
        from += rows.len();
        names.extend(rows.into_keys());
    }
    assert!(names.iter().eq(all.topic_config_table.keys()), "{names:?}");
}

#[test]
fn the_systems_topics_are_listed() {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, update_topic("Orders", 4)).expect(response::SUCCESS);
    let list = node.ask(client, ask(request::GET_SYSTEM_TOPIC_LIST_FROM_BROKER)).expect(0);
    let list: TopicList = from_bytes(&list.body).unwrap();
    assert!(list.topic_list.contains(&"SELF_TEST_TOPIC".to_owned()));
    assert!(list.topic_list.contains(&CLUSTER.to_owned()));
    assert!(!list.topic_list.contains(&"Orders".to_owned()));
}

#[test]
fn a_deletion_takes_offsets_along_and_ends_held_pulls_with_code_17() {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, update_topic("Orders", 2)).expect(response::SUCCESS);
    node.ask(client, send("Orders", 0, "x")).expect(response::SUCCESS);
    node.ask(client, commit("g", "Orders", 0, 1)).expect(response::SUCCESS);
    node.pass(6_000);
    assert!(!node.metadata.offsets.is_empty());
    let held = node.send(client, &held_pull("g", "Orders", 0, 1, 20_000));
    assert!(node.reply(client, held).is_none());

    node.ask(client, delete_topic("Orders")).expect(response::SUCCESS);
    node.reply(client, held).unwrap().expect(response::TOPIC_NOT_EXIST);
    node.ask(client, get_topic("Orders")).expect(response::TOPIC_NOT_EXIST);
    node.ask(client, pull("g", "Orders", 0, 0)).expect(response::TOPIC_NOT_EXIST);
    node.ask(client, committed("g", "Orders", 0)).expect(response::QUERY_NOT_FOUND);
    assert!(node.metadata.offsets.is_empty());
    let last = &node.published.last().unwrap().1;
    assert!(last.iter().all(|topic| topic.name != "Orders"));
    node.ask(client, delete_topic("Orders")).expect(response::SUCCESS);
}

#[test]
fn a_topic_made_again_begins_anew_also_after_a_restart() {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, update_topic("Orders", 1)).expect(response::SUCCESS);
    for body in ["old one", "old two"] {
        node.ask(client, send("Orders", 0, body)).expect(response::SUCCESS);
    }
    node.ask(client, delete_topic("Orders")).expect(response::SUCCESS);
    node.ask(client, update_topic("Orders", 1)).expect(response::SUCCESS);
    let sent = node.ask(client, send("Orders", 0, "new")).expect(response::SUCCESS);
    assert_eq!(sent.number("queueOffset"), 0);
    let record = &node.metadata.topics["Orders"];
    assert!(record.birth.0 > 0, "records below belong to the namesake");
    node.restart();
    let client = node.connect();
    let read = node.ask(client, pull("g", "Orders", 0, 0)).expect(response::SUCCESS);
    assert_eq!(read.messages(), ["new"]);
}

/// Records that came behind the log's end which a deletion keeps would turn up in the
/// next topic of that name.
#[test]
fn nothing_is_sent_to_a_topic_whose_deletion_is_under_way() {
    let mut node = Node::with_options(&[("autoCreateTopicEnable", "false")]);
    let client = node.connect();
    node.ask(client, update_topic("Orders", 1)).expect(response::SUCCESS);
    node.hold(Part::Metadata);
    let other = node.connect();
    let asks = [(other, send("Orders", 0, "x")), (client, delete_topic("Orders"))];
    let [early, deleted] = node.send_together(&asks)[..] else { panic!("two requests") };
    node.reply(other, early).unwrap().expect(response::TOPIC_NOT_EXIST);
    node.ask(other, send("Orders", 0, "x")).expect(response::TOPIC_NOT_EXIST);
    assert!(node.reply(client, deleted).is_none());
    node.release(Part::Metadata);
    node.reply(client, deleted).unwrap().expect(response::SUCCESS);
}

#[test]
fn a_topic_whose_deletion_fails_is_there_again_with_all_it_had() {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, update_topic("Orders", 1)).expect(response::SUCCESS);
    node.ask(client, send("Orders", 0, "x")).expect(response::SUCCESS);
    node.ask(client, commit("g", "Orders", 0, 1)).expect(response::SUCCESS);
    node.metadata_fails = Some("disk full".to_owned());
    node.ask(client, delete_topic("Orders")).expect(response::SYSTEM_ERROR);
    node.metadata_fails = None;
    let read = node.ask(client, pull("g", "Orders", 0, 0)).expect(response::SUCCESS);
    assert_eq!(read.messages(), ["x"]);
    assert_eq!(node.ask(client, committed("g", "Orders", 0)).number("offset"), 1);
}

#[test]
fn a_deletion_comes_after_an_update_that_is_still_under_way() {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, update_topic("Orders", 1)).expect(response::SUCCESS);
    node.ask(client, send("Orders", 0, "x")).expect(response::SUCCESS);
    node.hold(Part::Metadata);
    let updated = node.send(client, &update_topic("Orders", 8));
    let deleted = node.send(client, &delete_topic("Orders"));
    node.release(Part::Metadata);
    node.reply(client, updated).unwrap().expect(response::SUCCESS);
    node.reply(client, deleted).unwrap().expect(response::SUCCESS);
    node.ask(client, get_topic("Orders")).expect(response::TOPIC_NOT_EXIST);
    let sent = node.ask(client, send("Orders", 0, "y")).expect(response::SUCCESS);
    assert_eq!(sent.number("queueOffset"), 0);
}

#[test]
fn no_crash_gives_a_topics_namesake_the_positions_that_were_deleted() {
    for namesake_before_crash in [true, false] {
        let mut node = Node::new();
        let client = node.connect();
        node.ask(client, update_topic("Orders", 1)).expect(response::SUCCESS);
        node.ask(client, update_topic("Others", 1)).expect(response::SUCCESS);
        for offset in [0, 1] {
            // The first is made durable at once, the second only after five seconds.
            node.ask(client, commit("g", "Orders", 0, offset)).expect(response::SUCCESS);
            node.ask(client, commit("g", "Others", 0, offset)).expect(response::SUCCESS);
        }
        node.ask(client, delete_topic("Orders")).expect(response::SUCCESS);
        if namesake_before_crash {
            node.ask(client, update_topic("Orders", 1)).expect(response::SUCCESS);
        }
        node.kill();
        let client = node.connect();
        node.ask(client, update_topic("Orders", 1)).expect(response::SUCCESS);
        // What a start takes out of the journal is kept for all later ones.
        node.restart();
        let client = node.connect();
        let gone = committed("g", "Orders", 0).with("setZeroIfNotFound", false);
        node.ask(client, gone).expect(response::QUERY_NOT_FOUND);
        let there = node.ask(client, committed("g", "Others", 0)).expect(response::SUCCESS);
        assert_eq!(there.number("offset"), 1);
    }
}

#[test]
fn concurrent_changes_of_a_topic_build_on_each_other() {
    let edit = |edits: &str| update_topic("Orders", 4).with("attributes", edits);
    let mut node = Node::new();
    let (one, other) = (node.connect(), node.connect());
    node.ask(one, edit("+ringmq.ack=written")).expect(response::SUCCESS);
    node.hold(Part::Metadata);
    let first = node.send(one, &edit("+message.type=FIFO"));
    let second = node.send(other, &edit("+reserve.time=1000"));
    let third = node.send(other, &edit("-ringmq.ack"));
    // As it is now, but not as it will be by then.
    let list = r#"{"topicConfigList":[{"topicName":"Orders","readQueueNums":4,"writeQueueNums":4,"perm":6,
        "attributes":{}},{"topicName":"Orders","readQueueNums":2,"writeQueueNums":2,"perm":6}]}"#;
    let last = ask(request::UPDATE_AND_CREATE_TOPIC_LIST).body(list);
    let last = node.send(one, &last);
    assert_eq!(node.waiting(Part::Metadata), 1, "one change at a time");
    node.release(Part::Metadata);
    for (conn, opaque) in [(one, first), (other, second), (other, third), (one, last)] {
        node.reply(conn, opaque).expect("an answer").expect(response::SUCCESS);
    }
    let made = config(node.ask(one, get_topic("Orders")));
    let attributes: Vec<_> = made.attributes.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(attributes, ["message.type=FIFO", "reserve.time=1000"]);
    assert_eq!((made.read_queues, made.write_queues), (2, 2));
}

#[test]
fn a_change_that_waited_is_worked_out_anew_when_the_one_before_fails() {
    let edit = |edits: &str| update_topic("Orders", 4).with("attributes", edits);
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, update_topic("Orders", 4)).expect(response::SUCCESS);
    node.hold(Part::Metadata);
    let fails = node.send(client, &edit("+message.type=FIFO"));
    let waits = node.send(client, &edit("+reserve.time=1000"));
    node.metadata_fails_once = Some("disk full".to_owned());
    node.release(Part::Metadata);
    node.reply(client, fails).expect("an answer").expect(response::SYSTEM_ERROR);
    node.reply(client, waits).expect("an answer").expect(response::SUCCESS);
    let made = config(node.ask(client, get_topic("Orders")));
    assert_eq!(made.attributes.keys().collect::<Vec<_>>(), ["reserve.time"]);
}

#[test]
fn a_change_waits_for_an_earlier_one_only_so_long() {
    let mut node = Node::new();
    let client = node.connect();
    node.hold(Part::Metadata);
    node.send(client, &update_topic("Orders", 4));
    let waits = node.send(client, &update_topic("Orders", 5));
    node.pass(9_900);
    assert!(node.reply(client, waits).is_none());
    node.pass(200);
    let refused = node.reply(client, waits).expect("an answer").expect(response::SYSTEM_ERROR);
    assert!(refused.remark().contains("Orders"), "{}", refused.remark());
}

#[test]
fn system_topics_are_made_once_and_kept() {
    let mut node = Node::new();
    let made = node.metadata.topics.clone();
    assert_eq!(made[AUTO_CREATE_MODEL].config, TopicConfig::new(AUTO_CREATE_MODEL, 8, 7));
    assert_eq!(made["SCHEDULE_TOPIC_XXXX"].config.read_queues, 18);
    node.restart();
    assert_eq!(node.metadata.topics, made);
    let client = node.connect();
    node.ask(client, heartbeat(&consumer_beat("c", "g", &[]))).expect(response::SUCCESS);
    let names = |config: &TopicConfig| config.name.clone();
    let published: Vec<String> = node.published.last().unwrap().1.iter().map(names).collect();
    assert!(made.keys().all(|name| published.contains(name)), "{published:?}");
}
