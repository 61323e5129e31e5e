//! The generator against servers whose answers are known.

use ringmq_bench::load::{
    self, Limit, LoadPlan, LoadResult, MessageShape, Produce, Protocol, Remoting,
};
use ringmq_bench::sink::{self, Answer};
use ringmq_bench::target::Endpoint;
use ringmq_bench::wire::Codec;
use std::time::Duration;

fn remoting(codec: Codec, ok_code: i32) -> Protocol {
    Protocol::Remoting(Remoting {
        codec,
        group: "g".into(),
        broker_name: None,
        tags: vec![],
        default_queues: 3,
        ok_code,
    })
}

fn plan(answer: Answer, messages: u64) -> LoadPlan {
    let shape = MessageShape { topic: "t".into(), size: 256, batch: 1, run: 1 };
    let protocol = remoting(Codec::Json, 0);
    let addr = sink::spawn(answer).unwrap();
    LoadPlan {
        shape,
        protocol,
        endpoints: vec![Endpoint { addr, name: None, queues: vec![0, 1, 2] }],
        connections: 3,
        window: 5,
        threads: 2,
        cores: vec![],
        rate: 0.0,
        limit: Limit::Messages(messages),
        warmup: Duration::ZERO,
        spin: false,
    }
}

fn run(plan: &LoadPlan) -> LoadResult {
    load::run(plan, |_| {}).unwrap()
}

/// Requests and messages with success, inside and outside of the measurement.
fn successes(result: &LoadResult) -> (u64, u64) {
    let (a, b) = (&result.recorder.measured, &result.recorder.outside);
    (a.requests + b.requests, a.messages + b.messages)
}

#[test]
fn every_message_asked_for_is_sent_and_acknowledged() {
    for codec in [Codec::Json, Codec::Binary] {
        for batch in [1, 4] {
            let mut plan = plan(Answer::Success, 4_000);
            plan.protocol = remoting(codec, 0);
            plan.shape.batch = batch;
            let result = run(&plan);
            assert!(result.recorder.measured.is_clean(), "{:?}", result.recorder.measured);
            assert_eq!(successes(&result), (4_000 / batch as u64, 4_000));
            let sent: u64 = result.ledger.streams.iter().map(|record| record.sent).sum();
            assert_eq!((result.ledger.streams.len(), sent), (9, 4_000));
            assert!(result.ledger.streams.iter().all(|record| record.unacknowledged.is_empty()));
        }
    }
}

#[test]
fn refusals_are_counted_by_code_and_kept_in_the_ledger() {
    let result = run(&plan(Answer::RefuseEvery(10, 2), 3_000));
    let (a, b) = (&result.recorder.measured, &result.recorder.outside);
    let refused =
        |codes: &std::collections::BTreeMap<i32, u64>| codes.get(&2).copied().unwrap_or(0);
    assert_eq!(refused(&a.refused) + refused(&b.refused), 300);
    assert_eq!(successes(&result).0, 2_700);
    let lost: usize = result.ledger.streams.iter().map(|r| r.unacknowledged.len()).sum();
    assert_eq!(lost, 300);
}

fn kafka_plan(refuse: Option<(u64, i16)>, messages: u64) -> LoadPlan {
    let protocol = Protocol::Kafka(Produce { acks: 1 });
    LoadPlan { protocol, ..plan(Answer::Kafka { refuse }, messages) }
}

#[test]
fn kafka_gets_every_message_by_the_same_loop() {
    for batch in [1, 100] {
        let mut plan = kafka_plan(None, 6_000);
        plan.shape.batch = batch;
        let result = run(&plan);
        assert!(result.recorder.measured.is_clean(), "{:?}", result.recorder.measured);
        assert_eq!(successes(&result), (6_000 / batch as u64, 6_000));
        let sent: u64 = result.ledger.streams.iter().map(|record| record.sent).sum();
        assert_eq!((result.ledger.streams.len(), sent), (9, 6_000));
    }
}

#[test]
fn what_kafka_refuses_is_counted_and_kept_in_the_ledger() {
    let result = run(&kafka_plan(Some((10, 6)), 3_000));
    let (a, b) = (&result.recorder.measured, &result.recorder.outside);
    let refused: u64 = a.refused.get(&6).into_iter().chain(b.refused.get(&6)).sum();
    assert_eq!((refused, successes(&result).0), (300, 2_700));
    let lost: usize = result.ledger.streams.iter().map(|r| r.unacknowledged.len()).sum();
    assert_eq!(lost, 300);
}

#[test]
fn a_server_that_speaks_the_other_protocol_breaks_the_connection_with_a_reason() {
    let mut plan = plan(Answer::Kafka { refuse: None }, 100);
    let found = run(&plan);
    assert!(
        !found.recorder.measured.broken.is_empty() || !found.recorder.outside.broken.is_empty()
    );
    plan.endpoints[0].addr = sink::spawn(Answer::Success).unwrap();
    plan.protocol = Protocol::Kafka(Produce { acks: 1 });
    let found = run(&plan);
    assert!(
        !found.recorder.measured.broken.is_empty() || !found.recorder.outside.broken.is_empty()
    );
}

#[test]
fn an_echo_of_the_request_is_a_success_when_asked_for() {
    let mut plan = plan(Answer::Echo, 1_000);
    plan.protocol = remoting(Codec::Json, 310);
    plan.shape.size = 100_000;
    let result = run(&plan);
    assert!(result.recorder.measured.is_clean(), "{:?}", result.recorder.measured);
    assert_eq!(successes(&result).0, 1_000);
}

#[test]
fn an_open_loop_keeps_its_rate() {
    let mut plan = plan(Answer::Success, 0);
    plan.limit = Limit::For(Duration::from_millis(500));
    plan.rate = 2_000.0;
    let result = run(&plan);
    let sent: u64 = result.ledger.streams.iter().map(|record| record.sent).sum();
    // The schedule sets the number, up to when each thread began and ended.
    let due = 2_000.0 * result.elapsed.as_secs_f64();
    assert!((due * 0.8..due * 1.2).contains(&(sent as f64)), "{sent} sent, {due} due");
}

#[test]
fn a_broker_that_cannot_be_reached_is_an_error() {
    let mut plan = plan(Answer::Success, 10);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    plan.endpoints[0].addr = free;
    assert!(load::run(&plan, |_| {}).is_err());
}
