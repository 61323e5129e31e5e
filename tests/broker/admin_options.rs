//! Options that operators read and set while the broker runs.

use ringmq::base::names::AUTO_CREATE_MODEL;
use ringmq::base::topic::TopicConfig;
use ringmq::wire::StoredMessages;
use ringmq::wire::code::{request, response};

use crate::frames::{Ask, ask, pull, send, update_topic};
use crate::node::{Node, Part};

fn set(text: &str) -> Ask {
    ask(request::UPDATE_BROKER_CONFIG).body(text)
}

fn options(node: &mut Node) -> String {
    let client = node.connect();
    node.ask(client, ask(request::GET_BROKER_CONFIG)).expect(response::SUCCESS).text()
}

fn shown(node: &Node, topic: &str) -> Option<TopicConfig> {
    let last = &node.published.last().expect("published").1;
    last.iter().find(|config| config.name == topic).cloned()
}

#[test]
fn options_are_read_as_properties_with_a_version() {
    let mut node = Node::new();
    let client = node.connect();
    let before = node.ask(client, ask(request::GET_BROKER_CONFIG)).expect(response::SUCCESS);
    assert!(before.text().contains("autoCreateTopicEnable=true\n"));
    assert!(before.ext["version"].contains("\"counter\":"));
    node.ask(client, set("longPollingEnable=false\n")).expect(response::SUCCESS);
    let after = node.ask(client, ask(request::GET_BROKER_CONFIG)).expect(response::SUCCESS);
    assert!(after.text().contains("longPollingEnable=false\n"));
    assert_ne!(after.ext["version"], before.ext["version"]);
}

#[test]
fn options_act_once_they_are_durable_and_survive_a_restart() {
    let mut node = Node::new();
    let client = node.connect();
    node.hold(Part::Metadata);
    let asked = node.send(client, &set("maxMessageSize=10"));
    assert!(options(&mut node).contains("maxMessageSize=4194304"));
    assert!(node.reply(client, asked).is_none());
    node.release(Part::Metadata);
    node.reply(client, asked).unwrap().expect(response::SUCCESS);
    node.ask(client, send("T", 0, "12345678901")).expect(response::MESSAGE_ILLEGAL);
    node.restart();
    assert!(options(&mut node).contains("maxMessageSize=10\n"));
}

#[test]
fn what_has_no_effect_here_is_named_and_not_kept() {
    let mut node = Node::new();
    let client = node.connect();
    let reply = node.ask(client, set("deleteWhen=05\n")).expect(response::SUCCESS);
    assert!(reply.remark().contains("deleteWhen"));
    let both = set("deleteWhen=05\nautoCreateTopicEnable=false\n");
    let reply = node.ask(client, both).expect(response::SUCCESS);
    assert!(reply.remark().contains("deleteWhen"));
    assert!(!options(&mut node).contains("deleteWhen"));
    assert_eq!(node.metadata.options.len(), 1);
}

#[test]
fn one_refused_option_leaves_all_as_they_were() {
    let mut node = Node::new();
    let client = node.connect();
    for (line, code) in [
        ("noSuchOption=1", response::INVALID_PARAMETER),
        ("maxMessageSize=-1", response::INVALID_PARAMETER),
        ("nonsense", response::INVALID_PARAMETER),
        ("rocketmqHome=/", response::NO_PERMISSION),
    ] {
        let text = format!("longPollingEnable=false\n{line}\n");
        node.ask(client, set(&text)).expect(code);
    }
    assert!(options(&mut node).contains("longPollingEnable=true"));
    assert!(node.metadata.options.is_empty());
    node.ask(client, set("")).expect(response::SUCCESS);
}

#[test]
fn switching_auto_creation_off_takes_its_model_from_the_routes_and_on_brings_it_back() {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, send("A", 0, "x")).expect(response::SUCCESS);
    let version = node.published.last().unwrap().0;
    assert!(shown(&node, AUTO_CREATE_MODEL).is_some());

    node.ask(client, set("autoCreateTopicEnable=false")).expect(response::SUCCESS);
    assert!(shown(&node, AUTO_CREATE_MODEL).is_none());
    assert!(node.published.last().unwrap().0.counter > version.counter);
    node.ask(client, send("B", 0, "x")).expect(response::TOPIC_NOT_EXIST);

    node.restart();
    let client = node.connect();
    node.ask(client, send("B", 0, "x")).expect(response::TOPIC_NOT_EXIST);
    node.ask(client, set("autoCreateTopicEnable=true")).expect(response::SUCCESS);
    assert!(shown(&node, AUTO_CREATE_MODEL).is_some());
    node.ask(client, send("B", 0, "x")).expect(response::SUCCESS);
}

#[test]
fn a_later_topic_has_a_later_version_than_a_setting_that_was_shown() {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, set("autoCreateTopicEnable=false")).expect(response::SUCCESS);
    let version = node.published.last().unwrap().0;
    node.ask(client, update_topic("A", 4)).expect(response::SUCCESS);
    assert!(node.published.last().unwrap().0.counter > version.counter);
}

#[test]
fn a_setting_that_changes_routes_is_answered_when_the_name_servers_know_it() {
    let mut node = Node::new();
    let client = node.connect();
    node.hold(Part::Publishing);
    let asked = node.send(client, &set("brokerPermission=4"));
    assert!(node.reply(client, asked).is_none());
    node.release(Part::Publishing);
    node.reply(client, asked).unwrap().expect(response::SUCCESS);
}

#[test]
fn the_number_of_queues_of_new_topics_can_be_raised_while_running() {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, set("defaultTopicQueueNums=16")).expect(response::SUCCESS);
    assert_eq!(shown(&node, AUTO_CREATE_MODEL).unwrap().write_queues, 16);
    node.ask(client, send("A", 0, "x").with("d", 12)).expect(response::SUCCESS);
    assert_eq!(node.created.last().unwrap().write_queues, 12);
}

#[test]
fn the_brokers_permission_bounds_that_of_its_topics() {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, update_topic("A", 4)).expect(response::SUCCESS);
    node.ask(client, set("brokerPermission=4")).expect(response::SUCCESS);
    assert_eq!(shown(&node, "A").unwrap().perm, 4);
    assert_eq!(shown(&node, AUTO_CREATE_MODEL).unwrap().perm, 5, "other bits stay");
    node.ask(client, set("brokerPermission=2")).expect(response::SUCCESS);
    node.ask(client, pull("g", "A", 0, 0)).expect(response::NO_PERMISSION);
    node.ask(client, set("brokerPermission=6")).expect(response::SUCCESS);
    assert_eq!(shown(&node, "A").unwrap().perm, 6);
}

#[test]
fn trace_on_changes_replies_and_messages_at_once() {
    let mut node = Node::new();
    let client = node.connect();
    for on in ["true", "false"] {
        node.ask(client, set(&format!("traceOn={on}"))).expect(response::SUCCESS);
        let sent = node.ask(client, send("A", 0, "x")).expect(response::SUCCESS);
        assert_eq!(sent.ext["TRACE_ON"], on);
        let read = node.ask(client, pull("g", "A", 0, sent.number("queueOffset"))).expect(0);
        let message = StoredMessages::new(&read.body).next().unwrap().unwrap();
        let properties = String::from_utf8_lossy(message.properties);
        assert!(properties.contains(&format!("TRACE_ON\u{1}{on}\u{2}")), "{properties}");
    }
}

#[test]
fn retention_follows_its_options() {
    let mut node = Node::new();
    let client = node.connect();
    let text = "fileReservedTime=24\ndiskMaxUsedSpaceRatio=60\n";
    node.ask(client, set(text)).expect(response::SUCCESS);
    let rules = node.shard.store.disk().rules;
    assert_eq!((rules.age_ms_max, rules.hurry_at.0), (24 * 3_600_000, 600));
    node.restart();
    assert_eq!(node.shard.store.disk().rules, rules);
}
