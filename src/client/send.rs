//! `ringmq send`: each message to the next queue, and a line that says where it went.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{BufRead, Read, Write};
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::connection::{Connection, Reply};
use super::error::ClientError;
use super::route::{BrokerQueues, NameServers, writable};
use crate::base::UniqueIds;
use crate::base::limits::BODY_BYTES_MAX;
use crate::base::names::AUTO_CREATE_MODEL;
use crate::base::properties;
use crate::config::SendConfig;
use crate::wire::code::{request, response};
use crate::wire::{SendReply, SendRequest, Value};

const GROUP: &str = "ringmq_send";
/// Queues that a client asks for when its message creates the topic, as others do.
const NEW_TOPIC_QUEUES: u32 = 4;
/// How often a message is offered, each time to another queue.
const TRIES: u32 = 3;
const BEFORE_ANOTHER_TRY: Duration = Duration::from_millis(100);

/// `send` with its input, output and a place for notes handed in. An empty line is no
/// message: consumers of several languages do not take empty bodies.
pub fn send_to(
    config: SendConfig,
    mut input: impl BufRead,
    mut output: impl Write,
    mut notes: impl Write,
) -> Result<(), ClientError> {
    let body = config.body.clone();
    let mut sender = Sender::new(config)?;
    if let Some(body) = body {
        let sent = sender.send(body.as_bytes())?;
        return report(&sent, &mut output, &mut notes);
    }
    let (mut line, mut sent) = (0, 0);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        line += 1;
        let one = read_line(&mut input, &mut bytes).and_then(|more| match more {
            true if !bytes.is_empty() => sender.send(&bytes).map(|at| (more, Some(at))),
            _ => Ok((more, None)),
        });
        let (more, went) = one.map_err(|cause| stopped(line, sent, cause))?;
        if let Some(went) = went {
            sent += 1;
            report(&went, &mut output, &mut notes)?;
        }
        if !more {
            break;
        }
    }
    if sent == 0 {
        note(&mut notes, "nothing was sent: standard input has no line");
    }
    Ok(())
}

fn stopped(line: u64, sent: u64, cause: ClientError) -> ClientError {
    ClientError::Stopped { line, sent, cause: Box::new(cause) }
}

/// One line without its end; false when there is none any more.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> Result<bool, ClientError> {
    let mut bounded = input.take(BODY_BYTES_MAX as u64 + 2);
    let len = bounded.read_until(b'\n', line).map_err(ClientError::Input)?;
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    if line.len() > BODY_BYTES_MAX {
        let why = format!("it is longer than the {BODY_BYTES_MAX} bytes that a message may have");
        return Err(ClientError::Unsendable(why));
    }
    Ok(len > 0)
}

/// Where a message went.
#[derive(Debug)]
struct Sent {
    message_id: String,
    broker: String,
    queue: i32,
    offset: i64,
    /// Stored, but not as safely as its topic asks for.
    reservation: Option<i32>,
}

fn report(sent: &Sent, output: &mut impl Write, notes: &mut impl Write) -> Result<(), ClientError> {
    let Sent { message_id, broker, queue, offset, reservation } = sent;
    writeln!(output, "sent {message_id} queue {broker}/{queue} offset {offset}")
        .and_then(|()| output.flush())
        .map_err(ClientError::Output)?;
    if let Some(code) = reservation {
        let name = response::name(*code).unwrap_or("unknown code");
        note(notes, &format!("{message_id} is stored, but broker {broker} says {name}"));
    }
    Ok(())
}

/// Notes are for people: that nobody reads them ends nothing.
fn note(notes: &mut impl Write, text: &str) {
    _ = writeln!(notes, "{text}");
}

struct Sender {
    topic: String,
    /// Properties of all messages; each has an id of its own before them.
    properties: String,
    names: NameServers,
    /// Where queues are; empty before the first look-up and after a failure.
    places: Vec<BrokerQueues>,
    connections: HashMap<String, Connection>,
    /// Counts queues; the remainder is the next one.
    next: u64,
    ids: UniqueIds,
}

impl Sender {
    fn new(config: SendConfig) -> Result<Self, ClientError> {
        let SendConfig { topic, body: _, name_servers, tag, keys } = config;
        let mut text = Vec::new();
        for (name, value) in [("TAGS", tag), ("KEYS", keys)] {
            let Some(value) = value.filter(|value| !value.is_empty()) else { continue };
            if value.bytes().any(|b| b == properties::KEY_END || b == properties::VALUE_END) {
                let why = format!("{value:?} holds a byte 1 or 2, which part properties");
                return Err(ClientError::Unsendable(why));
            }
            properties::push(&mut text, name.as_bytes(), value.as_bytes());
        }
        let properties = String::from_utf8(text).expect("names, values and separators are text");
        Ok(Self {
            topic,
            properties,
            names: NameServers::new(name_servers),
            places: Vec::new(),
            connections: HashMap::new(),
            // Single messages of many runs are to spread over the queues as well.
            next: random() >> 1,
            ids: UniqueIds::new(Ipv4Addr::LOCALHOST, random() as u32),
        })
    }

    fn send(&mut self, body: &[u8]) -> Result<Sent, ClientError> {
        if body.is_empty() {
            return Err(ClientError::Unsendable("a message needs a body".to_owned()));
        }
        let born = now_ms();
        // One id for all tries, by which consumers can tell a message that came twice.
        let id = self.ids.next(born);
        let id = str::from_utf8(&id).expect("hex digits");
        for last in (1..=TRIES).map(|this| this == TRIES) {
            match self.offer(id, born, body) {
                Err(error) if error.is_worth_another_try() && !last => {
                    self.places.clear();
                    thread::sleep(BEFORE_ANOTHER_TRY);
                }
                outcome => return outcome,
            }
        }
        unreachable!("the last try returns")
    }

    fn offer(&mut self, id: &str, born: i64, body: &[u8]) -> Result<Sent, ClientError> {
        if self.places.is_empty() {
            self.places = self.find_places()?;
        }
        let (place, queue) = self.take_queue();
        let BrokerQueues { broker, address, .. } = place;
        let mut connection = self.connect(&broker, &address)?;
        let properties = format!("UNIQ_KEY\u{1}{id}\u{2}WAIT\u{1}true\u{2}{}", self.properties);
        let header = SendRequest {
            producer_group: Value::of(GROUP),
            topic: Value::of(&self.topic),
            default_topic: Value::of(AUTO_CREATE_MODEL),
            default_topic_queue_nums: NEW_TOPIC_QUEUES as i32,
            queue_id: queue,
            sys_flag: 0,
            born_timestamp: born,
            flag: 0,
            properties: Some(Value::of(&properties)),
            reconsume_times: 0,
            unit_mode: false,
            max_reconsume_times: None,
            batch: false,
            broker_name: Some(Value::of(&broker)),
            body,
        };
        let code = request::SEND_MESSAGE_V2;
        match connection.call(code, |writer| header.encode(code, writer), body) {
            Ok(reply) => {
                self.connections.insert(address, connection);
                read_reply(&reply, &broker, id)
            }
            Err(why) => Err(ClientError::Unanswered { broker, address, why }),
        }
    }

    /// The topic's writable queues; those of the model for new topics when it has no route.
    fn find_places(&mut self) -> Result<Vec<BrokerQueues>, ClientError> {
        if let Some(route) = self.names.route_of(&self.topic)? {
            let places = writable(&route);
            return match places.is_empty() {
                true => Err(ClientError::NotWritable { topic: self.topic.clone() }),
                false => Ok(places),
            };
        }
        let model = self.names.route_of(AUTO_CREATE_MODEL)?;
        let mut places = model.as_ref().map(writable).unwrap_or_default();
        places.iter_mut().for_each(|place| place.queues = place.queues.min(NEW_TOPIC_QUEUES));
        match places.is_empty() {
            true => Err(ClientError::UnknownTopic { topic: self.topic.clone() }),
            false => Ok(places),
        }
    }

    /// The next queue: brokers in turn, and at each its queues in turn.
    fn take_queue(&mut self) -> (BrokerQueues, i32) {
        let brokers = self.places.len() as u64;
        let place = &self.places[(self.next % brokers) as usize];
        let queue = self.next / brokers % u64::from(place.queues);
        self.next += 1;
        (place.clone(), queue as i32)
    }

    fn connect(&mut self, broker: &str, address: &str) -> Result<Connection, ClientError> {
        let kept = self.connections.remove(address);
        if let Some(connection) = kept.filter(|connection| !connection.is_closed()) {
            return Ok(connection);
        }
        Connection::open(address).map_err(|why| ClientError::Unreachable {
            broker: broker.to_owned(),
            address: address.to_owned(),
            why,
        })
    }
}

fn read_reply(reply: &Reply, broker: &str, id: &str) -> Result<Sent, ClientError> {
    let reply = reply.view();
    let who = format!("broker {broker}");
    let reservation = match reply.code {
        response::SUCCESS => None,
        code @ (response::FLUSH_DISK_TIMEOUT
        | response::SLAVE_NOT_AVAILABLE
        | response::FLUSH_SLAVE_TIMEOUT) => Some(code),
        code => {
            let remark = reply.remark.map(|remark| remark.text().into_owned());
            return Err(ClientError::refused(&who, code, remark));
        }
    };
    let place = SendReply::decode(&reply.ext)
        .map_err(|error| ClientError::Odd { who, what: error.to_string() })?;
    Ok(Sent {
        message_id: id.to_owned(),
        broker: broker.to_owned(),
        queue: place.queue_id,
        offset: place.queue_offset,
        reservation,
    })
}

/// What another process does not draw.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as i64
}
