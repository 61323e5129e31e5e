//! Messages that are not taken.

use crate::node::Place;
use crate::peer::Peer;
use crate::requests::{Ask, send, send_batch};

#[test]
fn what_may_not_be_sent_gets_its_code_and_is_not_stored() {
    let place = Place::new();
    let node = place.start();
    let mut peer = Peer::connect(&node.address);
    peer.create("T");
    peer.create("%RETRY%group");
    peer.send_one();

    let properties = |text: &str| send("T", 0, "x").with("i", text);
    let batch = send_batch("T", 0, &[("first", ""), ("second", "")]);
    let entries = batch.body.clone();
    let huge = vec![b'x'; 4 * 1024 * 1024 + 1];
    let mut longer = entries.clone();
    longer[3] += 1;
    let mut negative = entries.clone();
    negative[0] = 0x80;
    let refused: Vec<(&str, Ask, i32)> = vec![
        ("a blank in the topic", send("a b", 0, "x"), 29),
        ("a path as the topic", send("../../etc/passwd", 0, "x"), 29),
        ("a topic of 128 bytes", send(&"t".repeat(128), 0, "x"), 29),
        ("no topic", send("", 0, "x"), 29),
        ("the delay topic", send("SCHEDULE_TOPIC_XXXX", 0, "x"), 16),
        ("the half topic", send("RMQ_SYS_TRANS_HALF_TOPIC", 0, "x"), 16),
        ("queue 1 of 1", send("T", 1, "x"), 29),
        ("the highest queue", send("T", i32::MAX, "x"), 29),
        ("a body over 4 MiB", send("T", 0, huge), 13),
        ("long properties", properties(&format!("K\u{1}{}\u{2}", "v".repeat(32_767))), 13),
        ("a delay", properties("DELAY\u{1}3\u{2}"), 13),
        ("half a transaction", properties("TRAN_MSG\u{1}true\u{2}"), 13),
        ("an empty batch", batch.clone().body(""), 13),
        ("a cut batch", batch.clone().body(&entries[..entries.len() - 1]), 13),
        ("a batch with a wrong length", batch.clone().body(longer), 13),
        ("a batch with a negative length", batch.clone().body(negative), 13),
        ("a batch of noise", batch.clone().body([0xff; 100]), 13),
        ("a batch to a retry topic", batch.with("b", "%RETRY%group"), 13),
    ];
    for (what, message, code) in refused {
        let reply = peer.ask(&message);
        assert_eq!(reply.code, code, "{what}: {} {}", reply.code, reply.remark());
        assert!(!reply.remark().is_empty(), "{what} is refused without a word");
        assert_eq!(peer.max_offset("T"), 1, "{what} was stored");
    }
    assert_eq!(peer.max_offset("%RETRY%group"), 0);
    peer.send_one();
    node.stop();
}
