//! What the dialogue with Apache's name server cannot show: time, bounds, bad input,
//! and what outlives the process.

use std::io::Write;

use ringmq::base::Now;
use ringmq::base::limits::{FRAME_BYTES_MAX, NAMESRV_BROKERS_MAX, NAMESRV_NAME_BYTES_MAX};
use ringmq::namesrv::{ConnId, NameServer, Options, ValueChange};
use ringmq::wire::{Codec, FrameWriter, Request, parse_prefix};

struct Peer {
    server: NameServer,
    now: Now,
    conn: ConnId,
}

#[derive(Debug, PartialEq)]
struct Reply {
    code: i32,
    remark: String,
    body: String,
}

impl Peer {
    fn new() -> Self {
        let now = Now { mono_us: 5_000_000, unix_ms: 1_800_000_000_000 };
        Self { server: NameServer::new(Options::default(), now), now, conn: ConnId(1) }
    }

    fn pass(&mut self, ms: u64) -> Vec<ConnId> {
        self.now.mono_us += ms * 1000;
        self.server.expire(self.now)
    }

    fn send(&mut self, code: i32, fields: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut out = Vec::new();
        self.send_raw(code, fields, body, false, &mut out);
        let prefix = parse_prefix(&out).unwrap().unwrap();
        assert_eq!(prefix.frame_bytes, out.len());
        let (header, body) = prefix.split(&out).unwrap();
        let reply = Request::decode(prefix.codec, header, body).unwrap();
        let remark = reply.remark.map_or(String::new(), |remark| remark.text().into_owned());
        Reply { code: reply.code, remark, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    fn send_raw(
        &mut self,
        code: i32,
        fields: &[(&str, &str)],
        body: &[u8],
        oneway: bool,
        out: &mut Vec<u8>,
    ) {
        let mut frame = Vec::new();
        let mut writer = FrameWriter::request(&mut frame, Codec::Json, 3, code, oneway);
        for (key, value) in fields {
            writer.field(key, value);
        }
        writer.finish_with_body(body);
        let prefix = parse_prefix(&frame).unwrap().unwrap();
        let (header, body) = prefix.split(&frame).unwrap();
        let request = Request::decode(prefix.codec, header, body).unwrap();
        self.server.handle(self.conn, &request, self.now, out);
    }

    fn register(&mut self, broker: &str, addr: &str, id: &str, extra: &[(&str, &str)]) -> Reply {
        let mut fields = vec![
            ("clusterName", "C"),
            ("brokerName", broker),
            ("brokerAddr", addr),
            ("brokerId", id),
            ("haServerAddr", "h:1"),
        ];
        fields.extend_from_slice(extra);
        self.send(103, &fields, TABLE.as_bytes())
    }

    fn knows(&mut self, topic: &str) -> bool {
        self.send(105, &[("topic", topic)], b"").code == 0
    }
}

const TABLE: &str = r#"{"topicConfigSerializeWrapper":{"dataVersion":{"counter":1,"timestamp":2},
    "topicConfigTable":{"T":{"topicName":"T","perm":6},"U":{"topicName":"U","perm":6}}}}"#;

#[test]
fn a_silent_broker_is_dropped_after_two_minutes_and_its_connection_named() {
    let mut peer = Peer::new();
    peer.register("b", "a:1", "0", &[]);
    assert_eq!(peer.server.next_deadline(), Some(peer.now.mono_us + 120_000_001));
    assert!(peer.pass(120_000).is_empty() && peer.knows("T"));
    assert_eq!(peer.pass(1), [ConnId(1)]);
    assert!(!peer.knows("T"));
    assert_eq!(peer.server.next_deadline(), None);
}

#[test]
fn a_broker_may_announce_another_silence_and_heartbeats_prolong_it() {
    let mut peer = Peer::new();
    peer.register("b", "a:1", "0", &[("heartbeatTimeoutMillis", "1000")]);
    peer.pass(900);
    let beat = [("clusterName", "C"), ("brokerName", "b"), ("brokerAddr", "a:1")];
    assert_eq!(peer.send(904, &beat, b"").code, 0);
    assert!(peer.pass(900).is_empty() && peer.knows("T"));
    let who = [("clusterName", "C"), ("brokerName", "b"), ("brokerAddr", "a:1"), ("brokerId", "0")];
    assert_eq!(peer.send(322, &who, b"").code, 0);
    assert!(peer.pass(1000).is_empty() && peer.knows("T"));
    assert_eq!(peer.pass(1), [ConnId(1)]);
    assert!(!peer.knows("T"));
}

#[test]
fn a_connection_takes_only_its_own_brokers_with_it() {
    let mut peer = Peer::new();
    peer.register("one", "a:1", "0", &[]);
    peer.conn = ConnId(2);
    peer.register("two", "a:2", "0", &[]);
    peer.server.on_closed(ConnId(1));
    let route = peer.send(105, &[("topic", "T")], b"").body;
    assert!(route.contains("two") && !route.contains("one"), "{route}");
    // Re-registered over a new connection, the old one no longer matters.
    peer.conn = ConnId(3);
    peer.register("two", "a:2", "0", &[]);
    peer.server.on_closed(ConnId(2));
    assert!(peer.knows("T"));
    peer.server.on_closed(ConnId(3));
    assert!(!peer.knows("T"));
    assert_eq!(peer.send(106, &[], b"").body, r#"{"brokerAddrTable":{},"clusterAddrTable":{}}"#);
}

#[test]
fn an_address_under_a_new_name_leaves_the_old_one() {
    let mut peer = Peer::new();
    peer.register("old", "a:1", "0", &[]);
    peer.register("new", "a:1", "0", &[]);
    let route = peer.send(105, &[("topic", "T")], b"").body;
    assert!(route.contains("new") && !route.contains("old"), "{route}");
}

#[test]
fn a_replica_is_shown_as_primary_where_that_is_enabled() {
    let mut peer = Peer::new();
    let acting = [("enableActingMaster", "true")];
    peer.register("b", "a:1", "0", &acting);
    peer.conn = ConnId(2);
    peer.register("b", "a:2", "1", &acting);
    peer.server.on_closed(ConnId(1));
    let route = peer.send(105, &[("topic", "T")], b"").body;
    assert!(route.contains(r#"{"1":"a:2"}"#) && route.contains(r#""perm":4"#), "{route}");
    assert_eq!(peer.send(318, &[], b"supportActingMaster=true").code, 0);
    let route = peer.send(105, &[("topic", "T")], b"").body;
    assert!(route.contains(r#"{"0":"a:2"}"#), "{route}");
}

#[test]
fn one_way_requests_act_and_are_never_answered() {
    let mut peer = Peer::new();
    let mut out = Vec::new();
    let put = [("namespace", "n"), ("key", "k"), ("value", "v")];
    peer.send_raw(100, &put, b"", true, &mut out);
    peer.send_raw(9999, &[], b"", true, &mut out);
    peer.send_raw(105, &[], b"", true, &mut out);
    assert!(out.is_empty());
    assert_eq!(peer.send(101, &[("namespace", "n"), ("key", "k")], b"").code, 0);
}

#[test]
fn what_must_outlive_the_process_is_told_and_comes_back() {
    let mut peer = Peer::new();
    peer.send(100, &[("namespace", "n"), ("key", "k"), ("value", "v")], b"");
    peer.send(102, &[("namespace", "n"), ("key", "nothing")], b"");
    peer.send(318, &[], b"orderMessageEnable=true\nunknown=1");
    let changes = peer.server.take_changes();
    assert_eq!(changes.len(), 2);
    assert!(peer.server.take_changes().is_empty());
    let mut next = Peer::new();
    for change in changes {
        let ValueChange::Put { namespace, key, value } = change else { panic!("{change:?}") };
        next.server.restore(&namespace, &key, &value);
    }
    assert_eq!(next.send(219, &[("namespace", "n")], b"").body, r#"{"table":{"k":"v"}}"#);
    assert!(next.send(319, &[], b"").body.contains("orderMessageEnable=true\n"));
    next.send(102, &[("namespace", "n"), ("key", "k")], b"");
    let gone = ValueChange::Delete { namespace: "n".to_owned(), key: "k".to_owned() };
    assert_eq!(next.server.take_changes(), [gone]);
}

#[test]
fn a_refusal_names_the_rule() {
    let mut peer = Peer::new();
    let unknown = peer.send(9999, &[], b"");
    assert!(unknown.code == 3 && unknown.remark.contains("9999"), "{unknown:?}");
    let missing = peer.send(105, &[], b"");
    assert!(missing.code == 1 && missing.remark.contains("topic"), "{missing:?}");
    let who = [("clusterName", "C"), ("brokerName", "b"), ("brokerAddr", "a"), ("brokerId", "0")];
    let broken = peer.send(103, &who, b"{\"topicConfigSerializeWrapper\":");
    assert!(broken.code == 1 && broken.remark.contains("does not parse"), "{broken:?}");
    let broken = peer.send(322, &who, b"[");
    assert_eq!(broken.code, 1);
    let long = "x".repeat(NAMESRV_NAME_BYTES_MAX + 1);
    let refused = peer.register(&long, "a:1", "0", &[]);
    assert!(refused.code == 1 && refused.remark.contains("255"), "{refused:?}");
    assert!(!peer.knows("T"));
}

#[test]
fn requests_without_body_or_fields_are_answered_whatever_their_code() {
    let mut peer = Peer::new();
    for code in (-5..1100).chain([2001, 3001, 200_050]) {
        let mut out = Vec::new();
        peer.send_raw(code, &[], b"", false, &mut out);
        assert!(parse_prefix(&out).unwrap().is_some_and(|prefix| prefix.frame_bytes == out.len()));
        out.clear();
        peer.send_raw(code, &[], b"\xff{0:", false, &mut out);
        assert!(!out.is_empty());
    }
}

#[test]
fn the_number_of_brokers_is_bounded() {
    let mut peer = Peer::new();
    for broker in 0..NAMESRV_BROKERS_MAX {
        assert_eq!(peer.register("b", &format!("a:{broker}"), &broker.to_string(), &[]).code, 0);
    }
    let refused = peer.register("one more", "a:x", "0", &[]);
    assert!(refused.code == 1 && refused.remark.contains("4096"), "{refused:?}");
    assert_eq!(peer.register("b", "a:0", "0", &[]).code, 0, "known ones go on");
}

#[test]
fn a_compressed_body_with_an_endless_part_is_refused() {
    let mut stream = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    let version = b"{}";
    stream.write_all(&[0, 0, 0, version.len() as u8]).unwrap();
    stream.write_all(version).unwrap();
    stream.write_all(&1_i32.to_be_bytes()).unwrap();
    let huge = FRAME_BYTES_MAX as i32 + 1;
    stream.write_all(&huge.to_be_bytes()).unwrap();
    let body = stream.finish().unwrap();
    let mut peer = Peer::new();
    let who = [
        ("clusterName", "C"),
        ("brokerName", "b"),
        ("brokerAddr", "a"),
        ("brokerId", "0"),
        ("compressed", "true"),
    ];
    let refused = peer.send(103, &who, &body);
    assert!(refused.code == 1 && refused.remark.contains("16777217"), "{refused:?}");
    for cut in 0..body.len() {
        assert_eq!(peer.send(103, &who, &body[..cut]).code, i32::from(cut > 0), "cut at {cut}");
    }
}

#[test]
fn a_table_compressed_without_saying_so_is_read() {
    let mut stream = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    for piece in [
        &b"{\"counter\":1}"[..],
        b"\0\0\0\x02",
        b"T 4 4 6 SINGLE_TAG {}",
        b"U 1 1 6 SINGLE_TAG",
        b"[]",
    ] {
        if piece.len() > 4 || piece == b"[]" {
            stream.write_all(&(piece.len() as i32).to_be_bytes()).unwrap();
        }
        stream.write_all(piece).unwrap();
    }
    stream.write_all(&0_i32.to_be_bytes()).unwrap();
    let body = stream.finish().unwrap();
    let mut peer = Peer::new();
    let who = [("clusterName", "C"), ("brokerName", "b"), ("brokerAddr", "a"), ("brokerId", "0")];
    assert_eq!(peer.send(103, &who, &body).code, 0);
    assert!(peer.knows("T") && peer.knows("U"));
}
