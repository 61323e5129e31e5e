//! A bit that flips on the disk.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

use ringmq::base::checksum::body_crc;

use crate::node::Place;
use crate::peer::Peer;
use crate::requests::{pull, send};

const MESSAGES: i64 = 40;
const DAMAGED: i64 = 11;

fn body(number: i64) -> Vec<u8> {
    format!("<message {number} {}>", "lorem ipsum ".repeat(100)).into_bytes()
}

/// A node that took the messages and has stopped.
fn fill(place: &Place) {
    let node = place.start();
    let mut peer = Peer::connect(&node.address);
    peer.create("T");
    for number in 0..MESSAGES {
        peer.ask(&send("T", 0, body(number))).expect(0);
    }
    node.stop();
}

#[test]
fn a_flipped_bit_is_reported_and_its_neighbours_are_served() {
    let place = Place::new();
    fill(&place);

    let path = place.first_segment();
    let log = fs::read(&path).unwrap();
    let whole = body(DAMAGED);
    let at = log.windows(whole.len()).position(|bytes| bytes == whole).unwrap();
    let mut broken = whole.clone();
    broken[600] ^= 0x10;
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&broken[600..=600], at as u64 + 600).unwrap();
    file.sync_all().unwrap();

    let node = place.start();
    let mut peer = Peer::connect(&node.address);
    assert_eq!(peer.max_offset("T"), MESSAGES);
    let (mut next, mut got) = (0, Vec::new());
    while next < MESSAGES {
        let reply = peer.ask(&pull("consumers", "T", 0, next));
        got.extend(reply.bodies());
        let after = reply.number("nextBeginOffset");
        assert!(after > next, "no way past offset {next}: {reply:?}");
        next = after;
    }
    let others: Vec<_> = (0..MESSAGES).filter(|number| *number != DAMAGED).map(body).collect();
    assert_eq!(got.len(), others.len());
    assert!(got == others, "the neighbours are as they were");
    peer.send_one();
    node.stop();

    // The body lies behind 88 bytes of fixed fields.
    let record = at - 88;
    let said = place.log_of_node();
    let report = said.lines().find(|line| line.contains("a stored record is damaged"));
    let report = report.unwrap_or_else(|| panic!("no report: {said}"));
    for number in [record as u32, body_crc(&whole), body_crc(&broken)] {
        let (decimal, hex) = (number.to_string(), format!("{number:08x}"));
        assert!(report.contains(&decimal) || report.contains(&hex), "{decimal} in {report}");
    }
}

#[test]
fn a_flipped_bit_in_the_index_costs_a_look_at_the_log_and_nothing_else() {
    let place = Place::new();
    fill(&place);

    let run = place.data().join("shard-0/index").join("0".repeat(20));
    let mut index = fs::read(&run).unwrap();
    // In the first entry, behind the header.
    index[64 + 5] ^= 0x10;
    fs::write(&run, index).unwrap();

    let node = place.start();
    let mut peer = Peer::connect(&node.address);
    let got = peer.ask(&pull("consumers", "T", 0, 0)).expect(0).bodies();
    assert!(!got.is_empty() && got[..] == (0..).take(got.len()).map(body).collect::<Vec<_>>());
    let said = place.log_of_node();
    assert!(said.contains("an index run is damaged") && said.contains("extent"), "{said}");
    peer.send_one();
    node.stop();
}
