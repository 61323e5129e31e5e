//! `ringmq tail` against peers that hold pulls, come late, go away and refuse.

mod client_common;

use std::sync::mpsc::Receiver;
use std::thread::{self, JoinHandle};

use client_common::{Broker, Lines, NameServer, PATIENCE, Peer, dead_address, next};
use ringmq::client::{ClientError, tail_to};
use ringmq::config::{TailConfig, TailFrom};
use ringmq::wire::{Codec, FrameWriter, Request};

/// A tail on a thread of its own, with what it prints and notes.
struct Tailing {
    lines: Receiver<String>,
    notes: Receiver<String>,
    thread: JoinHandle<Result<(), ClientError>>,
}

fn tail(names: &NameServer, from: TailFrom, count: Option<u64>) -> Tailing {
    let config = TailConfig { topic: "T".to_owned(), from, count, name_servers: names.address() };
    let (output, lines) = Lines::new();
    let (told, notes) = Lines::new();
    let thread = thread::spawn(move || tail_to(config, output, told));
    Tailing { lines, notes, thread }
}

impl Tailing {
    fn next(&self) -> String {
        next(&self.lines)
    }

    /// So many lines, those of different queues in any order.
    fn sorted(&self, lines: usize) -> Vec<String> {
        let mut lines: Vec<String> = (0..lines).map(|_| self.next()).collect();
        lines.sort();
        lines
    }

    fn expect_note(&self, part: &str) {
        let note = next(&self.notes);
        assert!(note.contains(part), "{part:?} in {note:?}");
    }

    /// Ends after its count; nothing may be printed or noted beyond what was taken.
    fn end(self) -> Result<(), ClientError> {
        let result = self.thread.join().unwrap();
        assert_eq!(self.lines.iter().collect::<Vec<_>>(), [] as [String; 0]);
        result
    }
}

#[test]
fn from_first_everything_comes_of_all_queues_each_in_its_order() {
    let (names, left, right) = (NameServer::start(), Broker::start(2), Broker::start(1));
    names.tell("T", &[("l", left.address(), 2), ("r", right.address(), 1)]);
    for body in ["a", "b", "c", "d", "e"] {
        left.append(0, body.as_bytes(), b"TAGS\x01red\x02");
    }
    left.append(1, b"\xff", b"");
    right.append(0, b"x", b"");
    let tail = tail(&names, TailFrom::First, Some(8));
    let lines = tail.sorted(7);
    right.append(0, b"y", b"");
    assert_eq!(tail.next(), "r/0@1 [] y");
    tail.end().unwrap();
    let expected = [
        "l/0@0 [red] a",
        "l/0@1 [red] b",
        "l/0@2 [red] c",
        "l/0@3 [red] d",
        "l/0@4 [red] e",
        "l/1@0 [] 0xff",
        "r/0@0 [] x",
    ];
    assert_eq!(lines, expected);
    let heartbeat = left.queues().heartbeats.remove(0);
    assert_eq!(heartbeat.consumer_data_set[0].group_name, "TOOLS_CONSUMER");
    assert_eq!(heartbeat.consumer_data_set[0].subscription_data_set[0].topic, "T");
}

#[test]
fn from_last_only_what_comes_after_the_note_is_printed() {
    let (names, broker) = (NameServer::start(), Broker::start(2));
    names.tell("T", &[("b", broker.address(), 2)]);
    broker.append(0, b"old", b"");
    let tail = tail(&names, TailFrom::Last, Some(2));
    tail.expect_note("following T: queues 2, brokers 1");
    broker.append(0, b"new", b"");
    assert_eq!(tail.next(), "b/0@1 [] new");
    broker.append(1, b"newer", b"");
    assert_eq!(tail.next(), "b/1@0 [] newer");
    tail.end().unwrap();
}

#[test]
fn a_topic_that_does_not_exist_yet_is_waited_for_from_its_first_message_on() {
    let (names, broker) = (NameServer::start(), Broker::start(1));
    let tail = tail(&names, TailFrom::Last, Some(1));
    tail.expect_note("topic T does not exist yet; waiting for it");
    broker.append(0, b"first", b"");
    names.tell("T", &[("b", broker.address(), 1)]);
    // Said once, however often it is asked for: the next note is that it is found.
    tail.expect_note("following T");
    assert_eq!(tail.next(), "b/0@0 [] first");
    tail.end().unwrap();
}

#[test]
fn queues_and_brokers_that_come_later_are_found() {
    let (names, first, second) = (NameServer::start(), Broker::start(1), Broker::start(1));
    names.tell("T", &[("a", first.address(), 1)]);
    let tail = tail(&names, TailFrom::Last, Some(2));
    tail.expect_note("following T: queues 1, brokers 1");
    first.append(1, b"of the new queue", b"");
    second.append(0, b"of the new broker", b"");
    names.tell("T", &[("a", first.address(), 2), ("b", second.address(), 1)]);
    let expected = ["a/1@0 [] of the new queue", "b/0@0 [] of the new broker"];
    assert_eq!(tail.sorted(2), expected);
    tail.end().unwrap();
    assert_eq!(second.queues().searched.len(), 1, "a broker may have older messages as well");
    assert_eq!(first.queues().searched, [] as [i64; 0]);
}

#[test]
fn after_a_lost_connection_nothing_is_missing_or_twice() {
    let (names, broker) = (NameServer::start(), Broker::start(1));
    names.tell("T", &[("b", broker.address(), 1)]);
    let tail = tail(&names, TailFrom::Last, Some(4));
    tail.expect_note("following T");
    broker.append(0, b"0", b"");
    broker.append(0, b"1", b"");
    assert_eq!([tail.next(), tail.next()], ["b/0@0 [] 0", "b/0@1 [] 1"]);
    broker.wait_for_held(1);
    broker.drop_connections();
    broker.append(0, b"2", b"");
    tail.expect_note("trying on");
    assert_eq!(tail.next(), "b/0@2 [] 2");
    broker.append(0, b"3", b"");
    assert_eq!(tail.next(), "b/0@3 [] 3");
    tail.end().unwrap();
    assert_eq!(broker.queues().heartbeats.len(), 2, "one for each connection, before it pulls");
}

#[test]
fn a_broker_that_is_away_at_first_is_read_from_when_the_tail_began() {
    let (names, address) = (NameServer::start(), dead_address());
    names.tell("T", &[("b", &address, 1)]);
    let tail = tail(&names, TailFrom::Last, Some(1));
    tail.expect_note("trying on");
    let broker = Broker::start_at(&address, 1);
    broker.append(0, b"meanwhile", b"");
    tail.expect_note("following T");
    assert_eq!(tail.next(), "b/0@0 [] meanwhile");
    tail.end().unwrap();
    assert_eq!(broker.queues().asked[..3], [34, 29, 11]);
}

#[test]
fn a_passing_refusal_is_told_and_passed_over() {
    let (names, broker) = (NameServer::start(), Broker::start(1));
    names.tell("T", &[("b", broker.address(), 1)]);
    broker.append(0, b"x", b"");
    broker.refuse_next(11, 2, "busy");
    broker.refuse_next(11, 2, "busy");
    let tail = tail(&names, TailFrom::First, Some(1));
    tail.expect_note("following T");
    tail.expect_note("broker b refused: code 2 (SYSTEM_BUSY): busy; trying on");
    assert_eq!(tail.next(), "b/0@0 [] x");
    assert_eq!(tail.notes.iter().count(), 0, "twice the same is told once");
    tail.end().unwrap();
}

#[test]
fn a_refusal_that_no_try_would_change_ends_it_with_code_and_remark() {
    let (names, broker) = (NameServer::start(), Broker::start(1));
    names.tell("T", &[("b", broker.address(), 1)]);
    broker.refuse_next(11, 16, "the topic cannot be read");
    let error = tail(&names, TailFrom::First, None).end().unwrap_err().to_string();
    let expected = "broker b refused: code 16 (NO_PERMISSION): the topic cannot be read";
    assert_eq!(error, expected);
}

#[test]
fn an_offset_that_the_broker_corrects_is_followed() {
    let (names, broker) = (NameServer::start(), Broker::start(1));
    names.tell("T", &[("b", broker.address(), 1)]);
    broker.append(0, b"0", b"");
    broker.append(0, b"1", b"");
    let tail = tail(&names, TailFrom::Last, Some(1));
    broker.wait_for_held(1);
    // The broker lost its data and came back: it has nothing at offset 2 any more.
    broker.forget_all();
    broker.append(0, b"anew", b"");
    broker.drop_connections();
    assert_eq!(tail.next(), "b/0@0 [] anew");
    tail.end().unwrap();
}

#[test]
fn without_a_name_server_at_first_it_fails_and_later_goes_on() {
    let config = TailConfig {
        topic: "T".to_owned(),
        from: TailFrom::Last,
        count: None,
        name_servers: vec![dead_address()],
    };
    let error = tail_to(config, Vec::new(), Vec::new()).unwrap_err().to_string();
    assert!(error.contains("cargo run --release"), "{error}");

    let (names, broker) = (NameServer::start(), Broker::start(1));
    names.tell("T", &[("b", broker.address(), 1)]);
    let tail = tail(&names, TailFrom::Last, Some(1));
    tail.expect_note("following T");
    names.peer.stop();
    tail.expect_note("no name server can be reached");
    broker.append(0, b"x", b"");
    assert_eq!(tail.next(), "b/0@0 [] x");
    tail.end().unwrap();
}

#[test]
fn what_a_broker_asks_is_declined_and_what_it_tells_ignored() {
    let names = NameServer::start();
    let (declined, was_declined) = std::sync::mpsc::channel();
    let peer = Peer::start(move |(): &mut (), request: &Request<'_>, client| {
        if request.is_response() {
            _ = declined.send((request.opaque, request.code));
            return;
        }
        let mut out = Vec::new();
        FrameWriter::request(&mut out, Codec::Json, 70, 40, true).finish(0);
        FrameWriter::request(&mut out, Codec::Json, 71, 307, false).finish(0);
        client.write(&out);
    });
    names.tell("T", &[("b", &peer.address, 1)]);
    let _tail = tail(&names, TailFrom::Last, None);
    assert_eq!(was_declined.recv_timeout(PATIENCE).unwrap(), (71, 3));
}

#[test]
fn a_broken_message_is_told_and_the_next_pull_goes_on() {
    let (names, broker) = (NameServer::start(), Broker::start(1));
    names.tell("T", &[("b", broker.address(), 1)]);
    broker.append_raw(0, b"\x00\x00\x00\x09garbage".to_vec());
    broker.append(0, b"hidden behind it", b"");
    broker.append(0, b"fine", b"");
    let tail = tail(&names, TailFrom::First, Some(1));
    tail.expect_note("following T");
    tail.expect_note("what follows is not shown");
    assert_eq!(tail.next(), "b/0@2 [] fine");
    tail.end().unwrap();
}

#[test]
fn an_output_that_nobody_reads_ends_it() {
    let (names, broker) = (NameServer::start(), Broker::start(1));
    names.tell("T", &[("b", broker.address(), 1)]);
    broker.append(0, b"x", b"");
    let Tailing { lines, notes: _notes, thread } = tail(&names, TailFrom::First, None);
    assert_eq!(next(&lines), "b/0@0 [] x");
    drop(lines);
    broker.append(0, b"y", b"");
    assert!(matches!(thread.join().unwrap(), Err(ClientError::Output(_))));
}
