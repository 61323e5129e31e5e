//! A disk that takes no more of the log.

use std::time::{Duration, Instant};

use ringmq::wire::body::from_bytes;
use ringmq::wire::body::route::TopicRoute;
use ringmq::wire::code::request;

use crate::node::Place;
use crate::peer::Peer;
use crate::requests::{ask, pull, send};

const PATIENCE: Duration = Duration::from_secs(30);
const MIB: usize = 1024 * 1024;

/// What the name server lets clients do with topic T.
fn permission(name_server: &mut Peer) -> i32 {
    let reply = name_server.ask(&ask(request::GET_ROUTEINFO_BY_TOPIC).with("topic", "T"));
    let route: TopicRoute = from_bytes(&reply.expect(0).body).unwrap();
    route.queue_datas[0].perm
}

#[test]
fn a_shard_whose_log_fails_keeps_serving_reads_and_sends_its_clients_elsewhere() {
    if std::env::var("RINGMQ_TEST_WRITE").is_ok_and(|mode| mode == "mmap") {
        // A bound on the size of files does not hold for what is copied into a mapping.
        return;
    }
    let place = Place::new();
    let mut node = place.spawn_boundable(&["--ack", "written"]).ready();
    let mut peer = Peer::connect(&node.address);
    let mut name_server = Peer::connect(&node.name_server);
    peer.create("T");
    for _ in 0..5 {
        peer.ask(&send("T", 0, vec![b'x'; MIB])).expect(0);
    }
    assert_eq!(permission(&mut name_server), 6);

    node.bound_files(4 * MIB as u64);
    let refused = peer.ask(&send("T", 0, "one too many")).expect(14);
    assert!(refused.remark().contains("CommitLog has failed"), "{refused:?}");
    assert!(refused.remark().contains("File too large"), "{refused:?}");
    peer.ask(&send("T", 0, "another")).expect(14);
    assert_eq!(
        peer.ask(&pull("consumers", "T", 0, 0).with("maxMsgNums", 1)).expect(0).bodies().len(),
        1
    );
    let begun = Instant::now();
    while permission(&mut name_server) != 4 {
        assert!(begun.elapsed() < PATIENCE, "the route still says that T can be written");
        std::thread::sleep(Duration::from_millis(5));
    }

    let code = node.terminate();
    assert!(code.is_some_and(|code| code > 0), "{code:?}");
    let said = place.log_of_node();
    let end = said.lines().find(|line| line.contains("a shard has not ended well"));
    let end = end.unwrap_or_else(|| panic!("no word of it: {said}"));
    assert!(end.contains("ERROR") && end.contains("File too large"), "{end}");
}
