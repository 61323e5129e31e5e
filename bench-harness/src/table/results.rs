//! The figures of one comparison with Apache, and the folder they come from.

use super::rows::Subject;
use crate::results::{Figures, Folder, median};
use std::io;
use std::path::Path;

/// Everything measured so far.
pub struct Results {
    pub folder: Folder,
    pub measured: Vec<Measured>,
    pub failed: Vec<(&'static str, Subject, String)>,
    /// Memory right after the start, in MiB.
    pub fresh: Vec<(String, u64)>,
}

/// One file of raw results.
#[derive(Clone, Debug)]
pub struct Measured {
    pub row: &'static str,
    pub subject: Subject,
    pub figures: Figures,
}

impl Results {
    pub fn create(parent: &Path) -> io::Result<Results> {
        Ok(Results::of(Folder::create(parent, "broker-vs-apache")?))
    }

    pub fn of(folder: Folder) -> Results {
        Results { folder, measured: Vec::new(), failed: Vec::new(), fresh: Vec::new() }
    }

    pub fn read(&mut self, row: &'static str, subject: Subject, file: &Path) -> io::Result<()> {
        self.measured.push(Measured { row, subject, figures: Figures::read(file)? });
        Ok(())
    }

    pub fn fail(&mut self, row: &'static str, subject: Subject, why: String) {
        self.failed.push((row, subject, why));
    }

    /// The median over the rounds of one figure.
    pub fn median(
        &self,
        row: &str,
        subject: Subject,
        figure: impl Fn(&Figures) -> Option<f64>,
    ) -> Option<f64> {
        let of = |m: &&Measured| m.row == row && m.subject == subject;
        let measured = self.measured.iter().filter(of);
        median(measured.filter_map(|m| figure(&m.figures)).collect())
    }
}
