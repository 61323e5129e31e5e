//! `ringmq tail`: prints what the threads of all brokers bring, and keeps up with the
//! topic's route, so that a topic or broker that comes later is found.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Write;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread;
use std::time::Duration;

use super::connection::Reply;
use super::error::ClientError;
use super::follow::{Follow, Start};
use super::line::line_of;
use super::route::{BrokerQueues, NameServers, readable};
use super::send::now_ms;
use crate::base::limits::{CLIENT_BROKERS_MAX, TAIL_REPLIES_MAX};
use crate::config::{TailConfig, TailFrom};
use crate::wire::StoredMessages;
use crate::wire::body::route::TopicRoute;

const ROUTE_EVERY: Duration = Duration::from_secs(5);
/// While there is no route yet, whose first message somebody waits for.
const ROUTE_EVERY_AT_FIRST: Duration = Duration::from_secs(1);

/// Everything that the printing thread is told.
pub enum Event {
    Route(Result<Option<TopicRoute>, ClientError>),
    /// A broker's queues, so many, have a position each.
    Located(usize),
    /// Messages to print. They come as they are, since lines may be many times longer.
    Pulled {
        broker: String,
        reply: Reply,
    },
    /// What people should know, and nothing waits for.
    Note(String),
    Failed(ClientError),
}

/// `tail` with its output and a place for notes handed in. Returns after `count` messages.
pub fn tail_to(
    config: TailConfig,
    output: impl Write,
    notes: impl Write,
) -> Result<(), ClientError> {
    let TailConfig { topic, from, count, name_servers } = config;
    let mut names = NameServers::new(name_servers);
    // The first time a name server must be there; later it may come and go.
    let route = names.route_of(&topic)?;
    let (events, inbox) = mpsc::sync_channel(TAIL_REPLIES_MAX);
    let _watch = watch(names, topic.clone(), route.is_some(), events.clone());
    let began_ms = now_ms();
    let mut tail = Tail {
        client_id: format!("127.0.0.1@{}#{began_ms}", std::process::id()),
        start: match from {
            TailFrom::First => Start::First,
            TailFrom::Last => Start::Last,
        },
        topic,
        began_ms,
        left: count,
        output,
        notes,
        events,
        followed: HashMap::new(),
        located: (0, 0),
        told: None,
    };
    tail.on_route(Ok(route));
    tail.run(&inbox)
}

/// Asks for the route again and again on a thread of its own, since a name server that is
/// away must not hold messages up. What is returned ends it when dropped.
fn watch(
    mut names: NameServers,
    topic: String,
    mut is_found: bool,
    events: SyncSender<Event>,
) -> Sender<Infallible> {
    let (stop, stopped) = mpsc::channel();
    thread::spawn(move || {
        let pause = |is_found| if is_found { ROUTE_EVERY } else { ROUTE_EVERY_AT_FIRST };
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(pause(is_found)) {
            let route = names.route_of(&topic);
            is_found |= matches!(route, Ok(Some(_)));
            if events.send(Event::Route(route)).is_err() {
                return;
            }
        }
    });
    stop
}

struct Tail<O, N> {
    topic: String,
    client_id: String,
    /// Where the queues of a broker begin that appears now.
    start: Start,
    began_ms: i64,
    /// Messages still to print, if they are counted.
    left: Option<u64>,
    output: O,
    notes: N,
    events: SyncSender<Event>,
    /// Brokers by name, and how their threads are told of changes.
    followed: HashMap<String, (BrokerQueues, Sender<BrokerQueues>)>,
    /// Brokers and queues that have positions.
    located: (usize, usize),
    /// The last trouble with the route that was told.
    told: Option<String>,
}

impl<O: Write, N: Write> Tail<O, N> {
    fn run(&mut self, inbox: &Receiver<Event>) -> Result<(), ClientError> {
        while self.left != Some(0) {
            match inbox.recv().expect("this thread holds a sender too") {
                Event::Route(route) => self.on_route(route),
                Event::Located(queues) => self.on_located(queues),
                Event::Pulled { broker, reply } => self.print(&broker, reply.view().body)?,
                Event::Note(text) => self.note(&text),
                Event::Failed(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn on_route(&mut self, route: Result<Option<TopicRoute>, ClientError>) {
        let topic = &self.topic;
        let trouble = match &route {
            Err(error) => Some(format!("{error}; trying on")),
            Ok(None) if self.followed.is_empty() => {
                Some(format!("topic {topic} does not exist yet; waiting for it"))
            }
            Ok(None) => Some(format!("topic {topic} has no route any more; waiting for one")),
            Ok(Some(route)) if readable(route).is_empty() => {
                Some(format!("topic {topic} has no queue that may be read; waiting for one"))
            }
            Ok(Some(_)) => None,
        };
        if self.told != trouble {
            trouble.iter().for_each(|text| self.note(text));
            self.told = trouble;
        }
        if let Ok(route) = route {
            route.iter().flat_map(readable).for_each(|place| self.follow(place));
            self.begin_later_ones(route.is_some());
        }
    }

    /// A topic that did not exist at the beginning has nothing older. Of one that did, a
    /// broker that appears later may have.
    fn begin_later_ones(&mut self, has_route: bool) {
        if self.start == Start::Last {
            self.start = if has_route { Start::Since(self.began_ms) } else { Start::First };
        }
    }

    fn follow(&mut self, place: BrokerQueues) {
        if let Some((known, orders)) = self.followed.get_mut(&place.broker) {
            if *known != place {
                *known = place.clone();
                // Its thread has ended only if it failed, which ends all.
                _ = orders.send(place);
            }
            return;
        }
        if self.followed.len() == CLIENT_BROKERS_MAX {
            return;
        }
        let (orders, ordered) = mpsc::channel();
        self.followed.insert(place.broker.clone(), (place.clone(), orders));
        let follow = Follow {
            topic: self.topic.clone(),
            client_id: self.client_id.clone(),
            place,
            start: self.start,
            began_ms: self.began_ms,
            events: self.events.clone(),
            orders: ordered,
            queues: Vec::new(),
            told: None,
            is_located: false,
        };
        thread::spawn(move || follow.run());
    }

    fn on_located(&mut self, queues: usize) {
        let (brokers_before, queues_before) = self.located;
        self.located = (brokers_before + 1, queues_before + queues);
        let (brokers, queues) = self.located;
        if brokers == self.followed.len() {
            let text = format!("following {}: queues {queues}, brokers {brokers}", self.topic);
            self.note(&text);
        }
    }

    fn print(&mut self, broker: &str, messages: &[u8]) -> Result<(), ClientError> {
        for message in StoredMessages::new(messages) {
            if self.left == Some(0) {
                break;
            }
            let message = match message {
                Ok(message) => message,
                Err(error) => {
                    self.note(&format!("broker {broker}: {error}; what follows is not shown"));
                    break;
                }
            };
            writeln!(self.output, "{}", line_of(broker, &message)).map_err(ClientError::Output)?;
            self.left = self.left.map(|left| left - 1);
        }
        self.output.flush().map_err(ClientError::Output)
    }

    /// Notes are for people: that nobody reads them ends nothing.
    fn note(&mut self, text: &str) {
        _ = writeln!(self.notes, "{text}");
    }
}
