//! Who is on stage: Apache stays started, frozen while it is not its turn;
//! our broker starts afresh for every measurement.

use super::TableArgs;
use super::results::Results;
use super::rows::{FIRST, Row, Subject, Work};
use crate::measure::ProcessMark;
use crate::servers::{self, Apache, ApacheFlush, ApacheSettings, Ringmq, RingmqSettings, Server};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Stage<'a> {
    args: &'a TableArgs,
    apache: Apache,
    /// Removed with all stores when the stage goes.
    dir: PathBuf,
    /// Apache's rate in the first row.
    apache_rate: f64,
}

/// Enough for every connection to have one of its own at the drain.
const QUEUES: u32 = 8;
/// Requests in flight while a backlog is made.
const FILL_CONNECTIONS: &str = "8";
const FILL_WINDOW: &str = "32";
const DRAIN_PASSES: &str = "5";

impl<'a> Stage<'a> {
    pub fn start(
        args: &'a TableArgs,
        flush: ApacheFlush,
        results: &mut Results,
    ) -> io::Result<Stage<'a>> {
        let name = format!("ringmq-table3-{}-{flush:?}", std::process::id());
        let dir = args.data_dir.join(name);
        fs::create_dir_all(&dir)?;
        println!("\nstarting Apache RocketMQ, {flush:?} flush");
        let apache = Apache::start(&ApacheSettings {
            dir: args.apache_dir.clone(),
            data_dir: dir.join("apache"),
            cores: args.broker_cores.0.clone(),
            namesrv_cores: args.load_cores.0.clone(),
            flush,
            heap_mib: args.heap_mib,
            port: 0,
            namesrv_port: 0,
            more: vec![],
        })?;
        results.fresh.push((format!("apache {flush:?}"), memory_mib(apache.broker.pid())?));
        let apache_rate =
            results.median(FIRST, Subject::Apache, |m| Some(m.messages_per_second)).unwrap_or(0.0);
        let stage = Stage { args, apache, dir, apache_rate };
        stage.warm_apache()?;
        stage.apache.freeze()?;
        Ok(stage)
    }

    /// Its compiler needs load before its figures mean anything.
    fn warm_apache(&self) -> io::Result<()> {
        println!("warming it for {} s", self.args.apache_warmup);
        let mut warm = self.tool("send", self.apache.broker_addr, "warm");
        warm.args(["--connections", "16", "--window", "32", "--warmup", "0"]);
        warm.args(["--create-topic", &QUEUES.to_string()]);
        warm.args(["--duration", &self.args.apache_warmup.to_string()]);
        finish(warm)
    }

    /// Measures one row with one subject; returns the file of its result.
    pub fn measure(
        &mut self,
        row: &Row,
        subject: Subject,
        name: &str,
        results: &mut Results,
    ) -> io::Result<PathBuf> {
        let file = results.folder.raw(name);
        match subject {
            Subject::Apache => {
                self.apache.thaw()?;
                let addr = self.apache.broker_addr;
                let done = self.work(row, subject, addr, Some(&self.apache.broker), name, &file);
                self.apache.freeze()?;
                done?;
                if row.name == FIRST {
                    let json: serde_json::Value =
                        serde_json::from_str(&fs::read_to_string(&file)?)?;
                    self.apache_rate =
                        json["throughput"]["messages_per_second"].as_f64().unwrap_or(0.0);
                }
            }
            Subject::EchoParked | Subject::EchoSpinning => {
                let echo = Ringmq::start_echo(&self.settings(subject, name))?;
                self.echo(row, echo.broker_addr, &echo.broker, &file)?;
            }
            Subject::Disk => self.disk(&file)?,
            _ => {
                let settings = self.settings(subject, name);
                let ringmq = Ringmq::start(&settings)?;
                let fresh = memory_mib(ringmq.broker.pid())?;
                results.fresh.push((format!("ringmq {}", subject.name()), fresh));
                let addr = ringmq.broker_addr;
                let done = self.work(row, subject, addr, Some(&ringmq.broker), name, &file);
                drop(ringmq);
                fs::remove_dir_all(&settings.data_dir)?;
                done?;
            }
        }
        Ok(file)
    }

    fn settings(&self, subject: Subject, name: &str) -> RingmqSettings {
        let words = |text: &str| text.split_whitespace().map(str::to_string).collect::<Vec<_>>();
        let mut more = words(&self.args.ringmq_args);
        if subject == Subject::Recycled {
            more.extend(words(self.args.recycled_args.as_deref().unwrap_or_default()));
        }
        RingmqSettings {
            binary: self.args.ringmq.clone(),
            // The broker's name for its directory must not end like an extension.
            data_dir: self.dir.join(name.replace('.', "-")),
            cores: self.args.broker_cores.0.clone(),
            ack: subject.ack().to_string(),
            spin_us: subject.spin_us(),
            more,
        }
    }

    fn work(
        &self,
        row: &Row,
        subject: Subject,
        addr: SocketAddr,
        server: Option<&Server>,
        name: &str,
        file: &Path,
    ) -> io::Result<()> {
        let topic = name.replace('.', "-");
        if let Work::Drain { connections, window } = row.work {
            let mut fill = self.tool("send", addr, &topic);
            fill.args(["--connections", FILL_CONNECTIONS, "--window", FILL_WINDOW]);
            fill.args(["--create-topic", &QUEUES.to_string()]);
            fill.args(["--count", &self.args.backlog.to_string()]);
            finish(fill)?;
            let mut drain = self.tool("drain", addr, &topic);
            drain.args(["--connections", &connections.to_string()]);
            drain.args(["--window", &window.to_string(), "--passes", DRAIN_PASSES]);
            drain.args(["--queues", &QUEUES.to_string(), "--allow-reorder"]);
            return finish(watched(drain, server, file));
        }
        let mut send = self.tool("send", addr, &topic);
        send.args(["--create-topic", &QUEUES.to_string()]);
        self.shape(&mut send, row, subject)?;
        finish(watched(send, server, file))
    }

    fn shape(&self, send: &mut Command, row: &Row, subject: Subject) -> io::Result<()> {
        let (connections, window, size, batch) = match row.work {
            Work::Send { connections, window, size, batch } => (connections, window, size, batch),
            Work::HalfRate { connections, window, size } => {
                if self.apache_rate == 0.0 {
                    return Err(io::Error::other(format!("needs Apache's rate from {FIRST}")));
                }
                send.args(["--rate", &format!("{:.0}", self.apache_rate / 2.0)]);
                (connections, window, size, 1)
            }
            Work::Drain { .. } => return Err(io::Error::other("a drain sends nothing")),
        };
        let warmup = match subject {
            Subject::Recycled => self.args.recycled_warmup,
            _ => self.args.warmup,
        };
        for (flag, value) in [
            ("--connections", connections.to_string()),
            ("--window", window.to_string()),
            ("--size", size.to_string()),
            ("--batch", batch.to_string()),
            ("--duration", self.args.seconds.to_string()),
            ("--warmup", warmup.to_string()),
        ] {
            send.args([flag, &value]);
        }
        Ok(())
    }

    fn echo(&self, row: &Row, addr: SocketAddr, server: &Server, file: &Path) -> io::Result<()> {
        let mut echo = Command::new(std::env::current_exe()?);
        echo.args(["echo", "--server", &addr.to_string(), "--cores", &self.load_cores()]);
        self.shape(&mut echo, row, Subject::EchoParked)?;
        finish(watched(echo, Some(server), file))
    }

    fn disk(&self, file: &Path) -> io::Result<()> {
        let mut disk = Command::new(std::env::current_exe()?);
        disk.arg("disk").arg("--dir").arg(&self.dir);
        disk.args(["--duration", &self.args.seconds.min(20.0).to_string()]);
        // Where the broker writes from: interrupts may come to the other core.
        if let Some(core) = self.args.broker_cores.0.first() {
            disk.args(["--core", &core.to_string()]);
        }
        finish(watched(disk, None, file))
    }

    /// This tool itself, as a process of its own on the load's cores.
    fn tool(&self, command: &str, addr: SocketAddr, topic: &str) -> Command {
        let this = std::env::current_exe().unwrap_or_else(|_| "ringmq-bench".into());
        let mut tool = Command::new(this);
        tool.args([command, "--broker", &addr.to_string(), "--topic", topic]);
        tool.args(["--cores", &self.load_cores()]);
        tool
    }

    fn load_cores(&self) -> String {
        let cores: Vec<String> = self.args.load_cores.0.iter().map(usize::to_string).collect();
        cores.join(",")
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        for server in [&mut self.apache.broker, &mut self.apache.namesrv] {
            if let Err(error) = server.stop() {
                eprintln!("{error}");
            }
        }
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("{}: {error}", self.dir.display());
        }
    }
}

fn watched(mut command: Command, server: Option<&Server>, file: &Path) -> Command {
    if let Some(server) = server {
        command.args(["--broker-pid", &server.pid().to_string()]);
    }
    command.arg("--json").arg(file);
    command
}

/// Code 2 says that something was refused, which the result tells.
fn finish(command: Command) -> io::Result<()> {
    let status = servers::run_to_end(command)?;
    match status.code() {
        Some(0 | 2) => Ok(()),
        _ => Err(io::Error::other(format!("the load tool ended with {status}"))),
    }
}

/// Memory and huge pages in use.
fn memory_mib(pid: u32) -> io::Result<u64> {
    let mark = ProcessMark::take(pid)?;
    let now = mark.until(&mark, pid)?;
    Ok((now.rollup_pss_kib + now.hugetlb_kib) / 1024)
}
