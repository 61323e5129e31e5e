//! The real node as a process of its own, ended and cleaned up whatever becomes of the test.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A data directory, with what a node that owns it says on standard error beside it.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    pub fn log_of_node(&self) -> String {
        fs::read_to_string(self.0.path().join("stderr")).unwrap()
    }

    pub fn start(&self) -> Node<'_> {
        let said = File::create(self.0.path().join("stderr")).unwrap();
        let mut command = serve(&self.data());
        let mut child = command.stdout(Stdio::piped()).stderr(said).spawn().unwrap();
        let mut line = String::new();
        // Ends with the process, if it says nothing.
        _ = BufReader::new(child.stdout.take().unwrap()).read_line(&mut line);
        let address = line.split([' ', ',']).find_map(|word| word.strip_prefix("broker-0="));
        let node = Node { child, place: self, address: address.unwrap_or("").to_owned() };
        assert!(!node.address.is_empty(), "no ready line but {line:?}: {}", self.log_of_node());
        node
    }

    /// Where the arena of this directory's shard may lie.
    fn arenas(&self) -> Vec<PathBuf> {
        let identity = fs::read_to_string(self.data().join("identity")).unwrap_or_default();
        let id = identity.lines().find_map(|line| line.strip_prefix("id = "));
        let Some(id) = id else { return Vec::new() };
        let name = format!("ringmq-{}-0", id.trim_matches('"'));
        ["/dev/shm", "/dev/hugepages"].map(|place| Path::new(place).join(&name)).to_vec()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for arena in self.arenas() {
            _ = fs::remove_file(arena);
        }
    }
}

/// A small node on free ports.
pub fn serve(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq"));
    command.args(["serve", "--arena", "16MiB", "--segment-size", "16MiB"]);
    command.args(["--port", "0", "--namesrv-port", "0", "--shards", "1"]);
    command.arg("--data-dir").arg(data).stdin(Stdio::null()).env_remove("RINGMQ_LOG");
    command
}

/// What a start ended with that was to fail.
pub fn outcome(child: Child) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&stdout), "", "it said that it is ready");
    (status.code(), String::from_utf8(stderr).unwrap())
}

/// A node that serves.
pub struct Node<'p> {
    child: Child,
    place: &'p Place,
    pub address: String,
}

impl Node<'_> {
    /// The most memory that the process ever held.
    pub fn peak_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// A clean stop, which must succeed and leave nothing in memory.
    pub fn stop(mut self) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{}", self.place.log_of_node());
        let left = self.place.arenas().into_iter().find(|arena| arena.exists());
        assert_eq!(left, None, "the arena goes with a clean stop");
    }
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        // Both fail quietly once it has been stopped.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
