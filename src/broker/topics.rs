//! The topics of a shard: their configuration, and the queues of each.

use std::collections::HashMap;

use slab::Slab;

use crate::base::group::GroupConfig;
use crate::base::metadata::{DataVersion, Durable, TopicRecord};
use crate::base::topic::{ACK_ATTRIBUTE, PERM_INHERIT, TopicConfig};
use crate::base::{AckLevel, LogOffset, TopicId, names};
use crate::queue::{QueueKey, QueueSlot};
use crate::store::Store;

use super::Broker;
use super::context::{Cause, Context, Outcome, ReplyTo};
use super::effect::{Effect, MetaChange, TopicMade};
use super::offsets::Change;
use super::refusal::Refusal;

/// All topics of a shard.
#[derive(Debug, Default)]
pub struct Topics {
    slots: Slab<Topic>,
    by_name: HashMap<Box<str>, TopicSlot>,
}

/// A topic's place in the table; stays the same until the topic is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicSlot(u32);

/// One topic.
#[derive(Debug)]
pub struct Topic {
    pub config: TopicConfig,
    pub id: TopicId,
    /// Records before this belong to a deleted namesake.
    pub birth: LogOffset,
    pub level: AckLevel,
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
    pub fn put(
        &mut self,
        config: TopicConfig,
        id: TopicId,
        birth: LogOffset,
        default: AckLevel,
    ) -> Option<Topic> {
        let level = level_of(&config, default);
        let mut replaced = None;
        if let Some(slot) = self.find(&config.name) {
            let topic = self.get_mut(slot);
            if topic.id == id {
                topic.config = config;
                topic.level = level;
                return None;
            }
            replaced = self.remove(&config.name);
        }
        let name = config.name.clone().into_boxed_str();
        let topic = Topic { config, id, birth, level, queues: Vec::new() };
        let slot = TopicSlot(self.slots.insert(topic) as u32);
        self.by_name.insert(name, slot);
        replaced
    }

    pub fn remove(&mut self, name: &str) -> Option<Topic> {
        let slot = self.by_name.remove(name)?;
        Some(self.slots.remove(slot.0 as usize))
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

    pub fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.slots.iter().map(|(_, topic)| topic)
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
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

/// A request that waits for a metadata change.
#[derive(Debug)]
pub(super) enum Pending {
    /// Consumer offsets; nobody is told.
    Offsets,
    /// A tool's change, answered when it is durable.
    Request(ReplyTo),
    /// … and when the name servers know it too.
    TopicRequest(ReplyTo),
    DeleteTopic {
        to: ReplyTo,
        name: String,
    },
    DeleteGroup {
        to: ReplyTo,
        name: String,
        with_offsets: bool,
    },
    Options {
        to: ReplyTo,
        options: Vec<(String, String)>,
    },
    /// A group that came into being with its first request.
    NewGroup,
}

impl Broker {
    /// What the metadata held at start, and the system's own topics.
    pub fn restore(&mut self, metadata: Restored, store: &mut Store) {
        self.topics_version = metadata.topic_version;
        self.groups_version = metadata.group_version;
        for record in metadata.topics {
            self.install(record, store);
        }
        self.groups.extend(metadata.groups.into_iter().map(|group| (group.name.clone(), group)));
        for name in names::PREDEFINED_GROUPS {
            self.groups.entry(name.to_owned()).or_insert_with(|| GroupConfig::new(name));
        }
        for change in &metadata.offsets {
            if self.offsets.restore(change).is_err() {
                tracing::error!("more consumer offsets are stored than CONSUMER_OFFSETS_MAX");
                break;
            }
        }
    }

    /// A topic as the metadata has it now.
    fn install(&mut self, record: TopicRecord, store: &mut Store) {
        let TopicRecord { id, birth, config } = record;
        if let Some(old) = self.topics.put(config, id, birth, self.level) {
            store.remove_topic(old.id);
        }
    }

    /// A send to a topic that is not there: it waits while the topic is being created,
    /// or is told why it cannot be.
    pub(super) fn create_for_send(
        &mut self,
        cx: &mut Context,
        name: &str,
        queues: i32,
    ) -> Result<Outcome, Refusal> {
        names::check_topic(name).map_err(|wrong| Refusal::invalid(wrong.to_string()))?;
        let config = self.config_for_send(name, queues).ok_or_else(|| Refusal::no_topic(name))?;
        self.create_everywhere(cx, config);
        Ok(Outcome::Wait(Cause::Topic(name.to_owned())))
    }

    fn config_for_send(&self, name: &str, queues: i32) -> Option<TopicConfig> {
        if let Some(group) = name.strip_prefix(names::RETRY_PREFIX) {
            return self.groups.contains_key(group).then(|| TopicConfig::new(name, 1, 6));
        }
        let model = &self.topics.by_name(names::AUTO_CREATE_MODEL)?.config;
        if !self.options.auto_create_topic_enable || !model.is_inherited() {
            return None;
        }
        let most = model.write_queues.min(self.options.default_topic_queue_nums);
        let queues = u32::try_from(queues).unwrap_or(0).min(most).max(1);
        Some(TopicConfig::new(name, queues, model.perm & !PERM_INHERIT))
    }

    /// Why a send to a topic of this name must wait behind others.
    pub(super) fn must_wait(&self, name: &str) -> Option<Cause> {
        if self.creating.contains(name) {
            return Some(Cause::Topic(name.to_owned()));
        }
        self.room_awaited.then_some(Cause::Room)
    }

    /// A topic was created on all shards: this one takes it in.
    pub fn on_topic_made(&mut self, cx: &mut Context, made: TopicMade) {
        self.topics_version = made.version;
        let topic = made.record.config.name.clone();
        self.install(made.record, cx.store);
        cx.effects.push(Effect::Installed { topic });
    }

    /// All shards have the topic, or none has: sends that waited may go on. The name
    /// servers hear of it only now.
    pub fn on_topic_ready(&mut self, cx: &mut Context, name: &str, result: Result<(), String>) {
        self.creating.remove(name);
        match result {
            Ok(()) => self.publish(cx),
            Err(why) => tracing::error!(topic = name, why, "cannot create a topic"),
        }
    }

    /// The shard's topics with their version, as name servers are told of them.
    pub fn topic_table(&self) -> (DataVersion, Vec<TopicConfig>) {
        let topics = self.topics.iter().map(|topic| topic.config.clone()).collect();
        (self.topics_version, topics)
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

    /// A metadata change is durable, or it failed.
    pub fn on_stored(&mut self, cx: &mut Context, token: u64, result: Result<Durable, String>) {
        let pending = self.pending.remove(&token).expect("a change is answered once");
        let durable = match result {
            Ok(durable) => durable,
            Err(why) => return self.on_not_stored(cx, pending, &why),
        };
        match durable {
            Durable::Topic { record, version, changed } => {
                self.topics_version = version;
                self.install(record, cx.store);
                if changed {
                    self.publish(cx);
                }
            }
            Durable::TopicDeleted { version } => self.topics_version = version,
            Durable::Group { config, version } => {
                self.groups_version = version;
                self.groups.insert(config.name.clone(), config);
            }
            Durable::GroupDeleted { version } => self.groups_version = version,
            Durable::Kept => {}
        }
        match pending {
            Pending::Offsets => {
                self.saving_offsets = false;
                cx.arena.journal_clear_other();
            }
            Pending::Request(to) => cx.ok(to),
            Pending::TopicRequest(to) => self.answer_when_published(cx, to),
            Pending::DeleteTopic { to, name } => {
                self.forget_topic(cx, &name);
                self.publish(cx);
                self.answer_when_published(cx, to);
            }
            Pending::DeleteGroup { to, name, with_offsets } => {
                self.groups.remove(&name);
                if with_offsets {
                    self.offsets.remove_group(&name);
                }
                cx.ok(to);
            }
            Pending::Options { to, options } => self.on_options_stored(cx, to, &options),
            Pending::NewGroup => {}
        }
    }

    fn on_not_stored(&mut self, cx: &mut Context, pending: Pending, why: &str) {
        tracing::error!(?pending, why, "metadata could not be stored");
        match pending {
            Pending::Offsets => {
                self.saving_offsets = false;
                self.offsets.mark_all_changed();
            }
            Pending::Request(to)
            | Pending::TopicRequest(to)
            | Pending::DeleteTopic { to, .. }
            | Pending::DeleteGroup { to, .. }
            | Pending::Options { to, .. } => cx.refuse(to, &Refusal::error(why)),
            Pending::NewGroup => {}
        }
    }

    /// The topic is gone: its held pulls, queues and offsets go with it.
    fn forget_topic(&mut self, cx: &mut Context, name: &str) {
        let Some(slot) = self.topics.find(name) else { return };
        for to in self.sends.take_to(slot) {
            cx.refuse(to, &Refusal::no_topic(name));
        }
        let Some(topic) = self.topics.remove(name) else { return };
        for queue in topic.opened() {
            self.end_holds(cx, queue, name);
        }
        cx.store.remove_topic(topic.id);
        self.offsets.remove_topic(name);
    }

    /// Makes a change durable; `pending` tells what follows.
    pub(super) fn persist(&mut self, cx: &mut Context, change: MetaChange, pending: Pending) {
        let token = self.take_token();
        self.pending.insert(token, pending);
        cx.effects.push(Effect::Persist { token, change });
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
}
