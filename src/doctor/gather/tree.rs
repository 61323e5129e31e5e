//! Files of the kernel, below some root.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nix::unistd::{AccessFlags, access};

use super::super::facts::{Fact, Unknown};
use crate::config::cpu_list;

/// The parent of all kernel threads.
const KERNEL_THREADS: &str = "kthreadd";

/// Paths are given without the leading slash, and told with it.
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    pub fn new(root: &Path) -> Self {
        // Links are resolved to where they lead, which must be seen to lie below.
        Self { root: root.canonicalize().unwrap_or_else(|_| root.to_owned()) }
    }

    pub fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A file's text without what surrounds it.
    pub fn text(&self, path: impl AsRef<Path>) -> Fact<String> {
        let path = path.as_ref();
        match fs::read_to_string(self.at(path)) {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(error) => Err(Unknown(format!("cannot read {}: {error}", shown(path)))),
        }
    }

    pub fn number<T: FromStr>(&self, path: impl AsRef<Path>) -> Fact<T> {
        let path = path.as_ref();
        self.text(path)?.parse().map_err(|_| self.odd(path))
    }

    /// `None` where there is no such file.
    pub fn optional<T: FromStr>(&self, path: impl AsRef<Path>) -> Fact<Option<T>> {
        let path = path.as_ref();
        match self.has(path)? {
            true => self.number(path).map(Some),
            false => Ok(None),
        }
    }

    pub fn has(&self, path: impl AsRef<Path>) -> Fact<bool> {
        let path = path.as_ref();
        let there = self.at(path).try_exists();
        there.map_err(|error| Unknown(format!("cannot look for {}: {error}", shown(path))))
    }

    /// The word in brackets of `one [two] three`, or the only word.
    pub fn chosen(&self, path: impl AsRef<Path>) -> Fact<String> {
        let path = path.as_ref();
        let text = self.text(path)?;
        let word = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
        match word {
            Some((word, _)) => Ok(word.to_owned()),
            None if !text.is_empty() && !text.contains(char::is_whitespace) => Ok(text),
            None => Err(self.odd(path)),
        }
    }

    pub fn cpus(&self, path: impl AsRef<Path>) -> Fact<Vec<usize>> {
        let path = path.as_ref();
        cpu_list(&self.text(path)?).map_err(|_| self.odd(path))
    }

    /// The names in a folder, in order.
    pub fn names(&self, path: impl AsRef<Path>) -> Fact<Vec<String>> {
        let path = path.as_ref();
        let cannot = |error| Unknown(format!("cannot list {}: {error}", shown(path)));
        let mut names = Vec::new();
        for entry in fs::read_dir(self.at(path)).map_err(cannot)? {
            names.push(entry.map_err(cannot)?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    /// Where a link leads, as a path of this tree; `None` where nothing is.
    pub fn resolved(&self, path: impl AsRef<Path>) -> Option<PathBuf> {
        let real = self.at(path).canonicalize().ok()?;
        real.strip_prefix(&self.root).ok().map(Path::to_owned)
    }

    /// Whether this process may make files in a folder.
    pub fn is_writable(&self, path: impl AsRef<Path>) -> bool {
        access(&self.at(path), AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
    }

    /// Bytes of a file, 0 where there is none.
    pub fn len(&self, path: impl AsRef<Path>) -> u64 {
        fs::metadata(self.at(path)).map_or(0, |found| found.len())
    }

    /// The names of all processes and kernel threads; unknown in a container, or where
    /// those of others are hidden.
    pub fn commands(&self) -> Fact<Vec<String>> {
        let ids = self.names("proc")?;
        let ids = ids.iter().filter(|id| id.bytes().all(|digit| digit.is_ascii_digit()));
        // Who has ended meanwhile has no name any more.
        let names = ids.filter_map(|id| self.text(format!("proc/{id}/comm")).ok());
        let names: Vec<_> = names.collect();
        match names.iter().any(|name| name == KERNEL_THREADS) {
            true => Ok(names),
            false => Err(Unknown("/proc shows no kernel threads to this process".to_owned())),
        }
    }

    /// `Key: 123 kB` of `proc/meminfo`, in bytes.
    pub fn meminfo(&self, key: &str) -> Fact<u64> {
        const PATH: &str = "proc/meminfo";
        let text = self.text(PATH)?;
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        kib.and_then(|kib| kib.checked_mul(1024)).ok_or_else(|| self.odd(PATH))
    }

    /// What is said of a file that is not as the kernel writes it.
    pub fn odd(&self, path: impl AsRef<Path>) -> Unknown {
        Unknown(format!("{} is not as expected", shown(path.as_ref())))
    }
}

fn shown(path: &Path) -> String {
    Path::new("/").join(path).display().to_string()
}
