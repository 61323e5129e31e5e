//! Peers that stall: they cost a bounded amount of memory, and others go on.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::node::{Node, Place, mapped_kib_max};
use crate::peer::Peer;
use crate::requests::{Ask, ask, pull, send};

/// What a client that never reads may cost.
const MEMORY_KIB: u64 = 64 * 1024;

/// Writes requests over and over without reading, until all are out or the broker has
/// taken nothing more while it answered a hundred requests of another.
fn pipeline(node: &Node<'_>, request: &Ask, times: usize, other: &mut Peer) -> Peer {
    let rude = Peer::connect(&node.address);
    rude.stream.set_nonblocking(true).unwrap();
    let stream = request.frame(7).repeat(times);
    let (mut sent, mut idle) = (0, 0);
    while sent < stream.len() && idle < 100 {
        match (&rude.stream).write(&stream[sent..]) {
            Ok(len) => (sent, idle) = (sent + len, 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => idle += 1,
            Err(error) => panic!("after {sent} bytes: {error}"),
        }
        other.send_one();
    }
    rude
}

#[test]
fn clients_that_never_read_cost_bounded_memory_and_no_one_elses_time() {
    let place = Place::new();
    let node = place.start();
    let mut other = Peer::connect(&node.address);
    other.create("T");
    for _ in 0..32 {
        other.ask(&send("T", 0, vec![b'm'; 1024])).expect(0);
    }
    let before = node.peak_kib();
    // Their replies would be 1.6 GB and more.
    let pulls = pipeline(&node, &pull("consumers", "T", 0, 0), 50_000, &mut other);
    let sends = pipeline(&node, &send("T", 0, "x"), 50_000, &mut other);
    let unknown = pipeline(&node, &ask(9_999), 50_000, &mut other);
    let grown = node.peak_kib() - before;
    assert!(grown <= MEMORY_KIB + mapped_kib_max(), "{grown} KiB more than before");
    other.send_one();
    drop((pulls, sends, unknown));
    other.send_one();
    node.stop();
}

#[test]
fn a_slow_reader_gets_its_bytes_though_the_log_goes_round_its_ring_meanwhile() {
    const PULLS: usize = 120;
    let place = Place::new();
    let node = place.start();
    let mut other = Peer::connect(&node.address);
    other.create("T");
    let bodies: Vec<Vec<u8>> = (0..16).map(|n| vec![b'a' + n; 30_000]).collect();
    for body in &bodies {
        other.ask(&send("T", 0, body.clone())).expect(0);
    }
    let mut slow = Peer::connect(&node.address);
    // Far more than the sockets of both ends hold.
    for opaque in 0..PULLS {
        slow.write(&pull("consumers", "T", 0, 0).frame(opaque as i32));
    }
    // The arena's ring is smaller than 16 MiB.
    for _ in 0..500 {
        other.ask(&send("T", 0, vec![b'!'; 60_000])).expect(0);
    }
    let said = place.log_of_node();
    assert!(!said.contains("closing a connection"), "{said}");
    for opaque in 0..PULLS {
        let reply = slow.read().expect(0);
        assert_eq!(reply.opaque, opaque as i32);
        let got = reply.bodies();
        assert!(got.len() > 5 && bodies.starts_with(&got[..got.len().min(16)]), "pull {opaque}");
    }
    node.stop();
}

#[test]
fn half_frames_disturb_nobody() {
    let place = Place::new();
    let node = place.start();
    let mut other = Peer::connect(&node.address);
    other.create("T");
    let frame = send("T", 0, "late but whole").frame(1);
    let halves: Vec<(Peer, usize)> = [1, 4, 7, 8, 9, frame.len() - 1]
        .into_iter()
        .map(|cut| {
            let mut peer = Peer::connect(&node.address);
            peer.write(&frame[..cut]);
            other.send_one();
            (peer, cut)
        })
        .collect();
    // Announced and never sent: 16 MiB each.
    let announced: Vec<Peer> = (0..50)
        .map(|_| {
            let mut peer = Peer::connect(&node.address);
            peer.write(&[0, 0xff, 0xff, 0xf0, 0, 0, 0, 10]);
            peer
        })
        .collect();
    let before = node.peak_kib();
    for (mut peer, cut) in halves {
        peer.write(&frame[cut..]);
        peer.read().expect(0);
    }
    let grown = node.peak_kib() - before;
    assert!(grown <= MEMORY_KIB, "{grown} KiB more than before");
    drop(announced);
    other.send_one();
    node.stop();
}

/// It tried again at once, for ever: a hundred megabytes of log in a minute.
#[test]
fn a_peer_for_whom_there_is_no_descriptor_waits_until_there_is_one() {
    let place = Place::new();
    let node = place.start_with_descriptors(80);
    let mut other = Peer::connect(&node.address);
    other.create("T");
    let mut peers: Vec<Peer> = (0..80).map(|_| Peer::connect(&node.address)).collect();
    place.await_said("accepting failed");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        other.send_one();
    }
    let tries = place.log_of_node().matches("accepting failed").count();
    assert!((1..20).contains(&tries), "{tries} tries in a second");
    let mut last = peers.pop().unwrap();
    drop(peers);
    last.send_one();
    node.stop();
}

#[test]
fn ten_thousand_idle_connections_disturb_nobody() {
    let place = Place::new();
    let node = place.start();
    let mut other = Peer::connect(&node.address);
    other.create("T");
    other.send_one();
    let before = node.peak_kib();
    let (count, mut slowest) = (idle_connections(), Duration::ZERO);
    let mut idle = Vec::new();
    for n in 0..count {
        idle.push(TcpStream::connect(&node.address).unwrap());
        if n % 50 == 0 {
            let begun = Instant::now();
            other.send_one();
            let read = other.ask(&pull("consumers", "T", 0, 0)).expect(0);
            assert!(!read.bodies().is_empty());
            slowest = slowest.max(begun.elapsed());
        }
    }
    // The last of them is served, so all were accepted.
    Peer::over(idle.pop().unwrap()).send_one();
    let grown = node.peak_kib() - before;
    println!("{count} connections: {grown} KiB, and {slowest:?} for a send and a pull at most");
    assert!(grown <= MEMORY_KIB, "{grown} KiB more than before");
    // Clients give up after this long.
    assert!(slowest < Duration::from_secs(3), "{slowest:?} for a send and a pull");
    drop(idle);
    other.send_one();
    node.stop();
}

/// 10,000, or as many as this process may open beside what other tests need.
fn idle_connections() -> u64 {
    const WANTED: u64 = 10_000;
    const OTHERS: u64 = 1_000;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let limit = soft.max(hard.min(WANTED + OTHERS));
    setrlimit(Resource::RLIMIT_NOFILE, limit, hard).unwrap();
    let count = WANTED.min(limit.saturating_sub(OTHERS).max(limit / 2));
    if count < WANTED {
        eprintln!("only {count} idle connections: the hard limit of open files is {hard}");
    }
    count
}
