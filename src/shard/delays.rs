//! Frames that cannot be handled yet: they wait, are handled again, or are refused.

use super::frames::TurnFrames;
use super::waiting::{Full, WaitingFrame};
use super::{Shard, World};
use crate::base::memory::{Frames, Source, Span};
use crate::broker::context::{Cause, ReplyTo};
use crate::broker::refusal::Refusal;
use crate::wire::{Request, parse_prefix};

impl Shard {
    pub(super) fn park(&mut self, cause: Cause, frame: WaitingFrame, world: &mut World) {
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
    pub(super) fn note_room(&mut self) {
        self.broker.room_awaited = self.waiting.has(&Cause::Room);
    }

    /// The cause has ended: its frames are handled again in their order.
    pub(super) fn release(&mut self, cause: &Cause, world: &mut World) {
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
    pub(super) fn hold_back_sends(&mut self, world: &mut World) {
        let places = self.broker.take_unappended();
        for (conn, place) in places {
            let frames = TurnFrames { buffers: world.buffers, held: &self.held };
            let bytes = frames.span(place.frame).to_vec();
            self.park(Cause::Room, WaitingFrame { conn, bytes, since_us: place.since_us }, world);
        }
    }

    /// Answers a frame that is not handled any further.
    pub(super) fn refuse(&mut self, frame: &WaitingFrame, refusal: &Refusal, world: &mut World) {
        let Ok(Some(prefix)) = parse_prefix(&frame.bytes) else { return };
        let Some((header, body)) = prefix.split(&frame.bytes) else { return };
        let Ok(request) = Request::decode(prefix.codec, header, body) else { return };
        let to = ReplyTo::of(frame.conn, &request);
        self.with_broker(world, |_, cx| cx.refuse(to, refusal));
    }
}
