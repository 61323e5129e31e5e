//! Who is there: producers and consumers by group, as their heartbeats say.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use crate::base::limits::MEMBER_EXPIRY_US;
use crate::base::{ConnId, properties};
use crate::wire::body::heartbeat::{
    ConsumeFromWhere, ConsumeType, ConsumerData, MessageModel, SubscriptionData,
};

/// The clients of a shard and the groups they belong to.
#[derive(Debug, Default)]
pub struct Members {
    consumers: HashMap<String, ConsumerGroup>,
    producers: HashMap<String, Vec<Member>>,
    by_conn: HashMap<ConnId, Joined>,
    /// No member expires before this; it may be early, never late.
    next_scan_us: u64,
}

/// A client's channel in one group.
#[derive(Clone, Debug)]
pub struct Member {
    pub conn: ConnId,
    pub client_id: String,
    pub language: &'static str,
    pub version: i32,
    /// When its last heartbeat came, by the monotonic clock.
    pub seen_us: u64,
    /// The same by the wall clock, for operators.
    pub seen_ms: i64,
}

/// A consumer group with somebody in it.
#[derive(Debug)]
pub struct ConsumerGroup {
    pub members: Vec<Member>,
    pub subscriptions: BTreeMap<String, Subscribed>,
    pub consume_type: ConsumeType,
    pub model: MessageModel,
    pub from_where: ConsumeFromWhere,
    /// Of the last full heartbeat in the second form; 0 for none.
    fingerprint: i32,
}

/// What a group wants of one topic.
#[derive(Clone, Debug)]
pub struct Subscribed {
    pub data: SubscriptionData,
    /// Tag codes, computed here since clients differ outside ASCII; None takes everything.
    pub codes: Option<Rc<[i32]>>,
}

#[derive(Debug, Default)]
struct Joined {
    consumer_groups: Vec<String>,
    producer_groups: Vec<String>,
}

/// What one consumer's heartbeat changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Joining {
    /// The members or the subscribed topics are others now: tell the group.
    pub changed: bool,
    /// The group's subscriptions are not those of this client's fingerprint: it shall
    /// send them in full.
    pub wants_full: bool,
}

impl Members {
    /// A consumer's heartbeat for one group.
    pub fn join_consumer(
        &mut self,
        member: Member,
        data: &ConsumerData,
        fingerprint: i32,
        without_subscriptions: bool,
    ) -> Joining {
        let group =
            self.consumers.entry(data.group_name.clone()).or_insert_with(|| ConsumerGroup {
                members: Vec::new(),
                subscriptions: BTreeMap::new(),
                consume_type: data.consume_type,
                model: data.message_model,
                from_where: data.consume_from_where,
                fingerprint: 0,
            });
        let wants_full = fingerprint != 0 && group.fingerprint != fingerprint;
        if !without_subscriptions {
            group.fingerprint = fingerprint;
        }
        group.consume_type = data.consume_type;
        group.model = data.message_model;
        group.from_where = data.consume_from_where;
        note_group(&mut self.by_conn, member.conn, &data.group_name, |joined| {
            &mut joined.consumer_groups
        });
        let joined = upsert(&mut group.members, member);
        let topics_changed = !without_subscriptions && group.subscribe(&data.subscription_data_set);
        Joining { changed: joined || topics_changed, wants_full }
    }

    pub fn join_producer(&mut self, member: Member, group: &str) {
        note_group(&mut self.by_conn, member.conn, group, |joined| &mut joined.producer_groups);
        upsert(self.producers.entry(group.to_owned()).or_default(), member);
    }

    /// A client leaves one of its groups, or both kinds. Returns the consumer groups
    /// whose members changed.
    pub fn leave(
        &mut self,
        conn: ConnId,
        producer_group: Option<&str>,
        consumer_group: Option<&str>,
    ) -> Option<String> {
        if let Some(group) = producer_group {
            self.leave_producer(conn, group);
        }
        let group = consumer_group?;
        self.leave_consumer(conn, group).then(|| group.to_owned())
    }

    /// A connection is gone. Returns the consumer groups whose members changed.
    pub fn disconnect(&mut self, conn: ConnId) -> Vec<String> {
        let Some(joined) = self.by_conn.remove(&conn) else { return Vec::new() };
        for group in &joined.producer_groups {
            self.leave_producer(conn, group);
        }
        let mut changed = joined.consumer_groups;
        changed.retain(|group| self.leave_consumer(conn, group));
        changed
    }

    /// Connections of clients that fell silent; the caller closes them.
    pub fn expired(&mut self, now_us: u64) -> Vec<ConnId> {
        if now_us < self.next_scan_us {
            return Vec::new();
        }
        self.next_scan_us = now_us + MEMBER_EXPIRY_US / 12;
        let consumers = self.consumers.values().flat_map(|group| &group.members);
        let producers = self.producers.values().flatten();
        let silent = |member: &&Member| now_us.saturating_sub(member.seen_us) > MEMBER_EXPIRY_US;
        let mut silent: Vec<ConnId> =
            consumers.chain(producers).filter(silent).map(|member| member.conn).collect();
        silent.sort_unstable();
        silent.dedup();
        silent
    }

    /// When `expired` is worth asking again.
    pub fn next_scan_us(&self) -> Option<u64> {
        (!self.by_conn.is_empty()).then_some(self.next_scan_us)
    }

    pub fn consumer_group(&self, group: &str) -> Option<&ConsumerGroup> {
        self.consumers.get(group)
    }

    pub fn producer_group(&self, group: &str) -> Option<&[Member]> {
        self.producers.get(group).map(Vec::as_slice)
    }

    pub fn producer_groups(&self) -> impl Iterator<Item = (&str, &[Member])> {
        self.producers.iter().map(|(name, members)| (name.as_str(), members.as_slice()))
    }

    /// The groups of online consumers that subscribe to `topic`.
    pub fn subscribers_of(&self, topic: &str) -> Vec<&str> {
        let subscribed =
            |(_, group): &(&String, &ConsumerGroup)| group.subscriptions.contains_key(topic);
        self.consumers.iter().filter(subscribed).map(|(name, _)| name.as_str()).collect()
    }

    fn leave_consumer(&mut self, conn: ConnId, name: &str) -> bool {
        let Some(group) = self.consumers.get_mut(name) else { return false };
        let before = group.members.len();
        group.members.retain(|member| member.conn != conn);
        let left = group.members.len() < before;
        if group.members.is_empty() {
            self.consumers.remove(name);
        }
        left
    }

    fn leave_producer(&mut self, conn: ConnId, name: &str) {
        let Some(members) = self.producers.get_mut(name) else { return };
        members.retain(|member| member.conn != conn);
        if members.is_empty() {
            self.producers.remove(name);
        }
    }
}

impl ConsumerGroup {
    /// Takes over a client's subscriptions. True if the set of topics changed; a newer
    /// version of the same topic's expression is no change that others must know.
    fn subscribe(&mut self, wanted: &[SubscriptionData]) -> bool {
        let mut changed = false;
        for data in wanted {
            match self.subscriptions.get_mut(&data.topic) {
                None => {
                    self.subscriptions.insert(data.topic.clone(), Subscribed::new(data));
                    changed = true;
                }
                Some(known) if data.sub_version > known.data.sub_version => {
                    *known = Subscribed::new(data);
                }
                Some(_) => {}
            }
        }
        let before = self.subscriptions.len();
        self.subscriptions.retain(|topic, _| wanted.iter().any(|data| data.topic == *topic));
        changed || self.subscriptions.len() < before
    }
}

impl Subscribed {
    pub fn new(data: &SubscriptionData) -> Self {
        Self { codes: tag_codes(&data.sub_string), data: data.clone() }
    }
}

/// The codes of `tagA || tagB`; None for an expression that takes every message.
pub fn tag_codes(expression: &str) -> Option<Rc<[i32]>> {
    let expression = expression.trim();
    if expression.is_empty() || expression == "*" {
        return None;
    }
    let tags = expression.split("||").map(str::trim).filter(|tag| !tag.is_empty());
    Some(tags.map(|tag| properties::tag_code(tag.as_bytes())).collect())
}

/// Puts `member` in; true if its channel is new.
fn upsert(members: &mut Vec<Member>, member: Member) -> bool {
    match members.iter_mut().find(|known| known.conn == member.conn) {
        Some(known) => {
            *known = member;
            false
        }
        None => {
            // A client that came back on another channel replaces its former self.
            members.retain(|known| known.client_id != member.client_id);
            members.push(member);
            true
        }
    }
}

fn note_group(
    by_conn: &mut HashMap<ConnId, Joined>,
    conn: ConnId,
    group: &str,
    groups: impl Fn(&mut Joined) -> &mut Vec<String>,
) {
    let groups = groups(by_conn.entry(conn).or_default());
    if !groups.iter().any(|name| name == group) {
        groups.push(group.to_owned());
    }
}
