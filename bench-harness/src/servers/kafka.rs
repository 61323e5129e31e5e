//! Real Apache Kafka from the package registry: one process, broker and
//! controller together, its settings its own but for those named here.

use super::child::{Scratch, Server, run_to_end};
use super::package::KAFKA;
use super::ports::free_ports;
use crate::kafka::KafkaClient;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// When the broker answers a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KafkaFlush {
    /// Once it is in the page cache: what Kafka does by itself.
    Async,
    /// Once it is on the disk: flush.messages=1.
    Sync,
}

/// How to run it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct KafkaSettings {
    /// Where [`super::Package::install`] put it.
    pub dir: PathBuf,
    pub data_dir: PathBuf,
    pub cores: Vec<usize>,
    pub flush: KafkaFlush,
    pub heap_mib: u32,
    /// Named, as a JVM on one core would take the serial collector.
    pub collector: String,
    /// Zero takes a free one.
    pub port: u16,
    /// Further lines of server.properties.
    pub more: Vec<String>,
}

/// A running broker; it ends with this value and its store goes.
pub struct Kafka {
    // Before the store, so that the broker is gone when that is removed.
    pub broker: Server,
    pub broker_addr: SocketAddr,
    _store: Scratch,
}

pub const HEAP_MIB_DEFAULT: u32 = 2048;
pub const COLLECTOR_DEFAULT: &str = "G1";

const START_PATIENCE: Duration = Duration::from_secs(120);
/// What a first start draws by chance; any value serves a broker of its own.
const CLUSTER_ID: &str = "cmluZ21xLWJlbmNoLTAwMQ";
const LOG_SETTINGS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="warn">
  <Appenders>
    <Console name="out"><PatternLayout pattern="%d %p %m (%c)%n"/></Console>
  </Appenders>
  <Loggers>
    <Root level="info"><AppenderRef ref="out"/></Root>
  </Loggers>
</Configuration>
"#;

impl Kafka {
    /// Formats a fresh store, starts the broker and waits until it answers.
    pub fn start(settings: &KafkaSettings) -> io::Result<Kafka> {
        fs::create_dir_all(&settings.data_dir)?;
        let data_dir = fs::canonicalize(&settings.data_dir)?;
        let store = Scratch::make(data_dir.join("kafka-store"))?;
        let port = if settings.port == 0 { free_ports(&[0])? } else { settings.port };
        let controller_port = other_free_port(port)?;
        let properties = data_dir.join("server.properties");
        let text = properties_text(settings, store.path(), port, controller_port);
        fs::write(&properties, text)?;
        fs::write(data_dir.join("log4j2.xml"), LOG_SETTINGS)?;
        format(settings, &data_dir, &properties)?;
        let broker = start_broker(settings, &data_dir, &properties)?;
        let broker_addr = SocketAddr::from(([127, 0, 0, 1], port));
        let mut kafka = Kafka { broker, broker_addr, _store: store };
        // The port opens before the broker has joined its controller.
        kafka.broker.wait_until("answer", START_PATIENCE, || {
            let answered = KafkaClient::connect(broker_addr).and_then(|mut client| {
                client.check_versions()?;
                client.check_joined()
            });
            Ok(answered.ok())
        })?;
        Ok(kafka)
    }
}

fn other_free_port(than: u16) -> io::Result<u16> {
    loop {
        let port = free_ports(&[0])?;
        if port != than {
            return Ok(port);
        }
    }
}

fn java(settings: &KafkaSettings, data_dir: &Path) -> io::Result<Command> {
    let mut java = KAFKA.java(&settings.dir)?;
    let log_settings = data_dir.join("log4j2.xml");
    java.arg(format!("-Dlog4j2.configurationFile={}", log_settings.display()));
    Ok(java)
}

fn format(settings: &KafkaSettings, data_dir: &Path, properties: &Path) -> io::Result<()> {
    let said = data_dir.join("kafka-format.out");
    let mut java = java(settings, data_dir)?;
    java.args(["-Xmx256m", "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"]);
    java.arg(properties).stdout(fs::File::create(&said)?).stderr(fs::File::create(&said)?);
    let status = run_to_end(java)?;
    if status.success() {
        return Ok(());
    }
    let said = fs::read_to_string(said)?;
    Err(io::Error::other(format!("formatting Kafka's store {status}\n{said}")))
}

fn start_broker(
    settings: &KafkaSettings,
    data_dir: &Path,
    properties: &Path,
) -> io::Result<Server> {
    let heap = settings.heap_mib;
    let mut java = java(settings, data_dir)?;
    java.arg("-server")
        .args([format!("-Xms{heap}m"), format!("-Xmx{heap}m")])
        .arg(format!("-XX:+Use{}GC", settings.collector))
        .args(["-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35"])
        .args(["-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true"])
        .arg("kafka.Kafka")
        .arg(properties);
    Server::start("apache-kafka", java, &settings.cores, data_dir)
}

fn properties_text(
    settings: &KafkaSettings,
    store: &Path,
    port: u16,
    controller_port: u16,
) -> String {
    let mut text = format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller_port}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         log.dirs={}\n\
         log.segment.delete.delay.ms=100\n\
         offsets.topic.replication.factor=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n\
         auto.create.topics.enable=false\n\
         message.max.bytes={MESSAGE_BYTES_MAX}\n",
        store.display()
    );
    if settings.flush == KafkaFlush::Sync {
        text.push_str("log.flush.interval.messages=1\n");
    }
    for line in &settings.more {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// A batch of the largest message that the load sends (4 MiB), with room.
const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(flush: KafkaFlush, dir: &Path) -> KafkaSettings {
        KafkaSettings {
            dir: dir.join("nowhere"),
            data_dir: dir.to_path_buf(),
            cores: vec![],
            flush,
            heap_mib: HEAP_MIB_DEFAULT,
            collector: COLLECTOR_DEFAULT.into(),
            port: 0,
            more: vec!["num.io.threads=3".into()],
        }
    }

    #[test]
    fn every_message_is_flushed_only_where_asked_for() {
        for (flush, flushed) in [(KafkaFlush::Async, false), (KafkaFlush::Sync, true)] {
            let text = properties_text(&settings(flush, Path::new("/d")), Path::new("/s"), 1, 2);
            assert_eq!(text.contains("log.flush.interval.messages=1\n"), flushed);
            assert!(text.contains("log.dirs=/s\n") && text.ends_with("num.io.threads=3\n"));
        }
    }

    #[test]
    fn a_baseline_that_is_not_there_leaves_no_store() {
        let dir = tempfile::tempdir().unwrap();
        let error = Kafka::start(&settings(KafkaFlush::Async, dir.path())).err().unwrap();
        assert!(error.to_string().contains("baselines install"), "{error}");
        assert!(!dir.path().join("kafka-store").exists());
    }
}
