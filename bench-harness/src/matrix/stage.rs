//! A broker for some cells: started, filled, asked, ended.

use super::cell::{Cell, Filter, Ground, Strategy};
use super::manifest::Manifest;
use super::outcome::{Reading, tidied};
use crate::admin::AdminClient;
use crate::compare::{Broker, System, Tool};
use crate::results::Folder;
use crate::servers::{Ringmq, RingmqSettings, Scratch};
use crate::wire::{Request, code};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub struct Stage<'a> {
    pub manifest: &'a Manifest,
    pub folder: &'a Folder,
    pub binary: PathBuf,
    /// Everything that is written to meanwhile.
    pub dir: &'a Path,
    /// What `ringmq probe` has found here, for `auto`.
    pub profile: PathBuf,
}

/// Its name in a data directory.
pub const PROFILE: &str = "profile.json";

/// Seconds that a turn takes beside its measurement, roughly.
pub const TURN_OVERHEAD: f64 = 0.4;

const BACKLOG: &str = "backlog";
/// Messages after the backlog, so that it leaves the ring and ends in a segment that is
/// written no more.
const AFTER: &str = "after";
/// A segment and an arena, as large as ringmq makes them by default.
const AFTER_BYTES: u64 = (256 + 64) << 20;
const AFTER_SIZE: u64 = 64 << 10;
/// What a pull gets unless the broker is told otherwise.
const REPLY_BYTES_DEFAULT: u32 = 256 << 10;
const TAGS: &str = "a,b";
const HALF: &str = "a";
const CONNECTIONS_MAX: u32 = 8;
const FILL_CONNECTIONS: u32 = 8;

/// What producers send at while others follow: little for a broker on a core.
const TAIL_BYTES_PER_SECOND: f64 = 64e6;
const TAIL_MESSAGES_PER_SECOND_MAX: f64 = 20_000.0;
/// Within it the generator also makes its requests, tens of megabytes of large ones.
const TAIL_WARMUP: f64 = 0.5;
const TAIL_WINDOW: u32 = 64;
const CONSUMERS_MAX: u32 = 4;

pub fn tail_rate(size: usize) -> f64 {
    (TAIL_BYTES_PER_SECOND / size as f64).floor().clamp(1.0, TAIL_MESSAGES_PER_SECOND_MAX)
}

/// About what a start leaves on the disk.
pub fn bytes_of(manifest: &Manifest, ground: &Ground) -> u64 {
    // Headers, properties and index beside a body.
    const RECORD_MORE: u64 = 200;
    let backlog = manifest.messages_of(ground.size) * (ground.size as u64 + RECORD_MORE);
    let seconds = manifest.strategies.len() as f64 * (manifest.seconds + TAIL_WARMUP);
    let sent = tail_rate(ground.size) * seconds * (ground.size as u64 + RECORD_MORE) as f64;
    (backlog + AFTER_BYTES).max(sent as u64) + AFTER_BYTES
}

impl Stage<'_> {
    pub fn start(&self, ground: Ground) -> io::Result<Running<'_>> {
        let scratch = Scratch::make(self.dir.join("store"))?;
        let data_dir = scratch.path().join("data");
        fs::create_dir(&data_dir)?;
        fs::copy(&self.profile, data_dir.join(PROFILE))?;
        let mut more = self.manifest.ringmq_args.clone();
        more.extend(["--write".to_string(), ground.write.name().to_string()]);
        let ringmq = Ringmq::start(&RingmqSettings {
            binary: self.binary.clone(),
            data_dir,
            cores: self.manifest.broker_cores.clone(),
            ack: "appended".into(),
            spin_us: None,
            more,
        })?;
        let broker = Broker { addr: ringmq.broker_addr, pid: ringmq.broker.pid() };
        let running = Running { stage: self, ground, broker, ringmq, _scratch: scratch };
        running.allow_replies()?;
        Ok(running)
    }
}

/// A broker that is there for the cells of one ground.
pub struct Running<'a> {
    stage: &'a Stage<'a>,
    ground: Ground,
    broker: Broker,
    // The broker before its store, so that it is gone when that is removed.
    ringmq: Ringmq,
    _scratch: Scratch,
}

impl Running<'_> {
    /// As large as pulls will ask for.
    fn allow_replies(&self) -> io::Result<()> {
        let Some(bytes) = self.stage.manifest.max_bytes.filter(|b| *b > REPLY_BYTES_DEFAULT) else {
            return Ok(());
        };
        let options =
            ["InMemory", "InDisk"].map(|w| format!("maxTransferBytesOnMessage{w}={bytes}\n"));
        let request = Request::new(code::UPDATE_CONFIG).body(options.concat());
        AdminClient::connect(self.broker.addr)?.call(&request)?;
        Ok(())
    }

    pub fn fill(&self, messages: u64) -> io::Result<()> {
        let size = self.ground.size;
        self.tool("send")?
            .set("--topic", BACKLOG)
            .set("--create-topic", self.ground.queues)
            .set("--size", size)
            .set("--batch", (self.stage.manifest.fill_bytes / size).max(1))
            .set("--count", messages)
            .set("--tags", TAGS)
            .set("--connections", FILL_CONNECTIONS)
            .set("--window", 4)
            .run()?;
        self.pass_by()
    }

    /// Lets the log go on by a ring and a segment: what was sent before lies behind them, and
    /// all of the ring's memory has been touched once.
    fn pass_by(&self) -> io::Result<()> {
        self.tool("send")?
            .set("--topic", AFTER)
            .set("--create-topic", 1)
            .set("--size", AFTER_SIZE)
            .set("--count", AFTER_BYTES / AFTER_SIZE)
            .set("--connections", 4)
            .set("--window", 4)
            .run()?;
        // What the disk still writes would be measured with the first rounds.
        nix::unistd::sync();
        Ok(())
    }

    /// One pass that is not measured, so that bytes are where this strategy wants them.
    pub fn warm(&self, cell: Cell, strategy: Strategy) -> io::Result<()> {
        self.drainer(cell, strategy)?.run()
    }

    pub fn drain(&self, cell: Cell, strategy: Strategy, round: usize) -> Measured {
        let tool = self.drainer(cell, strategy)?.set("--seconds", self.stage.manifest.seconds);
        self.measured(tool, cell, strategy, round)
    }

    fn drainer(&self, cell: Cell, strategy: Strategy) -> io::Result<Tool> {
        let queues = self.ground.queues;
        let connections = queues.min(CONNECTIONS_MAX);
        let tool = self
            .tool("drain")?
            .set("--topic", BACKLOG)
            .set("--queues", queues)
            .set("--connections", connections)
            // Every queue has a pull under way.
            .set("--window", queues.div_ceil(connections))
            .set("--settle", 0)
            .flag("--discard");
        Ok(self.pulls(tool, cell, strategy))
    }

    /// Nobody's turn: who comes first must not find a broker, a topic and a ring that are new.
    pub fn warm_tail(&self, cell: Cell) -> io::Result<()> {
        self.pass_by()?;
        self.follower(cell, self.stage.manifest.strategies[0], TAIL_WARMUP)?.run()
    }

    pub fn follow(&self, cell: Cell, strategy: Strategy, round: usize) -> Measured {
        let tool = self.follower(cell, strategy, self.stage.manifest.seconds)?;
        self.measured(tool, cell, strategy, round)
    }

    fn follower(&self, cell: Cell, strategy: Strategy, seconds: f64) -> io::Result<Tool> {
        let (size, queues) = (self.ground.size, self.ground.queues);
        let tool = self
            .tool("tail")?
            .set("--topic", "tail")
            .set("--create-topic", queues)
            .set("--size", size)
            .set("--rate", tail_rate(size))
            .set("--warmup", TAIL_WARMUP)
            .set("--duration", seconds)
            .set("--tags", TAGS)
            .set("--connections", queues.min(CONSUMERS_MAX))
            .set("--window", TAIL_WINDOW)
            .set("--consumers", queues.min(CONSUMERS_MAX));
        Ok(self.pulls(tool, cell, strategy))
    }

    fn pulls(&self, tool: Tool, cell: Cell, strategy: Strategy) -> Tool {
        let manifest = self.stage.manifest;
        let tool = tool
            .set("--transfer", strategy.name())
            .set("--max-messages", manifest.max_messages)
            .set("--subscription", if cell.filter == Filter::On { HALF } else { "*" });
        match manifest.max_bytes {
            Some(bytes) => tool.set("--max-bytes", bytes),
            None => tool,
        }
    }

    fn tool(&self, what: &str) -> io::Result<Tool> {
        let cores = &self.stage.manifest.load_cores;
        Tool::new(what, System::Ringmq, self.broker, cores, self.stage.dir)
    }

    /// One that fails is a result too: the others go on.
    fn measured(&self, tool: Tool, cell: Cell, strategy: Strategy, round: usize) -> Measured {
        let name = cell.raw_name(strategy, round);
        let file = self.stage.folder.raw(&name);
        let run = || {
            tool.set("--json", file.display()).run()?;
            let text = tidied(&fs::read_to_string(&file)?)?;
            fs::write(&file, &text)?;
            Reading::of(&serde_json::from_str(&text)?, cell.ground.size)
        };
        match run() {
            Ok(reading) => Ok(Ok(reading.to_string())),
            Err(error) => {
                if file.exists() {
                    fs::remove_file(&file)?;
                }
                self.ringmq.broker.check_running()?;
                fs::write(self.stage.folder.failed(&name), error.to_string())?;
                Ok(Err(error.to_string()))
            }
        }
    }

    pub fn stop(mut self) -> io::Result<()> {
        let status = self.ringmq.broker.stop()?;
        match status.success() {
            true => Ok(()),
            false => Err(io::Error::other(format!("the broker ended with {status}"))),
        }
    }
}

/// What to say of a measurement, or why there is none; an error ends the run.
pub type Measured = io::Result<Result<String, String>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn producers_at_the_tail_send_what_a_core_takes_easily() {
        assert_eq!(tail_rate(128), TAIL_MESSAGES_PER_SECOND_MAX);
        assert_eq!(tail_rate(256 << 10), 244.0);
        assert_eq!(tail_rate(1 << 30), 1.0);
    }
}
