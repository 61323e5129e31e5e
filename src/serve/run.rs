//! The control thread of `ringmq serve`: the embedded name server, registration with
//! name servers, the node, and the way to the end.

use std::collections::HashMap;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{error, info};

use super::node::{Node, Notice, Publisher};
use super::{Addressed, Serving, Table, ports, start};
use crate::base::metadata::DataVersion;
use crate::base::topic::TopicConfig;
use crate::config::{Config, NameServers};
use crate::control::kept_values::KeptValues;
use crate::control::name_server::NameServerService;
use crate::control::registration::{Registrar, Registration};
use crate::control::signals::Signals;
use crate::engine::Letter;
use crate::log::ChainEnd;
use crate::namesrv::Options;

/// After the name servers have dropped the shards, clients are served this much longer.
const GRACE: Duration = Duration::from_secs(1);
/// How long shards may take to write and flush what they have.
const STOP_MAX: Duration = Duration::from_secs(30);

/// How long a version is waited for before the waiting is given up.
const PUBLISH_WAIT_MAX: Duration = Duration::from_secs(120);

/// How shards have ended.
type Ends = HashMap<u16, Result<ChainEnd, String>>;

/// Serves until a signal asks to end. The error says what to do.
pub fn run(config: &Config) -> Result<(), String> {
    let signals = Signals::watch().map_err(|error| format!("cannot watch signals: {error}"))?;
    let embedded = match &config.name_servers {
        NameServers::Embedded { port } => Some(take_name_server_port(config.listen, *port)?),
        NameServers::External(_) => None,
    };
    let servers = match (&config.name_servers, &embedded) {
        (NameServers::External(servers), _) => servers.clone(),
        (_, Some(listener)) => {
            let port = listener.local_addr().map_err(|error| error.to_string())?.port();
            vec![format!("{}:{port}", config.advertise)]
        }
        (NameServers::Embedded { .. }, None) => unreachable!("the port was taken"),
    };
    let (sender, notices) = mpsc::unbounded_channel();
    let serving = start(config, &servers.join(";"), sender.clone())?;
    let runtime = tokio_uring::Runtime::new(&tokio_uring::builder())
        .map_err(|error| format!("cannot start the control thread: {error}"))?;
    let stopping = signals.stopping();
    let ended = runtime.block_on(async {
        control(config, &serving, embedded, servers, (sender, notices), stopping).await
    })?;
    let finished = serving.finish(&ended);
    if finished.is_ok() {
        info!("stopped cleanly");
    }
    finished
}

/// Everything that happens on the control thread, until all shards have ended.
async fn control(
    config: &Config,
    serving: &Serving,
    embedded: Option<TcpListener>,
    servers: Vec<String>,
    (sender, mut notices): (mpsc::UnboundedSender<Notice>, mpsc::UnboundedReceiver<Notice>),
    mut stopping: watch::Receiver<bool>,
) -> Result<Ends, String> {
    let kept_values = Arc::new(KeptValues::default());
    let (name_server_stop, stop) = watch::channel(false);
    let name_server = embedded.map(|listener| {
        let values = serving.loaded_values.iter();
        let values: Vec<_> = values
            .map(|((space, key), value)| (space.clone(), key.clone(), value.clone()))
            .collect();
        let keep = kept_values.keep(serving.metadata.handle());
        let service = NameServerService::new(listener, Options::default(), values, Some(keep));
        tokio_uring::spawn(service.serve(stop))
    });
    let shards = serving.shards.iter().map(|shard| (shard.courier.clone(), shard.seat)).collect();
    let publisher = ShardPublisher::start(&servers, serving.shards.clone(), sender);
    let mut node = Node::new(serving.metadata.handle(), shards, publisher);
    say_ready(config, serving, &servers);

    let mut ended = Ends::new();
    loop {
        tokio::select! {
            notice = notices.recv() => match notice {
                Some(Notice::Ended { shard, result }) => {
                    // Nobody has asked it to end: the others do not go on without it.
                    note_end(&mut ended, shard, result);
                    break;
                }
                Some(notice) => tell(&mut node, &kept_values, notice),
                None => break,
            },
            _ = stopping.wait_for(|stop| *stop) => break,
        }
    }
    info!("stopping: leaving the name servers");
    node.publisher().registrar.leave().await;
    drain(serving, &mut node, &kept_values, &mut notices, &mut ended).await;
    name_server_stop.send_replace(true);
    if let Some(name_server) = name_server {
        let _ = timeout(Duration::from_secs(3), name_server).await;
    }
    Ok(ended)
}

/// Serves a while longer, then ends all shards.
async fn drain(
    serving: &Serving,
    node: &mut Node<ShardPublisher>,
    values: &KeptValues,
    notices: &mut mpsc::UnboundedReceiver<Notice>,
    ended: &mut Ends,
) {
    let grace = Instant::now() + GRACE;
    let mut told = false;
    let last = grace + STOP_MAX;
    while ended.len() < serving.shards.len() {
        let until = if told { last } else { grace };
        tokio::select! {
            notice = notices.recv() => match notice {
                Some(Notice::Ended { shard, result }) => note_end(ended, shard, result),
                Some(notice) => tell(node, values, notice),
                None => return,
            },
            () = sleep_until(until) => {
                if told {
                    error!("shards did not end within {STOP_MAX:?}");
                    return;
                }
                told = true;
                for shard in &serving.shards {
                    shard.courier.post(shard.seat, Letter::Drain);
                    shard.courier.post(shard.seat, Letter::Stop);
                }
            }
        }
    }
}

fn note_end(ended: &mut Ends, shard: u16, result: Result<ChainEnd, String>) {
    if let Err(why) = &result {
        error!(shard, why, "a shard has not ended well");
    }
    ended.insert(shard, result);
}

fn tell(node: &mut Node<ShardPublisher>, values: &KeptValues, notice: Notice) {
    match notice {
        Notice::Effect { shard, effect } => node.on_effect(shard, effect),
        Notice::Stored { ticket, result } if ticket.party == KeptValues::PARTY => {
            values.on_stored(ticket.token, result.map(|_| ()));
        }
        Notice::Stored { ticket, result } => node.on_stored(ticket, result),
        Notice::Published { shard, version } => node.on_published(shard, version),
        Notice::Ended { .. } => unreachable!("handled before"),
    }
}

/// Registers shards, and reports when their topics are known.
struct ShardPublisher {
    registrar: Registrar,
    shards: Vec<Addressed>,
    sender: mpsc::UnboundedSender<Notice>,
}

impl ShardPublisher {
    fn start(
        servers: &[String],
        shards: Vec<Addressed>,
        sender: mpsc::UnboundedSender<Notice>,
    ) -> Self {
        let first = shards.iter().map(|shard| registration(shard, shard.table.clone())).collect();
        let registrar = Registrar::start(servers, first);
        let publisher = Self { registrar, shards, sender };
        for (at, shard) in publisher.shards.iter().enumerate() {
            publisher.report(at as u16, shard.table.0);
        }
        publisher
    }

    /// Sends a notice once all reachable name servers know the version.
    fn report(&self, shard: u16, version: DataVersion) {
        let mut published = self.registrar.published(usize::from(shard));
        let sender = self.sender.clone();
        tokio_uring::spawn(async move {
            if published.wait(version.counter, PUBLISH_WAIT_MAX).await {
                let _ = sender.send(Notice::Published { shard, version });
            }
        });
    }
}

impl Publisher for ShardPublisher {
    fn publish(&mut self, shard: u16, version: DataVersion, topics: Vec<TopicConfig>) {
        let own = &self.shards[usize::from(shard)];
        let updater = self.registrar.updater(usize::from(shard));
        updater.update(registration(own, (version, topics)));
        self.report(shard, version);
    }
}

fn registration(shard: &Addressed, (version, topics): Table) -> Registration {
    Registration {
        cluster: shard.cluster.clone(),
        broker_name: shard.name.clone(),
        broker_addr: shard.address.to_string(),
        ha_addr: shard.address.to_string(),
        broker_id: 0,
        data_version: version,
        topics: Arc::new(topics),
    }
}

fn take_name_server_port(listen: Ipv4Addr, port: u16) -> Result<TcpListener, String> {
    ports::listen(listen, port).map_err(|error| {
        format!(
            "the name server cannot listen on {listen}:{port}: {error}; end what listens there, \
             give another --namesrv-port, or name the servers to use with --namesrv"
        )
    })
}

/// The one line on standard output: everything accepts from here on.
fn say_ready(config: &Config, serving: &Serving, servers: &[String]) {
    let shards: Vec<String> =
        serving.shards.iter().map(|shard| format!("{}={}", shard.name, shard.address)).collect();
    let data = absolute(&config.data_dir);
    println!("ready namesrv={} {} data={data}", servers.join(";"), shards.join(","));
    // Whoever waits for the line reads a pipe.
    let _ = std::io::stdout().flush();
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}
