//! The real node as a process of its own, ended and cleaned up whatever becomes of the test.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Nothing here takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

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
        self.spawn(&[]).ready()
    }

    /// A node that is on its way.
    pub fn spawn(&self, flags: &[&str]) -> Node<'_> {
        self.run(serve(&self.data()).args(flags))
    }

    /// A node that writes its log in this mode.
    pub fn spawn_writing(&self, mode: &str, flags: &[&str]) -> Node<'_> {
        self.run(serve_as_usual(&self.data()).args(["--write", mode]).args(flags))
    }

    /// A node whose files can be bounded while it runs: it is told of a write beyond the
    /// bound by an error, and not by a signal that ends it.
    pub fn spawn_boundable(&self, flags: &[&str]) -> Node<'_> {
        let serve = serve(&self.data());
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(serve.get_program());
        command.args(serve.get_args()).args(flags).stdin(Stdio::null()).env_remove("RINGMQ_LOG");
        self.run(&mut command)
    }

    /// Starts a node in a way of its own; the error is all that it has said.
    pub fn try_start(&self, mut command: Command) -> Result<Node<'_>, String> {
        self.run(&mut command).try_ready()
    }

    /// A node that may have `most` files open.
    pub fn start_with_descriptors(&self, most: usize) -> Node<'_> {
        let serve = serve(&self.data());
        let mut command = Command::new("sh");
        let limited = format!("ulimit -n {most}; exec \"$0\" \"$@\"");
        command.args(["-c", &limited]).arg(serve.get_program()).args(serve.get_args());
        self.try_start(command).unwrap_or_else(|why| panic!("{why}"))
    }

    fn run(&self, command: &mut Command) -> Node<'_> {
        let said = File::create(self.0.path().join("stderr")).unwrap();
        let child = command.stdout(Stdio::piped()).stderr(said).spawn().unwrap();
        Node { child, place: self, address: String::new(), name_server: String::new() }
    }

    /// Waits until the node has said `text`.
    #[track_caller]
    pub fn await_said(&self, text: &str) {
        let begun = Instant::now();
        while !self.log_of_node().contains(text) {
            assert!(begun.elapsed() < PATIENCE, "no {text:?} in: {}", self.log_of_node());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The memory that was to outlive the process is gone.
    pub fn remove_arena(&self) {
        let removed = self.arenas().into_iter().filter(|arena| fs::remove_file(arena).is_ok());
        assert_eq!(removed.count(), 1, "there was an arena");
    }

    /// The first segment of the log.
    pub fn first_segment(&self) -> PathBuf {
        self.data().join("shard-0/log").join("0".repeat(20))
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

/// Whether permissions of files mean nothing to this process.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// What the segments of a small node take that are mapped at a time: one that is not flushed,
/// one that is written, and two that are ready.
pub fn mapped_kib_max() -> u64 {
    let is_mapped = std::env::var("RINGMQ_TEST_WRITE").is_ok_and(|mode| mode == "mmap");
    if is_mapped { 4 * 16 * 1024 } else { 0 }
}

/// A small node on free ports. Environment: RINGMQ_TEST_WRITE, the mode in which those write
/// to which a test gives none.
pub fn serve(data: &Path) -> Command {
    let mut command = serve_as_usual(data);
    if let Ok(mode) = std::env::var("RINGMQ_TEST_WRITE") {
        command.args(["--write", &mode]);
    }
    command
}

fn serve_as_usual(data: &Path) -> Command {
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
    pub name_server: String,
}

impl Node<'_> {
    /// Waits until it serves.
    pub fn ready(self) -> Self {
        self.try_ready().unwrap_or_else(|why| panic!("{why}"))
    }

    /// Waits until it serves; the error is all that it has said instead.
    fn try_ready(mut self) -> Result<Self, String> {
        let mut line = String::new();
        // Ends with the process, if it says nothing.
        _ = BufReader::new(self.child.stdout.take().unwrap()).read_line(&mut line);
        let word = |name: &str| line.split([' ', ',']).find_map(|word| word.strip_prefix(name));
        self.address = word("broker-0=").unwrap_or_default().to_owned();
        self.name_server = word("namesrv=").unwrap_or_default().to_owned();
        match self.address.is_empty() {
            true => Err(format!("no ready line but {line:?}: {}", self.place.log_of_node())),
            false => Ok(self),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How many files of the log it has open.
    pub fn open_segments(&self) -> usize {
        let log = self.place.data().join("shard-0/log");
        let open = fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        let targets = open.filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
        targets.filter(|target| target.starts_with(&log)).count()
    }

    /// Ends it as `kill -9` does.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The most memory that the process ever held. Pages of mapped segments count too,
    /// though they are the page cache's: these may be `mapped_kib_max` of it.
    pub fn peak_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// From now on no file may be written beyond `bytes`.
    pub fn bound_files(&self, bytes: u64) {
        let (pid, bound) = (self.child.id().to_string(), format!("--fsize={bytes}:"));
        let status = Command::new("prlimit").args(["--pid", &pid, &bound]).status().unwrap();
        assert!(status.success());
    }

    /// Asks it to stop. Returns its exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        self.child.wait().unwrap().code()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// How the process has ended, if it has.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// A clean stop, which must succeed and leave nothing in memory.
    pub fn stop(self) {
        self.signal(Signal::SIGTERM);
        self.expect_clean_end();
    }

    /// Waits for an end that was asked for.
    pub fn expect_clean_end(mut self) {
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
