//! A data directory is made once, kept as it was made, and used by one process.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use ringmq::engine::files::directory::{self, Foreseen};
use ringmq::engine::files::{Choice, DataDirectory, DirectoryError, Wanted, small};

const AT_ONCE: Duration = Duration::ZERO;
const PATIENT: Duration = Duration::from_secs(20);

fn wanted() -> Wanted {
    Wanted {
        cluster: Choice::Default("DefaultCluster".to_owned()),
        broker_name: Choice::Default("broker".to_owned()),
        shards: Choice::Default(2),
        segment_bytes: Some(16 * 1024 * 1024),
    }
}

fn open(path: &Path, wanted: &Wanted) -> Result<DataDirectory, DirectoryError> {
    DataDirectory::open(path, wanted, AT_ONCE)
}

fn refusal(path: &Path, wanted: &Wanted) -> String {
    open(path, wanted).expect_err("this start must be refused").to_string()
}

#[test]
fn a_new_directory_has_its_shards_and_opens_again_with_the_same_identity() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("deep/ringmq-data");
    let first = open(&path, &wanted()).unwrap().identity().clone();
    for shard in 0..2 {
        assert!(path.join(format!("shard-{shard}/log")).is_dir());
        assert!(path.join(format!("shard-{shard}/index")).is_dir());
    }
    assert_eq!((first.shards, first.segment_bytes), (2, 16 * 1024 * 1024));
    // Defaults of another machine or version change nothing.
    let later = Wanted { shards: Choice::Default(7), segment_bytes: None, ..wanted() };
    assert_eq!(*open(&path, &later).unwrap().identity(), first);
    let other = root.path().join("other");
    assert_ne!(open(&other, &wanted()).unwrap().identity().id, first.id);
}

#[test]
fn only_an_explicit_different_identity_is_refused() {
    let root = tempfile::tempdir().unwrap();
    drop(open(root.path(), &wanted()).unwrap());
    let same = Wanted { shards: Choice::Given(2), ..wanted() };
    drop(open(root.path(), &same).unwrap());

    let shards = Wanted { shards: Choice::Given(3), ..wanted() };
    let text = refusal(root.path(), &shards);
    assert!(text.starts_with("--shards 3: "), "{text}");
    assert!(text.contains("was made with 2"), "{text}");
    let name = Wanted { broker_name: Choice::Given("b".to_owned()), ..wanted() };
    assert!(refusal(root.path(), &name).starts_with("--broker-name b: "));
    let cluster = Wanted { cluster: Choice::Given("c".to_owned()), ..wanted() };
    assert!(refusal(root.path(), &cluster).starts_with("--cluster c: "));
    let size = Wanted { segment_bytes: Some(32 * 1024 * 1024), ..wanted() };
    assert!(refusal(root.path(), &size).starts_with("--segment-size 33554432: "));
}

#[test]
fn a_second_user_is_told_who_holds_the_directory() {
    let root = tempfile::tempdir().unwrap();
    let held = open(root.path(), &wanted()).unwrap();
    let text = refusal(root.path(), &wanted());
    assert!(text.contains(&format!("in use by pid {}", std::process::id())), "{text}");
    drop(held);
    open(root.path(), &wanted()).unwrap();
}

#[test]
fn a_start_waits_for_the_one_before_it_to_let_go() {
    let root = tempfile::tempdir().unwrap();
    let held = open(root.path(), &wanted()).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| DataDirectory::open(root.path(), &wanted(), PATIENT));
        drop(held);
        waiting.join().unwrap().unwrap();
    });
}

#[test]
fn a_directory_of_another_version_is_refused_whatever_else_it_holds() {
    let root = tempfile::tempdir().unwrap();
    drop(open(root.path(), &wanted()).unwrap());
    let identity = root.path().join("identity");
    let text = fs::read_to_string(&identity).unwrap();
    fs::write(&identity, text.replace("format = 1", "format = 2")).unwrap();
    let refused = open(root.path(), &wanted()).unwrap_err();
    assert!(matches!(refused, DirectoryError::OtherVersion { found: 2, ours: 1, .. }), "{refused}");
    fs::write(&identity, "format = 9\nnothing else is known of it\n").unwrap();
    let refused = open(root.path(), &wanted()).unwrap_err();
    assert!(matches!(refused, DirectoryError::OtherVersion { found: 9, .. }), "{refused}");
}

#[test]
fn a_damaged_identity_is_refused_wherever_it_is_cut_or_changed() {
    let root = tempfile::tempdir().unwrap();
    drop(open(root.path(), &wanted()).unwrap());
    let identity = root.path().join("identity");
    let whole = fs::read(&identity).unwrap();
    for cut in 0..whole.len() - 2 {
        fs::write(&identity, &whole[..cut]).unwrap();
        assert!(open(root.path(), &wanted()).is_err(), "cut at byte {cut}");
    }
    for at in 0..whole.len() - 2 {
        let mut changed = whole.clone();
        changed[at] ^= 0x80;
        fs::write(&identity, changed).unwrap();
        assert!(open(root.path(), &wanted()).is_err(), "changed at byte {at}");
    }
    fs::write(&identity, &whole).unwrap();
    open(root.path(), &wanted()).unwrap();
}

#[test]
fn files_of_somebody_else_are_never_mixed_with_ours() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("letters.txt"), "dear").unwrap();
    let text = refusal(root.path(), &wanted());
    assert!(text.contains("letters.txt") && text.contains("--data-dir"), "{text}");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "nothing was added");
}

#[test]
fn a_lost_identity_does_not_let_segments_be_adopted() {
    let root = tempfile::tempdir().unwrap();
    drop(open(root.path(), &wanted()).unwrap());
    fs::remove_file(root.path().join("identity")).unwrap();
    // Killed between the folders and the identity: done again.
    drop(open(root.path(), &wanted()).unwrap());
    fs::write(root.path().join("shard-1/log/00000000000000000000"), "records").unwrap();
    fs::remove_file(root.path().join("identity")).unwrap();
    assert!(matches!(open(root.path(), &wanted()), Err(DirectoryError::Foreign { .. })));
}

#[test]
fn a_path_that_cannot_be_a_directory_is_named() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    let text = refusal(&file.join("data"), &wanted());
    assert!(text.contains("file/data") && text.contains("--data-dir"), "{text}");
}

#[test]
fn each_shard_has_its_own_run_mark() {
    let root = tempfile::tempdir().unwrap();
    let directory = open(root.path(), &wanted()).unwrap();
    assert_eq!(directory.run_mark(1).unwrap(), None, "it has never run");
    for mark in [&b"first life"[..], b"second"] {
        small::replace(&directory.run_mark_path(1), mark).unwrap();
        assert_eq!(directory.run_mark(1).unwrap().as_deref(), Some(mark));
    }
    assert_eq!(directory.run_mark(0).unwrap(), None);
}

const HELD_BY_CHILD: &str = "RINGMQ_TEST_DIRECTORY";

/// Not a test of its own: the process that the next one kills.
#[test]
#[ignore = "run as a child by a_killed_process_leaves_the_directory_to_the_next"]
fn child_that_holds_a_directory() {
    let path = std::env::var_os(HELD_BY_CHILD).expect("the parent names a directory");
    let _held = open(Path::new(&path), &wanted()).unwrap();
    println!("holding");
    // Until the parent's end of the pipe closes, or the kill.
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn a_killed_process_leaves_the_directory_to_the_next() {
    let root = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_holds_a_directory", "--ignored", "--nocapture"])
        .env(HELD_BY_CHILD, root.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let held = lines.map_while(Result::ok).any(|line| line.ends_with("holding"));
    assert!(held, "the child never held the directory");
    let text = refusal(root.path(), &wanted());
    assert!(text.contains(&format!("by pid {}", child.id())), "{text}");
    child.kill().unwrap();
    DataDirectory::open(root.path(), &wanted(), PATIENT).unwrap();
    child.wait().unwrap();
}

#[test]
fn a_look_at_a_directory_tells_what_a_start_would_and_leaves_no_trace() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("data");
    let available = 1 << 40;
    let look = |wanted: &Wanted| directory::foresee(&path, wanted, available);
    assert!(matches!(look(&wanted()), Ok(Foreseen::ToBeMade(_))));
    assert!(!path.exists());
    let too_small = directory::foresee(&path, &wanted(), 1);
    assert!(matches!(too_small, Err(DirectoryError::TooSmall { .. })), "{too_small:?}");

    let held = open(&path, &wanted()).unwrap();
    // Also while somebody uses it.
    let Ok(Foreseen::There(identity)) = look(&wanted()) else { panic!() };
    assert_eq!(&identity, held.identity());
    let other = Wanted { cluster: Choice::Given("other".to_owned()), ..wanted() };
    assert!(matches!(look(&other), Err(DirectoryError::Differs { flag: "cluster", .. })));

    std::fs::write(root.path().join("thesis.tex"), "years of work").unwrap();
    let foreign = directory::foresee(root.path(), &wanted(), available);
    assert!(matches!(foreign, Err(DirectoryError::Foreign { .. })), "{foreign:?}");
}
