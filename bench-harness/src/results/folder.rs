//! One run's folder.

use serde::Serialize;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder in `results/`, or anywhere else.
#[derive(Clone, Debug)]
pub struct Folder {
    dir: PathBuf,
}

impl Folder {
    /// A new one, named by day and subject, numbered where the day already has one.
    pub fn create(parent: &Path, subject: &str) -> io::Result<Folder> {
        let date = Command::new("date").args(["-u", "+%F"]).output()?;
        let date = String::from_utf8_lossy(&date.stdout).trim().to_string();
        let name = |n: usize| match n {
            1 => format!("{date}-{subject}"),
            n => format!("{date}-{subject}-{n}"),
        };
        let free = (1..).map(|n| parent.join(name(n))).find(|dir| !dir.exists());
        let dir = free.expect("numbers do not end");
        fs::create_dir_all(dir.join("raw"))?;
        Ok(Folder { dir })
    }

    /// One that was made before.
    pub fn open(dir: &Path) -> Folder {
        Folder { dir: dir.to_path_buf() }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What it is called among others.
    pub fn name(&self) -> String {
        let whole = fs::canonicalize(&self.dir).unwrap_or_else(|_| self.dir.clone());
        whole.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The file of one measurement.
    pub fn raw(&self, name: &str) -> PathBuf {
        self.dir.join("raw").join(format!("{name}.json"))
    }

    /// Why a measurement has none.
    pub fn failed(&self, name: &str) -> PathBuf {
        self.dir.join("raw").join(format!("{name}.failed"))
    }

    pub fn read(&self, name: &str) -> io::Result<String> {
        let path = self.dir.join(name);
        fs::read_to_string(&path)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }

    /// `reasons.toml`, if there is one: why a figure is as it is, in words of people.
    pub fn reasons(&self) -> io::Result<toml::Table> {
        match self.read("reasons.toml") {
            Ok(text) => text.parse().map_err(|error| {
                io::Error::new(io::ErrorKind::InvalidData, format!("reasons.toml: {error}"))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(toml::Table::new()),
            Err(error) => Err(error),
        }
    }

    pub fn write_text(&self, name: &str, text: &str) -> io::Result<()> {
        fs::write(self.dir.join(name), format!("{}\n", text.trim_end()))
    }

    pub fn write_json(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        self.write_text(name, &serde_json::to_string_pretty(value)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_of_a_day_has_a_folder_of_its_own() {
        let parent = tempfile::tempdir().unwrap();
        let first = Folder::create(parent.path(), "compare").unwrap();
        let second = Folder::create(parent.path(), "compare").unwrap();
        assert!(first.name().ends_with("-compare"), "{}", first.name());
        assert_eq!(second.name(), format!("{}-2", first.name()));
        assert!(second.raw("a.b.1").parent().unwrap().is_dir());
    }
}
