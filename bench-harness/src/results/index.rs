//! `results/README.md`: the list of all folders between two comments, below
//! words that people wrote.

use super::Folder;
use serde_json::Value;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

const BEGIN: &str = "<!-- index: begin (made by `ringmq-bench report --index`) -->";
const END: &str = "<!-- index: end -->";

/// Writes the list of the folders in `parent` into its README.
pub fn index(parent: &Path) -> io::Result<()> {
    let path = parent.join("README.md");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => "# Results\n".into(),
        Err(error) => return Err(error),
    };
    fs::write(&path, with_list(&text, &list(parent)?))
}

/// A missing pair of markers is put at the end.
fn with_list(text: &str, list: &str) -> String {
    let list = format!("{BEGIN}\n\n{}\n\n{END}", list.trim_end());
    match text.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)))
    {
        Some((before, after)) => format!("{before}{list}{after}"),
        None => format!("{}\n\n{list}\n", text.trim_end()),
    }
}

fn list(parent: &Path) -> io::Result<String> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(Folder::open(&entry.path()));
        }
    }
    folders.sort_by_key(Folder::name);
    let mut text = String::from("| folder | what it is | commit | kernel | plots |\n");
    text.push_str("|---|---|---|---|---|\n");
    for folder in folders {
        text.push_str(&line(&folder)?);
    }
    Ok(text)
}

fn line(folder: &Folder) -> io::Result<String> {
    let json = |name: &str| -> Value {
        let text = folder.read(name).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    };
    let host = json("host.json");
    let word = |at: &str| host.pointer(at).and_then(Value::as_str).unwrap_or("–").to_string();
    let commit: String = word("/commit/hash").chars().take(12).collect();
    let kernel = match host.get("kernel") {
        Some(kernel) => kernel.as_str().unwrap_or("–").to_string(),
        None => word("/host/kernel"),
    };
    let name = folder.name();
    let mut line = format!("| [{name}]({name}/{}) | {} ", entrance(folder), subject(folder));
    write!(line, "| {commit} | {kernel} | {} |", plots(folder)?)
        .expect("a String takes everything");
    line.push('\n');
    Ok(line)
}

/// What to read first.
fn entrance(folder: &Folder) -> &'static str {
    let there = |name: &&&str| folder.dir().join(name).exists();
    ["summary.md", "README.md", "report.json"].iter().find(there).copied().unwrap_or("")
}

/// The summary's heading, or the folder's name without its date.
fn subject(folder: &Folder) -> String {
    let summary = folder.read("summary.md").unwrap_or_default();
    let heading = summary.lines().find_map(|line| line.strip_prefix("# "));
    let name = folder.name();
    let is_date = |c: char| c.is_ascii_digit() || c == '-';
    heading.unwrap_or(name.trim_start_matches(is_date)).replace('|', "\\|")
}

fn plots(folder: &Folder) -> io::Result<String> {
    let dir = folder.dir().join("plots");
    if !dir.is_dir() {
        return Ok("–".into());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".svg").map(str::to_string));
    }
    names.sort();
    let link = |name: &String| format!("[{name}]({}/plots/{name}.svg)", folder.name());
    Ok(names.iter().map(link).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(dir: &Path, name: &str, text: &str) {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn every_folder_is_listed_whatever_made_it_and_words_stay() {
        let parent = tempfile::tempdir().unwrap();
        let parent = parent.path();
        put(parent, "README.md", "# Results\n\nHow to read them.\n");
        put(parent, "2026-01-02-compare/summary.md", "# ringmq | Kafka\n\nmore\n");
        put(parent, "2026-01-02-compare/plots/throughput.svg", "");
        put(
            parent,
            "2026-01-02-compare/host.json",
            r#"{"host":{"kernel":"6.18"},"commit":{"hash":"0123456789abcdef"}}"#,
        );
        put(parent, "2026-01-01-kill-9/report.json", "{}");
        put(parent, "2026-01-01-broker-vs-apache/host.json", r#"{"kernel":"6.1"}"#);
        index(parent).unwrap();
        let text = fs::read_to_string(parent.join("README.md")).unwrap();
        assert!(text.starts_with("# Results\n\nHow to read them.\n\n<!-- index: begin"), "{text}");
        for line in [
            "| [2026-01-01-broker-vs-apache](2026-01-01-broker-vs-apache/) | broker-vs-apache | – | 6.1 | – |",
            "| [2026-01-01-kill-9](2026-01-01-kill-9/report.json) | kill-9 | – | – | – |",
            "| [2026-01-02-compare](2026-01-02-compare/summary.md) | ringmq \\| Kafka | 0123456789ab | 6.18 \
             | [throughput](2026-01-02-compare/plots/throughput.svg) |",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        index(parent).unwrap();
        assert_eq!(fs::read_to_string(parent.join("README.md")).unwrap(), text, "made twice");
    }
}
