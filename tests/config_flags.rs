//! Flags and file become one configuration, and what is wrong is told with its remedy.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use ringmq::base::{AckLevel, WriteMode};
use ringmq::config::{
    self, Choice, Config, FlushChoice, Machine, NameServers, ParseError, PortPair, Role,
    ShardIdentity, TailFrom,
};

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

fn machine() -> Machine {
    Machine {
        cpus: vec![0, 1, 2, 3],
        cores: vec![0, 2],
        memory: 8 * GIB,
        host: "rack7.example".to_owned(),
    }
}

fn parse(line: &str) -> Result<Role, ParseError> {
    let words = std::iter::once("ringmq").chain(line.split_whitespace());
    config::parse(words, &machine())
}

fn serve(line: &str) -> Config {
    match parse(line) {
        Ok(Role::Serve(config)) => *config,
        other => panic!("{line:?}: {other:?}"),
    }
}

/// The refusal of a line, which must name a remedy after the rule.
fn refusal(line: &str) -> String {
    match parse(line) {
        Err(ParseError::Config(error)) => {
            assert!(!error.remedy.is_empty() && !error.rule.is_empty(), "{line}");
            error.to_string()
        }
        other => panic!("{line:?} must be refused: {other:?}"),
    }
}

#[test]
fn without_any_flag_everything_has_its_default() {
    let config = serve("");
    assert_eq!(config.data_dir, Path::new("./ringmq-data"));
    assert_eq!((config.listen, config.advertise), (Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST));
    assert_eq!(config.port, 10911);
    assert_eq!(config.name_servers, NameServers::Embedded { port: 9876 });
    assert_eq!(config.wanted.cluster, Choice::Default("DefaultCluster".to_owned()));
    assert_eq!(config.wanted.broker_name, Choice::Default("broker".to_owned()));
    assert_eq!(config.wanted.shards, Choice::Default(2), "one per physical core");
    assert_eq!(config.wanted.segment_bytes, None);
    assert_eq!(config.cores, [0, 2]);
    assert_eq!((config.ack, config.flush_method), (AckLevel::Appended, FlushChoice::Auto));
    assert_eq!(config.write, Choice::Default(WriteMode::Direct));
    assert_eq!(config.retention.hours, Choice::Default(72));
    assert_eq!(config.retention.expire_at, Choice::Default(75));
    assert_eq!((config.retention.force_at, config.retention.refuse_at), (85, 90));
    assert!(!config.accept_loss && config.arena_dir.is_none());
    assert_eq!(config, serve("serve"), "serving is what runs without a subcommand");
}

#[test]
fn every_flag_reaches_the_configuration() {
    let config = serve(
        "--data-dir /d --listen 0.0.0.0 --advertise 10.1.2.3 --port 20000 --namesrv-port 9000 \
         --cluster c --broker-name b --shards 3 --cores 3,0-1 --arena 32MiB --arena-dir /dev/shm \
         --segment-size 64MiB --ack flushed --write buffered-uncached --flush-method dsync \
         --retention-hours 5 \
         --disk-expire-at 50 --disk-force-at 60 --disk-refuse-at 70 --accept-loss --spin-us 0",
    );
    assert_eq!(config.data_dir, Path::new("/d"));
    assert_eq!(config.listen, Ipv4Addr::UNSPECIFIED);
    assert_eq!(config.advertise, Ipv4Addr::new(10, 1, 2, 3));
    assert_eq!(config.name_servers, NameServers::Embedded { port: 9000 });
    assert_eq!(config.wanted.cluster, Choice::Given("c".to_owned()));
    assert_eq!(config.wanted.broker_name, Choice::Given("b".to_owned()));
    assert_eq!(config.wanted.shards, Choice::Given(3));
    assert_eq!(config.wanted.segment_bytes, Some(64 * MIB));
    assert_eq!(config.arena_dir.as_deref(), Some(Path::new("/dev/shm")));
    assert_eq!((config.ack, config.flush_method), (AckLevel::Flushed, FlushChoice::Dsync));
    assert_eq!(config.write, Choice::Given(WriteMode::BufferedUncached));
    assert_eq!(config.retention.hours, Choice::Given(5));
    assert_eq!(config.retention.age_ms, 5 * 3_600_000);
    assert_eq!(config.retention.expire_at, Choice::Given(50));
    assert_eq!((config.retention.force_at, config.retention.refuse_at), (60, 70));
    assert!(config.accept_loss);
    assert_eq!(config.spin, Duration::ZERO);

    let plan = config.plan(3).unwrap();
    assert_eq!(plan.arena_bytes, 32 * MIB);
    assert_eq!(plan.cores, [3, 0, 1]);
    let pair = |main| Some(PortPair { main, old: main - 2 });
    assert_eq!(plan.ports, [pair(20_000), pair(20_010), pair(20_020)]);
}

#[test]
fn the_file_has_the_same_names_and_flags_win() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("ringmq.toml");
    let text = "port = 30000\nack = \"written\"\naccept-loss = true\narena = \"16MiB\"\nshards=1\n\
                write = \"mmap\"\n";
    std::fs::write(&path, text).unwrap();
    let config = serve(&format!("--config {} --port 40000", path.display()));
    assert_eq!(config.port, 40_000);
    assert_eq!(config.ack, AckLevel::Written);
    assert!(config.accept_loss);
    assert_eq!(config.write, Choice::Given(WriteMode::Mmap));
    assert!(!serve(&format!("--config {} --accept-loss=false", path.display())).accept_loss);

    std::fs::write(&path, "shards = 0").unwrap();
    let text = refusal(&format!("--config {}", path.display()));
    assert!(text.starts_with("--shards 0 (in the file): "), "{text}");
    for bad in ["no-such-name = 1", "port = [1]", "port = ", "config = \"again\""] {
        std::fs::write(&path, bad).unwrap();
        let refused = parse(&format!("--config {}", path.display()));
        assert!(matches!(refused, Err(ParseError::File(_))), "{bad}: {refused:?}");
    }
    assert!(matches!(parse("--config /no/such/file"), Err(ParseError::File(_))));
}

#[test]
fn a_wrong_value_is_told_with_flag_value_rule_and_remedy() {
    for (line, start) in [
        ("--port 2", "--port 2: "),
        ("--port 65536", "--port 65536: "),
        ("--port x", "--port x: "),
        ("--namesrv-port=-1", "--namesrv-port -1: "),
        ("--shards 0", "--shards 0: "),
        ("--shards 65", "--shards 65: "),
        ("--cores 9", "--cores 9: "),
        ("--cores 1-", "--cores 1-: "),
        ("--arena 64MB", "--arena 64MB: "),
        ("--arena 15MiB", "--arena 15MiB: "),
        ("--arena 2GiB", "--arena 2GiB: "),
        ("--arena 17MiB", "--arena 17MiB: "),
        ("--segment-size 8MiB", "--segment-size 8MiB: "),
        ("--segment-size 48MiB", "--segment-size 48MiB: "),
        ("--ack durable", "--ack durable: "),
        ("--write sync", "--write sync: it is one of direct, mmap, buffered, buffered-uncached"),
        ("--flush-method sync", "--flush-method sync: "),
        ("--retention-hours 0", "--retention-hours 0: "),
        ("--retention-hours nan", "--retention-hours nan: it takes hours from 0.001 to 876000"),
        ("--disk-expire-at 100", "--disk-expire-at 100: "),
        ("--disk-expire-at 85", "--disk-expire-at 85: "),
        ("--disk-refuse-at 80", "--disk-refuse-at 80: "),
        ("--spin-us 1000001", "--spin-us 1000001: "),
        ("--accept-loss=maybe", "--accept-loss maybe: "),
        ("--cluster a/b", "--cluster a/b: "),
        ("--namesrv nowhere", "--namesrv nowhere: "),
        ("--listen 0.0.0.0", "--listen 0.0.0.0: "),
        ("--listen ::1", "--listen ::1: "),
        ("--advertise 0.0.0.0", "--advertise 0.0.0.0: "),
        ("--namesrv h:1 --namesrv-port 5", "--namesrv-port 5: "),
        ("--broker-name", ""),
    ] {
        if start.is_empty() {
            assert!(matches!(parse(line), Err(ParseError::Usage(_))), "{line}");
            continue;
        }
        let text = refusal(line);
        assert!(text.starts_with(start), "{line}: {text}");
        assert!(text.contains("; "), "{line} names no remedy: {text}");
    }
}

#[test]
fn arenas_shrink_by_themselves_and_never_by_force() {
    // An eighth of 8 GiB is 1 GiB: sixteen arenas of 64 MiB.
    let config = serve("--shards 16");
    assert_eq!(config.plan(16).unwrap().arena_bytes, 64 * MIB);
    assert_eq!(config.plan(17).unwrap().arena_bytes, 60 * MIB, "a whole number of huge pages");
    assert_eq!(config.plan(64).unwrap().arena_bytes, 16 * MIB);
    assert!(refusal("--shards 17 --arena 64MiB").starts_with("--arena 64MiB: "));
    assert!(refusal("--shards 17 --arena 64MiB").contains("give at most 60MiB"));
    assert_eq!(serve("--shards 17 --arena 60MiB").plan(17).unwrap().arena_bytes, 60 * MIB);
    // The directory may have more shards than the flags said.
    let config = serve("--arena 128MiB");
    assert_eq!(config.plan(8).unwrap().arena_bytes, 128 * MIB);
    assert!(config.plan(9).is_err());

    let small = Machine { memory: 256 * MIB, ..machine() };
    match config::parse(["ringmq", "--shards", "3"], &small) {
        Err(ParseError::Config(error)) => assert!(error.to_string().contains("fewer --shards")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn ports_that_meet_or_overrun_are_found_at_the_start() {
    assert!(refusal("--port 65530 --shards 2").contains("above 65535"));
    assert_eq!(serve("--port 65530 --shards 1").port, 65_530);
    assert!(refusal("--port 9856 --shards 3").contains("the name server's port"));
    assert!(refusal("--port 9868 --shards 2").contains("the name server's port"), "9878 - 2");
    assert_eq!(serve("--port 9856 --shards 3 --namesrv h:9876").port, 9856);
    assert_eq!(serve("--port 0 --shards 2").plan(2).unwrap().ports, [None, None]);
    assert_eq!(serve("--namesrv-port 0").name_servers, NameServers::Embedded { port: 0 });
}

#[test]
fn with_external_name_servers_a_broker_bears_its_hosts_name() {
    let config = serve("--namesrv 10.0.0.1:9876;ns2:9876");
    let hosts = ["10.0.0.1:9876", "ns2:9876"].map(str::to_owned).to_vec();
    assert_eq!(config.name_servers, NameServers::External(hosts));
    assert_eq!(config.wanted.broker_name, Choice::Default("rack7-example".to_owned()));
    let named = serve("--namesrv h:1 --broker-name b").wanted.broker_name;
    assert_eq!(named, Choice::Given("b".to_owned()));
}

#[test]
fn host_names_are_resolved_once_to_ipv4() {
    let config = serve("--listen localhost --advertise localhost");
    assert_eq!(config.listen, Ipv4Addr::LOCALHOST);
    assert!(config.advertise.is_loopback());
    let text = refusal("--advertise host.invalid");
    assert!(text.starts_with("--advertise host.invalid: "), "{text}");
}

#[test]
fn subcommands_have_their_own_settings() {
    let Ok(Role::NameServer(config)) = parse("namesrv --port 1") else { panic!() };
    assert_eq!((config.listen, config.port), (Ipv4Addr::LOCALHOST, 1));
    assert_eq!(config.data_dir, Path::new("./ringmq-namesrv"));
    let Err(error) = parse("namesrv --data-dir=") else { panic!() };
    assert!(error.to_string().starts_with("--data-dir"), "{error}");
    let Ok(Role::Send(config)) = parse("send T hello --tag a") else { panic!() };
    assert_eq!((config.topic.as_str(), config.body.as_deref()), ("T", Some("hello")));
    assert_eq!((config.tag.as_deref(), config.keys), (Some("a"), None));
    assert_eq!(config.name_servers, ["127.0.0.1:9876"]);
    let Ok(Role::Tail(config)) = parse("tail T --from first --namesrv h:1") else { panic!() };
    assert_eq!((config.from, config.name_servers), (TailFrom::First, vec!["h:1".to_owned()]));
    assert_eq!(config.count, None, "it goes on until it is interrupted");
    let Ok(Role::Tail(config)) = parse("tail T --count 3") else { panic!() };
    assert_eq!((config.from, config.count), (TailFrom::Last, Some(3)));
    assert!(refusal("tail T --count 0").starts_with("--count 0: "));
    let Ok(Role::Echo(config)) = parse("echo --cores 3 --spin-us 7") else { panic!() };
    assert_eq!((config.cores, config.spin), (vec![3], Duration::from_micros(7)));
    let Ok(Role::Doctor(config)) = parse("doctor --json --shards 3") else { panic!() };
    assert!(config.json && config.serve.unwrap().wanted.shards == Choice::Given(3));
    let Ok(Role::Doctor(config)) = parse("doctor --shards 0") else { panic!() };
    assert!(!config.json && config.serve.unwrap_err().to_string().starts_with("--shards 0: "));
    assert!(refusal("tail T --from middle").starts_with("--from middle: "));
    assert!(refusal("send a/b x").contains("topic"));
    assert!(matches!(parse("namesrv --arena 1"), Err(ParseError::Usage(_))));
    assert!(matches!(parse("--port 1 serve"), Err(ParseError::Usage(_))));
}

#[test]
fn options_show_this_start_and_keep_what_was_set_unless_a_flag_says_otherwise() {
    let shard = ShardIdentity {
        cluster: "c".to_owned(),
        broker_name: "broker-1".to_owned(),
        address: Ipv4Addr::LOCALHOST,
        port: 10921,
        name_servers: "127.0.0.1:9876".to_owned(),
        segment_bytes: 256 * MIB,
        write: WriteMode::Mmap,
    };
    let kept = [
        ("fileReservedTime", "5"),
        ("longPollingEnable", "false"),
        ("brokerPermission", "77"),
        ("optionOfAnotherVersion", "1"),
    ];
    let kept = kept.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let options = serve("--ack flushed").broker_options(&shard, &kept);
    assert_eq!((options.file_reserved_time, options.disk_max_used_space_ratio), (5, 75));
    assert!(!options.long_polling_enable);
    assert_eq!(options.broker_permission, 6, "a value that is no longer legal is passed over");
    let text = options.to_properties();
    for line in [
        "brokerClusterName=c",
        "brokerName=broker-1",
        "brokerId=0",
        "listenPort=10921",
        "flushDiskType=SYNC_FLUSH",
        "ringmqWriteMode=mmap",
        "fileReservedTime=5",
        "maxMessageSize=4194304",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
    }
    let told = serve("--retention-hours 9 --disk-expire-at 60").broker_options(&shard, &kept);
    assert_eq!((told.file_reserved_time, told.disk_max_used_space_ratio), (9, 60));
    let short = serve("--retention-hours 0.25");
    assert_eq!(short.retention.age_ms, 15 * 60_000);
    assert_eq!(short.broker_options(&shard, &kept).file_reserved_time, 1, "tools know hours");
}

#[test]
fn a_probe_knows_its_directory_its_time_and_two_cores_if_there_are() {
    let probe = |line: &str| match parse(line) {
        Ok(Role::Probe(config)) => config,
        other => panic!("{line:?}: {other:?}"),
    };
    let config = probe("probe");
    assert_eq!(config.data_dir, Path::new("./ringmq-data"));
    assert_eq!((config.seconds, config.json, config.cpus), (20, false, vec![0, 2]));
    let config = probe("probe --data-dir /d --seconds 3 --json");
    assert_eq!((config.data_dir.as_path(), config.seconds), (Path::new("/d"), 3));
    assert!(config.json);
    for wrong in ["0", "x", "3601"] {
        let text = refusal(&format!("probe --seconds {wrong}"));
        assert!(text.starts_with(&format!("--seconds {wrong}: ")), "{text}");
    }
}
