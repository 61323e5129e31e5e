//! Positions in queues: consumer offsets, the ends of a queue, search by time, and the
//! message at a physical offset.

use crate::base::LogOffset;
use crate::base::topic::TopicConfig;
use crate::queue::{Boundary, QueueSlot};
use crate::store::TimeEnd;
use crate::wire::code::response;
use crate::wire::headers::offsets::{
    GetMaxOffset, QueryConsumerOffset, QueueOf, SearchOffset, UpdateConsumerOffset, ViewMessage,
};
use crate::wire::{FrameWriter, Request, Value};

use super::changes::Pending;
use super::context::{Cause, Context, Outcome, ReplyTo};
use super::effect::{Effect, MetaChange};
use super::offset_journal::JournalEntry;
use super::refusal::Refusal;
use super::{Broker, OFFSETS_SAVED_EVERY_US, topics};

type Handled = Result<Outcome, Refusal>;

impl Broker {
    /// 14: where a group goes on.
    pub(super) fn query_consumer_offset(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        request: &Request,
    ) -> Handled {
        let asked = QueryConsumerOffset::decode(&request.ext)?;
        let (group, topic) = (asked.consumer_group.text(), asked.topic.text());
        let queue = u32::try_from(asked.queue_id)
            .map_err(|_| Refusal::invalid(format!("queueId[{}] is negative", asked.queue_id)))?;
        if let Some(offset) = self.offsets.get(&group, &topic, queue) {
            return answer_offset(cx, to, offset);
        }
        // A group that is new to a queue which still has its very first message, in
        // memory, begins with it: nothing was published before the group came.
        if asked.set_zero_if_not_found.unwrap_or(true)
            && let Some(slot) = self.topics.find(&topic)
            && queue < self.topics.get(slot).queue_count()
        {
            let slot = self.topics.queue(slot, queue, cx.store);
            if cx.store.min_offset(slot).0 == 0 && cx.store.first_is_in_memory(cx.arena, slot) {
                return answer_offset(cx, to, 0);
            }
        }
        let remark = "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first";
        Err(Refusal::new(response::QUERY_NOT_FOUND, remark))
    }

    /// 15: a group has come this far.
    pub(super) fn update_consumer_offset(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        request: &Request,
    ) -> Handled {
        let asked = UpdateConsumerOffset::decode(&request.ext)?;
        let (group, topic) = (asked.consumer_group.text(), asked.topic.text());
        self.group_or_new(cx, &group)?;
        let slot = self.topics.find(&topic).ok_or_else(|| Refusal::no_topic(&topic))?;
        let queue = self.checked_queue(slot, asked.queue_id)?;
        self.commit(cx, &group, slot, queue, asked.commit_offset)?;
        cx.ok(to);
        Ok(Outcome::Done)
    }

    /// Notes a consumer offset, also in the arena, so that no crash of the process takes
    /// it back.
    pub(super) fn commit(
        &mut self,
        cx: &mut Context,
        group: &str,
        slot: topics::TopicSlot,
        queue: u32,
        offset: i64,
    ) -> Result<(), Refusal> {
        if offset < 0 {
            return Err(Refusal::invalid(format!("commitOffset[{offset}] is negative")));
        }
        let topics::Topic { config: TopicConfig { name: topic, .. }, id, .. } =
            self.topics.get(slot);
        if self.offsets.get(group, topic, queue) == Some(offset) {
            return Ok(());
        }
        self.offsets.open(group, topic, queue).map_err(|_| {
            Refusal::error("too many consumer offsets: CONSUMER_OFFSETS_MAX (4000000) is reached")
        })?;
        let entry = JournalEntry::Commit { topic: *id, queue, offset, group };
        self.note_in_journal(cx, entry)?;
        self.offsets.commit(group, &self.topics.get(slot).config.name, queue, offset);
        Ok(())
    }

    /// Puts an entry into the arena's journal. What stands nowhere is not acknowledged.
    pub(super) fn note_in_journal(
        &mut self,
        cx: &mut Context,
        entry: JournalEntry,
    ) -> Result<(), Refusal> {
        if cx.arena.journal_append(entry.encode(&mut self.journal)).is_err() {
            // The half is full before its time: what it holds is made durable now.
            self.make_journal_room(cx);
            cx.arena.journal_append(&self.journal).map_err(|_| Refusal::offsets_behind())?;
        }
        Ok(())
    }

    fn make_journal_room(&mut self, cx: &mut Context) {
        self.save_offsets(cx, true);
        if !self.saving_offsets && !self.journal_switched {
            // Everything in the half was made durable along with the one before it.
            cx.arena.journal_switch();
            cx.arena.journal_clear_other();
        }
    }

    /// Makes consumer offsets durable when it is time, or `now`.
    pub(super) fn save_offsets(&mut self, cx: &mut Context, now: bool) {
        let due = now || cx.now.mono_us >= self.offsets_due_us;
        if self.saving_offsets || !due || !self.offsets.has_changes() {
            return;
        }
        self.saving_offsets = true;
        self.offsets_due_us = cx.now.mono_us + OFFSETS_SAVED_EVERY_US;
        // After a transaction that failed the other half still holds what it was for.
        if !std::mem::replace(&mut self.journal_switched, true) {
            cx.arena.journal_switch();
        }
        let token = self.take_token();
        self.pending.insert(token, Pending::Offsets);
        let changes = self.offsets.take_changes();
        cx.effects.push(Effect::Persist { token, change: MetaChange::Offsets { changes } });
    }

    /// 29: the message at a time.
    pub(super) fn search_offset(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        request: &Request,
    ) -> Handled {
        let asked = SearchOffset::decode(&request.ext)?;
        let slot = self.queue_of(cx, asked.topic, asked.queue_id)?;
        let upper =
            asked.boundary_type.is_some_and(|kind| kind.text().eq_ignore_ascii_case("UPPER"));
        let boundary = if upper { Boundary::Upper } else { Boundary::Lower };
        match cx.store.search_time(slot, asked.timestamp, boundary) {
            TimeEnd::At(offset) => answer_offset(cx, to, offset.0 as i64),
            TimeEnd::Cold(load) => Ok(Outcome::Wait(Cause::Load(load))),
        }
    }

    /// 30: behind the last visible message.
    pub(super) fn max_offset(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        request: &Request,
    ) -> Handled {
        let asked = GetMaxOffset::decode(&request.ext)?;
        let slot = self.queue_of(cx, asked.topic, asked.queue_id)?;
        let offset = cx.store.max_offset(slot);
        answer_offset(cx, to, offset.0 as i64)
    }

    /// 31: the first message that is still there.
    pub(super) fn min_offset(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        request: &Request,
    ) -> Handled {
        let asked = QueueOf::decode(&request.ext)?;
        let slot = self.queue_of(cx, asked.topic, asked.queue_id)?;
        let offset = cx.store.min_offset(slot);
        answer_offset(cx, to, offset.0 as i64)
    }

    /// 32: when the first message was stored; -1 without one.
    pub(super) fn earliest_store_time(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        request: &Request,
    ) -> Handled {
        let asked = QueueOf::decode(&request.ext)?;
        let slot = self.queue_of(cx, asked.topic, asked.queue_id)?;
        let ms = cx.store.earliest_ms(slot).unwrap_or(-1);
        cx.reply(to, response::SUCCESS, |frame| {
            frame.field_i64("timestamp", ms);
        });
        Ok(Outcome::Done)
    }

    /// 33: the message at a physical offset.
    pub(super) fn view_message(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        request: &Request,
    ) -> Handled {
        let asked = ViewMessage::decode(&request.ext)?;
        let missing =
            || Refusal::error(format!("can not find message by the offset, {}", asked.offset));
        let at = u64::try_from(asked.offset).map(LogOffset).map_err(|_| missing())?;
        self.pieces.clear();
        let size = match cx.view(at, &mut self.pieces) {
            Err(load) => return Ok(Outcome::Wait(Cause::Load(load))),
            Ok(None) => return Err(missing()),
            Ok(Some(size)) => size,
        };
        match cx.replies.outgoing(to.conn).filter(|_| !to.oneway) {
            None => cx.store.unpin_pieces(&self.pieces, cx.files),
            Some(outgoing) => {
                outgoing.write(|out| {
                    FrameWriter::reply(out, to.codec, to.opaque, response::SUCCESS)
                        .finish(size as usize);
                });
                outgoing.pieces.extend_from_slice(&self.pieces);
            }
        }
        Ok(Outcome::Done)
    }

    /// The queue that a request names; it must be one of the topic's.
    fn queue_of(
        &mut self,
        cx: &mut Context,
        topic: Value,
        queue: i32,
    ) -> Result<QueueSlot, Refusal> {
        let name = topic.text();
        let slot = self.topics.find(&name).ok_or_else(|| Refusal::no_topic(&name))?;
        let queue = self.checked_queue(slot, queue)?;
        Ok(self.topics.queue(slot, queue, cx.store))
    }

    fn checked_queue(&self, slot: topics::TopicSlot, queue: i32) -> Result<u32, Refusal> {
        let topic = self.topics.get(slot);
        let count = topic.queue_count();
        u32::try_from(queue).ok().filter(|queue| *queue < count).ok_or_else(|| {
            Refusal::invalid(format!(
                "queueId[{queue}] is illegal, topic[{}] has {count} queues",
                topic.config.name
            ))
        })
    }
}

fn answer_offset(cx: &mut Context, to: ReplyTo, offset: i64) -> Handled {
    cx.reply(to, response::SUCCESS, |frame| {
        frame.field_i64("offset", offset);
    });
    Ok(Outcome::Done)
}
