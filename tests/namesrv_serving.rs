//! The name server over real sockets: connections, their limits and their ends.

mod namesrv_common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use namesrv_common::Peer;
use ringmq::control::name_server::{Keep, NameServerService};
use ringmq::namesrv::{Options, ValueChange};
use tokio::sync::{oneshot, watch};

struct Service {
    addr: SocketAddr,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Service {
    fn start() -> Self {
        Self::start_with(|| None)
    }

    fn start_with(keep: impl FnOnce() -> Option<Keep> + Send + 'static) -> Self {
        let listener = NameServerService::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopping) = watch::channel(false);
        let thread = thread::spawn(move || {
            tokio_uring::start(async {
                let service = NameServerService::new(listener, Options::default(), [], keep());
                service.serve(stopping).await.unwrap();
            });
        });
        Self { addr, stop, thread }
    }

    fn peer(&self) -> Peer {
        Peer::connect(self.addr)
    }

    fn stop(self) {
        self.stop.send(true).unwrap();
        self.thread.join().unwrap();
    }
}

#[test]
fn frames_may_come_in_any_pieces() {
    let service = Service::start();
    let mut peer = service.peer();
    assert_eq!(peer.register("b", "a:1", &["T", "U"]).code, 0);
    let mut bytes = peer.frame(105, &[("topic", "T")], b"");
    bytes.extend(peer.frame(105, &[("topic", "none")], b""));
    for byte in bytes {
        peer.stream.write_all(&[byte]).unwrap();
    }
    assert_eq!((peer.read().unwrap().code, peer.read().unwrap().code), (0, 17));
    let long = "x".repeat(3_000_000);
    assert_eq!(peer.ask(105, &[("topic", &long)], b"").code, 17);
    assert_eq!(peer.route("T").code, 0);
    service.stop();
}

#[test]
fn a_broker_goes_with_its_connection() {
    let service = Service::start();
    let mut client = service.peer();
    let mut broker = service.peer();
    broker.register("b", "a:1", &["T", "U"]);
    assert_eq!(client.route("T").code, 0);
    drop(broker);
    client.await_route("T", |route| route.code == 17);
    service.stop();
}

#[test]
fn garbage_closes_its_connection_and_no_other() {
    let service = Service::start();
    let mut client = service.peer();
    client.register("b", "a:1", &["T", "U"]);
    let mut deep = b"\0\0\x10\x04\0\0\x10\0".to_vec();
    deep.extend([b'['; 4096]);
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 64], &deep] {
        let mut peer = service.peer();
        // The other end may be closed before all is written.
        let _ = peer.stream.write_all(garbage);
        assert!(peer.read().is_none());
    }
    assert_eq!(client.route("T").code, 0);
    service.stop();
}

#[test]
fn a_peer_that_takes_no_replies_delays_only_itself() {
    let service = Service::start();
    let mut client = service.peer();
    let topics: Vec<_> = (0..2000).map(|topic| format!("topic-{topic:0>100}")).collect();
    let topics: Vec<_> = topics.iter().map(String::as_str).collect();
    client.register("b", "a:1", &topics);
    let mut slow = service.peer();
    let request = slow.frame(206, &[], b"");
    let mut writer = slow.stream.try_clone().unwrap();
    // Replies of a gigabyte, for requests that the server stops reading at some point.
    let asking = thread::spawn(move || (0..5000).all(|_| writer.write_all(&request).is_ok()));
    slow.read().unwrap();
    for _ in 0..100 {
        assert_eq!(client.route(topics[7]).code, 0);
    }
    slow.stream.shutdown(std::net::Shutdown::Both).unwrap();
    asking.join().unwrap();
    service.stop();
}

#[test]
fn a_stop_closes_connections_and_frees_the_port() {
    let service = Service::start();
    let mut peer = service.peer();
    assert_eq!(peer.route("T").code, 17);
    let addr = service.addr;
    service.stop();
    assert_eq!(peer.stream.read(&mut [0]).unwrap_or(0), 0);
    TcpListener::bind(addr).unwrap();
}

#[test]
fn a_value_is_kept_before_its_reply_leaves() {
    let (told, changes) = mpsc::channel::<(Vec<ValueChange>, oneshot::Sender<_>)>();
    let service = Service::start_with(move || {
        Some(Box::new(move |changes| {
            let (done, outcome) = oneshot::channel();
            told.send((changes, done)).unwrap();
            outcome
        }))
    });
    let mut peer = service.peer();
    let put = peer.frame(100, &[("namespace", "n"), ("key", "k"), ("value", "v")], b"");
    peer.stream.write_all(&put).unwrap();
    let (changed, done) = changes.recv().unwrap();
    assert_eq!(changed.len(), 1);
    peer.stream.set_nonblocking(true).unwrap();
    assert!(peer.stream.peek(&mut [0]).is_err(), "no reply yet");
    peer.stream.set_nonblocking(false).unwrap();
    done.send(Ok(())).unwrap();
    assert_eq!(peer.read().unwrap().code, 0);

    peer.stream.write_all(&put).unwrap();
    changes.recv().unwrap().1.send(Err("the disk is full".to_owned())).unwrap();
    let reply = peer.read().unwrap();
    assert!(reply.code == 1 && reply.remark.contains("the disk is full"), "{reply:?}");
    service.stop();
}
