//! Shards and name servers: a scripted one that answers when told to, and our own.

mod namesrv_common;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use namesrv_common::{Frame, Peer};
use ringmq::base::metadata::DataVersion;
use ringmq::base::topic::TopicConfig;
use ringmq::control::name_server::NameServerService;
use ringmq::control::registration::{Published, Registrar, Registration, Updater};
use ringmq::namesrv::Options;
use tokio::sync::watch;

/// Shards that register, on a control thread of their own.
struct Shards {
    updaters: Vec<Updater>,
    published: Vec<Published>,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Shards {
    fn start(name_servers: &[SocketAddr], registrations: Vec<Registration>) -> Self {
        let name_servers: Vec<_> = name_servers.iter().map(SocketAddr::to_string).collect();
        let (stop, mut stopping) = watch::channel(false);
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            tokio_uring::start(async move {
                let count = registrations.len();
                let mut registrar = Registrar::start(&name_servers, registrations);
                let updaters: Vec<_> = (0..count).map(|shard| registrar.updater(shard)).collect();
                let published: Vec<_> =
                    (0..count).map(|shard| registrar.published(shard)).collect();
                tell.send((updaters, published)).unwrap();
                stopping.wait_for(|stop| *stop).await.unwrap();
                registrar.leave().await;
            });
        });
        let (updaters, published) = told.recv().unwrap();
        Self { updaters, published, stop, thread }
    }

    fn await_published(&self, shard: usize, counter: i64) {
        let begun = Instant::now();
        while !self.published[shard].knows(counter) {
            assert!(begun.elapsed() < Duration::from_secs(20), "version {counter} never known");
            thread::yield_now();
        }
    }

    fn stop(self) {
        self.stop.send(true).unwrap();
        self.thread.join().unwrap();
    }
}

/// Accepts connections on loopback; what they say is the test's to answer.
struct Script {
    addr: SocketAddr,
    accepted: Receiver<Peer>,
}

impl Script {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let (tell, accepted) = mpsc::channel();
        thread::spawn(move || {
            listener
                .incoming()
                .map_while(Result::ok)
                .all(|stream| tell.send(Peer::over(stream)).is_ok());
        });
        Self { addr, accepted }
    }

    fn accept(&self) -> Peer {
        self.accepted.recv_timeout(Duration::from_secs(20)).unwrap()
    }
}

fn registration(shard: usize, counter: i64, topics: usize, perm: u32) -> Registration {
    let topics = (0..topics).map(|topic| TopicConfig::new(&format!("topic-{topic}"), 4, perm));
    Registration {
        cluster: "C".to_owned(),
        broker_name: format!("broker-{shard}"),
        broker_addr: format!("127.0.0.1:{}", 10911 + 10 * shard),
        ha_addr: "127.0.0.1:10912".to_owned(),
        broker_id: 0,
        data_version: DataVersion { counter, state_version: 0, timestamp: 1000 + counter },
        topics: Arc::new(topics.collect()),
    }
}

fn counter_of(request: &Frame) -> i64 {
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    body["topicConfigSerializeWrapper"]["dataVersion"]["counter"].as_i64().unwrap()
}

#[test]
fn changes_during_a_request_are_taken_together() {
    let script = Script::start();
    let shards = Shards::start(&[script.addr], vec![registration(0, 1, 2, 6)]);
    let mut link = script.accept();
    let first = link.read().unwrap();
    assert_eq!((first.code, counter_of(&first)), (103, 1));
    assert_eq!((&*first.ext["brokerName"], &*first.ext["brokerId"]), ("broker-0", "0"));
    for counter in 2..=50 {
        shards.updaters[0].update(registration(0, counter, 2, 6));
    }
    assert!(!shards.published[0].knows(1));
    link.answer(&first, 0, b"{\"table\":{}}");
    let second = link.read().unwrap();
    assert_eq!(counter_of(&second), 50);
    assert!(shards.published[0].knows(1) && !shards.published[0].knows(2));
    link.answer(&second, 0, b"");
    shards.await_published(0, 50);
    drop(link);
    shards.stop();
}

#[test]
fn every_shard_has_a_connection_to_every_name_server_and_takes_itself_back() {
    let scripts = [Script::start(), Script::start()];
    let addrs = [scripts[0].addr, scripts[1].addr];
    let shards = Shards::start(&addrs, (0..3).map(|s| registration(s, 1, 2, 6)).collect());
    let mut links = Vec::new();
    for script in &scripts {
        let mut names = Vec::new();
        for _ in 0..3 {
            let mut link = script.accept();
            let request = link.read().unwrap();
            names.push(request.ext["brokerName"].clone());
            link.answer(&request, 0, b"");
            links.push(link);
        }
        names.sort();
        assert_eq!(names, ["broker-0", "broker-1", "broker-2"]);
    }
    (0..3).for_each(|shard| shards.await_published(shard, 1));
    let stopping = thread::spawn(move || shards.stop());
    for mut link in links {
        let request = link.read().unwrap();
        assert_eq!((request.code, &*request.ext["clusterName"]), (104, "C"));
        link.answer(&request, 0, b"");
        assert!(link.read().is_none(), "then the connection ends");
    }
    stopping.join().unwrap();
}

#[test]
fn a_lost_name_server_is_not_waited_for_and_comes_back() {
    let steady = Script::start();
    let shaky = Script::start();
    let shards = Shards::start(&[steady.addr, shaky.addr], vec![registration(0, 1, 2, 6)]);
    let mut first = steady.accept();
    let request = first.read().unwrap();
    first.answer(&request, 0, b"");
    let mut second = shaky.accept();
    second.read().unwrap();
    assert!(!shards.published[0].knows(1), "both can be reached, one has not answered");
    drop(second);
    shards.await_published(0, 1);
    // The next connection has its version refused: not lost, and not known there.
    let mut second = shaky.accept();
    let request = second.read().unwrap();
    second.answer(&request, 1, b"");
    assert!(second.read().is_none());
    let mut second = shaky.accept();
    let request = second.read().unwrap();
    second.answer(&request, 0, b"");
    // From here on it is waited for again.
    shards.updaters[0].update(registration(0, 2, 2, 6));
    let request = first.read().unwrap();
    first.answer(&request, 0, b"");
    let request = second.read().unwrap();
    assert_eq!(counter_of(&request), 2);
    assert!(!shards.published[0].knows(2));
    second.answer(&request, 0, b"");
    shards.await_published(0, 2);
    drop((first, second));
    shards.stop();
}

#[test]
fn without_a_name_server_nobody_waits() {
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let shards = Shards::start(&[closed], vec![registration(0, 1, 2, 6)]);
    shards.await_published(0, 1);
    shards.stop();
}

#[test]
fn our_name_server_learns_tables_of_any_size_and_forgets_them_with_the_shard() {
    let listener = NameServerService::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let addr = listener.local_addr().unwrap();
    let (stop, stopping) = watch::channel(false);
    let serving = thread::spawn(move || {
        tokio_uring::start(async {
            let service = NameServerService::new(listener, Options::default(), [], None);
            service.serve(stopping).await.unwrap();
        });
    });
    let shards =
        Shards::start(&[addr], vec![registration(0, 1, 45_000, 6), registration(1, 1, 2, 6)]);
    shards.await_published(0, 1);
    shards.await_published(1, 1);
    let mut client = Peer::connect(addr);
    for topic in ["topic-0", "topic-20000", "topic-44999"] {
        assert!(client.route(topic).text().contains(r#""perm":6"#));
    }
    let both = client.route("topic-1");
    assert!(both.text().contains("broker-0") && both.text().contains("broker-1"));
    shards.updaters[0].update(registration(0, 2, 45_000, 4));
    shards.await_published(0, 2);
    for topic in ["topic-2", "topic-20000", "topic-44999"] {
        assert!(client.route(topic).text().contains(r#""perm":4"#), "{topic}");
    }
    shards.stop();
    assert_eq!(client.route("topic-0").code, 17);
    stop.send(true).unwrap();
    serving.join().unwrap();
}
