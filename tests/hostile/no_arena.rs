//! Nodes whose arena does not outlive them, from the start or from some moment on.

use crate::node::Place;
use crate::peer::Peer;
use crate::requests::{Ask, pull, send};

/// A message whose sender does not want to wait.
fn hurried(body: &str) -> Ask {
    send("T", 0, body).with("i", "WAIT\u{1}false\u{2}")
}

#[test]
fn without_shared_memory_a_node_acknowledges_what_is_written_and_kill_9_takes_nothing() {
    let place = Place::new();
    let nowhere = place.data().join("no-such-folder");
    let flags = ["--arena-dir", nowhere.to_str().unwrap()];
    let node = place.spawn(&flags).ready();
    for part in [flags[1], "--arena-dir on a tmpfs", "level `written`"] {
        assert!(place.log_of_node().contains(part), "{part} in {}", place.log_of_node());
    }
    let mut peer = Peer::connect(&node.address);
    peer.create("T");
    peer.ask(&send("T", 0, "<one>")).expect(0);
    peer.ask(&hurried("<two>")).expect(0);
    node.kill();

    let node = place.spawn(&flags).ready();
    let mut peer = Peer::connect(&node.address);
    let bodies = peer.ask(&pull("consumers", "T", 0, 0)).expect(0).bodies();
    assert_eq!(bodies, [b"<one>", b"<two>"]);
    peer.send_one();
    assert_eq!(peer.max_offset("T"), 3, "nothing was given up, so no offset is left out");
    node.stop();
}

#[test]
fn a_node_whose_arena_is_taken_away_goes_on_and_kill_9_takes_nothing() {
    let place = Place::new();
    let node = place.start();
    let mut peer = Peer::connect(&node.address);
    peer.create("T");
    peer.ask(&send("T", 0, "<one>")).expect(0);
    place.remove_arena();
    place.await_said("the arena's name is lost");
    place.await_said("the run mark says that no arena is needed");
    peer.ask(&send("T", 0, "<two>")).expect(0);
    peer.ask(&hurried("<three>")).expect(0);
    node.kill();

    let node = place.start();
    let mut peer = Peer::connect(&node.address);
    let bodies = peer.ask(&pull("consumers", "T", 0, 0)).expect(0).bodies();
    assert_eq!(bodies, [&b"<one>"[..], b"<two>", b"<three>"]);
    node.stop();
}
