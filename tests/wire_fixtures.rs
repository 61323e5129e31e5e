//! Bytes recorded from real clients: every frame under `tests/fixtures/*.bin` is
//! decoded, given its type, written again by its own codec and compared by meaning.
//!
//! A file is what one client sent on one connection: whole frames, one after another.

use std::path::Path;

use ringmq::base::limits::FRAME_BYTES_MAX;
use ringmq::wire::body::{self, heartbeat, queues, register::Registration, topic};
use ringmq::wire::code::request as codes;
use ringmq::wire::headers::{admin, clients, groups, namesrv, offsets, pop};
use ringmq::wire::{Codec, FrameWriter, PullRequest, Request, SendRequest, Value};

/// Checks all frames of a file and says how many there were.
fn check_file(bytes: &[u8]) -> usize {
    let (mut rest, mut count) = (bytes, 0);
    while !rest.is_empty() {
        let at = bytes.len() - rest.len();
        let read =
            Request::read(rest).unwrap_or_else(|error| panic!("frame at byte {at}: {error}"));
        let (request, len) = read.unwrap_or_else(|| panic!("frame at byte {at} is cut"));
        header_means_the_same_when_written_again(&request, at);
        if !request.is_response() {
            let typed = typed_header(&request);
            typed.unwrap_or_else(|error| panic!("code {} at byte {at}: {error}", request.code));
            let typed = typed_body(&request);
            typed.unwrap_or_else(|error| panic!("body of {} at byte {at}: {error}", request.code));
        }
        rest = &rest[len..];
        count += 1;
    }
    count
}

fn header_means_the_same_when_written_again(request: &Request<'_>, at: usize) {
    let mut out = Vec::new();
    let mut writer = match request.is_response() {
        true => FrameWriter::reply(&mut out, request.codec, request.opaque, request.code),
        false => {
            let oneway = request.is_oneway();
            FrameWriter::request(&mut out, request.codec, request.opaque, request.code, oneway)
        }
    };
    if let Some(remark) = request.remark {
        writer.remark(&remark.text());
    }
    for field in request.ext.iter() {
        writer.field_value(&field.key.text(), field.value);
    }
    writer.finish_with_body(request.body);
    let (again, _) = Request::read(&out).unwrap().unwrap();
    assert_eq!((again.code, again.opaque), (request.code, request.opaque), "frame at byte {at}");
    assert_eq!(again.is_response(), request.is_response(), "frame at byte {at}");
    assert_eq!(again.is_oneway(), request.is_oneway(), "frame at byte {at}");
    assert_eq!(again.remark, request.remark, "frame at byte {at}");
    assert_eq!(again.body, request.body, "frame at byte {at}");
    let fields = |request: &Request<'_>| -> Vec<(String, String)> {
        let fields = request.ext.iter();
        fields.map(|field| (field.key.text().into(), field.value.text().into())).collect()
    };
    assert_eq!(fields(&again), fields(request), "frame at byte {at}");
}

/// Decodes the fields as `$kind` and encodes them: what stands there afterwards stood
/// there before, or is the `false` of a flag that was left out.
macro_rules! through {
    ($kind:ty, $request:expr) => {{
        let typed = <$kind>::decode(&$request.ext).map_err(|error| error.to_string())?;
        same_fields($request, |writer| typed.encode(writer))
    }};
}

fn same_fields(
    request: &Request<'_>,
    encode: impl FnOnce(&mut FrameWriter<'_>),
) -> Result<(), String> {
    let mut out = Vec::new();
    let mut writer = FrameWriter::request(&mut out, Codec::Json, 1, request.code, false);
    encode(&mut writer);
    writer.finish(0);
    let (again, _) = Request::read(&out).unwrap().unwrap();
    for field in again.ext.iter() {
        let before = request.ext.get(&field.key.text());
        let same = match before {
            Some(before) => {
                before == field.value || before.i64().is_some_and(|n| Some(n) == field.value.i64())
            }
            None => field.value == *"false" || field.value == *"0",
        };
        if !same {
            return Err(format!("{} was {before:?} and is {:?}", field.key, field.value));
        }
    }
    Ok(())
}

fn typed_header(request: &Request<'_>) -> Result<(), String> {
    match request.code {
        codes::SEND_MESSAGE
        | codes::SEND_MESSAGE_V2
        | codes::SEND_BATCH_MESSAGE
        | codes::SEND_REPLY_MESSAGE
        | codes::SEND_REPLY_MESSAGE_V2 => {
            let send = SendRequest::decode(request).map_err(|error| error.to_string())?;
            if send.batch {
                let count = send.entries().try_fold(0, |count, entry| entry.map(|_| count + 1));
                assert!(count.map_err(|error| error.to_string())? > 0);
            }
            same_fields(request, |writer| send.encode(request.code, writer))
        }
        codes::PULL_MESSAGE | codes::LITE_PULL_MESSAGE => through!(PullRequest<'_>, request),
        codes::QUERY_CONSUMER_OFFSET => through!(offsets::QueryConsumerOffset<'_>, request),
        codes::UPDATE_CONSUMER_OFFSET => through!(offsets::UpdateConsumerOffset<'_>, request),
        codes::SEARCH_OFFSET_BY_TIMESTAMP => through!(offsets::SearchOffset<'_>, request),
        codes::GET_MAX_OFFSET => through!(offsets::GetMaxOffset<'_>, request),
        codes::GET_MIN_OFFSET | codes::GET_EARLIEST_MSG_STORETIME => {
            through!(offsets::QueueOf<'_>, request)
        }
        codes::VIEW_MESSAGE_BY_ID => through!(offsets::ViewMessage<'_>, request),
        codes::QUERY_MESSAGE => through!(offsets::QueryMessage<'_>, request),
        codes::INVOKE_BROKER_TO_RESET_OFFSET => through!(clients::InvokeResetOffset<'_>, request),
        codes::INVOKE_BROKER_TO_GET_CONSUMER_STATUS => {
            through!(clients::ConsumerStatusOf<'_>, request)
        }
        codes::GET_CONSUMER_RUNNING_INFO => through!(clients::RunningInfoOf<'_>, request),
        codes::CONSUME_MESSAGE_DIRECTLY => through!(clients::ConsumeDirectly<'_>, request),
        codes::RECALL_MESSAGE => through!(clients::RecallMessage<'_>, request),
        codes::POP_MESSAGE => through!(pop::Pop<'_>, request),
        codes::ACK_MESSAGE => through!(pop::Ack<'_>, request),
        codes::CHANGE_MESSAGE_INVISIBLETIME => through!(pop::ChangeInvisibleTime<'_>, request),
        codes::NOTIFICATION => through!(pop::Notification<'_>, request),
        codes::POLLING_INFO => through!(pop::PollingInfo<'_>, request),
        codes::UNREGISTER_CLIENT => through!(groups::UnregisterClient<'_>, request),
        codes::CONSUMER_SEND_MSG_BACK => through!(groups::SendMessageBack<'_>, request),
        codes::END_TRANSACTION => through!(groups::EndTransaction<'_>, request),
        codes::CHECK_TRANSACTION_STATE => through!(groups::CheckTransactionState<'_>, request),
        codes::GET_CONSUMER_LIST_BY_GROUP
        | codes::NOTIFY_CONSUMER_IDS_CHANGED
        | codes::GET_CONSUMER_CONNECTION_LIST => through!(groups::ConsumerGroup<'_>, request),
        codes::GET_PRODUCER_CONNECTION_LIST => through!(groups::ProducerGroup<'_>, request),
        codes::UPDATE_AND_CREATE_TOPIC => through!(admin::CreateTopic<'_>, request),
        codes::GET_ALL_TOPIC_CONFIG => through!(admin::GetAllTopics<'_>, request),
        codes::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => through!(admin::GetAllGroups<'_>, request),
        codes::GET_TOPIC_STATS_INFO
        | codes::DELETE_TOPIC_IN_BROKER
        | codes::QUERY_TOPIC_CONSUME_BY_WHO => through!(admin::TopicOf<'_>, request),
        codes::GET_TOPIC_CONFIG => through!(admin::GetTopicConfig<'_>, request),
        codes::GET_SUBSCRIPTIONGROUP_CONFIG => through!(admin::GroupOf<'_>, request),
        codes::DELETE_SUBSCRIPTIONGROUP => through!(admin::DeleteGroup<'_>, request),
        codes::GET_CONSUME_STATS => through!(admin::GetConsumeStats<'_>, request),
        codes::GET_ROUTEINFO_BY_TOPIC => through!(namesrv::GetRoute<'_>, request),
        codes::REGISTER_BROKER => through!(namesrv::RegisterBroker<'_>, request),
        codes::UNREGISTER_BROKER | codes::QUERY_DATA_VERSION => {
            through!(namesrv::BrokerOf<'_>, request)
        }
        codes::PUT_KV_CONFIG => through!(namesrv::PutKv<'_>, request),
        codes::GET_KV_CONFIG | codes::DELETE_KV_CONFIG => through!(namesrv::KeyOf<'_>, request),
        codes::GET_KVLIST_BY_NAMESPACE => through!(namesrv::NamespaceOf<'_>, request),
        codes::WIPE_WRITE_PERM_OF_BROKER | codes::ADD_WRITE_PERM_OF_BROKER => {
            through!(namesrv::BrokerNameOf<'_>, request)
        }
        codes::DELETE_TOPIC_IN_NAMESRV => through!(namesrv::DeleteTopic<'_>, request),
        codes::GET_TOPICS_BY_CLUSTER => through!(namesrv::ClusterOf<'_>, request),
        _ => Ok(()),
    }
}

/// Reads the body as `$kind`, writes it, and reads the same again.
macro_rules! body_through {
    ($kind:ty, $request:expr) => {{
        let read: $kind = body::from_bytes($request.body).map_err(|error| error.to_string())?;
        let again: $kind =
            body::from_bytes(&body::to_bytes(&read)).map_err(|error| error.to_string())?;
        if read == again { Ok(()) } else { Err(format!("{read:?} became {again:?}")) }
    }};
}

fn typed_body(request: &Request<'_>) -> Result<(), String> {
    match request.code {
        codes::HEART_BEAT => body_through!(heartbeat::Heartbeat, request),
        codes::CHECK_CLIENT_CONFIG => body_through!(heartbeat::CheckClientConfig, request),
        codes::LOCK_BATCH_MQ | codes::UNLOCK_BATCH_MQ => {
            body_through!(queues::LockRequest, request)
        }
        codes::UPDATE_AND_CREATE_TOPIC_LIST => body_through!(topic::TopicConfigList, request),
        codes::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => {
            body_through!(body::group::GroupConfig, request)
        }
        codes::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => {
            body_through!(body::group::SubscriptionGroupList, request)
        }
        codes::QUERY_DATA_VERSION => body_through!(topic::DataVersion, request),
        codes::REGISTER_BROKER => {
            let compressed = request.ext.flag("compressed");
            Registration::decode(request.body, compressed, request.version)
                .map(drop)
                .map_err(|error| error.to_string())
        }
        _ => Ok(()),
    }
}

#[test]
fn frames_recorded_from_real_clients_are_understood() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let Ok(entries) = std::fs::read_dir(&directory) else {
        println!("no recordings in {}", directory.display());
        return;
    };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "bin"));
    files.sort();
    for file in files {
        println!("{}", file.display());
        let count = check_file(&std::fs::read(&file).unwrap());
        println!("  {count} frames");
        assert!(count > 0, "{} is empty", file.display());
    }
}

fn frame(header: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = ((4 + header.len() + body.len()) as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(&(header.len() as u32).to_be_bytes());
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(body);
    assert!(bytes.len() <= FRAME_BYTES_MAX);
    bytes
}

/// Frames as the spec describes those of Java, Node, C++ and Go, until recordings come.
fn described() -> Vec<u8> {
    [
        frame(br#"{"code":105,"extFields":{"topic":"T","acceptStandardJsonOnly":"true"},"flag":0,"language":"JAVA","opaque":1,"serializeTypeCurrentRPC":"JSON","version":479}"#, b""),
        frame(br#"{"code":310,"language":"JAVA","opaque":2,"flag":0,"version":121,"extFields":{"a":"g","b":"T","c":"TBW102","d":4,"e":0,"f":0,"g":1700000000000,"h":0,"i":"TAGS\u0001A\u0002","j":0,"k":false}}"#, b"hi"),
        frame(b"{\"code\":34,\"extFields\":{\"AccessKey\":\"\",\"OnsChannel\":\"\",\"Signature\":\"\"},\"flag\":0,\"language\":\"CPP\",\"opaque\":3,\"version\":333}\n", b"{\"clientID\":\"c\",\"consumerDataSet\":[{\"groupName\":\"g\",\"consumeType\":1,\"messageModel\":1,\"consumeFromWhere\":4}]}\n"),
        frame(br#"{"code":11,"language":"GO","version":317,"opaque":4,"flag":0,"remark":"","extFields":{"consumerGroup":"g","topic":"T","queueId":"0","queueOffset":"5","maxMsgNums":"32","sysFlag":"6","commitOffset":"0","suspendTimeoutMillis":"20000","subscription":"*","subVersion":"0","expressionType":"TAG"}}"#, b""),
        frame(br#"{"code":0,"flag":1,"language":"JAVA","opaque":9,"version":479}"#, b""),
    ]
    .concat()
}

#[test]
fn frames_as_the_spec_describes_them_are_understood() {
    assert_eq!(check_file(&described()), 5);
}

#[test]
#[should_panic(expected = "is cut")]
fn a_recording_that_ends_inside_a_frame_fails() {
    let bytes = described();
    check_file(&bytes[..bytes.len() - 1]);
}

#[test]
#[should_panic(expected = "code 15 at byte 0: field commitOffset is missing")]
fn a_recording_that_lacks_a_field_fails() {
    let header = br#"{"code":15,"extFields":{"consumerGroup":"g","topic":"T","queueId":"0"}}"#;
    check_file(&frame(header, b""));
}

#[test]
fn a_changed_meaning_is_noticed() {
    let header = br#"{"code":31,"extFields":{"topic":"T","queueId":"1"}}"#;
    let bytes = frame(header, b"");
    let (request, _) = Request::read(&bytes).unwrap().unwrap();
    let other = offsets::QueueOf { topic: Value::of("T"), queue_id: 2 };
    assert!(same_fields(&request, |writer| other.encode(writer)).is_err());
}
