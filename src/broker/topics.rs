//! The topics of a shard: their configuration, and the queues of each.

use std::collections::HashMap;

use slab::Slab;

use crate::base::group::GroupConfig;
use crate::base::metadata::{DataVersion, TopicRecord};
use crate::base::topic::{ACK_ATTRIBUTE, TRANSFER_ATTRIBUTE, TopicConfig};
use crate::base::transfer::TransferChoice;
use crate::base::{AckLevel, LogOffset, TopicId, names};
use crate::queue::{QueueKey, QueueSlot};
use crate::store::{Owner, Store};

use super::Broker;
use super::context::Context;
use super::effect::Effect;
use super::offsets::Change;

/// All topics of a shard.
#[derive(Debug, Default)]
pub struct Topics {
    slots: Slab<Topic>,
    by_name: HashMap<Box<str>, TopicSlot>,
    /// Topics whose deletion is being made durable: nobody finds them by name.
    leaving: Vec<TopicSlot>,
}

/// A topic's place in the table; stays the same until the topic is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicSlot(u32);

/// One topic.
#[derive(Debug)]
pub struct Topic {
    pub config: TopicConfig,
    pub id: TopicId,
    /// Records below it are a deleted namesake's.
    pub birth: LogOffset,
    pub level: AckLevel,
    /// How its messages are moved; None leaves it to the broker.
    pub transfer: Option<TransferChoice>,
    queues: Vec<Option<QueueSlot>>,
}

impl Topics {
    pub fn find(&self, name: &str) -> Option<TopicSlot> {
        self.by_name.get(name).copied()
    }

    pub fn get(&self, slot: TopicSlot) -> &Topic {
        &self.slots[slot.0 as usize]
    }

    pub fn get_mut(&mut self, slot: TopicSlot) -> &mut Topic {
        &mut self.slots[slot.0 as usize]
    }

    pub fn by_name(&self, name: &str) -> Option<&Topic> {
        self.find(name).map(|slot| self.get(slot))
    }

    /// Adds a topic or changes its configuration; its queues and id stay. Returns a
    /// namesake that it takes the place of.
    pub fn put(&mut self, record: TopicRecord, default: AckLevel) -> Option<Topic> {
        let TopicRecord { id, birth, config } = record;
        let level = level_of(&config, default);
        let transfer = transfer_of(&config);
        let mut replaced = None;
        let same = |slot: &&TopicSlot| self.slots[slot.0 as usize].id == id;
        if self.leaving.iter().any(|slot| same(&slot)) {
            return None; // An update that a deletion has overtaken.
        }
        if let Some(slot) = self.find(&config.name) {
            let topic = self.get_mut(slot);
            if topic.id == id {
                topic.config = config;
                topic.level = level;
                topic.transfer = transfer;
                topic.birth = birth;
                return None;
            }
            replaced = self.remove(&config.name);
        }
        let name = config.name.clone().into_boxed_str();
        let topic = Topic { config, id, birth, level, transfer, queues: Vec::new() };
        let slot = TopicSlot(self.slots.insert(topic) as u32);
        self.by_name.insert(name, slot);
        replaced
    }

    pub fn remove(&mut self, name: &str) -> Option<Topic> {
        let slot = self.by_name.remove(name)?;
        Some(self.slots.remove(slot.0 as usize))
    }

    /// Begins a deletion: the name leads nowhere from now on.
    pub fn hide(&mut self, name: &str) -> Option<TopicSlot> {
        let slot = self.by_name.remove(name)?;
        self.leaving.push(slot);
        Some(slot)
    }

    /// The deletion has failed: the topic is there again, unless its name is taken.
    pub fn unhide(&mut self, slot: TopicSlot) {
        self.leaving.retain(|leaving| *leaving != slot);
        let name = self.get(slot).config.name.clone().into_boxed_str();
        self.by_name.entry(name).or_insert(slot);
    }

    /// The deletion is done.
    pub fn remove_hidden(&mut self, slot: TopicSlot) -> Topic {
        self.leaving.retain(|leaving| *leaving != slot);
        self.slots.remove(slot.0 as usize)
    }

    /// The index of a queue, opened at its first use.
    pub fn queue(&mut self, slot: TopicSlot, queue: u32, store: &mut Store) -> QueueSlot {
        let topic = self.get_mut(slot);
        let at = queue as usize;
        if topic.queues.len() <= at {
            topic.queues.resize(at + 1, None);
        }
        *topic.queues[at]
            .get_or_insert_with(|| store.open_queue(QueueKey { topic: topic.id, queue }))
    }

    /// Whose records a topic's are; None once it is deleted.
    fn owner_of(&self, id: TopicId) -> Option<Owner> {
        let (_, topic) = self.slots.iter().find(|(_, topic)| topic.id == id)?;
        Some(Owner { topic: topic.config.name.clone(), birth: topic.birth })
    }

    /// All topics, by name.
    pub fn in_order(&self) -> impl Iterator<Item = &Topic> {
        let mut topics: Vec<&Topic> = self.by_name.values().map(|slot| self.get(*slot)).collect();
        topics.sort_unstable_by(|one, other| one.config.name.cmp(&other.config.name));
        topics.into_iter()
    }

    pub fn len(&self) -> usize {
        self.by_name.len()
    }
}

impl Topic {
    /// How many queues clients may name: readable ones and writable ones can differ.
    pub fn queue_count(&self) -> u32 {
        self.config.read_queues.max(self.config.write_queues)
    }

    /// The queues that were used since the start.
    pub fn opened(&self) -> impl Iterator<Item = QueueSlot> {
        self.queues.iter().flatten().copied()
    }
}

/// The level that the topic's attribute names, or the broker's.
fn level_of(config: &TopicConfig, default: AckLevel) -> AckLevel {
    config.attributes.get(ACK_ATTRIBUTE).and_then(|name| name.parse().ok()).unwrap_or(default)
}

fn transfer_of(config: &TopicConfig) -> Option<TransferChoice> {
    config.attributes.get(TRANSFER_ATTRIBUTE).and_then(|name| name.parse().ok())
}

impl Broker {
    /// What the metadata held at start, and the system's own topics.
    pub fn restore(&mut self, metadata: Restored, store: &mut Store) {
        self.set_topics_version(metadata.topic_version);
        self.groups_version = metadata.group_version;
        for record in metadata.topics {
            self.install(record, store);
        }
        self.groups.extend(metadata.groups.into_iter().map(|group| (group.name.clone(), group)));
        for name in names::PREDEFINED_GROUPS {
            self.groups.entry(name.to_owned()).or_insert_with(|| GroupConfig::new(name));
        }
        // A data directory of before may still tell of a topic that was deleted.
        let known = |change: &&Change| self.topics.find(&change.topic).is_some();
        for change in metadata.offsets.iter().filter(known) {
            if self.offsets.restore(change).is_err() {
                tracing::error!("more consumer offsets are stored than CONSUMER_OFFSETS_MAX");
                break;
            }
        }
        self.apply_options(&metadata.options, store);
    }

    /// The metadata's version of the topics, moved on by what settings have changed of
    /// how they are shown since the start.
    pub(super) fn set_topics_version(&mut self, durable: DataVersion) {
        let counter = durable.counter + self.shown_changes;
        self.topics_version = DataVersion { counter, ..durable };
    }

    /// A topic as the metadata has it now.
    pub(super) fn install(&mut self, record: TopicRecord, store: &mut Store) {
        if let Some(old) = self.topics.put(record, self.level) {
            store.remove_topic(old.id);
        }
    }

    /// Whose records a topic's are, as the log tells them apart.
    pub fn owner_of(&self, topic: TopicId) -> Option<Owner> {
        self.topics.owner_of(topic)
    }

    /// The shard's topics with their version, as name servers are told of them.
    pub fn topic_table(&self) -> (DataVersion, Vec<TopicConfig>) {
        (self.topics_version, self.registered_topics())
    }

    /// Asks for the name servers to hear of this shard's topics.
    pub fn publish(&mut self, cx: &mut Context) {
        let (version, topics) = self.topic_table();
        cx.effects.push(Effect::Publish { version, topics });
    }

    /// All reachable name servers know the topics of `version`.
    pub fn on_published(&mut self, cx: &mut Context, version: DataVersion) {
        self.published = self.published.max(version.counter);
        self.answer_awaited(cx);
    }
}

/// What a broker finds at start.
#[derive(Debug, Default)]
pub struct Restored {
    pub topics: Vec<TopicRecord>,
    pub topic_version: DataVersion,
    pub groups: Vec<GroupConfig>,
    pub group_version: DataVersion,
    pub offsets: Vec<Change>,
    /// Broker options that were set while running.
    pub options: Vec<(String, String)>,
}
