//! Topics that a send brings into being, on all shards of the node together.

use crate::base::names;
use crate::base::topic::{PERM_INHERIT, TopicConfig};
use crate::wire::code::response;

use super::Broker;
use super::context::{Cause, Context, Outcome};
use super::effect::{Effect, TopicMade};
use super::refusal::Refusal;

impl Broker {
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
}
