//! Clients and their groups: heartbeats, members, and who is told of changes.

use tracing::debug;

use crate::base::ConnId;
use crate::base::names;
use crate::base::topic::{PERM_READ, PERM_WRITE, TopicConfig};
use crate::wire::body::heartbeat::{ConsumerData, Heartbeat, MessageModel};
use crate::wire::body::lists::ConsumerIdList;
use crate::wire::body::{from_bytes, to_bytes};
use crate::wire::code::{request, response};
use crate::wire::headers::groups::{ConsumerGroup, UnregisterClient};
use crate::wire::{Codec, FrameWriter, Request};

use super::Broker;
use super::context::{Cause, Context, Outcome, ReplyTo};
use super::effect::Effect;
use super::members::Member;
use super::refusal::Refusal;

/// A reply that leaves once the name servers know a version of the topics.
#[derive(Clone, Debug)]
pub(super) struct Awaited {
    to: ReplyTo,
    reply: Reply,
    version: i64,
    deadline_us: u64,
}

/// What it says then.
#[derive(Clone, Debug)]
enum Reply {
    Heartbeat {
        /// The subscriptions are wanted in full.
        wants_full: bool,
    },
    /// Success, with a text for humans unless it is empty.
    Remark(String),
}

/// How long such a reply waits for the name servers.
const ROUTE_WAIT_US: u64 = 1_000_000;

impl Broker {
    /// 34: a client is alive, and says what it is in.
    pub(super) fn heartbeat(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        request: &Request,
    ) -> Result<Outcome, Refusal> {
        let beat: Heartbeat = from_bytes(request.body)
            .map_err(|why| Refusal::error(format!("the heartbeat cannot be read: {why}")))?;
        // Retry topics first: nothing of this heartbeat counts until they are there,
        // since it is handled again from the start when they are.
        for data in &beat.consumer_data_set {
            if let Some(topic) = self.missing_retry_topic(data) {
                let queues = self.retry_queues(&data.group_name);
                self.create_everywhere(cx, retry_config(&topic, queues))?;
                self.routes_pending.insert(to.conn);
                return Ok(Outcome::Wait(Cause::Topic(topic)));
            }
        }
        let member = Member {
            conn: to.conn,
            client_id: beat.client_id.clone(),
            language: request.language.name(),
            version: request.version,
            seen_us: cx.now.mono_us,
            seen_ms: cx.now.unix_ms,
        };
        let mut wants_full = false;
        for data in &beat.consumer_data_set {
            if self.group_or_new(cx, &data.group_name).is_err() {
                continue;
            }
            let joining = self.members.join_consumer(
                member.clone(),
                data,
                beat.heartbeat_fingerprint,
                beat.without_sub,
            );
            wants_full |= joining.wants_full;
            if joining.changed && data.message_model == MessageModel::Clustering {
                self.notify_members(cx, &data.group_name);
            }
        }
        for data in &beat.producer_data_set {
            self.members.join_producer(member.clone(), &data.group_name);
        }
        if self.routes_pending.remove(&to.conn) {
            self.await_published(cx, to, Reply::Heartbeat { wants_full });
        } else {
            answer_heartbeat(cx, to, wants_full);
        }
        Ok(Outcome::Done)
    }

    /// Success, once the name servers know the topics as they are now.
    pub(super) fn answer_when_published(&mut self, cx: &mut Context, to: ReplyTo, remark: String) {
        self.await_published(cx, to, Reply::Remark(remark));
    }

    fn await_published(&mut self, cx: &mut Context, to: ReplyTo, reply: Reply) {
        let version = self.topics_version.counter;
        let deadline_us = cx.now.mono_us + ROUTE_WAIT_US;
        self.awaited.push(Awaited { to, reply, version, deadline_us });
        self.answer_awaited(cx);
    }

    /// Answers those whose version is published, or who have waited long enough.
    pub(super) fn answer_awaited(&mut self, cx: &mut Context) {
        let (published, now_us) = (self.published, cx.now.mono_us);
        self.awaited.retain(|one| {
            let waits = one.version > published && now_us < one.deadline_us;
            match &one.reply {
                _ if waits => {}
                Reply::Heartbeat { wants_full } => answer_heartbeat(cx, one.to, *wants_full),
                Reply::Remark(remark) => cx.ok_with_remark(one.to, remark),
            }
            waits
        });
    }

    pub(super) fn next_awaited_deadline_us(&self) -> Option<u64> {
        self.awaited.iter().map(|one| one.deadline_us).min()
    }

    /// 35: a client leaves.
    pub(super) fn unregister_client(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        request: &Request,
    ) -> Result<Outcome, Refusal> {
        let fields = UnregisterClient::decode(&request.ext)?;
        let producer = fields.producer_group.map(|group| group.text());
        let consumer = fields.consumer_group.map(|group| group.text());
        let changed = self.members.leave(to.conn, producer.as_deref(), consumer.as_deref());
        if let Some(group) = changed {
            self.notify_members(cx, &group);
        }
        cx.ok(to);
        Ok(Outcome::Done)
    }

    /// 38: the members of a group, by which each of them divides the queues.
    pub(super) fn consumer_list(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        request: &Request,
    ) -> Result<Outcome, Refusal> {
        let name = ConsumerGroup::decode(&request.ext)?.consumer_group.text();
        let none = || Refusal::error(format!("no consumer for this group, {name}"));
        let group = self.members.consumer_group(&name).ok_or_else(none)?;
        let ids = group.members.iter().map(|member| member.client_id.clone()).collect();
        let list = ConsumerIdList { consumer_id_list: ids };
        cx.reply_with_body(to, response::SUCCESS, |_| {}, &to_bytes(&list));
        Ok(Outcome::Done)
    }

    /// A connection is gone: so are its clients.
    pub fn disconnect(&mut self, cx: &mut Context, conn: ConnId) {
        self.routes_pending.remove(&conn);
        self.holds.drop_connection(conn);
        for group in self.members.disconnect(conn) {
            self.notify_members(cx, &group);
        }
    }

    /// 40 to every member: look who is there now.
    fn notify_members(&mut self, cx: &mut Context, group: &str) {
        let enabled = self.options.notify_consumer_ids_changed_enable
            && self.groups.get(group).is_none_or(|it| it.notify_consumer_ids_changed_enable);
        let Some(members) = self.members.consumer_group(group).filter(|_| enabled) else { return };
        if members.model == MessageModel::Broadcasting {
            return;
        }
        debug!(group, members = members.members.len(), "the members of a group changed");
        for member in &members.members {
            let Some(outgoing) = cx.replies.outgoing(member.conn) else { continue };
            self.next_opaque = self.next_opaque.wrapping_add(1).max(1);
            let (opaque, code) = (self.next_opaque, request::NOTIFY_CONSUMER_IDS_CHANGED);
            outgoing.write(|out| {
                let mut frame = FrameWriter::request(out, Codec::Json, opaque, code, true);
                frame.field("consumerGroup", group);
                frame.finish(0);
            });
        }
    }

    fn missing_retry_topic(&self, data: &ConsumerData) -> Option<String> {
        let group = &data.group_name;
        let creatable = self.groups.contains_key(group) || self.may_create_group(group);
        if names::check_group(group).is_err() || !creatable {
            return None;
        }
        let topic = names::retry_topic(group);
        self.topics.find(&topic).is_none().then_some(topic)
    }

    fn retry_queues(&self, group: &str) -> u32 {
        let queues = self.groups.get(group).map_or(1, |config| config.retry_queue_nums);
        u32::try_from(queues).unwrap_or(0).max(1)
    }

    /// Asks for a topic on every shard of the node, once. Requests that waited for a
    /// creation which has failed just now are told so, and do not ask again.
    pub(super) fn create_everywhere(
        &mut self,
        cx: &mut Context,
        config: TopicConfig,
    ) -> Result<(), Refusal> {
        if let Some((name, why)) =
            self.creation_failed.iter().find(|(failed, _)| *failed == config.name)
        {
            let remark = format!("topic[{name}] could not be created: {why}");
            return Err(Refusal::error(remark));
        }
        if self.creating.insert(config.name.clone()) {
            cx.effects.push(Effect::CreateEverywhere { config });
        }
        Ok(())
    }
}

fn retry_config(topic: &str, queues: u32) -> TopicConfig {
    TopicConfig::new(topic, queues, PERM_READ | PERM_WRITE)
}

fn answer_heartbeat(cx: &mut Context, to: ReplyTo, wants_full: bool) {
    cx.reply(to, response::SUCCESS, |frame| {
        frame.field_bool("IS_SUPPORT_HEART_BEAT_V2", true);
        frame.field_bool("IS_SUB_CHANGE", wants_full);
    });
}
