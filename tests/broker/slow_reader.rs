//! Peers that do not read while the log goes round its ring.

use ringmq::base::limits::COPIED_BYTES_MAX;
use ringmq::base::options::BrokerOptions;
use ringmq::base::{AckLevel, ConnId};
use ringmq::wire::code::{request, response};

use crate::frames::{ask, pull, send, update_topic};
use crate::node::{LARGE, Node, SMALL, Sizes};

const BODY: usize = 20_000;

fn body(n: usize, len: usize) -> String {
    let mut body = format!("{n} ");
    body.extend(std::iter::repeat_n((b'a' + (n % 26) as u8) as char, len - body.len()));
    body
}

/// A node that hands out any number of bytes, with `messages` of `len` bytes in topic T.
fn node_with(sizes: Sizes, messages: usize, len: usize) -> (Node, ConnId) {
    let mut options = BrokerOptions::default();
    for name in ["maxTransferBytesOnMessageInMemory", "maxTransferBytesOnMessageInDisk"] {
        options.set(name, "8388608").unwrap();
    }
    let mut node = Node::with(options, AckLevel::Appended, sizes);
    let client = node.connect();
    node.ask(client, update_topic("T", 1)).expect(response::SUCCESS);
    for n in 0..messages {
        node.ask(client, send("T", 0, body(n, len))).expect(response::SUCCESS);
    }
    (node, client)
}

fn max_offset(node: &mut Node, client: ConnId) -> i64 {
    let asked = ask(request::GET_MAX_OFFSET).with("topic", "T").with("queueId", 0);
    node.ask(client, asked).expect(response::SUCCESS).number("offset")
}

/// The log goes twice round its ring.
fn go_round(node: &mut Node, client: ConnId, sizes: Sizes) {
    for n in 0..2 * sizes.ring as usize / BODY {
        node.ask(client, send("T", 0, body(n, BODY))).expect(response::SUCCESS);
        node.pass(1);
    }
}

#[test]
fn a_slow_reader_gets_its_bytes_though_the_log_goes_round_meanwhile() {
    let (mut node, client) = node_with(SMALL, 10, BODY);
    let slow = node.connect();
    node.stall(slow);
    // The first reply is with the kernel, the others wait behind it.
    let asked: Vec<i32> = (0..3).map(|at| node.send(slow, &pull("g", "T", 0, at))).collect();
    go_round(&mut node, client, SMALL);
    assert_eq!(node.closed, [], "it was copied, not closed");
    node.read_on(slow);
    for (from, opaque) in asked.into_iter().enumerate() {
        let reply = node.reply(slow, opaque).expect("an answer").expect(response::SUCCESS);
        let expected: Vec<String> = (from..10).map(|n| body(n, BODY)).collect();
        assert!(reply.messages() == expected, "the bytes of the pull from {from}");
    }
    // Its bytes are its own business no more: the same again, as often as one likes.
    for _ in 0..5 {
        node.stall(slow);
        let max = max_offset(&mut node, client);
        let opaque = node.send(slow, &pull("g", "T", 0, max - 10));
        go_round(&mut node, client, SMALL);
        node.read_on(slow);
        let reply = node.reply(slow, opaque).expect("an answer").expect(response::SUCCESS);
        assert_eq!(reply.messages().len(), 10);
    }
    assert_eq!(node.closed, []);
}

#[test]
fn what_slow_readers_have_copied_is_bounded_for_all_of_them_together() {
    let (mut node, client) = node_with(SMALL, 40, BODY);
    let each = 30 * BODY;
    let slow: Vec<ConnId> = (0..2 * COPIED_BYTES_MAX / each).map(|_| node.connect()).collect();
    let mut asked = Vec::new();
    for conn in &slow {
        node.stall(*conn);
        asked.push(node.send(*conn, &pull("g", "T", 0, 10)));
    }
    go_round(&mut node, client, SMALL);
    let kept = slow.len() - node.closed.len();
    assert!(kept * each <= COPIED_BYTES_MAX, "{kept} were copied");
    assert!((kept + 2) * each > COPIED_BYTES_MAX, "only {kept} were copied");
    for (conn, opaque) in slow.iter().zip(asked) {
        if !node.closed.contains(conn) {
            node.read_on(*conn);
            let reply = node.reply(*conn, opaque).expect("an answer").expect(response::SUCCESS);
            let expected: Vec<String> = (10..40).map(|n| body(n, BODY)).collect();
            assert!(reply.messages() == expected);
        }
    }
    // Whoever is gone, or has read, leaves room for others.
    let closed = node.closed.len();
    let another = node.connect();
    node.stall(another);
    let max = max_offset(&mut node, client);
    node.send(another, &pull("g", "T", 0, max - 30));
    go_round(&mut node, client, SMALL);
    assert_eq!(node.closed.len(), closed);
}

#[test]
fn one_connection_has_only_so_much_copied() {
    let (mut node, client) = node_with(LARGE, 12, 500_000);
    let (modest, greedy) = (node.connect(), node.connect());
    node.stall(modest);
    node.stall(greedy);
    let one = node.send(modest, &pull("g", "T", 0, 0));
    for _ in 0..2 {
        node.send(greedy, &pull("g", "T", 0, 0));
    }
    go_round(&mut node, client, LARGE);
    assert_eq!(node.closed, [greedy]);
    node.read_on(modest);
    let reply = node.reply(modest, one).expect("an answer").expect(response::SUCCESS);
    let expected: Vec<String> = (0..12).map(|n| body(n, 500_000)).collect();
    assert!(reply.messages() == expected);
}
