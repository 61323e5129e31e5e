//! Connections through a real ring, against the standard library's sockets.

mod reactor_common;

use reactor_common::*;
use ringmq::base::LogOffset;
use ringmq::base::memory::{BufferId, Buffers, LogRing, SlotId};
use ringmq::base::outgoing::{Outgoing, Piece};
use ringmq::reactor::{Completion, End, Listener, Ring, RingConfig, Socket, Wait, echo};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// An echo on a thread of its own.
struct EchoServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<u64>,
}

impl EchoServer {
    fn start(config: RingConfig) -> Self {
        let listener = std::net::TcpListener::bind(loopback()).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut ring = Ring::new(config).unwrap();
            let listener = Listener::from_std(listener).unwrap();
            echo::serve(&mut ring, &listener, PARK, || stopped.load(Ordering::Relaxed)).unwrap();
            ring.counters().starved
        });
        Self { address, stop, thread }
    }

    /// Sends `bytes` over each of `clients` connections at once and expects them back.
    fn round_trips(&self, clients: u64, bytes: usize) {
        let address = self.address;
        let clients: Vec<_> = (0..clients)
            .map(|seed| thread::spawn(move || round_trip(address, pattern(bytes, seed))))
            .collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
    }

    /// Stops it and tells how often a receive found no buffer.
    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Writes everything on one thread while another reads it back.
fn round_trip(address: SocketAddr, sent: Vec<u8>) {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let copy = sent.clone();
    let writing = thread::spawn(move || {
        writer.write_all(&copy).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut received = Vec::new();
    (&stream).read_to_end(&mut received).unwrap();
    writing.join().unwrap();
    assert!(received == sent, "{} bytes came back of {}", received.len(), sent.len());
}

/// Everything that arrives until the connection ends, or `len` bytes.
fn receive_all(ring: &mut Ring, token: u64, len: usize) -> Vec<u8> {
    let mut received = Vec::new();
    turn_until(ring, |ring, out| {
        for completion in out {
            if let Completion::Received { token: from, buffer, len } = completion {
                assert_eq!(from, token);
                assert_eq!(ring.bytes(buffer).len(), len);
                received.extend_from_slice(ring.bytes(buffer));
                ring.give_back(buffer);
            }
        }
        received.len() >= len
    });
    received
}

fn sent(completion: Completion) -> Option<(Outgoing, std::io::Result<()>)> {
    match completion {
        Completion::Sent { outgoing, result, .. } => Some((outgoing, result)),
        _ => None,
    }
}

fn read_on_thread(mut client: TcpStream, len: usize) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = vec![0; len];
        client.read_exact(&mut bytes).unwrap();
        bytes
    })
}

#[test]
fn many_pipelined_bytes_come_back_in_order() {
    let server = EchoServer::start(RingConfig::default());
    server.round_trips(4, 8 << 20);
    server.stop();
}

#[test]
fn connections_that_ran_out_of_buffers_go_on_as_buffers_return() {
    let config = RingConfig { buffer_count: 2, buffer_bytes: 512, ..RingConfig::default() };
    let server = EchoServer::start(config);
    server.round_trips(8, 256 << 10);
    assert!(server.stop() > 0, "two buffers for eight connections must run out");
}

#[test]
fn a_submission_queue_smaller_than_the_work_only_takes_more_calls() {
    let config = RingConfig { entries: 2, cq_entries: 8, ..RingConfig::default() };
    let server = EchoServer::start(config);
    server.round_trips(24, 64 << 10);
    server.stop();
}

#[test]
fn ten_mebibytes_of_pieces_reach_a_reader_who_starts_late() {
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let (mut arena, id) = add_arena(&mut ring, 4096);
    let log = pattern(1 << 20, 1);
    let at = append(&mut arena, &log);
    let slot = pattern(64 * 1024, 2);
    arena.pool.fill(SlotId(3), 0, &slot);

    let (mut outgoing, mut expected) = (Outgoing::default(), Vec::new());
    for round in 0..10u64 {
        let head = pattern(100 + round as usize, round);
        let start = outgoing.bytes.len() as u32;
        outgoing.bytes.extend_from_slice(&head);
        outgoing.pieces.push(Piece::Own { start, len: head.len() as u32 });
        expected.extend_from_slice(&head);
        outgoing.pieces.push(Piece::Log { at, len: log.len() as u32 });
        expected.extend_from_slice(&log);
        outgoing.pieces.push(Piece::Slot { slot: SlotId(3), start: 7, len: 60_000 });
        expected.extend_from_slice(&slot[7..60_007]);
    }
    let pieces = outgoing.pieces.len();
    let (socket, client) = connect(&mut ring);
    ring.send(&socket, id, outgoing, 9);
    // The kernel takes what its buffers hold and then waits for the reader.
    let mut out = Vec::new();
    ring.turn(Wait::Never, || false, &mut out).unwrap();
    assert!(out.is_empty(), "10 MiB do not fit into socket buffers: {out:?}");
    assert_eq!(arena.log.lowest_lent(), Some(at));
    assert!(!arena.pool.is_idle(SlotId(3)));

    let reading = read_on_thread(client, expected.len());
    let (outgoing, result) = next(&mut ring, sent);
    result.unwrap();
    assert_eq!(outgoing.pieces.len(), pieces);
    assert!(reading.join().unwrap() == expected);
    assert_eq!(arena.log.lowest_lent(), None);
    assert!(arena.pool.is_idle(SlotId(3)));
}

#[test]
fn more_pieces_than_one_call_takes_leave_in_several() {
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let (mut arena, id) = add_arena(&mut ring, 0);
    let log = pattern(1 << 20, 5);
    append(&mut arena, &log);
    let (mut outgoing, mut expected) = (Outgoing::default(), Vec::new());
    for index in 0..2500usize {
        // Each piece ends before the next begins, so that none can be joined.
        let (at, len) = (index * 400 + index % 3, 1 + index % 390);
        outgoing.pieces.push(Piece::Log { at: LogOffset(at as u64), len: len as u32 });
        expected.extend_from_slice(&log[at..at + len]);
    }
    let (socket, client) = connect(&mut ring);
    let reading = read_on_thread(client, expected.len());
    ring.send(&socket, id, outgoing, 9);
    next(&mut ring, sent).1.unwrap();
    assert!(reading.join().unwrap() == expected);
    assert!(ring.counters().short_sends >= 2, "2500 pieces are at least three calls");
}

#[test]
fn a_slow_readers_bytes_are_copied_when_the_log_needs_the_room() {
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let (mut arena, id) = add_arena(&mut ring, 0);
    let log = pattern(1 << 20, 6);
    let at = append(&mut arena, &log);
    let mut outgoing = own(pattern(10, 7));
    let mut expected = outgoing.bytes.clone();
    for _ in 0..10 {
        outgoing.pieces.push(Piece::Log { at, len: log.len() as u32 });
        expected.extend_from_slice(&log);
    }
    let (socket, client) = connect(&mut ring);
    ring.send(&socket, id, outgoing, 9);
    ring.turn(Wait::Never, || false, &mut Vec::new()).unwrap();
    assert_eq!(arena.log.lowest_lent(), Some(at));

    ring.copy_send(&socket);
    ring.copy_send(&socket);
    assert_eq!(ring.counters().copied_sends, 1, "it is asked for once");
    let given_back = next(&mut ring, |completion| match completion {
        Completion::Copied { token: 9, outgoing } => Some(outgoing),
        other => panic!("the reader has not read: {other:?}"),
    });
    assert_eq!((given_back.bytes.len(), given_back.pieces.len()), (10, 11));
    assert_eq!(arena.log.lowest_lent(), None);
    arena.log.reclaim(arena.log.sealed());
    append(&mut arena, &vec![0xee; 1 << 20]);

    let reading = read_on_thread(client, expected.len());
    let (outgoing, result) = next(&mut ring, sent);
    result.unwrap();
    assert!(outgoing.is_empty(), "it has come back before");
    ring.copy_send(&socket);
    assert_eq!(ring.counters().copied_sends, 1, "nothing is being sent");
    assert!(reading.join().unwrap() == expected, "old bytes, not the overwritten ones");
}

#[test]
fn a_cancelled_receive_ends_and_a_later_one_finds_what_came_meanwhile() {
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let (socket, mut client) = connect(&mut ring);
    ring.receive(&socket, 5);
    client.write_all(b"first").unwrap();
    assert_eq!(receive_all(&mut ring, 5, 5), b"first");
    ring.cancel_receive(&socket);
    next(&mut ring, |completion| {
        matches!(completion, Completion::ReceiveEnded { token: 5, end: End::Cancelled })
            .then_some(())
    });
    client.write_all(b"second").unwrap();
    let mut out = Vec::new();
    ring.turn(Wait::Never, || false, &mut out).unwrap();
    assert!(out.is_empty(), "nobody receives: {out:?}");
    ring.receive(&socket, 6);
    assert_eq!(receive_all(&mut ring, 6, 6), b"second");
    client.shutdown(Shutdown::Write).unwrap();
    next(&mut ring, |completion| {
        matches!(completion, Completion::ReceiveEnded { token: 6, end: End::Eof }).then_some(())
    });
}

#[test]
fn a_receive_asked_for_during_its_cancel_goes_on() {
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let (socket, mut client) = connect(&mut ring);
    ring.receive(&socket, 5);
    ring.turn(Wait::Never, || false, &mut Vec::new()).unwrap();
    ring.cancel_receive(&socket);
    ring.receive(&socket, 5);
    client.write_all(b"still here").unwrap();
    assert_eq!(receive_all(&mut ring, 5, 10), b"still here");
}

#[test]
fn closing_ends_what_is_in_flight_and_says_so_last() {
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let (mut arena, id) = add_arena(&mut ring, 0);
    let log = pattern(1 << 20, 6);
    let at = append(&mut arena, &log);
    let (socket, mut client) = connect(&mut ring);
    let quiet = ring.operations_in_flight();
    ring.receive(&socket, 5);
    let pieces = vec![Piece::Log { at, len: log.len() as u32 }; 10];
    ring.send(&socket, id, Outgoing { bytes: Vec::new(), pieces, transfer: None }, 6);
    ring.turn(Wait::Never, || false, &mut Vec::new()).unwrap();
    ring.close(socket, 7);
    let mut seen = Vec::new();
    turn_until(&mut ring, |_, out| {
        seen.extend(out.into_iter().map(|completion| match completion {
            Completion::Sent { token: 6, outgoing, result } => {
                assert_eq!(outgoing.pieces.len(), 10);
                assert!(result.is_err());
                "sent"
            }
            Completion::Closed { token: 7 } => "closed",
            other => panic!("{other:?} after a close"),
        }));
        seen.last() == Some(&"closed")
    });
    assert_eq!(seen, ["sent", "closed"]);
    assert_eq!(ring.operations_in_flight(), quiet);
    assert_eq!(arena.log.lowest_lent(), None);
    let mut rest = Vec::new();
    // The end, whether the kernel makes it orderly or a reset.
    let _ = client.read_to_end(&mut rest);
    assert!(rest.len() < 10 << 20);
}

#[test]
fn an_idle_connection_closes_at_once() {
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let (socket, mut client) = connect(&mut ring);
    ring.close(socket, 7);
    next(&mut ring, |completion| {
        matches!(completion, Completion::Closed { token: 7 }).then_some(())
    });
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn a_starved_connection_can_be_cancelled_and_closed() {
    let config = RingConfig { buffer_count: 1, ..RingConfig::default() };
    let mut ring = Ring::new(config).unwrap();
    let (first, mut first_client) = connect(&mut ring);
    let (second, mut second_client) = connect(&mut ring);
    let (third, mut third_client) = connect(&mut ring);
    ring.receive(&first, 1);
    first_client.write_all(b"takes the only buffer").unwrap();
    let buffer = next(&mut ring, |completion| match completion {
        Completion::Received { token: 1, buffer, .. } => Some(buffer),
        _ => None,
    });
    second_client.write_all(b"waits").unwrap();
    third_client.write_all(b"waits").unwrap();
    ring.receive(&second, 2);
    ring.receive(&third, 3);
    turn_until(&mut ring, |ring, out| {
        assert!(out.is_empty(), "a starved receive is not reported: {out:?}");
        ring.counters().starved >= 2
    });
    ring.cancel_receive(&second);
    next(&mut ring, |completion| {
        matches!(completion, Completion::ReceiveEnded { token: 2, end: End::Cancelled })
            .then_some(())
    });
    ring.close(third, 3);
    next(&mut ring, |completion| {
        matches!(completion, Completion::Closed { token: 3 }).then_some(())
    });
    ring.receive(&second, 2);
    ring.give_back(buffer);
    assert_eq!(receive_all(&mut ring, 2, 5), b"waits");
}

#[test]
fn a_dropped_ring_lets_go_of_everything() {
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let (mut arena, id) = add_arena(&mut ring, 0);
    let at = append(&mut arena, &pattern(1 << 20, 6));
    let (socket, mut client) = connect(&mut ring);
    ring.receive(&socket, 5);
    let pieces = vec![Piece::Log { at, len: 1 << 20 }; 10];
    ring.send(&socket, id, Outgoing { bytes: Vec::new(), pieces, transfer: None }, 6);
    ring.turn(Wait::Never, || false, &mut Vec::new()).unwrap();
    drop(ring);
    drop(socket);
    let _ = client.read_to_end(&mut Vec::new());
    // Panics if an operation still held the arena.
    arena.crash();
}

#[test]
fn a_dropped_socket_ends_its_receive() {
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let (socket, mut client) = connect(&mut ring);
    ring.receive(&socket, 5);
    ring.turn(Wait::Never, || false, &mut Vec::new()).unwrap();
    drop(socket);
    next(&mut ring, |completion| {
        matches!(completion, Completion::ReceiveEnded { token: 5, .. }).then_some(())
    });
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn accepted_connections_do_not_wait_to_fill_segments() {
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let (socket, client) = connect(&mut ring);
    assert_eq!(socket.local().unwrap(), client.peer_addr().unwrap());
    assert!(socket.nodelay().unwrap());
}

#[test]
fn one_accept_serves_many_connections() {
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let listener = Listener::bind(loopback()).unwrap();
    ring.accept(&listener, 1);
    let clients: Vec<_> =
        (0..50).map(|_| TcpStream::connect(listener.address()).unwrap()).collect();
    let mut sockets: Vec<Socket> = Vec::new();
    turn_until(&mut ring, |_, out| {
        sockets.extend(out.into_iter().map(|completion| match completion {
            Completion::Accepted { socket, .. } => socket,
            other => panic!("{other:?}"),
        }));
        sockets.len() == clients.len()
    });
    drop(listener);
    next(&mut ring, |completion| {
        matches!(completion, Completion::AcceptEnded { token: 1, .. }).then_some(())
    });
}

#[test]
fn a_spinning_turn_finds_bytes_without_sleeping() {
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let (socket, mut client) = connect(&mut ring);
    ring.receive(&socket, 5);
    ring.turn(Wait::Never, || false, &mut Vec::new()).unwrap();
    let parks = ring.counters().parks;
    let writing = thread::spawn(move || client.write_all(b"now").map(|()| client).unwrap());
    let mut out = Vec::new();
    ring.turn(Wait::SpinThenPark { spin: LIMIT, at_most: None }, || false, &mut out).unwrap();
    writing.join().unwrap();
    assert!(matches!(out[..], [Completion::Received { token: 5, len: 3, .. }]), "{out:?}");
    assert_eq!(ring.counters().parks, parks);
}

#[test]
fn a_turn_without_work_makes_no_call() {
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    ring.turn(Wait::Never, || false, &mut Vec::new()).unwrap();
    let enters = ring.counters().enters;
    ring.turn(Wait::Never, || false, &mut Vec::new()).unwrap();
    assert_eq!(ring.counters().enters, enters);
}

#[test]
fn a_parked_turn_ends_when_its_time_is_up() {
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let at_most = Some(Duration::from_millis(20));
    for spin in [Duration::ZERO, Duration::from_millis(5)] {
        let started = std::time::Instant::now();
        ring.turn(Wait::SpinThenPark { spin, at_most }, || false, &mut Vec::new()).unwrap();
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(20) && took < LIMIT, "{took:?}");
    }
}

#[test]
#[should_panic(expected = "was not lent")]
fn a_buffer_is_given_back_once() {
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    ring.give_back(BufferId(0));
}

#[test]
#[should_panic(expected = "only while it is lent")]
fn a_buffer_that_the_kernel_has_cannot_be_read() {
    let ring = Ring::new(RingConfig::default()).unwrap();
    ring.bytes(BufferId(0));
}

#[test]
fn one_turn_takes_what_all_connections_have_sent() {
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let mut pairs: Vec<_> = (0..100).map(|_| connect(&mut ring)).collect();
    for (token, (socket, _)) in pairs.iter().enumerate() {
        ring.receive(socket, token as u64);
    }
    ring.turn(Wait::Never, || false, &mut Vec::new()).unwrap();
    for (_, client) in &mut pairs {
        client.write_all(b"one").unwrap();
    }
    let mut out = Vec::new();
    ring.turn(Wait::Never, || false, &mut out).unwrap();
    assert_eq!(out.len(), 100);
}
