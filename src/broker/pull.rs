//! Pulls: checked, answered from the store, or held until a message comes.

use std::rc::Rc;

use crate::base::LogOffset;
use crate::base::limits::{HOLD_MS_MAX, PULL_BYTES_MAX, PULL_MESSAGES_MAX};
use crate::base::names;
use crate::base::topic::PERM_READ;
use crate::base::transfer::TransferChoice;
use crate::queue::QueueSlot;
use crate::store::{Bounds, Found, LoadId, ReadEnd, ReadLimits, Sources, Status};
use crate::wire::code::response;
use crate::wire::pull::{PullRequest, pull_flag};
use crate::wire::{FrameWriter, Request, body::heartbeat::MessageModel};

use super::Broker;
use super::consume_rates::RateSlot;
use super::context::{Cause, Context, FramePlace, Outcome, ReplyTo};
use super::holds::Hold;
use super::members::tag_codes;
use super::refusal::Refusal;
use super::topics::Topic;

/// A pull whose checks are done: all that is needed to answer it, now or later.
#[derive(Clone, Debug)]
pub struct HeldPull {
    pub to: ReplyTo,
    pub slot: QueueSlot,
    /// Where the client wants to go on; may be anything.
    wanted: i64,
    /// Entries before this were looked at and do not fit.
    scan_from: i64,
    limits: ReadLimits,
    filter: Filter,
    group_sys_flag: i32,
    topic_sys_flag: u32,
    /// Where what it is given is counted.
    rate: Option<RateSlot>,
}

/// Which messages a consumer wants, by the code of their tag.
#[derive(Clone, Debug)]
pub enum Filter {
    All,
    Codes(Rc<[i32]>),
}

impl Filter {
    fn of(codes: &Option<Rc<[i32]>>) -> Self {
        codes.as_ref().map_or(Self::All, |codes| Self::Codes(codes.clone()))
    }

    pub fn passes(&self, tag: i32) -> bool {
        match self {
            Self::All => true,
            Self::Codes(codes) => codes.contains(&tag),
        }
    }
}

/// How far a pull came.
enum Attempt {
    Answered,
    /// There is nothing yet; it may be held.
    Nothing,
    Cold(LoadId),
}

impl Broker {
    /// Serves 11 and 361.
    pub(super) fn pull(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        place: FramePlace,
        request: &Request,
    ) -> Result<Outcome, Refusal> {
        let pull = PullRequest::decode(&request.ext)?;
        let group = pull.consumer_group.text();
        let name = pull.topic.text();
        if self.options.broker_permission & PERM_READ == 0 {
            let remark = format!("the broker[{}] pulling message is forbidden", self.name);
            return Err(Refusal::new(response::NO_PERMISSION, remark));
        }
        let group_sys_flag = self.check_group(cx, &group)?;
        let topic_slot = self.topics.find(&name).ok_or_else(|| Refusal::no_topic(&name))?;
        let topic = self.topics.get(topic_slot);
        if !topic.config.is_readable() {
            let remark = format!("the topic[{name}] pulling message is forbidden");
            return Err(Refusal::new(response::NO_PERMISSION, remark));
        }
        let transfer = self.transfer_of(&pull, topic)?;
        let topic_sys_flag = topic.config.sys_flag;
        let read_queues = topic.config.read_queues;
        let queue = u32::try_from(pull.queue_id).ok().filter(|queue| *queue < read_queues);
        let queue = queue.ok_or_else(|| {
            Refusal::invalid(format!(
                "queueId[{}] is illegal, topic:[{name}] topicConfig.readQueueNums:[{read_queues}]",
                pull.queue_id
            ))
        })?;
        let filter = self.filter_of(&pull, &group, &name)?;
        let slot = self.topics.queue(topic_slot, queue, cx.store);
        let mut held = HeldPull {
            to,
            slot,
            wanted: pull.queue_offset,
            scan_from: pull.queue_offset,
            limits: self.read_limits(&pull, cx.store.log_range().1, transfer),
            filter,
            group_sys_flag,
            topic_sys_flag,
            rate: None,
        };
        // A pull that has waited for the disk must not take back what came meanwhile.
        if pull.has(pull_flag::COMMIT_OFFSET) && !place.waited {
            match self.commit(cx, &group, topic_slot, queue, pull.commit_offset) {
                // The next pull commits again.
                Err(refusal) if refusal.code == response::SYSTEM_BUSY => {}
                other => other?,
            }
        }
        held.rate = self.offsets.note_pull(&group, &name, queue, pull.queue_offset, cx.now.mono_us);
        let hold_us = self.hold_us(&pull);
        self.serve(cx, held, hold_us)
    }

    /// Answers, holds, or waits for the disk.
    fn serve(
        &mut self,
        cx: &mut Context,
        mut pull: HeldPull,
        hold_us: Option<u64>,
    ) -> Result<Outcome, Refusal> {
        match self.attempt(cx, &mut pull, false) {
            Attempt::Answered => Ok(Outcome::Done),
            Attempt::Cold(load) => Ok(Outcome::Wait(Cause::Load(load))),
            Attempt::Nothing => {
                let Some(hold_us) = hold_us else {
                    self.answer_empty(cx, &pull);
                    return Ok(Outcome::Done);
                };
                let deadline_us = cx.now.mono_us + hold_us;
                if let Err(hold) = self.holds.park(Hold { deadline_us, pull }) {
                    self.answer_empty(cx, &hold.pull);
                }
                Ok(Outcome::Done)
            }
        }
    }

    /// Reads once, from where the pull has not looked yet, and answers unless there is
    /// nothing to say before something happens. A pull that is `held` already is not
    /// answered by messages that do not fit it.
    fn attempt(&mut self, cx: &mut Context, pull: &mut HeldPull, held: bool) -> Attempt {
        self.pieces.clear();
        let passes = |tag| pull.filter.passes(tag);
        match cx.read(pull.slot, pull.scan_from, pull.limits, passes, &mut self.pieces) {
            ReadEnd::Cold(load) => Attempt::Cold(load),
            ReadEnd::Read(found) => match found.status {
                Status::OverflowOne => Attempt::Nothing,
                Status::NoMessageInQueue if pull.wanted == 0 => Attempt::Nothing,
                Status::NoMatchedMessage if held => {
                    pull.scan_from = found.next.0 as i64;
                    Attempt::Nothing
                }
                _ => {
                    self.answer(cx, pull, &found);
                    Attempt::Answered
                }
            },
        }
    }

    fn answer(&mut self, cx: &mut Context, pull: &HeldPull, found: &Found) {
        let code = match found.status {
            Status::Found => response::SUCCESS,
            Status::NoMatchedMessage | Status::Removing => response::PULL_RETRY_IMMEDIATELY,
            Status::OverflowOne => response::PULL_NOT_FOUND,
            Status::NoMessageInQueue if pull.wanted == 0 => response::PULL_NOT_FOUND,
            Status::NoMessageInQueue | Status::TooSmall | Status::OverflowBadly => {
                response::PULL_OFFSET_MOVED
            }
        };
        self.stats.gets += u64::from(found.messages);
        self.stats.get_bytes += u64::from(found.bytes);
        match found.status {
            Status::Found => {
                self.stats.gets_found += 1;
                if let Some(rate) = pull.rate {
                    self.offsets.note_given(rate, found.messages, cx.now.mono_us);
                }
            }
            _ => self.stats.gets_missed += 1,
        }
        let outgoing = cx.replies.outgoing(pull.to.conn).filter(|_| !pull.to.oneway);
        let Some(outgoing) = outgoing else {
            return cx.store.unpin_pieces(&self.pieces, cx.files);
        };
        outgoing.write(|out| {
            let mut frame = FrameWriter::reply(out, pull.to.codec, pull.to.opaque, code);
            frame.remark(found.status.name());
            frame.field_i64("suggestWhichBrokerId", 0);
            frame.field_i64("nextBeginOffset", found.next.0 as i64);
            frame.field_i64("minOffset", found.min.0 as i64);
            frame.field_i64("maxOffset", found.max.0 as i64);
            frame.field_i64("topicSysFlag", i64::from(pull.topic_sys_flag));
            frame.field_i64("groupSysFlag", i64::from(pull.group_sys_flag));
            frame.finish(found.bytes as usize);
        });
        let sources = Sources { arena: cx.arena, files: cx.files };
        cx.store.hand_over(sources, pull.limits.transfer, &self.pieces, outgoing);
    }

    /// The answer of a pull whose time is up: nothing, or nothing that fits.
    fn answer_empty(&mut self, cx: &mut Context, pull: &HeldPull) {
        self.pieces.clear();
        let found = cx.store.read_nothing(pull.slot, pull.wanted, pull.scan_from);
        self.answer(cx, pull, &found);
    }

    /// Messages became visible in `queue`: its held pulls look at them.
    pub(super) fn wake(&mut self, cx: &mut Context, queue: QueueSlot) {
        let mut woken = std::mem::take(&mut self.woken);
        self.holds.wake(queue, &mut woken);
        for mut hold in woken.drain(..) {
            match self.attempt(cx, &mut hold.pull, true) {
                Attempt::Answered => {}
                // What became visible just now is still in the ring.
                Attempt::Cold(_) => self.answer_empty(cx, &hold.pull),
                Attempt::Nothing => {
                    if let Err(hold) = self.holds.park(hold) {
                        self.answer_empty(cx, &hold.pull);
                    }
                }
            }
        }
        self.woken = woken;
    }

    /// Answers the held pulls whose time is up.
    pub(super) fn expire_holds(&mut self, cx: &mut Context) {
        let mut expired = std::mem::take(&mut self.woken);
        self.holds.expire(cx.now.mono_us, &mut expired);
        for hold in expired.drain(..) {
            self.answer_empty(cx, &hold.pull);
        }
        self.woken = expired;
    }

    /// The queues of a topic are going: their held pulls are told so.
    pub(super) fn end_holds(&mut self, cx: &mut Context, queue: QueueSlot, topic: &str) {
        let mut taken = Vec::new();
        self.holds.take_queue(queue, &mut taken);
        for hold in taken {
            cx.refuse(hold.pull.to, &Refusal::no_topic(topic));
        }
    }

    /// The group may consume. Returns its system flag.
    fn check_group(&mut self, cx: &mut Context, group: &str) -> Result<i32, Refusal> {
        let config = self.group_or_new(cx, group)?;
        if !config.consume_enable {
            let remark = format!("subscription group no permission, {group}");
            return Err(Refusal::new(response::NO_PERMISSION, remark));
        }
        Ok(config.group_sys_flag)
    }

    fn filter_of(&self, pull: &PullRequest, group: &str, topic: &str) -> Result<Filter, Refusal> {
        if pull.has(pull_flag::SUBSCRIPTION) {
            let is_tag = pull.expression_type.is_none_or(|kind| kind.is_empty() || kind == "TAG");
            if !is_tag {
                return Err(no_property_filter());
            }
            let Some(expression) = pull.subscription else { return Ok(Filter::All) };
            if expression == "*" || expression.is_empty() {
                return Ok(Filter::All);
            }
            let text = expression.text();
            let known = self.members.consumer_group(group);
            let known = known.and_then(|known| known.subscriptions.get(topic));
            return Ok(match known.filter(|known| known.data.sub_string == text) {
                Some(known) => Filter::of(&known.codes),
                None => Filter::of(&tag_codes(&text)),
            });
        }
        let known = self.members.consumer_group(group).ok_or_else(|| {
            let remark = format!("the consumer's group info not exist: {group}");
            Refusal::new(response::SUBSCRIPTION_NOT_EXIST, remark)
        })?;
        let broadcast_off = self.groups.get(group).is_some_and(|it| !it.consume_broadcast_enable);
        if broadcast_off && known.model == MessageModel::Broadcasting {
            let remark = format!("the consumer group[{group}] can not consume by broadcast way");
            return Err(Refusal::new(response::NO_PERMISSION, remark));
        }
        let subscribed = known.subscriptions.get(topic).ok_or_else(|| {
            let remark = format!("the consumer's subscription not exist: {group} {topic}");
            Refusal::new(response::SUBSCRIPTION_NOT_EXIST, remark)
        })?;
        if subscribed.data.sub_version < pull.sub_version {
            let remark = "the consumer's subscription not latest";
            return Err(Refusal::new(response::SUBSCRIPTION_NOT_LATEST, remark));
        }
        if !subscribed.data.is_tag() {
            return Err(no_property_filter());
        }
        // Retry messages are for the whole group, whatever its tags.
        if names::is_retry(topic) {
            return Ok(Filter::All);
        }
        Ok(Filter::of(&subscribed.codes))
    }

    /// What is wanted, within what the options allow for recent and for old messages.
    fn read_limits(
        &self,
        pull: &PullRequest,
        log_end: LogOffset,
        transfer: TransferChoice,
    ) -> ReadLimits {
        let options = &self.options;
        let wanted_bytes = pull.max_msg_bytes.filter(|wanted| *wanted > 0);
        let wanted_bytes = wanted_bytes.map_or(u32::MAX, |wanted| wanted as u32);
        let wanted = u32::try_from(pull.max_msg_nums).unwrap_or(1);
        let bounds = |messages: u32, bytes: u64| Bounds {
            messages: messages.min(PULL_MESSAGES_MAX).min(wanted).max(1),
            bytes: (bytes.min(PULL_BYTES_MAX) as u32).min(wanted_bytes),
        };
        let reach = self.memory / 100 * u64::from(options.access_in_memory_max_ratio);
        ReadLimits {
            recent_from: LogOffset(log_end.0.saturating_sub(reach)),
            recent: bounds(
                options.max_transfer_count_in_memory,
                options.max_transfer_bytes_in_memory,
            ),
            old: bounds(options.max_transfer_count_in_disk, options.max_transfer_bytes_in_disk),
            transfer,
        }
    }

    /// How the messages are moved: as the request says, or the topic, or the broker.
    fn transfer_of(&self, pull: &PullRequest, topic: &Topic) -> Result<TransferChoice, Refusal> {
        let Some(name) = pull.transfer else {
            return Ok(topic.transfer.unwrap_or(self.options.transfer));
        };
        let name = name.text();
        name.parse().map_err(|error| Refusal::invalid(format!("ringmq.transfer={name}: {error}")))
    }

    /// How long the pull may be held, in microseconds; None if not at all.
    fn hold_us(&self, pull: &PullRequest) -> Option<u64> {
        if !pull.has(pull_flag::SUSPEND) {
            return None;
        }
        let ms = match self.options.long_polling_enable {
            true => pull.suspend_timeout_millis.clamp(0, HOLD_MS_MAX) as u64,
            false => self.options.short_polling_time_mills,
        };
        Some(ms * 1_000)
    }
}

fn no_property_filter() -> Refusal {
    Refusal::error("the broker does not support consumer to filter message by SQL92")
}
