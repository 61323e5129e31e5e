//! Real Apache RocketMQ from the package registry: name server and broker.

use super::child::Server;
use super::package::ROCKETMQ;
use super::ports::free_ports;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// When the broker answers a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ApacheFlush {
    /// Once it is in memory that outlives the process.
    Async,
    /// Once it is on the disk.
    Sync,
}

/// How to run it.
#[derive(Clone, Debug)]
pub struct ApacheSettings {
    /// Where [`super::Package::install`] put it.
    pub dir: PathBuf,
    pub data_dir: PathBuf,
    /// Cores of the broker; the name server gets the others.
    pub cores: Vec<usize>,
    pub namesrv_cores: Vec<usize>,
    pub flush: ApacheFlush,
    pub heap_mib: u32,
    /// Zero takes free ones.
    pub port: u16,
    pub namesrv_port: u16,
    /// Further lines of broker.conf.
    pub more: Vec<String>,
}

/// A running pair; both end with this value.
pub struct Apache {
    pub broker: Server,
    pub namesrv: Server,
    pub broker_addr: SocketAddr,
    pub namesrv_addr: SocketAddr,
}

/// A JVM that reserves its heap page by page takes its time.
const START_PATIENCE: Duration = Duration::from_secs(120);

impl Apache {
    /// Starts both and waits until the broker says that it serves.
    pub fn start(settings: &ApacheSettings) -> io::Result<Apache> {
        fs::create_dir_all(&settings.data_dir)?;
        let data_dir = fs::canonicalize(&settings.data_dir)?;
        let or_free = |port: u16, offsets: &[i32]| match port {
            0 => free_ports(offsets),
            given => Ok(given),
        };
        let namesrv_port = or_free(settings.namesrv_port, &[0])?;
        // Beside its port the broker takes the two-lower for old clients and the next for replicas.
        let port = or_free(settings.port, &[0, -2, 1])?;
        let namesrv = start_namesrv(settings, &data_dir, namesrv_port)?;
        let broker = start_broker(settings, &data_dir, port, namesrv_port)?;
        Ok(Apache {
            broker,
            namesrv,
            broker_addr: SocketAddr::from(([127, 0, 0, 1], port)),
            namesrv_addr: SocketAddr::from(([127, 0, 0, 1], namesrv_port)),
        })
    }

    /// Takes both off the processor.
    pub fn freeze(&self) -> io::Result<()> {
        self.broker.freeze()?;
        self.namesrv.freeze()
    }

    pub fn thaw(&self) -> io::Result<()> {
        self.namesrv.thaw()?;
        self.broker.thaw()
    }
}

fn java(settings: &ApacheSettings, data_dir: &Path) -> io::Result<Command> {
    let mut java = ROCKETMQ.java(&settings.dir)?;
    java.env("ROCKETMQ_HOME", data_dir).arg(format!("-Duser.home={}", data_dir.display()));
    Ok(java)
}

fn start_namesrv(settings: &ApacheSettings, data_dir: &Path, port: u16) -> io::Result<Server> {
    let conf = data_dir.join("namesrv.conf");
    fs::write(&conf, format!("listenPort={port}\n"))?;
    let mut java = java(settings, data_dir)?;
    java.args(["-Xms256m", "-Xmx256m", "org.apache.rocketmq.namesrv.NamesrvStartup", "-c"]);
    java.arg(&conf);
    let mut server = Server::start("apache-namesrv", java, &settings.namesrv_cores, data_dir)?;
    server.wait_for("boot success", START_PATIENCE)?;
    Ok(server)
}

fn start_broker(
    settings: &ApacheSettings,
    data_dir: &Path,
    port: u16,
    namesrv_port: u16,
) -> io::Result<Server> {
    let conf = data_dir.join("broker.conf");
    let mut text = broker_conf(settings.flush, data_dir, port, namesrv_port);
    for line in &settings.more {
        text.push_str(line);
        text.push('\n');
    }
    fs::write(&conf, text)?;
    let heap = settings.heap_mib;
    let mut java = java(settings, data_dir)?;
    java.arg("-server")
        .args([format!("-Xms{heap}m"), format!("-Xmx{heap}m"), format!("-Xmn{}m", heap / 2)])
        .args(["-XX:+UseG1GC", "-XX:G1HeapRegionSize=16m", "-XX:+AlwaysPreTouch"])
        .arg(format!("-XX:MaxDirectMemorySize={heap}m"))
        .arg("--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED")
        .args(["org.apache.rocketmq.broker.BrokerStartup", "-c"])
        .arg(&conf);
    let mut server = Server::start("apache-broker", java, &settings.cores, data_dir)?;
    server.wait_for("boot success", START_PATIENCE)?;
    Ok(server)
}

fn broker_conf(flush: ApacheFlush, data_dir: &Path, port: u16, namesrv_port: u16) -> String {
    let flush = match flush {
        ApacheFlush::Async => "ASYNC_FLUSH",
        ApacheFlush::Sync => "SYNC_FLUSH",
    };
    let store = data_dir.join("store");
    let store = store.display();
    format!(
        "brokerClusterName=DefaultCluster\n\
         brokerName=broker-a\n\
         brokerId=0\n\
         brokerIP1=127.0.0.1\n\
         listenPort={port}\n\
         namesrvAddr=127.0.0.1:{namesrv_port}\n\
         brokerRole=ASYNC_MASTER\n\
         flushDiskType={flush}\n\
         autoCreateTopicEnable=true\n\
         storePathRootDir={store}\n\
         storePathCommitLog={store}/commitlog\n"
    )
}
