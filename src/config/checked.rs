//! From text to values: one rule after the other, the first broken one is told.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::machine::Machine;
use super::written::{
    EchoArgs, NamesrvArgs, ProbeArgs, SendArgs, Settings, StatsArgs, TailArgs, Written,
};
use super::{
    Choice, Config, ConfigError, EchoConfig, FlushChoice, NameServerConfig, NameServers, PortPair,
    ProbeConfig, Retention, SendConfig, ShardPlan, StatsConfig, TailConfig, TailFrom, Wanted,
    quantity,
};
use crate::base::limits::{
    ARENA_BYTES_DEFAULT, ARENA_BYTES_MAX, ARENA_BYTES_MIN, ARENA_MEMORY_DIVISOR, ARENA_UNIT_BYTES,
    PULL_BYTES, PULL_BYTES_MAX, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SHARDS_MAX,
};
use crate::base::transfer::TransferChoice;
use crate::base::{AckLevel, WriteMode, names};

const DATA_DIR: &str = "./ringmq-data";
const PORT: u16 = 10911;
const NAME_SERVER_PORT: u16 = 9876;
const CLUSTER: &str = "DefaultCluster";
const BROKER_NAME: &str = "broker";
const SHARDS_BY_DEFAULT_MAX: usize = 8;
const SPIN_US: u64 = 20;
const SPIN_US_MAX: u64 = 1_000_000;
const PROBE_SECONDS_MAX: u64 = 3600;
const RETENTION_HOURS: u32 = 72;
const RETENTION_HOURS_MIN: f64 = 0.001;
const RETENTION_HOURS_MAX: f64 = 876_000.0;
const DISK_PERCENT: [u32; 3] = [75, 85, 90];
/// Names of system topics hold these; they leave room for what surrounds them.
const NAME_BYTES_MAX: usize = 90;
/// Between the main ports of two shards.
const PORT_STEP: u16 = 10;
/// From a main port down to the one where old clients send.
const OLD_PORT_BELOW: u16 = 2;

type Checked<T> = Result<T, ConfigError>;

/// A setting with the name under which it is complained about.
struct Field {
    name: &'static str,
    written: Option<Written>,
}

fn field(name: &'static str, written: Option<Written>) -> Field {
    Field { name, written }
}

impl Field {
    fn text(&self) -> Option<&str> {
        self.written.as_ref().map(|written| written.text.as_str())
    }

    fn refuse<T>(&self, rule: impl Into<String>, remedy: impl Into<String>) -> Checked<T> {
        Err(ConfigError {
            setting: self.name,
            given: self.text().unwrap_or("(default)").to_owned(),
            in_file: self.written.as_ref().is_some_and(|written| written.in_file),
            rule: rule.into(),
            remedy: remedy.into(),
        })
    }

    fn number(&self, range: RangeInclusive<u64>) -> Checked<Option<u64>> {
        let Some(text) = self.text() else { return Ok(None) };
        match text.parse().ok().filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let (low, high) = range.into_inner();
                self.refuse(
                    format!("it takes a whole number from {low} to {high}"),
                    "correct it or leave it out",
                )
            }
        }
    }

    fn hours(&self) -> Checked<Option<f64>> {
        let Some(text) = self.text() else { return Ok(None) };
        let range = RETENTION_HOURS_MIN..=RETENTION_HOURS_MAX;
        match text.parse().ok().filter(|hours| range.contains(hours)) {
            Some(hours) => Ok(Some(hours)),
            None => self.refuse(
                format!("it takes hours from {RETENTION_HOURS_MIN} to {RETENTION_HOURS_MAX}"),
                "correct it or leave it out",
            ),
        }
    }

    fn port(&self, default: u16, low: u16) -> Checked<u16> {
        match self.number(0..=u64::from(u16::MAX))? {
            None => Ok(default),
            Some(port) if port == 0 || port >= u64::from(low) => Ok(port as u16),
            Some(_) => self.refuse(
                format!("the lowest port is {low}, as {OLD_PORT_BELOW} below it is used too"),
                "give a higher one, or 0 for a free one",
            ),
        }
    }

    fn size(&self, range: RangeInclusive<u64>) -> Checked<Option<u64>> {
        let Some(text) = self.text() else { return Ok(None) };
        let (low, high) = range.clone().into_inner();
        match quantity::bytes(text).filter(|bytes| range.contains(bytes)) {
            Some(bytes) => Ok(Some(bytes)),
            None => self.refuse(
                format!(
                    "it takes a size such as 64MiB, from {} to {}",
                    quantity::in_units(low),
                    quantity::in_units(high)
                ),
                "correct it or leave it out",
            ),
        }
    }

    fn one_of<T>(
        &self,
        default: T,
        values: impl IntoIterator<Item = (&'static str, T)>,
    ) -> Checked<T> {
        let Some(text) = self.text() else { return Ok(default) };
        let mut names = Vec::new();
        for (name, value) in values {
            if name == text {
                return Ok(value);
            }
            names.push(name);
        }
        self.refuse(format!("it is one of {}", names.join(", ")), "choose one of them")
    }

    fn address(&self, default: Ipv4Addr) -> Checked<Ipv4Addr> {
        let Some(text) = self.text() else { return Ok(default) };
        match quantity::ipv4(text) {
            Some(address) => Ok(address),
            None => self.refuse(
                "it takes an IPv4 address, or a host name that has one now",
                "give the address itself, or mend the name",
            ),
        }
    }

    fn path(&self) -> Checked<Option<PathBuf>> {
        match self.text() {
            Some("") => self.refuse("it takes a path", "give one or leave the flag out"),
            text => Ok(text.map(PathBuf::from)),
        }
    }

    fn name(&self, default: &str) -> Checked<Choice<String>> {
        let name = self.text().unwrap_or(default);
        if let Err(error) = names::check_topic(name) {
            let rule = format!("it also names a topic, and {error}");
            return self.refuse(rule, "choose another name");
        }
        if name.len() > NAME_BYTES_MAX {
            let rule = format!("it has {} bytes of {NAME_BYTES_MAX} allowed", name.len());
            return self.refuse(rule, "choose a shorter name");
        }
        Ok(match self.written {
            Some(_) => Choice::Given(name.to_owned()),
            None => Choice::Default(name.to_owned()),
        })
    }

    fn hosts(&self) -> Checked<Option<Vec<String>>> {
        let Some(text) = self.text() else { return Ok(None) };
        match quantity::host_list(text) {
            Some(hosts) => Ok(Some(hosts)),
            None => self.refuse("it takes HOST:PORT, several parted by ;", "correct the list"),
        }
    }

    fn cores(&self, machine: &Machine) -> Checked<Vec<usize>> {
        let Some(text) = self.text() else { return Ok(machine.cores.clone()) };
        let cores = match quantity::cpu_list(text) {
            Ok(cores) => cores,
            Err(rule) => return self.refuse(rule, "correct the list"),
        };
        match cores.iter().find(|cpu| !machine.cpus.contains(cpu)) {
            None => Ok(cores),
            Some(cpu) => self.refuse(
                format!("this process may not run on CPU {cpu}, only on {:?}", machine.cpus),
                "choose among those, or widen its affinity (taskset, cpuset)",
            ),
        }
    }
}

impl Config {
    /// Checks all settings of `serve`.
    pub fn check(settings: Settings, machine: &Machine) -> Checked<Self> {
        let name_servers = name_servers(
            field("namesrv", settings.namesrv),
            field("namesrv-port", settings.namesrv_port),
        )?;
        let (listen, advertise) =
            addresses(field("listen", settings.listen), field("advertise", settings.advertise))?;
        let own_name = match name_servers {
            NameServers::Embedded { .. } => BROKER_NAME.to_owned(),
            NameServers::External(_) => name_of_host(&machine.host),
        };
        let segment = field("segment-size", settings.segment_size);
        let segment_bytes = segment.size(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX)?;
        if segment_bytes.is_some_and(|bytes| !bytes.is_power_of_two()) {
            return segment.refuse("it must be a power of two", "give 64MiB, 128MiB, 256MiB, …");
        }
        let shards = field("shards", settings.shards).number(1..=u64::from(SHARDS_MAX))?;
        let default_shards = machine.cores.len().clamp(1, SHARDS_BY_DEFAULT_MAX) as u16;
        let data_dir = field("data-dir", settings.data_dir).path()?;
        let config = Self {
            data_dir: data_dir.unwrap_or_else(|| PathBuf::from(DATA_DIR)),
            listen,
            advertise,
            port: field("port", settings.port).port(PORT, OLD_PORT_BELOW + 1)?,
            name_servers,
            wanted: Wanted {
                cluster: field("cluster", settings.cluster).name(CLUSTER)?,
                broker_name: field("broker-name", settings.broker_name).name(&own_name)?,
                shards: shards
                    .map_or(Choice::Default(default_shards), |given| Choice::Given(given as u16)),
                segment_bytes,
            },
            cores: field("cores", settings.cores).cores(machine)?,
            arena_dir: field("arena-dir", settings.arena_dir).path()?,
            ack: field("ack", settings.ack)
                .one_of(AckLevel::default(), AckLevel::ALL.map(|level| (level.name(), level)))?,
            write: write_mode(field("write", settings.write))?,
            flush_method: field("flush-method", settings.flush_method).one_of(
                FlushChoice::Auto,
                [
                    ("auto", FlushChoice::Auto),
                    ("dsync", FlushChoice::Dsync),
                    ("fdatasync", FlushChoice::Fdatasync),
                ],
            )?,
            transfer: transfer(field("transfer", settings.transfer))?,
            pull_bytes: match field("pull-bytes", settings.pull_bytes).size(1..=PULL_BYTES_MAX)? {
                Some(bytes) => Choice::Given(bytes),
                None => Choice::Default(PULL_BYTES),
            },
            retention: retention(
                field("retention-hours", settings.retention_hours),
                [
                    field("disk-expire-at", settings.disk_expire_at),
                    field("disk-force-at", settings.disk_force_at),
                    field("disk-refuse-at", settings.disk_refuse_at),
                ],
            )?,
            accept_loss: field("accept-loss", settings.accept_loss)
                .one_of(false, [("true", true), ("false", false)])?,
            spin: spin(field("spin-us", settings.spin_us))?,
            arena: arena(field("arena", settings.arena))?,
            memory: machine.memory,
        };
        // A plan that cannot work is refused before a directory is made for it.
        config.plan(*config.wanted.shards.value())?;
        Ok(config)
    }

    /// What follows from the number of shards that the data directory tells.
    pub fn plan(&self, shards: u16) -> Checked<ShardPlan> {
        let mut cores = self.cores.clone();
        cores.truncate(usize::from(shards));
        Ok(ShardPlan {
            arena_bytes: self.arena_bytes(shards)?,
            memory: self.memory / u64::from(shards),
            ports: self.ports(shards)?,
            cores,
        })
    }

    fn arena_bytes(&self, shards: u16) -> Checked<u64> {
        let share = self.memory / ARENA_MEMORY_DIVISOR / u64::from(shards);
        let most = share - share % ARENA_UNIT_BYTES;
        let refuse = |given: String, remedy: String| {
            Err(ConfigError {
                setting: "arena",
                given,
                in_file: false,
                rule: format!(
                    "the arenas of {shards} shards together may take a {ARENA_MEMORY_DIVISOR}th \
                     of the {} that this process may use",
                    quantity::in_units(self.memory)
                ),
                remedy,
            })
        };
        match self.arena {
            Choice::Given(given) if given > most => {
                let most = quantity::in_units(most);
                let remedy = format!("give at most {most}, or allow the process more memory");
                refuse(quantity::in_units(given), remedy)
            }
            Choice::Default(_) if most < ARENA_BYTES_MIN => {
                let least = quantity::in_units(ARENA_BYTES_MIN);
                let remedy =
                    format!("each needs {least}: allow more memory, or make fewer --shards");
                refuse("(default)".to_owned(), remedy)
            }
            Choice::Given(given) => Ok(given),
            Choice::Default(wanted) => Ok(wanted.min(most)),
        }
    }

    fn ports(&self, shards: u16) -> Checked<Vec<Option<PortPair>>> {
        if self.port == 0 {
            return Ok(vec![None; usize::from(shards)]);
        }
        let refuse = |rule: String, remedy: &str| {
            let (given, remedy) = (self.port.to_string(), remedy.to_owned());
            Err(ConfigError { setting: "port", given, in_file: false, rule, remedy })
        };
        let mut pairs = Vec::new();
        for shard in 0..shards {
            let main = shard.checked_mul(PORT_STEP).and_then(|up| self.port.checked_add(up));
            let Some(main) = main else {
                let rule = format!("shard {shard} would need a port above 65535");
                return refuse(rule, "give a lower one, or 0 for free ones");
            };
            pairs.push(Some(PortPair { main, old: main - OLD_PORT_BELOW }));
        }
        let NameServers::Embedded { port: name_server } = self.name_servers else {
            return Ok(pairs);
        };
        let is_taken = |pair: &PortPair| pair.main == name_server || pair.old == name_server;
        match pairs.iter().flatten().position(is_taken) {
            None => Ok(pairs),
            Some(shard) => refuse(
                format!("shard {shard} would use {name_server}, the name server's port"),
                "give another one, or another --namesrv-port",
            ),
        }
    }
}

pub(super) fn name_server(args: NamesrvArgs) -> Checked<NameServerConfig> {
    Ok(NameServerConfig {
        listen: of("listen", &args.listen).address(Ipv4Addr::LOCALHOST)?,
        port: of("port", &args.port).port(NAME_SERVER_PORT, 1)?,
        data_dir: of("data-dir", &args.data_dir).path()?.unwrap_or_default(),
    })
}

pub(super) fn send(args: SendArgs) -> Checked<SendConfig> {
    let SendArgs { topic, body, namesrv, tag, keys } = args;
    Ok(SendConfig {
        topic: topic_name(topic)?,
        body,
        name_servers: of("namesrv", &namesrv).hosts()?.unwrap_or_default(),
        tag,
        keys,
    })
}

pub(super) fn tail(args: TailArgs) -> Checked<TailConfig> {
    let froms = [("first", TailFrom::First), ("last", TailFrom::Last)];
    Ok(TailConfig {
        topic: topic_name(args.topic)?,
        from: of("from", &args.from).one_of(TailFrom::Last, froms)?,
        count: field("count", args.count).number(1..=u64::MAX)?,
        name_servers: of("namesrv", &args.namesrv).hosts()?.unwrap_or_default(),
    })
}

pub(super) fn stats(args: StatsArgs) -> Checked<StatsConfig> {
    let name_servers = of("namesrv", &args.namesrv).hosts()?.unwrap_or_default();
    Ok(StatsConfig { name_servers, json: args.json })
}

pub(super) fn probe(args: ProbeArgs, machine: &Machine) -> Checked<ProbeConfig> {
    // Siblings of one core share what is measured.
    let has_two_cores = machine.cores.len() > 1;
    Ok(ProbeConfig {
        data_dir: of("data-dir", &args.data_dir).path()?.unwrap_or_default(),
        seconds: of("seconds", &args.seconds).number(1..=PROBE_SECONDS_MAX)?.unwrap_or(1) as u32,
        json: args.json,
        cpus: if has_two_cores { &machine.cores } else { &machine.cpus }.clone(),
    })
}

pub(super) fn echo(args: EchoArgs, machine: &Machine) -> Checked<EchoConfig> {
    Ok(EchoConfig {
        listen: of("listen", &args.listen).address(Ipv4Addr::LOCALHOST)?,
        port: of("port", &args.port).port(0, 1)?,
        cores: field("cores", args.cores).cores(machine)?,
        spin: spin(field("spin-us", args.spin_us))?,
    })
}

/// A setting that always has a text.
fn of(name: &'static str, text: &str) -> Field {
    field(name, Some(Written::from(text)))
}

fn topic_name(topic: String) -> Checked<String> {
    names::check_topic(&topic).map(|()| topic.clone()).map_err(|error| ConfigError {
        setting: "topic",
        given: topic,
        in_file: false,
        rule: error.to_string(),
        remedy: "choose another topic".to_owned(),
    })
}

fn name_servers(external: Field, own_port: Field) -> Checked<NameServers> {
    let Some(hosts) = external.hosts()? else {
        return Ok(NameServers::Embedded { port: own_port.port(NAME_SERVER_PORT, 1)? });
    };
    if own_port.written.is_some() {
        let rule = "with --namesrv there is no embedded name server";
        return own_port.refuse(rule, "give only one of the two");
    }
    Ok(NameServers::External(hosts))
}

fn addresses(listen: Field, advertise: Field) -> Checked<(Ipv4Addr, Ipv4Addr)> {
    let bound = listen.address(Ipv4Addr::LOCALHOST)?;
    if bound.is_unspecified() && advertise.written.is_none() {
        return listen.refuse(
            "clients cannot connect to a wildcard, so routes must name a host",
            "add --advertise with the address that clients reach",
        );
    }
    let named = advertise.address(bound)?;
    if named.is_unspecified() {
        let rule = "clients cannot connect to a wildcard";
        return advertise.refuse(rule, "give the address that clients reach");
    }
    Ok((bound, named))
}

fn retention(hours: Field, disk: [Field; 3]) -> Checked<Retention> {
    let given = hours.hours()?;
    // Tools know whole hours only.
    let hours =
        given.map_or(Choice::Default(RETENTION_HOURS), |given| Choice::Given(given.ceil() as u32));
    let age_ms = (given.unwrap_or(f64::from(RETENTION_HOURS)) * 3_600_000.0) as i64;
    let mut percents = DISK_PERCENT;
    for (percent, field) in percents.iter_mut().zip(&disk) {
        *percent = field.number(1..=99)?.map_or(*percent, |number| number as u32);
    }
    let [expire_at, force_at, refuse_at] = percents;
    if expire_at < force_at && force_at < refuse_at {
        let expire_at = match disk[0].written {
            Some(_) => Choice::Given(expire_at),
            None => Choice::Default(expire_at),
        };
        return Ok(Retention { hours, age_ms, expire_at, force_at, refuse_at });
    }
    let wrong =
        disk.iter().find(|field| field.written.is_some()).expect("the defaults are in order");
    wrong.refuse(
        format!(
            "disk-expire-at, disk-force-at and disk-refuse-at must rise, and they are \
             {expire_at}, {force_at} and {refuse_at}"
        ),
        "give all three in order",
    )
}

fn transfer(field: Field) -> Checked<Choice<TransferChoice>> {
    let given = field.written.is_some();
    let names = TransferChoice::all().map(|choice| (choice.name(), choice));
    let choice = field.one_of(TransferChoice::default(), names)?;
    Ok(if given { Choice::Given(choice) } else { Choice::Default(choice) })
}

fn arena(field: Field) -> Checked<Choice<u64>> {
    match field.size(ARENA_BYTES_MIN..=ARENA_BYTES_MAX)? {
        None => Ok(Choice::Default(ARENA_BYTES_DEFAULT)),
        Some(bytes) if bytes.is_multiple_of(ARENA_UNIT_BYTES) => Ok(Choice::Given(bytes)),
        Some(_) => field.refuse("it must be a multiple of 2MiB", "round it up or down"),
    }
}

fn write_mode(field: Field) -> Checked<Choice<WriteMode>> {
    let modes = WriteMode::ALL.map(|mode| (mode.name(), mode));
    let mode = field.one_of(WriteMode::default(), modes)?;
    Ok(if field.written.is_some() { Choice::Given(mode) } else { Choice::Default(mode) })
}

fn spin(field: Field) -> Checked<Duration> {
    Ok(Duration::from_micros(field.number(0..=SPIN_US_MAX)?.unwrap_or(SPIN_US)))
}

/// A host's name as a broker name: what may not be in one becomes a dash.
fn name_of_host(host: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' };
    let name: String = host.chars().take(NAME_BYTES_MAX).map(legal).collect();
    if name.is_empty() { BROKER_NAME.to_owned() } else { name }
}
