//! The route table: the addresses of each broker's members, who was heard of when,
//! and with `topics` who has which queues.
//!
//! Whoever has an address here has an entry in `live`, so the bound on `live` bounds
//! brokers, addresses and clusters too.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ConnId;
use super::answer::Refusal;
use super::topics::{Queues, Row, Topics, WRITE};
use crate::base::Now;
use crate::base::limits::{
    NAMESRV_BROKERS_MAX, NAMESRV_FILTER_SERVERS_MAX, NAMESRV_NAME_BYTES_MAX, NAMESRV_ROWS_MAX,
};
use crate::base::metadata::DataVersion;

/// The member that takes writes.
const PRIMARY: i64 = 0;
/// Silence after which a broker is dropped, unless it asked for another.
const SILENCE_MS_MAX: i64 = 120_000;
/// Topics by which brokers tell each other of their members; no acting primary for them.
const MEMBER_TOPIC_PREFIX: &str = "rmq_sys_SYNC_BROKER_MEMBER_";

#[derive(Default)]
pub(super) struct RouteTable {
    topics: Topics,
    brokers: BTreeMap<Arc<str>, Broker>,
    clusters: BTreeMap<Box<str>, BTreeSet<Arc<str>>>,
    /// By cluster and address.
    live: BTreeMap<(String, String), Live>,
}

/// The members that share a broker's name.
pub(super) struct Broker {
    pub cluster: String,
    pub zone: Option<String>,
    pub acting_master: bool,
    pub addrs: BTreeMap<i64, Arc<str>>,
}

struct Live {
    broker: Arc<str>,
    heard_us: u64,
    timeout_ms: u64,
    version: DataVersion,
    conn: ConnId,
    ha_addr: Option<String>,
    filter_servers: Vec<String>,
}

/// Who registers.
pub(super) struct Member<'a> {
    pub cluster: &'a str,
    pub broker: &'a str,
    pub addr: &'a str,
    pub id: i64,
    pub ha_addr: Option<&'a str>,
    pub zone: Option<&'a str>,
    /// `None`: the broker is older than acting primaries.
    pub acting_master: Option<bool>,
    pub timeout_ms: Option<i64>,
}

/// What a broker registers.
pub(super) struct Offered {
    pub version: DataVersion,
    pub topics: Vec<(String, Queues)>,
    /// `None`: as before.
    pub filter_servers: Option<Vec<String>>,
}

/// Where a replica finds its primary.
pub(super) struct Primary {
    pub addr: String,
    pub ha_addr: Option<String>,
}

/// Everything that a client learns of a topic.
pub(super) struct Route<'a> {
    pub brokers: Vec<RouteBroker<'a>>,
    pub rows: &'a [Row],
    pub filter_servers: BTreeMap<&'a str, &'a [String]>,
}

pub(super) struct RouteBroker<'a> {
    pub name: &'a str,
    pub broker: &'a Broker,
    pub addrs: Cow<'a, BTreeMap<i64, Arc<str>>>,
}

impl RouteTable {
    /// Takes in a member and, if it speaks for its broker, its topics.
    pub fn register(
        &mut self,
        member: &Member<'_>,
        offered: Offered,
        delete_absent: bool,
        conn: ConnId,
        now: Now,
    ) -> Result<Option<Primary>, Refusal> {
        self.check(member, &offered)?;
        if self.is_overruled(member, offered.version) {
            self.live.remove(&key(member.cluster, member.addr));
            return Ok(None);
        }
        let known = self.live.get(&key(member.cluster, member.addr));
        let version_changed = known.is_none_or(|live| live.version != offered.version);
        if known.is_some_and(|live| *live.broker != *member.broker) {
            // The same address under another name: the old name is gone.
            self.unregister(member.cluster, member.addr);
        }
        let name = self.broker_name(member.broker);
        self.clusters.entry(member.cluster.into()).or_default().insert(Arc::clone(&name));
        let is_first = self.place(member, &name);
        let broker = &self.brokers[&name];
        let is_lowest = broker.addrs.keys().next() == Some(&member.id);
        let speaks_as_replica = member.id != PRIMARY && member.acting_master.is_some() && is_lowest;
        if member.id == PRIMARY || speaks_as_replica {
            let wipe_write = speaks_as_replica && broker.acting_master;
            if delete_absent {
                self.delete_absent(&name, &offered.topics);
            }
            for (topic, queues) in &offered.topics {
                let mut queues = *queues;
                if wipe_write {
                    queues.perm &= !WRITE;
                }
                self.topics.take(topic, &name, queues, is_first || version_changed);
            }
        }
        self.enliven(member, name, offered, conn, now);
        Ok(self.primary_of(member))
    }

    /// Names and table sizes meet their bounds before anything is changed.
    fn check(&self, member: &Member<'_>, offered: &Offered) -> Result<(), Refusal> {
        let optional = [member.ha_addr, member.zone].into_iter().flatten();
        let filters = offered.filter_servers.iter().flatten().map(String::as_str);
        let topics = offered.topics.iter().map(|(topic, _)| topic.as_str());
        let names = [member.cluster, member.broker, member.addr].into_iter();
        if names.clone().any(str::is_empty) {
            return Err(Refusal::malformed(
                "clusterName, brokerName and brokerAddr must not be empty",
            ));
        }
        if names.clone().any(|name| name.starts_with('{')) {
            // Where names are keys, replies would no longer parse.
            return Err(Refusal::malformed("names and addresses must not begin with {"));
        }
        let longest = names.chain(optional).chain(filters).chain(topics).map(str::len).max();
        if longest > Some(NAMESRV_NAME_BYTES_MAX) {
            return Err(Refusal::over("bytes of a name or address", NAMESRV_NAME_BYTES_MAX));
        }
        if offered.filter_servers.as_ref().map_or(0, Vec::len) > NAMESRV_FILTER_SERVERS_MAX {
            return Err(Refusal::over("filter servers", NAMESRV_FILTER_SERVERS_MAX));
        }
        let is_live = self.live.contains_key(&key(member.cluster, member.addr));
        if !is_live && self.live.len() >= NAMESRV_BROKERS_MAX {
            return Err(Refusal::over("brokers", NAMESRV_BROKERS_MAX));
        }
        let is_new = |topic: &str| !self.topics.has(topic, member.broker);
        let added = offered.topics.iter().filter(|(topic, _)| is_new(topic)).count();
        if self.topics.row_count() + added > NAMESRV_ROWS_MAX {
            return Err(Refusal::over("topics of all brokers", NAMESRV_ROWS_MAX));
        }
        let known = self.brokers.get(member.broker);
        let knows_id = known.is_some_and(|broker| broker.addrs.contains_key(&member.id));
        if !knows_id && offered.topics.len() == 1 {
            return Err(Refusal::malformed(
                "a broker registers its whole table first, single topics later",
            ));
        }
        Ok(())
    }

    /// Whether the id belongs to another address whose state version is higher.
    fn is_overruled(&self, member: &Member<'_>, version: DataVersion) -> bool {
        let Some(broker) = self.brokers.get(member.broker) else { return false };
        let Some(holder) = broker.addrs.get(&member.id) else { return false };
        if **holder == *member.addr {
            return false;
        }
        let live = self.live.get(&key(member.cluster, holder));
        live.is_some_and(|live| live.version.state_version > version.state_version)
    }

    /// The shared text of a broker's name.
    fn broker_name(&self, broker: &str) -> Arc<str> {
        let known = self.brokers.get_key_value(broker);
        known.map_or_else(|| broker.into(), |(name, _)| Arc::clone(name))
    }

    /// Puts the address under its id; true if the id had none.
    fn place(&mut self, member: &Member<'_>, name: &Arc<str>) -> bool {
        let broker = self.brokers.entry(Arc::clone(name)).or_insert_with(|| Broker {
            cluster: member.cluster.to_owned(),
            zone: None,
            acting_master: false,
            addrs: BTreeMap::new(),
        });
        broker.acting_master = member.acting_master.unwrap_or(false);
        broker.zone = member.zone.map(str::to_owned);
        // A replica that becomes primary keeps its address and leaves its old id.
        broker.addrs.retain(|id, addr| *id == member.id || **addr != *member.addr);
        broker.addrs.insert(member.id, member.addr.into()).is_none()
    }

    fn delete_absent(&mut self, broker: &str, topics: &[(String, Queues)]) {
        let present: BTreeSet<&str> = topics.iter().map(|(topic, _)| topic.as_str()).collect();
        self.topics.remove(|topic, row| *row.broker == *broker && !present.contains(topic));
    }

    fn enliven(
        &mut self,
        member: &Member<'_>,
        broker: Arc<str>,
        offered: Offered,
        conn: ConnId,
        now: Now,
    ) {
        let timeout_ms = member.timeout_ms.unwrap_or(SILENCE_MS_MAX).max(0) as u64;
        let ha_addr = member.ha_addr.map(str::to_owned);
        let old = self.live.remove(&key(member.cluster, member.addr));
        let kept = || old.map(|live| live.filter_servers).unwrap_or_default();
        let filter_servers = offered.filter_servers.unwrap_or_else(kept);
        let live = Live {
            broker,
            heard_us: now.mono_us,
            timeout_ms,
            version: offered.version,
            conn,
            ha_addr,
            filter_servers,
        };
        self.live.insert(key(member.cluster, member.addr), live);
    }

    fn primary_of(&self, member: &Member<'_>) -> Option<Primary> {
        if member.id == PRIMARY {
            return None;
        }
        let addr = self.brokers.get(member.broker)?.addrs.get(&PRIMARY)?;
        let live = self.live.get(&key(member.cluster, addr))?;
        Some(Primary { addr: addr.to_string(), ha_addr: live.ha_addr.clone() })
    }

    /// Marks a member as heard of and gives the version it registered.
    pub fn touch(&mut self, cluster: &str, addr: &str, now: Now) -> Option<DataVersion> {
        let live = self.live.get_mut(&key(cluster, addr))?;
        live.heard_us = now.mono_us;
        Some(live.version)
    }

    /// Forgets a member, and with its last member the broker and its queues.
    pub fn unregister(&mut self, cluster: &str, addr: &str) {
        let Some(live) = self.live.remove(&key(cluster, addr)) else { return };
        let name = live.broker;
        let Some(broker) = self.brokers.get_mut(&name) else { return };
        broker.addrs.retain(|_, known| **known != *addr);
        if broker.addrs.is_empty() {
            self.brokers.remove(&name);
            self.clusters.retain(|_, names| {
                names.remove(&name);
                !names.is_empty()
            });
            self.topics.remove(|_, row| row.broker == name);
        } else if broker.acting_master && !broker.addrs.contains_key(&PRIMARY) {
            self.topics.change_permissions(&name, |perm| perm & !WRITE);
        }
    }

    pub fn drop_connection(&mut self, conn: ConnId) {
        self.drop_where(|live| live.conn == conn);
    }

    /// Drops members that were silent for longer than they announced.
    pub fn expire(&mut self, now: Now) -> Vec<ConnId> {
        self.drop_where(|live| live.deadline_us() <= now.mono_us)
    }

    pub fn next_deadline(&self) -> Option<u64> {
        self.live.values().map(Live::deadline_us).min()
    }

    fn drop_where(&mut self, gone: impl Fn(&Live) -> bool) -> Vec<ConnId> {
        let found: Vec<_> = self
            .live
            .iter()
            .filter(|(_, live)| gone(live))
            .map(|(place, live)| (place.clone(), live.conn))
            .collect();
        let drop = |((cluster, addr), conn): ((String, String), ConnId)| {
            self.unregister(&cluster, &addr);
            conn
        };
        found.into_iter().map(drop).collect()
    }

    /// Changes the permissions of all topics of a broker; how many there are.
    pub fn change_permissions(&mut self, broker: &str, change: impl Fn(i32) -> i32) -> usize {
        self.topics.change_permissions(broker, change)
    }

    /// Forgets a topic, everywhere or on the brokers of one cluster.
    pub fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) {
        let none = BTreeSet::new();
        let brokers = cluster.map(|cluster| self.clusters.get(cluster).unwrap_or(&none));
        self.topics.delete(topic, brokers);
    }

    /// Sets rows of a topic by hand; none if one of the brokers is not known.
    pub fn put_rows(&mut self, topic: &str, rows: &[(String, Queues)]) -> Result<(), Refusal> {
        if topic.is_empty() || topic.len() > NAMESRV_NAME_BYTES_MAX {
            return Err(Refusal::over("bytes of a topic's name", NAMESRV_NAME_BYTES_MAX));
        }
        if self.topics.row_count() + rows.len() > NAMESRV_ROWS_MAX {
            return Err(Refusal::over("topics of all brokers", NAMESRV_ROWS_MAX));
        }
        if rows.iter().all(|(broker, _)| self.brokers.contains_key(broker.as_str())) {
            for (broker, queues) in rows {
                let name = self.broker_name(broker);
                self.topics.take(topic, &name, *queues, true);
            }
        }
        Ok(())
    }

    /// What a client learns of a topic; `None` if no broker has it.
    pub fn route(&self, topic: &str, support_acting: bool) -> Option<Route<'_>> {
        let rows = self.topics.rows_of(topic);
        let acting = support_acting && !topic.starts_with(MEMBER_TOPIC_PREFIX);
        let mut route = Route {
            brokers: Vec::with_capacity(rows.len()),
            rows,
            filter_servers: BTreeMap::new(),
        };
        for row in rows {
            let Some((name, broker)) = self.brokers.get_key_value(&row.broker) else { continue };
            let mut addrs = Cow::Borrowed(&broker.addrs);
            if acting && needs_acting_primary(broker, row) {
                let first = addrs.to_mut().pop_first();
                first.into_iter().for_each(|(_, addr)| _ = addrs.to_mut().insert(PRIMARY, addr));
            }
            for addr in broker.addrs.values() {
                if let Some(live) = self.live.get(&key(&broker.cluster, addr))
                    && !live.filter_servers.is_empty()
                {
                    route.filter_servers.insert(addr, &live.filter_servers);
                }
            }
            route.brokers.push(RouteBroker { name, broker, addrs });
        }
        (!route.brokers.is_empty()).then_some(route)
    }

    pub fn brokers(&self) -> impl Iterator<Item = (&str, &Broker)> {
        self.brokers.iter().map(|(name, broker)| (&**name, broker))
    }

    pub fn broker(&self, name: &str) -> Option<&Broker> {
        self.brokers.get(name)
    }

    pub fn clusters(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = &str>)> {
        self.clusters.iter().map(|(cluster, names)| (&**cluster, names.iter().map(|name| &**name)))
    }

    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    pub fn topics_of_cluster(&self, cluster: &str) -> impl Iterator<Item = &str> {
        let names = self.clusters.get(cluster);
        let here = move |row: &Row| names.is_some_and(|names| names.contains(&row.broker));
        self.topics.names_where(move |rows| rows.iter().any(here))
    }
}

impl Live {
    /// The first moment at which the silence is longer than announced.
    fn deadline_us(&self) -> u64 {
        self.heard_us.saturating_add(self.timeout_ms.saturating_mul(1000)).saturating_add(1)
    }
}

fn key(cluster: &str, addr: &str) -> (String, String) {
    (cluster.to_owned(), addr.to_owned())
}

/// A broker without primary, whose replicas may act as one, and whose rows show that.
fn needs_acting_primary(broker: &Broker, row: &Row) -> bool {
    broker.acting_master && !broker.addrs.contains_key(&PRIMARY) && !row.queues.is_writable()
}
