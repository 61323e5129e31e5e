//! `ringmq serve`: from a checked configuration to threads that run, and back.

mod arena;
mod boot;
mod echo;
mod node;
mod ports;
mod profile;
mod run;
mod writes;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc::UnboundedSender;
use tracing::{info, warn};

use crate::base::metadata::{DataVersion, TopicRecord};
use crate::base::options::BrokerOptions;
use crate::base::topic::TopicConfig;
use crate::base::{LogOffset, names};
use crate::config::{Config, FlushChoice, PortPair, ShardIdentity};
use crate::control::metadata::{
    Change, Loaded, Metadata, MetadataHandle, MetadataThread, OffsetEntry, Outcome, Ticket,
};
use crate::engine::files::{Choice, DataDirectory, directory, disk, small};
use crate::engine::helper::Helper;
use crate::engine::{Courier, DataThread, IndexTask, Outbox, Timing, mailbox};
use crate::log::retention::{DiskUse, RetentionConfig};
use crate::log::run_mark::{BootId, RunMark};
use crate::log::{ChainEnd, FlushMethod};
use crate::reactor::{
    ArenaPlace, Ring, RingConfig, raise_locked_memory, raise_open_files, stop_at_sigbus,
};
use arena::remove_arena;
use boot::{Keeper, ShardPlan, boot};
pub use echo::echo;
use node::Notice;
use profile::Profiled;
pub use run::run;

/// A node whose shards all serve.
struct Serving {
    pub directory: Arc<DataDirectory>,
    pub metadata: MetadataThread,
    pub loaded_values: std::collections::BTreeMap<(String, String), String>,
    pub shards: Vec<Addressed>,
    threads: Vec<JoinHandle<Result<(), String>>>,
    helper: Arc<Helper<IndexTask>>,
    arenas: ArenaPlace,
    boot: BootId,
}

/// A shard as the outside sees it.
#[derive(Clone)]
struct Addressed {
    pub cluster: String,
    pub name: String,
    pub address: SocketAddrV4,
    pub courier: Courier,
    pub seat: usize,
    /// Its topics at start.
    pub table: Table,
}

/// A shard's topics and their version.
type Table = (DataVersion, Vec<TopicConfig>);

/// A shard's ports, taken before anything is started.
struct Ports {
    main: u16,
    listeners: Vec<TcpListener>,
}

/// Starts everything that `config` asks for. `name_servers` is what tools are shown;
/// `notices` is where shards and metadata
/// write to. The error says what to do.
fn start(
    config: &Config,
    name_servers: &str,
    notices: UnboundedSender<Notice>,
) -> Result<Serving, String> {
    let start_ms = unix_ms();
    if let Err(error) = stop_at_sigbus() {
        warn!(%error, "a mapped file that is cut short will end this process without a word");
    }
    if let Err(error) = raise_open_files() {
        warn!(%error, "the limit of open files stays where it is");
    }
    // Without more locked memory the arena is not registered, which is said then.
    let _ = raise_locked_memory();
    let mut directory = DataDirectory::open(&config.data_dir, &config.wanted, directory::PATIENCE)
        .map_err(|error| error.to_string())?;
    writes::settle(config.write, &mut directory)?;
    let directory = Arc::new(directory);
    let identity = directory.identity().clone();
    let plan = config.plan(identity.shards).map_err(|error| error.to_string())?;
    let mut ports = Vec::new();
    for pair in &plan.ports {
        ports.push(take_ports(config.listen, *pair)?);
    }
    let boot_id = BootId(disk::boot_id().map_err(|error| error.to_string())?);
    let profiled = Profiled::load(directory.path());
    let flush_method = flush_method(config, &directory, &profiled)?;
    let (metadata, mut loaded) = Metadata::open(&directory.metadata_path(), identity.shards)
        .map_err(|error| error.to_string())?;
    let (answers, answered) = channel();
    let metadata = {
        let notices = notices.clone();
        let deliver = move |ticket: Ticket, result| {
            if ticket.party == START {
                // The start waits for it; afterwards nobody does.
                let _ = answers.send(result);
                return;
            }
            let result =
                Result::map_err(result, |error: crate::control::metadata::MetadataError| {
                    error.to_string()
                });
            let _ = notices.send(Notice::Stored { ticket, result });
        };
        metadata.start(deliver).map_err(|error| format!("cannot start a thread: {error}"))?
    };
    let keeper = Arc::new(StartKeeper { handle: metadata.handle(), answered: answered.into() });
    let brokers: Vec<String> =
        (0..identity.shards).map(|shard| format!("{}-{shard}", identity.broker_name)).collect();
    make_system_topics(&identity.cluster, &brokers, &mut loaded, &keeper)?;
    let helper = Helper::start(identity.shards)
        .map_err(|error| format!("cannot start the helper threads: {error}"))?;
    let helper = Arc::new(helper);

    // Shard i runs on thread i modulo their number.
    let mut by_thread: Vec<Vec<ShardPlan>> = plan.cores.iter().map(|_| Vec::new()).collect();
    let mut described = Vec::new();
    for (shard, (ports, metadata)) in ports.into_iter().zip(loaded.shards).enumerate() {
        let thread = shard % by_thread.len();
        let seat = by_thread[thread].len();
        let address = SocketAddrV4::new(config.advertise, ports.main);
        let shown = ShardIdentity {
            cluster: identity.cluster.clone(),
            broker_name: brokers[shard].clone(),
            address: config.advertise,
            port: ports.main,
            name_servers: name_servers.to_owned(),
            segment_bytes: identity.segment_bytes,
            write: directory.access().mode,
        };
        let options = config.broker_options(&shown, &metadata.options);
        described.push((brokers[shard].clone(), address, thread, seat));
        by_thread[thread].push(ShardPlan {
            index: shard as u16,
            seat,
            cluster: identity.cluster.clone(),
            name: brokers[shard].clone(),
            address,
            level: config.ack,
            metadata,
            listeners: ports.listeners,
            arena_bytes: plan.arena_bytes,
            memory: plan.memory,
            place: arena_place(config),
            flush_method,
            transfer_rules: profiled.rules,
            retention: retention(config, &options),
            options,
            accept_loss: config.accept_loss,
            boot: boot_id,
            start_ms,
        });
    }
    let mut threads = Vec::new();
    let mut couriers = Vec::new();
    let epoch = Instant::now();
    for (plans, core) in by_thread.into_iter().zip(&plan.cores) {
        let (ready, is_ready) = channel();
        let start = ThreadStart {
            core: *core,
            plans,
            directory: Arc::clone(&directory),
            helper: Arc::clone(&helper),
            keeper: Arc::clone(&keeper),
            timing: Timing { spin: config.spin, epoch },
            notices: notices.clone(),
        };
        let thread = std::thread::Builder::new()
            .name(format!("data-{core}"))
            .spawn(move || start.run(|started| _ = ready.send(started)))
            .map_err(|error| format!("cannot start a data thread: {error}"))?;
        match is_ready.recv() {
            Ok(started) => couriers.push(started),
            Err(_) => return Err(why_ended(thread)),
        }
        threads.push(thread);
    }
    let shards = described
        .into_iter()
        .map(|(name, address, thread, seat)| Addressed {
            cluster: identity.cluster.clone(),
            name,
            address,
            courier: couriers[thread].0.clone(),
            seat,
            table: couriers[thread].1[seat].clone(),
        })
        .collect();
    Ok(Serving {
        directory,
        metadata,
        loaded_values: loaded.values,
        shards,
        threads,
        helper,
        arenas: arena_place(config),
        boot: boot_id,
    })
}

impl Serving {
    /// After all shards have ended: leaves everything so that the next start is a clean
    /// one. `ended`: where each shard's log ends. The error is an exit code's worth.
    pub fn finish(self, ended: &HashMap<u16, Result<ChainEnd, String>>) -> Result<(), String> {
        let mut trouble = Vec::new();
        for thread in self.threads {
            if let Ok(Err(why)) = thread.join() {
                trouble.push(why);
            }
        }
        self.metadata.close();
        // Before the marks: a helper may be writing one of a life without an arena.
        if let Ok(helper) = Arc::try_unwrap(self.helper) {
            helper.stop();
        }
        for shard in 0..self.directory.identity().shards {
            match ended.get(&shard) {
                Some(Ok(end)) => match mark_clean(&self.directory, shard, *end, self.boot) {
                    Ok(()) => remove_arena(&self.arenas, &self.directory.identity().id, shard),
                    Err(why) => trouble.push(why),
                },
                Some(Err(why)) => trouble.push(format!("shard {shard}: {why}")),
                None => trouble.push(format!("shard {shard} did not end in time")),
            }
        }
        if trouble.is_empty() { Ok(()) } else { Err(trouble.join("; ")) }
    }
}

/// The log is closed: the next start goes on at its end, and needs no arena.
fn mark_clean(
    directory: &DataDirectory,
    shard: u16,
    end: ChainEnd,
    boot: BootId,
) -> Result<(), String> {
    let life = directory
        .run_mark(shard)
        .ok()
        .flatten()
        .and_then(|bytes| RunMark::decode(&bytes).ok())
        .map_or(end.life, |mark| mark.life);
    let mark = RunMark { life, boot, arena: None, clean: Some(end) };
    small::replace(&directory.run_mark_path(shard), &mark.encode()).map_err(|e| e.to_string())
}

/// What a data thread is started with.
struct ThreadStart {
    core: usize,
    plans: Vec<ShardPlan>,
    directory: Arc<DataDirectory>,
    helper: Arc<Helper<IndexTask>>,
    keeper: Arc<StartKeeper>,
    timing: Timing,
    notices: UnboundedSender<Notice>,
}

impl ThreadStart {
    fn run(self, ready: impl FnOnce((Courier, Vec<Table>))) -> Result<(), String> {
        let core = core_affinity::CoreId { id: self.core };
        if !core_affinity::set_for_current(core) {
            warn!(core = self.core, "cannot pin a data thread to its core");
        }
        let mut ring = Ring::new(RingConfig::default()).map_err(|error| error.to_string())?;
        let (courier, mail) = mailbox(ring.doorbell());
        let mut seats = Vec::new();
        for plan in self.plans {
            let keeper: &dyn Keeper = &*self.keeper;
            seats.push(boot(plan, &self.directory, &self.helper, &courier, keeper, &mut ring)?);
        }
        for degradation in ring.degradations() {
            warn!(core = self.core, "{degradation}");
        }
        let tables = seats.iter().map(|seat| seat.shard.broker.topic_table()).collect();
        ready((courier, tables));
        drop((self.helper, self.directory));
        let shards: Vec<u16> = seats.iter().map(|seat| seat.index).collect();
        let outbox = NoticeBox(self.notices.clone());
        let served = DataThread::new(ring, seats, mail, outbox, self.timing).run();
        served.map_err(|error| {
            let why = format!("the data thread of core {} has ended: {error}", self.core);
            for shard in shards {
                let _ = self.notices.send(Notice::Ended { shard, result: Err(why.clone()) });
            }
            why
        })
    }
}

/// A shard's effects on their way to the control thread. What can be under way is
/// bounded where it comes from: by the frames that may wait and the changes they make.
struct NoticeBox(UnboundedSender<Notice>);

impl Outbox for NoticeBox {
    fn put(&mut self, shard: u16, effect: crate::broker::effect::Effect) {
        let _ = self.0.send(Notice::Effect { shard, effect });
    }

    fn ended(&mut self, shard: u16, result: Result<ChainEnd, String>) {
        let _ = self.0.send(Notice::Ended { shard, result });
    }
}

/// The start's own number among the metadata's parties.
const START: u16 = u16::MAX - 1;

/// Makes metadata changes and waits for them, before anything is served.
struct StartKeeper {
    handle: MetadataHandle,
    answered: std::sync::Mutex<Receiver<Result<Outcome, crate::control::metadata::MetadataError>>>,
}

impl StartKeeper {
    fn keep(&self, change: Change) -> Result<Outcome, String> {
        // One at a time, so that the next answer is ours.
        let answered = self.answered.lock().expect("a start that panics ends the process");
        let ticket = Ticket { party: START, token: 0 };
        self.handle.submit(ticket, change).map_err(|_| "the metadata thread has ended")?;
        let result = answered.recv().map_err(|_| "the metadata thread has ended")?;
        result.map_err(|error| error.to_string())
    }
}

impl Keeper for StartKeeper {
    fn cut_log(&self, shard: u16, log_end: LogOffset) -> Result<(), String> {
        self.keep(Change::CutLog { shard, log_end }).map(|_| ())
    }

    fn put_offsets(&self, shard: u16, batch: Vec<OffsetEntry>) -> Result<(), String> {
        self.keep(Change::PutOffsets { shard, batch }).map(|_| ())
    }
}

/// Topics that every broker has from birth, where they are missing.
fn make_system_topics(
    cluster: &str,
    brokers: &[String],
    loaded: &mut Loaded,
    keeper: &StartKeeper,
) -> Result<(), String> {
    for (shard, name) in brokers.iter().enumerate() {
        for config in names::system_topics(cluster, name, Some(8), true) {
            let known = &mut loaded.shards[shard];
            if known.topics.contains_key(&config.name) {
                continue;
            }
            let shards = vec![shard as u16];
            let outcome = keeper.keep(Change::PutTopic { shards, config })?;
            let Outcome::Topics(placed) = outcome else { unreachable!("topics were put") };
            for topic in placed {
                let record: TopicRecord = topic.record;
                known.topics.insert(record.config.name.clone(), record);
                known.topic_version = topic.version;
            }
        }
    }
    Ok(())
}

fn take_ports(listen: Ipv4Addr, pair: Option<PortPair>) -> Result<Ports, String> {
    match pair {
        Some(PortPair { main, old }) => {
            let bind = |port: u16| {
                ports::listen(listen, port).map_err(|error| {
                    format!(
                        "cannot listen on {listen}:{port}: {error}; end what listens there, or \
                         give another --port (each shard takes two, 10 apart from the next)"
                    )
                })
            };
            Ok(Ports { main, listeners: vec![bind(main)?, bind(old)?] })
        }
        None => free_ports(listen),
    }
}

/// A free port whose neighbour two below is free as well.
fn free_ports(listen: Ipv4Addr) -> Result<Ports, String> {
    for _ in 0..FREE_PORT_TRIES {
        let Ok(main) = TcpListener::bind((listen, 0)) else { continue };
        let Ok(address) = main.local_addr() else { continue };
        if let Ok(old) = TcpListener::bind((listen, address.port() - 2)) {
            return Ok(Ports { main: address.port(), listeners: vec![main, old] });
        }
    }
    Err(format!("no pair of free ports was found on {listen}; give a --port"))
}

const FREE_PORT_TRIES: usize = 100;

fn flush_method(
    config: &Config,
    directory: &DataDirectory,
    profiled: &Profiled,
) -> Result<FlushMethod, String> {
    let faster = |dsync| if dsync { FlushMethod::Dsync } else { FlushMethod::Fdatasync };
    Ok(match config.flush_method {
        FlushChoice::Dsync => FlushMethod::Dsync,
        FlushChoice::Fdatasync => FlushMethod::Fdatasync,
        // One flush of a file serves all that wait for it, however it was asked for.
        FlushChoice::Auto if directory.access().mode.is_cached() => FlushMethod::Dsync,
        FlushChoice::Auto => match profiled.flush {
            Some(measured) => {
                let chosen = faster(measured.is_dsync_faster());
                info!(?measured, ?chosen, "took the flush method from the profile");
                chosen
            }
            None => {
                let probe = directory.probe_flush().map_err(|error| error.to_string())?;
                let chosen = faster(probe.is_dsync_faster());
                info!(?probe, ?chosen, "probed the disk");
                chosen
            }
        },
    })
}

/// The rules of retention; what a tool has set in an earlier life stands in the options.
fn retention(config: &Config, options: &BrokerOptions) -> RetentionConfig {
    let age_ms_max = match config.retention.hours {
        Choice::Given(_) => config.retention.age_ms,
        Choice::Default(_) => i64::from(options.file_reserved_time) * 3_600_000,
    };
    RetentionConfig {
        age_ms_max,
        hurry_at: DiskUse(options.disk_max_used_space_ratio * 10),
        force_at: DiskUse(config.retention.force_at * 10),
        refuse_at: DiskUse(config.retention.refuse_at * 10),
    }
}

fn arena_place(config: &Config) -> ArenaPlace {
    match &config.arena_dir {
        Some(dir) => ArenaPlace { huge: None, shared: dir.clone() },
        None => ArenaPlace::usual(),
    }
}

fn why_ended(thread: JoinHandle<Result<(), String>>) -> String {
    match thread.join() {
        Ok(Err(why)) => why,
        _ => "a data thread ended before it served".to_owned(),
    }
}

fn unix_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}
