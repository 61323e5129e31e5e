//! One shard's connection to one name server, kept up for as long as the shard runs.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_uring::net::TcpStream;
use tracing::{debug, info, warn};

use super::{LinkState, Reached, Registration, body};
use crate::base::checksum::body_crc;
use crate::control::frames::{Broken, Budget, FrameReader, Socket};
use crate::wire::code::{request, response};
use crate::wire::headers::namesrv::{BrokerOf, RegisterBroker};
use crate::wire::{Codec, FrameWriter, Value};

/// How often a shard registers though nothing has changed; name servers forget it
/// after four times as long.
const PERIOD: Duration = Duration::from_secs(30);
/// How long a connection or a reply may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// How long taking a shard back may take when the process ends.
const UNREGISTER_TIMEOUT: Duration = Duration::from_secs(1);
/// Between attempts, doubled from one to the other.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

pub(super) struct Link {
    /// "host:port", resolved anew for every connection.
    pub name_server: String,
    pub newest: watch::Receiver<Arc<Registration>>,
    pub stop: watch::Receiver<bool>,
    pub reached: Rc<Reached>,
    /// Which of its shard's links this is.
    pub index: usize,
    pub budget: Rc<Budget>,
}

/// Why a link has ended for now.
enum Ended {
    Stopped,
    Lost(Lost),
}

#[derive(Debug)]
enum Lost {
    Unresolved(String),
    Connect(std::io::Error),
    Broken(Broken),
    Closed,
    NoReply(i32),
    Refused { code: i32, remark: String },
    TooLarge(usize),
}

/// Requests to a name server, one at a time.
struct Caller {
    socket: Rc<Socket>,
    replies: mpsc::Receiver<Reply>,
    opaque: i32,
}

struct Reply {
    opaque: i32,
    code: i32,
    remark: String,
    body: Vec<u8>,
}

/// The order values that a name server tells with each registration.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ValueTable {
    table: BTreeMap<String, String>,
}

impl Link {
    /// Connects, registers, and begins again, until the process stops.
    pub async fn run(mut self) {
        let mut pause = PAUSE_MIN;
        let mut is_told = false;
        while !*self.stop.borrow() {
            let ended = self.connect_and_register(&mut pause, &mut is_told).await;
            self.reached.set(self.index, LinkState::Unreachable);
            let Ended::Lost(lost) = ended else { return };
            let name_server = &self.name_server;
            if is_told {
                debug!("name server {name_server}: {lost}; trying again");
            } else {
                warn!("name server {name_server}: {lost}; trying until it answers");
                is_told = true;
            }
            tokio::select! {
                _ = self.stop.wait_for(|stop| *stop) => return,
                () = sleep(pause) => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn connect_and_register(&mut self, pause: &mut Duration, is_told: &mut bool) -> Ended {
        let mut stop = self.stop.clone();
        let connected = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return Ended::Stopped,
            connected = Caller::connect(&self.name_server, &self.budget) => connected,
        };
        match connected {
            Err(lost) => Ended::Lost(lost),
            Ok(mut caller) => {
                let ended = self.keep_registered(&mut caller, pause, is_told).await;
                caller.socket.close();
                ended
            }
        }
    }

    async fn keep_registered(
        &mut self,
        caller: &mut Caller,
        pause: &mut Duration,
        is_told: &mut bool,
    ) -> Ended {
        let mut told_orders = None;
        loop {
            let newest = Arc::clone(&self.newest.borrow_and_update());
            match caller.register(&newest).await {
                Err(lost) => return Ended::Lost(lost),
                Ok(orders) => keep_orders(&mut told_orders, orders),
            }
            self.reached.set(self.index, LinkState::Registered(newest.data_version.counter));
            *pause = PAUSE_MIN;
            if std::mem::take(is_told) {
                info!("name server {} knows {} again", self.name_server, newest.broker_name);
            }
            tokio::select! {
                _ = self.stop.wait_for(|stop| *stop) => {
                    return caller.unregister(&newest).await;
                }
                () = caller.closed() => return Ended::Lost(Lost::Closed),
                // Without a sender nothing changes any more; the period goes on.
                Ok(()) = self.newest.changed() => {}
                () = sleep(PERIOD) => {}
            }
        }
    }
}

/// Order values are said once when they change. Nothing depends on them yet.
fn keep_orders(told: &mut Option<BTreeMap<String, String>>, orders: BTreeMap<String, String>) {
    if !orders.is_empty() && told.as_ref() != Some(&orders) {
        debug!("the name server keeps an order of queues for {} topics", orders.len());
        *told = Some(orders);
    }
}

impl Caller {
    async fn connect(name_server: &str, budget: &Rc<Budget>) -> Result<Self, Lost> {
        let addr = resolve(name_server).await?;
        let connecting = timeout(REQUEST_TIMEOUT, TcpStream::connect(addr)).await;
        let stream = connecting
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
            .map_err(Lost::Connect)?;
        let socket = Socket::new(stream, budget);
        let (sender, replies) = mpsc::channel(4);
        tokio_uring::spawn(receive(FrameReader::new(&socket), sender));
        Ok(Self { socket, replies, opaque: 0 })
    }

    async fn register(
        &mut self,
        registration: &Registration,
    ) -> Result<BTreeMap<String, String>, Lost> {
        let mut orders = ValueTable::default();
        for body in body::parts(registration) {
            let header = RegisterBroker {
                broker_name: Value::of(&registration.broker_name),
                broker_addr: Value::of(&registration.broker_addr),
                cluster_name: Value::of(&registration.cluster),
                ha_server_addr: Some(Value::of(&registration.ha_addr)),
                broker_id: registration.broker_id,
                heartbeat_timeout_millis: None,
                enable_acting_master: Some(false),
                compressed: false,
                body_crc32: Some(body_crc(&body) as i32),
                zone_name: None,
            };
            let write = |writer: &mut FrameWriter<'_>| header.encode(writer);
            let reply = self.ask(request::REGISTER_BROKER, write, &body).await?;
            // What does not parse is as good as absent.
            orders = serde_json::from_slice(&reply.body).unwrap_or_default();
        }
        Ok(orders.table)
    }

    async fn unregister(&mut self, registration: &Registration) -> Ended {
        let header = BrokerOf {
            broker_name: Value::of(&registration.broker_name),
            broker_addr: Value::of(&registration.broker_addr),
            cluster_name: Value::of(&registration.cluster),
            broker_id: registration.broker_id,
        };
        let write = |writer: &mut FrameWriter<'_>| header.encode(writer);
        let asking = self.ask(request::UNREGISTER_BROKER, write, b"");
        // If it fails, the closing connection says the same.
        if let Ok(Err(lost)) = timeout(UNREGISTER_TIMEOUT, asking).await {
            debug!("{} could not be taken back: {lost}", registration.broker_name);
        }
        Ended::Stopped
    }

    /// Sends a request and waits for its reply; a refusal is an error.
    async fn ask(
        &mut self,
        code: i32,
        write: impl FnOnce(&mut FrameWriter<'_>),
        body: &[u8],
    ) -> Result<Reply, Lost> {
        self.opaque = self.opaque.wrapping_add(1);
        let mut frame = Vec::new();
        let mut writer = FrameWriter::request(&mut frame, Codec::Json, self.opaque, code, false);
        write(&mut writer);
        if !writer.finish(body.len()) {
            return Err(Lost::TooLarge(body.len()));
        }
        frame.extend_from_slice(body);
        self.socket.write(frame, REQUEST_TIMEOUT).await.map_err(Lost::Broken)?;
        let reply = timeout(REQUEST_TIMEOUT, self.reply()).await;
        let reply = reply.map_err(|_| Lost::NoReply(code))?.ok_or(Lost::Closed)?;
        match reply.code {
            response::SUCCESS => Ok(reply),
            code => Err(Lost::Refused { code, remark: reply.remark }),
        }
    }

    async fn reply(&mut self) -> Option<Reply> {
        loop {
            let reply = self.replies.recv().await?;
            if reply.opaque == self.opaque {
                return Some(reply);
            }
        }
    }

    /// Returns when the name server has closed the connection.
    async fn closed(&mut self) {
        while self.replies.recv().await.is_some() {}
    }
}

/// Hands on replies until the connection ends. What a name server asks brokers (905)
/// is one-way, and passed over.
async fn receive(mut reader: FrameReader, replies: mpsc::Sender<Reply>) {
    loop {
        loop {
            let reply = match reader.next() {
                Err(broken) => {
                    debug!("a name server's reply cannot be read: {broken}");
                    return;
                }
                Ok(None) => break,
                Ok(Some(frame)) if !frame.is_response() => continue,
                Ok(Some(frame)) => Reply {
                    opaque: frame.opaque,
                    code: frame.code,
                    remark: frame.remark.map_or(String::new(), |text| text.text().into_owned()),
                    body: frame.body.to_vec(),
                },
            };
            if replies.send(reply).await.is_err() {
                return;
            }
        }
        if !matches!(reader.fill().await, Ok(true)) {
            return;
        }
    }
}

/// The first address, IPv4 preferred. Asking a resolver may block, so a helper does it.
async fn resolve(name_server: &str) -> Result<SocketAddr, Lost> {
    if let Ok(addr) = name_server.parse() {
        return Ok(addr);
    }
    let name = name_server.to_owned();
    let found = tokio::task::spawn_blocking(move || {
        name.to_socket_addrs().map(|addrs| addrs.min_by_key(|addr| addr.is_ipv6()))
    });
    match found.await {
        Ok(Ok(Some(addr))) => Ok(addr),
        Ok(Ok(None)) => Err(Lost::Unresolved("no address".to_owned())),
        Ok(Err(error)) => Err(Lost::Unresolved(error.to_string())),
        Err(error) => Err(Lost::Unresolved(error.to_string())),
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved(cause) => write!(f, "the name cannot be resolved: {cause}"),
            Self::Connect(error) => write!(f, "cannot be connected to: {error}"),
            Self::Broken(broken) => write!(f, "the connection broke: {broken}"),
            Self::Closed => write!(f, "it closed the connection"),
            Self::NoReply(code) => {
                write!(f, "no reply to {code} within {} s", REQUEST_TIMEOUT.as_secs())
            }
            Self::Refused { code, remark } => write!(f, "refused with code {code}: {remark}"),
            Self::TooLarge(bytes) => write!(f, "a registration of {bytes} bytes fits no frame"),
        }
    }
}
