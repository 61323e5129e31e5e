//! Bytes of a connection become frames, and frames are handled where they lie.

use super::frames::TurnFrames;
use super::waiting::WaitingFrame;
use super::{Shard, World};
use crate::base::ConnId;
use crate::base::memory::{BufferId, Frames, Source, Span};
use crate::broker::context::{Context, FramePlace, Outcome, ReplyTo};
use crate::wire::{Request, parse_prefix};

/// Why a connection is given up.
pub(super) enum Fatal {
    Frame(String),
    Budget,
}

impl Shard {
    pub(super) fn on_received(
        &mut self,
        conn: ConnId,
        buffer: BufferId,
        len: usize,
        world: &mut World,
    ) {
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
    pub(super) fn take_held(
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
    pub(super) fn handle(
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
        let to = ReplyTo::of(conn, &request);
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
