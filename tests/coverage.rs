//! `src/wire/COVERAGE.md` says what the code does: every code that has a name stands in
//! one of its tables, and in the right one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ringmq::broker::CODES;
use ringmq::wire::code::request;

/// The rows of one table, by code.
fn table(title: &str) -> BTreeMap<i32, Vec<String>> {
    let text = fs::read_to_string(path("src/wire/COVERAGE.md")).unwrap();
    let section = text.split("\n## ").find(|section| section.starts_with(title));
    let section = section.unwrap_or_else(|| panic!("a section {title}"));
    let mut rows = BTreeMap::new();
    for line in section.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<String> =
            line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
        let Ok(code) = cells[0].parse() else { continue };
        assert_eq!(request::name(code), Some(cells[1].as_str()), "the name of {code}");
        assert!(cells.iter().all(|cell| !cell.is_empty()), "{line}");
        assert!(rows.insert(code, cells).is_none(), "{code} stands twice under {title}");
    }
    rows
}

fn path(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// It says what is done, `file function` names a function, and the test is there.
fn check_row(room: &str, cells: &[String]) {
    let [_code, _name, _done, handler, test] = cells else { panic!("{cells:?}") };
    let (file, function) = handler.split_once(' ').expect("file and function");
    let source = fs::read_to_string(path(room).join(file)).unwrap();
    assert!(source.contains(&format!("fn {function}(")), "{handler} in {room}");
    assert!(path(test).exists(), "{test}");
}

#[test]
fn the_brokers_table_is_its_dispatch() {
    let rows = table("Broker");
    let mut served = CODES.to_vec();
    served.sort_unstable();
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), served);
    rows.values().for_each(|cells| check_row("src/broker", cells));
}

#[test]
fn the_handlers_are_those_of_the_dispatch() {
    let dispatch = fs::read_to_string(path("src/broker/dispatch.rs")).unwrap();
    for cells in table("Broker").values() {
        let arrow = format!("request::{} => ", cells[1]);
        let rest = dispatch.split(&arrow).nth(1).unwrap_or_else(|| panic!("{arrow}"));
        let handler = rest.split([';', '(']).next().unwrap();
        assert_eq!(cells[3].split_once(' ').unwrap().1, handler, "{}", cells[1]);
    }
}

#[test]
fn the_name_servers_table_is_its_dispatch() {
    let source = fs::read_to_string(path("src/namesrv/mod.rs")).unwrap();
    let rows = table("Name server");
    let served = source.split("asked::").skip(1).filter_map(|rest| rest.split_once(" => "));
    let mut served: Vec<&str> = served.map(|(name, _)| name).collect();
    let mut told: Vec<&str> = rows.values().map(|cells| cells[1].as_str()).collect();
    served.sort_unstable();
    told.sort_unstable();
    assert_eq!(told, served);
    rows.values().for_each(|cells| check_row("src/namesrv", cells));
}

#[test]
fn every_named_code_stands_in_one_table() {
    let titles = ["Broker", "Name server", "From server to client", "Not served"];
    let tables: Vec<_> = titles.into_iter().map(table).collect();
    for code in (0..10_000).chain(200_000..201_000) {
        let told = tables.iter().filter(|rows| rows.contains_key(&code)).count();
        let expected = usize::from(request::name(code).is_some());
        assert_eq!(told, expected, "{code} {:?}", request::name(code));
    }
}
