//! A profile: what it makes `auto` do, and when it is not used at all.

use std::fs;
use std::path::Path;

use ringmq::base::transfer::{
    FileWay, SIZE_CLASSES, TailWay, Through, Transfer, TransferChoice, TransferRules,
};
use ringmq::probe::{
    Heat, Host, Ignored, PROFILE_FILE, Profile, TransferFigure, WriteFigure, WriteKind, table,
};

const KIB: u32 = 1024;

fn host() -> Host {
    Host {
        kernel: "6.18.1".to_owned(),
        cpu: "A Processor 3000".to_owned(),
        device: "259:1".to_owned(),
        device_model: "A Disk".to_owned(),
        file_system: "ext4".to_owned(),
    }
}

fn moved(strategy: Transfer, heat: Heat, bytes: u32, speed: u64, cpu: u64) -> TransferFigure {
    let (bytes_per_second, cpu_ps_per_byte) = (speed * 1_000_000, cpu);
    TransferFigure {
        strategy,
        heat,
        bytes,
        bytes_per_second,
        cpu_ps_per_byte,
        calls_per_gigabyte: 1000,
    }
}

fn hot(strategy: Transfer, bytes: u32, speed: u64, cpu: u64) -> TransferFigure {
    moved(strategy, Heat::Hot, bytes, speed, cpu)
}

fn cold(strategy: Transfer, bytes: u32, speed: u64) -> TransferFigure {
    moved(strategy, Heat::Cold, bytes, speed, 300)
}

fn wrote(kind: WriteKind, bytes: u32, depth: u32, us: u64) -> WriteFigure {
    let bytes_per_second = u64::from(bytes * depth) * 1_000_000 / us;
    WriteFigure { kind, bytes, depth, bytes_per_second, typical_ns: us * 1000, punted: false }
}

fn profile(transfers: &[TransferFigure]) -> Profile {
    Profile::new(host(), transfers.to_vec(), Vec::new())
}

fn rules(transfers: &[TransferFigure]) -> TransferRules {
    profile(transfers).decide().rules
}

#[test]
fn nothing_measured_changes_nothing() {
    let decision = profile(&[]).decide();
    assert_eq!(decision.rules, TransferRules::default());
    assert_eq!(decision.flush, None);
}

#[test]
fn the_fastest_of_each_size_class_is_taken_for_that_class_alone() {
    let rules = rules(&[
        hot(Transfer::Sendfile, 4 * KIB, 1500, 400),
        hot(Transfer::Mmap, 4 * KIB, 1000, 300),
        hot(Transfer::Copy, 64 * KIB, 3000, 300),
        hot(Transfer::Splice, 64 * KIB, 2000, 100),
        hot(Transfer::Gather, 64 * KIB, 4000, 200),
        hot(Transfer::SendZc, 64 * KIB, 5000, 900),
    ]);
    let mut expected = TransferRules::default();
    expected.hot[0] = FileWay::Sendfile;
    expected.hot[2] = FileWay::Read;
    expected.tail[2] = TailWay::ZeroCopy;
    assert_eq!(rules, expected);
    // A pull of such a size gets it.
    assert_eq!(rules.ways(TransferChoice::Auto, 64 * KIB).0, TailWay::ZeroCopy);
}

#[test]
fn of_those_within_five_percent_the_one_with_less_cpu_is_taken() {
    let with = |sendfile| {
        rules(&[
            hot(Transfer::Mmap, 1024 * KIB, 10_000, 300),
            hot(Transfer::Sendfile, 1024 * KIB, sendfile, 200),
            hot(Transfer::Copy, 1024 * KIB, 9_400, 100),
        ])
    };
    assert_eq!(with(9_500).hot[4], FileWay::Sendfile, "within 5 %");
    assert_eq!(with(9_499).hot[4], FileWay::Map, "just not");
    let decision = profile(&[
        hot(Transfer::Mmap, 1024 * KIB, 10_000, 300),
        hot(Transfer::Sendfile, 1024 * KIB, 9_900, 200),
    ])
    .decide();
    let instead_of = decision.hot[4].unwrap().instead_of.map(|figure| figure.strategy);
    assert_eq!(instead_of, Some(Transfer::Mmap));
}

#[test]
fn cold_bytes_go_direct_only_where_that_is_more_than_ten_percent_faster() {
    let with = |small, large| {
        let figures = [
            // What is sent from the page cache is what the hot rule says, not the best of all.
            hot(Transfer::Mmap, 64 * KIB, 3000, 100),
            hot(Transfer::Mmap, 1024 * KIB, 3000, 100),
            cold(Transfer::Mmap, 64 * KIB, 1000),
            cold(Transfer::Mmap, 1024 * KIB, 1000),
            cold(Transfer::Sendfile, 64 * KIB, 5000),
            cold(Transfer::Direct, 64 * KIB, small),
            cold(Transfer::Direct, 1024 * KIB, large),
        ];
        rules(&figures).cold
    };
    assert_eq!(with(1100, 1100), Through::PageCache);
    assert_eq!(with(1110, 1110), Through::Direct);
    assert_eq!(with(900, 1300), Through::PageCache, "ahead at one size, behind at the other");
    assert_eq!(with(1000, 1400), Through::Direct);
}

#[test]
fn the_flush_method_is_that_of_single_blocks_alone() {
    let decided = |dsync, fdatasync| {
        let writes = vec![
            wrote(WriteKind::DirectDsync, 64 * KIB, 1, 1),
            wrote(WriteKind::DirectDsync, 4 * KIB, 4, 1),
            wrote(WriteKind::DirectDsync, 4 * KIB, 1, dsync),
            wrote(WriteKind::DirectFdatasync, 4 * KIB, 1, fdatasync),
        ];
        let flush = Profile::new(host(), Vec::new(), writes).decide().flush;
        flush.unwrap().is_dsync_faster()
    };
    assert!(decided(100, 100));
    assert!(!decided(101, 100));
}

#[test]
fn a_stored_profile_reads_back_as_it_was_and_replaces_an_older_one() {
    let directory = tempfile::tempdir().unwrap();
    let every = |heat| Transfer::ALL.map(|strategy| moved(strategy, heat, 64 * KIB, 1, 2));
    let transfers = [every(Heat::Hot), every(Heat::Cold)].concat();
    let writes = WriteKind::ALL.map(|kind| wrote(kind, 4 * KIB, 1, 115)).to_vec();
    profile(&[]).store(directory.path()).unwrap();
    let profile = Profile::new(host(), transfers, writes);
    profile.store(directory.path()).unwrap();
    assert_eq!(Profile::load(directory.path(), &host()).unwrap(), profile);
    let names: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

fn ignored(directory: &Path, here: &Host) -> Ignored {
    Profile::load(directory, here).expect_err("it must not be used")
}

#[test]
fn a_profile_from_elsewhere_is_not_used_and_the_difference_is_named() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(ignored(directory.path(), &host()), Ignored::Missing));
    profile(&[]).store(directory.path()).unwrap();
    let others = [
        ("kernel", "6.18.1", "6.19.0", Host { kernel: "6.19.0".to_owned(), ..host() }),
        ("processor", "A Processor 3000", "B", Host { cpu: "B".to_owned(), ..host() }),
        ("device", "259:1", "8:0", Host { device: "8:0".to_owned(), ..host() }),
        ("device model", "A Disk", "C", Host { device_model: "C".to_owned(), ..host() }),
        ("file system", "ext4", "xfs", Host { file_system: "xfs".to_owned(), ..host() }),
    ];
    for (what, there, here, host) in others {
        let text = ignored(directory.path(), &host).to_string();
        let expected = format!("another {what}: {there}, and here it is {here}");
        assert!(text.ends_with(&expected), "{text}");
    }
}

#[test]
fn another_format_and_every_kind_of_damage_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(PROFILE_FILE);
    let whole = profile(&[hot(Transfer::Copy, 4 * KIB, 1, 1)]).to_json();
    let load = |text: &str| {
        fs::write(&path, text).unwrap();
        ignored(directory.path(), &host())
    };
    let newer = whole.replace("\"format\": 1", "\"format\": 2");
    assert!(matches!(load(&newer), Ignored::Format { found: 2 }));
    let damaged = [
        String::new(),
        "{}".to_owned(),
        "[1]".to_owned(),
        whole[..whole.len() / 2].to_owned(),
        whole.replace("\"copy\"", "\"carry\""),
        whole.replace("\"hot\"", "\"warm\""),
        whole.replace("\"bytes_per_second\": 1000000", "\"bytes_per_second\": 0"),
        whole.replace("\"bytes_per_second\": 1000000", "\"bytes_per_second\": -1"),
        whole.replace("\"kernel\"", "\"colonel\""),
        format!("{}{whole}", " ".repeat(2 << 20)),
    ];
    for text in &damaged {
        let why = load(text);
        assert!(matches!(why, Ignored::Damaged(_)), "{why} for {text:.80}");
    }
    assert!(matches!(
        {
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
            ignored(directory.path(), &host())
        },
        Ignored::Unreadable(_)
    ));
}

#[test]
fn the_table_shows_every_figure_and_every_decision_with_its_reason() {
    let transfers = [
        hot(Transfer::Mmap, 64 * KIB, 3210, 250),
        hot(Transfer::Sendfile, 64 * KIB, 3200, 150),
        hot(Transfer::Gather, 64 * KIB, 4000, 100),
        cold(Transfer::Sendfile, 64 * KIB, 1000),
        cold(Transfer::Direct, 64 * KIB, 1900),
    ];
    let mut writes = vec![
        wrote(WriteKind::DirectDsync, 4 * KIB, 1, 115),
        wrote(WriteKind::DirectFdatasync, 4 * KIB, 1, 241),
    ];
    writes[1].punted = true;
    let text = table(&Profile::new(host(), transfers.to_vec(), writes));
    for part in [
        "3.21 (0.25)",
        "241 us 16 w",
        "arena, 32 KiB to 128 KiB: gather, the fastest (4.00 GB/s, 0.10 ns/B)",
        "page cache, 32 KiB to 128 KiB: sendfile (3.20 GB/s, 0.15 ns/B), less CPU than mmap",
        "page cache, from 2 MiB: the built-in rule",
        "disk: direct, more than 10 % faster (64 KiB: sendfile 1.00 GB/s, direct 1.90)",
        "durable writes: dsync (dsync 115 us, fdatasync 241 us)",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert_eq!(text.matches("arena, ").count(), SIZE_CLASSES.len() + 1);
}
