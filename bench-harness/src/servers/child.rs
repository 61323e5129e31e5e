//! A child process that never outlives the tool, whether that ends by itself
//! or by a signal.

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Children that run now, for the signal's sake.
static RUNNING: Mutex<Running> = Mutex::new(Running { pids: BTreeSet::new(), ending: false });

struct Running {
    pids: BTreeSet<i32>,
    /// A signal came: nobody starts another child.
    ending: bool,
}

/// Directories that go with the tool, for the signal's sake.
static SCRATCH: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// How long a server may take to end after SIGTERM.
const END_PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);
/// Of a failed server's output, what is shown.
const TAIL_LINES: usize = 20;

/// A server that is ended when this value goes.
pub struct Server {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Server {
    /// Starts `command` on `cores` (none: wherever we may run), its output in two files.
    pub fn start(
        name: &str,
        mut command: Command,
        cores: &[usize],
        log_dir: &Path,
    ) -> io::Result<Server> {
        fs::create_dir_all(log_dir)?;
        let stdout = log_dir.join(format!("{name}.out"));
        let stderr = log_dir.join(format!("{name}.err"));
        command.stdin(Stdio::null()).stdout(File::create(&stdout)?).stderr(File::create(&stderr)?);
        let child = spawn_on(command, cores)?;
        Ok(Server { name: name.to_string(), child, stdout, stderr })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The line of its output that contains `words`, once it is there.
    pub fn wait_for(&mut self, words: &str, patience: Duration) -> io::Result<String> {
        let stdout = self.stdout.clone();
        self.wait_until(&format!("say `{words}`"), patience, || {
            let output = fs::read_to_string(&stdout)?;
            Ok(output.lines().find(|line| line.contains(words)).map(str::to_string))
        })
    }

    /// What `probe` finds, once it does; the server has to live until then.
    pub fn wait_until<T>(
        &mut self,
        what: &str,
        patience: Duration,
        mut probe: impl FnMut() -> io::Result<Option<T>>,
    ) -> io::Result<T> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(found) = probe()? {
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait()? {
                forget(self.child.id());
                return Err(self.failed(&format!("ended with {status}")));
            }
            if Instant::now() > deadline {
                return Err(self.failed(&format!("did not {what} in {patience:?}")));
            }
            std::thread::sleep(POLL);
        }
    }

    fn failed(&self, what: &str) -> io::Error {
        let tail = |path: &Path| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().rev().take(TAIL_LINES).collect();
            lines.into_iter().rev().collect::<Vec<_>>().join("\n")
        };
        let (name, out, err) = (&self.name, tail(&self.stdout), tail(&self.stderr));
        io::Error::other(format!("{name} {what}\n{out}\n{err}"))
    }

    /// One that died meanwhile must not pass for a slow one.
    pub fn check_running(&self) -> io::Result<()> {
        match is_alive(self.child.id() as i32) {
            true => Ok(()),
            false => Err(self.failed("has ended")),
        }
    }

    /// Takes it off the processor, so that another one can be measured.
    pub fn freeze(&self) -> io::Result<()> {
        let running = running();
        // One that is to end must stay able to.
        if running.ending {
            return Ok(());
        }
        signal(self.child.id(), Signal::SIGSTOP)
    }

    pub fn thaw(&self) -> io::Result<()> {
        signal(self.child.id(), Signal::SIGCONT)
    }

    /// Asks it to end, and makes it.
    pub fn stop(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            forget(self.child.id());
            return Ok(status);
        }
        self.thaw()?;
        signal(self.child.id(), Signal::SIGTERM)?;
        let deadline = Instant::now() + END_PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                forget(self.child.id());
                return Ok(status);
            }
            std::thread::sleep(POLL);
        }
        self.child.kill()?;
        let status = self.child.wait()?;
        forget(self.child.id());
        Ok(status)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("{} (pid {}) could not be ended: {error}", self.name, self.child.id());
        }
    }
}

/// A directory that is removed with this value, or when a signal ends the tool.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes it anew: what an earlier run left there goes.
    pub fn make(path: PathBuf) -> io::Result<Scratch> {
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir_all(&path)?;
        scratch().insert(path.clone());
        Ok(Scratch(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        scratch().remove(&self.0);
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}

fn scratch() -> std::sync::MutexGuard<'static, BTreeSet<PathBuf>> {
    SCRATCH.lock().expect("nobody panics with this lock")
}

/// Runs a command to its end, its output on ours.
pub fn run_to_end(command: Command) -> io::Result<ExitStatus> {
    let mut child = spawn_on(command, &[])?;
    let status = child.wait();
    forget(child.id());
    // One that a signal has ended is no result.
    stay_if_ending();
    status
}

/// A child inherits cores and blocked signals of the thread that makes it, so
/// a thread is made for nothing else.
fn spawn_on(mut command: Command, cores: &[usize]) -> io::Result<Child> {
    command.process_group(0);
    let cores = cores.to_vec();
    let spawner = std::thread::spawn(move || -> io::Result<Child> {
        SigSet::empty().thread_set_mask()?;
        if !cores.is_empty() {
            let mut set = CpuSet::new();
            for core in cores {
                set.set(core)?;
            }
            sched_setaffinity(Pid::from_raw(0), &set)?;
        }
        let program = command.get_program().to_string_lossy().into_owned();
        // Under one lock, so that no child is born unseen while all are ended.
        let mut running = running();
        if running.ending {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "a signal ends this run"));
        }
        let child = command
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
        running.pids.insert(child.id() as i32);
        Ok(child)
    });
    spawner.join().expect("spawning does not panic")
}

fn running() -> std::sync::MutexGuard<'static, Running> {
    RUNNING.lock().expect("nobody panics with this lock")
}

fn forget(pid: u32) {
    running().pids.remove(&(pid as i32));
}

fn signal(pid: u32, signal: Signal) -> io::Result<()> {
    Ok(kill(Pid::from_raw(pid as i32), signal)?)
}

/// From now on SIGINT and SIGTERM end the children first. Call it before other threads exist.
pub fn end_all_on_signal() -> io::Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        if signals.wait().is_ok() {
            end_all();
            for path in scratch().iter() {
                // Nobody is left to be told.
                let _ = fs::remove_dir_all(path);
            }
            std::process::exit(130);
        }
    })?;
    Ok(())
}

/// Goes no further once a signal came: its thread ends the children and the process.
pub fn stay_if_ending() {
    while running().ending {
        std::thread::park();
    }
}

fn end_all() {
    let children = {
        let mut running = running();
        running.ending = true;
        running.pids.clone()
    };
    for &pid in &children {
        for each in [Signal::SIGCONT, Signal::SIGTERM] {
            // One that just ended by itself needs no signal.
            let _ = kill(Pid::from_raw(pid), each);
        }
    }
    let deadline = Instant::now() + END_PATIENCE;
    while children.iter().any(|&pid| is_alive(pid)) {
        if Instant::now() > deadline {
            for &pid in children.iter().filter(|&&pid| is_alive(pid)) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            return;
        }
        std::thread::sleep(POLL);
    }
}

/// Whether our child still runs: one that waits to be reaped does not.
fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next());
    !matches!(state, None | Some("Z" | "X"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_server_is_found_ready_and_ends_with_its_value() {
        let dir = tempfile::tempdir().unwrap();
        let script = "echo starting; echo ready 42; exec sleep 1000";
        let mut server = Server::start("s", shell(script), &[0], dir.path()).unwrap();
        let line = server.wait_for("ready", Duration::from_secs(20)).unwrap();
        assert_eq!(line, "ready 42");
        let allowed = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        assert!(allowed.contains("Cpus_allowed_list:\t0\n"));
        server.check_running().unwrap();
        server.freeze().unwrap();
        let pid = server.pid() as i32;
        drop(server);
        assert!(!is_alive(pid));
    }

    #[test]
    fn a_server_that_ended_by_itself_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start("s", shell("echo out of memory >&2"), &[], dir.path()).unwrap();
        let error = loop {
            match server.check_running() {
                Ok(()) => std::thread::yield_now(),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains("s has ended") && error.contains("out of memory"), "{error}");
    }

    #[test]
    fn a_scratch_directory_begins_empty_and_goes_with_its_value() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("scratch");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("left"), "by an earlier run").unwrap();
        let scratch = Scratch::make(path.clone()).unwrap();
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn a_server_that_fails_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let script = "echo no disk >&2; exit 3";
        let mut server = Server::start("s", shell(script), &[], dir.path()).unwrap();
        let error = server.wait_for("ready", Duration::from_secs(20)).unwrap_err().to_string();
        assert!(error.contains("no disk") && error.contains('3'), "{error}");
    }
}
