//! Flags and file as written, made into one checked `Config`. Whatever is wrong is
//! refused here, with the flag, the value given, the rule, and what to do.

mod checked;
mod machine;
mod quantity;
mod shown;
mod written;

use std::ffi::OsString;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

pub use crate::base::options::BrokerOptions;
pub use crate::engine::files::{Choice, Wanted};
pub use machine::Machine;
pub use quantity::{cpu_list, in_units};
pub use shown::ShardIdentity;
pub use written::{FileRefused, SendArgs, Settings, TailArgs};

use crate::base::transfer::TransferChoice;
use crate::base::{AckLevel, WriteMode};
use written::{AdminCommand, Command, CommandLine, ServeArgs};

/// What this process is to be.
#[derive(Debug)]
pub enum Role {
    Serve(Box<Config>),
    NameServer(NameServerConfig),
    Send(SendConfig),
    Tail(TailConfig),
    Stats(StatsConfig),
    Doctor(DoctorConfig),
    Probe(ProbeConfig),
    Echo(EchoConfig),
}

/// Everything that `serve` needs to know, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub data_dir: PathBuf,
    pub listen: Ipv4Addr,
    /// What routes name; with a shard's port it is the store host of message ids.
    pub advertise: Ipv4Addr,
    /// Of shard 0; 0 lets each shard take a free pair.
    pub port: u16,
    pub name_servers: NameServers,
    /// What is asked of the data directory; it has the last word.
    pub wanted: Wanted,
    /// CPUs for data threads: as many threads as the smaller of this and the shards.
    pub cores: Vec<usize>,
    pub arena_dir: Option<PathBuf>,
    pub ack: AckLevel,
    /// The directory has a say in it too.
    pub write: Choice<WriteMode>,
    pub flush_method: FlushChoice,
    pub transfer: Choice<TransferChoice>,
    /// Most bytes of one pull.
    pub pull_bytes: Choice<u64>,
    pub retention: Retention,
    pub accept_loss: bool,
    pub spin: Duration,
    arena: Choice<u64>,
    memory: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameServers {
    Embedded {
        port: u16,
    },
    /// HOST:PORT each; resolved whenever they are connected to.
    External(Vec<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushChoice {
    /// Whatever the probe at the start finds faster.
    Auto,
    Dsync,
    Fdatasync,
}

/// When messages go. Percentages count disk use as `df` does. What mqadmin can change
/// while running is a `Choice`: at a restart only an explicit flag overrules that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// As tools show it: rounded up.
    pub hours: Choice<u32>,
    pub age_ms: i64,
    pub expire_at: Choice<u32>,
    pub force_at: u32,
    pub refuse_at: u32,
}

/// What follows once the directory has told the number of its shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardPlan {
    /// Bytes of each shard's arena.
    pub arena_bytes: u64,
    /// Each shard's part of the memory that the process may use.
    pub memory: u64,
    /// By shard; `None` takes a free pair.
    pub ports: Vec<Option<PortPair>>,
    /// One data thread each; shard i runs on thread i modulo their number.
    pub cores: Vec<usize>,
}

/// Where a shard listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortPair {
    pub main: u16,
    /// Main minus two, where old clients send.
    pub old: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameServerConfig {
    pub listen: Ipv4Addr,
    pub port: u16,
    /// Where values are kept.
    pub data_dir: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendConfig {
    pub topic: String,
    pub body: Option<String>,
    pub name_servers: Vec<String>,
    pub tag: Option<String>,
    pub keys: Option<String>,
}

/// What `admin stats` needs.
#[derive(Debug)]
pub struct StatsConfig {
    pub name_servers: Vec<String>,
    /// For programs.
    pub json: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailConfig {
    pub topic: String,
    pub from: TailFrom,
    /// Messages after which to end; endless without.
    pub count: Option<u64>,
    pub name_servers: Vec<String>,
}

#[derive(Debug)]
pub struct DoctorConfig {
    /// What a start with the same flags would serve with, or why it would be refused:
    /// that is a diagnosis as well.
    pub serve: Result<Box<Config>, ParseError>,
    pub json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TailFrom {
    First,
    Last,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeConfig {
    /// Where the data is to be, or is already.
    pub data_dir: PathBuf,
    /// How long it is to take, about.
    pub seconds: u32,
    /// For programs.
    pub json: bool,
    /// CPUs for the two ends, the best ones first.
    pub cpus: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EchoConfig {
    pub listen: Ipv4Addr,
    pub port: u16,
    pub cores: Vec<usize>,
    pub spin: Duration,
}

/// A setting that breaks its rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The flag's name, without dashes.
    pub setting: &'static str,
    pub given: String,
    pub in_file: bool,
    pub rule: String,
    pub remedy: String,
}

/// Why there is no role to play.
#[derive(Debug)]
pub enum ParseError {
    /// Help, version, or a command line that is none: clap prints and exits.
    Usage(clap::Error),
    File(FileRefused),
    Config(ConfigError),
}

/// The role that `args` (the program's name first) ask for on this machine.
pub fn parse(
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    machine: &Machine,
) -> Result<Role, ParseError> {
    let line = CommandLine::try_parse_from(args).map_err(ParseError::Usage)?;
    let role = match line.command {
        None => return serve(line.serve, machine).map(Role::Serve),
        Some(Command::Serve(args)) => return serve(*args, machine).map(Role::Serve),
        Some(Command::Doctor(args)) => {
            let json = args.json;
            return Ok(Role::Doctor(DoctorConfig { serve: serve(args.serve, machine), json }));
        }
        Some(Command::Namesrv(args)) => checked::name_server(args).map(Role::NameServer),
        Some(Command::Send(args)) => checked::send(args).map(Role::Send),
        Some(Command::Tail(args)) => checked::tail(args).map(Role::Tail),
        Some(Command::Admin(AdminCommand::Stats(args))) => checked::stats(args).map(Role::Stats),
        Some(Command::Probe(args)) => checked::probe(args, machine).map(Role::Probe),
        Some(Command::Echo(args)) => checked::echo(args, machine).map(Role::Echo),
    };
    role.map_err(ParseError::Config)
}

fn serve(args: ServeArgs, machine: &Machine) -> Result<Box<Config>, ParseError> {
    let from_file = match &args.config {
        Some(path) => Settings::from_file(path).map_err(ParseError::File)?,
        None => Settings::default(),
    };
    let settings = args.settings.or(from_file);
    let config = Config::check(settings, machine).map_err(ParseError::Config)?;
    Ok(Box::new(config))
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, given, in_file, rule, remedy } = self;
        let place = if *in_file { " (in the file)" } else { "" };
        write!(f, "--{setting} {given}{place}: {rule}; {remedy}")
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(error) => error.fmt(f),
            Self::File(error) => error.fmt(f),
            Self::Config(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ConfigError {}
impl std::error::Error for ParseError {}
