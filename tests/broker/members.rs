//! Clients come and go.

use ringmq::wire::body::from_bytes;
use ringmq::wire::body::heartbeat::{ConsumeType, Heartbeat, MessageModel};
use ringmq::wire::body::lists::ConsumerIdList;
use ringmq::wire::code::{request, response};

use crate::frames::{Ask, ask, consumer_beat, heartbeat, held_pull, producer_beat, update_topic};
use crate::node::{Node, Part};

fn members(group: &str) -> Ask {
    ask(request::GET_CONSUMER_LIST_BY_GROUP).with("consumerGroup", group)
}

fn unregister(client: &str) -> Ask {
    ask(request::UNREGISTER_CLIENT).with("clientID", client)
}

fn ids(node: &mut Node, conn: ringmq::base::ConnId, group: &str) -> Vec<String> {
    let reply = node.ask(conn, members(group)).expect(response::SUCCESS);
    from_bytes::<ConsumerIdList>(&reply.body).unwrap().consumer_id_list
}

#[test]
fn a_heartbeat_makes_the_group_and_its_retry_topic_and_waits_for_its_route() {
    let mut node = Node::new();
    let client = node.connect();
    node.hold(Part::Publishing);
    let beat = node.send(client, &heartbeat(&consumer_beat("c@1", "g", &[("T", "*")])));
    assert!(node.reply(client, beat).is_none(), "first retries need the route");
    node.release(Part::Publishing);
    let reply = node.reply(client, beat).unwrap().expect(response::SUCCESS);
    assert_eq!(reply.ext["IS_SUPPORT_HEART_BEAT_V2"], "true");
    assert_eq!(reply.ext["IS_SUB_CHANGE"], "false");
    assert!(node.metadata.groups.contains_key("g"));
    let retry = &node.metadata.topics["%RETRY%g"].config;
    assert_eq!((retry.write_queues, retry.perm), (1, 6));
    assert_eq!(ids(&mut node, client, "g"), ["c@1"]);

    // Later ones find all of it and are answered at once.
    node.hold(Part::Publishing);
    node.ask(client, heartbeat(&consumer_beat("c@1", "g", &[("T", "*")]))).expect(0);
}

#[test]
fn a_heartbeat_waits_one_second_at_most_for_name_servers() {
    let mut node = Node::new();
    let client = node.connect();
    node.hold(Part::Publishing);
    let beat = node.send(client, &heartbeat(&consumer_beat("c@1", "g", &[])));
    node.pass(1_000);
    node.reply(client, beat).unwrap().expect(response::SUCCESS);
}

#[test]
fn without_automatic_groups_a_stranger_joins_none() {
    let mut node = Node::with_options(&[("autoCreateSubscriptionGroup", "false")]);
    let client = node.connect();
    node.ask(client, heartbeat(&consumer_beat("c@1", "g", &[]))).expect(response::SUCCESS);
    node.ask(client, members("g")).expect(response::SYSTEM_ERROR);
    assert!(node.metadata.groups.is_empty());
    assert!(!node.metadata.topics.contains_key("%RETRY%g"));
}

#[test]
fn all_members_hear_of_one_that_comes_and_of_one_that_goes() {
    let mut node = Node::new();
    let (one, two) = (node.connect(), node.connect());
    node.ask(one, heartbeat(&consumer_beat("c@1", "g", &[("T", "*")]))).expect(0);
    node.requests(one);
    node.ask(two, heartbeat(&consumer_beat("c@2", "g", &[("T", "*")]))).expect(0);
    for conn in [one, two] {
        let [notice] = &node.requests(conn)[..] else { panic!("one notice") };
        assert_eq!(notice.code, request::NOTIFY_CONSUMER_IDS_CHANGED);
        assert_eq!(notice.ext["consumerGroup"], "g");
    }
    node.ask(two, heartbeat(&consumer_beat("c@2", "g", &[("T", "*")]))).expect(0);
    assert!(node.requests(one).is_empty(), "nothing has changed");

    node.hang_up(two);
    assert_eq!(node.requests(one).len(), 1);
    assert_eq!(ids(&mut node, one, "g"), ["c@1"]);
    node.ask(one, unregister("c@1").with("consumerGroup", "g")).expect(response::SUCCESS);
    node.ask(one, members("g")).expect(response::SYSTEM_ERROR);
}

#[test]
fn a_changed_set_of_topics_is_told_but_not_a_newer_version_of_one() {
    let mut node = Node::new();
    let (one, two) = (node.connect(), node.connect());
    for (conn, id) in [(one, "c@1"), (two, "c@2")] {
        node.ask(conn, heartbeat(&consumer_beat(id, "g", &[("T", "*")]))).expect(0);
    }
    node.requests(two);
    let mut newer = consumer_beat("c@1", "g", &[("T", "a")]);
    newer.consumer_data_set[0].subscription_data_set[0].sub_version = 2;
    node.ask(one, heartbeat(&newer)).expect(response::SUCCESS);
    assert!(node.requests(two).is_empty());
    let wider = consumer_beat("c@1", "g", &[("T", "*"), ("U", "*")]);
    node.ask(one, heartbeat(&wider)).expect(response::SUCCESS);
    assert_eq!(node.requests(two).len(), 1);
}

#[test]
fn broadcasting_groups_and_silenced_ones_hear_nothing() {
    let mut node = Node::new();
    let (one, two) = (node.connect(), node.connect());
    let broadcast = |id: &str| {
        let mut beat = consumer_beat(id, "g", &[("T", "*")]);
        beat.consumer_data_set[0].message_model = MessageModel::Broadcasting;
        heartbeat(&beat)
    };
    node.ask(one, broadcast("c@1")).expect(response::SUCCESS);
    node.ask(two, broadcast("c@2")).expect(response::SUCCESS);
    assert!(node.requests(one).is_empty());

    let quiet = r#"{"groupName":"q","notifyConsumerIdsChangedEnable":false}"#;
    node.ask(one, ask(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).body(quiet)).expect(0);
    node.ask(one, heartbeat(&consumer_beat("c@1", "q", &[]))).expect(0);
    node.ask(two, heartbeat(&consumer_beat("c@2", "q", &[]))).expect(0);
    assert!(node.requests(one).is_empty());

    let off = ask(request::UPDATE_BROKER_CONFIG).body("notifyConsumerIdsChangedEnable=false");
    node.ask(one, off).expect(response::SUCCESS);
    node.ask(one, heartbeat(&consumer_beat("c@1", "n", &[]))).expect(0);
    node.ask(two, heartbeat(&consumer_beat("c@2", "n", &[]))).expect(0);
    assert!(node.requests(one).is_empty());
}

#[test]
fn a_client_on_a_new_connection_replaces_its_former_self() {
    let mut node = Node::new();
    let (old, new) = (node.connect(), node.connect());
    node.ask(old, heartbeat(&consumer_beat("c@1", "g", &[]))).expect(0);
    node.ask(new, heartbeat(&consumer_beat("c@1", "g", &[]))).expect(0);
    assert_eq!(ids(&mut node, new, "g"), ["c@1"]);
    node.hang_up(old);
    assert_eq!(ids(&mut node, new, "g"), ["c@1"]);
}

#[test]
fn a_client_that_is_silent_for_two_minutes_is_gone() {
    let mut node = Node::new();
    let (silent, alive) = (node.connect(), node.connect());
    node.ask(silent, heartbeat(&consumer_beat("c@1", "g", &[]))).expect(0);
    for _ in 0..5 {
        node.ask(alive, heartbeat(&consumer_beat("c@2", "g", &[]))).expect(0);
        // Its connection lives, but no heartbeat comes.
        node.ask(silent, members("g")).expect(response::SUCCESS);
        node.pass(30_000);
    }
    assert_eq!(ids(&mut node, alive, "g"), ["c@2"]);
    assert_eq!(node.closed, [silent]);
}

#[test]
fn the_second_form_of_heartbeats_sends_subscriptions_once() {
    let mut node = Node::new();
    let client = node.connect();
    let full = Heartbeat { heartbeat_fingerprint: 77, ..consumer_beat("c@1", "g", &[("T", "*")]) };
    node.ask(client, heartbeat(&full)).expect(response::SUCCESS);
    let mut short = Heartbeat { without_sub: true, ..full.clone() };
    short.consumer_data_set[0].subscription_data_set.clear();
    let reply = node.ask(client, heartbeat(&short)).expect(response::SUCCESS);
    assert_eq!(reply.ext["IS_SUB_CHANGE"], "false");
    let pull = held_pull("g", "T", 0, 0, 1000).with("sysFlag", 2).with("subscription", "");
    node.ask(client, update_topic("T", 1)).expect(response::SUCCESS);
    let held = node.send(client, &pull);
    assert!(node.reply(client, held).is_none(), "the subscription is still known");
    short.heartbeat_fingerprint = 78;
    let reply = node.ask(client, heartbeat(&short)).expect(response::SUCCESS);
    assert_eq!(reply.ext["IS_SUB_CHANGE"], "true", "it shall send them in full");
}

#[test]
fn a_lite_consumer_and_a_producer_may_share_a_connection() {
    let mut node = Node::new();
    let client = node.connect();
    let mut beat = consumer_beat("c@1", "g", &[]);
    beat.consumer_data_set[0].consume_type = ConsumeType::Actively;
    beat.producer_data_set = producer_beat("c@1", "p").producer_data_set;
    node.ask(client, heartbeat(&beat)).expect(response::SUCCESS);
    let producers = ask(request::GET_PRODUCER_CONNECTION_LIST).with("producerGroup", "p");
    node.ask(client, producers.clone()).expect(response::SUCCESS);
    node.ask(client, unregister("c@1").with("producerGroup", "p")).expect(response::SUCCESS);
    node.ask(client, producers).expect(response::SYSTEM_ERROR);
    assert_eq!(ids(&mut node, client, "g"), ["c@1"]);
}

#[test]
fn a_heartbeat_that_is_no_json_is_refused() {
    let mut node = Node::new();
    let client = node.connect();
    node.ask(client, ask(request::HEART_BEAT).body("nonsense")).expect(response::SYSTEM_ERROR);
    node.ask(client, unregister("")).expect(response::INVALID_PARAMETER);
}
