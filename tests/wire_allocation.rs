//! Sends and pulls are read and answered without touching the heap.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use ringmq::wire::{
    BatchEntries, BatchEntry, Codec, FrameWriter, PullReply, PullRequest, Request, SendReply,
    SendRequest, Value,
};

/// Counts what the current thread asks of the heap.
struct Counting;

thread_local! {
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.set(ASKED.get() + 1);
        // SAFETY: the caller's promise about `layout` is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: `at` came from `alloc` above with this layout.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn asked_during(work: impl FnOnce()) -> u64 {
    let before = ASKED.get();
    work();
    ASKED.get() - before
}

fn send(codec: Codec, body: &[u8]) -> Vec<u8> {
    let send = SendRequest {
        producer_group: Value::of("group"),
        topic: Value::of("topic"),
        default_topic: Value::of("TBW102"),
        default_topic_queue_nums: 4,
        queue_id: 2,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        flag: 0,
        properties: Some(Value::of("TAGS\u{1}A\u{2}UNIQ_KEY\u{1}7F000001\u{2}")),
        reconsume_times: 0,
        unit_mode: false,
        max_reconsume_times: None,
        batch: false,
        broker_name: Some(Value::of("broker-0")),
        body,
    };
    let mut frame = Vec::new();
    let mut writer = FrameWriter::request(&mut frame, codec, 1, 320, false);
    send.encode(320, &mut writer);
    writer.finish_with_body(body);
    frame
}

fn pull(codec: Codec) -> Vec<u8> {
    let pull = PullRequest {
        consumer_group: Value::of("group"),
        topic: Value::of("topic"),
        queue_id: 0,
        queue_offset: 100,
        max_msg_nums: 32,
        sys_flag: 3,
        commit_offset: 100,
        suspend_timeout_millis: 15_000,
        subscription: Some(Value::of("*")),
        sub_version: 1,
        expression_type: Some(Value::of("TAG")),
        max_msg_bytes: None,
        request_source: None,
        proxy_forward_client_id: None,
        transfer: None,
    };
    let mut frame = Vec::new();
    let mut writer = FrameWriter::request(&mut frame, codec, 1, 11, false);
    pull.encode(&mut writer);
    writer.finish(0);
    frame
}

#[test]
fn a_send_is_read_and_answered_without_the_heap() {
    let entry =
        BatchEntry { flag: 0, body_at: 0, body: b"payload", properties: b"UNIQ_KEY\x01a\x02" };
    let mut body = Vec::new();
    (0..4).for_each(|_| entry.encode(&mut body));
    let (mut properties, mut out) = (Vec::with_capacity(1024), Vec::with_capacity(1024));
    for codec in [Codec::Json, Codec::Binary] {
        let frame = send(codec, &body);
        let asked = asked_during(|| {
            for opaque in 0..100 {
                let (request, _) = Request::read(&frame).unwrap().unwrap();
                let send = SendRequest::decode(&request).unwrap();
                properties.clear();
                send.properties.unwrap().append_to(&mut properties);
                assert_eq!(BatchEntries::new(send.body).map(Result::unwrap).count(), 4);
                out.clear();
                let mut writer = FrameWriter::reply(&mut out, codec, opaque, 0);
                let reply = SendReply {
                    message_id: Value::of("7F00000100002A9F0000000000ABCDEF"),
                    queue_id: send.queue_id,
                    queue_offset: 5,
                    transaction_id: None,
                    batch_unique_id: None,
                    recall_handle: None,
                    region: Some(Value::of("DefaultRegion")),
                    trace_on: Some(true),
                };
                reply.encode(&mut writer);
                assert!(writer.finish(0));
            }
        });
        assert_eq!(asked, 0, "{codec:?}");
        assert_eq!(properties, b"TAGS\x01A\x02UNIQ_KEY\x017F000001\x02");
    }
}

#[test]
fn a_pull_is_read_and_answered_without_the_heap() {
    let mut out = Vec::with_capacity(1024);
    for codec in [Codec::Json, Codec::Binary] {
        let frame = pull(codec);
        let asked = asked_during(|| {
            for opaque in 0..100 {
                let (request, _) = Request::read(&frame).unwrap().unwrap();
                let pull = PullRequest::decode(&request.ext).unwrap();
                assert!(pull.topic == *"topic");
                out.clear();
                let mut writer = FrameWriter::reply(&mut out, codec, opaque, 0);
                writer.remark("FOUND");
                let reply = PullReply {
                    suggest_which_broker_id: 0,
                    next_begin_offset: pull.queue_offset + 1,
                    min_offset: 0,
                    max_offset: 200,
                    offset_delta: None,
                    topic_sys_flag: None,
                    group_sys_flag: None,
                    forbidden_type: None,
                };
                reply.encode(&mut writer);
                assert!(writer.finish(0));
            }
        });
        assert_eq!(asked, 0, "{codec:?}");
    }
}

#[test]
fn the_counter_counts() {
    assert_eq!(asked_during(|| drop(std::hint::black_box(vec![1_u8]))), 1);
}
