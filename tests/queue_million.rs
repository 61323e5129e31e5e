//! A million queues on one shard. Alone in its process: it looks at the process's size,
//! so the file that it loads is made by another one.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;
use std::{env, fs};

use ringmq::base::{LogOffset, QueueOffset};
use ringmq::queue::{Entry, QueueIndex, QueueKey, TopicId};

const QUEUES: usize = 1_000_000;
const FILE: &str = "RINGMQ_RUN_FILE";

/// Bytes of this process that are in memory, by the kernel's count.
fn resident_bytes() -> usize {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

fn key(n: usize) -> QueueKey {
    QueueKey { topic: TopicId(n as u32 / 8), queue: n as u32 % 8 }
}

#[test]
#[ignore = "started by the test below, in a process of its own"]
fn write_a_run_with_a_message_of_each_queue() {
    let Some(path) = env::var_os(FILE) else { return };
    let mut index = QueueIndex::new(LogOffset(0));
    for n in 0..QUEUES {
        let slot = index.open(key(n));
        let at = LogOffset(n as u64 * 128);
        index.append(slot, Entry { at, size: 128, tag: 0, store_ms: n as i64 });
    }
    index.roll(index.dispatched());
    let run = index.take_frozen().unwrap();
    run.write_to(fs::File::create(path).unwrap()).unwrap();
}

fn run_file() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path: PathBuf = directory.path().join("run");
    let mut writer = Command::new(env::current_exe().unwrap());
    writer.args(["--ignored", "--exact", "write_a_run_with_a_message_of_each_queue"]);
    let output = writer.env(FILE, &path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    fs::read(path).unwrap()
}

#[test]
fn an_idle_queue_costs_at_most_256_bytes() {
    let file = run_file();
    let (before, begin) = (resident_bytes(), Instant::now());
    let mut index = QueueIndex::new(LogOffset(0));
    index.load_run(&file[..], LogOffset(u64::MAX), |_| true).unwrap();
    let took = begin.elapsed().as_millis();
    let resident = resident_bytes() - before;
    assert_eq!(index.queues(), QUEUES);
    let memory = index.memory();
    println!("{} bytes per queue, loaded in {took} ms, {memory:?}", resident / QUEUES);
    assert!(resident <= 256 * QUEUES, "{resident} bytes for {QUEUES} queues");
    // What the index says of itself is what the kernel sees, apart from what malloc
    // adds to a million small extent lists.
    let told = memory.queues + memory.directories;
    assert!(told <= resident + resident / 8 && resident <= told + told / 2, "{memory:?}");

    let slot = index.get(key(QUEUES - 1)).unwrap();
    assert_eq!((index.min(slot), index.next(slot)), (QueueOffset(0), QueueOffset(1)));
    // Once their messages have expired, queues give the memory of extents back.
    assert_eq!(index.truncate_front(index.dispatched()), [LogOffset(0)]);
    index.tidy(QUEUES);
    assert_eq!((index.min(slot), index.next(slot)), (QueueOffset(1), QueueOffset(1)));
    assert!(index.memory().directories < QUEUES, "{:?}", index.memory());
}
