//! A log that grows, and the descriptors that it takes.

use crate::node::Place;
use crate::peer::Peer;
use crate::requests::{pull, send};

const BODY_BYTES: usize = 1024 * 1024;
/// Six segments of 16 MiB are filled.
const MESSAGES: usize = 6 * 16;

fn body(number: usize) -> Vec<u8> {
    let word = format!("{number:08} ");
    word.as_bytes().iter().copied().cycle().take(BODY_BYTES).collect()
}

#[test]
fn a_segment_that_is_flushed_takes_no_descriptor_and_can_still_be_read() {
    let place = Place::new();
    let node = place.spawn(&["--ack", "flushed"]).ready();
    let mut peer = Peer::connect(&node.address);
    peer.create("T");
    for number in 0..MESSAGES {
        peer.ask(&send("T", 0, body(number))).expect(0);
        // The one that is written, the one before it, two that are ready, one that is
        // being made.
        assert!(node.open_segments() <= 5, "{} after {number}", node.open_segments());
    }
    for number in 0..MESSAGES {
        let bodies = peer
            .ask(&pull("consumers", "T", 0, number as i64).with("maxMsgNums", 1))
            .expect(0)
            .bodies();
        assert!(bodies == [body(number)], "message {number} is as it was sent");
    }
    peer.send_one();
    node.stop();
}
