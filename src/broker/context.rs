//! What a handler is given, and what it may ask for.

use std::net::SocketAddr;

use crate::base::counters::ThreadCounters;
use crate::base::memory::{Arena, Frames, LogFiles, Span};
use crate::base::outgoing::{Outgoing, Piece};
use crate::base::{ConnId, LogOffset, Now};
use crate::queue::QueueSlot;
use crate::store::{LoadId, ReadEnd, ReadLimits, Sources, Store};
use crate::wire::code::response;
use crate::wire::{Codec, FrameWriter, Request};

use super::effect::Effect;
use super::refusal::Refusal;

/// The world around one request, or around the end of a turn.
pub struct Context<'a> {
    pub now: Now,
    pub store: &'a mut Store,
    pub arena: &'a mut dyn Arena,
    pub files: &'a dyn LogFiles,
    pub thread: &'a dyn ThreadCounters,
    pub frames: &'a dyn Frames,
    pub replies: &'a mut dyn Replies,
    pub effects: &'a mut Vec<Effect>,
}

/// Where replies go. Implemented by whoever owns the connections.
pub trait Replies {
    /// Bytes and pieces for `conn`, sent when the turn ends; None once it is gone.
    fn outgoing(&mut self, conn: ConnId) -> Option<&mut Outgoing>;

    /// The peer's address; the born host of what it sends.
    fn peer(&self, conn: ConnId) -> Option<SocketAddr>;
}

/// Whom a reply goes to, and in which form. Copied out of a request, it outlives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    pub conn: ConnId,
    pub codec: Codec,
    pub opaque: i32,
    /// The peer wants no answer, whatever happens.
    pub oneway: bool,
}

impl ReplyTo {
    /// Whom a request that came over `conn` is answered.
    pub fn of(conn: ConnId, request: &Request) -> Self {
        let (codec, opaque) = (request.codec, request.opaque);
        Self { conn, codec, opaque, oneway: request.is_oneway() }
    }
}

/// A request's place among the bytes of this turn: the whole frame and its body.
#[derive(Clone, Copy, Debug)]
pub struct FramePlace {
    pub frame: Span,
    pub body: Span,
    /// When the frame came, by the monotonic clock; waiting does not change it.
    pub since_us: u64,
    /// It was handled before, and had to wait: what is done at once was done then.
    pub waited: bool,
}

/// How a request went.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered, or to be answered by what the broker keeps of it.
    Done,
    /// Not touched: the frame is kept and handled again when the cause has ended.
    Wait(Cause),
}

/// Why a frame waits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The topic is being created on every shard.
    Topic(String),
    /// An earlier change of this topic, or of this group, is being made durable; what
    /// comes later is worked out on top of it.
    TopicChange(String),
    GroupChange(String),
    /// Index entries or log bytes are being read from disk.
    Load(LoadId),
    /// The log takes nothing now: writes are behind, or the next segment is not ready.
    Room,
}

impl Context<'_> {
    /// [`Store::read`], from all that is at hand.
    pub fn read(
        &mut self,
        slot: QueueSlot,
        from: i64,
        limits: ReadLimits,
        passes: impl Fn(i32) -> bool,
        pieces: &mut Vec<Piece>,
    ) -> ReadEnd {
        let sources = Sources { arena: self.arena, files: self.files };
        self.store.read(sources, slot, from, limits, passes, pieces)
    }

    /// [`Store::view`], from all that is at hand.
    pub fn view(&mut self, at: LogOffset, pieces: &mut Vec<Piece>) -> Result<Option<u32>, LoadId> {
        self.store.view(self.arena, at, pieces)
    }

    /// Writes one reply without a body, unless none is wanted.
    pub fn reply(&mut self, to: ReplyTo, code: i32, fill: impl FnOnce(&mut FrameWriter)) {
        self.reply_with_body(to, code, fill, &[]);
    }

    pub fn reply_with_body(
        &mut self,
        to: ReplyTo,
        code: i32,
        fill: impl FnOnce(&mut FrameWriter),
        body: &[u8],
    ) {
        if to.oneway {
            return;
        }
        let Some(outgoing) = self.replies.outgoing(to.conn) else { return };
        outgoing.write(|out| {
            let mut frame = FrameWriter::reply(out, to.codec, to.opaque, code);
            fill(&mut frame);
            frame.finish_with_body(body);
        });
    }

    /// Success, with nothing to tell.
    pub fn ok(&mut self, to: ReplyTo) {
        self.reply(to, response::SUCCESS, |_| {});
    }

    /// Success, with a text for humans unless it is empty.
    pub fn ok_with_remark(&mut self, to: ReplyTo, remark: &str) {
        self.reply(to, response::SUCCESS, |frame| {
            if !remark.is_empty() {
                frame.remark(remark);
            }
        });
    }

    /// Success, with a body that says all.
    pub fn reply_body(&mut self, to: ReplyTo, body: &[u8]) {
        self.reply_with_body(to, response::SUCCESS, |_| {}, body);
    }

    pub fn refuse(&mut self, to: ReplyTo, refusal: &Refusal) {
        self.reply(to, refusal.code, |frame| {
            frame.remark(&refusal.remark);
        });
    }
}
