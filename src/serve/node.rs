//! What concerns all shards of a node: topics that are created everywhere, metadata
//! changes and their answers, and what the name servers know. Runs on the control
//! thread; shards are told by mail.

use std::collections::{HashMap, HashSet};

use tracing::error;

use crate::base::QueueOffset;
use crate::base::metadata::{DataVersion, Durable};
use crate::base::topic::TopicConfig;
use crate::broker::TopicMade;
use crate::broker::effect::{Effect, MetaChange};
use crate::control::metadata::{
    Change, MetadataHandle, OffsetEntry, Outcome, Ticket, TopicEffect, TopicPlaced,
};
use crate::engine::{Courier, Letter};
use crate::log::ChainEnd;
use crate::shard::Event;

/// What the control thread is told.
pub enum Notice {
    /// A shard wants something.
    Effect { shard: u16, effect: Effect },
    /// A metadata change is durable, or failed.
    Stored { ticket: Ticket, result: Result<Outcome, String> },
    /// All reachable name servers know this version of a shard's topics.
    Published { shard: u16, version: DataVersion },
    /// A shard has ended.
    Ended { shard: u16, result: Result<ChainEnd, String> },
}

/// Tells name servers of a shard's topics; `Notice::Published` follows.
pub trait Publisher {
    fn publish(&mut self, shard: u16, version: DataVersion, topics: Vec<TopicConfig>);
}

/// The node's state.
pub struct Node<P> {
    metadata: MetadataHandle,
    /// Where each shard is to be written to.
    shards: Vec<(Courier, usize)>,
    publisher: P,
    /// Topics that are being created, with the shards that have not installed them.
    creating: HashMap<String, HashSet<u16>>,
    next_token: u64,
    /// Names of topics by the token under which their creation was submitted.
    creations: HashMap<u64, String>,
}

/// The control thread's own number among the metadata's parties.
const NODE: u16 = u16::MAX;

impl<P: Publisher> Node<P> {
    pub fn new(metadata: MetadataHandle, shards: Vec<(Courier, usize)>, publisher: P) -> Self {
        Self {
            metadata,
            shards,
            publisher,
            creating: HashMap::new(),
            next_token: 0,
            creations: HashMap::new(),
        }
    }

    pub fn publisher(&mut self) -> &mut P {
        &mut self.publisher
    }

    pub fn on_effect(&mut self, shard: u16, effect: Effect) {
        match effect {
            Effect::Persist { token, change } => self.persist(shard, token, change),
            Effect::CreateEverywhere { config } => self.create(config),
            Effect::Installed { topic } => self.on_installed(shard, &topic),
            Effect::Publish { version, topics } => self.publisher.publish(shard, version, topics),
        }
    }

    pub fn on_published(&mut self, shard: u16, version: DataVersion) {
        self.tell(shard, Event::Published { version });
    }

    pub fn on_stored(&mut self, ticket: Ticket, result: Result<Outcome, String>) {
        if ticket.party == NODE {
            return self.on_created(ticket.token, result);
        }
        let result = result.map(|outcome| durable(outcome, ticket.party));
        self.tell(ticket.party, Event::Stored { token: ticket.token, result });
    }

    fn persist(&mut self, shard: u16, token: u64, change: MetaChange) {
        let ticket = Ticket { party: shard, token };
        if let Err(refused) = self.metadata.submit(ticket, to_change(shard, change)) {
            error!(shard, change = ?refused.0, "metadata changes wait already, too many of them");
            let result = Err("too many metadata changes wait; try again".to_owned());
            self.tell(shard, Event::Stored { token, result });
        }
    }

    /// Concurrent creations of one topic are one.
    fn create(&mut self, config: TopicConfig) {
        let name = config.name.clone();
        if self.creating.contains_key(&name) {
            return;
        }
        self.creating.insert(name.clone(), (0..self.shards.len() as u16).collect());
        self.next_token += 1;
        let ticket = Ticket { party: NODE, token: self.next_token };
        self.creations.insert(ticket.token, name.clone());
        if self.metadata.submit(ticket, Change::CreateTopicOnAllShards { config }).is_err() {
            self.on_created(ticket.token, Err("too many metadata changes wait".to_owned()));
        }
    }

    fn on_created(&mut self, token: u64, result: Result<Outcome, String>) {
        let Some(name) = self.creations.remove(&token) else { return };
        match result {
            Ok(Outcome::Topics(placed)) => {
                for TopicPlaced { shard, record, version, .. } in placed {
                    self.tell(shard, Event::TopicMade(TopicMade { record, version }));
                }
            }
            Ok(other) => unreachable!("a creation is answered with topics, not {other:?}"),
            Err(why) => {
                self.creating.remove(&name);
                self.tell_ready(&name, &Err(why));
            }
        }
    }

    /// Once every shard has the topic, sends to it may go on, and it may be published.
    fn on_installed(&mut self, shard: u16, topic: &str) {
        let Some(missing) = self.creating.get_mut(topic) else { return };
        missing.remove(&shard);
        if missing.is_empty() {
            self.creating.remove(topic);
            self.tell_ready(topic, &Ok(()));
        }
    }

    fn tell_ready(&self, name: &str, result: &Result<(), String>) {
        for shard in 0..self.shards.len() as u16 {
            let (name, result) = (name.to_owned(), result.clone());
            self.tell(shard, Event::TopicReady { name, result });
        }
    }

    fn tell(&self, shard: u16, event: Event) {
        let (courier, seat) = &self.shards[usize::from(shard)];
        courier.post(*seat, Letter::Event(Box::new(event)));
    }
}

fn to_change(shard: u16, change: MetaChange) -> Change {
    match change {
        MetaChange::PutTopic { config } => Change::PutTopic { shards: vec![shard], config },
        MetaChange::DeleteTopic { name, log_end } => Change::DeleteTopic { shard, name, log_end },
        MetaChange::PutGroup { config } => Change::PutGroup { shard, config },
        MetaChange::DeleteGroup { name, with_offsets } => {
            Change::DeleteGroup { shard, name, with_offsets }
        }
        MetaChange::PutOptions { options } => Change::PutOptions { shard, options },
        MetaChange::Offsets { changes } => {
            let entry = |change: crate::broker::OffsetChange| OffsetEntry {
                topic: change.topic,
                group: change.group,
                queue: change.queue,
                offset: QueueOffset(change.offset as u64),
            };
            Change::PutOffsets { shard, batch: changes.into_iter().map(entry).collect() }
        }
    }
}

fn durable(outcome: Outcome, shard: u16) -> Durable {
    match outcome {
        Outcome::Topics(placed) => {
            let own = placed.into_iter().find(|topic| topic.shard == shard);
            let TopicPlaced { record, effect, version, .. } = own.expect("the shard asked for it");
            Durable::Topic { record, version, changed: effect != TopicEffect::Unchanged }
        }
        Outcome::TopicDeleted { version, .. } => Durable::TopicDeleted { version },
        Outcome::Group { config, version, .. } => Durable::Group { config, version },
        Outcome::GroupDeleted { version, .. } => Durable::GroupDeleted { version },
        Outcome::Kept | Outcome::ValueDeleted { .. } => Durable::Kept,
    }
}
