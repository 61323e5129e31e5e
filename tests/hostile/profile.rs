//! The profile beside the data: made by a probe, believed by a start where it was made.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::node::Place;

fn probe(data: &Path, flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq"));
    command.args(["probe", "--seconds", "1", "--data-dir"]).arg(data).args(flags);
    command.stdin(Stdio::null()).env_remove("RINGMQ_LOG").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Starts a node, stops it, and returns what it has said.
fn said_by_start(place: &Place) -> String {
    place.start().stop();
    place.log_of_node()
}

#[test]
fn a_probe_comes_before_the_broker_never_beside_it_and_is_believed_where_it_was_made() {
    let place = Place::new();
    let path = place.data().join("profile.json");
    let output = probe(&place.data(), &[]);
    let (shown, said) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}");
    for part in ["What `auto` does", "page cache, below 8 KiB: ", "durable writes: ", "send"] {
        assert!(shown.contains(part), "{part:?} is not in\n{shown}");
    }
    assert!(!place.data().join("identity").exists(), "it makes no data directory");
    let mut names: Vec<_> = fs::read_dir(place.data()).unwrap().collect();
    names.retain(|entry| entry.as_ref().unwrap().file_name() != "lock");
    assert_eq!(names.len(), 1, "its files are gone: {names:?}");

    // A node makes its directory around the profile, and takes it.
    let node = place.start();
    let log = place.log_of_node();
    assert!(log.contains("`auto` decides from the profile"), "{log}");
    let output = probe(&place.data(), &[]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("in use by pid {}", node.pid())), "{said}");
    node.stop();

    let profile = fs::read_to_string(&path).unwrap();
    fs::write(&path, profile.replace("\"kernel\": \"", "\"kernel\": \"not-")).unwrap();
    let log = said_by_start(&place);
    assert!(log.contains("it was measured with another kernel: not-"), "{log}");
    fs::write(&path, &profile[..profile.len() / 2]).unwrap();
    let log = said_by_start(&place);
    assert!(log.contains("is not used: it is damaged"), "{log}");
    fs::remove_file(&path).unwrap();
    let log = said_by_start(&place);
    let command = format!("`ringmq probe --data-dir {}`", place.data().display());
    assert!(log.contains("nothing was measured here") && log.contains(&command), "{log}");

    // In a directory that holds data it replaces nothing but the profile.
    let output = probe(&place.data(), &["--json"]);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(text(&output.stdout), fs::read_to_string(&path).unwrap());
    assert!(said_by_start(&place).contains("`auto` decides from the profile"));
}

#[test]
fn a_probe_keeps_away_from_a_directory_of_somebody_else() {
    let place = Place::new();
    fs::create_dir(place.data()).unwrap();
    fs::write(place.data().join("thesis.tex"), "x").unwrap();
    let output = probe(&place.data(), &[]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("no data directory of ringmq"), "{said}");
    assert_eq!(fs::read_dir(place.data()).unwrap().count(), 1);
}
