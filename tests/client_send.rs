//! `ringmq send` against peers that remember what they were asked.

mod client_common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use client_common::{Broker, NameServer, Peer, dead_address, refusal};
use ringmq::client::{ClientError, send_to};
use ringmq::config::SendConfig;

fn config(name_servers: Vec<String>, body: Option<&str>) -> SendConfig {
    SendConfig {
        topic: "T".to_owned(),
        body: body.map(str::to_owned),
        name_servers,
        tag: None,
        keys: None,
    }
}

/// What was printed and noted, or the error.
fn send(config: SendConfig, input: &str) -> Result<(Vec<String>, String), ClientError> {
    let (mut output, mut notes) = (Vec::new(), Vec::new());
    send_to(config, input.as_bytes(), &mut output, &mut notes)?;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ok((text(output).lines().map(str::to_owned).collect(), text(notes)))
}

fn told(config: SendConfig, input: &str) -> String {
    send(config, input).expect_err("it must fail").to_string()
}

#[test]
fn a_message_goes_out_as_other_clients_send_it_and_its_place_is_printed() {
    let (names, broker) = (NameServer::start(), Broker::start(1));
    names.tell("T", &[("broker-0", broker.address(), 1)]);
    let config = SendConfig {
        tag: Some("red".to_owned()),
        keys: Some("k1 k2".to_owned()),
        ..config(names.address(), Some("gr\u{fc}n"))
    };
    let (lines, notes) = send(config, "not read\n").unwrap();

    let sent = broker.queues().sent.clone();
    let [sent] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(broker.queues().asked, [310]);
    assert_eq!((sent.topic.as_str(), sent.queue, &sent.body[..]), ("T", 0, "gr\u{fc}n".as_bytes()));
    assert_eq!((sent.default_topic.as_str(), sent.default_queues), ("TBW102", 4));
    assert_eq!(sent.group, "ringmq_send");
    assert_eq!(sent.property("TAGS").unwrap(), "red");
    assert_eq!(sent.property("KEYS").unwrap(), "k1 k2");
    let id = sent.property("UNIQ_KEY").unwrap();
    assert!(id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_hexdigit()), "{id}");
    assert_eq!(lines, [format!("sent {id} queue broker-0/0 offset 0")]);
    assert_eq!(notes, "");
}

#[test]
fn each_line_is_a_message_and_all_queues_take_their_turn() {
    let (names, left, right) = (NameServer::start(), Broker::start(2), Broker::start(2));
    names.tell("T", &[("l", left.address(), 2), ("r", right.address(), 2)]);
    let input = "0\n1\n\n2 \n3\r\n4\n5\n6\nlast";
    let (lines, _) = send(config(names.address(), None), input).unwrap();
    assert_eq!(lines.len(), 8, "an empty line is no message");

    let mut bodies = Vec::new();
    for broker in [&left, &right] {
        let queues = broker.queues();
        for queue in 0..2 {
            assert_eq!(queues.sent.iter().filter(|sent| sent.queue == queue).count(), 2);
        }
        bodies.extend(queues.sent.iter().map(|sent| String::from_utf8(sent.body.clone()).unwrap()));
    }
    bodies.sort();
    assert_eq!(bodies, ["0", "1", "2 ", "3\r", "4", "5", "6", "last"]);
}

#[test]
fn input_without_a_line_sends_nothing_and_says_so() {
    let names = NameServer::start();
    let (lines, notes) = send(config(names.address(), None), "\n\n").unwrap();
    assert_eq!(lines, [] as [String; 0]);
    assert_eq!(notes, "nothing was sent: standard input has no line\n");
}

#[test]
fn a_new_topic_takes_the_route_of_the_model_with_four_queues_at_most() {
    let (names, broker) = (NameServer::start(), Broker::start(4));
    names.tell("TBW102", &[("b", broker.address(), 8)]);
    send(config(names.address(), None), "1\n2\n3\n4\n5\n6\n7\n8\n").unwrap();
    let mut queues: Vec<i32> = broker.queues().sent.iter().map(|sent| sent.queue).collect();
    queues.sort();
    assert_eq!(queues, [0, 0, 1, 1, 2, 2, 3, 3]);
}

#[test]
fn a_topic_that_nobody_creates_or_lets_be_written_is_told_with_a_remedy() {
    let names = NameServer::start();
    let text = told(config(names.address(), Some("x")), "");
    assert!(text.starts_with("topic T does not exist") && text.contains("updateTopic"), "{text}");
    names.tell("T", &[]);
    let text = told(config(names.address(), Some("x")), "");
    assert!(text.contains("no queue that takes messages"), "{text}");
}

#[test]
fn without_a_name_server_the_error_says_how_to_start_one() {
    let (first, second) = (dead_address(), dead_address());
    let text = told(config(vec![first.clone(), second.clone()], Some("x")), "");
    for part in [&first[..], &second, "cargo run --release", "--namesrv"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    // One that is there is enough.
    let (names, broker) = (NameServer::start(), Broker::start(1));
    names.tell("T", &[("b", broker.address(), 1)]);
    send(config(vec![first, names.peer.address.clone()], Some("x")), "").unwrap();
}

#[test]
fn a_refusal_is_told_with_code_and_remark_and_how_far_it_got() {
    let (names, broker) = (NameServer::start(), Broker::start(1));
    names.tell("T", &[("b", broker.address(), 1)]);
    broker.refuse_next(310, 13, "the body is too fat");
    let text = told(config(names.address(), Some("x")), "");
    assert_eq!(text, "broker b refused: code 13 (MESSAGE_ILLEGAL): the body is too fat");

    send(config(names.address(), Some("x")), "").unwrap();
    broker.refuse_next(310, 16, "no");
    let text = told(config(names.address(), None), "a\n\nb\n");
    let expected = "line 1 was not sent, 0 before it were: broker b refused: code 16";
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn a_busy_or_absent_broker_is_passed_over() {
    let (names, broker) = (NameServer::start(), Broker::start(1));
    names.tell("T", &[("gone", &dead_address(), 1), ("b", broker.address(), 1)]);
    let (lines, _) = send(config(names.address(), None), "1\n2\n3\n").unwrap();
    assert_eq!(lines.len(), 3);
    assert_eq!(broker.queues().sent.len(), 3);

    names.tell("T", &[("b", broker.address(), 1)]);
    broker.refuse_next(310, 2, "busy");
    broker.refuse_next(310, 14, "no space");
    let (lines, _) = send(config(names.address(), Some("x")), "").unwrap();
    assert!(lines[0].ends_with("queue b/0 offset 3"), "{lines:?}");
    for _ in 0..3 {
        broker.refuse_next(310, 2, "still busy");
    }
    let text = told(config(names.address(), Some("x")), "");
    assert_eq!(text, "broker b refused: code 2 (SYSTEM_BUSY): still busy");

    names.tell("T", &[("gone", &dead_address(), 1)]);
    let text = told(config(names.address(), Some("x")), "");
    assert!(text.contains("broker gone cannot be reached") && text.contains("nothing"), "{text}");
}

#[test]
fn a_message_that_may_be_stored_is_not_sent_again() {
    let (names, asked) = (NameServer::start(), Arc::new(AtomicUsize::new(0)));
    let counter = asked.clone();
    let peer = Peer::start(move |(): &mut (), _, client| {
        counter.fetch_add(1, Ordering::SeqCst);
        client.hang_up();
    });
    names.tell("T", &[("silent", &peer.address, 1)]);
    let text = told(config(names.address(), Some("x")), "");
    assert!(text.contains("whether the message is stored is unknown"), "{text}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[test]
fn stored_but_not_flushed_is_sent_with_a_reservation() {
    let names = NameServer::start();
    let peer = Peer::start(|(): &mut (), request, client| {
        let fields = |writer: &mut ringmq::wire::FrameWriter<'_>| {
            writer.field("msgId", "0").field_i64("queueId", 0).field_i64("queueOffset", 7);
        };
        client.write(&client_common::reply(request, 10, fields));
    });
    names.tell("T", &[("b", &peer.address, 1)]);
    let (lines, notes) = send(config(names.address(), Some("x")), "").unwrap();
    assert!(lines[0].ends_with("queue b/0 offset 7"), "{lines:?}");
    assert!(notes.contains("is stored, but broker b says FLUSH_DISK_TIMEOUT"), "{notes}");
}

#[test]
fn a_connection_that_the_broker_closed_meanwhile_is_opened_anew() {
    let (names, broker) = (NameServer::start(), Broker::start(1));
    names.tell("T", &[("b", broker.address(), 1)]);
    // Between the two lines the broker closes what was idle.
    let input = std::io::BufReader::new(Closing { broker: &broker, given: 0 });
    let (mut output, mut notes) = (Vec::new(), Vec::new());
    send_to(config(names.address(), None), input, &mut output, &mut notes).unwrap();
    assert_eq!(broker.queues().sent.len(), 2);
}

struct Closing<'b> {
    broker: &'b Broker,
    given: usize,
}

impl std::io::Read for Closing<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.given += 1;
        match self.given {
            1 => bytes[..2].copy_from_slice(b"a\n"),
            2 => {
                self.broker.drop_connections();
                bytes[..2].copy_from_slice(b"b\n");
            }
            _ => return Ok(0),
        }
        Ok(2)
    }
}

#[test]
fn what_no_broker_takes_is_not_sent() {
    let (names, broker) = (NameServer::start(), Broker::start(1));
    names.tell("T", &[("b", broker.address(), 1)]);
    assert!(told(config(names.address(), Some("")), "").contains("needs a body"));
    let tagged =
        SendConfig { tag: Some("a\u{1}b".to_owned()), ..config(names.address(), Some("x")) };
    assert!(told(tagged, "").contains("byte 1 or 2"));
    let long = "x".repeat(4 * 1024 * 1024 + 1);
    let text = told(config(names.address(), None), &format!("a\n{long}\nb\n"));
    assert!(text.starts_with("line 2 was not sent, 1 before it were: it is longer"), "{text}");
    assert_eq!(broker.queues().sent.len(), 1);
}

#[test]
fn a_peer_that_talks_nonsense_is_an_error_not_a_crash() {
    let nonsense = Peer::start(|(): &mut (), _, client| client.write(&[0xff; 64]));
    let text = told(config(vec![nonsense.address.clone()], Some("x")), "");
    assert!(text.contains("frame of 4294967295 bytes"), "{text}");
    let odd = Peer::start(|(): &mut (), request, client| client.write(&refusal(request, 0, "")));
    let text = told(config(vec![odd.address.clone()], Some("x")), "");
    assert!(text.contains("answered what cannot be read"), "{text}");
}
