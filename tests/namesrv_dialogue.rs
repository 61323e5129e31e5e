//! The dialogue that `tests/interop/namesrv_dialogue.py` captured from Apache's name
//! server 5.5.0, played with ours: same codes, same fields, same bodies.

use std::collections::{BTreeMap, HashMap};

use ringmq::base::Now;
use ringmq::namesrv::{ConnId, NameServer, Options};
use ringmq::wire::{Codec, FrameWriter, Request, parse_prefix};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Step {
    name: String,
    conn: Option<String>,
    close: Option<String>,
    code: Option<i32>,
    version: Option<i32>,
    #[serde(default)]
    ext: BTreeMap<String, String>,
    body: Option<String>,
    body64: Option<String>,
    reply: Option<Reply>,
    /// The code that we answer instead, on purpose.
    ours: Option<i32>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Reply {
    code: i32,
    ext: BTreeMap<String, String>,
    body: Option<String>,
}

const FIXTURE: &str = include_str!("fixtures/namesrv-dialogue.jsonl");
/// Requests whose replies list topics, in any order.
const TOPIC_LISTS: [i32; 6] = [206, 224, 304, 311, 312, 313];

fn steps() -> Vec<Step> {
    FIXTURE.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_reply_is_that_of_apache_through_both_codecs() {
    for codec in [Codec::Json, Codec::Binary] {
        let now = Now { mono_us: 1, unix_ms: 1_800_000_000_000 };
        let mut server = NameServer::new(Options::default(), now);
        let mut conns = HashMap::new();
        let mut next_conn = 0;
        for step in steps() {
            if let Some(closed) = step.close {
                server.on_closed(conns.remove(&closed).unwrap());
                continue;
            }
            let conn = step.conn.clone().unwrap_or_else(|| "client".to_owned());
            let conn = *conns.entry(conn).or_insert_with(|| {
                next_conn += 1;
                ConnId(next_conn)
            });
            let found = comparable(&step, exchange(&mut server, conn, codec, &step, now));
            let mut expected = comparable(&step, step.reply.clone().unwrap());
            match step.ours {
                Some(code) => assert_eq!(found.0.code, code, "{}", step.name),
                None => {
                    // The binary codec reads empty texts as absent.
                    expected.0.ext.retain(|_, value| !value.is_empty());
                    assert_eq!(found, expected, "{} by {codec:?}", step.name);
                }
            }
        }
    }
}

/// The reply, and the topics in it in order. Apache writes characters beyond ASCII as
/// escapes in some versions and as they are in others; here as they are.
fn comparable(step: &Step, mut reply: Reply) -> (Reply, Vec<String>) {
    reply.body =
        reply.body.map(|body| body.replace("\\u00F6", "\u{f6}").replace("\\u20AC", "\u{20ac}"));
    if !TOPIC_LISTS.contains(&step.code.unwrap()) || reply.body.is_none() {
        return (reply, Vec::new());
    }
    let body: Value = serde_json::from_str(&reply.body.take().unwrap()).unwrap();
    let list = body["topicList"].as_array().unwrap();
    let mut topics: Vec<_> = list.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    topics.sort();
    (reply, topics)
}

fn exchange(server: &mut NameServer, conn: ConnId, codec: Codec, step: &Step, now: Now) -> Reply {
    let mut frame = Vec::new();
    let mut writer = FrameWriter::request(&mut frame, codec, 7, step.code.unwrap(), false);
    for (key, value) in &step.ext {
        writer.field(key, value);
    }
    let body = match (&step.body, &step.body64) {
        (Some(text), _) => text.clone().into_bytes(),
        (None, Some(base64)) => decode_base64(base64),
        (None, None) => Vec::new(),
    };
    writer.finish_with_body(&body);
    let prefix = parse_prefix(&frame).unwrap().unwrap();
    let (header, body) = prefix.split(&frame).unwrap();
    let mut request = Request::decode(codec, header, body).unwrap();
    request.version = step.version.unwrap_or(479);
    let mut out = Vec::new();
    server.handle(conn, &request, now, &mut out);
    let prefix = parse_prefix(&out).unwrap().unwrap();
    assert_eq!(prefix.frame_bytes, out.len(), "{}: one whole frame", step.name);
    let (header, body) = prefix.split(&out).unwrap();
    let reply = Request::decode(prefix.codec, header, body).unwrap();
    assert!(reply.is_response() && reply.opaque == 7 && prefix.codec == codec);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Reply {
        code: reply.code,
        ext: reply.ext.iter().map(|f| (f.key.text().into(), f.value.text().into())).collect(),
        body: (!body.is_empty()).then(|| text(body)),
    }
}

fn decode_base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::new();
    let (mut bits, mut held) = (0_u32, 0);
    for digit in text.bytes().filter(|digit| *digit != b'=') {
        bits = bits << 6 | DIGITS.iter().position(|known| *known == digit).unwrap() as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    out
}
