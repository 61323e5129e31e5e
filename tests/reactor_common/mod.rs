//! What the tests of the reactor share.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use ringmq::base::LogOffset;
use ringmq::base::memory::LogRing;
use ringmq::base::outgoing::{Outgoing, Piece};
use ringmq::reactor::{
    Arena, ArenaId, ArenaIdentity, ArenaSizes, Completion, Listener, Ring, Socket, Wait,
};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// No condition takes this long unless something is broken.
pub const LIMIT: Duration = Duration::from_secs(30);

pub const PARK: Wait =
    Wait::SpinThenPark { spin: Duration::ZERO, at_most: Some(Duration::from_millis(100)) };

pub fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// Bytes that differ at the offsets that one might confuse.
pub fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mix = |i: u64| (i + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
    (0..len as u64).map(|i| mix(i) as u8).collect()
}

/// Turns the ring until `done` says so of a completion, or of the ring after a turn.
pub fn turn_until(ring: &mut Ring, mut done: impl FnMut(&mut Ring, Vec<Completion>) -> bool) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let mut out = Vec::new();
        ring.turn(PARK, || false, &mut out).unwrap();
        if done(ring, out) {
            return;
        }
        assert!(Instant::now() < deadline, "the condition was not met in time");
    }
}

/// The next completion that `pick` takes; any other is dropped.
pub fn next<T>(ring: &mut Ring, mut pick: impl FnMut(Completion) -> Option<T>) -> T {
    let mut found = None;
    turn_until(ring, |_, out| {
        for completion in out {
            if found.is_none() {
                found = pick(completion);
            }
        }
        found.is_some()
    });
    found.unwrap()
}

/// A connection accepted by the ring, and its other end.
pub fn connect(ring: &mut Ring) -> (Socket, TcpStream) {
    let listener = Listener::bind(loopback()).unwrap();
    ring.accept(&listener, 1);
    let client = TcpStream::connect(listener.address()).unwrap();
    client.set_read_timeout(Some(LIMIT)).unwrap();
    client.set_write_timeout(Some(LIMIT)).unwrap();
    let socket = next(ring, |completion| match completion {
        Completion::Accepted { token: 1, socket, peer } => {
            assert_eq!(peer, Some(client.local_addr().unwrap()));
            Some(socket)
        }
        _ => None,
    });
    ring.cancel_accept(&listener);
    next(ring, |completion| {
        matches!(completion, Completion::AcceptEnded { token: 1, .. }).then_some(())
    });
    (socket, client)
}

pub const SMALL: ArenaSizes =
    ArenaSizes { ring: 1 << 20, slots: 4, slot_bytes: 64 * 1024, journal_half: 4096 };

/// An arena whose log begins at `start`.
pub fn arena_from(start: u64) -> Arena {
    Arena::anonymous(SMALL, &ArenaIdentity::default(), LogOffset(start)).unwrap()
}

pub fn add_arena(ring: &mut Ring, start: u64) -> (Arena, ArenaId) {
    let arena = arena_from(start);
    let id = ring.add_arena(&arena);
    (arena, id)
}

/// Appends and seals bytes; returns where they begin.
pub fn append(arena: &mut Arena, bytes: &[u8]) -> LogOffset {
    let at = arena.log.sealed();
    arena.log.writable(at, bytes.len()).copy_from_slice(bytes);
    arena.log.seal(at + bytes.len() as u64);
    at
}

pub fn own(bytes: Vec<u8>) -> Outgoing {
    let pieces = vec![Piece::Own { start: 0, len: bytes.len() as u32 }];
    Outgoing { bytes, pieces, transfer: None }
}
