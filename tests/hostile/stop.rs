//! Ends that are asked for more than once.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::node::{Node, Place};
use crate::peer::Peer;

/// Asks the node to end and waits until it has heard it. Returns when it was asked.
fn ask_to_end(place: &Place, node: &mut Node<'_>) -> Instant {
    let asked = Instant::now();
    node.signal(Signal::SIGTERM);
    while !place.log_of_node().contains("SIGTERM: stopping") {
        assert_eq!(node.has_ended(), None, "{}", place.log_of_node());
        thread::yield_now();
    }
    asked
}

#[test]
fn a_signal_that_comes_twice_within_moments_asks_once() {
    let place = Place::new();
    for _ in 0..10 {
        let mut node = place.start();
        let mut peer = Peer::connect(&node.address);
        peer.create("T");
        peer.send_one();
        let asked = ask_to_end(&place, &mut node);
        node.signal(Signal::SIGTERM);
        node.signal(Signal::SIGINT);
        // On a machine that was busy elsewhere they were no moments.
        if asked.elapsed() < Duration::from_millis(200) {
            return node.expect_clean_end();
        }
    }
    panic!("no two signals came within 200 ms of each other");
}

#[test]
fn whoever_insists_ends_the_node_at_once() {
    let place = Place::new();
    let mut node = place.start();
    ask_to_end(&place, &mut node);
    let status = loop {
        if let Some(status) = node.has_ended() {
            break status;
        }
        node.signal(Signal::SIGTERM);
        thread::yield_now();
    };
    assert_eq!(status.code(), Some(130), "{}", place.log_of_node());
    assert!(place.log_of_node().contains("SIGTERM again"), "{}", place.log_of_node());
}
