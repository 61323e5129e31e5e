//! All connections of a shard, with the memory they share.

use std::net::SocketAddr;

use slab::Slab;

use super::connection::{Connection, Reading};
use crate::base::limits::{
    CARRY_BYTES_MAX, CONNECTION_IDLE_US, COPIED_BYTES_MAX, COPIED_BYTES_OF_CONNECTION_MAX,
    KEPT_OUTGOING_BYTES_MAX, SPARE_BUFFERS_MAX,
};
use crate::base::memory::LogRing;
use crate::base::outgoing::{Outgoing, Piece};
use crate::base::{ConnId, LogOffset};
use crate::wire::frame::FrameError;

/// The connections of one shard.
#[derive(Debug, Default)]
pub struct Connections {
    slots: Slab<Connection>,
    generations: u32,
    /// Connections with something to send, each once.
    listed: Vec<ConnId>,
    spare_outgoing: Vec<Outgoing>,
    spare_carries: Vec<Vec<u8>>,
    /// Bytes in all carries; one budget for the shard.
    carried: usize,
    /// Bytes of replies that were copied out of the log ring and are not sent yet.
    copied: usize,
}

/// A connection that keeps the log's head from going on.
#[derive(Debug)]
pub enum Stuck {
    /// Its send is with the kernel: what is unsent is to be copied.
    WithKernel(ConnId),
    /// More may not be copied; the bound's name and value.
    BeyondBound(ConnId, String),
}

/// One gather send that is due.
#[derive(Debug)]
pub struct Departure {
    pub conn: ConnId,
    pub outgoing: Outgoing,
}

/// Why a connection cannot go on.
#[derive(Debug, PartialEq)]
pub enum Broken {
    Frame(FrameError),
    /// Partial frames of all connections together exceed `CARRY_BYTES_MAX`.
    CarryBudget,
}

impl Connections {
    pub fn open(&mut self, peer: SocketAddr, now_us: u64) -> ConnId {
        self.generations = self.generations.wrapping_add(1);
        let generation = self.generations;
        let index = self.slots.insert(Connection::new(peer, generation, now_us)) as u32;
        ConnId { index, generation }
    }

    pub fn get(&self, conn: ConnId) -> Option<&Connection> {
        self.slots.get(conn.index as usize).filter(|slot| slot.generation == conn.generation)
    }

    pub fn get_mut(&mut self, conn: ConnId) -> Option<&mut Connection> {
        self.slots.get_mut(conn.index as usize).filter(|slot| slot.generation == conn.generation)
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Where replies to `conn` are written; they leave when the turn ends. None once
    /// the connection is closing.
    pub fn outgoing(&mut self, conn: ConnId) -> Option<&mut Outgoing> {
        let slot = self.slots.get_mut(conn.index as usize)?;
        if slot.generation != conn.generation || slot.closing {
            return None;
        }
        if !slot.listed {
            slot.listed = true;
            self.listed.push(conn);
            if slot.filling.bytes.capacity() == 0 {
                slot.filling = self.spare_outgoing.pop().unwrap_or_default();
            }
        }
        Some(&mut slot.filling)
    }

    /// Moves bytes that complete a carried frame out of `bytes`. Returns how many were
    /// taken, and the frame if it is whole now.
    pub fn complete_carried(
        &mut self,
        conn: ConnId,
        bytes: &[u8],
    ) -> Result<(usize, Option<Vec<u8>>), Broken> {
        let mut taken = 0;
        while let Some(slot) = self.get(conn) {
            if slot.carry.is_empty() {
                break;
            }
            let missing = slot.missing().map_err(Broken::Frame)?;
            if missing == 0 {
                let frame = self.take_carry(conn);
                return Ok((taken, Some(frame)));
            }
            let next = &bytes[taken..];
            if next.is_empty() {
                break;
            }
            let part = &next[..missing.min(next.len())];
            taken += part.len();
            self.carry(conn, part)?;
        }
        Ok((taken, None))
    }

    /// Keeps `bytes` until the rest of their frame arrives, or until the peer may go on.
    pub fn carry(&mut self, conn: ConnId, bytes: &[u8]) -> Result<(), Broken> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.carried + bytes.len() > CARRY_BYTES_MAX {
            return Err(Broken::CarryBudget);
        }
        let spare = &mut self.spare_carries;
        let Some(slot) = self.slots.get_mut(conn.index as usize) else { return Ok(()) };
        assert!(slot.generation == conn.generation, "bytes for a connection that is gone");
        if slot.carry.capacity() == 0 {
            slot.carry = spare.pop().unwrap_or_default();
        }
        slot.carry.extend_from_slice(bytes);
        self.carried += bytes.len();
        Ok(())
    }

    /// Takes all carried bytes; `recycle` brings their memory back.
    pub fn take_carry(&mut self, conn: ConnId) -> Vec<u8> {
        let Some(slot) = self.get_mut(conn) else { return Vec::new() };
        let carry = std::mem::take(&mut slot.carry);
        self.carried -= carry.len();
        carry
    }

    /// Memory of a handled frame comes back for the next one.
    pub fn recycle(&mut self, mut memory: Vec<u8>) {
        if self.spare_carries.len() < SPARE_BUFFERS_MAX
            && memory.capacity() <= KEPT_OUTGOING_BYTES_MAX
        {
            memory.clear();
            self.spare_carries.push(memory);
        }
    }

    /// Bytes came from the peer.
    pub fn touch(&mut self, conn: ConnId, now_us: u64) {
        if let Some(slot) = self.get_mut(conn) {
            slot.last_active_us = now_us;
        }
    }

    pub fn set_reading(&mut self, conn: ConnId, reading: Reading) {
        if let Some(slot) = self.get_mut(conn) {
            slot.reading = reading;
        }
    }

    /// What leaves now: one gather send for each connection that has none in flight.
    pub fn depart(&mut self, mut send: impl FnMut(Departure)) {
        for conn in self.listed.drain(..) {
            let Some(slot) = self.slots.get_mut(conn.index as usize) else { continue };
            if slot.generation != conn.generation {
                continue;
            }
            slot.listed = false;
            if slot.sending || slot.closing || slot.filling.is_empty() {
                continue;
            }
            slot.sending = true;
            let next = self.spare_outgoing.pop().unwrap_or_default();
            let outgoing = std::mem::replace(&mut slot.filling, next);
            slot.sending_from = lowest_log_piece(&outgoing);
            slot.sending_len = outgoing.len();
            slot.copied.sending = std::mem::take(&mut slot.copied.filling);
            send(Departure { conn, outgoing });
        }
    }

    /// A send has ended; its memory comes back. What gathered meanwhile leaves at the
    /// end of this turn.
    pub fn on_sent(&mut self, conn: ConnId, outgoing: Outgoing, now_us: u64) {
        self.keep_outgoing(outgoing);
        let Some(slot) = self.slots.get_mut(conn.index as usize) else { return };
        if slot.generation != conn.generation {
            return;
        }
        slot.sending = false;
        slot.sending_from = None;
        self.copied -= std::mem::take(&mut slot.copied.sending);
        slot.last_active_us = now_us;
        if !slot.filling.is_empty() && !slot.listed {
            slot.listed = true;
            self.listed.push(conn);
        }
    }

    /// No reply goes to this connection from now on; `remove` follows when the kernel
    /// has let go of it. The first call returns what was not sent.
    pub fn start_closing(&mut self, conn: ConnId) -> Option<Outgoing> {
        let slot = self.get_mut(conn).filter(|slot| !slot.closing)?;
        slot.closing = true;
        let unsent = std::mem::take(&mut slot.filling);
        let copied = std::mem::take(&mut slot.copied.filling);
        self.copied -= copied;
        Some(unsent)
    }

    /// Copies ring pieces below `edge` that wait to be sent, and gives their pins back.
    /// Returns the connections with such pieces that this has not helped.
    pub fn copy_pieces_below(
        &mut self,
        edge: LogOffset,
        ring: &dyn LogRing,
        mut unpin: impl FnMut(&[Piece]),
    ) -> Vec<Stuck> {
        let mut stuck = Vec::new();
        for (index, slot) in &mut self.slots {
            if slot.closing {
                continue;
            }
            let filling = bytes_below(&slot.filling, edge);
            let with_kernel = slot.sending_from.is_some_and(|from| from < edge);
            let sending = if with_kernel { slot.sending_len } else { 0 };
            if filling + sending == 0 {
                continue;
            }
            let conn = ConnId { index: index as u32, generation: slot.generation };
            let own = slot.copied.filling + slot.copied.sending;
            if let Some(bound) = bound_reached(own, self.copied, filling + sending) {
                stuck.push(Stuck::BeyondBound(conn, bound));
                continue;
            }
            self.copied += filling + sending;
            slot.copied.filling += filling;
            copy_below(&mut slot.filling, edge, ring, &mut unpin);
            if with_kernel {
                slot.copied.sending += sending;
                slot.sending_from = None;
                stuck.push(Stuck::WithKernel(conn));
            }
        }
        stuck
    }

    /// A send goes on from a copy; its own memory comes back.
    pub fn on_copied(&mut self, conn: ConnId, outgoing: Outgoing) {
        debug_assert!(self.get(conn).is_none_or(|slot| slot.sending));
        self.keep_outgoing(outgoing);
    }

    fn keep_outgoing(&mut self, mut outgoing: Outgoing) {
        outgoing.clear();
        if self.spare_outgoing.len() < SPARE_BUFFERS_MAX
            && outgoing.bytes.capacity() <= KEPT_OUTGOING_BYTES_MAX
        {
            self.spare_outgoing.push(outgoing);
        }
    }

    pub fn remove(&mut self, conn: ConnId) {
        if self.get(conn).is_none() {
            return;
        }
        let slot = self.slots.remove(conn.index as usize);
        self.carried -= slot.carry.len();
        self.copied -= slot.copied.filling + slot.copied.sending;
        self.recycle(slot.carry);
    }

    /// Connections without a byte in either direction for `CONNECTION_IDLE_US`.
    pub fn idle(&self, now_us: u64) -> impl Iterator<Item = ConnId> {
        self.iter()
            .filter(move |(_, slot)| {
                !slot.closing && now_us.saturating_sub(slot.last_active_us) >= CONNECTION_IDLE_US
            })
            .map(|(conn, _)| conn)
    }

    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &Connection)> {
        self.slots.iter().map(|(index, slot)| {
            (ConnId { index: index as u32, generation: slot.generation }, slot)
        })
    }
}

/// Replaces ring pieces below `edge` by own bytes.
fn copy_below(
    outgoing: &mut Outgoing,
    edge: LogOffset,
    ring: &dyn LogRing,
    unpin: &mut impl FnMut(&[Piece]),
) {
    for piece in &mut outgoing.pieces {
        let Piece::Log { at, len } = *piece else { continue };
        if at >= edge {
            continue;
        }
        unpin(&[*piece]);
        let start = outgoing.bytes.len() as u32;
        outgoing.bytes.extend_from_slice(ring.readable(at, len as usize));
        *piece = Piece::Own { start, len };
    }
}

fn bytes_below(outgoing: &Outgoing, edge: LogOffset) -> usize {
    let below = outgoing.pieces.iter().map(|piece| match *piece {
        Piece::Log { at, len } if at < edge => len as usize,
        _ => 0,
    });
    below.sum()
}

/// Which bound copying `more` bytes would break.
fn bound_reached(own: usize, all: usize, more: usize) -> Option<String> {
    if own + more > COPIED_BYTES_OF_CONNECTION_MAX {
        Some(format!("COPIED_BYTES_OF_CONNECTION_MAX ({COPIED_BYTES_OF_CONNECTION_MAX})"))
    } else if all + more > COPIED_BYTES_MAX {
        Some(format!("COPIED_BYTES_MAX ({COPIED_BYTES_MAX})"))
    } else {
        None
    }
}

/// The lowest log offset that a send keeps in the ring.
fn lowest_log_piece(outgoing: &Outgoing) -> Option<LogOffset> {
    let log = outgoing.pieces.iter().filter_map(|piece| match piece {
        Piece::Log { at, .. } => Some(*at),
        Piece::Own { .. } | Piece::Slot { .. } | Piece::File { .. } => None,
    });
    log.min()
}
