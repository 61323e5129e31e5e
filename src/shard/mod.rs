//! One shard as a value: it is told what happened and answers with what shall happen.
//! It owns no socket, no file and no clock, so the simulator runs the same code.
//!
//! A turn is any number of `on` calls and one `end_turn`: requests are taken in as
//! their bytes arrive, messages are appended together, replies leave together.

mod event;
mod frames;
mod waiting;

use std::net::SocketAddr;

use tracing::{debug, warn};

use crate::base::limits::CONNECTION_IDLE_US;
use crate::base::memory::{Arena, BufferId, Buffers, Frames, Source, Span};
use crate::base::outgoing::Outgoing;
use crate::base::{ConnId, Now};
use crate::broker::Broker;
use crate::broker::context::{Cause, Context, FramePlace, Outcome, Replies, ReplyTo};
use crate::broker::effect::Effect;
use crate::broker::refusal::Refusal;
use crate::log::ChainEnd;
use crate::net::{Connections, Departure, Reading, Stuck};
use crate::store::{self, After, Store};
use crate::wire::{HeaderForms, Request, parse_prefix};

pub use event::{Event, Intent};
use frames::TurnFrames;
use waiting::{Full, Waiting, WaitingFrame};

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
    pub buffers: &'a dyn Buffers,
    pub intents: &'a mut Vec<Intent>,
}

/// Why a connection is given up.
enum Fatal {
    Frame(String),
    Budget,
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

    fn on_received(&mut self, conn: ConnId, buffer: BufferId, len: usize, world: &mut World) {
        if let Err(fatal) = self.take_bytes(conn, buffer, len, world) {
            self.give_up(conn, fatal, world);
        }
    }

    fn take_bytes(
        &mut self,
        conn: ConnId,
        buffer: BufferId,
        len: usize,
        world: &mut World,
    ) -> Result<(), Fatal> {
        let Some(connection) = self.connections.get(conn) else { return Ok(()) };
        if connection.is_closing() {
            return Ok(());
        }
        let choked = connection.is_choked();
        self.connections.touch(conn, world.now.mono_us);
        let bytes = &world.buffers.bytes(buffer)[..len];
        if choked {
            return self.connections.carry(conn, bytes).map_err(Fatal::from);
        }
        let (taken, frame) = self.connections.complete_carried(conn, bytes)?;
        if let Some(frame) = frame {
            self.take_held(conn, frame, world.now.mono_us, world)?;
        }
        if taken < len {
            let source = Source::Buffer(buffer);
            self.take_frames(conn, source, taken, len, world.now.mono_us, world)?;
        }
        Ok(())
    }

    /// Handles frames that lie in memory of ours.
    fn take_held(
        &mut self,
        conn: ConnId,
        bytes: Vec<u8>,
        since_us: u64,
        world: &mut World,
    ) -> Result<(), Fatal> {
        let end = bytes.len();
        let source = Source::Held(self.held.len() as u32);
        self.held.push(bytes);
        self.take_frames(conn, source, 0, end, since_us, world)
    }

    /// Handles the whole frames between `at` and `end` of a source; carries the rest.
    fn take_frames(
        &mut self,
        conn: ConnId,
        source: Source,
        mut at: usize,
        end: usize,
        since_us: u64,
        world: &mut World,
    ) -> Result<(), Fatal> {
        loop {
            let frames = TurnFrames { buffers: world.buffers, held: &self.held };
            let bytes = &frames.source(source)[at..end];
            let choked = self.connections.get(conn).is_none_or(|slot| slot.is_choked());
            let prefix = if choked { None } else { parse_prefix(bytes).map_err(Fatal::frame)? };
            let Some(prefix) = prefix.filter(|prefix| prefix.frame_bytes <= bytes.len()) else {
                self.connections.carry(conn, bytes)?;
                if choked && !bytes.is_empty() {
                    self.pause(conn, world);
                }
                return Ok(());
            };
            let span = Span { source, start: at as u32, len: prefix.frame_bytes as u32 };
            at += prefix.frame_bytes;
            self.handle(conn, span, since_us, false, world)?;
        }
    }

    /// Handles one whole frame.
    fn handle(
        &mut self,
        conn: ConnId,
        frame: Span,
        since_us: u64,
        waited: bool,
        world: &mut World,
    ) -> Result<(), Fatal> {
        let frames = TurnFrames { buffers: world.buffers, held: &self.held };
        let bytes = frames.span(frame);
        let prefix = parse_prefix(bytes).map_err(Fatal::frame)?.expect("a whole frame");
        let (header, body) = prefix.split(bytes).expect("a whole frame");
        let mut request = Request::blank(prefix.codec, header, body);
        self.forms.decode(header, &mut request).map_err(Fatal::frame)?;
        if request.is_response() {
            // Peers may answer what they were only notified of.
            return Ok(());
        }
        let body_len = body.len() as u32;
        let body = Span { start: frame.start + frame.len - body_len, len: body_len, ..frame };
        let to = ReplyTo {
            conn,
            codec: request.codec,
            opaque: request.opaque,
            oneway: request.is_oneway(),
        };
        let mut cx = Context {
            now: world.now,
            store: &mut self.store,
            arena: world.arena,
            frames: &frames,
            replies: &mut self.connections,
            effects: &mut self.effects,
        };
        let place = FramePlace { frame, body, since_us, waited };
        match self.broker.handle(&mut cx, to, place, &request) {
            Outcome::Done => {}
            Outcome::Wait(cause) => {
                let bytes = bytes.to_vec();
                self.park(cause, WaitingFrame { conn, bytes, since_us }, world);
            }
        }
        Ok(())
    }

    fn park(&mut self, cause: Cause, frame: WaitingFrame, world: &mut World) {
        let conn = frame.conn;
        let presses = cause == Cause::Room;
        if let Err(Full(frame)) = self.waiting.park(cause, frame) {
            return self.refuse(&frame, &Refusal::waiting_full(), world);
        }
        self.note_room();
        if presses {
            self.pause(conn, world);
        }
    }

    /// While frames wait for room, what comes after them waits too.
    fn note_room(&mut self) {
        self.broker.room_awaited = self.waiting.has(&Cause::Room);
    }

    /// The cause has ended: its frames are handled again in their order.
    fn release(&mut self, cause: &Cause, world: &mut World) {
        let frames = self.waiting.take(cause);
        self.note_room();
        for frame in frames {
            self.handle_again(frame, world);
        }
    }

    fn handle_again(&mut self, frame: WaitingFrame, world: &mut World) {
        let WaitingFrame { conn, bytes, since_us } = frame;
        self.resume(conn, world);
        if self.connections.get(conn).is_none_or(|slot| slot.is_closing()) {
            return;
        }
        let len = bytes.len() as u32;
        let source = Source::Held(self.held.len() as u32);
        self.held.push(bytes);
        let span = Span { source, start: 0, len };
        if let Err(fatal) = self.handle(conn, span, since_us, true, world) {
            self.give_up(conn, fatal, world);
        }
    }

    /// The log took nothing: this turn's sends wait until it does.
    fn hold_back_sends(&mut self, world: &mut World) {
        let places = self.broker.take_unappended();
        for (conn, place) in places {
            let frames = TurnFrames { buffers: world.buffers, held: &self.held };
            let bytes = frames.span(place.frame).to_vec();
            self.park(Cause::Room, WaitingFrame { conn, bytes, since_us: place.since_us }, world);
        }
    }

    /// Replies must not keep the log's head from going on: what of the ring they still
    /// hold in its way is copied, up to a bound; beyond it the connection is given up.
    fn keep_pins_short(&mut self, world: &mut World) {
        let Some(edge) = self.store.pins_in_the_way(world.arena) else { return };
        let (connections, store) = (&mut self.connections, &mut self.store);
        let stuck =
            connections.copy_pieces_below(edge, world.arena, |pieces| store.unpin_pieces(pieces));
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

    /// Answers a frame that is not handled any further.
    fn refuse(&mut self, frame: &WaitingFrame, refusal: &Refusal, world: &mut World) {
        let Ok(Some(prefix)) = parse_prefix(&frame.bytes) else { return };
        let Some((header, body)) = prefix.split(&frame.bytes) else { return };
        let Ok(request) = Request::decode(prefix.codec, header, body) else { return };
        let to = ReplyTo {
            conn: frame.conn,
            codec: request.codec,
            opaque: request.opaque,
            oneway: request.is_oneway(),
        };
        self.with_broker(world, |_, cx| cx.refuse(to, refusal));
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
        self.store.unpin(outgoing);
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

impl Fatal {
    fn frame(why: impl std::fmt::Display) -> Self {
        Self::Frame(why.to_string())
    }
}

impl From<crate::net::Broken> for Fatal {
    fn from(broken: crate::net::Broken) -> Self {
        match broken {
            crate::net::Broken::Frame(why) => Self::frame(why),
            crate::net::Broken::CarryBudget => Self::Budget,
        }
    }
}
