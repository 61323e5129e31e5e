//! Summary, plots and README section from the raw data of a recorded run.
//!
//! The run in `data/compare` was a short one of debug builds on a busy machine: its
//! figures mean nothing. Where what is made of it changes on purpose, write it anew:
//! `RINGMQ_BLESS=1 cargo test -p ringmq-bench --test report`.

use ringmq_bench::compare;
use ringmq_bench::results::Folder;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const MADE: [&str; 4] =
    ["summary.md", "plots/throughput.svg", "plots/latency.svg", "plots/cpu.svg"];

fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/compare")
}

/// The recorded run without what was made of it.
fn raw_copy(parent: &Path) -> Folder {
    let dir = parent.join("2026-11-21-compare");
    fs::create_dir_all(dir.join("raw")).unwrap();
    for name in ["run.json", "host.json", "reasons.toml"] {
        fs::copy(recorded().join(name), dir.join(name)).unwrap();
    }
    for entry in fs::read_dir(recorded().join("raw")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), dir.join("raw").join(entry.file_name())).unwrap();
    }
    Folder::open(&dir)
}

fn tool(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringmq-bench")).args(arguments).output().unwrap()
}

/// Where the links of a text lead, but for those into itself.
fn links(text: &str) -> Vec<&str> {
    let after = text.split("](").skip(1);
    let links = after.filter_map(|rest| rest.split(')').next());
    links.filter_map(|link| link.split('#').next()).filter(|link| !link.is_empty()).collect()
}

#[test]
fn what_is_made_of_raw_data_is_the_same_byte_for_byte() {
    let parent = tempfile::tempdir().unwrap();
    let folder = raw_copy(parent.path());
    compare::rebuild(&folder).unwrap();
    for name in MADE {
        let made = folder.read(name).unwrap();
        if std::env::var_os("RINGMQ_BLESS").is_some() {
            fs::create_dir_all(recorded().join("plots")).unwrap();
            fs::write(recorded().join(name), &made).unwrap();
        }
        let expected = fs::read_to_string(recorded().join(name)).unwrap();
        assert!(made == expected, "{name} is not as it was recorded:\n{made}");
    }
    let png = || fs::read(folder.dir().join("plots/throughput.png")).unwrap();
    let first = png();
    compare::rebuild(&folder).unwrap();
    assert!(png() == first, "a PNG made twice differs");
}

#[test]
fn everything_that_is_claimed_links_to_something_that_is_there() {
    let parent = tempfile::tempdir().unwrap();
    let folder = raw_copy(parent.path());
    fs::write(folder.dir().join("command"), "ringmq-bench compare\n").unwrap();
    let summary = compare::rebuild(&folder).unwrap();
    assert!(links(&summary).len() > 20);
    for link in links(&summary) {
        assert!(folder.dir().join(link).exists(), "{link}");
    }
    let section = compare::headline(&folder, &folder.name()).unwrap();
    assert!(links(&section).len() > 10, "{section}");
    for link in links(&section) {
        assert!(parent.path().join(link).exists(), "{link}");
    }
}

#[test]
fn a_lost_cell_is_said_plainly_with_its_figures_and_the_reason_noted() {
    let parent = tempfile::tempdir().unwrap();
    let folder = raw_copy(parent.path());
    let summary = compare::summarize(&folder).unwrap();
    let lost = |summary: &str| -> Vec<String> {
        summary.lines().filter(|line| line.starts_with("* lost: ")).map(str::to_string).collect()
    };
    let drain = |line: &&String| line.contains("drain-1m") && line.contains("messages per second");
    let lines = lost(&summary);
    let line = lines.iter().find(drain).expect("the recorded run lost it");
    assert!(line.contains("ringmq ") && line.contains("Apache "), "{line}");
    assert!(line.ends_with("Reason: a debug build reads slowly"), "{line}");
    fs::remove_file(folder.dir().join("reasons.toml")).unwrap();
    let lines = lost(&compare::summarize(&folder).unwrap());
    let line = lines.iter().find(drain).unwrap();
    assert!(line.ends_with("no reason is noted in reasons.toml"), "{line}");
}

#[test]
fn a_run_without_ours_has_a_summary_and_nothing_lost() {
    let parent = tempfile::tempdir().unwrap();
    let folder = raw_copy(parent.path());
    let mut run: serde_json::Value =
        serde_json::from_str(&folder.read("run.json").unwrap()).unwrap();
    run["systems"].as_array_mut().unwrap().retain(|of| of["system"] != "ringmq");
    fs::write(folder.dir().join("run.json"), run.to_string()).unwrap();
    let summary = compare::summarize(&folder).unwrap();
    assert!(summary.contains("| kafka |") && !summary.contains("## Lost"), "{summary}");
}

#[test]
fn a_round_that_failed_is_told_and_the_others_count() {
    let parent = tempfile::tempdir().unwrap();
    let folder = raw_copy(parent.path());
    fs::remove_file(folder.raw("send-1k.kafka.2")).unwrap();
    fs::write(folder.failed("send-1k.kafka.2"), "the load tool ended\nwith nothing").unwrap();
    let summary = compare::summarize(&folder).unwrap();
    assert!(
        summary.contains("* send-1k, kafka, round 2: the load tool ended; with nothing\n"),
        "{summary}"
    );
    assert!(summary.contains("[1](raw/send-1k.kafka.1.json) |\n"), "{summary}");
}

#[test]
fn the_readme_gets_its_section_and_the_index_its_line() {
    let parent = tempfile::tempdir().unwrap();
    let results = parent.path().join("results");
    let folder = raw_copy(&results);
    let readme = parent.path().join("README.md");
    let text = "# r\n\n<!-- performance: begin -->\n<!-- performance: end -->\nwords\n";
    fs::write(&readme, text).unwrap();
    let dir = folder.dir().to_str().unwrap();
    let (readme_arg, results_arg) = (readme.to_str().unwrap(), results.to_str().unwrap());
    let report = ["report", dir, "--readme", readme_arg, "--index", "--results", results_arg];
    let output = tool(&report);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(&readme).unwrap();
    assert!(text.contains("](results/2026-11-21-compare/plots/throughput.png)"), "{text}");
    assert!(text.ends_with("<!-- performance: end -->\nwords\n"), "{text}");
    let index = fs::read_to_string(results.join("README.md")).unwrap();
    assert!(index.contains("| [2026-11-21-compare](2026-11-21-compare/summary.md) |"), "{index}");
}

#[test]
fn folders_of_other_runs_are_refused_with_a_word_on_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let output = tool(&["report", dir.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("table3 --summarize"), "{said}");
    fs::write(dir.path().join("run.json"), r#"{"kind":"other"}"#).unwrap();
    let said = tool(&["report", dir.path().to_str().unwrap()]).stderr;
    assert!(String::from_utf8_lossy(&said).contains("`other`"));
}
