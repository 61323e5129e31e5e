//! A name server and brokers in miniature for tests of `send` and `tail`: they keep
//! messages in vectors, hold pulls, and remember what they were asked and how.

#![allow(dead_code)]

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use ringmq::base::properties;
use ringmq::wire::body::heartbeat::Heartbeat;
use ringmq::wire::body::route::{BrokerData, QueueData, TopicRoute};
use ringmq::wire::body::{from_bytes, to_standard_bytes};
use ringmq::wire::headers::namesrv::GetRoute;
use ringmq::wire::headers::offsets::{OffsetReply, QueueOf, SearchOffset};
use ringmq::wire::{
    Codec, FrameWriter, PullReply, PullRequest, Request, SendReply, SendRequest, Value,
};

/// No condition of these tests takes this long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A listener whose connections are served by a function, one thread each.
pub struct Peer {
    pub address: String,
    is_stopped: Arc<AtomicBool>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
}

/// Writes replies to one connection, also later and from elsewhere.
#[derive(Clone)]
pub struct Client(Arc<Mutex<TcpStream>>);

impl Client {
    pub fn write(&self, frame: &[u8]) {
        _ = self.0.lock().unwrap().write_all(frame);
    }

    pub fn hang_up(&self) {
        _ = self.0.lock().unwrap().shutdown(Shutdown::Both);
    }
}

impl Peer {
    pub fn start<S>(serve: impl Fn(&mut S, &Request<'_>, &Client) + Send + Sync + 'static) -> Self
    where
        S: Default + Send + 'static,
    {
        Self::start_at("127.0.0.1:0", serve)
    }

    pub fn start_at<S>(
        address: &str,
        serve: impl Fn(&mut S, &Request<'_>, &Client) + Send + Sync + 'static,
    ) -> Self
    where
        S: Default + Send + 'static,
    {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let (kept, serve) = (connections.clone(), Arc::new(serve));
        let is_stopped = Arc::new(AtomicBool::new(false));
        let is_over = is_stopped.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                kept.lock().unwrap().push(stream.try_clone().unwrap());
                let serve = serve.clone();
                thread::spawn(move || serve_connection(stream, &mut S::default(), &*serve));
            }
        });
        Self { address, is_stopped, connections }
    }

    /// Closes the listener and all connections.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::SeqCst);
        // Wakes the listener, and shows by its end that it is gone.
        let mut woken = TcpStream::connect(&self.address).unwrap();
        _ = woken.read(&mut [0]);
        self.drop_connections();
    }

    pub fn drop_connections(&self) {
        for stream in self.connections.lock().unwrap().drain(..) {
            _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn serve_connection<S>(
    mut stream: TcpStream,
    state: &mut S,
    serve: &impl Fn(&mut S, &Request<'_>, &Client),
) {
    let client = Client(Arc::new(Mutex::new(stream.try_clone().unwrap())));
    let (mut inbox, mut bytes) = (Vec::new(), [0; 4096]);
    while let Ok(len @ 1..) = stream.read(&mut bytes) {
        inbox.extend_from_slice(&bytes[..len]);
        while let Some((request, len)) = Request::read(&inbox).unwrap() {
            serve(state, &request, &client);
            inbox.drain(..len);
        }
    }
}

/// An address at which nobody listens.
pub fn dead_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

pub fn reply(
    request: &Request<'_>,
    code: i32,
    fields: impl FnOnce(&mut FrameWriter<'_>),
) -> Vec<u8> {
    reply_with(request.opaque, code, "", fields, b"")
}

pub fn refusal(request: &Request<'_>, code: i32, remark: &str) -> Vec<u8> {
    reply_with(request.opaque, code, remark, |_| {}, b"")
}

fn reply_with(
    opaque: i32,
    code: i32,
    remark: &str,
    fields: impl FnOnce(&mut FrameWriter<'_>),
    body: &[u8],
) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = FrameWriter::reply(&mut out, Codec::Json, opaque, code);
    if !remark.is_empty() {
        writer.remark(remark);
    }
    fields(&mut writer);
    writer.finish_with_body(body);
    out
}

/// A name server that knows what the test tells it.
pub struct NameServer {
    pub peer: Peer,
    routes: Arc<Mutex<HashMap<String, TopicRoute>>>,
}

impl NameServer {
    pub fn start() -> Self {
        let routes = Arc::new(Mutex::new(HashMap::<String, TopicRoute>::new()));
        let known = routes.clone();
        let peer = Peer::start(move |(): &mut (), request, client| {
            assert_eq!(request.code, 105);
            let topic = GetRoute::decode(&request.ext).unwrap().topic.text();
            client.write(&match known.lock().unwrap().get(&*topic) {
                Some(route) => reply_with(request.opaque, 0, "", |_| {}, &to_standard_bytes(route)),
                None => refusal(request, 17, "no such topic"),
            });
        });
        Self { peer, routes }
    }

    pub fn address(&self) -> Vec<String> {
        vec![self.peer.address.clone()]
    }

    /// Sets the route of a topic: brokers with names, addresses and so many queues.
    pub fn tell(&self, topic: &str, brokers: &[(&str, &str, i32)]) {
        let data = |(name, address, _): &(&str, &str, i32)| BrokerData {
            broker_addrs: [(0, (*address).to_owned())].into(),
            broker_name: (*name).to_owned(),
            cluster: "C".to_owned(),
            ..BrokerData::default()
        };
        let queues = |(name, _, queues): &(&str, &str, i32)| QueueData {
            broker_name: (*name).to_owned(),
            perm: 6,
            read_queue_nums: *queues,
            write_queue_nums: *queues,
            topic_sys_flag: 0,
        };
        let route = TopicRoute {
            broker_datas: brokers.iter().map(data).collect(),
            queue_datas: brokers.iter().map(queues).collect(),
            ..TopicRoute::default()
        };
        self.routes.lock().unwrap().insert(topic.to_owned(), route);
    }
}

/// A broker of one topic.
pub struct Broker {
    pub peer: Peer,
    shared: Arc<Shared>,
}

struct Shared {
    queues: Mutex<Queues>,
    changed: Condvar,
}

#[derive(Default)]
pub struct Queues {
    /// By queue: its records.
    records: Vec<Vec<Vec<u8>>>,
    held: Vec<Held>,
    /// What the next requests of a code are answered instead.
    refusals: Vec<(i32, i32, &'static str)>,
    /// Codes in the order they came.
    pub asked: Vec<i32>,
    pub sent: Vec<SentMessage>,
    pub heartbeats: Vec<Heartbeat>,
    /// Timestamps that were searched for.
    pub searched: Vec<i64>,
    /// Rules that the client broke.
    pub complaints: Vec<String>,
}

struct Held {
    client: Client,
    opaque: i32,
    queue: usize,
    offset: usize,
}

/// What a send brought.
#[derive(Clone, Debug)]
pub struct SentMessage {
    pub queue: i32,
    pub body: Vec<u8>,
    pub properties: Vec<u8>,
    pub group: String,
    pub topic: String,
    pub default_topic: String,
    pub default_queues: i32,
}

impl SentMessage {
    pub fn property(&self, key: &str) -> Option<String> {
        let value = properties::get(&self.properties, key.as_bytes())?;
        Some(String::from_utf8(value.to_vec()).unwrap())
    }
}

impl Broker {
    pub fn start(queues: usize) -> Self {
        Self::start_at("127.0.0.1:0", queues)
    }

    pub fn start_at(address: &str, queues: usize) -> Self {
        let queues = Queues { records: vec![Vec::new(); queues], ..Queues::default() };
        let shared = Arc::new(Shared { queues: Mutex::new(queues), changed: Condvar::new() });
        let own = shared.clone();
        let serve = move |is_known: &mut bool, request: &Request<'_>, client: &Client| {
            let mut queues = own.queues.lock().unwrap();
            queues.on_request(is_known, request, client);
            own.changed.notify_all();
        };
        Self { peer: Peer::start_at(address, serve), shared }
    }

    pub fn address(&self) -> &str {
        &self.peer.address
    }

    pub fn queues(&self) -> MutexGuard<'_, Queues> {
        self.shared.queues.lock().unwrap()
    }

    /// Adds a message to a queue, which may be a new one, and answers pulls held there.
    pub fn append(&self, queue: usize, body: &[u8], properties: &[u8]) {
        let mut queues = self.queues();
        while queues.records.len() <= queue {
            queues.records.push(Vec::new());
        }
        let offset = queues.records[queue].len();
        queues.records[queue].push(record(queue, offset, body, properties));
        queues.answer_held();
    }

    /// Adds bytes as if they were a message.
    pub fn append_raw(&self, queue: usize, record: Vec<u8>) {
        self.queues().records[queue].push(record);
    }

    pub fn forget_all(&self) {
        let mut queues = self.queues();
        queues.held.clear();
        queues.records.iter_mut().for_each(Vec::clear);
    }

    /// The next request of `code` is refused so.
    pub fn refuse_next(&self, code: i32, with: i32, remark: &'static str) {
        self.queues().refusals.push((code, with, remark));
    }

    pub fn wait_until(&self, is_met: impl Fn(&Queues) -> bool) {
        let queues = self.queues();
        let (_queues, timeout) = self
            .shared
            .changed
            .wait_timeout_while(queues, PATIENCE, |queues| !is_met(queues))
            .unwrap();
        assert!(!timeout.timed_out(), "the condition was never met");
    }

    pub fn wait_for_held(&self, pulls: usize) {
        self.wait_until(|queues| queues.held.len() == pulls);
    }

    /// Closes all connections; what was held on them is gone.
    pub fn drop_connections(&self) {
        let mut queues = self.queues();
        queues.held.clear();
        self.peer.drop_connections();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if !thread::panicking() {
            assert_eq!(self.queues().complaints, [] as [String; 0]);
        }
    }
}

impl Queues {
    fn on_request(&mut self, is_known: &mut bool, request: &Request<'_>, client: &Client) {
        if request.is_response() {
            self.asked.push(-request.code);
            return;
        }
        self.asked.push(request.code);
        if let Some(at) = self.refusals.iter().position(|(code, ..)| *code == request.code) {
            let (_, code, remark) = self.refusals.remove(at);
            return client.write(&refusal(request, code, remark));
        }
        match request.code {
            34 => {
                self.heartbeats.push(from_bytes(request.body).unwrap());
                *is_known = true;
                client.write(&reply(request, 0, |_| {}));
            }
            29 => {
                self.searched.push(SearchOffset::decode(&request.ext).unwrap().timestamp);
                self.answer_offset(request, client, 0);
            }
            30 => self.answer_offset(request, client, usize::MAX),
            31 => self.answer_offset(request, client, 0),
            11 => self.on_pull(*is_known, request, client),
            310 => self.on_send(request, client),
            code => self.complaints.push(format!("asked for {code}")),
        }
    }

    fn answer_offset(&self, request: &Request<'_>, client: &Client, most: usize) {
        let queue = QueueOf::decode(&request.ext).unwrap().queue_id as usize;
        let offset = self.records[queue].len().min(most) as i64;
        client.write(&reply(request, 0, |writer| OffsetReply { offset }.encode(writer)));
    }

    fn on_send(&mut self, request: &Request<'_>, client: &Client) {
        let send = SendRequest::decode(request).unwrap();
        let mut text = Vec::new();
        send.properties.unwrap().append_to(&mut text);
        self.sent.push(SentMessage {
            queue: send.queue_id,
            body: send.body.to_vec(),
            properties: text,
            group: send.producer_group.to_string(),
            topic: send.topic.to_string(),
            default_topic: send.default_topic.to_string(),
            default_queues: send.default_topic_queue_nums,
        });
        let offset = self.sent.iter().filter(|sent| sent.queue == send.queue_id).count() - 1;
        let header = SendReply {
            message_id: Value::of("7F00000100002A9F0000000000ABCDEF"),
            queue_id: send.queue_id,
            queue_offset: offset as i64,
            transaction_id: None,
            batch_unique_id: None,
            recall_handle: None,
            region: None,
            trace_on: None,
        };
        client.write(&reply(request, 0, |writer| header.encode(writer)));
    }

    fn on_pull(&mut self, is_known: bool, request: &Request<'_>, client: &Client) {
        let pull = PullRequest::decode(&request.ext).unwrap();
        // Hold me, and here is what I want: without a heartbeat first, brokers refuse.
        let is_right = is_known && pull.sys_flag == 6 && pull.suspend_timeout_millis > 0;
        if !is_right || pull.subscription.is_none_or(|subscription| subscription != "*") {
            self.complaints.push(format!("{pull:?} of a known client: {is_known}"));
        }
        self.held.push(Held {
            client: client.clone(),
            opaque: request.opaque,
            queue: pull.queue_id as usize,
            offset: pull.queue_offset as usize,
        });
        self.answer_held();
    }

    fn answer_held(&mut self) {
        for held in std::mem::take(&mut self.held) {
            let records = &self.records[held.queue];
            if held.offset == records.len() {
                self.held.push(held);
                continue;
            }
            // Two at most, so that there is more to pull.
            let next = records.len().min(held.offset + 2);
            let (code, next) = if held.offset > records.len() { (21, 0) } else { (0, next) };
            let header = PullReply {
                suggest_which_broker_id: 0,
                next_begin_offset: next as i64,
                min_offset: 0,
                max_offset: records.len() as i64,
                offset_delta: None,
                topic_sys_flag: None,
                group_sys_flag: None,
                forbidden_type: None,
            };
            let body = records.get(held.offset..next).unwrap_or_default().concat();
            let fields = |writer: &mut FrameWriter<'_>| header.encode(writer);
            held.client.write(&reply_with(held.opaque, code, "", fields, &body));
        }
    }
}

/// A stored message as a pull reply carries it.
pub fn record(queue: usize, offset: usize, body: &[u8], properties: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 4];
    out.extend(0xdaa3_20a7_u32.to_be_bytes());
    out.extend(crc32fast::hash(body).to_be_bytes());
    out.extend((queue as u32).to_be_bytes());
    out.extend([0; 4]);
    out.extend((offset as u64).to_be_bytes());
    out.extend([0; 8 + 4 + 8]);
    out.extend([127, 0, 0, 1, 0, 0, 0, 1]);
    out.extend([0; 8]);
    out.extend([127, 0, 0, 1, 0, 0, 0, 1]);
    out.extend([0; 4 + 8]);
    out.extend((body.len() as u32).to_be_bytes());
    out.extend(body);
    out.extend(b"\x01T");
    out.extend((properties.len() as u16).to_be_bytes());
    out.extend(properties);
    let total = (out.len() as u32).to_be_bytes();
    out[..4].copy_from_slice(&total);
    out
}

/// An output whose lines a test can wait for.
pub struct Lines {
    lines: Sender<String>,
    begun: Vec<u8>,
}

impl Lines {
    pub fn new() -> (Self, Receiver<String>) {
        let (lines, receiver) = mpsc::channel();
        (Self { lines, begun: Vec::new() }, receiver)
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            if *byte == b'\n' {
                let line = String::from_utf8(std::mem::take(&mut self.begun)).unwrap();
                self.lines.send(line).map_err(|_| io::ErrorKind::BrokenPipe)?;
            } else {
                self.begun.push(*byte);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The next line; the test fails when none comes.
pub fn next(lines: &Receiver<String>) -> String {
    lines.recv_timeout(PATIENCE).expect("a line was to come")
}
