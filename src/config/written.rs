//! Settings as they are written, on the command line and in the file: text, with the
//! place it came from. `checked` makes sense of it.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

/// A RocketMQ-compatible broker on io_uring, one pinned thread per core.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub struct CommandLine {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Broker and embedded name server (what runs without a subcommand)
    Serve(Box<ServeArgs>),
    /// A name server alone
    Namesrv(NamesrvArgs),
    /// Send a message, or each line of standard input as one
    Send(SendArgs),
    /// Print a topic's messages as they come
    Tail(TailArgs),
    /// Ask brokers how they are, or tell them what to do
    #[command(subcommand)]
    Admin(AdminCommand),
    /// Say whether this machine can run a broker, and what makes it slower than it could be
    Doctor(Box<DoctorArgs>),
    /// Measure what moves bytes best between this disk, memory and sockets, for `auto`
    Probe(ProbeArgs),
    /// Answer every frame with itself: the reactor without a broker, to measure against
    #[command(hide = true)]
    Echo(EchoArgs),
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// TOML file with the same names; flags win
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub settings: Settings,
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// One JSON document instead of lines
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub serve: ServeArgs,
}

#[derive(Debug, Args)]
pub struct NamesrvArgs {
    /// Address to bind
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub listen: String,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value = "9876")]
    pub port: String,
    /// Directory of the values that tools put here (KV); made if it is not there
    #[arg(long, value_name = "DIR", default_value = "./ringmq-namesrv")]
    pub data_dir: String,
}

#[derive(Debug, Args)]
pub struct SendArgs {
    pub topic: String,
    /// The message; without it each line of standard input is one
    pub body: Option<String>,
    /// Name servers, HOST:PORT;HOST:PORT
    #[arg(long, value_name = "LIST", default_value = "127.0.0.1:9876")]
    pub namesrv: String,
    #[arg(long)]
    pub tag: Option<String>,
    /// Keys by which the message can be found, parted by blanks
    #[arg(long)]
    pub keys: Option<String>,
}

#[derive(Debug, Args)]
pub struct TailArgs {
    pub topic: String,
    /// Where to begin: first or last
    #[arg(long, default_value = "last")]
    pub from: String,
    /// End after so many messages
    #[arg(long, value_name = "N")]
    pub count: Option<Written>,
    /// Name servers, HOST:PORT;HOST:PORT
    #[arg(long, value_name = "LIST", default_value = "127.0.0.1:9876")]
    pub namesrv: String,
}

#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Print what each broker has moved to and from disks and sockets, and how
    Stats(StatsArgs),
}

#[derive(Debug, Args)]
pub struct StatsArgs {
    /// Name servers, HOST:PORT;HOST:PORT
    #[arg(long, value_name = "LIST", default_value = "127.0.0.1:9876")]
    pub namesrv: String,
    /// For programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// Directory of the data, beside which the profile is kept; made when missing
    #[arg(long, value_name = "DIR", default_value = "./ringmq-data")]
    pub data_dir: String,
    /// How long to measure
    #[arg(long, value_name = "N", default_value = "20")]
    pub seconds: String,
    /// For programs: print the profile itself
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct EchoArgs {
    #[arg(long, default_value = "127.0.0.1")]
    pub listen: String,
    #[arg(long, default_value = "0")]
    pub port: String,
    #[arg(long)]
    pub cores: Option<Written>,
    #[arg(long)]
    pub spin_us: Option<Written>,
}

macro_rules! settings {
    ($($(#[$meta:meta])* $field:ident,)*) => {
        /// Every setting of `serve`, none of them understood yet.
        #[derive(Clone, Debug, Default, Args, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub struct Settings {
            $($(#[$meta])* pub $field: Option<Written>,)*
        }

        impl Settings {
            /// These settings, and where one is missing that of `other`.
            pub fn or(self, other: Self) -> Self {
                Self { $($field: self.$field.or(other.$field),)* }
            }
        }
    };
}

settings! {
    /// Directory of the data; made when missing [default: ./ringmq-data]
    #[arg(long, value_name = "DIR")]
    data_dir,
    /// Address to bind [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    listen,
    /// Host that routes name; required when listening on a wildcard
    #[arg(long, value_name = "HOST")]
    advertise,
    /// Port of shard 0; shard i has this + 10 i, and each also its port - 2. 0: free ports
    /// [default: 10911]
    #[arg(long)]
    port,
    /// Port of the embedded name server; 0: a free one [default: 9876]
    #[arg(long, value_name = "PORT")]
    namesrv_port,
    /// External name servers instead of the embedded one, HOST:PORT;HOST:PORT
    #[arg(long, value_name = "LIST")]
    namesrv,
    /// Name of the cluster [default: DefaultCluster]
    #[arg(long, value_name = "NAME")]
    cluster,
    /// Name of the broker; shard i is NAME-i [default: broker, or the host's name with
    /// external name servers]
    #[arg(long, value_name = "NAME")]
    broker_name,
    /// Shards, fixed when the directory is made [default: usable physical cores, up to 8]
    #[arg(long, value_name = "N")]
    shards,
    /// CPUs to run data threads on, such as 0,2-3
    #[arg(long, value_name = "LIST")]
    cores,
    /// Arena of each shard [default: 64MiB, less where memory is short]
    #[arg(long, value_name = "SIZE")]
    arena,
    /// Directory of the arenas: hugetlbfs or shmem [default: the best there is]
    #[arg(long, value_name = "DIR")]
    arena_dir,
    /// Size of a log segment, fixed when the directory is made [default: 256MiB, less
    /// where space is short]
    #[arg(long, value_name = "SIZE")]
    segment_size,
    /// When a message counts as stored: appended, written or flushed [default: appended]
    #[arg(long, value_name = "LEVEL")]
    ack,
    /// How the log is written: direct, mmap, buffered or buffered-uncached; may change from
    /// start to start [default: direct]
    #[arg(long, value_name = "MODE")]
    write,
    /// How flushed writes are made durable: auto, dsync or fdatasync [default: auto]
    #[arg(long, value_name = "METHOD")]
    flush_method,
    /// How messages are moved to consumers: auto, copy, mmap, gather, sendfile, splice,
    /// send-zc or direct [default: auto]
    #[arg(long, value_name = "STRATEGY")]
    transfer,
    /// Most bytes of messages that one pull brings, where it asks for so many
    /// [default: 256KiB]
    #[arg(long, value_name = "SIZE")]
    pull_bytes,
    /// Hours after which messages may go; 0.5 is half an hour [default: 72]
    #[arg(long, value_name = "N")]
    retention_hours,
    /// Percent of disk use from which messages go by age [default: 75]
    #[arg(long, value_name = "PERCENT")]
    disk_expire_at,
    /// Percent of disk use from which the oldest messages go whatever their age [default: 85]
    #[arg(long, value_name = "PERCENT")]
    disk_force_at,
    /// Percent of disk use from which sends are refused [default: 90]
    #[arg(long, value_name = "PERCENT")]
    disk_refuse_at,
    /// Microseconds that an idle data thread polls before it sleeps [default: 20]
    #[arg(long, value_name = "N")]
    spin_us,
    /// Start although acknowledged messages of the last run are lost
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    #[arg(require_equals = true)]
    accept_loss,
}

/// The text of a setting and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub text: String,
    pub in_file: bool,
}

impl From<&str> for Written {
    fn from(text: &str) -> Self {
        Self { text: text.to_owned(), in_file: false }
    }
}

/// Why the file could not be taken.
#[derive(Debug)]
pub struct FileRefused {
    pub path: PathBuf,
    pub why: String,
}

impl Settings {
    pub fn from_file(path: &Path) -> Result<Self, FileRefused> {
        let refused = |why: String| FileRefused { path: path.to_owned(), why };
        let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
        toml::from_str(&text).map_err(|error| refused(error.to_string()))
    }
}

impl fmt::Display for FileRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, why } = self;
        write!(
            f,
            "--config {}: {}; correct the file or leave the flag out",
            path.display(),
            why.trim_end()
        )
    }
}

impl std::error::Error for FileRefused {}

/// A file may give numbers and truth values bare.
impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Plain;
        impl Visitor<'_> for Plain {
            type Value = String;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, a whole number, or true or false")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
                Ok(text.to_owned())
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<String, E> {
                Ok(number.to_string())
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<String, E> {
                Ok(number.to_string())
            }
            fn visit_bool<E: Error>(self, truth: bool) -> Result<String, E> {
                Ok(truth.to_string())
            }
        }
        let text = deserializer.deserialize_any(Plain)?;
        Ok(Self { text, in_file: true })
    }
}
