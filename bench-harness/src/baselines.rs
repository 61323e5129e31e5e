//! `baselines`: the brokers we compare with, installed and started.

use crate::send::CoreList;
use crate::servers::{self, Apache, ApacheFlush, ApacheSettings};
use clap::{Args, Subcommand};
use std::io;
use std::path::PathBuf;

#[derive(Subcommand, Clone, Debug)]
pub enum BaselinesCommand {
    /// Fetch Apache RocketMQ 5.5.0 with Maven
    Install {
        #[arg(long, default_value = DIR_DEFAULT)]
        dir: PathBuf,
    },
    /// Start its name server and broker, and end them with this command
    StartApache(StartArgs),
}

pub const DIR_DEFAULT: &str = "target/baselines/rocketmq";

#[derive(Args, Clone, Debug)]
pub struct StartArgs {
    #[arg(long, default_value = DIR_DEFAULT)]
    pub dir: PathBuf,
    /// Holds store, logs and settings; on a disk, not in memory
    #[arg(long)]
    pub data_dir: PathBuf,
    /// Cores of the broker
    #[arg(long, value_parser = CoreList::parse)]
    pub cores: Option<CoreList>,
    /// Cores of the name server
    #[arg(long, value_parser = CoreList::parse)]
    pub namesrv_cores: Option<CoreList>,
    #[arg(long, value_enum, default_value_t = ApacheFlush::Async)]
    pub flush: ApacheFlush,
    #[arg(long, default_value_t = 4096)]
    pub heap_mib: u32,
    /// 0 takes a free one
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// 0 takes a free one
    #[arg(long, default_value_t = 0)]
    pub namesrv_port: u16,
}

impl BaselinesCommand {
    pub fn run(&self) -> io::Result<()> {
        servers::end_all_on_signal()?;
        match self {
            BaselinesCommand::Install { dir } => servers::install(dir),
            BaselinesCommand::StartApache(args) => args.run(),
        }
    }
}

impl StartArgs {
    fn run(&self) -> io::Result<()> {
        let cores = |list: &Option<CoreList>| list.clone().map_or_else(Vec::new, |list| list.0);
        let apache = Apache::start(&ApacheSettings {
            dir: self.dir.clone(),
            data_dir: self.data_dir.clone(),
            cores: cores(&self.cores),
            namesrv_cores: cores(&self.namesrv_cores),
            flush: self.flush,
            heap_mib: self.heap_mib,
            port: self.port,
            namesrv_port: self.namesrv_port,
        })?;
        println!(
            "ready broker {} pid {} namesrv {} pid {}",
            apache.broker_addr,
            apache.broker.pid(),
            apache.namesrv_addr,
            apache.namesrv.pid()
        );
        // The thread that waits for signals ends the servers and the process.
        loop {
            std::thread::park();
        }
    }
}
