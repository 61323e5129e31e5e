//! One shard as a value: it is told what happened and answers with what shall happen.
//! It owns no socket, no file and no clock, so the simulator runs the same code.
//!
//! A turn is any number of `on` calls and one `end_turn`: requests are taken in as
//! their bytes arrive, messages are appended together, replies leave together.

mod delays;
mod event;
mod frames;
mod intake;
mod waiting;

use std::net::SocketAddr;

use tracing::{debug, warn};

use crate::base::counters::ThreadCounters;
use crate::base::limits::CONNECTION_IDLE_US;
use crate::base::memory::{Arena, Buffers, LogFiles};
use crate::base::outgoing::{Outgoing, Piece};
use crate::base::{ConnId, Now};
use crate::broker::Broker;
use crate::broker::context::{Cause, Context, Replies};
use crate::broker::effect::Effect;
use crate::broker::refusal::Refusal;
use crate::log::ChainEnd;
use crate::net::{Connections, Departure, Reading, Stuck};
use crate::store::{self, After, Store};
use crate::wire::HeaderForms;

pub use event::{Event, Intent};
use frames::TurnFrames;
use intake::Fatal;
use waiting::Waiting;

/// One shard.
pub struct Shard {
    pub broker: Broker,
    pub store: Store,
    connections: Connections,
    waiting: Waiting,
    forms: HeaderForms,
    /// Frames of this turn that lie in memory of ours.
    held: Vec<Vec<u8>>,
    effects: Vec<Effect>,
    wanted: Vec<store::Intent>,
    next_idle_scan_us: u64,
    stopping: bool,
}

/// What a turn works on.
pub struct World<'a> {
    pub now: Now,
    pub arena: &'a mut dyn Arena,
    pub files: &'a dyn LogFiles,
    pub thread: &'a dyn ThreadCounters,
    pub buffers: &'a dyn Buffers,
    pub intents: &'a mut Vec<Intent>,
}

impl Shard {
    pub fn new(broker: Broker, store: Store) -> Self {
        Self {
            broker,
            store,
            connections: Connections::default(),
            waiting: Waiting::default(),
            forms: HeaderForms::default(),
            held: Vec::new(),
            effects: Vec::new(),
            wanted: Vec::new(),
            next_idle_scan_us: 0,
            stopping: false,
        }
    }

    /// A peer connected; the name is what all events of the connection use.
    pub fn open(&mut self, peer: SocketAddr, now: Now) -> ConnId {
        self.connections.open(peer, now.mono_us)
    }

    /// Something happened. What follows from it leaves when the turn ends.
    pub fn on(&mut self, event: Event, world: &mut World) {
        match event {
            Event::Received { conn, buffer, len } => self.on_received(conn, buffer, len, world),
            Event::Ended { conn } => self.close(conn, world),
            Event::Sent { conn, outgoing, whole } => self.on_sent(conn, outgoing, whole, world),
            Event::Copied { conn, outgoing } => {
                self.unpin(&outgoing, world);
                self.connections.on_copied(conn, outgoing);
            }
            Event::Closed { conn } => self.connections.remove(conn),
            Event::Store(done) => self.on_store(done, world),
            Event::Stored { token, result } => {
                let ended =
                    self.with_broker(world, |broker, cx| broker.on_stored(cx, token, result));
                if let Some(cause) = ended {
                    self.release(&cause, world);
                }
            }
            Event::TopicMade(made) => {
                self.with_broker(world, |broker, cx| broker.on_topic_made(cx, made));
            }
            Event::TopicReady { name, result } => {
                self.with_broker(world, |broker, cx| broker.on_topic_ready(cx, &name, result));
                self.release(&Cause::Topic(name), world);
            }
            Event::Published { version } => {
                self.with_broker(world, |broker, cx| broker.on_published(cx, version));
            }
        }
    }

    /// Ends the turn: appends what was sent, answers, wakes, writes.
    pub fn end_turn(&mut self, world: &mut World) {
        self.expire(world);
        if self.waiting.has(&Cause::Room) && self.store.has_room(world.arena) {
            self.release(&Cause::Room, world);
        }
        let appended = self.with_broker(world, |broker, cx| broker.end_turn(cx));
        if !appended {
            self.hold_back_sends(world);
        }
        self.keep_pins_short(world);
        self.store.poll(world.now, world.arena, &mut self.wanted);
        world.intents.extend(self.wanted.drain(..).map(Intent::Store));
        world.intents.extend(self.effects.drain(..).map(Intent::Effect));
        self.connections.depart(|Departure { conn, outgoing }| {
            world.intents.push(Intent::Send { conn, outgoing });
        });
        for frame in self.held.drain(..) {
            self.connections.recycle(frame);
        }
    }

    /// Begins the end: consumer offsets are made durable, the log is closed.
    pub fn stop(&mut self, world: &mut World) {
        self.stopping = true;
        self.with_broker(world, |broker, cx| broker.stop(cx));
        self.store.close();
    }

    /// Once stopped: where the log ends, or why it did not end well.
    pub fn has_stopped(&self) -> Option<Result<ChainEnd, String>> {
        if !self.stopping {
            return None;
        }
        if let Some(failure) = self.store.failure() {
            return Some(Err(failure.to_string()));
        }
        let closed = self.store.is_closed() && self.broker.has_stopped();
        closed.then(|| Ok(self.store.log().checkpoint()))
    }

    /// When the shard wants a turn though nothing has happened.
    pub fn next_deadline_us(&self, now: Now) -> Option<u64> {
        let idle = (!self.connections.is_empty()).then_some(self.next_idle_scan_us);
        let room = self.waiting.has(&Cause::Room).then_some(now.mono_us + ROOM_POLL_US);
        let others = [
            self.waiting.next_deadline_us(),
            self.broker.next_deadline_us(),
            self.store.next_deadline_us(),
        ];
        others.into_iter().chain([idle, room]).flatten().min()
    }

    /// The turn has taken so much that it should end, whatever else has arrived.
    pub fn is_full(&self) -> bool {
        self.broker.turn_is_full()
    }

    /// Replies must not keep the log's head from going on: what of the ring they still
    /// hold in its way is copied, up to a bound; beyond it the connection is given up.
    fn keep_pins_short(&mut self, world: &mut World) {
        let Some(edge) = self.store.pins_in_the_way(world.arena) else { return };
        let (connections, store) = (&mut self.connections, &mut self.store);
        let unpin = |pieces: &[Piece]| store.unpin_pieces(pieces, world.files);
        let stuck = connections.copy_pieces_below(edge, world.arena, unpin);
        for stuck in stuck {
            match stuck {
                Stuck::WithKernel(conn) => world.intents.push(Intent::CopySend { conn }),
                Stuck::BeyondBound(conn, bound) => {
                    let peer = self.connections.get(conn).map(|slot| slot.peer);
                    warn!(
                        ?peer,
                        "closing a connection: its peer reads too slowly for the log ring, and \
                         {bound} is reached"
                    );
                    self.close(conn, world);
                }
            }
        }
    }

    fn expire(&mut self, world: &mut World) {
        let now_us = world.now.mono_us;
        for (cause, frame) in self.waiting.expire(now_us) {
            self.refuse(&frame, &Refusal::waited_too_long(&cause), world);
            self.resume(frame.conn, world);
        }
        self.note_room();
        for conn in self.with_broker(world, |broker, cx| broker.expire(cx)) {
            self.close(conn, world);
        }
        if now_us >= self.next_idle_scan_us {
            self.next_idle_scan_us = now_us + CONNECTION_IDLE_US / 12;
            let idle: Vec<ConnId> = self.connections.idle(now_us).collect();
            for conn in idle {
                debug!(?conn, "closing an idle connection");
                self.close(conn, world);
            }
        }
    }

    fn on_sent(&mut self, conn: ConnId, outgoing: Outgoing, whole: bool, world: &mut World) {
        self.unpin(&outgoing, world);
        self.connections.on_sent(conn, outgoing, world.now.mono_us);
        if !whole {
            return self.close(conn, world);
        }
        let choked = self.connections.get(conn).is_none_or(|slot| slot.is_choked());
        if choked || self.connections.get(conn).is_none_or(|slot| slot.reading() == Reading::On) {
            return;
        }
        let carried = self.connections.take_carry(conn);
        if !carried.is_empty() {
            let since_us = world.now.mono_us;
            if let Err(fatal) = self.take_held(conn, carried, since_us, world) {
                return self.give_up(conn, fatal, world);
            }
        }
        if self.connections.get(conn).is_some_and(|slot| !slot.is_choked()) {
            self.resume(conn, world);
        }
    }

    fn on_store(&mut self, done: store::Done, world: &mut World) {
        match self.store.on_done(done, world.now) {
            None => {}
            Some(After::Loaded(load)) => self.release(&Cause::Load(load), world),
            Some(After::Lost(extent)) => {
                let owner = self.broker.owner_of(extent.range.key.topic);
                if let Some(load) = self.store.rebuild(extent, owner) {
                    self.release(&Cause::Load(load), world);
                }
            }
            Some(After::Unreadable(load, why)) => {
                let refusal = Refusal::error(why);
                for frame in self.waiting.take(&Cause::Load(load)) {
                    self.refuse(&frame, &refusal, world);
                    self.resume(frame.conn, world);
                }
            }
        }
    }

    /// Gives back what a reply was lent; a read may have waited for a slot of the pool.
    fn unpin(&mut self, outgoing: &Outgoing, world: &mut World) {
        self.store.unpin(outgoing, world.files);
        if let Some(load) = self.store.take_freed_load() {
            self.release(&Cause::Load(load), world);
        }
    }

    fn pause(&mut self, conn: ConnId, world: &mut World) {
        let Some(slot) = self.connections.get(conn) else { return };
        if slot.reading() == Reading::On {
            self.connections.set_reading(conn, Reading::Paused { since_us: world.now.mono_us });
            world.intents.push(Intent::Pause { conn });
        }
    }

    fn resume(&mut self, conn: ConnId, world: &mut World) {
        let Some(slot) = self.connections.get(conn) else { return };
        if slot.reading() != Reading::On && !slot.is_choked() && !slot.is_closing() {
            self.connections.set_reading(conn, Reading::On);
            world.intents.push(Intent::Resume { conn });
        }
    }

    fn give_up(&mut self, conn: ConnId, fatal: Fatal, world: &mut World) {
        let peer = self.connections.get(conn).map(|slot| slot.peer);
        match fatal {
            Fatal::Frame(why) => warn!(?peer, why, "closing a connection that cannot be read"),
            Fatal::Budget => warn!(?peer, "closing a connection: CARRY_BYTES_MAX is reached"),
        }
        self.close(conn, world);
    }

    fn close(&mut self, conn: ConnId, world: &mut World) {
        if let Some(unsent) = self.connections.start_closing(conn) {
            self.unpin(&unsent, world);
            self.with_broker(world, |broker, cx| broker.disconnect(cx, conn));
            world.intents.push(Intent::Close { conn });
        }
    }

    fn with_broker<R>(
        &mut self,
        world: &mut World,
        act: impl FnOnce(&mut Broker, &mut Context) -> R,
    ) -> R {
        let frames = TurnFrames { buffers: world.buffers, held: &self.held };
        let mut cx = Context {
            now: world.now,
            store: &mut self.store,
            arena: world.arena,
            files: world.files,
            thread: world.thread,
            frames: &frames,
            replies: &mut self.connections,
            effects: &mut self.effects,
        };
        act(&mut self.broker, &mut cx)
    }
}

/// While frames wait for room, the log is asked this often.
const ROOM_POLL_US: u64 = 1_000;

impl Replies for Connections {
    fn outgoing(&mut self, conn: ConnId) -> Option<&mut Outgoing> {
        Connections::outgoing(self, conn)
    }

    fn peer(&self, conn: ConnId) -> Option<SocketAddr> {
        self.get(conn).map(|slot| slot.peer)
    }
}
