//! One broker's queues of a topic, followed on a thread of their own: a pull for each is
//! held by the broker until a message comes, all over one connection. Whatever happens
//! to that, positions stay, so that after a new connection nothing is missing or twice.

use std::convert::Infallible;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError};
use std::time::{Duration, Instant};

use super::connection::Reply;
use super::error::ClientError;
use super::route::BrokerQueues;
use super::session::{Asked, Session, What};
use super::tail::Event;
use crate::wire::code::response;
use crate::wire::headers::offsets::OffsetReply;
use crate::wire::{FieldError, PullReply, Request, Value};

/// How soon orders and the clock are looked at while no reply comes.
const TICK: Duration = Duration::from_millis(200);
const BEFORE_ANOTHER_TRY: Duration = Duration::from_secs(1);
/// Before a pull that brought nothing, and was not held for that, is made again.
const AFTER_NOTHING: Duration = Duration::from_millis(200);

/// Where a queue is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    First,
    /// Behind all that is there when the queue is first asked.
    Last,
    /// With the first message stored since then, in milliseconds since 1970.
    Since(i64),
}

/// What the thread of one broker knows.
pub struct Follow {
    pub topic: String,
    pub client_id: String,
    pub place: BrokerQueues,
    pub start: Start,
    /// When the tail began. A broker that cannot be asked for the end of its queues then
    /// is asked for this time later.
    pub began_ms: i64,
    pub events: SyncSender<Event>,
    /// Changes of `place`. Its sender's end ends the thread.
    pub orders: Receiver<BrokerQueues>,
    pub queues: Vec<Queue>,
    /// The last trouble that was told, which is not told again.
    pub told: Option<String>,
    pub is_located: bool,
}

#[derive(Debug)]
pub struct Queue {
    start: Start,
    /// The next offset to pull, once it is known.
    position: Option<i64>,
    /// A request for it is under way.
    is_asked: bool,
    again_at: Instant,
}

/// Why following pauses or ends.
enum End {
    /// Nobody listens any more.
    Unwanted,
    /// The connection is no good: another try follows.
    Lost(io::Error),
    /// No try would change it.
    Final(ClientError),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

impl From<FieldError> for End {
    fn from(error: FieldError) -> Self {
        Self::Lost(io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

impl Follow {
    /// Follows until nobody listens or a broker refuses for good.
    pub fn run(mut self) {
        self.add_queues();
        loop {
            let Err(end) = self.follow();
            let wait = match end {
                End::Unwanted => return,
                End::Final(error) => {
                    _ = self.events.send(Event::Failed(error));
                    return;
                }
                End::Lost(why) => {
                    let BrokerQueues { broker, address, .. } = &self.place;
                    self.tell(format!("broker {broker} at {address}: {why}; trying on"))
                }
            };
            self.begin_late();
            if wait.is_err() || self.pause().is_err() {
                return;
            }
        }
    }

    /// What was behind all messages at the beginning is no longer known to be so.
    fn begin_late(&mut self) {
        for queue in &mut self.queues {
            queue.is_asked = false;
            if queue.start == Start::Last {
                queue.start = Start::Since(self.began_ms);
            }
        }
    }

    fn pause(&mut self) -> Result<(), End> {
        match self.orders.recv_timeout(BEFORE_ANOTHER_TRY) {
            Ok(place) => self.move_to(place),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(End::Unwanted),
        }
        Ok(())
    }

    fn follow(&mut self) -> Result<Infallible, End> {
        let mut session = Session::open(&self.place.address, &self.client_id, &self.topic)?;
        while !session.is_idle() {
            self.take_reply(&mut session)?;
        }
        loop {
            self.take_orders()?;
            session.keep_alive()?;
            self.ask(&mut session)?;
            self.take_reply(&mut session)?;
        }
    }

    fn take_orders(&mut self) -> Result<(), End> {
        loop {
            match self.orders.try_recv() {
                Ok(place) if place.address != self.place.address => {
                    self.move_to(place);
                    let moved = "it has another address now";
                    return Err(End::Lost(io::Error::new(io::ErrorKind::NotConnected, moved)));
                }
                Ok(place) => self.move_to(place),
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(End::Unwanted),
            }
        }
    }

    fn move_to(&mut self, place: BrokerQueues) {
        self.place = place;
        self.add_queues();
    }

    /// A queue that appears while we follow has nothing that is older than that.
    fn add_queues(&mut self) {
        let start = if self.queues.is_empty() { self.start } else { Start::First };
        let again_at = Instant::now();
        while self.queues.len() < self.place.queues as usize {
            self.queues.push(Queue { start, position: None, is_asked: false, again_at });
        }
    }

    /// Asks for each queue that nothing is asked for: its position first, then messages.
    fn ask(&mut self, session: &mut Session) -> Result<(), End> {
        let now = Instant::now();
        let topic = Value::of(&self.topic);
        for (at, queue) in self.queues.iter_mut().enumerate() {
            if queue.is_asked || queue.again_at > now {
                continue;
            }
            queue.is_asked = true;
            match queue.position {
                None => session.ask_position(topic, at, queue.start)?,
                Some(offset) => session.ask_messages(topic, at, offset)?,
            }
        }
        Ok(())
    }

    fn take_reply(&mut self, session: &mut Session) -> Result<(), End> {
        match session.receive(TICK)? {
            Some((asked, reply)) => self.on_reply(asked, reply),
            None => Ok(()),
        }
    }

    fn on_reply(&mut self, asked: Asked, reply: Reply) -> Result<(), End> {
        let view = reply.view();
        match (asked.what, view.code) {
            (What::Heartbeat, response::SUCCESS) => Ok(()),
            (What::Heartbeat, _) => self.on_refusal(&view),
            (What::Position(at), response::SUCCESS) => {
                let offset = OffsetReply::decode(&view.ext)?.offset;
                let queue = &mut self.queues[at];
                (queue.position, queue.is_asked) = (Some(offset), false);
                self.on_located()
            }
            (
                What::Pull(at),
                response::SUCCESS
                | response::PULL_NOT_FOUND
                | response::PULL_RETRY_IMMEDIATELY
                | response::PULL_OFFSET_MOVED,
            ) => self.on_pulled(at, asked.at, reply),
            (What::Position(at) | What::Pull(at), _) => {
                let queue = &mut self.queues[at];
                queue.is_asked = false;
                queue.again_at = Instant::now() + BEFORE_ANOTHER_TRY;
                self.on_refusal(&view)
            }
        }
    }

    /// From now on no message of the queues that were there is missed.
    fn on_located(&mut self) -> Result<(), End> {
        if self.is_located || self.queues.iter().any(|queue| queue.position.is_none()) {
            return Ok(());
        }
        self.is_located = true;
        self.send(Event::Located(self.queues.len()))
    }

    fn on_pulled(&mut self, at: usize, since: Instant, reply: Reply) -> Result<(), End> {
        let next = PullReply::decode(&reply.view().ext)?.next_begin_offset;
        let queue = &mut self.queues[at];
        queue.is_asked = false;
        if queue.position == Some(next) && since.elapsed() < AFTER_NOTHING {
            queue.again_at = Instant::now() + AFTER_NOTHING;
        }
        queue.position = Some(next);
        self.told = None;
        match reply.view().code {
            response::SUCCESS => {
                self.send(Event::Pulled { broker: self.place.broker.clone(), reply })
            }
            _ => Ok(()),
        }
    }

    /// Brokers that start, stop, are busy or do not know the topic yet may think better
    /// of it.
    fn on_refusal(&mut self, reply: &Request<'_>) -> Result<(), End> {
        let who = format!("broker {}", self.place.broker);
        let remark = reply.remark.map(|remark| remark.text().into_owned());
        let error = ClientError::refused(&who, reply.code, remark);
        match reply.code {
            response::SYSTEM_ERROR
            | response::SYSTEM_BUSY
            | response::SERVICE_NOT_AVAILABLE
            | response::TOPIC_NOT_EXIST
            | response::SUBSCRIPTION_NOT_EXIST
            | response::SUBSCRIPTION_NOT_LATEST
            | response::FLOW_CONTROL => self.tell(format!("{error}; trying on")),
            response::GO_AWAY => Err(End::Lost(io::Error::other("it is shutting down"))),
            _ => Err(End::Final(error)),
        }
    }

    /// Says what is wrong, once until it changes or is over.
    fn tell(&mut self, trouble: String) -> Result<(), End> {
        if self.told.as_ref() == Some(&trouble) {
            return Ok(());
        }
        self.told = Some(trouble.clone());
        self.send(Event::Note(trouble))
    }

    fn send(&self, event: Event) -> Result<(), End> {
        self.events.send(event).map_err(|_| End::Unwanted)
    }
}
