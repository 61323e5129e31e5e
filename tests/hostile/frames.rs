//! Streams that are no frames, and frames that nobody answers.

use ringmq::wire::{Codec, FrameWriter};

use crate::node::Place;
use crate::peer::Peer;
use crate::requests::{ask, send};

/// A frame with any prefix.
fn raw(length: u32, codec: u8, header_bytes: u32, rest: &[u8]) -> Vec<u8> {
    let [_, h0, h1, h2] = header_bytes.to_be_bytes();
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend([codec, h0, h1, h2]);
    frame.extend(rest);
    frame
}

/// A frame that consists of a header.
fn header(codec: u8, header: &[u8]) -> Vec<u8> {
    raw(4 + header.len() as u32, codec, header.len() as u32, header)
}

#[test]
fn unreadable_frames_end_their_connection_and_no_other() {
    let place = Place::new();
    let node = place.start();
    let mut other = Peer::connect(&node.address);
    other.create("T");
    let right = &send("T", 0, "x").frame(1)[8..];
    let mut binary = send("T", 0, "");
    binary.codec = Codec::Binary;
    let binary = &binary.frame(1)[8..];

    let fields: Vec<String> = (0..1000).map(|i| format!("\"k{i}\":\"v\"")).collect();
    let many = format!("{{\"code\":310,\"extFields\":{{{}}}}}", fields.join(","));
    let deep = format!("{{\"code\":310,\"x\":{}", "[".repeat(100_000));
    let mut streams = vec![
        ("codec 2", raw(4 + right.len() as u32, 2, right.len() as u32 - 1, right)),
        ("codec 255", raw(4 + right.len() as u32, 255, right.len() as u32 - 1, right)),
        ("a length beyond 16 MiB", raw(16 * 1024 * 1024 - 3, 0, 10, b"")),
        ("the longest length", raw(u32::MAX, 0, 10, b"")),
        ("a length without room for the prefix", raw(3, 0, 0, b"")),
        ("a header longer than its frame", raw(20, 0, 17, &[b' '; 16])),
        ("no header", header(0, b"")),
        ("no JSON", header(0, b"hello there")),
        ("JSON that ends early", header(0, b"{\"code\":310,\"extFields\":{\"a\":\"b")),
        ("JSON that is no object", header(0, b"[310]")),
        ("bytes that are no UTF-8", header(0, b"{\"code\":310,\"remark\":\"\xff\xfe\"}")),
        ("too many fields", header(0, many.as_bytes())),
        ("too deep", header(0, deep.as_bytes())),
    ];
    streams.extend((0..binary.len()).map(|cut| ("a cut binary header", header(1, &binary[..cut]))));
    for (at, (what, stream)) in streams.iter().enumerate() {
        let mut rude = Peer::connect(&node.address);
        rude.write(stream);
        rude.expect_closed(&format!("{what} (stream {at})"));
        other.send_one();
    }
    assert_eq!(other.max_offset("T"), streams.len() as i64, "nothing of them was stored");
    node.stop();
}

#[test]
fn unknown_codes_get_code_3_and_one_way_requests_and_replies_nothing() {
    let place = Place::new();
    let node = place.start();
    let mut peer = Peer::connect(&node.address);
    peer.create("T");
    for code in [0, -1, 9_999, i32::MAX, i32::MIN] {
        let refused = peer.ask(&ask(code)).expect(3);
        let remark = refused.remark();
        assert!(remark.contains(&code.to_string()), "{remark}");
    }
    // Whatever is answered comes before the answer to what follows it.
    for mut request in [
        ask(9_999),
        ask(10),
        ask(11),
        ask(28),
        ask(34).body("no heartbeat"),
        send("a b", 0, "x"),
        send("T", 9, "x"),
        send("T", 0, "stored all the same"),
    ] {
        request.oneway = true;
        peer.write(&request.frame(-7));
        peer.send_one();
    }
    assert_eq!(peer.max_offset("T"), 9);
    for code in [0, 1, 310, -1] {
        let mut reply = Vec::new();
        FrameWriter::reply(&mut reply, Codec::Json, 1, code).finish(0);
        peer.write(&reply);
        peer.send_one();
    }
    node.stop();
}
