//! Metadata: what was answered is there at the next start, and names that were deleted
//! do not inherit old records.

use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use ringmq::base::group::GroupConfig;
use ringmq::base::topic::TopicConfig;
use ringmq::base::{LogOffset, QueueOffset};
use ringmq::control::metadata::{
    Change, Loaded, Metadata, MetadataThread, OffsetEntry, Outcome, Ticket, TopicEffect,
    TopicPlaced, TopicRecord,
};

const SHARDS: u16 = 3;
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

struct Session {
    thread: MetadataThread,
    answers: Receiver<(Ticket, Outcome)>,
    loaded: Loaded,
}

fn open(path: &Path) -> Session {
    let (metadata, loaded) = Metadata::open(&path.join("metadata.redb"), SHARDS).unwrap();
    let (sender, answers) = sync_channel(10_000);
    let deliver =
        move |ticket, outcome: Result<_, _>| sender.send((ticket, outcome.unwrap())).unwrap();
    Session { thread: metadata.start(deliver).unwrap(), answers, loaded }
}

impl Session {
    fn ask(&self, change: Change) -> Outcome {
        let ticket = Ticket { party: 0, token: 42 };
        self.thread.handle().submit(ticket, change).unwrap();
        let (answered, outcome) = self.answers.recv_timeout(ANSWER_WITHIN).unwrap();
        assert_eq!(answered, ticket);
        outcome
    }

    fn topics(&self, change: Change) -> Vec<TopicPlaced> {
        let Outcome::Topics(placed) = self.ask(change) else { panic!("not about topics") };
        placed
    }

    fn close(self) {
        self.thread.close();
    }
}

fn reload(session: Session, path: &Path) -> Session {
    session.close();
    open(path)
}

fn topic(name: &str, queues: u32) -> TopicConfig {
    TopicConfig::new(name, queues, 6)
}

fn put(shard: u16, name: &str) -> Change {
    Change::PutTopic { shards: vec![shard], config: topic(name, 4) }
}

fn offset(topic: &str, group: &str, queue: u32, offset: u64) -> OffsetEntry {
    let (topic, group) = (topic.to_owned(), group.to_owned());
    OffsetEntry { topic, group, queue, offset: QueueOffset(offset) }
}

#[test]
fn a_new_file_is_empty_and_everything_put_is_there_after_a_restart() {
    let root = tempfile::tempdir().unwrap();
    let session = open(root.path());
    assert_eq!(session.loaded.shards.len(), SHARDS as usize);
    assert!(session.loaded.shards.iter().all(|shard| *shard == Default::default()));

    let mut config = topic("Orders", 4);
    config.attributes.insert("ringmq.ack".to_owned(), "flushed".to_owned());
    let put = Change::PutTopic { shards: vec![0, 2], config: config.clone() };
    let placed = session.topics(put);
    let group = GroupConfig { retry_max_times: 3, ..GroupConfig::new("billing") };
    session.ask(Change::PutGroup { shard: 1, config: group.clone() });
    let batch = vec![offset("Orders", "billing", 3, 17), offset("Orders", "billing", 0, 9)];
    session.ask(Change::PutOffsets { shard: 1, batch });
    let options = vec![("longPollingEnable".to_owned(), "false".to_owned())];
    session.ask(Change::PutOptions { shard: 2, options });
    let (namespace, key) = ("ORDER_TOPIC_CONFIG".to_owned(), "Orders".to_owned());
    session.ask(Change::PutValue { namespace, key, value: "broker-0:4".to_owned() });

    let session = reload(session, root.path());
    let [first, second, third] = &session.loaded.shards[..] else { panic!("three shards") };
    assert_eq!(first.topics["Orders"], placed[0].record);
    assert_eq!(first.topics["Orders"].config, config);
    assert_eq!(third.topics["Orders"], placed[1].record);
    assert_eq!(first.topic_version, placed[0].version);
    assert_eq!((first.topic_version.counter, second.topic_version.counter), (1, 0));
    assert!(second.topics.is_empty());
    assert_eq!(second.groups["billing"], group);
    let expected = [offset("Orders", "billing", 0, 9), offset("Orders", "billing", 3, 17)];
    assert_eq!(second.offsets, expected);
    assert_eq!(third.options["longPollingEnable"], "false");
    let key = ("ORDER_TOPIC_CONFIG".to_owned(), "Orders".to_owned());
    assert_eq!(session.loaded.values[&key], "broker-0:4");
    session.close();
}

#[test]
fn a_topic_made_on_all_shards_leaves_existing_ones_as_they_are() {
    let root = tempfile::tempdir().unwrap();
    let session = open(root.path());
    let own = session.topics(Change::PutTopic { shards: vec![1], config: topic("T", 9) });
    let everywhere = Change::CreateTopicOnAllShards { config: topic("T", 4) };
    let placed = session.topics(everywhere.clone());
    let effects = placed.iter().map(|p| (p.shard, p.effect, p.record.config.read_queues));
    let effects: Vec<_> = effects.collect();
    assert_eq!(
        effects,
        [(0, TopicEffect::Made, 4), (1, TopicEffect::Unchanged, 9), (2, TopicEffect::Made, 4)]
    );
    assert_eq!(placed[1].record, own[0].record);
    // The one who came second gets what the first one made.
    let again = session.topics(everywhere);
    assert!(again.iter().all(|place| place.effect == TopicEffect::Unchanged));
    let records = |placed: &[TopicPlaced]| placed.iter().map(|p| p.record.clone()).collect();
    let (before, after): (Vec<TopicRecord>, Vec<_>) = (records(&placed), records(&again));
    assert_eq!(before, after);
    session.close();
}

#[test]
fn the_same_configuration_again_bumps_no_version_and_a_change_does() {
    let root = tempfile::tempdir().unwrap();
    let session = open(root.path());
    let first = session.topics(put(0, "T")).remove(0);
    let same = session.topics(put(0, "T")).remove(0);
    assert_eq!((same.effect, same.version), (TopicEffect::Unchanged, first.version));
    let wider = Change::PutTopic { shards: vec![0], config: topic("T", 8) };
    let changed = session.topics(wider).remove(0);
    assert_eq!(changed.effect, TopicEffect::Changed);
    assert_eq!(changed.record.id, first.record.id, "a change keeps the id");
    assert_eq!(changed.version.counter, first.version.counter + 1);

    let config = GroupConfig::new("g");
    let group = |changed, counter| match session
        .ask(Change::PutGroup { shard: 0, config: config.clone() })
    {
        Outcome::Group { changed: found, version, .. } => {
            assert_eq!((found, version.counter), (changed, counter));
        }
        other => panic!("{other:?}"),
    };
    group(true, 1);
    group(false, 1);
    session.close();
}

#[test]
fn ids_are_never_used_again_and_a_namesake_is_born_where_the_deleted_one_ended() {
    let root = tempfile::tempdir().unwrap();
    let mut session = open(root.path());
    let mut ids = Vec::new();
    for end in [1_000, 2_000, 3_000] {
        let made = session.topics(put(1, "T")).remove(0).record;
        assert_eq!(made.birth, LogOffset(end - 1_000));
        ids.push(made.id);
        let log_end = LogOffset(end);
        let delete = Change::DeleteTopic { shard: 1, name: "T".to_owned(), log_end };
        match session.ask(delete) {
            Outcome::TopicDeleted { record: Some(record), .. } => assert_eq!(record, made),
            other => panic!("{other:?}"),
        }
        session = reload(session, root.path());
        assert!(session.loaded.shards[1].topics.is_empty());
    }
    ids.dedup();
    assert_eq!(ids.len(), 3);
    let elsewhere = session.topics(put(0, "T")).remove(0).record;
    assert_eq!(elsewhere.birth, LogOffset(0), "another shard's topic was never deleted");
    session.close();
}

#[test]
fn a_topic_that_never_was_is_deleted_without_a_trace() {
    let root = tempfile::tempdir().unwrap();
    let session = open(root.path());
    let delete = Change::DeleteTopic { shard: 0, name: "T".to_owned(), log_end: LogOffset(500) };
    match session.ask(delete) {
        Outcome::TopicDeleted { record: None, version, .. } => assert_eq!(version.counter, 0),
        other => panic!("{other:?}"),
    }
    assert_eq!(session.topics(put(0, "T")).remove(0).record.birth, LogOffset(0));
    session.close();
}

/// A topic was deleted at 1000 and a power cut took the log back to 600: new records of
/// a namesake come there, and must be its own.
#[test]
fn a_log_that_lost_its_end_takes_births_back_with_it() {
    let root = tempfile::tempdir().unwrap();
    let session = open(root.path());
    for name in ["made again", "still deleted", "early"] {
        session.topics(put(0, name));
        let log_end = LogOffset(if name == "early" { 100 } else { 1_000 });
        session.ask(Change::DeleteTopic { shard: 0, name: name.to_owned(), log_end });
    }
    assert_eq!(session.topics(put(0, "made again")).remove(0).record.birth, LogOffset(1_000));
    session.ask(Change::CutLog { shard: 0, log_end: LogOffset(600) });
    assert_eq!(session.topics(put(0, "made again")).remove(0).record.birth, LogOffset(600));
    assert_eq!(session.topics(put(0, "still deleted")).remove(0).record.birth, LogOffset(600));
    assert_eq!(session.topics(put(0, "early")).remove(0).record.birth, LogOffset(100));
    session.close();
}

#[test]
fn deleted_names_are_forgotten_once_the_log_begins_behind_them() {
    let root = tempfile::tempdir().unwrap();
    let session = open(root.path());
    for (name, end) in [("old", 100), ("new", 300)] {
        session.topics(put(0, name));
        let log_end = LogOffset(end);
        session.ask(Change::DeleteTopic { shard: 0, name: name.to_owned(), log_end });
    }
    session.ask(Change::ForgetDeleted { shard: 0, log_start: LogOffset(200) });
    assert_eq!(session.topics(put(0, "old")).remove(0).record.birth, LogOffset(0));
    assert_eq!(session.topics(put(0, "new")).remove(0).record.birth, LogOffset(300));
    session.close();
}

#[test]
fn offsets_go_with_their_topic_their_group_or_by_themselves() {
    let root = tempfile::tempdir().unwrap();
    let session = open(root.path());
    session.topics(put(0, "a"));
    session.ask(Change::PutGroup { shard: 0, config: GroupConfig::new("g") });
    let all = [("a", "g"), ("a", "h"), ("ab", "g"), ("ab", "h"), ("b", "g"), ("b", "h")];
    let batch = |shard| {
        let entries = all.iter().flat_map(|(t, g)| [offset(t, g, 0, 1), offset(t, g, 7, 2)]);
        Change::PutOffsets { shard, batch: entries.collect() }
    };
    session.ask(batch(0));
    session.ask(batch(1));
    let name = "a".to_owned();
    session.ask(Change::DeleteTopic { shard: 0, name, log_end: LogOffset(0) });
    let (topic, group) = ("b".to_owned(), "h".to_owned());
    session.ask(Change::DeleteOffsets { shard: 0, topic, group });
    let name = "g".to_owned();
    session.ask(Change::DeleteGroup { shard: 0, name, with_offsets: true });
    let session = reload(session, root.path());
    let left = [offset("ab", "h", 0, 1), offset("ab", "h", 7, 2)];
    assert_eq!(session.loaded.shards[0].offsets, left);
    assert_eq!(session.loaded.shards[1].offsets.len(), 12, "another shard keeps its own");
    assert!(session.loaded.shards[0].groups.is_empty());
    session.close();
}

#[test]
fn values_of_the_name_server_are_put_replaced_and_deleted() {
    let root = tempfile::tempdir().unwrap();
    let session = open(root.path());
    let key = || ("ns".to_owned(), "k".to_owned());
    for value in ["1", "2"] {
        let ((namespace, key), value) = (key(), value.to_owned());
        session.ask(Change::PutValue { namespace, key, value });
    }
    let session = reload(session, root.path());
    assert_eq!(session.loaded.values[&key()], "2");
    let delete = || Change::DeleteValue { namespace: key().0, key: key().1 };
    assert_eq!(session.ask(delete()), Outcome::ValueDeleted { existed: true });
    assert_eq!(session.ask(delete()), Outcome::ValueDeleted { existed: false });
    session.close();
}
