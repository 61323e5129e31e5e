//! What clients do, and what they make of the answers.

use rand::Rng;
use rand::seq::IndexedRandom;
use ringmq::base::LogOffset;
use ringmq::wire::code::request;
use ringmq::wire::{Codec, Request, StoredMessage, StoredMessages};

use super::checker::{Checker, Pulled, Queue};
use super::client::{Asked, Pending};
use super::world::{Happening, World};

/// Requests that a client has on the way at once.
const WINDOW: usize = 12;

impl World {
    /// A client's turn to do something.
    pub fn tick(&mut self, client: usize) {
        if client == self.auditor() {
            return self.audit_step();
        }
        if client == self.operator() {
            return self.operate();
        }
        self.check_answers(client);
        let pause = self.delay(2 * self.config.action_us);
        if self.faults.calm {
            return;
        }
        self.after(pause, Happening::Tick(client));
        let Some(connection) = self.clients[client].connection else {
            return self.come(client);
        };
        if self.clients[client].outstanding.len() >= WINDOW {
            return;
        }
        let frame = match self.random.random_range(0..100) {
            0..45 => self.a_send(client),
            45..80 => self.a_pull(client),
            80..88 => self.a_commit(client),
            88..99 => self.a_question(client),
            _ => {
                self.leave(connection);
                self.clients[client].connection = None;
                self.clients[client].outstanding.clear();
                return;
            }
        };
        self.write(connection, &frame);
    }

    pub fn come(&mut self, client: usize) {
        let connection = self.connect(client);
        self.clients[client].connection = connection;
        if connection.is_some() && self.random.random_bool(0.3) {
            // Begin again where everything begins, to see all of it once more.
            self.clients[client].positions.clear();
        }
    }

    /// Whoever waits longer than it should is told that here.
    fn check_answers(&self, client: usize) {
        let Some(connection) = self.clients[client].connection else { return };
        let Some(it) = self.connections.get(&connection).filter(|it| !it.is_over()) else { return };
        for (opaque, pending) in &self.clients[client].outstanding {
            let until_us = pending.until_us.max(it.stalled_until_us + 5_000_000);
            assert!(
                self.now_us <= until_us,
                "request {opaque} of client {client} has had no answer: {}, now {}",
                pending.describe(),
                self.now_us,
            );
        }
    }

    fn a_queue(&mut self) -> Queue {
        let living: Vec<usize> =
            (0..self.topics.len()).filter(|topic| !self.topics[*topic].retired).collect();
        let topic = *living.choose(&mut self.random).expect("three are never deleted");
        (topic, self.random.random_range(0..self.topics[topic].queues))
    }

    fn a_codec(&mut self) -> Codec {
        if self.random.random_bool(0.7) { Codec::Json } else { Codec::Binary }
    }

    fn a_send(&mut self, client: usize) -> Vec<u8> {
        let connection = self.clients[client].connection.expect("it is there");
        let (topic, queue) = self.a_queue();
        let queue = (self.random.random_bool(0.8)).then_some(queue);
        let no_wait = self.random.random_bool(0.1);
        let code = *[request::SEND_MESSAGE, request::SEND_MESSAGE_V2, request::SEND_BATCH_MESSAGE]
            .choose(&mut self.random)
            .expect("one of three");
        let batch = code == request::SEND_BATCH_MESSAGE;
        let count = if batch { self.random.random_range(1..8) } else { 1 };
        let uids: Vec<u64> = (0..count)
            .map(|_| {
                let most = match self.random.random_range(0..20) {
                    0 if !batch => 24_000,
                    1..5 => 3_000,
                    _ => 300,
                };
                let len = self.random.random_range(0..most);
                let tag = self.random.random_range(0..4);
                self.checker.sent(topic, queue, connection, tag, len, no_wait)
            })
            .collect();
        let oneway = self.random.random_bool(0.15);
        let (codec, now_us) = (self.a_codec(), self.now_us);
        let name = &self.topics[topic].name;
        self.clients[client].send(&self.checker, name, &uids, code, codec, oneway, now_us)
    }

    fn a_pull(&mut self, client: usize) -> Vec<u8> {
        let queue = self.a_queue();
        let known = self.clients[client].positions.get(&queue).copied();
        let from = match self.random.random_range(0..20) {
            0 => self.random.random_range(-2..2_000),
            1 => self.checker.visible_end(queue) as i64 + self.random.random_range(0..3),
            _ => known.unwrap_or(0),
        };
        let tags = self.random.random_bool(0.3).then(|| {
            (0..4).filter(|_| self.random.random_bool(0.4)).chain([3]).collect::<Vec<u8>>()
        });
        let tags = tags.map(|mut tags| {
            tags.dedup();
            tags
        });
        let hold = self.random.random_bool(0.5).then(|| self.random.random_range(0..8_000));
        let commit = known.filter(|known| *known > 0 && self.random.random_bool(0.3));
        if let Some(commit) = commit {
            self.checker.committing(client, queue, commit);
        }
        let max = self.random.random_range(1..=32);
        let (codec, now_us) = (self.a_codec(), self.now_us);
        let name = &self.topics[queue.0].name;
        self.clients[client].pull(
            &self.checker,
            name,
            queue,
            from,
            tags,
            hold,
            commit,
            max,
            codec,
            now_us,
        )
    }

    fn a_commit(&mut self, client: usize) -> Vec<u8> {
        let queue = self.a_queue();
        let offset = self.random.random_range(0..1_000);
        let number = self.checker.committing(client, queue, offset);
        let oneway = self.random.random_bool(0.5);
        let now_us = self.now_us;
        let name = &self.topics[queue.0].name;
        self.clients[client].commit(name, queue, (number, offset), oneway, now_us)
    }

    fn a_question(&mut self, client: usize) -> Vec<u8> {
        let queue = self.a_queue();
        let (now, which) = (self.now(), self.random.random_range(0..5));
        let viewed = self.checker.some_fact(queue, self.random.random());
        let ago_ms = self.random.random_range(0..10_000);
        let name = &self.topics[queue.0].name;
        let client = &mut self.clients[client];
        match (which, viewed) {
            (0, _) => client.position(name, queue, now.mono_us),
            (1, _) => client.max(&self.checker, name, queue, now.mono_us),
            (2, _) => client.min(name, queue, now.mono_us),
            (3, Some((uid, at))) => client.view(uid, at, now.mono_us),
            _ => client.search(name, queue, now.unix_ms - ago_ms, now.mono_us),
        }
    }

    // ----- Answers -----------------------------------------------------------------

    /// Bytes arrive at a client.
    pub fn deliver_down(&mut self, connection: u64, bytes: &[u8]) {
        let Some(it) = self.connections.get_mut(&connection) else { return };
        let client = it.client;
        if it.left || self.clients[client].connection != Some(connection) {
            return;
        }
        it.down.extend_from_slice(bytes);
        let down = std::mem::take(&mut it.down);
        let mut rest = &down[..];
        while let Some((reply, len)) = Request::read(rest).expect("replies can be read") {
            self.answer(client, &reply);
            rest = &rest[len..];
        }
        let rest = rest.to_vec();
        if let Some(it) = self.connections.get_mut(&connection) {
            it.down = rest;
        }
    }

    fn answer(&mut self, client: usize, reply: &Request) {
        if !reply.is_response() {
            return; // A notice to members of a group.
        }
        let pending = self.clients[client].outstanding.remove(&reply.opaque);
        let Pending { asked, since_us, .. } =
            pending.unwrap_or_else(|| panic!("an answer to nothing: {}", reply.opaque));
        self.note("answer", reply.code as u64);
        let number = |key: &'static str| reply.ext.need_i64(key).expect("a number in the answer");
        match asked {
            Asked::Send { uids } => self.sent_answer(&uids, reply),
            Asked::Pull { queue, from, tags, visible } => {
                if !matches!(reply.code, 0 | 19 | 20 | 21) {
                    return self.refused(client, reply, &[1, 17]);
                }
                let messages: Vec<StoredMessage> =
                    StoredMessages::new(reply.body).collect::<Result<_, _>>().expect("whole");
                let remark = reply.remark.map(|remark| remark.text().into_owned());
                assert_ne!(remark.as_deref(), Some("MESSAGE_WAS_REMOVING"), "{queue:?} {from}");
                let pulled = Pulled {
                    queue,
                    from,
                    tags: tags.as_deref(),
                    code: reply.code,
                    next: number("nextBeginOffset"),
                    min: number("minOffset"),
                    max: number("maxOffset"),
                    messages: &messages,
                    visible_before: visible,
                    prompt: self.never_stalled(client),
                    now_us: self.now_us,
                };
                self.checker.pulled(&pulled);
                if !messages.is_empty() && self.now_us - since_us > 200_000 {
                    self.checker.counts.held_and_woken += 1;
                }
                self.clients[client].positions.insert(queue, pulled.next);
                if client == self.auditor() {
                    self.audited(queue, reply.code, pulled.next, pulled.max);
                }
            }
            Asked::Commit { queue, number, offset } => match reply.code {
                0 => self.checker.committed(client, queue, number, offset),
                _ => self.refused(client, reply, &[2, 17]),
            },
            Asked::Position { queue } => {
                let found = (reply.code == 0).then(|| number("offset"));
                assert!(matches!(reply.code, 0 | 22), "{}", reply.code);
                self.checker.check_commit(client, queue, found);
            }
            Asked::Max { queue, visible } => match reply.code {
                0 => self.checker.check_max(queue, number("offset"), visible),
                _ => self.refused(client, reply, &[17]),
            },
            Asked::Min { queue } => match reply.code {
                0 => self.checker.check_min(queue, number("offset")),
                _ => self.refused(client, reply, &[17]),
            },
            Asked::Search { queue } => match reply.code {
                0 => assert!(number("offset") >= 0, "{queue:?}"),
                _ => self.refused(client, reply, &[1, 17]),
            },
            Asked::View { uid } => match reply.code {
                0 => {
                    let message = StoredMessages::new(reply.body).next().expect("one message");
                    let message = message.expect("a whole one");
                    let len = self.checker.message(uid).len;
                    assert!(message.body == Checker::body(uid, len), "message {uid} by its id");
                }
                _ => assert!(
                    self.checker.may_be_gone(uid),
                    "message {uid} is gone: {:?}",
                    reply.remark
                ),
            },
            Asked::Delete { topic } => match reply.code {
                0 => self.deleted(topic),
                _ => self.refused(client, reply, &[1]),
            },
        }
    }

    fn never_stalled(&self, client: usize) -> bool {
        let connection = self.clients[client].connection;
        let it = connection.and_then(|connection| self.connections.get(&connection));
        it.is_some_and(|it| it.stalled_until_us == 0)
    }

    fn sent_answer(&mut self, uids: &[u64], reply: &Request) {
        if !matches!(reply.code, 0 | 10) {
            assert!(
                matches!(reply.code, 1 | 2 | 14),
                "a send is refused with code {}: {:?}",
                reply.code,
                reply.remark
            );
            return self.checker.refused(uids, reply.code);
        }
        let queue = reply.ext.need_i32("queueId").expect("a queue") as u32;
        let offset = reply.ext.need_i64("queueOffset").expect("an offset") as u64;
        let ids = reply.ext.need("msgId").expect("ids").text().into_owned();
        let places: Vec<LogOffset> = ids
            .split(',')
            .map(|id| LogOffset(u64::from_str_radix(&id[id.len() - 16..], 16).expect("hex")))
            .collect();
        self.checker.acknowledged(uids, queue, offset, &places, reply.code == 0, self.now_us);
    }

    fn refused(&self, client: usize, reply: &Request, allowed: &[i32]) {
        let (code, remark) = (reply.code, &reply.remark);
        assert!(allowed.contains(&code), "client {client} is refused with code {code}: {remark:?}");
    }
}

impl Pending {
    pub fn describe(&self) -> String {
        format!("{} since {}", self.asked.name(), self.since_us)
    }
}

impl Asked {
    fn name(&self) -> String {
        match self {
            Self::Send { uids } => format!("send {uids:?}"),
            Self::Pull { queue, from, .. } => format!("pull {queue:?} from {from}"),
            Self::Commit { queue, offset, .. } => format!("commit {queue:?} {offset}"),
            Self::Position { queue } => format!("position {queue:?}"),
            Self::Max { queue, .. } => format!("max {queue:?}"),
            Self::Min { queue } => format!("min {queue:?}"),
            Self::Search { queue } => format!("search {queue:?}"),
            Self::View { uid } => format!("view {uid}"),
            Self::Delete { topic } => format!("delete {topic}"),
        }
    }
}
