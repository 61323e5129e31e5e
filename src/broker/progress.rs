//! Operators' questions about topics and how far groups have come in them: 202, 208,
//! 300, 343. All are O(queues).

use std::collections::{BTreeMap, BTreeSet};

use crate::base::QueueOffset;
use crate::queue::{Boundary, QueueKey, QueueSlot};
use crate::store::{LoadId, Store, TimeEnd};
use crate::wire::Request;
use crate::wire::body::lists::{GroupList, TopicList};
use crate::wire::body::queues::{
    ConsumeOffset, ConsumeStats, MessageQueue, QueueMap, TopicOffset, TopicStats,
};
use crate::wire::body::to_bytes;
use crate::wire::headers::admin::{GetConsumeStats, GroupOf, TopicOf};

use super::Broker;
use super::context::{Cause, Context, Outcome, ReplyTo};
use super::refusal::Refusal;
use super::topics::Topic;

type Handled = Result<Outcome, Refusal>;

/// A topic's rate is taken over the last minute.
const RATE_MS: i64 = 60_000;

impl Broker {
    /// 202: where the queues of a topic begin and end.
    pub(super) fn topic_stats(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        request: &Request,
    ) -> Handled {
        let name = TopicOf::decode(&request.ext)?.topic.text();
        let topic = self.topics.by_name(&name).ok_or_else(|| Refusal::no_topic(&name))?;
        let mut cold = Cold::default();
        let (mut stats, mut puts) = (TopicStats::default(), 0);
        for queue in 0..topic.queue_count() {
            let mut offset = TopicOffset::default();
            if let Some(slot) = find(cx.store, topic, queue) {
                let max = cx.store.max_offset(slot);
                offset.min_offset = cx.store.min_offset(slot).0 as i64;
                offset.max_offset = max.0 as i64;
                offset.last_update_timestamp = cold.store_ms(cx.store, slot, max.0);
                puts += max.0 - cold.search(cx.store, slot, cx.now.unix_ms - RATE_MS, max).0;
            }
            stats.offset_table.0.insert(self.message_queue(topic, queue), offset);
        }
        stats.topic_put_tps = puts as f64 * 1000.0 / RATE_MS as f64;
        cold.answer(cx, to, &to_bytes(&stats))
    }

    /// 208: how far a group has come.
    pub(super) fn consume_stats(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        request: &Request,
    ) -> Handled {
        let asked = GetConsumeStats::decode(&request.ext)?;
        let group = asked.consumer_group.text();
        let named = |text: Option<crate::wire::Value>| {
            let text = text.map(|text| text.text().into_owned()).unwrap_or_default();
            text.split(';').filter(|topic| !topic.is_empty()).map(str::to_owned).collect()
        };
        let mut wanted: Vec<String> = named(asked.topic_list);
        wanted.extend::<Vec<String>>(named(asked.topic));
        if wanted.is_empty() {
            wanted = self.offsets.topics_of(&group).into_keys().map(str::to_owned).collect();
        }
        wanted.sort_unstable();
        wanted.dedup();
        let mut cold = Cold::default();
        let (mut table, mut consume_tps) = (BTreeMap::new(), 0.0);
        for name in &wanted {
            let Some(topic) = self.topics.by_name(name) else { continue };
            if self.has_unsubscribed(&group, name) {
                continue;
            }
            consume_tps += self.offsets.rate(&group, name, cx.now.mono_us);
            for queue in 0..topic.config.read_queues {
                let committed = self.offsets.get(&group, name, queue).unwrap_or(0).max(0);
                let mut offset = ConsumeOffset {
                    consumer_offset: committed,
                    pull_offset: self.offsets.pulled(&group, name, queue).unwrap_or(committed),
                    ..ConsumeOffset::default()
                };
                if let Some(slot) = find(cx.store, topic, queue) {
                    offset.broker_offset = cx.store.max_offset(slot).0 as i64;
                    offset.last_timestamp = cold.store_ms(cx.store, slot, committed as u64);
                }
                table.insert(self.message_queue(topic, queue), offset);
            }
        }
        let stats = ConsumeStats { consume_tps, offset_table: QueueMap(table) };
        cold.answer(cx, to, &to_bytes(&stats))
    }

    /// 300: the groups that consume a topic, or have done so.
    pub(super) fn consumers_of_topic(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        request: &Request,
    ) -> Handled {
        let topic = TopicOf::decode(&request.ext)?.topic.text();
        let mut groups: BTreeSet<&str> = self.members.subscribers_of(&topic).into_iter().collect();
        groups.extend(self.offsets.groups_of(&topic));
        let list = GroupList { group_list: groups.into_iter().map(str::to_owned).collect() };
        cx.reply_body(to, &to_bytes(&list));
        Ok(Outcome::Done)
    }

    /// 343: the topics on which a group has positions.
    pub(super) fn topics_of_consumer(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        request: &Request,
    ) -> Handled {
        let group = GroupOf::decode(&request.ext)?.group.text();
        let list = TopicList {
            broker_addr: Some(self.store_host.to_string()),
            topic_list: self.offsets.topics_of(&group).into_keys().map(str::to_owned).collect(),
        };
        cx.reply_body(to, &to_bytes(&list));
        Ok(Outcome::Done)
    }

    /// The group is online, and wants the topic no longer.
    fn has_unsubscribed(&self, group: &str, topic: &str) -> bool {
        self.members.consumer_group(group).is_some_and(|online| {
            !online.subscriptions.is_empty() && !online.subscriptions.contains_key(topic)
        })
    }

    fn message_queue(&self, topic: &Topic, queue: u32) -> MessageQueue {
        MessageQueue {
            broker_name: self.name.clone(),
            queue_id: queue as i32,
            topic: topic.config.name.clone(),
        }
    }
}

/// A queue that has never been used is not opened for a question about it.
fn find(store: &Store, topic: &Topic, queue: u32) -> Option<QueueSlot> {
    store.find_queue(QueueKey { topic: topic.id, queue })
}

/// What of the index a question needs and memory does not have. All of it is asked for
/// before the question waits.
#[derive(Default)]
struct Cold {
    load: Option<LoadId>,
}

impl Cold {
    /// The store time of the message before `end`; 0 without one.
    fn store_ms(&mut self, store: &mut Store, slot: QueueSlot, end: u64) -> i64 {
        let Some(last) = end.checked_sub(1) else { return 0 };
        match store.store_ms(slot, QueueOffset(last)) {
            Ok(ms) => ms.unwrap_or(0),
            Err(load) => {
                self.load = Some(load);
                0
            }
        }
    }

    /// The first message at or after `ms`.
    fn search(
        &mut self,
        store: &mut Store,
        slot: QueueSlot,
        ms: i64,
        max: QueueOffset,
    ) -> QueueOffset {
        match store.search_time(slot, ms, Boundary::Lower) {
            TimeEnd::At(offset) => offset.min(max),
            TimeEnd::Cold(load) => {
                self.load = Some(load);
                max
            }
        }
    }

    fn answer(self, cx: &mut Context, to: ReplyTo, body: &[u8]) -> Handled {
        if let Some(load) = self.load {
            return Ok(Outcome::Wait(Cause::Load(load)));
        }
        cx.reply_body(to, body);
        Ok(Outcome::Done)
    }
}
