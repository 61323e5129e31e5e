//! An echo through the same reactor: what one core can do at best with these bytes.
//! The bench compares the broker with it.

use super::{
    Arena, ArenaId, ArenaIdentity, ArenaSizes, Completion, End, Listener, Ring, Socket, Wait,
};
use crate::base::LogOffset;
use crate::base::memory::Buffers;
use crate::base::outgoing::{Outgoing, Piece};
use slab::Slab;
use std::io;

/// Unsent bytes of a connection at which it is read no further.
const BACKLOG_BYTES_MAX: usize = 4 * 1024 * 1024;
const ACCEPT: u64 = u64::MAX;

/// Sends back whatever arrives, until `stop` says so after a turn.
pub fn serve(
    ring: &mut Ring,
    listener: &Listener,
    wait: Wait,
    mut stop: impl FnMut() -> bool,
) -> io::Result<()> {
    let mut echo = Echo::new(ring)?;
    let mut completions = Vec::new();
    ring.accept(listener, ACCEPT);
    while !stop() {
        ring.turn(wait, || false, &mut completions)?;
        for completion in completions.drain(..) {
            echo.on_completion(ring, completion)?;
        }
        echo.flush(ring);
    }
    Ok(())
}

struct Echo {
    connections: Slab<Connection>,
    /// Connections with bytes to send and no send under way.
    pressing: Vec<usize>,
    /// A gather send names an arena, even if it lends nothing of it.
    arena: ArenaId,
}

struct Connection {
    socket: Option<Socket>,
    next: Outgoing,
    spare: Option<Outgoing>,
    paused: bool,
    ended: bool,
}

impl Echo {
    fn new(ring: &mut Ring) -> io::Result<Self> {
        let sizes = ArenaSizes { ring: 64 * 1024, slots: 0, slot_bytes: 4096, journal_half: 4096 };
        let arena = Arena::anonymous(sizes, &ArenaIdentity::default(), LogOffset(0))
            .map_err(io::Error::other)?;
        Ok(Self { connections: Slab::new(), pressing: Vec::new(), arena: ring.add_arena(&arena) })
    }

    fn on_completion(&mut self, ring: &mut Ring, completion: Completion) -> io::Result<()> {
        match completion {
            Completion::Accepted { socket, .. } => self.on_accepted(ring, socket),
            Completion::AcceptEnded { error, .. } => return Err(error),
            Completion::Received { token, buffer, .. } => {
                self.on_bytes(token as usize, ring.bytes(buffer));
                ring.give_back(buffer);
                self.pause_if_behind(ring, token as usize);
            }
            Completion::ReceiveEnded { token, end } => self.on_end(ring, token as usize, &end),
            Completion::Sent { token, outgoing, result } => {
                self.on_sent(ring, token as usize, outgoing, result.is_ok());
            }
            Completion::Closed { token } => drop(self.connections.remove(token as usize)),
            _ => {}
        }
        Ok(())
    }

    fn on_accepted(&mut self, ring: &mut Ring, socket: Socket) {
        let entry = self.connections.vacant_entry();
        ring.receive(&socket, entry.key() as u64);
        entry.insert(Connection {
            socket: Some(socket),
            next: Outgoing::default(),
            spare: Some(Outgoing::default()),
            paused: false,
            ended: false,
        });
    }

    fn on_bytes(&mut self, key: usize, bytes: &[u8]) {
        let connection = &mut self.connections[key];
        let first = connection.next.is_empty();
        connection.next.bytes.extend_from_slice(bytes);
        let whole = Piece::Own { start: 0, len: connection.next.bytes.len() as u32 };
        connection.next.pieces.clear();
        connection.next.pieces.push(whole);
        if first && connection.spare.is_some() {
            self.pressing.push(key);
        }
    }

    fn pause_if_behind(&mut self, ring: &mut Ring, key: usize) {
        let connection = &mut self.connections[key];
        if !connection.paused
            && connection.next.bytes.len() > BACKLOG_BYTES_MAX
            && let Some(socket) = &connection.socket
        {
            connection.paused = true;
            ring.cancel_receive(socket);
        }
    }

    fn on_end(&mut self, ring: &mut Ring, key: usize, end: &End) {
        if !matches!(end, End::Cancelled) {
            self.connections[key].ended = true;
            self.close_if_done(ring, key);
        }
    }

    fn on_sent(&mut self, ring: &mut Ring, key: usize, mut outgoing: Outgoing, whole: bool) {
        let connection = &mut self.connections[key];
        outgoing.clear();
        connection.spare = Some(outgoing);
        if !whole {
            connection.next.clear();
            connection.ended = true;
        } else if !connection.next.is_empty() {
            self.pressing.push(key);
        } else if connection.paused
            && !connection.ended
            && let Some(socket) = &connection.socket
        {
            connection.paused = false;
            ring.receive(socket, key as u64);
        }
        self.close_if_done(ring, key);
    }

    fn close_if_done(&mut self, ring: &mut Ring, key: usize) {
        let connection = &mut self.connections[key];
        if connection.ended
            && connection.next.is_empty()
            && connection.spare.is_some()
            && let Some(socket) = connection.socket.take()
        {
            ring.close(socket, key as u64);
        }
    }

    /// One send per connection and turn.
    fn flush(&mut self, ring: &mut Ring) {
        for key in self.pressing.drain(..) {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            let Some(socket) = &connection.socket else { continue };
            let Some(spare) = connection.spare.take() else { continue };
            let outgoing = std::mem::replace(&mut connection.next, spare);
            ring.send(socket, self.arena, outgoing, key as u64);
        }
    }
}
