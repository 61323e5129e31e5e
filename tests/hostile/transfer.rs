//! Every way in which messages leave, from files that come and go.

use std::time::{Duration, Instant};

use ringmq::base::transfer::TransferChoice;
use ringmq::wire::body::from_bytes;
use ringmq::wire::body::lists::KvTable;
use ringmq::wire::code::request;

use crate::node::{Node, Place};
use crate::peer::Peer;
use crate::requests::{Ask, ask, pull, send};

const PATIENCE: Duration = Duration::from_secs(60);
const BODY_BYTES: usize = 250_000;
/// More than the arena holds, and more than a segment.
const MESSAGES: usize = 110;

fn body(number: usize) -> Vec<u8> {
    let mut body = format!("<{number}>").into_bytes();
    body.extend((0..BODY_BYTES).map(|i| (i / 61 + i + number) as u8));
    body
}

fn send_bodies(peer: &mut Peer, numbers: std::ops::Range<usize>) {
    for number in numbers {
        peer.ask(&send("T", 0, body(number))).expect(0);
    }
}

fn pull_by(choice: &str, from: i64, messages: usize) -> Ask {
    pull("consumers", "T", 0, from).with("maxMsgNums", messages).with("ringmq.transfer", choice)
}

/// Counters that `ringmq admin stats` shows.
fn counters(peer: &mut Peer) -> impl Fn(&str) -> u64 {
    let reply = peer.ask(&ask(request::GET_BROKER_RUNTIME_INFO)).expect(0);
    let table = from_bytes::<KvTable>(&reply.body).unwrap().table;
    move |key| table.get(&format!("ringmq.{key}")).map_or(0, |value| value.parse().unwrap())
}

#[track_caller]
fn expect_all(peer: &mut Peer, choice: &str) {
    let mut next = 0;
    while next < MESSAGES {
        let reply = peer.ask(&pull_by(choice, next as i64, 20)).expect(0);
        for got in reply.bodies() {
            assert!(got == body(next), "{choice}: message {next} is another one");
            next += 1;
        }
    }
}

#[test]
fn every_strategy_brings_the_same_bytes_in_every_write_mode() {
    for mode in ["direct", "mmap", "buffered", "buffered-uncached"] {
        let place = Place::new();
        let node = place.spawn_writing(mode, &["--pull-bytes", "4MiB"]).ready();
        let mut peer = Peer::connect(&node.address);
        peer.create("T");
        send_bodies(&mut peer, 0..MESSAGES);
        for choice in TransferChoice::all() {
            expect_all(&mut peer, choice.name());
            let count = counters(&mut peer);
            if let TransferChoice::Fixed(transfer) = choice {
                let name = transfer.name();
                let (bytes, calls) =
                    (format!("transfer.{name}.bytes"), format!("transfer.{name}.calls"));
                assert!(count(&bytes) >= BODY_BYTES as u64, "{mode} {choice}");
                assert!(count(&calls) > 0, "{mode} {choice}");
            }
        }
        node.stop();
    }
}

/// Waits until the first segment has lost its name, and its bytes would have been written
/// over had it been used again.
fn outlive_first_segment(place: &Place, peer: &mut Peer) {
    let begun = Instant::now();
    let mut after = 0;
    while after < 2 * MESSAGES {
        send_bodies(peer, 0..10);
        after += if place.first_segment().exists() { 0 } else { 10 };
        assert!(begun.elapsed() < PATIENCE, "the first segment never expires");
    }
}

#[test]
fn a_reply_that_is_on_its_way_keeps_its_bytes_though_their_segment_expires() {
    let place = Place::new();
    let node = place
        .spawn_writing("direct", &["--pull-bytes", "8MiB", "--retention-hours", "0.003"])
        .ready();
    let mut peer = Peer::connect(&node.address);
    peer.create("T");
    send_bodies(&mut peer, 0..MESSAGES);
    // Into the page cache, so that a reply has all that it may have.
    expect_all(&mut peer, "sendfile");
    let mut readers: Vec<(&str, Peer)> =
        ["sendfile", "splice", "mmap"].map(|choice| (choice, Peer::connect(&node.address))).into();
    for (choice, reader) in &mut readers {
        reader.write(&pull_by(choice, 0, 30).frame(1));
    }
    await_bytes_of_each(&mut peer, &readers);
    outlive_first_segment(&place, &mut peer);
    for (choice, mut reader) in readers {
        let bodies = reader.read().expect(0).bodies();
        assert_eq!(bodies.len(), 30, "{choice}");
        for (number, got) in bodies.into_iter().enumerate() {
            assert!(got == body(number), "{choice}: message {number} is another one");
        }
    }
    expect_no_deleted_segments(&mut peer, &node);
    node.stop();
}

/// Waits until the reply to each reader is on its way.
fn await_bytes_of_each(peer: &mut Peer, readers: &[(&str, Peer)]) {
    let begun = Instant::now();
    loop {
        let has_begun = |reader: &Peer| reader.stream.peek(&mut [0]).is_ok_and(|seen| seen > 0);
        if readers.iter().all(|(_, reader)| has_begun(reader)) {
            return;
        }
        peer.send_one();
        assert!(begun.elapsed() < PATIENCE, "a pull is not answered");
    }
}

/// Once nobody needs them any more, expired segments give their space back.
fn expect_no_deleted_segments(peer: &mut Peer, node: &Node<'_>) {
    let begun = Instant::now();
    let deleted = || {
        let open = std::fs::read_dir(format!("/proc/{}/fd", node.pid())).unwrap();
        let links = open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        links.filter(|link| link.to_string_lossy().ends_with("0 (deleted)")).count()
    };
    while deleted() > 0 {
        peer.send_one();
        assert!(begun.elapsed() < PATIENCE, "{} deleted segments stay open", deleted());
    }
}
