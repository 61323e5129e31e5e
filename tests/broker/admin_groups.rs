//! Operators make, change, list and delete subscription groups.

use ringmq::base::group::{GroupConfig, RetryKind};
use ringmq::wire::body::from_bytes;
use ringmq::wire::body::group::SubscriptionGroupTable;
use ringmq::wire::code::{request, response};

use crate::frames::{Ask, ask, commit, committed, pull, update_topic};
use crate::node::{Node, Part};

fn update(body: &str) -> Ask {
    ask(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).body(body)
}

fn get(group: &str) -> Ask {
    ask(request::GET_SUBSCRIPTIONGROUP_CONFIG).with("group", group)
}

fn delete(group: &str, clean: bool) -> Ask {
    ask(request::DELETE_SUBSCRIPTIONGROUP).with("groupName", group).with("cleanOffset", clean)
}

#[test]
fn a_group_is_made_as_it_is_asked_for_and_answered_when_durable() {
    let mut node = Node::new();
    let client = node.connect();
    node.hold(Part::Metadata);
    let body = r#"{"groupName":"g","retryMaxTimes":3,"attributes":null,"groupRetryPolicy":{"type":"EXPONENTIAL"}}"#;
    let asked = node.send(client, &update(body));
    node.ask(client, get("g")).expect(response::SUBSCRIPTION_GROUP_NOT_EXIST);
    assert!(node.reply(client, asked).is_none());
    node.release(Part::Metadata);
    node.reply(client, asked).unwrap().expect(response::SUCCESS);
    let made = node.ask(client, get("g")).expect(response::SUCCESS);
    let made: GroupConfig = from_bytes(&made.body).unwrap();
    assert_eq!((made.retry_max_times, made.consume_enable), (3, true));
    assert_eq!(made.group_retry_policy.kind, RetryKind::Exponential);
}

#[test]
fn the_same_group_again_is_success_without_a_change() {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, update(r#"{"groupName":"g"}"#)).expect(response::SUCCESS);
    let changes = node.metadata.log.len();
    node.ask(client, update(r#"{"groupName":"g"}"#)).expect(response::SUCCESS);
    assert_eq!(node.metadata.log.len(), changes);
}

#[test]
fn a_group_outside_the_rules_is_invalid() {
    let mut node = Node::new();
    let client = node.connect();
    for body in
        ["{}", r#"{"groupName":"a b"}"#, r#"{"groupName":"g","retryQueueNums":-1}"#, "no json"]
    {
        node.ask(client, update(body)).expect(response::INVALID_PARAMETER);
    }
    let unknown = r#"{"groupName":"g","attributes":{"+colour":"red"}}"#;
    node.ask(client, update(unknown)).expect(response::SYSTEM_ERROR);
    assert!(node.metadata.log.is_empty());
}

#[test]
fn a_list_of_groups_is_made_whole_or_not_at_all() {
    let mut node = Node::new();
    let client = node.connect();
    let list = |groups: &str| {
        ask(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST)
            .body(format!("{{\"groupConfigList\":[{groups}]}}"))
    };
    node.ask(client, list(r#"{"groupName":"a"},{"groupName":""}"#)).expect(29);
    assert!(node.metadata.log.is_empty());
    node.ask(client, list(r#"{"groupName":"a"},{"groupName":"b"}"#)).expect(response::SUCCESS);
    node.ask(client, get("a")).expect(response::SUCCESS);
    node.ask(client, get("b")).expect(response::SUCCESS);
}

#[test]
fn a_disabled_group_may_not_pull() {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, update_topic("T", 1)).expect(response::SUCCESS);
    let off = r#"{"groupName":"g","consumeEnable":false}"#;
    node.ask(client, update(off)).expect(response::SUCCESS);
    node.ask(client, pull("g", "T", 0, 0)).expect(response::NO_PERMISSION);
}

#[test]
fn a_deleted_group_keeps_its_offsets_unless_they_are_to_go() {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, update_topic("T", 1)).expect(response::SUCCESS);
    for (clean, code) in [(false, response::SUCCESS), (true, response::QUERY_NOT_FOUND)] {
        node.ask(client, commit("g", "T", 0, 5)).expect(response::SUCCESS);
        node.pass(6_000);
        node.ask(client, delete("g", clean)).expect(response::SUCCESS);
        node.ask(client, get("g")).expect(response::SUBSCRIPTION_GROUP_NOT_EXIST);
        node.ask(client, committed("g", "T", 0)).expect(code);
        assert_eq!(node.metadata.offsets.is_empty(), clean);
    }
    node.ask(client, delete("never", false)).expect(response::SUCCESS);
}

#[test]
fn no_crash_gives_a_groups_namesake_the_positions_that_were_deleted() {
    let ready = || {
        let mut node = Node::new();
        let client = node.connect();
        node.ask(client, update_topic("T", 1)).expect(response::SUCCESS);
        for offset in [4, 5] {
            // The first is made durable at once, the second only after five seconds.
            node.ask(client, commit("g", "T", 0, offset)).expect(response::SUCCESS);
        }
        (node, client)
    };
    let gone = committed("g", "T", 0).with("setZeroIfNotFound", false);

    let (mut node, client) = ready();
    node.ask(client, delete("g", true)).expect(response::SUCCESS);
    node.ask(client, update(r#"{"groupName":"g"}"#)).expect(response::SUCCESS);
    node.kill();
    let client = node.connect();
    node.ask(client, gone.clone()).expect(response::QUERY_NOT_FOUND);
    // A namesake's own positions are safe.
    node.ask(client, commit("g", "T", 0, 2)).expect(response::SUCCESS);
    node.ask(client, commit("g", "T", 0, 3)).expect(response::SUCCESS);
    node.kill();
    let client = node.connect();
    assert_eq!(node.ask(client, gone.clone()).expect(0).number("offset"), 3);

    // The process ends while the deletion is being made durable: it was not.
    let (mut node, client) = ready();
    node.hold(Part::Metadata);
    node.send(client, &delete("g", true));
    node.kill();
    let client = node.connect();
    node.ask(client, get("g")).expect(response::SUCCESS);
    assert_eq!(node.ask(client, gone.clone()).expect(0).number("offset"), 5);
}

#[test]
fn a_group_whose_deletion_fails_stays_with_its_offsets() {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, update_topic("T", 1)).expect(response::SUCCESS);
    node.ask(client, commit("g", "T", 0, 5)).expect(response::SUCCESS);
    node.metadata_fails = Some("disk full".to_owned());
    node.ask(client, delete("g", true)).expect(response::SYSTEM_ERROR);
    node.metadata_fails = None;
    node.ask(client, get("g")).expect(response::SUCCESS);
    assert_eq!(node.ask(client, committed("g", "T", 0)).number("offset"), 5);
}

#[test]
fn the_last_of_concurrent_changes_of_a_group_counts() {
    let mut node = Node::new();
    let client = node.connect();
    let retries = |n: i32| update(&format!(r#"{{"groupName":"g","retryMaxTimes":{n}}}"#));
    node.ask(client, retries(1)).expect(response::SUCCESS);
    node.hold(Part::Metadata);
    // The second asks for what is there still.
    for n in [2, 1] {
        node.send(client, &retries(n));
    }
    node.release(Part::Metadata);
    let kept = node.ask(client, get("g")).expect(response::SUCCESS);
    assert_eq!(from_bytes::<GroupConfig>(&kept.body).unwrap().retry_max_times, 1);
}

#[test]
fn all_groups_come_in_one_table_or_in_pages() {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, update(r#"{"groupName":"g"}"#)).expect(response::SUCCESS);
    let all = node.ask(client, ask(request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG)).expect(0);
    let all: SubscriptionGroupTable = from_bytes(&all.body).unwrap();
    assert!(all.subscription_group_table.contains_key("g"));
    assert!(all.subscription_group_table.contains_key("TOOLS_CONSUMER"), "groups from birth");
    let page =
        ask(request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG).with("groupSeq", 0).with("maxGroupNum", 2);
    let page = node.ask(client, page).expect(response::SUCCESS);
    assert_eq!(page.number("totalGroupNum"), all.subscription_group_table.len() as i64);
    let page: SubscriptionGroupTable = from_bytes(&page.body).unwrap();
    assert_eq!(page.subscription_group_table.len(), 2);
}

#[test]
fn groups_survive_a_restart() {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, update(r#"{"groupName":"g","retryMaxTimes":7}"#)).expect(response::SUCCESS);
    node.restart();
    let client = node.connect();
    let kept = node.ask(client, get("g")).expect(response::SUCCESS);
    assert_eq!(from_bytes::<GroupConfig>(&kept.body).unwrap().retry_max_times, 7);
}
