//! Our own broker, one shard on given cores.

use super::child::Server;
use super::ports::free_ports;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How to run it.
#[derive(Clone, Debug)]
pub struct RingmqSettings {
    pub binary: PathBuf,
    pub data_dir: PathBuf,
    pub cores: Vec<usize>,
    /// appended, written or flushed.
    pub ack: String,
    /// Microseconds to spin before parking; none: the broker's default.
    pub spin_us: Option<u64>,
    /// Further flags, as they are.
    pub more: Vec<String>,
}

/// A running broker, which ends with this value.
pub struct Ringmq {
    pub broker: Server,
    pub broker_addr: SocketAddr,
}

const START_PATIENCE: Duration = Duration::from_secs(60);

impl Ringmq {
    pub fn start(settings: &RingmqSettings) -> io::Result<Ringmq> {
        fs::create_dir_all(&settings.data_dir)?;
        let port = free_ports(&[0, -2])?;
        let namesrv_port = free_ports(&[0])?;
        let mut command = Command::new(&settings.binary);
        command
            .args(["--listen", "127.0.0.1", "--shards", "1", "--ack", &settings.ack])
            .args(["--port", &port.to_string(), "--namesrv-port", &namesrv_port.to_string()])
            .args(["--cores", &join(&settings.cores), "--data-dir"])
            .arg(&settings.data_dir);
        if let Some(spin_us) = settings.spin_us {
            command.args(["--spin-us", &spin_us.to_string()]);
        }
        command.args(&settings.more);
        let logs = logs_of(&settings.data_dir);
        let mut broker = Server::start("ringmq", command, &settings.cores, &logs)?;
        broker.wait_for("ready", START_PATIENCE)?;
        Ok(Ringmq { broker, broker_addr: SocketAddr::from(([127, 0, 0, 1], port)) })
    }

    /// The same reactor answering with the bytes that came.
    pub fn start_echo(settings: &RingmqSettings) -> io::Result<Ringmq> {
        let addr = SocketAddr::from(([127, 0, 0, 1], free_ports(&[0])?));
        let mut command = Command::new(&settings.binary);
        command.args(["echo", "--listen", &addr.ip().to_string()]);
        command.args(["--port", &addr.port().to_string()]);
        if let Some(spin_us) = settings.spin_us {
            command.args(["--spin-us", &spin_us.to_string()]);
        }
        let logs = logs_of(&settings.data_dir);
        let broker = Server::start("ringmq-echo", command, &settings.cores, &logs)?;
        let deadline = Instant::now() + START_PATIENCE;
        while TcpStream::connect(addr).is_err() {
            if Instant::now() > deadline {
                return Err(io::Error::other("the echo server does not accept"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Ringmq { broker, broker_addr: addr })
    }
}

/// Beside the data directory: what is inside belongs to the broker.
fn logs_of(data_dir: &Path) -> PathBuf {
    data_dir.with_extension("logs")
}

fn join(cores: &[usize]) -> String {
    cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}
