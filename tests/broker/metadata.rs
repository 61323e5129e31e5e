//! What the metadata thread would keep of one shard, in plain maps.

use std::collections::BTreeMap;

use ringmq::base::group::GroupConfig;
use ringmq::base::metadata::{DataVersion, Durable, TopicRecord};
use ringmq::base::topic::TopicConfig;
use ringmq::base::{LogOffset, TopicId};
use ringmq::broker::effect::MetaChange;
use ringmq::broker::{OffsetChange, Restored, TopicMade, journaled_positions};

/// Metadata that is durable.
#[derive(Clone, Default)]
pub struct Metadata {
    pub topics: BTreeMap<String, TopicRecord>,
    pub topic_version: DataVersion,
    pub groups: BTreeMap<String, GroupConfig>,
    pub group_version: DataVersion,
    pub offsets: BTreeMap<(String, String, u32), i64>,
    pub options: BTreeMap<String, String>,
    deleted: BTreeMap<String, LogOffset>,
    next_id: u32,
    /// Changes made, in their order.
    pub log: Vec<MetaChange>,
}

impl Metadata {
    pub fn apply(&mut self, change: MetaChange) -> Durable {
        self.log.push(change.clone());
        match change {
            MetaChange::PutTopic { config } => {
                let (record, changed) = self.put_topic(config);
                Durable::Topic { record, version: self.topic_version, changed }
            }
            MetaChange::DeleteTopic { name, log_end } => {
                if self.topics.remove(&name).is_some() {
                    self.topic_version.counter += 1;
                    self.offsets.retain(|(_, topic, _), _| *topic != name);
                    self.deleted.insert(name, log_end);
                }
                Durable::TopicDeleted { version: self.topic_version }
            }
            MetaChange::PutGroup { config } => {
                let name = config.name.clone();
                if self.groups.insert(name, config.clone()).as_ref() != Some(&config) {
                    self.group_version.counter += 1;
                }
                Durable::Group { config, version: self.group_version }
            }
            MetaChange::DeleteGroup { name, with_offsets } => {
                if self.groups.remove(&name).is_some() {
                    self.group_version.counter += 1;
                }
                if with_offsets {
                    self.offsets.retain(|(group, _, _), _| *group != name);
                }
                Durable::GroupDeleted { version: self.group_version }
            }
            MetaChange::PutOptions { options } => {
                self.options.extend(options);
                Durable::Kept
            }
            MetaChange::Offsets { changes } => {
                for OffsetChange { group, topic, queue, offset } in changes {
                    self.offsets.insert((group, topic, queue), offset);
                }
                Durable::Kept
            }
        }
    }

    /// The topic is made unless it is there.
    pub fn create(&mut self, config: TopicConfig) -> TopicMade {
        let record = match self.topics.get(&config.name) {
            Some(record) => record.clone(),
            None => self.put_topic(config).0,
        };
        TopicMade { record, version: self.topic_version }
    }

    fn put_topic(&mut self, config: TopicConfig) -> (TopicRecord, bool) {
        let name = config.name.clone();
        let record = match self.topics.get(&name) {
            Some(record) if record.config == config => return (record.clone(), false),
            Some(record) => TopicRecord { config, ..record.clone() },
            None => {
                self.next_id += 1;
                let birth = self.deleted.remove(&name).unwrap_or_default();
                TopicRecord { id: TopicId(self.next_id), birth, config }
            }
        };
        self.topic_version.counter += 1;
        self.topics.insert(name, record.clone());
        (record, true)
    }

    /// Positions of a journal that outlived its process.
    pub fn take_in(&mut self, journal: &[Vec<u8>]) {
        let name_of = |id| {
            let topic = self.topics.iter().find(|(_, topic)| topic.id == id);
            topic.map(|(name, _)| name.as_str())
        };
        let entries = journal.iter().map(Vec::as_slice);
        let positions =
            journaled_positions(entries, name_of, |group| self.groups.contains_key(group));
        for OffsetChange { group, topic, queue, offset } in positions {
            self.offsets.insert((group, topic, queue), offset);
        }
    }

    /// What a start finds.
    pub fn restored(&self) -> Restored {
        let offsets = self.offsets.iter().map(|((group, topic, queue), offset)| OffsetChange {
            group: group.clone(),
            topic: topic.clone(),
            queue: *queue,
            offset: *offset,
        });
        Restored {
            topics: self.topics.values().cloned().collect(),
            topic_version: self.topic_version,
            groups: self.groups.values().cloned().collect(),
            group_version: self.group_version,
            offsets: offsets.collect(),
            options: self.options.clone().into_iter().collect(),
        }
    }
}
