//! What a broker does with a request. `dispatch.rs` is the table of contents, then one
//! file per feature. No sockets, no threads: what has to happen outside is an `Effect`.

mod attributes;
mod changes;
mod clients;
mod consume_rates;
pub mod context;
mod creation;
mod deferred;
mod dispatch;
pub mod effect;
mod group_admin;
mod groups;
mod holds;
mod members;
mod offset_journal;
mod offsets;
mod online;
mod paging;
mod positions;
mod progress;
mod pull;
pub mod refusal;
mod runtime;
mod send;
mod settings;
mod stats;
mod topic_admin;
mod topics;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddrV4;

use crate::base::group::GroupConfig;
use crate::base::metadata::DataVersion;
use crate::base::options::BrokerOptions;
use crate::base::outgoing::Piece;
use crate::base::{AckLevel, ConnId, LogOffset, UniqueIds};
use crate::queue::QueueSlot;

use clients::Awaited;
use context::{Cause, Context};
pub use effect::TopicMade;
use holds::{Hold, Holds};
use members::Members;
use offsets::Offsets;
use send::Sends;
use stats::Stats;
use topics::Topics;

pub use dispatch::CODES;
pub use offset_journal::journaled_positions;
pub use offsets::Change as OffsetChange;
pub use topics::Restored;

/// Who a shard is to the outside: a logical broker.
#[derive(Clone, Debug)]
pub struct Identity {
    pub cluster: String,
    pub name: String,
    /// The address in routes and message ids.
    pub store_host: SocketAddrV4,
    /// Acknowledgement level of topics that name none.
    pub level: AckLevel,
    /// Bytes of memory that this shard's part of the process may use, caches of the
    /// system included.
    pub memory: u64,
}

/// One logical broker.
pub struct Broker {
    cluster: String,
    name: String,
    store_host: SocketAddrV4,
    level: AckLevel,
    memory: u64,
    pub options: BrokerOptions,
    topics: Topics,
    groups: HashMap<String, GroupConfig>,
    members: Members,
    offsets: Offsets,
    holds: Holds,
    sends: Sends,
    stats: Stats,
    unique_ids: UniqueIds,
    /// What the broker adds to each message's properties.
    own_properties: Vec<u8>,
    /// Topics that are being created on all shards.
    creating: HashSet<String>,
    /// Topics whose creation has failed in this turn, and why.
    creation_failed: Vec<(String, String)>,
    /// Requests that wait for a metadata change, by its token.
    pending: HashMap<u64, changes::Pending>,
    /// Topics and groups of which a change is being made durable, and by which token.
    changing: HashSet<Cause>,
    changing_by_token: HashMap<u64, Cause>,
    next_token: u64,
    /// Counts changes of the topic table; what name servers compare.
    topics_version: DataVersion,
    groups_version: DataVersion,
    options_version: DataVersion,
    /// The version that all reachable name servers know.
    published: i64,
    /// How often settings have changed what name servers are told, since the start.
    shown_changes: i64,
    /// The log has failed: name servers are told that nothing can be written here.
    write_lost: bool,
    awaited: Vec<Awaited>,
    /// Connections whose heartbeat waits for its retry topics.
    routes_pending: HashSet<ConnId>,
    next_opaque: i32,
    /// Sends wait for room: later ones must not overtake them.
    pub room_awaited: bool,
    offsets_due_us: u64,
    saving_offsets: bool,
    /// The journal's other half holds offsets that are not durable yet.
    journal_switched: bool,
    stopping: bool,
    /// Store time of the log's first message, and where the log began then.
    earliest: Option<(LogOffset, i64)>,
    // Memory that is used again every turn.
    journal: Vec<u8>,
    pieces: Vec<Piece>,
    woken: Vec<Hold>,
    shown: Vec<QueueSlot>,
}

/// Ids of our own, which differ between the shards of a process and between its lives.
fn unique_ids(host: SocketAddrV4, start_ms: i64) -> UniqueIds {
    let hash = u32::from(host.port()) << 16 | u32::from((start_ms >> 10) as u16);
    UniqueIds::new(*host.ip(), hash)
}

/// What clients are told of where their broker is.
const REGION: &str = "DefaultRegion";

/// How often consumer offsets are made durable. RocketMQ's `flushConsumerOffsetInterval`.
const OFFSETS_SAVED_EVERY_US: u64 = 5_000_000;

impl Broker {
    pub fn new(identity: Identity, options: BrokerOptions, start_ms: i64) -> Self {
        let version = DataVersion { counter: 1, state_version: 0, timestamp: start_ms };
        let mut broker = Self {
            unique_ids: unique_ids(identity.store_host, start_ms),
            own_properties: Vec::new(),
            cluster: identity.cluster,
            name: identity.name,
            store_host: identity.store_host,
            level: identity.level,
            memory: identity.memory,
            options,
            topics: Topics::default(),
            groups: HashMap::new(),
            members: Members::default(),
            offsets: Offsets::default(),
            holds: Holds::default(),
            sends: Sends::default(),
            stats: Stats::new(start_ms),
            creating: HashSet::new(),
            creation_failed: Vec::new(),
            pending: HashMap::new(),
            changing: HashSet::new(),
            changing_by_token: HashMap::new(),
            next_token: 0,
            topics_version: version,
            groups_version: version,
            options_version: version,
            published: 0,
            shown_changes: 0,
            write_lost: false,
            awaited: Vec::new(),
            routes_pending: HashSet::new(),
            next_opaque: 0,
            room_awaited: false,
            offsets_due_us: 0,
            saving_offsets: false,
            journal_switched: false,
            stopping: false,
            earliest: None,
            journal: Vec::new(),
            pieces: Vec::new(),
            woken: Vec::new(),
            shown: Vec::new(),
        };
        broker.own_properties = broker.properties_of_all();
        broker
    }

    /// Ends the turn: appends what was sent, answers whom it concerns. False if the log
    /// takes nothing now; the frames are then to be fetched by `take_unappended`.
    pub fn end_turn(&mut self, cx: &mut Context) -> bool {
        self.creation_failed.clear();
        let appended = self.append_sends(cx);
        self.release_sends(cx);
        if cx.store.failure().is_some() && !self.write_lost {
            self.on_log_failed(cx);
        }
        let mut shown = std::mem::take(&mut self.shown);
        cx.store.take_shown(&mut shown);
        for queue in shown.drain(..) {
            self.wake(cx, queue);
        }
        self.shown = shown;
        self.save_offsets(cx, self.stopping);
        appended
    }

    /// What time brings about. Returns connections of clients that fell silent.
    pub fn expire(&mut self, cx: &mut Context) -> Vec<ConnId> {
        self.expire_holds(cx);
        self.answer_awaited(cx);
        self.stats.sample(cx.now.unix_ms);
        self.members.expired(cx.now.mono_us)
    }

    pub fn next_deadline_us(&self) -> Option<u64> {
        let offsets = self.offsets.has_changes() && !self.saving_offsets;
        [
            self.holds.next_deadline_us(),
            self.sends.deferred.next_deadline_us(),
            self.members.next_scan_us(),
            self.next_awaited_deadline_us(),
            offsets.then_some(self.offsets_due_us),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The end is near: what is not durable yet is made so.
    pub fn stop(&mut self, cx: &mut Context) {
        self.stopping = true;
        self.save_offsets(cx, true);
    }

    /// Whether nothing of what `stop` began is under way.
    pub fn has_stopped(&self) -> bool {
        self.stopping && !self.saving_offsets && !self.offsets.has_changes()
    }

    fn take_token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }
}
