//! The history of what clients were told and saw, and what must follow from it.
//!
//! A *fact* is a message at its place in a queue: some client was told of it, or saw it.
//! It has the level that it was promised at, and dies only where the promise ends: by a
//! power cut below *flushed*, with the arena or the kernel below *written*, or of old age.

use std::collections::{BTreeMap, BTreeSet};

use ringmq::base::{AckLevel, LogOffset};
use ringmq::log::Watermarks;
use ringmq::wire::StoredMessage;

/// A queue of a topic; topics go by their number here.
pub type Queue = (usize, u32);

/// What the log lost, or may have lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// Nothing: a clean stop, or a crash of the process alone.
    Nothing,
    /// The arena is gone, the kernel lives.
    Arena,
    /// The kernel has crashed, the device lives.
    Kernel,
    /// The power failed.
    Unflushed,
}

#[derive(Default)]
pub struct Checker {
    messages: Vec<Message>,
    queues: BTreeMap<Queue, History>,
    commits: BTreeMap<(usize, Queue), Commits>,
    /// Levels of the topics.
    pub levels: Vec<AckLevel>,
    /// Positions by sending connection and queue, in the order of sending.
    orders: BTreeMap<(u64, Queue), BTreeMap<u64, u64>>,
    /// Below it the log has expired.
    pub log_min: LogOffset,
    /// From here on nothing is acknowledged or shown that is not written: the arena ends
    /// with the process.
    pub floor_from: Option<LogOffset>,
    pub counts: Counts,
}

/// What happened, to see that a run did not miss its point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub acknowledged: u64,
    pub refused: u64,
    pub seen: u64,
    pub held_and_woken: u64,
    pub lost: u64,
    pub expired: u64,
    pub commits: u64,
}

/// One message that a client has sent.
#[derive(Clone, Debug)]
pub struct Message {
    pub topic: usize,
    /// None: the broker chooses.
    pub queue: Option<u32>,
    pub connection: u64,
    pub sequence: u64,
    pub tag: u8,
    pub len: usize,
    pub no_wait: bool,
    refused: Option<i32>,
    place: Option<(Queue, u64)>,
}

#[derive(Default)]
struct History {
    facts: BTreeMap<u64, Fact>,
    /// Offsets of facts that a loss took; they never come back with other content.
    lost: BTreeMap<u64, u64>,
    /// Behind the highest offset that was ever visible.
    visible_end: u64,
}

#[derive(Clone, Debug)]
struct Fact {
    uid: u64,
    at: LogOffset,
    /// What was promised; the highest counts.
    level: AckLevel,
    /// Once somebody saw it: of all that a consumer can tell of the record.
    crc: Option<u32>,
    since_us: u64,
    visible_since_us: Option<u64>,
}

#[derive(Default)]
struct Commits {
    /// Number and offset.
    acknowledged: Option<(u64, i64)>,
    /// Sent after that, with an unknown end.
    later: Vec<(u64, i64)>,
    ever: BTreeSet<i64>,
}

/// What a pull was answered, as far as it matters here.
pub struct Pulled<'a> {
    pub queue: Queue,
    pub from: i64,
    /// None: all tags.
    pub tags: Option<&'a [u8]>,
    pub code: i32,
    pub next: i64,
    pub min: i64,
    pub max: i64,
    pub messages: &'a [StoredMessage<'a>],
    /// `visible_end` when the pull was sent.
    pub visible_before: u64,
    /// The client reads at once, so the answer is fresh.
    pub prompt: bool,
    pub now_us: u64,
}

impl Checker {
    pub fn message(&self, uid: u64) -> &Message {
        &self.messages[uid as usize]
    }

    pub fn visible_end(&self, queue: Queue) -> u64 {
        self.queues.get(&queue).map_or(0, |history| history.visible_end)
    }

    pub fn queues(&self) -> Vec<Queue> {
        self.queues.keys().copied().collect()
    }

    /// A message that is known to be in a queue, and where its record begins.
    pub fn some_fact(&self, queue: Queue, which: u64) -> Option<(u64, LogOffset)> {
        let facts = &self.queues.get(&queue)?.facts;
        let (last, _) = facts.last_key_value()?;
        let fact = facts.range(which % (last + 1)..).next()?.1;
        fact.visible_since_us.map(|_| (fact.uid, fact.at))
    }

    /// Whether a message has expired, or was lost.
    pub fn may_be_gone(&self, uid: u64) -> bool {
        let place = self.message(uid).place;
        let fact = place.and_then(|(queue, offset)| self.queues.get(&queue)?.facts.get(&offset));
        fact.is_none_or(|fact| fact.at < self.log_min)
    }

    /// The topic is deleted, with all that is known of it.
    pub fn forget(&mut self, topic: usize) {
        self.queues.retain(|queue, _| queue.0 != topic);
        self.commits.retain(|(_, queue), _| queue.0 != topic);
        self.orders.retain(|(_, queue), _| queue.0 != topic);
    }

    // ----- Sends -------------------------------------------------------------------

    /// A message goes out. Returns its id.
    #[allow(clippy::too_many_arguments)]
    pub fn sent(
        &mut self,
        topic: usize,
        queue: Option<u32>,
        connection: u64,
        tag: u8,
        len: usize,
        no_wait: bool,
    ) -> u64 {
        let uid = self.messages.len() as u64;
        self.messages.push(Message {
            topic,
            queue,
            connection,
            sequence: uid,
            tag,
            len,
            no_wait,
            refused: None,
            place: None,
        });
        uid
    }

    /// The body of a message: its id, then what follows from it.
    pub fn body(uid: u64, len: usize) -> Vec<u8> {
        let mut body = uid.to_be_bytes().to_vec();
        body.extend((0..len).map(|i| (uid as usize).wrapping_mul(31).wrapping_add(i) as u8));
        body
    }

    /// A send was answered: `code` 0, or 10 where it took too long.
    pub fn acknowledged(
        &mut self,
        uids: &[u64],
        queue: u32,
        first: u64,
        places: &[LogOffset],
        in_time: bool,
        now_us: u64,
    ) {
        assert_eq!(uids.len(), places.len(), "as many message ids as messages");
        for (i, (uid, at)) in uids.iter().zip(places).enumerate() {
            let message = &self.messages[*uid as usize];
            assert_eq!(message.queue.unwrap_or(queue), queue, "the queue that was asked for");
            let topic = message.topic;
            let floor = self.floor_at(*at);
            if !in_time && floor > AckLevel::Appended {
                continue; // Nothing was promised.
            }
            let level = match message.no_wait || !in_time {
                true => floor,
                false => self.levels[topic].max(floor),
            };
            self.place((topic, queue), first + i as u64, *uid, *at, level, now_us);
            self.counts.acknowledged += 1;
        }
    }

    pub fn refused(&mut self, uids: &[u64], code: i32) {
        self.counts.refused += uids.len() as u64;
        for uid in uids {
            self.messages[*uid as usize].refused = Some(code);
        }
    }

    /// Notes that a message is at an offset.
    fn place(
        &mut self,
        queue: Queue,
        offset: u64,
        uid: u64,
        at: LogOffset,
        level: AckLevel,
        now_us: u64,
    ) {
        let message = &mut self.messages[uid as usize];
        let here = (queue, offset);
        let before = *message.place.get_or_insert(here);
        assert_eq!(before, here, "message {uid} is stored twice: {message:?}");
        let history = self.queues.entry(queue).or_default();
        let lost = history.lost.get(&offset);
        assert!(lost.is_none(), "offset {offset} of {queue:?} was {lost:?}, and is {uid} again");
        let fact = history.facts.entry(offset).or_insert_with(|| Fact {
            uid,
            at,
            level,
            crc: None,
            since_us: now_us,
            visible_since_us: None,
        });
        assert_eq!((fact.uid, fact.at), (uid, at), "{queue:?} at {offset} has changed: {fact:?}");
        fact.level = fact.level.max(level);
        if level >= self.levels[queue.0] {
            fact.visible_since_us.get_or_insert(now_us);
            history.visible_end = history.visible_end.max(offset + 1);
        }
        if message.queue.is_none() {
            return; // The broker chose, and may have chosen in any order.
        }
        let (connection, sequence) = (message.connection, message.sequence);
        let order = self.orders.entry((connection, queue)).or_default();
        order.insert(sequence, offset);
        let lower = order.range(..sequence).next_back().map(|(_, offset)| *offset);
        let upper = order.range(sequence + 1..).next().map(|(_, offset)| *offset);
        let in_order =
            lower.is_none_or(|lower| lower < offset) && upper.is_none_or(|upper| offset < upper);
        assert!(
            in_order,
            "{queue:?}: message {uid} at {offset} is between {lower:?} and {upper:?}"
        );
    }

    // ----- Pulls -------------------------------------------------------------------

    /// Messages leave the broker: they must have reached their level.
    pub fn departs(&self, topic: usize, end: LogOffset, marks: &Watermarks) {
        let level = self.levels[topic].max(self.floor_at(LogOffset(end.0 - 1)));
        assert!(
            end <= marks.of(level),
            "a message that ends at {end} is shown before it is {level}: {marks:?}"
        );
    }

    pub fn pulled(&mut self, pulled: &Pulled) {
        let Pulled { queue, from, next, min, max, messages, now_us, .. } = *pulled;
        assert!(min <= max, "{queue:?}: min {min}, max {max}");
        let seen: Vec<u64> =
            messages.iter().map(|message| self.see(queue, message, now_us)).collect();
        let ascending = seen.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(ascending, "{queue:?} from {from}: {seen:?}");
        let (first, last) = (seen.first(), seen.last());
        assert!(first.is_none_or(|first| *first as i64 >= from), "{queue:?} from {from}: {seen:?}");
        assert!(last.is_none_or(|last| (*last as i64) < next), "{queue:?} next {next}: {seen:?}");
        if let Some(tags) = pulled.tags {
            let fits = |offset: &u64| {
                let fact = &self.queues[&queue].facts[offset];
                tags.contains(&self.messages[fact.uid as usize].tag)
            };
            assert!(seen.iter().all(fits), "{queue:?}: tags {tags:?}, got {seen:?}");
        }
        self.check_min(queue, min);
        if pulled.code != 21 {
            assert!(next >= from, "{queue:?}: from {from}, next {next}");
            self.check_passed(pulled, &seen);
        } else {
            let known = self.visible_end(queue).min(pulled.visible_before) as i64;
            let right = (from < min && next == min) || (from > max && next == max);
            assert!(
                right || from == 0 || max == 0,
                "{queue:?}: {from} moved to {next}: {min} {max}"
            );
            assert!(max >= known, "{queue:?}: max {max}, shown up to {known}");
        }
    }

    /// Everything known between `from` and `next` that fits was given.
    fn check_passed(&self, pulled: &Pulled, seen: &[u64]) {
        let Pulled { queue, from, next, min, .. } = *pulled;
        let Some(history) = self.queues.get(&queue) else { return };
        let from = from.max(min).max(0) as u64;
        // A pull that found nothing has looked at all that was visible before.
        let waited = pulled.code == 19;
        let end = if waited { u64::MAX } else { next as u64 };
        for (offset, fact) in history.facts.range(from..end.max(from)) {
            if waited && *offset >= next as u64 {
                let before_us = pulled.prompt.then(|| pulled.now_us.saturating_sub(2_000_000));
                if fact.visible_since_us.is_none_or(|us| before_us.is_none_or(|it| us > it)) {
                    continue;
                }
            }
            let tag = self.messages[fact.uid as usize].tag;
            if pulled.tags.is_none_or(|tags| tags.contains(&tag)) {
                assert!(
                    seen.contains(offset),
                    "{queue:?}: a pull from {from} to {next} (code {}) passed over {offset}: {fact:?}",
                    pulled.code
                );
            }
        }
    }

    /// Nothing is below the minimum that has not expired.
    pub fn check_min(&mut self, queue: Queue, min: i64) {
        let log_min = self.log_min;
        let Some(history) = self.queues.get_mut(&queue) else { return };
        let kept = history.facts.split_off(&(min.max(0) as u64));
        for (offset, fact) in &history.facts {
            assert!(
                fact.at < log_min,
                "{queue:?}: min {min}, and {offset} is at {}, above {log_min}",
                fact.at
            );
        }
        self.counts.expired += history.facts.len() as u64;
        history.facts = kept;
    }

    pub fn check_max(&self, queue: Queue, max: i64, visible_before: u64) {
        assert!(max >= visible_before as i64, "{queue:?}: max {max}, shown {visible_before}");
    }

    /// A consumer sees a message. Returns its offset.
    fn see(&mut self, queue: Queue, message: &StoredMessage, now_us: u64) -> u64 {
        let offset = message.queue_offset.0;
        let id = message.body.first_chunk().map(|id| u64::from_be_bytes(*id));
        let uid = id.filter(|uid| *uid < self.messages.len() as u64);
        let uid = uid.unwrap_or_else(|| panic!("{queue:?} at {offset}: a body that nobody sent"));
        let sent = &self.messages[uid as usize];
        assert!(message.body == Self::body(uid, sent.len), "the body of message {uid} has changed");
        assert_eq!((sent.topic, sent.queue.unwrap_or(queue.1)), queue, "message {uid} went astray");
        assert_eq!(message.queue_id, queue.1 as i32);
        // 14 may come after the append, when the log fails; all others before it.
        let never = sent.refused.filter(|code| *code != 14);
        assert!(never.is_none(), "message {uid} was refused with code {never:?}, and is there");
        let level = self.levels[queue.0].max(self.floor_at(message.physical_offset));
        self.place(queue, offset, uid, message.physical_offset, level, now_us);
        let history = self.queues.get_mut(&queue).expect("placed above");
        let fact = history.facts.get_mut(&offset).expect("placed above");
        let crc = record_crc(message);
        let before = *fact.crc.get_or_insert(crc);
        assert_eq!(before, crc, "the record of message {uid} has changed");
        self.counts.seen += 1;
        offset
    }

    // ----- Consumer offsets --------------------------------------------------------

    /// A commit goes out. Returns its number.
    pub fn committing(&mut self, client: usize, queue: Queue, offset: i64) -> u64 {
        let commits = self.commits.entry((client, queue)).or_default();
        self.counts.commits += 1;
        commits.later.push((self.counts.commits, offset));
        commits.ever.insert(offset);
        self.counts.commits
    }

    /// It was acknowledged, and with it all before: they came over the same connection.
    pub fn committed(&mut self, client: usize, queue: Queue, number: u64, offset: i64) {
        let commits = self.commits.entry((client, queue)).or_default();
        commits.later.retain(|(later, _)| *later > number);
        if commits.acknowledged.is_none_or(|(before, _)| before < number) {
            commits.acknowledged = Some((number, offset));
        }
    }

    /// A commit that was refused may not have happened.
    pub fn check_commit(&self, client: usize, queue: Queue, found: Option<i64>) {
        let Some(commits) = self.commits.get(&(client, queue)) else {
            assert_eq!(found, None, "{queue:?}: nobody has committed");
            return;
        };
        let known = match found {
            None => commits.acknowledged.is_none(),
            Some(found) => {
                let acknowledged = commits.acknowledged.map(|(_, offset)| offset);
                let mut later = commits.later.iter().map(|(_, offset)| *offset);
                acknowledged == Some(found) || later.any(|later| later == found)
            }
        };
        assert!(
            known,
            "client {client}, {queue:?}: position {found:?}, acknowledged {:?}, later {:?}",
            commits.acknowledged, commits.later
        );
    }

    // ----- Restarts ----------------------------------------------------------------

    fn floor_at(&self, at: LogOffset) -> AckLevel {
        match self.floor_from.is_some_and(|from| from <= at) {
            true => AckLevel::Written,
            false => AckLevel::Appended,
        }
    }

    /// The run mark says that nothing acknowledged lies in the arena alone.
    pub fn disowned(&mut self) {
        self.floor_from = Some(LogOffset(0));
        for fact in self.queues.values_mut().flat_map(|history| history.facts.values_mut()) {
            fact.level = fact.level.max(AckLevel::Written);
        }
    }

    /// The broker is back; its log ends at `end`. `flushed`: what the last life knew to
    /// be durable. What was known before `settled_us` was older than the window in which
    /// the levels below *flushed* may lose something.
    pub fn restarted(&mut self, loss: Loss, end: LogOffset, flushed: LogOffset, settled_us: u64) {
        let promised = |fact: &Fact| match loss {
            Loss::Nothing => true,
            _ if fact.at < flushed || fact.since_us < settled_us => true,
            Loss::Arena | Loss::Kernel => fact.level >= AckLevel::Written,
            Loss::Unflushed => fact.level >= AckLevel::Flushed,
        };
        for (queue, history) in &mut self.queues {
            let (lost, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut history.facts)
                .into_iter()
                .partition(|(_, fact)| fact.at >= end);
            history.facts = kept.into_iter().collect();
            for (offset, fact) in lost {
                assert!(
                    !promised(&fact),
                    "{queue:?}: {offset} is lost with {loss:?}, the log ends at {end}: {fact:?}"
                );
                self.counts.lost += 1;
                history.lost.insert(offset, fact.uid);
            }
        }
        if loss != Loss::Nothing {
            for commits in self.commits.values_mut() {
                commits.acknowledged = None;
                commits.later = commits.ever.iter().map(|offset| (0, *offset)).collect();
            }
        }
    }
}

impl Message {
    pub fn tag_name(tag: u8) -> String {
        format!("tag{tag}")
    }
}

/// Over what a consumer can tell of a record.
fn record_crc(message: &StoredMessage) -> u32 {
    let numbers = format!(
        "{:?}",
        (
            message.magic,
            message.body_crc,
            message.flag,
            message.sys_flag,
            message.born_timestamp,
            message.born_host,
            message.store_timestamp,
            message.store_host,
        )
    );
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(numbers.as_bytes());
    hasher.update(message.body);
    hasher.update(message.properties);
    hasher.finalize()
}
