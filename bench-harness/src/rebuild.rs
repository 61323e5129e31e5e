//! `report`: what people read is made again from what was measured.

use crate::results::{self, Folder};
use crate::{compare, matrix, transfer};
use clap::Args;
use serde_json::Value;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// A run's folder: its summary.md and plots are made from its raw data alone
    #[arg(required_unless_present = "index")]
    pub dir: Option<PathBuf>,
    /// Write the list of all folders into the README beside them
    #[arg(long)]
    pub index: bool,
    /// Where all folders are
    #[arg(long, default_value = "results")]
    pub results: PathBuf,
    /// Write the performance section, between its two markers, into this README
    #[arg(long, value_name = "FILE", requires = "dir")]
    pub readme: Option<PathBuf>,
}

impl ReportArgs {
    pub fn run(&self) -> io::Result<()> {
        if let Some(dir) = &self.dir {
            self.rebuild(&Folder::open(dir))?;
        }
        if self.index {
            results::index(&self.results)?;
        }
        Ok(())
    }

    fn rebuild(&self, folder: &Folder) -> io::Result<()> {
        let kind = kind_of(folder)?;
        let summary = match kind.as_str() {
            compare::KIND => compare::rebuild(folder)?,
            matrix::KIND => matrix::rebuild(folder)?,
            transfer::KIND => transfer::rebuild(folder)?,
            _ => {
                return Err(io::Error::other(format!("`{kind}`: no report is made of such a run")));
            }
        };
        println!("{summary}");
        if let Some(path) = &self.readme {
            if kind != compare::KIND {
                let why = format!("`{kind}`: the README's section is made of a `compare` alone");
                return Err(io::Error::other(why));
            }
            let link = link_from(path, folder.dir())?;
            let text = fs::read_to_string(path)?;
            let section = compare::headline(folder, &link)?;
            fs::write(path, results::replace_section(&text, &section, &link)?)?;
        }
        Ok(())
    }
}

fn kind_of(folder: &Folder) -> io::Result<String> {
    if !folder.dir().join("run.json").exists() {
        let dir = folder.dir().display();
        let why = format!(
            "{dir} has no run.json: if it is one of `table3`, its summary is made by \
             `table3 --summarize {dir}`"
        );
        return Err(io::Error::new(io::ErrorKind::NotFound, why));
    }
    let run: Value = serde_json::from_str(&folder.read("run.json")?)?;
    Ok(run.get("kind").and_then(Value::as_str).unwrap_or("unknown").to_string())
}

/// How a file links to a folder below its own.
fn link_from(file: &Path, dir: &Path) -> io::Result<String> {
    let (file, dir) = (fs::canonicalize(file)?, fs::canonicalize(dir)?);
    let here = file.parent().unwrap_or(Path::new("/"));
    match dir.strip_prefix(here) {
        Ok(below) => Ok(below.display().to_string()),
        Err(_) => {
            let why = format!("{} is not below {}", dir.display(), here.display());
            Err(io::Error::other(why))
        }
    }
}
