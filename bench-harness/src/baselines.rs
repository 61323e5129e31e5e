//! `baselines`: the brokers we compare with, installed and started.

use crate::send::CoreList;
use crate::servers::{
    self, Apache, ApacheFlush, ApacheSettings, COLLECTOR_DEFAULT, HEAP_MIB_DEFAULT, KAFKA, Kafka,
    KafkaFlush, KafkaSettings, Package, ROCKETMQ,
};
use clap::{Args, Subcommand};
use std::io;
use std::path::PathBuf;

#[derive(Subcommand, Clone, Debug)]
pub enum BaselinesCommand {
    /// Fetch Apache RocketMQ 5.5.0 and Apache Kafka 4.3.1 with Maven
    Install {
        /// Gets one folder for each
        #[arg(long, default_value = ROOT_DEFAULT)]
        dir: PathBuf,
        /// Just this one
        #[arg(long, value_enum)]
        only: Option<Baseline>,
    },
    /// Start RocketMQ's name server and broker, and end them with this command
    StartApache(StartArgs),
    /// Start Kafka, and end it and remove its store with this command
    StartKafka(StartKafkaArgs),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Baseline {
    Rocketmq,
    Kafka,
}

impl Baseline {
    const ALL: [Baseline; 2] = [Baseline::Rocketmq, Baseline::Kafka];

    fn package(self) -> Package {
        match self {
            Baseline::Rocketmq => ROCKETMQ,
            Baseline::Kafka => KAFKA,
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Baseline::Rocketmq => "rocketmq",
            Baseline::Kafka => "kafka",
        }
    }
}

pub const ROOT_DEFAULT: &str = "target/baselines";
pub const DIR_DEFAULT: &str = "target/baselines/rocketmq";
pub const KAFKA_DIR_DEFAULT: &str = "target/baselines/kafka";

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

#[derive(Args, Clone, Debug)]
pub struct StartKafkaArgs {
    #[arg(long, default_value = KAFKA_DIR_DEFAULT)]
    pub dir: PathBuf,
    /// Holds store, logs and settings; on a disk, not in memory
    #[arg(long)]
    pub data_dir: PathBuf,
    /// Cores of the broker
    #[arg(long, value_parser = CoreList::parse)]
    pub cores: Option<CoreList>,
    /// `sync` flushes every message (flush.messages=1)
    #[arg(long, value_enum, default_value_t = KafkaFlush::Async)]
    pub flush: KafkaFlush,
    #[arg(long, default_value_t = HEAP_MIB_DEFAULT)]
    pub heap_mib: u32,
    /// The garbage collector, as in -XX:+UseG1GC
    #[arg(long, default_value = COLLECTOR_DEFAULT)]
    pub collector: String,
    /// 0 takes a free one
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// A further line of server.properties
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub more: Vec<String>,
}

impl BaselinesCommand {
    pub fn run(&self) -> io::Result<()> {
        servers::end_all_on_signal()?;
        match self {
            BaselinesCommand::Install { dir, only } => {
                let wanted = |baseline: &Baseline| only.is_none_or(|only| only == *baseline);
                for baseline in Baseline::ALL.into_iter().filter(wanted) {
                    let (package, dir) = (baseline.package(), dir.join(baseline.folder()));
                    package.install(&dir)?;
                    println!("{} is in {}", package.name, dir.display());
                }
                Ok(())
            }
            BaselinesCommand::StartApache(args) => args.run(),
            BaselinesCommand::StartKafka(args) => args.run(),
        }
    }
}

fn cores(list: &Option<CoreList>) -> Vec<usize> {
    list.clone().map_or_else(Vec::new, |list| list.0)
}

/// The thread that waits for signals ends the servers and the process.
fn until_signal() -> ! {
    loop {
        std::thread::park();
    }
}

impl StartArgs {
    fn run(&self) -> io::Result<()> {
        let apache = Apache::start(&ApacheSettings {
            dir: self.dir.clone(),
            data_dir: self.data_dir.clone(),
            cores: cores(&self.cores),
            namesrv_cores: cores(&self.namesrv_cores),
            flush: self.flush,
            heap_mib: self.heap_mib,
            port: self.port,
            namesrv_port: self.namesrv_port,
            more: vec![],
        })?;
        println!(
            "ready broker {} pid {} namesrv {} pid {}",
            apache.broker_addr,
            apache.broker.pid(),
            apache.namesrv_addr,
            apache.namesrv.pid()
        );
        until_signal()
    }
}

impl StartKafkaArgs {
    fn run(&self) -> io::Result<()> {
        let kafka = Kafka::start(&KafkaSettings {
            dir: self.dir.clone(),
            data_dir: self.data_dir.clone(),
            cores: cores(&self.cores),
            flush: self.flush,
            heap_mib: self.heap_mib,
            collector: self.collector.clone(),
            port: self.port,
            more: self.more.clone(),
        })?;
        println!("ready broker {} pid {}", kafka.broker_addr, kafka.broker.pid());
        until_signal()
    }
}
