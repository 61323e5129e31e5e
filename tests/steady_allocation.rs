//! A data thread that serves sends and pulls asks nothing of the heap, message by
//! message: the whole node runs in this process, and an allocator counts for one thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringmq::base::WriteMode;
use ringmq::config::{self, Machine, Role};
use ringmq::wire::pull::pull_flag;
use ringmq::wire::{Codec, FrameWriter, PullRequest, Request, SendRequest, Value};

struct Counting;

/// The thread that is counted, and what it has asked for.
static COUNTED: AtomicI32 = AtomicI32::new(0);
static ASKED: AtomicU64 = AtomicU64::new(0);

fn count() {
    let counted = COUNTED.load(Ordering::Relaxed);
    if counted != 0 && nix::unistd::gettid().as_raw() == counted {
        ASKED.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise about `layout` is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise about `at`, `layout` and `size` is handed on.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: `at` came from `alloc` above with this layout.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const MESSAGES: u64 = 20_000;
const IN_FLIGHT: u64 = 32;

const NAME: &str = "a_data_thread_allocates_nothing_per_message_in_the_steady_state";
/// The write mode that a process is to look at.
const MODE: &str = "RINGMQ_TEST_WRITE";

/// In every write mode, and each in a process of its own, with which its node ends.
#[test]
fn a_data_thread_allocates_nothing_per_message_in_the_steady_state() {
    if let Ok(mode) = std::env::var(MODE) {
        return look_at(&mode);
    }
    for mode in WriteMode::ALL {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(MODE, mode.name())
            .output()
            .unwrap();
        let said = [child.stdout, child.stderr].map(|said| String::from_utf8(said).unwrap());
        assert!(child.status.success() && said[0].contains("for sends"), "{mode}: {said:?}");
    }
}

fn look_at(mode: &str) {
    let data = tempfile::tempdir().unwrap();
    let arena = tempfile::tempdir_in("/dev/shm").unwrap();
    start_node(data.path(), arena.path(), mode);
    let broker = wait_for_broker(data.path());
    let mut stream = TcpStream::connect(broker).unwrap();
    stream.set_nodelay(true).unwrap();

    // The first messages fill pools, make the topic, and grow what is kept.
    send_many(&mut stream, MESSAGES);
    let next = pull_many(&mut stream, 0, MESSAGES);
    send_many(&mut stream, MESSAGES);
    let next = pull_many(&mut stream, next, MESSAGES);

    COUNTED.store(data_thread(), Ordering::Relaxed);
    send_many(&mut stream, MESSAGES);
    let sends = ASKED.swap(0, Ordering::Relaxed);
    pull_many(&mut stream, next, MESSAGES);
    let pulls = ASKED.swap(0, Ordering::Relaxed);
    COUNTED.store(0, Ordering::Relaxed);
    // What is left belongs to seconds, not to messages: a look at the disk, a sample of
    // the statistics, a slab of the index for some thousand entries.
    println!("{sends} for sends, {pulls} for pulls, of {MESSAGES} messages each");
    let allowed = MESSAGES / 200;
    assert!(sends < allowed, "{sends} allocations for {MESSAGES} sends");
    assert!(pulls < allowed, "{pulls} allocations for {MESSAGES} pulled messages");
}

fn start_node(data: &std::path::Path, arena: &std::path::Path, mode: &str) {
    let args = [
        "ringmq".into(),
        "--data-dir".into(),
        data.as_os_str().to_owned(),
        "--arena-dir".into(),
        arena.as_os_str().to_owned(),
        "--port".into(),
        "0".into(),
        "--namesrv-port".into(),
        "0".into(),
        "--shards".into(),
        "1".into(),
        "--segment-size".into(),
        "64MiB".into(),
        "--write".into(),
        mode.into(),
    ];
    let role = config::parse(args, &Machine::of_this_process()).unwrap();
    let Role::Serve(config) = role else { panic!("no command means serve") };
    // The process ends with the test; nothing needs to be stopped before.
    std::thread::spawn(move || ringmq::serve::run(&config).unwrap());
}

/// The broker's port: the ports that this process listens on are tried in turn.
fn wait_for_broker(data: &std::path::Path) -> std::net::SocketAddr {
    let deadline = Instant::now() + Duration::from_secs(30);
    let topic = probe();
    loop {
        assert!(Instant::now() < deadline, "the broker did not start in {}", data.display());
        for port in listening_ports() {
            let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
            let Ok(mut stream) = TcpStream::connect(address) else { continue };
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            stream.write_all(&topic).unwrap();
            let mut reply = Vec::new();
            // A name server does not know the code; a broker stores the message.
            if read_frame(&mut stream, &mut reply).is_some_and(|code| code == 0) {
                return address;
            }
        }
        std::thread::yield_now();
    }
}

fn listening_ports() -> Vec<u16> {
    let mine: Vec<String> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|fd| fs::read_link(fd.ok()?.path()).ok())
        .filter_map(|link| {
            Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let port = |line: &str| -> Option<u16> {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let listens = *columns.get(3)? == "0A" && mine.iter().any(|inode| inode == columns[9]);
        let (_, port) = columns[1].split_once(':')?;
        listens.then(|| u16::from_str_radix(port, 16).ok()).flatten()
    };
    table.lines().skip(1).filter_map(port).collect()
}

fn data_thread() -> i32 {
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let is_data = |task: &std::path::PathBuf| {
        fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with("data-"))
    };
    let task = tasks.into_iter().find(is_data).expect("a data thread runs");
    task.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

fn probe() -> Vec<u8> {
    send_frame(1)
}

fn send_frame(opaque: i32) -> Vec<u8> {
    let body = [b'x'; 100];
    let send = SendRequest {
        producer_group: Value::of("group"),
        topic: Value::of("steady"),
        default_topic: Value::of("TBW102"),
        default_topic_queue_nums: 4,
        queue_id: 0,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        flag: 0,
        properties: Some(Value::of("TAGS\u{1}A\u{2}UNIQ_KEY\u{1}7F000001\u{2}WAIT\u{1}true\u{2}")),
        reconsume_times: 0,
        unit_mode: false,
        max_reconsume_times: None,
        batch: false,
        broker_name: None,
        body: &body,
    };
    let mut frame = Vec::new();
    let mut writer = FrameWriter::request(&mut frame, Codec::Json, opaque, 310, false);
    send.encode(310, &mut writer);
    writer.finish_with_body(&body);
    frame
}

fn send_many(stream: &mut TcpStream, count: u64) {
    let mut reply = Vec::new();
    let batch: Vec<u8> = (0..IN_FLIGHT).flat_map(|at| send_frame(at as i32)).collect();
    for _ in 0..count / IN_FLIGHT {
        stream.write_all(&batch).unwrap();
        for _ in 0..IN_FLIGHT {
            assert_eq!(read_frame(stream, &mut reply), Some(0));
        }
    }
}

/// Pulls until `count` messages have come. Returns the next offset.
fn pull_many(stream: &mut TcpStream, from: i64, count: u64) -> i64 {
    let mut reply = Vec::new();
    let mut at = from;
    while at < from + count as i64 - IN_FLIGHT as i64 {
        let pull = PullRequest {
            consumer_group: Value::of("group"),
            topic: Value::of("steady"),
            queue_id: 0,
            queue_offset: at,
            max_msg_nums: 32,
            sys_flag: pull_flag::SUBSCRIPTION | pull_flag::COMMIT_OFFSET,
            commit_offset: at,
            suspend_timeout_millis: 0,
            subscription: Some(Value::of("*")),
            sub_version: 0,
            expression_type: Some(Value::of("TAG")),
            max_msg_bytes: None,
            request_source: None,
            proxy_forward_client_id: None,
            transfer: None,
        };
        let mut frame = Vec::new();
        let mut writer = FrameWriter::request(&mut frame, Codec::Json, 7, 11, false);
        pull.encode(&mut writer);
        writer.finish(0);
        stream.write_all(&frame).unwrap();
        assert_eq!(read_frame(stream, &mut reply), Some(0));
        let (request, _) = Request::read(&reply).unwrap().unwrap();
        at = request.ext.need_i64("nextBeginOffset").unwrap();
    }
    at
}

/// One whole frame; its code.
fn read_frame(stream: &mut TcpStream, into: &mut Vec<u8>) -> Option<i32> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    into.clear();
    into.extend_from_slice(&length);
    into.resize(4 + u32::from_be_bytes(length) as usize, 0);
    stream.read_exact(&mut into[4..]).ok()?;
    Request::read(into).ok()?.map(|(request, _)| request.code)
}
