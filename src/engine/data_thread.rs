//! The loop of a data thread: one ring, and the shards that sit on it.
//!
//! ```text
//! reap completions -> events -> shard turns -> intents -> operations -> enter
//! ```

use std::io;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::mail::{Letter, Mail, Outbox};
use super::seat::{Operation, Seat, Wired};
use crate::base::memory::BufferId;
use crate::base::{ConnId, Now};

use crate::reactor::{Completion, DiskError, End, Ring, Socket, Wait};
use crate::shard::{Event, Intent, World};
use crate::store;

/// When a thread sleeps.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long it looks for work before it sleeps.
    pub spin: Duration,
    /// Zero of the monotonic clock; one for all threads of the process.
    pub epoch: Instant,
}

/// A data thread's state. It is made on its own thread and stays there.
pub struct DataThread<O> {
    ring: Ring,
    seats: Vec<Seat>,
    mail: Receiver<Mail>,
    letters: Vec<Mail>,
    outbox: O,
    timing: Timing,
    intents: Vec<Intent>,
    completions: Vec<Completion>,
    done: Vec<store::Done>,
    /// Receive buffers lent to shards until their turns end.
    lent: Vec<BufferId>,
    /// Seats with something new in this turn.
    touched: Vec<bool>,
    /// Listeners that found no descriptor or memory for a peer, and when they try again.
    accepts_due: Vec<(u64, u64)>,
}

/// A peer that cannot be accepted stays in the queue, so that to try at once would be to
/// try for ever.
const ACCEPT_PAUSE_US: u64 = 250_000;

/// What an operation of the ring is for; with seat and key it makes a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Accept,
    Connection,
    Store,
}

fn token(kind: Kind, seat: usize, key: usize) -> u64 {
    ((kind as u64) << 56) | ((seat as u64) << 40) | key as u64
}

fn untoken(token: u64) -> (usize, usize) {
    ((token >> 40) as usize & 0xffff, (token & 0xff_ffff_ffff) as usize)
}

impl<O: Outbox> DataThread<O> {
    pub fn new(
        ring: Ring,
        seats: Vec<Seat>,
        mail: Receiver<Mail>,
        outbox: O,
        timing: Timing,
    ) -> Self {
        Self {
            ring,
            touched: vec![true; seats.len()],
            accepts_due: Vec::new(),
            seats,
            mail,
            letters: Vec::new(),
            outbox,
            timing,
            intents: Vec::new(),
            completions: Vec::new(),
            done: Vec::new(),
            lent: Vec::new(),
        }
    }

    /// Serves until all shards have ended. An error is one of the ring or of the files that
    /// are written, and final.
    pub fn run(mut self) -> io::Result<()> {
        for (at, seat) in self.seats.iter().enumerate() {
            for (key, listener) in seat.listeners.iter().enumerate() {
                self.ring.accept(listener, token(Kind::Accept, at, key));
            }
        }
        while self.seats.iter().any(|seat| !seat.ended) {
            self.turn()?;
            if let Some(why) = self.seats.iter().find_map(|seat| seat.broken.as_ref()) {
                return Err(io::Error::other(why.clone()));
            }
        }
        Ok(())
    }

    fn turn(&mut self) -> io::Result<()> {
        let wait = self.wait();
        let (mail, letters) = (&self.mail, &mut self.letters);
        let has_mail = || {
            letters.extend(mail.try_iter());
            !letters.is_empty()
        };
        self.ring.turn(wait, has_mail, &mut self.completions)?;
        self.letters.extend(self.mail.try_iter());
        let now = self.now();
        let mut completions = std::mem::take(&mut self.completions);
        for completion in completions.drain(..) {
            self.on_completion(completion, now);
            // A turn ends early when half of the receive buffers are lent to it, or when
            // its messages are enough for one batch.
            if self.lent.len() >= self.ring.buffers_count() / 2 || self.is_full() {
                self.end_turns(now);
            }
        }
        self.completions = completions;
        for mail in std::mem::take(&mut self.letters) {
            self.on_letter(mail, now);
        }
        self.accept_again(now);
        self.end_turns(now);
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.seats.iter().any(|seat| seat.shard.is_full())
    }

    fn wait(&self) -> Wait {
        let now = self.now();
        let deadlines = self.seats.iter().filter(|seat| !seat.ended);
        let deadlines = deadlines.filter_map(|seat| seat.shard.next_deadline_us(now));
        let accepts = self.accepts_due.iter().map(|(due_us, _)| *due_us);
        let deadline = deadlines.chain(accepts).min();
        match deadline.map(|at| at.saturating_sub(now.mono_us)) {
            Some(0) => Wait::Never,
            at_most => Wait::SpinThenPark {
                spin: self.timing.spin,
                at_most: at_most.map(Duration::from_micros),
            },
        }
    }

    fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            mono_us: self.timing.epoch.elapsed().as_micros() as u64,
            unix_ms: unix.as_millis() as i64,
        }
    }

    fn on_completion(&mut self, completion: Completion, now: Now) {
        match completion {
            Completion::Accepted { token, socket, peer } => {
                self.on_accepted(token, socket, peer, now)
            }
            Completion::AcceptEnded { token, error } => self.on_accept_ended(token, &error, now),
            Completion::Received { token, buffer, len } => {
                self.lent.push(buffer);
                if let Some((at, conn)) = self.connection(token) {
                    self.event(at, Event::Received { conn, buffer, len }, now);
                }
            }
            Completion::ReceiveEnded { token, end } => self.on_receive_ended(token, &end, now),
            Completion::Sent { token, outgoing, result } => {
                if let Some((at, conn)) = self.connection(token) {
                    let whole = result.is_ok();
                    self.event(at, Event::Sent { conn, outgoing, whole }, now);
                }
            }
            Completion::Copied { token, outgoing } => {
                if let Some((at, conn)) = self.connection(token) {
                    self.event(at, Event::Copied { conn, outgoing }, now);
                }
            }
            Completion::Closed { token } => {
                let (at, key) = untoken(token);
                let wired = self.seats[at].sockets.remove(key);
                self.seats[at].by_conn.remove(&wired.conn);
                self.event(at, Event::Closed { conn: wired.conn }, now);
            }
            Completion::Wrote { token, result } => self.on_wrote(token, result, now),
            Completion::Synced { token, result } => self.on_synced(token, result, now),
            Completion::Read { token, slot, result } => {
                let (at, key) = untoken(token);
                if let Operation::Read { segment } = self.seats[at].operations.remove(key) {
                    self.seats[at].readable.on_read(segment);
                }
                let result = result.map_err(|error| error.to_string());
                self.event(at, Event::Store(store::Done::LogRead { slot, result }), now);
            }
            Completion::Rung => {}
        }
    }

    fn on_accepted(
        &mut self,
        accept: u64,
        socket: Socket,
        peer: Option<std::net::SocketAddr>,
        now: Now,
    ) {
        let (at, _) = untoken(accept);
        let seat = &mut self.seats[at];
        let Some(peer) = peer.filter(|_| !seat.stopping) else { return };
        let conn = seat.shard.open(peer, now);
        let wired = Wired { conn, socket: None, ended: false };
        let key = seat.sockets.insert(wired);
        self.ring.receive(&socket, token(Kind::Connection, at, key));
        seat.sockets[key].socket = Some(socket);
        seat.by_conn.insert(conn, key);
        self.touched[at] = true;
    }

    fn on_accept_ended(&mut self, accept: u64, error: &io::Error, now: Now) {
        let (at, _) = untoken(accept);
        let seat = &self.seats[at];
        if seat.stopping {
            return;
        }
        tracing::error!(shard = seat.index, %error, "accepting failed; trying again");
        let lacking = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
        let lacks = error.raw_os_error().is_some_and(|errno| lacking.contains(&errno));
        let pause_us = if lacks { ACCEPT_PAUSE_US } else { 0 };
        self.accepts_due.push((now.mono_us + pause_us, accept));
    }

    fn accept_again(&mut self, now: Now) {
        for (_, accept) in self.accepts_due.extract_if(.., |(due_us, _)| *due_us <= now.mono_us) {
            let (at, key) = untoken(accept);
            let seat = &self.seats[at];
            if !seat.stopping {
                self.ring.accept(&seat.listeners[key], accept);
            }
        }
    }

    fn on_receive_ended(&mut self, receive: u64, end: &End, now: Now) {
        let (at, key) = untoken(receive);
        let Some(wired) = self.seats[at].sockets.get_mut(key) else { return };
        if matches!(end, End::Cancelled) {
            // Paused. If it was resumed meanwhile, it receives again already.
            return;
        }
        wired.ended = true;
        let conn = wired.conn;
        self.event(at, Event::Ended { conn }, now);
    }

    fn on_wrote(&mut self, write: u64, result: Result<(), DiskError>, now: Now) {
        let (at, key) = untoken(write);
        let Operation::Write { op, len, .. } = self.seats[at].operations.remove(key) else {
            unreachable!("a write")
        };
        let result = match result {
            Ok(()) => Ok(len),
            Err(DiskError::Short { done, .. }) => Ok(done as u32),
            Err(DiskError::Failed(error)) => Err(errno(&error)),
        };
        self.event(at, Event::Store(store::Done::Written { op, result }), now);
    }

    fn on_synced(&mut self, sync: u64, result: Result<(), DiskError>, now: Now) {
        let (at, key) = untoken(sync);
        let Operation::Sync { op } = self.seats[at].operations.remove(key) else {
            unreachable!("a flush")
        };
        let result = result.map_err(|error| match error {
            DiskError::Failed(error) => errno(&error),
            DiskError::Short { .. } => nix::libc::EIO,
        });
        self.event(at, Event::Store(store::Done::Synced { op, result }), now);
    }

    fn on_letter(&mut self, mail: Mail, now: Now) {
        let at = mail.seat;
        self.touched[at] = true;
        match mail.letter {
            Letter::Event(event) => self.event(at, *event, now),
            Letter::HelperDone => {
                let seat = &mut self.seats[at];
                let key = |key| token(Kind::Store, at, key);
                seat.poll_helper(&mut self.ring, key, &mut self.done);
                for done in std::mem::take(&mut self.done) {
                    self.event(at, Event::Store(done), now);
                }
            }
            Letter::Drain => {
                let seat = &mut self.seats[at];
                seat.stopping = true;
                for listener in &seat.listeners {
                    self.ring.cancel_accept(listener);
                }
            }
            Letter::Stop => self.with_world(at, now, |shard, world| shard.stop(world)),
        }
    }

    fn event(&mut self, at: usize, event: Event, now: Now) {
        self.touched[at] = true;
        self.with_world(at, now, |shard, world| shard.on(event, world));
    }

    fn with_world(
        &mut self,
        at: usize,
        now: Now,
        act: impl FnOnce(&mut crate::shard::Shard, &mut World),
    ) {
        let seat = &mut self.seats[at];
        let mut world = World {
            now,
            arena: &mut seat.arena,
            files: &seat.readable,
            thread: &self.ring,
            buffers: &self.ring,
            intents: &mut self.intents,
        };
        act(&mut seat.shard, &mut world);
        self.perform(at);
    }

    /// Ends the turn of every shard that had events or whose time has come.
    fn end_turns(&mut self, now: Now) {
        for at in 0..self.seats.len() {
            let seat = &self.seats[at];
            let due = seat.shard.next_deadline_us(now).is_some_and(|due| due <= now.mono_us);
            if seat.ended || !(self.touched[at] || due) {
                continue;
            }
            self.touched[at] = false;
            self.with_world(at, now, |shard, world| shard.end_turn(world));
            if self.seats[at].has_done() {
                self.letters.push(Mail { seat: at, letter: Letter::HelperDone });
            }
            self.end_if_stopped(at);
        }
        for buffer in self.lent.drain(..) {
            self.ring.give_back(buffer);
        }
    }

    fn perform(&mut self, at: usize) {
        let seat = &mut self.seats[at];
        for intent in self.intents.drain(..) {
            match intent {
                Intent::Send { conn, outgoing } => {
                    let key = seat.by_conn[&conn];
                    let wired = &seat.sockets[key];
                    let socket = wired.socket.as_ref().expect("a closing connection sends nothing");
                    seat.readable.note_receiver(&outgoing, key);
                    let files = |at| seat.readable.part(at);
                    let token = token(Kind::Connection, at, key);
                    self.ring.send_with_files(socket, seat.arena_id, outgoing, files, token);
                }
                Intent::CopySend { conn } => {
                    if let Some(socket) = &seat.sockets[seat.by_conn[&conn]].socket {
                        self.ring.copy_send(socket);
                    }
                }
                Intent::Pause { conn } => {
                    let wired = &mut seat.sockets[seat.by_conn[&conn]];
                    if let Some(socket) = &wired.socket {
                        self.ring.cancel_receive(socket);
                    }
                }
                Intent::Resume { conn } => {
                    let key = seat.by_conn[&conn];
                    let wired = &mut seat.sockets[key];
                    if let Some(socket) = wired.socket.as_ref().filter(|_| !wired.ended) {
                        self.ring.receive(socket, token(Kind::Connection, at, key));
                    }
                }
                Intent::Close { conn } => {
                    let key = seat.by_conn[&conn];
                    if let Some(socket) = seat.sockets[key].socket.take() {
                        seat.readable.forget_receiver(key, socket.has_unsent());
                        self.ring.close(socket, token(Kind::Connection, at, key));
                    }
                }
                Intent::Store(intent) => {
                    seat.perform(intent, &mut self.ring, |key| token(Kind::Store, at, key));
                }
                Intent::Effect(effect) => self.outbox.put(seat.index, effect),
            }
        }
    }

    /// A shard that was told to stop has ended once its log is closed.
    fn end_if_stopped(&mut self, at: usize) {
        let seat = &mut self.seats[at];
        let Some(result) = seat.shard.has_stopped() else { return };
        seat.ended = true;
        seat.listeners.clear();
        self.outbox.ended(seat.index, result);
    }

    fn connection(&self, token: u64) -> Option<(usize, ConnId)> {
        let (at, key) = untoken(token);
        Some((at, self.seats[at].sockets.get(key)?.conn))
    }
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(nix::libc::EIO)
}
