//! The log written in each mode, each after each other one, on one format.

use std::fs::{self, OpenOptions};
use std::time::{Duration, Instant};

use ringmq::reactor::EXIT_SIGBUS;
use ringmq::wire::code::request;

use crate::node::{Node, Place};
use crate::peer::Peer;
use crate::requests::{ask, pull, send};

const MODES: [&str; 4] = ["direct", "mmap", "buffered", "buffered-uncached"];
const LEVELS: [&str; 3] = ["appended", "written", "flushed"];
const PATIENCE: Duration = Duration::from_secs(30);
/// Messages of a life, some of them larger than a block, and some than a read.
const MESSAGES: usize = 24;

fn body(life: usize, number: usize) -> Vec<u8> {
    let len = [10, 4_000, 70_000, 500, 9_000, 200][number % 6];
    let mut body = format!("<life {life}, message {number}>").into_bytes();
    body.extend((0..len).map(|i| (i * 7 + life * 31 + number) as u8));
    body
}

fn send_all(peer: &mut Peer, life: usize) {
    for number in 0..MESSAGES {
        peer.ask(&send("T", 0, body(life, number))).expect(0);
    }
}

/// All messages of the first `lives` lives, in order, and nothing else.
#[track_caller]
fn expect_all(peer: &mut Peer, lives: usize) {
    let end = peer.max_offset("T");
    let (mut next, mut got) = (0, Vec::new());
    while next < end {
        let reply = peer.ask(&pull("consumers", "T", 0, next));
        got.extend(reply.bodies());
        let after = reply.number("nextBeginOffset");
        assert!(after > next, "no way past offset {next}: {reply:?}");
        next = after;
    }
    let numbers = |life| (0..MESSAGES).map(move |number| body(life, number));
    let sent: Vec<_> = (0..lives).flat_map(numbers).collect();
    assert_eq!(got.len(), sent.len(), "after {lives} lives");
    assert!(got == sent, "after {lives} lives a message is another one");
}

/// A walk over the modes that goes from each to each, itself too.
fn walk() -> Vec<usize> {
    let mut left: Vec<(usize, usize)> =
        (0..MODES.len()).flat_map(|from| (0..MODES.len()).map(move |to| (from, to))).collect();
    // Hierholzer: each mode is left as often as it is come to.
    let (mut stack, mut walk) = (vec![0], Vec::new());
    while let Some(&at) = stack.last() {
        match left.iter().position(|(from, _)| *from == at) {
            Some(i) => stack.push(left.swap_remove(i).1),
            None => walk.extend(stack.pop()),
        }
    }
    assert_eq!(walk.len(), MODES.len() * MODES.len() + 1);
    walk
}

/// How a life ends, and what the next may go by.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Kill,
    /// And its memory is gone: what counts is in the files.
    KillWithoutArena,
    Stop,
}

fn live_through(walk: &[usize], ends: &[End], levels: &[&str]) {
    let place = Place::new();
    for (life, mode) in walk.iter().copied().enumerate() {
        let (mode, level) = (MODES[mode], levels[life % levels.len()]);
        let node = place.spawn_writing(mode, &["--ack", level, "--accept-loss"]).ready();
        let mut peer = Peer::connect(&node.address);
        if life == 0 {
            peer.create("T");
        }
        let options = peer.ask(&ask(request::GET_BROKER_CONFIG)).expect(0).text();
        assert!(options.contains(&format!("ringmqWriteMode={mode}\n")), "{options}");
        expect_all(&mut peer, life);
        send_all(&mut peer, life);
        expect_all(&mut peer, life + 1);
        match ends[life % ends.len()] {
            End::Stop => node.stop(),
            End::Kill => node.kill(),
            End::KillWithoutArena => {
                node.kill();
                place.remove_arena();
            }
        }
    }
    let node = place.spawn(&["--accept-loss"]).ready();
    expect_all(&mut Peer::connect(&node.address), walk.len());
    node.stop();
}

#[test]
fn a_killed_node_goes_on_in_any_other_mode_with_every_message() {
    live_through(&walk(), &[End::Kill], &LEVELS);
}

/// What was acknowledged at `written` or `flushed` is in the files, whoever reads them.
#[test]
fn what_is_written_in_one_mode_is_found_in_any_other_without_the_arena() {
    live_through(&walk(), &[End::KillWithoutArena], &LEVELS[1..]);
}

#[test]
fn a_clean_stop_in_one_mode_is_a_clean_start_in_any_other() {
    live_through(&[0, 1, 2, 3, 1, 0], &[End::Stop], &LEVELS);
}

#[track_caller]
fn await_end(node: &mut Node<'_>, place: &Place) -> Option<i32> {
    let begun = Instant::now();
    loop {
        if let Some(status) = node.has_ended() {
            return status.code();
        }
        assert!(begun.elapsed() < PATIENCE, "it goes on: {}", place.log_of_node());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_mapped_segment_that_is_cut_short_ends_the_node_with_its_name() {
    let place = Place::new();
    let mut node = place.spawn_writing("mmap", &["--ack", "flushed"]).ready();
    let mut peer = Peer::connect(&node.address);
    peer.create("T");
    send_all(&mut peer, 0);
    let segment = place.first_segment();
    OpenOptions::new().write(true).open(&segment).unwrap().set_len(0).unwrap();
    peer.write(&send("T", 0, "into nothing").frame(77));
    let code = await_end(&mut node, &place);
    let said = place.log_of_node();
    let end = said.lines().last().unwrap();
    assert!(end.starts_with("ringmq: ") && end.contains(segment.to_str().unwrap()), "{end}");
    match code {
        Some(EXIT_SIGBUS) => assert!(end.contains("cut short"), "{end}"),
        // The look at the files that comes by every few seconds was just there.
        other => assert!(other == Some(1) && end.contains("it has 0 bytes"), "{other:?}: {end}"),
    }

    for mode in MODES {
        let mut node = place.spawn_writing(mode, &[]);
        assert_eq!(await_end(&mut node, &place), Some(1));
        let said = place.log_of_node();
        assert!(said.contains("it has 0 bytes, a segment here has 16777216"), "{said}");
    }
}

#[test]
fn a_segment_that_is_replaced_ends_the_node_and_nothing_is_lost_once_it_is_put_back() {
    // Together, since each waits for the look at the files that comes by every few seconds.
    std::thread::scope(|scope| {
        for mode in MODES {
            scope.spawn(move || replace_a_segment(mode));
        }
    });
}

fn replace_a_segment(mode: &str) {
    let place = Place::new();
    let mut node = place.spawn_writing(mode, &[]).ready();
    let mut peer = Peer::connect(&node.address);
    peer.create("T");
    send_all(&mut peer, 0);
    let (segment, aside) = (place.first_segment(), place.data().join("aside"));
    fs::rename(&segment, &aside).unwrap();
    fs::write(&segment, vec![0; 16 << 20]).unwrap();
    assert_eq!(await_end(&mut node, &place), Some(1), "{}", place.log_of_node());
    let said = place.log_of_node();
    assert!(said.contains("another file has taken its place"), "{mode}: {said}");

    fs::rename(&aside, &segment).unwrap();
    let node = place.spawn_writing(mode, &[]).ready();
    expect_all(&mut Peer::connect(&node.address), 1);
    node.stop();
}
