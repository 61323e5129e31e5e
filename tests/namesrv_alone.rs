//! `ringmq namesrv` as a process of its own: what tools put there outlives it.

mod namesrv_common;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use namesrv_common::Peer;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringmq::wire::code::{request, response};

/// Ended whatever becomes of the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

impl Process {
    fn start(data: &Path) -> (Self, SocketAddr) {
        let mut process = Self(command(data).stderr(Stdio::inherit()).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addr = line.trim().strip_prefix("ready namesrv ").expect(&line).parse().unwrap();
        (process, addr)
    }

    fn end(mut self, signal: Signal) -> Option<i32> {
        kill(Pid::from_raw(self.0.id() as i32), signal).unwrap();
        self.0.wait().unwrap().code()
    }
}

fn command(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq"));
    command.args(["namesrv", "--port", "0", "--data-dir"]).arg(data);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

fn put(peer: &mut Peer, key: &str, value: &str) {
    let fields = [("namespace", "space"), ("key", key), ("value", value)];
    assert_eq!(peer.ask(request::PUT_KV_CONFIG, &fields, b"").code, response::SUCCESS);
}

fn get(peer: &mut Peer, key: &str) -> Option<String> {
    let asked = [("namespace", "space"), ("key", key)];
    let reply = peer.ask(request::GET_KV_CONFIG, &asked, b"");
    match reply.code {
        response::SUCCESS => Some(reply.ext["value"].clone()),
        response::QUERY_NOT_FOUND => None,
        code => panic!("{code}: {}", reply.remark),
    }
}

#[test]
fn values_outlive_the_name_server_however_it_ends() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("made/on/the/way");
    let (process, addr) = Process::start(&data);
    let mut peer = Peer::connect(addr);
    put(&mut peer, "kept", "first");
    put(&mut peer, "kept", "second");
    put(&mut peer, "gone", "soon");
    let asked = [("namespace", "space"), ("key", "gone")];
    assert_eq!(peer.ask(request::DELETE_KV_CONFIG, &asked, b"").code, response::SUCCESS);
    assert_eq!(process.end(Signal::SIGKILL), None);

    let (process, addr) = Process::start(&data);
    let mut peer = Peer::connect(addr);
    assert_eq!(get(&mut peer, "kept").as_deref(), Some("second"));
    assert_eq!(get(&mut peer, "gone"), None);
    put(&mut peer, "late", "too");
    assert_eq!(process.end(Signal::SIGTERM), Some(0));

    let (process, addr) = Process::start(&data);
    let mut peer = Peer::connect(addr);
    assert_eq!(get(&mut peer, "kept").as_deref(), Some("second"));
    assert_eq!(get(&mut peer, "late").as_deref(), Some("too"));
    assert_eq!(process.end(Signal::SIGTERM), Some(0));
}

#[test]
fn a_directory_that_cannot_be_used_is_named_with_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let (process, _) = Process::start(&data);
    let file = home.path().join("file");
    std::fs::write(&file, "no directory").unwrap();
    for path in [data.clone(), file.join("below")] {
        let refused = command(&path).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        let last = said.lines().last().unwrap();
        assert!(last.contains(path.to_str().unwrap()) && last.contains("--data-dir"), "{said}");
    }
    assert_eq!(process.end(Signal::SIGTERM), Some(0));
}
