//! Mutated frames, headers, batches, records and bodies: whatever arrives, the answer
//! is a value or an error, and what is accepted means the same when written again.
//!
//! Each target runs for a share of RINGMQ_FUZZ_SECONDS (default 2) from RINGMQ_FUZZ_SEED
//! (default 1) and prints the input that failed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use ringmq::wire::body::{self, properties, register::Registration};
use ringmq::wire::message::sys_flag;
use ringmq::wire::{
    BatchEntries, BatchEntry, Codec, FrameWriter, OffsetMessageId, PullRequest, Request,
    SendRequest, StoredMessages, Value,
};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Runs `target` over mutations of `corpus`, the corpus itself first.
fn fuzz(corpus: &[Vec<u8>], target: impl Fn(&[u8])) {
    let seed = setting("RINGMQ_FUZZ_SEED", 1);
    let mut rng = SmallRng::seed_from_u64(seed);
    let end = Instant::now() + Duration::from_secs(setting("RINGMQ_FUZZ_SECONDS", 2));
    let mut inputs = corpus.iter().cloned();
    while Instant::now() < end {
        let input = inputs.next().unwrap_or_else(|| mutated(corpus, &mut rng));
        if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
            panic!("seed {seed}, input {}", input.escape_ascii());
        }
    }
}

fn mutated(corpus: &[Vec<u8>], rng: &mut SmallRng) -> Vec<u8> {
    let mut input = corpus.choose(rng).unwrap().clone();
    for _ in 0..rng.random_range(1..5) {
        if input.is_empty() {
            break;
        }
        let at = rng.random_range(0..input.len());
        match rng.random_range(0..8) {
            0 => input[at] ^= 1 << rng.random_range(0..8),
            1 => input[at] = rng.random(),
            2 => input.truncate(at),
            3 => input.insert(at, *b"\"\\{}[]:,0-eu\0\x01\x7f\xff".choose(rng).unwrap()),
            4 => {
                let end = rng.random_range(at..=input.len());
                input.drain(at..end);
            }
            5 => {
                let other = corpus.choose(rng).unwrap();
                let start = rng.random_range(0..=other.len());
                let end = rng.random_range(start..=other.len());
                input.splice(at..at, other[start..end].iter().copied());
            }
            6 => {
                let word = *[0_u32, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX, 22].choose(rng).unwrap();
                for (place, byte) in input[at..].iter_mut().zip(word.to_be_bytes()) {
                    *place = byte;
                }
            }
            _ => {
                let token = *[
                    &b"\\u0001"[..],
                    b"\\ud83d",
                    b"null",
                    b"true",
                    b"1e9",
                    b"-",
                    b"{0:",
                    b"\"a\":",
                    b"9223372036854775808",
                    b"\xf0\x9f",
                ]
                .choose(rng)
                .unwrap();
                input.splice(at..at, token.iter().copied());
            }
        }
    }
    input
}

fn send_frame(codec: Codec, code: i32, body: &[u8]) -> Vec<u8> {
    let send = SendRequest {
        producer_group: Value::of("group"),
        topic: Value::of("topic"),
        default_topic: Value::of("TBW102"),
        default_topic_queue_nums: 4,
        queue_id: 0,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        flag: 0,
        properties: Some(Value::of("TAGS\u{1}A\u{2}KEYS\u{1}\u{1f600}\u{2}")),
        reconsume_times: 0,
        unit_mode: false,
        max_reconsume_times: Some(16),
        batch: code == 320,
        broker_name: Some(Value::of("broker-0")),
        body,
    };
    let mut out = Vec::new();
    let mut writer = FrameWriter::request(&mut out, codec, 1, code, false);
    writer.remark("remark \" \n");
    send.encode(code, &mut writer);
    writer.finish_with_body(body);
    out
}

fn batch_body() -> Vec<u8> {
    let mut body = Vec::new();
    for entry in [
        BatchEntry { flag: 1, body_at: 0, body: b"one", properties: b"UNIQ_KEY\x01a\x02" },
        BatchEntry { flag: 0, body_at: 0, body: b"", properties: b"" },
        BatchEntry {
            flag: -1,
            body_at: 0,
            body: b"three",
            properties: "k\x01\u{e9}\x02".as_bytes(),
        },
    ] {
        entry.encode(&mut body);
    }
    body
}

const HEADERS: [&str; 4] = [
    r#"{"code":310,"extFields":{"a":"g","b":"T","c":"TBW102","d":4,"e":2,"f":0,"g":1700000000000,"h":0,"i":"TAGS\u0001A\u0002","j":0,"k":false},"flag":0,"language":"JAVA","opaque":7,"version":121}"#,
    r#"{"code":11,"extFields":{"consumerGroup":"g","topic":"T","queueId":"0","queueOffset":"10","maxMsgNums":"32","sysFlag":"3","commitOffset":"9","suspendTimeoutMillis":"15000","subVersion":"1","expressionType":"TAG","subscription":"a || b"},"flag":0,"language":"GO","opaque":-7,"serializeTypeCurrentRPC":"JSON","version":317}"#,
    "{ \"x\" : [1, {\"y\": null}, -1.5e3, \"\\ud83d\\ude00\"], \"opaque\":1,\r\n\"remark\":\"\", \"extFields\":null}\n",
    r#"{"code":0,"flag":1,"remark":"no \"such\" topic\n","extFields":{"offset":"5","hasMsg":"true","n":null}}"#,
];

/// Everything that can be asked of an accepted header.
fn use_request(request: &Request<'_>) {
    for field in request.ext.iter() {
        let text = field.value.text();
        let mut appended = Vec::new();
        field.value.append_to(&mut appended);
        assert_eq!(text.as_bytes(), appended);
        assert!(field.value == *text.as_ref());
        assert_eq!(field.value.i64().is_some(), text.parse::<i64>().is_ok());
        assert_eq!(field.value.bool(), text.eq_ignore_ascii_case("true"));
        assert!(field.value.plain().is_none_or(|plain| plain == appended));
        // Of several fields with one key, `get` takes the last.
        let last = request.ext.iter().rev().find(|other| other.key == field.key).unwrap();
        assert!(request.ext.get(&field.key.text()).unwrap() == last.value);
    }
    for codec in [Codec::Json, Codec::Binary] {
        written_again_means_the_same(request, codec);
    }
    if let Ok(send) = SendRequest::decode(request) {
        let mut out = Vec::new();
        let mut writer = FrameWriter::request(&mut out, Codec::Json, 1, request.code, false);
        send.encode(request.code, &mut writer);
        writer.finish_with_body(send.body);
        let (again, _) = Request::read(&out).unwrap().unwrap();
        assert_eq!(SendRequest::decode(&again), Ok(send));
    }
    if let Ok(pull) = PullRequest::decode(&request.ext) {
        let mut out = Vec::new();
        let mut writer = FrameWriter::request(&mut out, Codec::Json, 1, 11, false);
        pull.encode(&mut writer);
        writer.finish(0);
        let (again, _) = Request::read(&out).unwrap().unwrap();
        assert_eq!(PullRequest::decode(&again.ext), Ok(pull));
    }
}

fn written_again_means_the_same(request: &Request<'_>, codec: Codec) {
    let mut out = Vec::new();
    let mut writer = FrameWriter::reply(&mut out, codec, request.opaque, request.code);
    if let Some(remark) = request.remark {
        writer.remark(&remark.text());
    }
    for field in request.ext.iter() {
        writer.field_value(&field.key.text(), field.value);
    }
    assert!(writer.finish(0));
    let (again, _) = Request::read(&out).unwrap().unwrap();
    assert_eq!(again.opaque, request.opaque);
    // The binary header cannot tell an empty text from none, nor hold wide codes.
    let kept = |request: &Request<'_>| -> Vec<(String, String)> {
        let texts =
            request.ext.iter().map(|field| (field.key.text().into(), field.value.text().into()));
        texts
            .filter(|(key, value): &(String, String)| {
                codec == Codec::Json || !(key.is_empty() || value.is_empty())
            })
            .collect()
    };
    assert_eq!(kept(&again), kept(request));
    if codec == Codec::Json {
        assert_eq!(again.code, request.code);
        assert_eq!(again.remark.is_some(), request.remark.is_some());
    }
}

#[test]
fn mutated_frames_are_read_or_refused() {
    let mut corpus = vec![batch_body()];
    for codec in [Codec::Json, Codec::Binary] {
        for code in [10, 310, 320] {
            corpus.push(send_frame(codec, code, &batch_body()));
        }
    }
    fuzz(&corpus, |input| {
        if let Ok(Some((request, len))) = Request::read(input) {
            assert!(len <= input.len());
            use_request(&request);
        }
    });
}

#[test]
fn mutated_json_headers_are_read_as_a_foreign_reader_reads_them() {
    let corpus = HEADERS.map(|header| header.as_bytes().to_vec());
    fuzz(&corpus, |input| {
        let ours = Request::decode(Codec::Json, input, b"body");
        if let Ok(request) = &ours {
            use_request(request);
        }
        let theirs = serde_json::from_slice::<serde_json::Value>(input);
        let (Ok(ours), Ok(theirs)) = (ours, theirs) else { return };
        for (key, number) in [("code", ours.code), ("opaque", ours.opaque)] {
            if let Some(theirs) = theirs.get(key).and_then(serde_json::Value::as_i64) {
                assert_eq!(theirs, i64::from(number));
            }
        }
        let fields = theirs.get("extFields").and_then(serde_json::Value::as_object);
        for (key, value) in fields.into_iter().flatten() {
            if let Some(text) = value.as_str() {
                assert!(ours.ext.get(key).unwrap() == *text, "field {key}");
            }
        }
    });
}

#[test]
fn mutated_binary_headers_are_read_or_refused() {
    let corpus: Vec<_> =
        [10, 310].map(|code| send_frame(Codec::Binary, code, b"")[8..].to_vec()).to_vec();
    fuzz(&corpus, |input| {
        if let Ok(request) = Request::decode(Codec::Binary, input, b"") {
            use_request(&request);
        }
    });
}

#[test]
fn mutated_batches_are_read_or_refused() {
    fuzz(&[batch_body()], |input| {
        let entries: Result<Vec<_>, _> = BatchEntries::new(input).collect();
        let Ok(entries) = entries else { return };
        let mut out = Vec::new();
        entries.iter().for_each(|entry| entry.encode(&mut out));
        assert_eq!(out.len(), input.len());
        let again: Result<Vec<_>, _> = BatchEntries::new(&out).collect();
        assert_eq!(again.unwrap(), entries);
    });
}

fn record(sys_flag: i32) -> Vec<u8> {
    let mut out = Vec::new();
    for word in [0, 0xdaa3_20a7, 1, 2, 3] {
        out.extend_from_slice(&u32::to_be_bytes(word));
    }
    out.extend_from_slice(&[0; 16]);
    out.extend_from_slice(&sys_flag.to_be_bytes());
    let host_bytes = |bit: i32| if sys_flag & bit != 0 { 20 } else { 8 };
    let hosts = host_bytes(sys_flag::BORN_HOST_V6) + host_bytes(sys_flag::STORE_HOST_V6);
    out.extend(vec![1; 8 + 8 + hosts + 4 + 8]);
    out.extend_from_slice(b"\0\0\0\x04body\x05topic\0\x05k\x01v\x02x");
    let total = out.len() as u32;
    out[..4].copy_from_slice(&total.to_be_bytes());
    out
}

#[test]
fn mutated_records_and_ids_are_read_or_refused() {
    let corpus = [
        record(0),
        record(sys_flag::BORN_HOST_V6),
        [record(sys_flag::STORE_HOST_V6), record(0x30)].concat(),
        b"7F00000100002A9F0000000000ABCDEF".to_vec(),
    ];
    assert_eq!(StoredMessages::new(&corpus[2]).map(Result::unwrap).count(), 2);
    fuzz(&corpus, |input| {
        let messages: Vec<_> = StoredMessages::new(input).collect();
        let whole = messages.iter().flatten();
        let parts: usize = whole.map(|message| message.body.len() + message.topic.len()).sum();
        assert!(parts <= input.len());
        if let Some(id) = OffsetMessageId::parse(input) {
            let mut text = Vec::new();
            id.append_to(&mut text);
            assert_eq!(OffsetMessageId::parse(&text), Some(id));
        }
    });
}

/// Reads a body as every type, and what is accepted is the same when written again.
macro_rules! read_as {
    ($input:expr, $($kind:ty),* $(,)?) => {
        $(if let Ok(read) = body::from_bytes::<$kind>($input) {
            let again = body::to_bytes(&read);
            assert_eq!(body::from_bytes::<$kind>(&again).unwrap(), read, stringify!($kind));
        })*
    };
}

#[test]
fn mutated_bodies_are_read_or_refused() {
    let corpus = [
        r#"{"clientID":"c","consumerDataSet":[{"groupName":"g","consumeType":1,"messageModel":"CLUSTERING","subscriptionDataSet":[{"topic":"T","codeSet":["5",6],"subVersion":1.5}]}]}"#,
        r#"{"brokerDatas":[{"brokerAddrs":{0:"10.0.0.1:10911"},"brokerName":"b","cluster":"c"}],"queueDatas":[{"brokerName":"b","perm":6}]}"#,
        r#"{"offsetTable":{{"brokerName":"a","queueId":0,"topic":"T"}:5,{"brokerName":"a"}:{"minOffset":1}},"topicPutTps":0.5}"#,
        r#"{"dataVersion":{"counter":1,"timestamp":2},"topicConfigTable":{"T":{"topicName":"T","attributes":{"a":"b"}}},"subscriptionGroupTable":{"g":{"groupRetryPolicy":{"x":[1]}}}}"#,
        "# comment\nkey = va\\u0041lue\\\n  more\nother:1\\t\n",
    ]
    .map(|text| text.as_bytes().to_vec());
    fuzz(&corpus, |input| {
        read_as!(
            input,
            body::heartbeat::Heartbeat,
            body::heartbeat::CheckClientConfig,
            body::route::TopicRoute,
            body::route::ClusterInfo,
            body::queues::TopicStats,
            body::queues::ResetOffset,
            body::queues::LockRequest,
            body::topic::TopicConfigTable,
            body::group::SubscriptionGroupTable,
            body::lists::ConsumerConnection,
        );
        _ = Registration::decode(input, true, 479);
        let text = String::from_utf8_lossy(input);
        let pairs = properties::parse(&text);
        let again = properties::format(pairs.iter().map(|(key, value)| (&key[..], &value[..])));
        assert_eq!(properties::parse(&again), pairs);
    });
}
