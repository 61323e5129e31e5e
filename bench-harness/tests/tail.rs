//! Sending and receiving at once, against a broker of a few lines in memory.

use ringmq_bench::drain::{self, DrainPlan, DrainStyle, RemotingPulls, Subscription};
use ringmq_bench::load::{Limit, LoadPlan, MessageShape, Protocol, Remoting};
use ringmq_bench::tail::{self, TailPlan, TailResult, TailStyle};
use ringmq_bench::target::Endpoint;
use ringmq_bench::wire::{Codec, Header, Request, take_frame};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

const QUEUES: u32 = 3;
/// What was there before anything was sent.
const OLD: u64 = 100;

/// Records of every queue.
#[derive(Default)]
struct Broker {
    queues: Mutex<Vec<Vec<Vec<u8>>>>,
    grown: Condvar,
    /// Answers pulls with an error.
    refuses: bool,
}

fn record(queue: u32, offset: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend_from_slice(&0xdaa3_20a7_u32.to_be_bytes());
    bytes.extend_from_slice(&(crc32fast::hash(body) & 0x7fff_ffff).to_be_bytes());
    bytes.extend_from_slice(&queue.to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&offset.to_be_bytes());
    bytes.extend_from_slice(&[0; 8 + 4 + 16 + 16 + 4 + 8]);
    bytes.extend_from_slice(&(body.len() as u32).to_be_bytes());
    bytes.extend_from_slice(body);
    bytes.extend_from_slice(b"\x01t\0\0");
    let len = bytes.len() as u32;
    bytes[..4].copy_from_slice(&len.to_be_bytes());
    bytes
}

impl Broker {
    fn serve(refuses: bool) -> SocketAddr {
        let old = |queue| (0..OLD).map(|offset| record(queue, offset, b"someone else's")).collect();
        let queues = Mutex::new((0..QUEUES).map(old).collect());
        let broker = Arc::new(Broker { queues, grown: Condvar::new(), refuses });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let broker = broker.clone();
                std::thread::spawn(move || broker.answer(stream.unwrap()));
            }
        });
        addr
    }

    fn answer(&self, mut stream: TcpStream) {
        let (mut input, mut piece) = (Vec::new(), [0; 65536]);
        loop {
            let count = match stream.read(&mut piece) {
                Ok(0) | Err(_) => return,
                Ok(count) => count,
            };
            input.extend_from_slice(&piece[..count]);
            let mut used = 0;
            while let Some(frame) = take_frame(&input[used..]).unwrap() {
                let header = Header::parse(frame.codec, frame.header).unwrap();
                let reply = self.reply_to(&header, frame.body).encode(Codec::Json, header.opaque);
                used += frame.len;
                if stream.write_all(&reply.bytes).is_err() {
                    return;
                }
            }
            input.drain(..used);
        }
    }

    fn reply_to(&self, request: &Header, body: &[u8]) -> Request {
        let number = |key| request.ext(key).unwrap().parse::<usize>().unwrap();
        let mut queues = self.queues.lock().unwrap();
        match request.code {
            30 => Request::new(0).ext("offset", queues[number("queueId")].len()),
            31 => Request::new(0).ext("offset", 0),
            310 => {
                let queue = &mut queues[number("e")];
                queue.push(record(number("e") as u32, queue.len() as u64, body));
                self.grown.notify_all();
                Request::new(0)
            }
            11 if self.refuses => Request::new(16),
            11 => {
                let (queue, from) = (number("queueId"), number("queueOffset"));
                if number("suspendTimeoutMillis") > 0 {
                    // Short, as this connection's other queues wait behind it.
                    let hold = Duration::from_millis(2);
                    let empty = |queues: &mut Vec<Vec<Vec<u8>>>| queues[queue].len() <= from;
                    queues = self.grown.wait_timeout_while(queues, hold, empty).unwrap().0;
                }
                let to = (from + number("maxMsgNums")).min(queues[queue].len());
                let code = if to > from { 0 } else { 19 };
                let found = queues[queue][from..to].concat();
                Request::new(code).ext("nextBeginOffset", to).body(found)
            }
            other => Request::new(3).ext("code", other),
        }
    }
}

fn run(catch_up: bool) -> TailResult {
    try_run(Broker::serve(false), catch_up).unwrap()
}

fn try_run(addr: SocketAddr, catch_up: bool) -> std::io::Result<TailResult> {
    let endpoint = Endpoint { addr, name: None, queues: (0..QUEUES).collect() };
    let style = |wait_ms_max| RemotingPulls {
        topic: "t".into(),
        group: "g".into(),
        codec: Codec::Json,
        lite: false,
        max_messages: 32,
        max_bytes: None,
        subscription: Subscription::all(),
        transfer: None,
        discard: true,
        wait_ms_max,
    };
    let backlog = || DrainPlan {
        style: DrainStyle::Remoting(style(0)),
        window: 1,
        spans: vec![(endpoint.addr, drain::spans(&endpoint, "t", None).unwrap())],
        connections: 1,
        threads: 1,
        cores: vec![],
        ledger: None,
    };
    let catch_up = catch_up.then(backlog);
    let shape = MessageShape { topic: "t".into(), size: 128, batch: 1, run: 42 };
    let protocol = Protocol::Remoting(Remoting {
        codec: Codec::Json,
        group: "g".into(),
        broker_name: None,
        tags: vec![],
        default_queues: QUEUES,
        ok_code: 0,
    });
    let load = LoadPlan {
        shape,
        protocol,
        endpoints: vec![endpoint],
        connections: 2,
        window: 4,
        threads: 1,
        cores: vec![],
        rate: 2_000.0,
        limit: Limit::For(Duration::from_millis(300)),
        warmup: Duration::from_millis(50),
        spin: false,
    };
    tail::run(
        &TailPlan { load, style: TailStyle::Remoting(style(15_000)), consumers: 2, catch_up },
        |_| {},
    )
}

#[test]
fn what_is_acknowledged_is_received_once_and_old_messages_do_not_count() {
    let result = run(false);
    let all = |r: &ringmq_bench::load::Recorder| r.measured.messages + r.outside.messages;
    assert!(all(&result.sent) > 0);
    assert_eq!(all(&result.received), all(&result.sent));
    // A latency for each message that was meant to be sent in the measurement,
    // whether or not it arrived in it: never more than were acknowledged.
    assert!((1..=all(&result.sent)).contains(&result.received.latency.len()));
    let by_second: u64 = result.received.seconds.iter().map(|second| second.messages).sum();
    assert_eq!(by_second, result.received.measured.messages);
    assert!(result.catch_up.is_none());
}

#[test]
fn a_second_reader_goes_through_the_backlog_meanwhile() {
    let caught_up = run(true).catch_up.unwrap();
    assert!(caught_up.passes > 0 && caught_up.messages_per_second > 0.0, "{caught_up:?}");
}

#[test]
fn a_consumer_that_is_refused_says_so() {
    let error = try_run(Broker::serve(true), false).err().unwrap().to_string();
    assert!(error.contains("a consumer ended") && error.contains("code 16"), "{error}");
}
