//! This tool itself as a process of its own on the load's cores, one per
//! measurement: its CPU is the generator's, and what it says goes to a file.

use super::System;
use super::system::Broker;
use super::workloads::Ask;
use crate::servers;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One command under way to be run.
pub struct Tool {
    command: Command,
    said: PathBuf,
}

/// Of what a failed command said, what is shown.
const SAID_LINES: usize = 12;

impl Tool {
    /// `what` is `send`, `drain` or `tail`.
    pub fn new(
        what: &str,
        system: System,
        broker: Broker,
        cores: &[usize],
        dir: &Path,
    ) -> io::Result<Tool> {
        let mut command = Command::new(std::env::current_exe()?);
        let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
        command.arg(what).args(["--broker", &broker.addr.to_string()]);
        command.args(["--cores", &cores.join(",")]);
        command.args(["--broker-pid", &broker.pid.to_string()]);
        if system == System::Kafka {
            command.args(["--protocol", "kafka"]);
        }
        let said = dir.join(format!("{what}.said"));
        Ok(Tool { command, said })
    }

    pub fn set(mut self, flag: &str, value: impl ToString) -> Tool {
        self.command.args([flag, &value.to_string()]);
        self
    }

    pub fn flag(mut self, flag: &str) -> Tool {
        self.command.arg(flag);
        self
    }

    pub fn ask(self, ask: Ask) -> Tool {
        self.set("--connections", ask.connections)
            .set("--window", ask.window)
            .set("--batch", ask.batch)
    }

    /// Runs it to its end. That something was refused is for its result to tell.
    pub fn run(self) -> io::Result<()> {
        self.run_to(&[0, 2])
    }

    /// The same, where something refused would leave what follows without a base.
    pub fn run_unrefused(self) -> io::Result<()> {
        self.run_to(&[0])
    }

    fn run_to(mut self, codes: &[i32]) -> io::Result<()> {
        let out = File::create(&self.said)?;
        self.command.stderr(out.try_clone()?).stdout(out);
        let status = servers::run_to_end(self.command)?;
        if status.code().is_some_and(|code| codes.contains(&code)) {
            return Ok(());
        }
        let said = fs::read_to_string(&self.said).unwrap_or_default();
        let lines: Vec<&str> = said.lines().rev().take(SAID_LINES).collect();
        let tail = lines.into_iter().rev().collect::<Vec<_>>().join("\n");
        Err(io::Error::other(format!("the load tool ended with {status}: {tail}")))
    }
}
