//! Starts that cannot succeed: the error names the cause and what to do.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::node::{Place, is_root, outcome, serve};

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

/// Lets the command run as somebody whom permissions concern, if we are root.
fn as_nobody(mut command: Command) -> Command {
    const NOBODY: u32 = 65_534;
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// Whether such a one can start our program at all.
fn nobody_may_start_it() -> bool {
    let mut command = as_nobody(Command::new(env!("CARGO_BIN_EXE_ringmq")));
    command.arg("--help").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_directory_that_may_not_be_written_is_named() {
    if !nobody_may_start_it() {
        eprintln!("SKIPPED: no user without root's rights can start the program from here");
        return;
    }
    let place = Place::new();
    set_mode(place.data().parent().unwrap(), 0o755);
    fs::create_dir(place.data()).unwrap();
    let spawn = |data: &Path| {
        let mut command = as_nobody(serve(data));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    // An empty one, one that cannot even be made, and one that was served from before.
    set_mode(&place.data(), 0o555);
    let path = place.data();
    expect_refused(spawn(&path), &[path.to_str().unwrap(), "permission", "--data-dir"]);
    let below = path.join("below");
    expect_refused(spawn(&below), &[path.to_str().unwrap(), "permission", "--data-dir"]);
    set_mode(&place.data(), 0o755);
    place.start().stop();
    set_mode(&place.data(), 0o555);
    expect_refused(spawn(&path), &[path.to_str().unwrap(), "permission", "--data-dir"]);
    set_mode(&place.data(), 0o755);
    place.start().stop();
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
