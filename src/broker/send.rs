//! Sends: checked as they arrive, appended together when the turn ends, answered when
//! their topic's level is reached.
//!
//! Physical offsets exist only once a turn's messages have been sorted by queue and
//! appended in one go, so a send is first *admitted*: what is needed of it is noted,
//! its body stays where it was received.

use std::net::SocketAddr;
use std::ops::Range;

use crate::base::limits::{PROPERTIES_BYTES_MAX, TURN_BYTES_MAX};
use crate::base::memory::Span;
use crate::base::properties::{self, KEY_END, VALUE_END};
use crate::base::topic::PERM_WRITE;
use crate::base::{AckLevel, ConnId, LogOffset, Now, QueueOffset, names};
use crate::log::NewRecord;
use crate::log::record::record_len;
use crate::queue::QueueSlot;
use crate::store::Stored;
use crate::wire::MessageIdHost;
use crate::wire::code::response;
use crate::wire::send::SendRequest;
use crate::wire::{FrameWriter, Request};

use super::context::{Context, FramePlace, Outcome, ReplyTo};
use super::deferred::Deferred;
use super::refusal::Refusal;
use super::topics::TopicSlot;
use super::{Broker, REGION};

/// The sends of a turn, and the appended ones whose level is not reached yet.
#[derive(Debug, Default)]
pub struct Sends {
    requests: Vec<Admitted>,
    records: Vec<Record>,
    /// Property text as it will be stored.
    scratch: Vec<u8>,
    /// Record bytes admitted in this turn.
    bytes: usize,
    /// The requests in the order in which they are stored: queue above request number.
    order: Vec<u64>,
    /// What the records became, in the order of `records`.
    stored: Vec<Stored>,
    /// Offsets and unique id of one reply.
    data: Vec<u8>,
    ids: Vec<u8>,
    pub(super) deferred: Deferred,
    next_queue: u32,
}

/// One admitted request: one record, or those of a batch.
#[derive(Clone, Copy, Debug)]
struct Admitted {
    to: ReplyTo,
    place: FramePlace,
    queue: u32,
    first: u32,
    count: u32,
    /// Of its records, as they will be stored.
    bytes: usize,
    uniq: Text,
    level: AckLevel,
}

/// One message, to be appended when the turn ends.
#[derive(Clone, Copy, Debug)]
struct Record {
    slot: QueueSlot,
    topic: TopicSlot,
    queue: u32,
    flag: i32,
    sys_flag: i32,
    born_ms: i64,
    born_host: SocketAddr,
    reconsume_times: i32,
    body: Span,
    properties: Text,
    tag: i32,
    level: AckLevel,
}

/// A range of the turn's scratch memory.
#[derive(Clone, Copy, Debug, Default)]
struct Text {
    start: u32,
    len: u32,
}

/// What a property text was found to say.
#[derive(Debug, Default)]
struct Found {
    tag: i32,
    uniq: Text,
    no_wait: bool,
}

/// The start of a request that may still be refused.
#[derive(Clone, Copy)]
struct Mark {
    records: usize,
    scratch: usize,
    bytes: usize,
}

/// A reply to a send, without the offsets and the unique id that go with it.
#[derive(Clone, Copy, Debug)]
pub struct SendReply {
    pub to: ReplyTo,
    queue: u32,
    queue_offset: QueueOffset,
    count: u32,
}

/// What all replies of a turn share.
#[derive(Debug)]
struct Replier {
    host: MessageIdHost,
    trace_on: bool,
    ids: Vec<u8>,
}

/// sysFlag bits that a client may set: compressed, multi-tags, compression kind.
const CLIENT_SYS_FLAGS: i32 = 0x1 | 0x2 | 0x700;
/// sysFlag bits of the transaction type.
const TRANSACTION_BITS: i32 = 0xC;
const OFFSET_BYTES: usize = 8;

impl Broker {
    /// Takes one of 10, 310 and 320 into the turn.
    pub(super) fn send(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        place: FramePlace,
        request: &Request,
    ) -> Result<Outcome, Refusal> {
        let send = SendRequest::decode(request)?;
        let name = send.topic.text();
        let Some(topic) = self.topics.find(&name) else {
            return self.create_for_send(cx, &name, send.default_topic_queue_nums);
        };
        if let Some(cause) = self.must_wait(&name) {
            return Ok(Outcome::Wait(cause));
        }
        if names::is_closed_to_clients(&name) {
            let remark = format!("the topic[{name}] is the system's; clients cannot send to it");
            return Err(Refusal::new(response::NO_PERMISSION, remark));
        }
        cx.store.accepts_writes().map_err(Refusal::unavailable)?;
        let queue = self.choose_queue(topic, send.queue_id)?;
        let level = self.topics.get(topic).level;
        let template = Record {
            slot: self.topics.queue(topic, queue, cx.store),
            topic,
            queue,
            flag: send.flag,
            sys_flag: checked_sys_flag(send.sys_flag)?,
            born_ms: send.born_timestamp,
            born_host: cx.replies.peer(to.conn).unwrap_or(self.store_host.into()),
            reconsume_times: send.reconsume_times,
            body: place.body,
            properties: Text::default(),
            tag: 0,
            level,
        };
        if request.body.len() > self.options.max_message_size as usize {
            let (is, max) = (request.body.len(), self.options.max_message_size);
            self.stats.puts_failed += 1;
            return Err(Refusal::illegal(format!(
                "the message is illegal: its body has {is} bytes, maxMessageSize is {max}"
            )));
        }
        let mark = self.sends.mark();
        let admitted = if send.batch {
            self.admit_batch(&name, &send, template, cx.now)
        } else {
            self.admit_single(&send, template, cx.now)
        };
        let bytes = self.sends.bytes - mark.bytes;
        let max = cx.store.batch_bytes_max();
        let admitted = admitted.and_then(|admitted| match bytes as u64 <= max {
            true => Ok(admitted),
            false => Err(Refusal::illegal(format!(
                "the message is illegal: it takes {bytes} bytes of the CommitLog at once, \
                 {max} are allowed"
            ))),
        });
        match admitted {
            Ok((uniq, level)) => {
                let (first, count) = self.sends.since(mark);
                let admitted = Admitted { to, place, queue, first, count, bytes, uniq, level };
                self.sends.requests.push(admitted);
                Ok(Outcome::Done)
            }
            Err(refusal) => {
                self.sends.forget(mark);
                self.stats.puts_failed += 1;
                Err(refusal)
            }
        }
    }

    fn admit_single(
        &mut self,
        send: &SendRequest,
        template: Record,
        now: Now,
    ) -> Result<(Text, AckLevel), Refusal> {
        let start = self.sends.scratch.len();
        if let Some(text) = &send.properties {
            text.append_to(&mut self.sends.scratch);
        }
        self.admit_record(start, template, now)
    }

    fn admit_batch(
        &mut self,
        topic: &str,
        send: &SendRequest,
        template: Record,
        now: Now,
    ) -> Result<(Text, AckLevel), Refusal> {
        if names::is_retry(topic) {
            return Err(Refusal::illegal("a batch cannot go to a retry topic"));
        }
        let shared = self.sends.scratch.len();
        if let Some(text) = &send.properties {
            text.append_to(&mut self.sends.scratch);
        }
        let shared = shared..self.sends.scratch.len();
        let mut first = None;
        for entry in send.entries() {
            let entry = entry.map_err(|wrong| Refusal::illegal(wrong.to_string()))?;
            let start = self.sends.scratch.len();
            self.sends.scratch.extend_from_slice(entry.properties);
            end_property(&mut self.sends.scratch, start);
            self.sends.scratch.extend_from_within(shared.clone());
            let body = Span {
                start: template.body.start + entry.body_at as u32,
                len: entry.body.len() as u32,
                ..template.body
            };
            let record = Record { body, flag: entry.flag, ..template };
            let admitted = self.admit_record(start, record, now)?;
            first.get_or_insert(admitted);
        }
        first.ok_or_else(|| Refusal::illegal("the batch holds no message"))
    }

    /// Completes the properties that begin at `start`, and notes the record.
    fn admit_record(
        &mut self,
        start: usize,
        template: Record,
        now: Now,
    ) -> Result<(Text, AckLevel), Refusal> {
        let scratch = &mut self.sends.scratch;
        // Before they are searched: what a frame may hold would take seconds.
        check_properties_len(scratch.len() - start)?;
        end_property(scratch, start);
        let mut found = scan_properties(scratch, start)?;
        if found.uniq.len == 0 {
            let id = self.unique_ids.next(now.unix_ms);
            properties::push(scratch, b"UNIQ_KEY", &id);
            let end = scratch.len() - 1;
            found.uniq = Text { start: (end - id.len()) as u32, len: id.len() as u32 };
        }
        scratch.extend_from_slice(&self.own_properties);
        let len = scratch.len() - start;
        check_properties_len(len)?;
        let level = if found.no_wait { AckLevel::Appended } else { template.level };
        let properties = Text { start: start as u32, len: len as u32 };
        let topic = &self.topics.get(template.topic).config.name;
        let body = template.body.len as usize;
        self.sends.bytes += record_len(topic.len(), body, len, template.born_host.is_ipv6());
        self.sends.records.push(Record { properties, tag: found.tag, ..template });
        Ok((found.uniq, level))
    }

    /// The queue that the client names, or the next one where it leaves the choice.
    fn choose_queue(&mut self, topic: TopicSlot, wanted: i32) -> Result<u32, Refusal> {
        let topic = self.topics.get(topic);
        let config = &topic.config;
        if self.options.broker_permission & PERM_WRITE == 0 && config.order {
            let remark = format!("the broker[{}] sending message is forbidden", self.name);
            return Err(Refusal::new(response::NO_PERMISSION, remark));
        }
        match u32::try_from(wanted) {
            Ok(queue) if queue < topic.queue_count() => Ok(queue),
            Ok(queue) => Err(Refusal::invalid(format!(
                "request queueId[{queue}] is illegal, topic[{}] has {} queues",
                config.name,
                topic.queue_count()
            ))),
            Err(_) if config.write_queues == 0 => {
                let remark = format!("topic[{}] has no queue to write to", config.name);
                Err(Refusal::new(response::NO_PERMISSION, remark))
            }
            Err(_) => {
                self.sends.next_queue = self.sends.next_queue.wrapping_add(1);
                Ok(self.sends.next_queue % config.write_queues)
            }
        }
    }

    /// Appends the turn's messages and answers those whose level is reached. False if
    /// the log takes no more now: the rest stays until `take_unappended`.
    pub(super) fn append_sends(&mut self, cx: &mut Context) -> bool {
        let max = cx.store.batch_bytes_max();
        let mut from = 0;
        while from < self.sends.requests.len() {
            let (to, bytes) = self.sends.next_batch(from, max);
            match cx.store.begin_batch(bytes, cx.now, cx.arena) {
                Ok(()) => {}
                Err(why) if why.passes() => {
                    self.sends.requests.drain(..from);
                    return false;
                }
                Err(why) => {
                    let refusal = Refusal::no_room(&why);
                    for admitted in self.sends.requests.drain(from..) {
                        self.stats.puts_failed += 1;
                        cx.refuse(admitted.to, &refusal);
                    }
                    break;
                }
            }
            self.append_records(cx, from..to);
            cx.store.end_batch(cx.arena);
            self.answer_sends(cx, from..to);
            from = to;
        }
        self.sends.clear();
        true
    }

    /// Appends the records of these requests, which are a batch.
    fn append_records(&mut self, cx: &mut Context, requests: Range<usize>) {
        let sends = &mut self.sends;
        let records = &sends.records;
        let key = |at: usize| {
            let slot = records[sends.requests[at].first as usize].slot;
            u64::from(slot.number()) << 32 | at as u64
        };
        sends.order.clear();
        sends.order.extend(requests.map(key));
        // The number below makes equal queues keep their order, without the memory that
        // a stable sort would allocate.
        sends.order.sort_unstable();
        sends.stored.resize(sends.records.len(), Stored::default());
        for key in &sends.order {
            let request = &sends.requests[*key as u32 as usize];
            for at in request.first..request.first + request.count {
                let record = &sends.records[at as usize];
                let new = NewRecord {
                    topic: self.topics.get(record.topic).config.name.as_bytes(),
                    queue_id: record.queue,
                    flag: record.flag,
                    sys_flag: record.sys_flag,
                    queue_offset: 0,
                    born_ms: record.born_ms,
                    born_host: record.born_host,
                    store_host: self.store_host,
                    reconsume_times: record.reconsume_times,
                    prepared_offset: 0,
                    body: cx.frames.span(record.body),
                    properties: &[record.properties.of(&sends.scratch)],
                };
                let stored = cx.store.append(cx.arena, record.slot, record.tag, record.level, new);
                sends.stored[at as usize] = stored;
            }
        }
    }

    fn answer_sends(&mut self, cx: &mut Context, answered: Range<usize>) {
        let mut from = self.replier();
        // Asked for only now: it may have risen since the messages were admitted.
        let floor = cx.store.floor();
        for admitted in &self.sends.requests[answered] {
            let level = admitted.level.max(floor);
            let first = admitted.first as usize;
            let stored = &self.sends.stored[first..first + admitted.count as usize];
            let data = &mut self.sends.data;
            data.clear();
            stored.iter().for_each(|one| data.extend_from_slice(&one.at.0.to_be_bytes()));
            data.extend_from_slice(admitted.uniq.of(&self.sends.scratch));
            let last = stored.last().expect("a request has a record");
            let reply = SendReply {
                to: admitted.to,
                queue: admitted.queue,
                queue_offset: stored[0].offset,
                count: admitted.count,
            };
            self.stats.puts += u64::from(admitted.count);
            self.stats.put_bytes += stored.iter().map(|one| u64::from(one.len)).sum::<u64>();
            if level == AckLevel::Appended {
                reply.write(cx, &mut from, data, response::SUCCESS);
                continue;
            }
            let end = last.at + u64::from(last.len);
            cx.store.demand(level);
            self.sends.deferred.push(level, end, cx.now.mono_us, reply, data);
        }
        self.sends.ids = from.ids;
    }

    fn replier(&mut self) -> Replier {
        Replier {
            host: MessageIdHost::new(self.store_host),
            trace_on: self.options.trace_on,
            ids: std::mem::take(&mut self.sends.ids),
        }
    }

    /// Answers the sends that have reached their level, or have waited too long for it.
    pub(super) fn release_sends(&mut self, cx: &mut Context) {
        if let Some(failure) = cx.store.failure() {
            let refusal = Refusal::unavailable(format!("the CommitLog has failed: {failure}"));
            return self.sends.deferred.fail(|reply| cx.refuse(reply.to, &refusal));
        }
        let marks = cx.store.watermarks();
        let (now_us, mut data) = (cx.now.mono_us, std::mem::take(&mut self.sends.data));
        let mut from = self.replier();
        self.sends.deferred.release(&marks, now_us, &mut data, |reply, data, late| {
            let code = if late { response::FLUSH_DISK_TIMEOUT } else { response::SUCCESS };
            reply.write(cx, &mut from, data, code);
        });
        self.sends.data = data;
        self.sends.ids = from.ids;
    }

    /// The frames whose messages the log did not take, in arrival order.
    pub fn take_unappended(&mut self) -> Vec<(ConnId, FramePlace)> {
        let places = self.sends.requests.drain(..).map(|one| (one.to.conn, one.place)).collect();
        self.sends.clear();
        places
    }

    /// The turn has admitted so much that it should end.
    pub fn turn_is_full(&self) -> bool {
        self.sends.bytes >= TURN_BYTES_MAX / 2
    }
}

impl SendReply {
    /// Writes the reply. `data`: the records' physical offsets, then the unique id.
    fn write(&self, cx: &mut Context, from: &mut Replier, data: &[u8], code: i32) {
        if self.to.oneway {
            return;
        }
        let Some(outgoing) = cx.replies.outgoing(self.to.conn) else { return };
        let (offsets, uniq) = data.split_at(self.count as usize * OFFSET_BYTES);
        let trace_on = from.trace_on;
        let ids = from.join_ids(offsets);
        outgoing.write(|out| {
            let mut frame = FrameWriter::reply(out, self.to.codec, self.to.opaque, code);
            frame.field_plain("msgId", ids);
            frame.field_i64("queueId", i64::from(self.queue));
            frame.field_i64("queueOffset", self.queue_offset.0 as i64);
            frame.field_bytes("transactionId", uniq);
            frame.field_plain("MSG_REGION", REGION.as_bytes());
            frame.field_bool("TRACE_ON", trace_on);
            frame.finish(0);
        });
    }
}

impl Replier {
    /// The message ids of records at these offsets, joined by commas.
    fn join_ids(&mut self, offsets: &[u8]) -> &[u8] {
        self.ids.clear();
        for bytes in offsets.chunks_exact(OFFSET_BYTES) {
            if !self.ids.is_empty() {
                self.ids.push(b',');
            }
            let at = u64::from_be_bytes(bytes.try_into().expect("eight bytes"));
            self.host.push_id(LogOffset(at), &mut self.ids);
        }
        &self.ids
    }
}

impl Sends {
    fn mark(&self) -> Mark {
        Mark { records: self.records.len(), scratch: self.scratch.len(), bytes: self.bytes }
    }

    /// First and number of the records since `mark`.
    fn since(&self, mark: Mark) -> (u32, u32) {
        (mark.records as u32, (self.records.len() - mark.records) as u32)
    }

    /// The end of the batch that begins with request `from`, and its bytes: at least
    /// one request, and no more of them than fit into `max`.
    fn next_batch(&self, from: usize, max: u64) -> (usize, u64) {
        let mut bytes = 0;
        for (to, admitted) in self.requests.iter().enumerate().skip(from) {
            let longer = bytes + admitted.bytes as u64;
            if longer > max && to > from {
                return (to, bytes);
            }
            bytes = longer;
        }
        (self.requests.len(), bytes)
    }

    /// A request was refused after some of its records were noted.
    fn forget(&mut self, mark: Mark) {
        self.records.truncate(mark.records);
        self.scratch.truncate(mark.scratch);
        self.bytes = mark.bytes;
    }

    /// Takes this turn's sends to a topic that goes away. Returns their senders.
    pub(super) fn take_to(&mut self, topic: TopicSlot) -> Vec<ReplyTo> {
        let requests = std::mem::take(&mut self.requests);
        let records = std::mem::take(&mut self.records);
        let mut refused = Vec::new();
        for mut admitted in requests {
            let first = admitted.first as usize;
            let own = &records[first..first + admitted.count as usize];
            if own[0].topic == topic {
                refused.push(admitted.to);
                continue;
            }
            admitted.first = self.records.len() as u32;
            self.records.extend_from_slice(own);
            self.requests.push(admitted);
        }
        refused
    }

    fn clear(&mut self) {
        self.requests.clear();
        self.records.clear();
        self.scratch.clear();
        self.order.clear();
        self.stored.clear();
        self.bytes = 0;
    }
}

impl Text {
    fn of<'a>(&self, scratch: &'a [u8]) -> &'a [u8] {
        &scratch[self.start as usize..][..self.len as usize]
    }
}

fn check_properties_len(len: usize) -> Result<(), Refusal> {
    if len <= PROPERTIES_BYTES_MAX {
        return Ok(());
    }
    Err(Refusal::illegal(format!(
        "the message is illegal: its properties have {len} bytes, {PROPERTIES_BYTES_MAX} are \
         allowed"
    )))
}

/// The last property gets its separator where a client left it out.
fn end_property(text: &mut Vec<u8>, start: usize) {
    if text.len() > start && text.last() != Some(&VALUE_END) {
        text.push(VALUE_END);
    }
}

/// Reads the property text from `start` to the end, and takes out what the broker
/// itself sets. Refuses what would be delivered otherwise than its sender means.
fn scan_properties(text: &mut Vec<u8>, start: usize) -> Result<Found, Refusal> {
    let mut found = Found::default();
    let mut at = start;
    while at < text.len() {
        let key_end = properties::next_mark(text, at);
        let mut value_end = key_end;
        while text.get(value_end) == Some(&KEY_END) {
            value_end = properties::next_mark(text, value_end + 1);
        }
        let end = value_end + 1;
        if key_end == value_end {
            at = end;
            continue;
        }
        let value = key_end + 1..value_end;
        match &text[at..key_end] {
            b"TAGS" => found.tag = properties::tag_code(&text[value]),
            b"UNIQ_KEY" => {
                found.uniq = Text { start: value.start as u32, len: value.len() as u32 };
            }
            b"WAIT" => found.no_wait = text[value].eq_ignore_ascii_case(b"false"),
            b"TRAN_MSG" if text[value.clone()].eq_ignore_ascii_case(b"true") => {
                return Err(Refusal::illegal("transactional messages are not supported yet"));
            }
            b"DELAY" if text[value.clone()] == *b"0" => {}
            key @ (b"DELAY"
            | b"TIMER_DELAY_SEC"
            | b"TIMER_DELAY_MS"
            | b"TIMER_DELIVER_MS"
            | b"__STARTDELIVERTIME") => {
                let key = String::from_utf8_lossy(key);
                let remark = format!("delayed messages are not supported yet: property {key}");
                return Err(Refusal::illegal(remark));
            }
            b"POP_CK" | b"MSG_REGION" | b"TRACE_ON" | b"CLUSTER" => {
                text.drain(at..end);
                continue;
            }
            _ => {}
        }
        at = end;
    }
    Ok(found)
}

/// What of the client's sysFlag is stored.
fn checked_sys_flag(flag: i32) -> Result<i32, Refusal> {
    if flag & TRANSACTION_BITS != 0 {
        return Err(Refusal::illegal("transactional messages are not supported yet"));
    }
    Ok(flag & CLIENT_SYS_FLAGS)
}
