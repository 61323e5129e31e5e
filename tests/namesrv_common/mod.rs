//! A blocking peer for tests: whole frames over a std socket.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use ringmq::wire::{Codec, FrameWriter, Request, parse_prefix};

pub struct Peer {
    pub stream: TcpStream,
    opaque: i32,
}

/// A frame that came, whichever its direction.
#[derive(Debug)]
pub struct Frame {
    pub code: i32,
    pub opaque: i32,
    pub remark: String,
    pub ext: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Frame {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Peer {
    pub fn connect(addr: SocketAddr) -> Self {
        Self::over(TcpStream::connect(addr).unwrap())
    }

    pub fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, opaque: 0 }
    }

    pub fn frame(&mut self, code: i32, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        self.opaque += 1;
        let mut frame = Vec::new();
        let mut writer = FrameWriter::request(&mut frame, Codec::Json, self.opaque, code, false);
        for (key, value) in fields {
            writer.field(key, value);
        }
        writer.finish_with_body(body);
        frame
    }

    pub fn ask(&mut self, code: i32, fields: &[(&str, &str)], body: &[u8]) -> Frame {
        let frame = self.frame(code, fields, body);
        self.stream.write_all(&frame).unwrap();
        let reply = self.read().expect("a reply");
        assert_eq!(reply.opaque, self.opaque);
        reply
    }

    /// The next frame, or `None` at the end of the stream.
    pub fn read(&mut self) -> Option<Frame> {
        let mut bytes = vec![0; 8];
        self.stream.read_exact(&mut bytes).ok()?;
        let prefix = parse_prefix(&bytes).unwrap().unwrap();
        bytes.resize(prefix.frame_bytes, 0);
        self.stream.read_exact(&mut bytes[8..]).ok()?;
        let (header, body) = prefix.split(&bytes).unwrap();
        let read = Request::decode(prefix.codec, header, body).unwrap();
        Some(Frame {
            code: read.code,
            opaque: read.opaque,
            remark: read.remark.map_or(String::new(), |text| text.text().into_owned()),
            ext: read.ext.iter().map(|f| (f.key.text().into(), f.value.text().into())).collect(),
            body: body.to_vec(),
        })
    }

    pub fn answer(&mut self, asked: &Frame, code: i32, body: &[u8]) {
        let mut frame = Vec::new();
        let mut writer = FrameWriter::reply(&mut frame, Codec::Json, asked.opaque, code);
        writer.finish_with_body(body);
        self.stream.write_all(&frame).unwrap();
    }

    pub fn register(&mut self, broker: &str, addr: &str, topics: &[&str]) -> Frame {
        let rows: Vec<_> =
            topics.iter().map(|topic| format!(r#""{topic}":{{"topicName":"{topic}"}}"#)).collect();
        let body = format!(
            r#"{{"topicConfigSerializeWrapper":{{"topicConfigTable":{{{}}}}}}}"#,
            rows.join(",")
        );
        let who = [
            ("clusterName", "C"),
            ("brokerName", broker),
            ("brokerAddr", addr),
            ("brokerId", "0"),
            ("haServerAddr", "h:1"),
        ];
        self.ask(103, &who, body.as_bytes())
    }

    pub fn route(&mut self, topic: &str) -> Frame {
        self.ask(105, &[("topic", topic)], b"")
    }

    /// Asks for the route until `wanted` says yes; the server may still be hearing of it.
    pub fn await_route(&mut self, topic: &str, wanted: impl Fn(&Frame) -> bool) -> Frame {
        let begun = std::time::Instant::now();
        loop {
            let route = self.route(topic);
            if wanted(&route) {
                return route;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "still {route:?}");
            std::thread::yield_now();
        }
    }
}
