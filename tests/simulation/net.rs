//! Connections between clients and the broker: streams of bytes that arrive in
//! arbitrary cuts, late, or not at all.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use rand::Rng;
use ringmq::base::ConnId;
use ringmq::base::memory::{LogRing, Pool};
use ringmq::base::outgoing::{Outgoing, Piece};
use ringmq::shard::Event;
use ringmq::wire::{Request, StoredMessage, StoredMessages};

use super::arena::SimArena;
use super::client::{Asked, Client};
use super::process::{Input, Process};
use super::world::{Happening, World};

/// One connection, as the kernels at both ends have it.
pub struct Connection {
    pub client: usize,
    /// The process that serves it.
    pub life: u64,
    /// Its name in the shard.
    pub id: ConnId,
    /// Sent by the client and not handed to the shard.
    pub up: VecDeque<u8>,
    /// Arrived at the client and not yet a whole frame.
    pub down: Vec<u8>,
    /// A delivery to the shard is due.
    pub up_scheduled: bool,
    /// The shard takes nothing for now.
    pub paused: bool,
    /// … but something had arrived before, and still comes.
    pub late: bool,
    /// The shard has closed it.
    pub closing: bool,
    /// The client has closed it.
    pub left: bool,
    /// A send is with the kernel.
    pub sending: bool,
    /// What is on its way to the client has arrived by then.
    pub down_free_us: u64,
    /// The client reads nothing before this.
    pub stalled_until_us: u64,
}

impl Connection {
    pub fn new(client: usize, life: u64, id: ConnId) -> Self {
        Self {
            client,
            life,
            id,
            up: VecDeque::new(),
            down: Vec::new(),
            up_scheduled: false,
            paused: false,
            late: false,
            closing: false,
            left: false,
            sending: false,
            down_free_us: 0,
            stalled_until_us: 0,
        }
    }

    /// Nobody listens at the client's end any more.
    pub fn is_over(&self) -> bool {
        self.closing || self.left
    }
}

impl World {
    /// A client connects, if the broker is there.
    pub fn connect(&mut self, client: usize) -> Option<u64> {
        let now = self.now();
        let process = self.process.as_mut().filter(|process| !process.stopping)?;
        let port = 1024 + (self.next_connection % 60_000) as u16;
        let peer = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, client as u8), port));
        let id = process.shard.open(peer, now);
        self.next_connection += 1;
        let number = self.next_connection;
        process.by_id.insert(id, number);
        self.connections.insert(number, Connection::new(client, process.number, id));
        Some(number)
    }

    /// A client writes to its connection.
    pub fn write(&mut self, connection: u64, bytes: &[u8]) {
        let Some(it) = self.connections.get_mut(&connection) else { return };
        it.up.extend(bytes);
        self.schedule_up(connection);
    }

    /// A client closes its connection, or loses it.
    pub fn leave(&mut self, connection: u64) {
        let Some(it) = self.connections.get_mut(&connection) else { return };
        it.left = true;
        it.up.clear();
        let delay = self.delay(1_000);
        self.after(delay, Happening::Left(connection));
    }

    pub fn schedule_up(&mut self, connection: u64) {
        let Some(it) = self.connections.get_mut(&connection) else { return };
        if it.up_scheduled || (it.paused && !it.late) || it.up.is_empty() {
            return;
        }
        it.up_scheduled = true;
        let delay = self.delay(100);
        self.after(delay, Happening::Up(connection));
    }

    pub fn deliver_up(&mut self, connection: u64) {
        let Some(it) = self.connections.get_mut(&connection) else { return };
        it.up_scheduled = false;
        if it.is_over() || (it.paused && !std::mem::take(&mut it.late)) {
            return;
        }
        let most = match self.random.random_range(0..4) {
            0 => 16,
            1 => 300,
            _ => 16 * 1024,
        };
        let len = self.random.random_range(1..=most.min(it.up.len().max(1))).min(it.up.len());
        let bytes: Vec<u8> = it.up.drain(..len).collect();
        if bytes.is_empty() {
            return;
        }
        if let Some((process, id)) = self.served(connection) {
            process.inbox.push(Input::Bytes(id, bytes));
        }
        self.schedule_up(connection);
    }

    /// The process that serves a connection, and the name that it has there.
    pub fn served(&mut self, connection: u64) -> Option<(&mut Process, ConnId)> {
        let it = self.connections.get(&connection)?;
        let process = self.process.as_mut().filter(|process| process.number == it.life)?;
        Some((process, it.id))
    }

    pub fn connection_of(&self, conn: ConnId) -> Option<u64> {
        self.process.as_ref()?.by_id.get(&conn).copied()
    }

    pub fn with_connection(&mut self, conn: ConnId, change: impl FnOnce(&mut Connection)) {
        let number = self.connection_of(conn);
        if let Some(it) = number.and_then(|number| self.connections.get_mut(&number)) {
            change(it);
        }
    }

    /// The shard sends: its memory is lent until that has ended.
    pub fn send(&mut self, conn: ConnId, outgoing: Outgoing) {
        let number = self.connection_of(conn).expect("a connection that was opened");
        let process = self.process.as_mut().expect("it has just acted");
        for piece in &outgoing.pieces {
            if let Piece::Log { at, len } = *piece {
                process.arena.lend(at, u64::from(len));
            }
        }
        let bytes = gather(&outgoing, &process.arena);
        self.check_departure(number, &bytes);
        let it = self.connections.get_mut(&number).expect("it is closed only after its sends");
        assert!(!it.sending && !it.closing, "one send at a time, and none once closed");
        it.sending = true;
        let stalled_us = it.stalled_until_us.saturating_sub(self.now_us);
        let delay = self.delay(200) + stalled_us;
        let process = self.number();
        self.after(delay, Happening::Sent { process, connection: number, outgoing, bytes });
    }

    /// A send has ended: its bytes are on their way, or the connection broke.
    pub fn sent(&mut self, connection: u64, outgoing: Outgoing, bytes: Vec<u8>) -> Option<Event> {
        self.note("sent", u64::from(crc32fast::hash(&bytes)));
        if !outgoing.is_empty() {
            self.give_back(&outgoing, &bytes);
        }
        let it = self.connections.get_mut(&connection).expect("it is closed only after its sends");
        it.sending = false;
        let (conn, closing, left) = (it.id, it.closing, it.left);
        let whole = !closing && !left;
        if closing {
            let process = self.number();
            let delay = self.delay(100);
            self.after(delay, Happening::Closed { process, connection });
        }
        if !left {
            let len = if whole { bytes.len() } else { self.random.random_range(0..=bytes.len()) };
            self.deliver_later(connection, &bytes[..len]);
        }
        Some(Event::Sent { conn, outgoing, whole })
    }

    /// The kernel has copied what it has of a send: what was lent comes back early.
    pub fn copied(&mut self, connection: u64) -> Option<Event> {
        let mut found = None;
        for what in self.events.values_mut() {
            if let Happening::Sent { connection: of, outgoing, bytes, .. } = what
                && *of == connection
            {
                found = Some((std::mem::take(outgoing), bytes.clone()));
            }
        }
        let (outgoing, bytes) = found?;
        self.counts.copied_sends += 1;
        self.give_back(&outgoing, &bytes);
        let conn = self.connections.get(&connection).expect("a send keeps it").id;
        Some(Event::Copied { conn, outgoing })
    }

    fn give_back(&mut self, outgoing: &Outgoing, bytes: &[u8]) {
        let process = self.process.as_mut().expect("its send");
        assert!(gather(outgoing, &process.arena) == bytes, "lent bytes have changed");
        for piece in &outgoing.pieces {
            if let Piece::Log { at, len } = *piece {
                process.arena.give_back(at, u64::from(len));
            }
        }
    }

    /// Bytes travel to the client in pieces, in order.
    pub fn deliver_later(&mut self, connection: u64, mut bytes: &[u8]) {
        let Some(it) = self.connections.get(&connection) else { return };
        let mut at_us = it.down_free_us.max(self.now_us);
        while !bytes.is_empty() {
            let len = self.random.random_range(1..=bytes.len());
            at_us += self.random.random_range(1..100);
            self.at(at_us, Happening::Down(connection, bytes[..len].to_vec()));
            bytes = &bytes[len..];
        }
        self.connections.get_mut(&connection).expect("it is there").down_free_us = at_us;
    }

    /// The shard closes a connection.
    pub fn close(&mut self, conn: ConnId) {
        let number = self.connection_of(conn).expect("a connection that was opened");
        let it = self.connections.get_mut(&number).expect("closed once");
        it.closing = true;
        if !it.left {
            self.counts.closed_by_broker += 1;
        }
        if !self.connections[&number].sending {
            let process = self.number();
            let delay = self.delay(100);
            self.after(delay, Happening::Closed { process, connection: number });
        }
        let client = self.connections[&number].client;
        if self.clients[client].connection == Some(number) {
            let delay = self.delay(500);
            self.after(delay, Happening::HungUp(number));
        }
    }

    /// What is shown must have reached its level.
    fn check_departure(&self, connection: u64, bytes: &[u8]) {
        let Some(it) = self.connections.get(&connection).filter(|it| !it.left) else { return };
        let client = &self.clients[it.client];
        if client.connection != Some(connection) {
            return;
        }
        let marks = self.process.as_ref().expect("it sends").shard.store.watermarks();
        let mut rest = bytes;
        while let Ok(Some((reply, len))) = Request::read(rest) {
            rest = &rest[len..];
            let Some(pending) = client.outstanding.get(&reply.opaque) else { continue };
            let Asked::Pull { queue, .. } = &pending.asked else { continue };
            for message in StoredMessages::new(reply.body) {
                let message = message.expect("stored messages are whole");
                let size = stored_len(&message);
                self.checker.departs(queue.0, message.physical_offset + size, &marks);
            }
        }
        let error = Request::read(rest).err();
        assert!(
            rest.is_empty(),
            "a reply that cannot be read leaves the broker: {error:?}, {} of {} bytes: {:?}",
            rest.len(),
            bytes.len(),
            String::from_utf8_lossy(&rest[..rest.len().min(400)])
        );
    }

    /// For reports of what went wrong.
    pub fn describe_connections(&self) -> String {
        let describe = |(number, it): (&u64, &Connection)| {
            format!(
                "connection {number} of {}: {} bytes up, {} down, paused {}, sending {}, \
                 closing {}, left {}, life {} of {}; ",
                it.client,
                it.up.len(),
                it.down.len(),
                it.paused,
                it.sending,
                it.closing,
                it.left,
                it.life,
                self.number()
            )
        };
        self.connections.iter().map(describe).collect()
    }

    /// The client notices that its connection is gone.
    pub fn hang_up(&mut self, connection: u64) {
        if let Some(it) = self.connections.get_mut(&connection) {
            it.left = true;
            let life = it.life;
            if self.process.as_ref().is_none_or(|process| process.number != life) {
                self.connections.remove(&connection);
            }
        }
        let had = |client: &&mut Client| client.connection == Some(connection);
        for client in self.clients.iter_mut().filter(had) {
            client.connection = None;
            client.outstanding.clear();
        }
    }
}

/// The bytes of a gather send, where they lie now.
fn gather(outgoing: &Outgoing, arena: &SimArena) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(outgoing.len());
    for piece in &outgoing.pieces {
        bytes.extend_from_slice(match *piece {
            Piece::Own { start, len } => &outgoing.bytes[start as usize..][..len as usize],
            Piece::Log { at, len } => arena.readable(at, len as usize),
            Piece::Slot { slot, start, len } => &arena.slot(slot)[start as usize..][..len as usize],
            Piece::File { .. } => unreachable!("there are no files"),
        });
    }
    bytes
}

/// Bytes of a record in the log.
fn stored_len(message: &StoredMessage) -> u64 {
    let v6 = message.born_host.is_ipv6();
    let (topic, body) = (message.topic.len(), message.body.len());
    ringmq::log::record::record_len(topic, body, message.properties.len(), v6) as u64
}
