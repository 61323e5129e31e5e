//! Who may use whom among the rooms of `src/`, checked against every path in it. Should a
//! better map show itself, move to it in one piece and change `MAP`; `src/ARCHITECTURE.md`
//! says why it is as it is.

use std::fs;
use std::path::{Path, PathBuf};

/// A room and what it may use besides itself and `base`. A row may be a part of a room
/// that others use by itself; a permission may be for a part only.
const MAP: [(&str, &[&str]); 18] = [
    ("base", &[]),
    ("wire", &[]),
    ("log", &[]),
    ("queue", &[]),
    ("reactor", &[]),
    ("store", &["log", "queue"]),
    ("broker", &["store", "log", "queue", "wire"]),
    ("net", &["wire::frame"]),
    ("shard", &["net", "broker", "store", "log", "wire"]),
    ("engine", &["reactor", "shard", "store", "log", "queue", "broker::effect"]),
    ("engine::files", &[]),
    ("namesrv", &["wire"]),
    ("config", &["engine::files"]),
    ("control", &["namesrv", "wire"]),
    ("client", &["wire", "config"]),
    ("doctor", &["config", "engine::files", "reactor"]),
    ("probe", &["reactor", "engine::files", "config"]),
    ("serve", EVERYTHING),
];

const EVERYTHING: &[&str] = &["*"];
/// The one room whose work cannot be done without unsafe code.
const UNSAFE_ROOM: &str = "reactor";

#[test]
fn every_path_into_another_room_is_on_the_map() {
    let strays: Vec<String> = all_uses().filter(|used| !is_allowed(used)).map(told).collect();
    assert!(strays.is_empty(), "not on the map of tests/rooms.rs:\n{}", strays.join("\n"));
}

#[test]
fn every_permission_is_needed() {
    let uses: Vec<Use> = all_uses().collect();
    for (room, permissions) in MAP.into_iter().filter(|(_, allowed)| *allowed != EVERYTHING) {
        for permission in permissions {
            let is_used = |used: &Use| row_of(&used.from).0 == room && starts(&used.to, permission);
            assert!(uses.iter().any(is_used), "{room} does not use {permission} any more");
        }
    }
}

#[test]
fn the_map_has_all_rooms() {
    let mut rooms: Vec<String> = sources()
        .iter()
        .filter_map(|path| module_of(path).first().cloned())
        .filter(|room| room != "main")
        .collect();
    rooms.sort();
    rooms.dedup();
    let mut known: Vec<&str> =
        MAP.iter().map(|(room, _)| *room).filter(|room| !room.contains("::")).collect();
    known.sort_unstable();
    assert_eq!(rooms, known);
}

#[test]
fn every_room_but_one_forbids_unsafe_code() {
    let text = fs::read_to_string(root().join("lib.rs")).unwrap();
    let tokens = tokens(&text);
    let mut rooms = 0;
    for (at, _) in tokens.iter().enumerate().filter(|(_, token)| **token == "mod") {
        let room = tokens[at + 1];
        let forbids = ["forbid", "(", "unsafe_code", ")", "]", "pub"];
        let is_forbidden = at >= 6 && tokens[at - 6..at] == forbids;
        assert_eq!(is_forbidden, room != UNSAFE_ROOM, "#[forbid(unsafe_code)] of {room}");
        rooms += 1;
    }
    assert_eq!(rooms, MAP.iter().filter(|(room, _)| !room.contains("::")).count());
}

#[test]
fn no_unsafe_stands_outside_that_room() {
    let mut inside = 0;
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        let found = tokens(&text).iter().filter(|token| **token == "unsafe").count();
        if module_of(&path).first().is_some_and(|room| room == UNSAFE_ROOM) {
            inside += found;
        } else {
            assert_eq!(found, 0, "unsafe in {}", path.display());
        }
    }
    assert!(inside > 0, "the search finds what is there");
}

#[test]
fn paths_are_found_however_they_are_written() {
    let text = r##"
        // use crate::comment::A; /* use crate::comment::B; */
        /* nested /* use crate::comment::C; */ use crate::comment::D; */
        use crate::{self as all, wire::{Codec, frame::{self, Prefix as P}}, log};
        pub(in crate::part) fn f<'a>(x: &'a str) -> crate::queue::Key<'a> {
            let quote = '"'; let escaped = "\" crate::text::A"; let raw = r#"" crate::text::B"#;
            $crate::base::go::<u8>(b'\'', b"crate::text::C", '\\');
            self.thing(); Self::thing(); r#move::odd();
        }
        use super::super::{store, sibling::*};
        use self::super::beside;
        mod tests { use super::inner; mod deeper { use super::super::super::up; } }
        use super::{after, super::far};
        fn g(_: other::crate_name) {}
    "##;
    let module = ["broker", "send"].map(str::to_owned);
    let found: Vec<String> = paths(&module, text).iter().map(|path| path.join("::")).collect();
    let expected = [
        "",
        "wire::Codec",
        "wire::frame",
        "wire::frame::Prefix",
        "log",
        "part",
        "queue::Key",
        "base::go",
        "store",
        "sibling::*",
        "broker::beside",
        "broker::send::inner",
        "broker::up",
        "broker::after",
        "far",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_stray_path_is_seen() {
    let used = |from: &str, to: &str| {
        let path = |text: &str| text.split("::").map(str::to_owned).collect();
        is_allowed(&Use { from: path(from), to: path(to) })
    };
    assert!(used("net::connection", "wire::frame::parse_prefix"));
    assert!(!used("net::connection", "wire::Request"));
    assert!(used("config::checked", "engine::files::Choice"));
    assert!(!used("config::checked", "engine::helper"));
    assert!(!used("engine::files::disk", "engine::helper"));
    assert!(used("engine::helper", "engine::files::Disk"));
    assert!(used("wire::json", "base::limits") && used("wire::json", "wire::text"));
    assert!(!used("log::scan", "store") && !used("log::scan", "*") && !used("log::scan", ""));
    assert!(used("serve::run", "log::scan") && used("main", "client::send"));
}

/// A module and a path that it names, both from the crate's root.
struct Use {
    from: Vec<String>,
    to: Vec<String>,
}

fn told(used: Use) -> String {
    format!("{} -> {}", used.from.join("::"), used.to.join("::"))
}

fn is_allowed(used: &Use) -> bool {
    let (room, permissions) = row_of(&used.from);
    let is_open = |part: &&str| *part == "*" || starts(&used.to, part);
    ["base", room].iter().chain(permissions).any(is_open)
}

/// The row of the map that a module belongs to: the longest that names it. What belongs
/// to none, `lib.rs` and `main.rs`, puts all together.
fn row_of(module: &[String]) -> (&'static str, &'static [&'static str]) {
    let rows = MAP.into_iter().filter(|(room, _)| starts(module, room));
    rows.max_by_key(|(room, _)| room.len()).unwrap_or(("*", EVERYTHING))
}

fn starts(path: &[String], with: &str) -> bool {
    let mut parts = path.iter();
    with.split("::").all(|part| parts.next().is_some_and(|own| own == part))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources() -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![root()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 100, "all of src is seen");
    files
}

/// The module that a file is: its path, without `mod.rs` and `lib.rs`.
fn module_of(file: &Path) -> Vec<String> {
    let path = file.strip_prefix(root()).unwrap().with_extension("");
    let parts = path.iter().map(|part| part.to_str().unwrap().to_owned());
    parts.filter(|part| part != "mod" && part != "lib").collect()
}

fn all_uses() -> impl Iterator<Item = Use> {
    sources().into_iter().flat_map(|file| {
        let (from, text) = (module_of(&file), fs::read_to_string(&file).unwrap());
        let paths = paths(&from, &text);
        paths.into_iter().map(move |to| Use { from: from.clone(), to })
    })
}

/// All paths that begin with `crate`, `self` or `super`, resolved from the module on.
fn paths(module: &[String], text: &str) -> Vec<Vec<String>> {
    let tokens = tokens(text);
    let token = |at: usize| tokens.get(at).copied().unwrap_or_default();
    let mut here = module.to_vec();
    // For each open brace, whether it is that of a module.
    let mut braces = Vec::new();
    let (mut found, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let begins = at == 0 || token(at - 1) != "::";
        match token(at) {
            "crate" if begins && token(at + 1) == "::" => {
                at = expand(&tokens, at + 2, Vec::new(), &mut found);
                continue;
            }
            "self" | "super" if begins && token(at + 1) == "::" => {
                at = expand(&tokens, at, here.clone(), &mut found);
                continue;
            }
            "{" => {
                let is_module = at >= 2 && token(at - 2) == "mod";
                if is_module {
                    here.push(token(at - 1).to_owned());
                }
                braces.push(is_module);
            }
            "}" if braces.pop() == Some(true) => _ = here.pop(),
            _ => {}
        }
        at += 1;
    }
    found
}

/// Reads a path from `at` on, with all that stands in its braces, and returns what
/// follows it.
fn expand(
    tokens: &[&str],
    mut at: usize,
    mut path: Vec<String>,
    found: &mut Vec<Vec<String>>,
) -> usize {
    loop {
        match tokens.get(at).copied().unwrap_or_default() {
            "{" => {
                at += 1;
                while !matches!(tokens.get(at).copied(), None | Some("}")) {
                    at = expand(tokens, at, path.clone(), found);
                    // A new name, `as this`, and the comma.
                    while !matches!(tokens.get(at).copied(), None | Some("}" | ",")) {
                        at += 1;
                    }
                    at += usize::from(tokens.get(at) == Some(&","));
                }
                return at + 1;
            }
            "super" => _ = path.pop(),
            "self" => {}
            name if name == "*" || is_name(name) => path.push(name.to_owned()),
            _ => {
                found.push(path);
                return at;
            }
        }
        at += 1;
        if tokens.get(at) != Some(&"::") {
            found.push(path);
            return at;
        }
        at += 1;
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Names, `::` and single signs; no comments, texts, characters and lifetimes.
fn tokens(text: &str) -> Vec<&str> {
    let (mut rest, mut tokens) = (text, Vec::new());
    while let Some(first) = rest.chars().next() {
        let len = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => comment_len(rest),
            '"' => text_len(rest),
            '\'' => quote_len(rest),
            ':' if rest.starts_with("::") => {
                tokens.push("::");
                2
            }
            _ if is_name(rest) => {
                let ends = |c: char| !c.is_alphanumeric() && c != '_';
                let len = rest.find(ends).unwrap_or(rest.len());
                match raw_text_len(rest, len) {
                    Some(len) => len,
                    None => {
                        tokens.push(&rest[..len]);
                        len
                    }
                }
            }
            _ => {
                let len = first.len_utf8();
                if !first.is_whitespace() {
                    tokens.push(&rest[..len]);
                }
                len
            }
        };
        rest = &rest[len..];
    }
    tokens
}

/// Comments nest.
fn comment_len(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        let rest = &text[at..];
        at += match rest {
            _ if rest.starts_with("/*") => {
                depth += 1;
                2
            }
            _ if rest.starts_with("*/") => {
                depth -= 1;
                2
            }
            _ => rest.chars().next().map_or(0, char::len_utf8),
        };
        if depth == 0 || at == text.len() {
            return at;
        }
    }
}

fn text_len(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            b'"' if !is_escaped => return at + 1,
            _ => is_escaped = byte == b'\\' && !is_escaped,
        }
    }
    text.len()
}

/// A character with its quotes, or the quote of a lifetime.
fn quote_len(text: &str) -> usize {
    let mut inside = text[1..].char_indices();
    match inside.next() {
        Some((_, '\\')) => {
            inside.next();
            inside.find(|(_, c)| *c == '\'').map_or(1, |(at, _)| at + 2)
        }
        Some((_, c)) if text[1 + c.len_utf8()..].starts_with('\'') => 2 + c.len_utf8(),
        _ => 1,
    }
}

/// The length of a raw text, if the name that `text` begins with is its prefix.
fn raw_text_len(text: &str, name: usize) -> Option<usize> {
    let after = &text[name..];
    let hashes = after.len() - after.trim_start_matches('#').len();
    let is_raw = matches!(&text[..name], "r" | "br" | "cr") && after[hashes..].starts_with('"');
    if !is_raw {
        return None;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let inside = name + hashes + 1;
    text[inside..].find(&end).map(|at| inside + at + end.len())
}
