//! A short `transfer` run, and what is made of the raw data of a recorded one.
//!
//! The run in `data/transfer` was one of debug builds on a busy machine: its figures mean
//! nothing. Where what is made of it changes on purpose, write it anew:
//! `RINGMQ_BLESS=1 cargo test -p ringmq-bench --test transfer`.

use ringmq_bench::results::Folder;
use ringmq_bench::transfer;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const MADE: [&str; 4] =
    ["summary.md", "plots/transfer.svg", "plots/transfer-lines.svg", "plots/transfer-cpu.svg"];

fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/transfer")
}

/// The recorded run without what was made of it.
fn raw_copy(parent: &Path) -> Folder {
    let dir = parent.join("2026-11-21-transfer");
    fs::create_dir_all(dir.join("raw")).unwrap();
    for name in ["command", "run.json", "host.json", "raw/round-1.json", "raw/round-2.json"] {
        fs::copy(recorded().join(name), dir.join(name)).unwrap();
    }
    Folder::open(&dir)
}

fn tool(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringmq-bench")).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

#[test]
fn what_is_made_of_raw_data_is_the_same_byte_for_byte() {
    let parent = tempfile::tempdir().unwrap();
    let folder = raw_copy(parent.path());
    let output = tool(&["report", folder.dir().to_str().unwrap()]);
    assert!(output.status.success(), "{}", said(&output));
    for name in MADE {
        let made = folder.read(name).unwrap();
        if std::env::var_os("RINGMQ_BLESS").is_some() {
            fs::create_dir_all(recorded().join("plots")).unwrap();
            fs::write(recorded().join(name), &made).unwrap();
        }
        let expected = fs::read_to_string(recorded().join(name)).unwrap();
        assert!(made == expected, "{name} is not as it was recorded:\n{made}");
    }
    let png = fs::read(folder.dir().join("plots/transfer.png")).unwrap();
    assert!(png.starts_with(b"\x89PNG"));
}

#[test]
fn the_summary_shows_medians_with_their_spread_and_links_to_what_is_there() {
    let parent = tempfile::tempdir().unwrap();
    let folder = raw_copy(parent.path());
    // Two rounds of one cell, rewritten to figures that can be told.
    for (round, seconds) in [(1, 1.0), (2, 0.5)] {
        let name = format!("raw/round-{round}.json");
        let mut json: Value = serde_json::from_str(&folder.read(&name).unwrap()).unwrap();
        let row = &mut json["rows"][0];
        assert_eq!((&row["strategy"], &row["heat"]), (&"copy".into(), &"hot".into()));
        row["bytes"] = 20_000_000_000u64.into();
        row["seconds"] = seconds.into();
        row["cpu_ns"] = 9_000_000_000u64.into();
        row["worker_cpu_ns"] = 1_000_000_000u64.into();
        row["calls"] = 50_000.into();
        fs::write(folder.dir().join(&name), json.to_string()).unwrap();
    }
    let summary = transfer::rebuild(&folder).unwrap();
    let lines: Vec<&str> = summary.lines().filter(|line| line.starts_with("| copy |")).collect();
    assert!(lines[0].starts_with("| copy | **30.00** (20.00–40.00) |"), "{summary}");
    assert!(lines.iter().any(|line| line.starts_with("| copy | 0.500 |")), "{summary}");
    assert!(lines.iter().any(|line| line.starts_with("| copy | 2.5 |")), "{summary}");
    let links = summary.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let links: Vec<&str> = links.collect();
    assert!(links.len() > 5);
    for link in links {
        assert!(folder.dir().join(link).exists(), "{link}");
    }
}

#[test]
fn a_run_that_was_broken_off_is_told_as_such_and_one_without_rounds_refused() {
    let parent = tempfile::tempdir().unwrap();
    let folder = raw_copy(parent.path());
    assert!(!transfer::rebuild(&folder).unwrap().contains("Broken off"));
    fs::remove_file(folder.raw("round-2")).unwrap();
    assert!(transfer::rebuild(&folder).unwrap().contains("Broken off: 2 rounds were asked for"));
    fs::write(folder.raw("round-1"), "{").unwrap();
    let why = transfer::rebuild(&folder).unwrap_err().to_string();
    assert!(why.contains("round-1.json"), "{why}");
    fs::remove_file(folder.raw("round-1")).unwrap();
    let why = transfer::rebuild(&folder).unwrap_err().to_string();
    assert!(why.contains("no whole round"), "{why}");
}

#[test]
fn a_short_run_leaves_a_whole_folder_and_nothing_else() {
    let parent = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = |name: &str| parent.path().join(name).to_str().unwrap().to_owned();
    let (data, results) = (path("data"), path("results"));
    let run = ["transfer", "--rounds", "1", "--hot-ms", "5", "--cold-ms", "5", "--file-mib", "64"];
    let where_to = ["--sizes-kib", "64", "--connections", "2", "--sender-core", "0"];
    let core = ["--receiver-core", "0", "--data-dir", &data, "--results", &results];
    let output = tool(&[&run[..], &where_to, &core].concat());
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0, "the file is gone");
    let mut folders = fs::read_dir(&results).unwrap().map(|entry| entry.unwrap().path());
    let dir = folders.find(|path| path.is_dir()).unwrap();
    for name in ["command", "host.json", "run.json", "plots/transfer.png"].iter().chain(&MADE) {
        assert!(dir.join(name).exists(), "{name}");
    }
    let round = fs::read_to_string(dir.join("raw/round-1.json")).unwrap();
    let round: Value = serde_json::from_str(&round).unwrap();
    let rows = round["rows"].as_array().unwrap();
    // Six strategies from memory and five from the disk, to two kinds of receiver.
    let has = |strategy: &str| rows.iter().any(|row| row["strategy"] == strategy);
    for strategy in ["copy", "mmap", "gather", "sendfile", "splice", "direct"] {
        assert!(has(strategy), "{strategy} in {rows:?}");
    }
    assert!(rows.len() >= 20 && rows.iter().all(|row| row["bytes"].as_u64() > Some(0)));
}

#[test]
fn sizes_and_counts_that_cannot_be_are_refused() {
    let parent = tempfile::tempdir().unwrap();
    let data = parent.path().join("data");
    for wrong in [["--sizes-kib", "0"], ["--sizes-kib", "16385"], ["--connections", "0"]] {
        let output = tool(&["transfer", wrong[0], wrong[1], "--data-dir", data.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "{wrong:?}: {}", said(&output));
        assert!(said(&output).contains("sizes are from 1 to 16384 KiB"), "{}", said(&output));
        assert!(!data.exists());
    }
}
