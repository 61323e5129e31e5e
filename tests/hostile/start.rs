//! Starts that cannot succeed: the error names the cause and what to do.

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Stdio};

use crate::node::{Place, outcome, serve};

fn spawn(place: &Place, flags: &[&str]) -> Child {
    let mut command = serve(&place.data());
    for pair in flags.chunks(2) {
        // A flag may be given once only: its default goes.
        command = without(&command, pair[0]);
        command.args(pair);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The same command without a flag and its value.
fn without(command: &std::process::Command, flag: &str) -> std::process::Command {
    let mut rest = std::process::Command::new(command.get_program());
    let mut args = command.get_args();
    while let Some(arg) = args.next() {
        if arg == flag {
            _ = args.next();
        } else {
            rest.arg(arg);
        }
    }
    rest.stdin(Stdio::null()).env_remove("RINGMQ_LOG");
    rest
}

#[track_caller]
fn expect_refused(child: Child, parts: &[&str]) {
    let (code, said) = outcome(child);
    assert!(code.is_some_and(|code| code > 0), "{code:?}: {said}");
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("ringmq: "), "{said}");
    for part in parts {
        assert!(last.contains(part), "{part:?} is not in: {last}");
    }
}

#[test]
fn a_start_that_cannot_succeed_says_why_and_what_to_do() {
    // Each of these waits a while for a process that may be about to end: all at once.
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port().to_string();
    let (first, second) = (Place::new(), Place::new());
    let by_name_server = spawn(&first, &["--namesrv-port", &port]);
    let by_shard = spawn(&second, &["--port", &port]);

    let used = Place::new();
    let node = used.start();
    let beside = spawn(&used, &[]);

    let file = Place::new();
    fs::write(file.data(), "no directory").unwrap();
    expect_refused(spawn(&file, &[]), &[file.data().to_str().unwrap(), "--data-dir"]);
    let below = spawn(&file, &["--data-dir", file.data().join("data").to_str().unwrap()]);
    expect_refused(below, &[file.data().to_str().unwrap(), "--data-dir"]);
    let foreign = Place::new();
    fs::create_dir(foreign.data()).unwrap();
    fs::write(foreign.data().join("thesis.tex"), "years of work").unwrap();
    expect_refused(spawn(&foreign, &[]), &["thesis.tex", "--data-dir"]);

    let data = used.data();
    let data = data.to_str().unwrap();
    expect_refused(beside, &[data, "in use", "by pid", "--data-dir"]);
    node.stop();
    expect_refused(spawn(&used, &["--shards", "2"]), &["--shards 2", data, "made with 1", "leave"]);

    let path = used.data().join("identity");
    let identity = fs::read_to_string(&path).unwrap();
    fs::write(&path, identity.replace("format = 1", "format = 2")).unwrap();
    expect_refused(spawn(&used, &[]), &["format 2", "format 1", "start the version"]);
    fs::write(&path, identity.replace("shards = 1", "shards = 3")).unwrap();
    expect_refused(spawn(&used, &[]), &["checksum", "restore"]);
    fs::write(&path, identity).unwrap();
    used.start().stop();

    expect_refused(by_name_server, &[&port, "in use", "--namesrv-port"]);
    expect_refused(by_shard, &[&port, "in use", "--port"]);
}
