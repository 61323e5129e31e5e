//! Serves a name server over TCP on the control thread: connections, their limits and
//! their ends. What a request means is `namesrv`'s.
//!
//! A connection is one task that answers what it has received before it reads on, so a
//! peer that does not take its replies delays only itself.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io, mem};

use nix::sys::socket::{Backlog, Shutdown, listen, shutdown};
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_uring::net::{TcpListener, TcpStream};
use tracing::{debug, info, warn};

use super::clock::Clock;
use super::frames::{Broken, Budget, FrameReader, Socket};
use super::kept_values::KeptValues;
use super::metadata::{Loaded, Metadata, MetadataError, Outcome, Ticket};
use super::signals::Signals;
use crate::base::limits::{
    CONTROL_BACKLOG_BYTES_MAX, CONTROL_BUFFER_BYTES_MAX, CONTROL_CONNECTIONS_MAX,
};
use crate::namesrv::{ConnId, NameServer, Options, ValueChange};
use crate::wire::code::response;
use crate::wire::{Codec, FrameWriter};

/// Connections that the kernel completes before they are accepted.
const ACCEPT_QUEUE: i32 = 4096;
/// Silence after which a connection is closed, as clients close theirs.
const IDLE: Duration = Duration::from_secs(120);
/// How long a peer may take none of a reply.
const WRITE_STALL: Duration = Duration::from_secs(30);
/// How long a change of a value may take to become durable.
const KEEP_TIMEOUT: Duration = Duration::from_secs(5);
/// How often silent brokers are looked for, at the latest.
const EXPIRY_PERIOD: Duration = Duration::from_secs(1);
/// How long connections may take to end once they are told to.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Makes changes of values durable; the receiver tells when, or why not.
pub type Keep = Box<dyn Fn(Vec<ValueChange>) -> oneshot::Receiver<Result<(), String>>>;

/// Where `ringmq namesrv` listens, and where it keeps values.
#[derive(Clone, Debug)]
pub struct AloneOptions {
    pub listen: Ipv4Addr,
    /// 0 takes a free one.
    pub port: u16,
    pub data_dir: PathBuf,
}

/// Its one file. A broker has none of this name, should both be given one directory.
const FILE: &str = "namesrv.redb";

/// A name server that accepts connections until it is told to stop.
pub struct NameServerService {
    shared: Rc<Shared>,
    listener: StdListener,
}

struct Shared {
    value: RefCell<NameServer>,
    clock: Clock,
    keep: Option<Keep>,
    sockets: RefCell<HashMap<ConnId, Rc<Socket>>>,
    next_conn: Cell<u64>,
    budget: Rc<Budget>,
}

/// A change that could not be kept, and why: the reply says so.
struct NotKept(String);

impl NameServerService {
    /// Takes the port, so that it is known, and taken, before anything is served.
    pub fn bind(addr: SocketAddr) -> io::Result<StdListener> {
        StdListener::bind(addr)
    }

    /// `restored`: namespace, key and value of what was kept in earlier lives.
    pub fn new(
        listener: StdListener,
        options: Options,
        restored: impl IntoIterator<Item = (String, String, String)>,
        keep: Option<Keep>,
    ) -> Self {
        let clock = Clock::start();
        let mut value = NameServer::new(options, clock.now());
        for (namespace, key, kept) in restored {
            value.restore(&namespace, &key, &kept);
        }
        let shared = Shared {
            value: RefCell::new(value),
            clock,
            keep,
            sockets: RefCell::default(),
            next_conn: Cell::new(0),
            budget: Budget::new(CONTROL_BUFFER_BYTES_MAX),
        };
        Self { shared: Rc::new(shared), listener }
    }

    pub fn addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` becomes true, then closes everything. On a tokio-uring runtime.
    pub async fn serve(self, mut stop: watch::Receiver<bool>) -> io::Result<()> {
        let Self { shared, listener } = self;
        // std's own queue is short: of a cluster's clients that come back all at once,
        // many would lose their first attempt, and with it a second.
        listen(&listener, Backlog::new(ACCEPT_QUEUE)?)?;
        let accepting = TcpListener::from_std(listener.try_clone()?);
        let accept = tokio_uring::spawn(accept_all(Rc::clone(&shared), accepting));
        let expiry = tokio_uring::spawn(expire(Rc::clone(&shared)));
        // A sender that is gone cannot say more: that is a stop as well.
        let _ = stop.wait_for(|stop| *stop).await;
        // Ends the accept that the kernel still holds, and with it the port.
        let _ = shutdown(listener.as_raw_fd(), Shutdown::Both);
        drop(listener);
        expiry.abort();
        let _ = timeout(STOP_TIMEOUT, accept).await;
        shared.sockets.borrow().values().for_each(|socket| socket.close());
        let all_ended = async {
            while !shared.sockets.borrow().is_empty() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let _ = timeout(STOP_TIMEOUT, all_ended).await;
        Ok(())
    }
}

/// Runs a name server alone until SIGTERM or SIGINT; prints where it listens. The error
/// says what to do.
pub fn serve_alone(options: &AloneOptions) -> Result<(), String> {
    let signals = Signals::watch().map_err(|error| format!("cannot watch signals: {error}"))?;
    let AloneOptions { listen, port, data_dir } = options;
    let listener = NameServerService::bind((*listen, *port).into()).map_err(|error| {
        format!(
            "the name server cannot listen on {listen}:{port}: {error}; end what listens there, \
             or give another --port"
        )
    })?;
    let (metadata, loaded) = open_values(data_dir)?;
    let values = Arc::new(KeptValues::default());
    let deliver = {
        let values = Arc::clone(&values);
        move |ticket: Ticket, result: Result<Outcome, MetadataError>| {
            values.on_stored(ticket.token, result.map(drop).map_err(|error| error.to_string()));
        }
    };
    let metadata =
        metadata.start(deliver).map_err(|error| format!("cannot start a thread: {error}"))?;
    let restored = loaded.values.into_iter().map(|((space, key), value)| (space, key, value));
    let keep = values.keep(metadata.handle());
    let served = listen_and_serve(listener, restored, keep, signals.stopping());
    metadata.close();
    served.map_err(|error| format!("the name server: {error}"))
}

fn listen_and_serve(
    listener: StdListener,
    restored: impl IntoIterator<Item = (String, String, String)>,
    keep: Keep,
    stopping: watch::Receiver<bool>,
) -> io::Result<()> {
    let addr = listener.local_addr()?;
    let runtime = tokio_uring::Runtime::new(&tokio_uring::builder())?;
    runtime.block_on(async {
        let service = NameServerService::new(listener, Options::default(), restored, Some(keep));
        println!("ready namesrv {addr}");
        let served = service.serve(stopping).await;
        info!("the name server has stopped");
        served
    })
}

fn open_values(data_dir: &Path) -> Result<(Metadata, Loaded), String> {
    let shown = data_dir.display();
    let parent = data_dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let made = fs::create_dir_all(data_dir).and_then(|()| fs::File::open(parent)?.sync_all());
    made.map_err(|error| {
        format!("cannot make {shown}, where values are kept: {error}; give another --data-dir")
    })?;
    Metadata::open(&data_dir.join(FILE), 0).map_err(|error| {
        format!(
            "{error} ({}); end the name server that uses {shown}, or give another --data-dir",
            data_dir.join(FILE).display()
        )
    })
}

async fn accept_all(shared: Rc<Shared>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => shared.welcome(stream, peer),
            // What a shut-down listener answers.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
            Err(error) => {
                warn!("the name server cannot accept a connection: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn expire(shared: Rc<Shared>) {
    loop {
        let now = shared.clock.now();
        let expired = shared.value.borrow_mut().expire(now);
        for conn in expired {
            info!("a broker was silent for too long and is dropped");
            if let Some(socket) = shared.sockets.borrow().get(&conn) {
                socket.close();
            }
        }
        let deadline = shared.value.borrow().next_deadline().unwrap_or(u64::MAX);
        let wait = Duration::from_micros(deadline.saturating_sub(now.mono_us));
        sleep(wait.clamp(Duration::from_millis(1), EXPIRY_PERIOD)).await;
    }
}

impl Shared {
    fn welcome(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr) {
        let socket = Socket::new(stream, &self.budget);
        if self.sockets.borrow().len() >= CONTROL_CONNECTIONS_MAX {
            warn!("{peer} is turned away: {CONTROL_CONNECTIONS_MAX} connections are the limit");
            return;
        }
        let conn = ConnId(self.next_conn.get());
        self.next_conn.set(conn.0 + 1);
        self.sockets.borrow_mut().insert(conn, Rc::clone(&socket));
        let shared = Rc::clone(self);
        tokio_uring::spawn(async move {
            match shared.converse(conn, &socket).await {
                Ok(()) => debug!("{peer} has left"),
                Err(Broken::Io(error)) => debug!("{peer} was lost: {error}"),
                Err(broken) => warn!("{peer} is disconnected: {broken}"),
            }
            shared.sockets.borrow_mut().remove(&conn);
            shared.value.borrow_mut().on_closed(conn);
        });
    }

    async fn converse(&self, conn: ConnId, socket: &Rc<Socket>) -> Result<(), Broken> {
        let mut reader = FrameReader::new(socket);
        let mut out = Vec::new();
        loop {
            while self.answer_next(conn, &mut reader, &mut out).await? {
                if out.len() >= CONTROL_BACKLOG_BYTES_MAX {
                    out = socket.write(mem::take(&mut out), WRITE_STALL).await?;
                }
            }
            out = socket.write(mem::take(&mut out), WRITE_STALL).await?;
            let filled = timeout(IDLE, reader.fill()).await.map_err(|_| Broken::Silent(IDLE))?;
            if !filled? {
                return Ok(());
            }
        }
    }

    /// Answers one request, if a whole one was received. A change of a value is
    /// durable before its reply leaves.
    async fn answer_next(
        &self,
        conn: ConnId,
        reader: &mut FrameReader,
        out: &mut Vec<u8>,
    ) -> Result<bool, Broken> {
        let before = out.len();
        let (changes, codec, opaque): (_, Codec, i32) = {
            let Some(request) = reader.next()? else { return Ok(false) };
            let mut value = self.value.borrow_mut();
            value.handle(conn, &request, self.clock.now(), out);
            (value.take_changes(), request.codec, request.opaque)
        };
        if !changes.is_empty()
            && let Err(NotKept(cause)) = self.keep(changes).await
            && out.len() > before
        {
            out.truncate(before);
            let remark = format!("in force until the name server restarts, but not kept: {cause}");
            FrameWriter::reply(out, codec, opaque, response::SYSTEM_ERROR)
                .remark(&remark)
                .finish(0);
        }
        Ok(true)
    }

    async fn keep(&self, changes: Vec<ValueChange>) -> Result<(), NotKept> {
        let Some(keep) = &self.keep else {
            warn!("a value was changed: this name server keeps it only until it ends");
            return Ok(());
        };
        match timeout(KEEP_TIMEOUT, keep(changes)).await {
            Ok(Ok(kept)) => kept.map_err(NotKept),
            Ok(Err(_)) => Err(NotKept("whoever keeps values has ended".to_owned())),
            Err(_) => Err(NotKept(format!("no answer within {} s", KEEP_TIMEOUT.as_secs()))),
        }
    }
}
