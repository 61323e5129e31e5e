//! The topics of a shard: their configuration, and the queues of each.

use std::collections::HashMap;

use slab::Slab;

use crate::base::group::GroupConfig;
use crate::base::metadata::{DataVersion, Durable, TopicRecord};
use crate::base::topic::{ACK_ATTRIBUTE, PERM_INHERIT, TopicConfig};
use crate::base::{AckLevel, LogOffset, TopicId, names};
use crate::queue::{QueueKey, QueueSlot};
use crate::store::{Owner, Store};
use crate::wire::code::response;

use super::Broker;
use super::context::{Cause, Context, Outcome, ReplyTo};
use super::effect::{Effect, MetaChange, TopicMade};
use super::offset_journal::JournalEntry;
use super::offsets::{Change, Taken};
use super::refusal::Refusal;

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
                topic.birth = birth;
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

/// A request that waits for a metadata change.
#[derive(Debug)]
pub(super) enum Pending {
    /// Consumer offsets; nobody is told.
    Offsets,
    /// A tool's change, answered when it is durable.
    Request(ReplyTo),
    /// … and when the name servers know it too.
    TopicRequest(ReplyTo),
    /// The topic is hidden already, and its offsets are taken out.
    DeleteTopic {
        to: ReplyTo,
        slot: TopicSlot,
        offsets: Taken,
    },
    DeleteGroup {
        to: ReplyTo,
        name: String,
        with_offsets: bool,
        offsets: Taken,
    },
    Options {
        to: ReplyTo,
        options: Vec<(String, String)>,
        remark: String,
    },
    /// One of several changes of a request, which the last of them answers.
    PartOf {
        last: u64,
    },
    /// Nobody waits: a group that came into being with its first request, say.
    Unasked,
}

impl Pending {
    /// Who is answered.
    fn asker(&self) -> Option<ReplyTo> {
        match self {
            Self::Offsets | Self::PartOf { .. } | Self::Unasked => None,
            Self::Request(to)
            | Self::TopicRequest(to)
            | Self::DeleteTopic { to, .. }
            | Self::DeleteGroup { to, .. }
            | Self::Options { to, .. } => Some(*to),
        }
    }
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
    fn set_topics_version(&mut self, durable: DataVersion) {
        let counter = durable.counter + self.shown_changes;
        self.topics_version = DataVersion { counter, ..durable };
    }

    /// A topic as the metadata has it now.
    fn install(&mut self, record: TopicRecord, store: &mut Store) {
        if let Some(old) = self.topics.put(record, self.level) {
            store.remove_topic(old.id);
        }
    }

    /// Whose records a topic's are, as the log tells them apart.
    pub fn owner_of(&self, topic: TopicId) -> Option<Owner> {
        self.topics.owner_of(topic)
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
        if names::is_closed_to_clients(name) {
            let remark = format!("the topic[{name}] is the system's; clients cannot send to it");
            return Err(Refusal::new(response::NO_PERMISSION, remark));
        }
        let config = self.config_for_send(name, queues).ok_or_else(|| Refusal::no_topic(name))?;
        self.create_everywhere(cx, config)?;
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
        let most = self.options.default_topic_queue_nums;
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
        self.set_topics_version(made.version);
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
            Err(why) => {
                tracing::error!(topic = name, why, "cannot create a topic");
                self.creation_failed.push((name.to_owned(), why));
            }
        }
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

    /// A metadata change is durable, or it failed. Returns what may be waited for and has
    /// ended.
    pub fn on_stored(
        &mut self,
        cx: &mut Context,
        token: u64,
        result: Result<Durable, String>,
    ) -> Option<Cause> {
        self.settle(cx, token, result);
        let ended = self.changing_by_token.remove(&token);
        if let Some(change) = &ended {
            self.changing.remove(change);
        }
        ended
    }

    fn settle(&mut self, cx: &mut Context, token: u64, result: Result<Durable, String>) {
        let pending = self.pending.remove(&token).expect("a change is answered once");
        let durable = match result {
            Ok(durable) => durable,
            Err(why) => return self.on_not_stored(cx, pending, &why),
        };
        match durable {
            Durable::Topic { record, version, changed } => {
                self.set_topics_version(version);
                self.install(record, cx.store);
                if changed {
                    self.publish(cx);
                }
            }
            Durable::TopicDeleted { version } => self.set_topics_version(version),
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
                self.journal_switched = false;
                cx.arena.journal_clear_other();
            }
            Pending::Request(to) => cx.ok(to),
            Pending::TopicRequest(to) => self.answer_when_published(cx, to, String::new()),
            Pending::DeleteTopic { to, slot, .. } => {
                let topic = self.topics.remove_hidden(slot);
                cx.store.remove_topic(topic.id);
                self.publish(cx);
                self.answer_when_published(cx, to, String::new());
            }
            Pending::DeleteGroup { to, name, with_offsets, .. } => {
                self.groups.remove(&name);
                let gone = JournalEntry::GroupGone(&name);
                let noted = if with_offsets { self.note_in_journal(cx, gone) } else { Ok(()) };
                match noted {
                    Ok(()) => cx.ok(to),
                    // Deleting it again notes it again.
                    Err(behind) => cx.refuse(to, &behind),
                }
            }
            Pending::Options { to, options, remark } => {
                self.on_options_stored(cx, to, &options, remark);
            }
            Pending::PartOf { .. } | Pending::Unasked => {}
        }
    }

    fn on_not_stored(&mut self, cx: &mut Context, pending: Pending, why: &str) {
        tracing::error!(?pending, why, "metadata could not be stored");
        if let Some(to) = pending.asker() {
            cx.refuse(to, &Refusal::error(why));
        }
        match pending {
            Pending::Offsets => {
                self.saving_offsets = false;
                self.offsets.mark_all_changed();
            }
            Pending::DeleteTopic { slot, offsets, .. } => {
                self.topics.unhide(slot);
                self.offsets.put_back(offsets);
            }
            Pending::DeleteGroup { offsets, .. } => self.offsets.put_back(offsets),
            Pending::PartOf { last } => {
                // The whole request has failed; its last part has nobody to answer then.
                let part = self.pending.get_mut(&last);
                let part = part.map(|part| std::mem::replace(part, Pending::Unasked));
                if let Some(to) = part.and_then(|part| part.asker()) {
                    cx.refuse(to, &Refusal::error(why));
                }
            }
            _ => {}
        }
    }

    /// Makes a change durable; `pending` tells what follows.
    pub(super) fn persist(&mut self, cx: &mut Context, change: MetaChange, pending: Pending) {
        let token = self.take_token();
        self.pending.insert(token, pending);
        let changed = match &change {
            MetaChange::PutTopic { config } => Some(Cause::TopicChange(config.name.clone())),
            MetaChange::PutGroup { config } => Some(Cause::GroupChange(config.name.clone())),
            _ => None,
        };
        if let Some(changed) = changed {
            self.changing.insert(changed.clone());
            self.changing_by_token.insert(token, changed);
        }
        cx.effects.push(Effect::Persist { token, change });
    }

    /// Why a change must wait for an earlier one: its result depends on that one's.
    pub(super) fn change_must_wait(&self, change: Cause) -> Option<Outcome> {
        self.changing.contains(&change).then_some(Outcome::Wait(change))
    }

    /// Makes the changes of one request durable; `answered` comes with the last of them.
    pub(super) fn persist_all(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        mut changes: Vec<MetaChange>,
        answered: Pending,
    ) {
        let Some(final_change) = changes.pop() else { return cx.ok(to) };
        let last = self.next_token + changes.len() as u64 + 1;
        for change in changes {
            self.persist(cx, change, Pending::PartOf { last });
        }
        self.persist(cx, final_change, answered);
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
