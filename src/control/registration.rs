//! Registers shards with name servers, and tells when they know a shard's topics.
//!
//! One connection per shard and name server, for a name server drops the one broker
//! that came over a connection when that closes. Each link registers at once when its
//! shard's registration changes, and every 30 s anyway; what changes meanwhile is
//! taken together, since only the newest counts. All of it runs on the control
//! thread, for embedded and external name servers alike.

mod body;
mod link;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::frames::Budget;
use crate::base::limits::REGISTRATION_BUFFER_BYTES_MAX;
use crate::base::metadata::DataVersion;
use crate::base::topic::TopicConfig;
use link::Link;

/// What a name server is told of one shard.
#[derive(Clone, Debug)]
pub struct Registration {
    pub cluster: String,
    pub broker_name: String,
    /// "ip:port".
    pub broker_addr: String,
    pub ha_addr: String,
    pub broker_id: i64,
    /// Its counter grows with every change of the topics.
    pub data_version: DataVersion,
    pub topics: Arc<Vec<TopicConfig>>,
}

/// All links of this process. Lives on the control thread.
pub struct Registrar {
    shards: Vec<Shard>,
    stop: watch::Sender<bool>,
    links: Vec<JoinHandle<()>>,
}

struct Shard {
    newest: Updater,
    known: watch::Receiver<i64>,
}

/// Tells the links of one shard what to register; may be used on any thread.
#[derive(Clone)]
pub struct Updater(watch::Sender<Arc<Registration>>);

/// Tells which version all reachable name servers know; may be used on any thread.
#[derive(Clone)]
pub struct Published(watch::Receiver<i64>);

/// What the links of one shard have reached.
struct Reached {
    links: RefCell<Vec<LinkState>>,
    known: watch::Sender<i64>,
}

/// Where a link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinkState {
    /// Nobody waits for this name server.
    Unreachable,
    /// The counter of the version that the name server has; `NOTHING` before the first.
    Registered(i64),
}

const NOTHING: i64 = i64::MIN;
/// What is known while no name server can be reached: nobody has to wait.
const EVERYTHING: i64 = i64::MAX;

impl Registrar {
    /// Starts a link per shard and name server ("host:port"), on a tokio-uring runtime.
    pub fn start(name_servers: &[String], shards: Vec<Registration>) -> Self {
        let (stop, stopping) = watch::channel(false);
        let budget = Budget::new(REGISTRATION_BUFFER_BYTES_MAX);
        let mut links = Vec::new();
        let start_shard = |registration| {
            let newest = watch::Sender::new(Arc::new(registration));
            let reached = Reached::new(name_servers.len());
            let known = reached.known.subscribe();
            for (index, name_server) in name_servers.iter().enumerate() {
                let link = Link {
                    name_server: name_server.clone(),
                    newest: newest.subscribe(),
                    stop: stopping.clone(),
                    reached: Rc::clone(&reached),
                    index,
                    budget: Rc::clone(&budget),
                };
                links.push(tokio_uring::spawn(link.run()));
            }
            Shard { newest: Updater(newest), known }
        };
        let shards = shards.into_iter().map(start_shard).collect();
        Self { shards, stop, links }
    }

    pub fn updater(&self, shard: usize) -> Updater {
        self.shards[shard].newest.clone()
    }

    pub fn published(&self, shard: usize) -> Published {
        Published(self.shards[shard].known.clone())
    }

    /// Takes the shards out of all name servers that can be reached.
    pub async fn leave(&mut self) {
        self.stop.send_replace(true);
        for link in self.links.drain(..) {
            // A link that has panicked has nothing to take back.
            let _ = link.await;
        }
    }
}

impl Updater {
    /// Replaces what is to be registered; it is sent at once.
    pub fn update(&self, registration: Registration) {
        self.0.send_replace(Arc::new(registration));
    }
}

impl Published {
    /// Whether all reachable name servers know the version with this counter.
    pub fn knows(&self, counter: i64) -> bool {
        *self.0.borrow() >= counter
    }

    /// Waits until they do, but not longer than `limit`; whether they do.
    pub async fn wait(&mut self, counter: i64, limit: Duration) -> bool {
        let known = timeout(limit, self.0.wait_for(|known| *known >= counter)).await;
        matches!(known, Ok(Ok(_)))
    }
}

impl Reached {
    /// All links count as reachable until their first failure, so that a start waits.
    fn new(links: usize) -> Rc<Self> {
        let links = vec![LinkState::Registered(NOTHING); links];
        let known = known_by(&links);
        Rc::new(Self { links: RefCell::new(links), known: watch::Sender::new(known) })
    }

    fn set(&self, index: usize, state: LinkState) {
        self.links.borrow_mut()[index] = state;
        let known = known_by(&self.links.borrow());
        self.known.send_if_modified(|told| {
            let changed = *told != known;
            *told = known;
            changed
        });
    }
}

fn known_by(links: &[LinkState]) -> i64 {
    let counters = links.iter().filter_map(|state| match state {
        LinkState::Unreachable => None,
        LinkState::Registered(counter) => Some(*counter),
    });
    counters.min().unwrap_or(EVERYTHING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_what_every_reachable_name_server_has() {
        let reached = Reached::new(2);
        let published = Published(reached.known.subscribe());
        assert!(!published.knows(0), "a start waits for all");
        reached.set(0, LinkState::Registered(5));
        assert!(!published.knows(1));
        reached.set(1, LinkState::Unreachable);
        assert!(published.knows(5) && !published.knows(6));
        reached.set(1, LinkState::Registered(6));
        reached.set(0, LinkState::Registered(7));
        assert!(published.knows(6) && !published.knows(7));
        reached.set(0, LinkState::Unreachable);
        reached.set(1, LinkState::Unreachable);
        assert!(published.knows(8), "with nobody to reach, nobody waits");
    }
}
