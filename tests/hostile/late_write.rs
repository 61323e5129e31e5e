//! Writes that a killed process had under way land after the next start has begun.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

use crate::node::Place;
use crate::peer::Peer;
use crate::requests::{pull, send};

const BLOCK: usize = 4096;

/// A write in flight holds the segment's lock until it has landed; a file that the test
/// has locked plays that part. A start that read the log before it had the lock would
/// not see the write, and write over it.
#[test]
fn a_start_reads_the_log_only_after_the_writes_of_the_last_life_have_landed() {
    let place = Place::new();
    let node = place.spawn(&["--ack", "written"]).ready();
    let mut peer = Peer::connect(&node.address);
    peer.create("T");
    for body in ["<first>", "<second>", "<late>"] {
        peer.ask(&send("T", 0, body)).expect(0);
    }
    node.kill();
    place.remove_arena();

    let file = OpenOptions::new().read(true).write(true).open(place.first_segment()).unwrap();
    file.try_lock().unwrap();
    let log = fs::read(place.first_segment()).unwrap();
    let at = log.windows(6).position(|bytes| bytes == b"<late>").unwrap() / BLOCK * BLOCK;
    let group = &log[at..at + BLOCK];
    file.write_all_at(&[0; BLOCK], at as u64).unwrap();
    let node = place.spawn(&["--accept-loss"]);
    place.await_said("held by another process");
    file.write_all_at(group, at as u64).unwrap();
    drop(file);

    let node = node.ready();
    let mut peer = Peer::connect(&node.address);
    let bodies = peer.ask(&pull("consumers", "T", 0, 0)).expect(0).bodies();
    assert_eq!(bodies, [&b"<first>"[..], b"<second>", b"<late>"]);
    node.stop();
}
