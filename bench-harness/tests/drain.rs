//! A drain against a broker of a few lines that serves a known backlog.

use ringmq_bench::body::{self, Stream};
use ringmq_bench::drain::{self, DrainPlan, DrainResult, DrainStyle, RemotingPulls, Subscription};
use ringmq_bench::ledger::{Ledger, StreamRecord};
use ringmq_bench::target::Endpoint;
use ringmq_bench::wire::{Codec, Header, Request, take_frame};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

const QUEUES: u32 = 3;

/// Records of one queue, each by its queue offset.
type Backlog = Arc<Vec<Vec<Vec<u8>>>>;

fn tag_of(seq: u64) -> u8 {
    if seq % 10 == 7 { b'a' } else { b'b' }
}

fn record(queue: u32, offset: u64, seq: u64) -> Vec<u8> {
    let (mut body, crc) = body::prepare(200, Stream { run: 5, producer: 1, queue });
    body::stamp(body.last_chunk_mut().unwrap(), crc, 0, seq);
    let mut bytes = vec![0; 4];
    bytes.extend_from_slice(&0xdaa3_20a7_u32.to_be_bytes());
    bytes.extend_from_slice(&(crc32fast::hash(&body) & 0x7fff_ffff).to_be_bytes());
    bytes.extend_from_slice(&queue.to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&offset.to_be_bytes());
    bytes.extend_from_slice(&[0; 8 + 4 + 16 + 16 + 4 + 8]);
    bytes.extend_from_slice(&(body.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&body);
    bytes.extend_from_slice(b"\x01t\0\x06TAGS\x01");
    bytes.push(tag_of(seq));
    let len = bytes.len() as u32;
    bytes[..4].copy_from_slice(&len.to_be_bytes());
    bytes
}

fn backlog(seqs: impl Iterator<Item = u64> + Clone) -> Backlog {
    let queue = |queue| {
        let stored = seqs.clone().enumerate();
        stored.map(|(offset, seq)| record(queue, offset as u64, seq)).collect()
    };
    Arc::new((0..QUEUES).map(queue).collect())
}

fn serve(backlog: Backlog) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let backlog = backlog.clone();
            std::thread::spawn(move || answer(stream.unwrap(), &backlog));
        }
    });
    addr
}

fn answer(mut stream: TcpStream, backlog: &Backlog) {
    let mut input = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let count = stream.read(&mut piece).unwrap();
        if count == 0 {
            return;
        }
        input.extend_from_slice(&piece[..count]);
        while let Some(frame) = take_frame(&input).unwrap() {
            let header = Header::parse(frame.codec, frame.header).unwrap();
            let codec = if frame.codec == 0 { Codec::Json } else { Codec::Binary };
            let reply = reply_to(&header, backlog).encode(codec, header.opaque);
            stream.write_all(&reply.bytes).unwrap();
            let used = frame.len;
            input.drain(..used);
        }
    }
}

fn reply_to(request: &Header, backlog: &Backlog) -> Request {
    let number = |key| request.ext(key).unwrap().parse::<usize>().unwrap();
    let queue = &backlog[number("queueId")];
    match request.code {
        30 => Request::new(0).ext("offset", queue.len()),
        31 => Request::new(0).ext("offset", 0),
        11 | 361 => {
            let from = number("queueOffset");
            let to = (from + number("maxMsgNums")).min(queue.len());
            let tag = request.ext("subscription").unwrap().as_bytes();
            let fits = |record: &&Vec<u8>| tag == b"*" || record.ends_with(tag);
            let found: Vec<u8> = queue[from..to].iter().filter(fits).flatten().copied().collect();
            let code = if found.is_empty() { 20 } else { 0 };
            Request::new(code).ext("nextBeginOffset", to).body(found)
        }
        other => Request::new(3).ext("code", other),
    }
}

fn drain(backlog: Backlog, ledger: Option<Ledger>, style: RemotingPulls) -> DrainResult {
    let endpoint = Endpoint { addr: serve(backlog), name: None, queues: (0..QUEUES).collect() };
    let spans = vec![(endpoint.addr, drain::spans(&endpoint, "t", None).unwrap())];
    let style = DrainStyle::Remoting(style);
    let plan =
        DrainPlan { style, window: 2, spans, connections: 2, threads: 2, cores: vec![], ledger };
    drain::run(&plan, || {}).unwrap()
}

fn style(codec: Codec, discard: bool) -> RemotingPulls {
    RemotingPulls {
        topic: "t".into(),
        group: "g".into(),
        codec,
        lite: discard,
        max_messages: 32,
        max_bytes: None,
        subscription: Subscription::all(),
        transfer: None,
        discard,
        wait_ms_max: 0,
    }
}

#[test]
fn a_backlog_is_read_to_its_end_and_found_whole() {
    for codec in [Codec::Json, Codec::Binary] {
        let result = drain(backlog(0..1_000), None, style(codec, false));
        assert_eq!((result.messages, result.findings.verified), (3_000, 3_000));
        assert!(result.findings.is_clean() && result.short.is_empty(), "{:?}", result.findings);
        assert_eq!(result.latency.len(), 3 * 1_000_u64.div_ceil(32));
        assert!(result.latency.max() > 1_000);
    }
}

#[test]
fn a_filtered_drain_reaches_the_end_though_little_of_it_comes() {
    // Five messages a pull: every second reply has none.
    let filtered = |expression: &str, discard| RemotingPulls {
        subscription: Subscription::of(expression),
        max_messages: 5,
        ..style(Codec::Json, discard)
    };
    for discard in [false, true] {
        let result = drain(backlog(0..1_003), None, filtered("a", discard));
        assert_eq!((result.scanned, result.messages), (3 * 1_003, 3 * 100));
        assert!(result.short.is_empty() && result.findings.is_clean(), "{:?}", result.findings);
        assert!(result.pulls[&20] > 0 && result.pulls[&0] == 300, "{:?}", result.pulls);
    }
}

#[test]
fn discarding_counts_without_looking() {
    let result = drain(backlog((0..50).rev()), None, style(Codec::Json, true));
    assert_eq!((result.messages, result.findings.verified), (150, 0));
}

#[test]
fn an_acknowledged_message_that_is_gone_is_found() {
    let streams = (0..QUEUES + 1).map(|queue| StreamRecord {
        stream: Stream { run: 5, producer: 1, queue },
        sent: 100,
        unacknowledged: vec![7],
    });
    let ledger = Ledger { streams: streams.collect() };
    let stored = (0..98).filter(|seq| *seq != 7 && *seq != 50);
    let result = drain(backlog(stored), Some(ledger), style(Codec::Json, false));
    // In each of three queues 50, 98 and 99; and all of a fourth that never showed up.
    assert_eq!(result.findings.missing, 3 * 3 + 99);
    assert!(!result.findings.is_clean());
}
