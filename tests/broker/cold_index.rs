//! Index files that were damaged after they were written.

use ringmq::base::ConnId;
use ringmq::wire::code::{request, response};

use crate::frames::{ask, pull, send, update_topic};
use crate::node::Node;

const HEADER_BYTES: usize = 64;
/// An entry, and the seal behind those of an extent.
const UNIT_BYTES: usize = 16;

/// Two topics with as many messages at the same places, one with a namesake before it,
/// in an index that lies on disk and has a wrong bit in each extent.
fn damaged() -> (Node, ConnId) {
    let mut node = Node::new();
    let client = node.connect();
    for topic in ["Other", "T"] {
        node.ask(client, update_topic(topic, 1)).expect(response::SUCCESS);
    }
    node.ask(client, send("T", 0, "of the namesake")).expect(response::SUCCESS);
    node.ask(client, ask(request::DELETE_TOPIC_IN_BROKER).with("topic", "T")).expect(0);
    node.ask(client, update_topic("T", 1)).expect(response::SUCCESS);
    for at in 0..20 {
        node.ask(client, send("Other", 0, format!("other {at}"))).expect(response::SUCCESS);
        let tagged = send("T", 0, at.to_string()).with("i", format!("TAGS\u{1}t{}\u{2}", at % 2));
        node.ask(client, tagged).expect(response::SUCCESS);
    }
    node.restart();
    let run = node.disk.runs.values_mut().last().unwrap();
    let behind_namesake = HEADER_BYTES + 2 * UNIT_BYTES;
    for extent in [behind_namesake, behind_namesake + 21 * UNIT_BYTES] {
        run[extent + 5] ^= 0x10;
    }
    let client = node.connect();
    (node, client)
}

#[test]
fn a_damaged_extent_is_made_again_from_the_log() {
    let (mut node, client) = damaged();
    let all: Vec<String> = (0..20).map(|at| at.to_string()).collect();
    let read = node.ask(client, pull("g", "T", 0, 0)).expect(response::SUCCESS);
    assert_eq!((read.messages(), node.rebuilt), (all, 1));
    let odd = pull("g", "T", 0, 0).with("subscription", "t1");
    let read = node.ask(client, odd).expect(response::SUCCESS);
    let expected: Vec<String> = (0..20).filter(|at| at % 2 == 1).map(|at| at.to_string()).collect();
    assert_eq!((read.messages(), node.rebuilt), (expected, 1), "it is kept, with its tags");
    let read = node.ask(client, pull("g", "Other", 0, 7)).expect(response::SUCCESS);
    assert_eq!((&*read.messages()[0], node.rebuilt), ("other 7", 2));
}

#[test]
fn an_extent_that_the_log_lacks_too_is_said_at_once() {
    let (mut node, client) = damaged();
    let segment = node.disk.segments.values_mut().next().unwrap();
    let body = segment.windows(8).position(|bytes| bytes == b"other 13").unwrap();
    // The record's magic, 84 bytes before its body.
    segment[body - 84] ^= 1;
    let refused = node.ask(client, pull("g", "Other", 0, 7)).expect(response::SYSTEM_ERROR);
    assert_eq!(refused.remark(), "an index run cannot be read: the log lacks it");
    let read = node.ask(client, pull("g", "T", 0, 0)).expect(response::SUCCESS);
    assert_eq!(read.messages().len(), 20, "its neighbours are there");
}
