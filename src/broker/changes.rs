//! Metadata changes under way: who waits for them, and what follows when they are durable
//! or have failed.

use crate::base::metadata::Durable;

use super::Broker;
use super::context::{Cause, Context, Outcome, ReplyTo};
use super::effect::{Effect, MetaChange};
use super::offset_journal::JournalEntry;
use super::offsets::Taken;
use super::refusal::Refusal;
use super::topics::TopicSlot;

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
