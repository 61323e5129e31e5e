//! The metadata thread: what waits together is kept together, and a disk that fails is
//! an answer, never the end of the broker.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel, sync_channel};
use std::time::Duration;

use redb::StorageBackend;
use redb::backends::FileBackend;
use ringmq::base::limits::METADATA_BACKLOG_MAX;
use ringmq::base::topic::TopicConfig;
use ringmq::control::metadata::{
    Change, Metadata, MetadataError, NotTaken, Outcome, Ticket, TopicEffect,
};

const WITHIN: Duration = Duration::from_secs(30);

fn ticket(party: u16, token: u64) -> Ticket {
    Ticket { party, token }
}

fn value(key: usize) -> Change {
    Change::PutValue { namespace: "n".to_owned(), key: key.to_string(), value: "v".to_owned() }
}

fn everywhere(queues: u32) -> Change {
    Change::CreateTopicOnAllShards { config: TopicConfig::new("T", queues, 6) }
}

/// A database file whose disk can be filled up.
#[derive(Debug)]
struct Disk {
    file: FileBackend,
    is_full: Arc<AtomicBool>,
}

impl Disk {
    fn room(&self) -> io::Result<()> {
        match self.is_full.load(Ordering::SeqCst) {
            true => Err(io::Error::from(io::ErrorKind::StorageFull)),
            false => Ok(()),
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.room().and_then(|()| self.file.set_len(len))
    }
    fn sync_data(&self) -> io::Result<()> {
        self.room().and_then(|()| self.file.sync_data())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.room().and_then(|()| self.file.write(offset, data))
    }
    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}

fn open_on(disk: &Arc<AtomicBool>, path: PathBuf) -> Metadata {
    let is_full = Arc::clone(disk);
    let open = move || {
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = FileBackend::new(options.open(&path)?)?;
        let disk = Disk { file, is_full: Arc::clone(&is_full) };
        Ok(redb::Database::builder().create_with_backend(disk)?)
    };
    Metadata::with_database(2, open).unwrap().0
}

type Answers = Receiver<(Ticket, Result<Outcome, MetadataError>)>;

#[test]
fn changes_that_wait_together_share_a_transaction() {
    let root = tempfile::tempdir().unwrap();
    let (metadata, _) = Metadata::open(&root.path().join("m"), 1).unwrap();
    let (sender, answers) = channel();
    // Holds the thread after its first transaction, while more changes come in.
    let (entered, holding) = channel();
    let (release, released) = sync_channel::<()>(0);
    let thread = metadata.start(move |ticket: Ticket, outcome: Result<_, _>| {
        if ticket.token == 0 {
            entered.send(()).unwrap();
            released.recv().unwrap();
        }
        sender.send((ticket, outcome)).unwrap();
    });
    let thread = thread.unwrap();
    let handle = thread.handle();
    handle.submit(ticket(0, 0), value(0)).unwrap();
    holding.recv_timeout(WITHIN).unwrap();
    for token in 1..=500 {
        handle.submit(ticket(0, token), value(token as usize)).unwrap();
    }
    release.send(()).unwrap();
    for expected in 0..=500 {
        let (ticket, outcome) = answers.recv_timeout(WITHIN).unwrap();
        assert_eq!((ticket.token, outcome.unwrap()), (expected, Outcome::Kept));
    }
    assert_eq!(handle.commits(), 2, "one for the first change, one for the other 500");
    thread.close();
}

#[test]
fn a_full_backlog_gives_the_change_back_instead_of_blocking() {
    let root = tempfile::tempdir().unwrap();
    let (metadata, _) = Metadata::open(&root.path().join("m"), 1).unwrap();
    let (entered, holding) = channel();
    let (release, released) = sync_channel::<()>(0);
    let thread = metadata.start(move |ticket: Ticket, _| {
        if ticket.token == 0 {
            entered.send(()).unwrap();
            released.recv().unwrap();
        }
    });
    let thread = thread.unwrap();
    let handle = thread.handle();
    handle.submit(ticket(0, 0), value(0)).unwrap();
    holding.recv_timeout(WITHIN).unwrap();
    for token in 1..=METADATA_BACKLOG_MAX {
        handle.submit(ticket(0, token as u64), value(token)).unwrap();
    }
    let NotTaken(refused) = handle.submit(ticket(0, 1), value(77)).unwrap_err();
    assert!(matches!(*refused, Change::PutValue { key, .. } if key == "77"));
    release.send(()).unwrap();
    thread.close();
    assert!(handle.submit(ticket(0, 1), value(1)).is_err(), "the thread has ended");
}

#[test]
fn of_shards_that_make_one_topic_at_once_one_makes_it_and_all_get_it() {
    let root = tempfile::tempdir().unwrap();
    let (metadata, _) = Metadata::open(&root.path().join("m"), 4).unwrap();
    let (sender, answers) = channel();
    let thread = metadata.start(move |ticket, outcome| sender.send((ticket, outcome)).unwrap());
    let thread = thread.unwrap();
    std::thread::scope(|scope| {
        for party in 0..4 {
            let handle = thread.handle();
            let create = move || handle.submit(ticket(party, 1), everywhere(u32::from(party) + 1));
            scope.spawn(move || create().unwrap());
        }
    });
    let answers: Answers = answers;
    let mut makers = Vec::new();
    let mut seen = Vec::new();
    for _ in 0..4 {
        let (ticket, outcome) = answers.recv_timeout(WITHIN).unwrap();
        let Ok(Outcome::Topics(placed)) = outcome else { panic!("{outcome:?}") };
        if placed.iter().all(|place| place.effect == TopicEffect::Made) {
            makers.push(ticket.party);
        }
        seen.push(placed.into_iter().map(|place| place.record).collect::<Vec<_>>());
    }
    let &[maker] = &makers[..] else { panic!("made by {makers:?}") };
    assert!(seen.iter().all(|records| *records == seen[0]));
    assert_eq!(seen[0][0].config.read_queues, u32::from(maker) + 1);
    thread.close();
}

#[test]
fn a_full_disk_is_an_answer_and_room_on_it_heals() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("m");
    let is_full = Arc::new(AtomicBool::new(false));
    let (sender, answers) = channel();
    let deliver = move |ticket, outcome| sender.send((ticket, outcome)).unwrap();
    let thread = open_on(&is_full, path.clone()).start(deliver).unwrap();
    let answers: Answers = answers;
    let handle = thread.handle();
    let ask = |change| {
        handle.submit(ticket(1, 9), change).unwrap();
        let (answered, outcome) = answers.recv_timeout(WITHIN).unwrap();
        assert_eq!(answered, ticket(1, 9));
        outcome
    };
    ask(value(1)).unwrap();
    is_full.store(true, Ordering::SeqCst);
    let failure = ask(everywhere(4)).unwrap_err();
    assert!(failure.is_disk_full(), "{failure}");
    assert!(failure.to_string().contains("free space"), "{failure}");
    ask(value(2)).unwrap_err();
    is_full.store(false, Ordering::SeqCst);
    ask(value(3)).unwrap();
    let Outcome::Topics(placed) = ask(everywhere(5)).unwrap() else { panic!("not topics") };
    assert!(placed.iter().all(|place| place.effect == TopicEffect::Made), "no trace of the failed");
    thread.close();

    let (_, loaded) = Metadata::open(&path, 2).unwrap();
    let kept: Vec<_> = loaded.values.keys().map(|(_, key)| key.as_str()).collect();
    assert_eq!(kept, ["1", "3"]);
    assert_eq!(loaded.shards[1].topics["T"].config.read_queues, 5);
}

#[test]
fn closing_waits_for_everything_submitted_before() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("m");
    let (metadata, _) = Metadata::open(&path, 1).unwrap();
    let thread = metadata.start(|_, outcome| drop(outcome.unwrap())).unwrap();
    let handle = thread.handle();
    for token in 0..2_000 {
        handle.submit(ticket(0, token), value(token as usize)).unwrap();
    }
    thread.close();
    assert_eq!(Metadata::open(&path, 1).unwrap().1.values.len(), 2_000);
}

#[test]
fn a_file_that_is_no_metadata_is_refused_by_name_of_what_was_tried() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("m");
    std::fs::write(&path, vec![7; 10_000]).unwrap();
    let error = Metadata::open(&path, 1).err().expect("not a database").to_string();
    assert!(error.starts_with("cannot open the metadata: "), "{error}");
}
