//! The profile: what was measured, and where it holds. A file beside the data, replaced as
//! a whole.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cell::Heat;
use super::host::Host;
use super::writes::WriteKind;
use crate::base::limits::PROFILE_BYTES_MAX;
use crate::base::transfer::Transfer;
use crate::engine::files::{FileError, small};

/// Its name in a data directory.
pub const PROFILE_FILE: &str = "profile.json";
/// What this version writes and reads.
const FORMAT: u64 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    format: u64,
    /// The version that measured.
    ringmq: String,
    pub host: Host,
    pub transfers: Vec<TransferFigure>,
    pub writes: Vec<WriteFigure>,
}

/// A way of moving pieces of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransferFigure {
    #[serde(with = "by_name")]
    pub strategy: Transfer,
    pub heat: Heat,
    pub bytes: u32,
    pub bytes_per_second: u64,
    /// Picoseconds of the sending thread and the kernel's workers.
    pub cpu_ps_per_byte: u64,
    pub calls_per_gigabyte: u64,
}

/// A way of writing blocks of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteFigure {
    pub kind: WriteKind,
    pub bytes: u32,
    pub depth: u32,
    pub bytes_per_second: u64,
    /// The median of single writes.
    pub typical_ns: u64,
    /// The kernel hands such a write to a worker of its own.
    pub punted: bool,
}

/// Why a profile is not used.
#[derive(Debug)]
pub enum Ignored {
    Missing,
    Unreadable(io::Error),
    Damaged(String),
    Format { found: u64 },
    Elsewhere { what: &'static str, there: String, here: String },
}

impl Profile {
    pub fn new(host: Host, transfers: Vec<TransferFigure>, writes: Vec<WriteFigure>) -> Self {
        let ringmq = env!("CARGO_PKG_VERSION").to_owned();
        Self { format: FORMAT, ringmq, host, transfers, writes }
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a profile is plain data") + "\n"
    }

    /// Puts it into a directory, in place of an older one.
    pub fn store(&self, directory: &Path) -> Result<(), FileError> {
        small::replace(&directory.join(PROFILE_FILE), self.to_json().as_bytes())
    }

    /// The profile of a directory, if it was measured `here`.
    pub fn load(directory: &Path, here: &Host) -> Result<Self, Ignored> {
        let bytes = match read(&directory.join(PROFILE_FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Ignored::Missing),
            Err(error) => return Err(Ignored::Unreadable(error)),
            Ok(bytes) => bytes,
        };
        let profile = Self::parse(&bytes)?;
        if let Some((what, there, here)) = profile.host.difference(here) {
            let (there, here) = (there.to_owned(), here.to_owned());
            return Err(Ignored::Elsewhere { what, there, here });
        }
        Ok(profile)
    }

    fn parse(bytes: &[u8]) -> Result<Self, Ignored> {
        if bytes.len() > PROFILE_BYTES_MAX {
            return Err(Ignored::Damaged(format!("it is longer than {PROFILE_BYTES_MAX} bytes")));
        }
        let damaged = |error: serde_json::Error| Ignored::Damaged(error.to_string());
        let value: Value = serde_json::from_slice(bytes).map_err(damaged)?;
        match value.get("format").and_then(Value::as_u64) {
            Some(FORMAT) => {}
            Some(found) => return Err(Ignored::Format { found }),
            None => return Err(Ignored::Damaged("it tells no format".to_owned())),
        }
        let profile: Self = serde_json::from_value(value).map_err(damaged)?;
        let is_sound = profile.transfers.iter().all(|figure| figure.bytes_per_second > 0)
            && profile.writes.iter().all(|figure| figure.typical_ns > 0);
        match is_sound {
            true => Ok(profile),
            false => Err(Ignored::Damaged("a figure in it is zero".to_owned())),
        }
    }
}

/// One byte more than there may be tells that there are too many.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(PROFILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(f, "there is none"),
            Self::Unreadable(error) => write!(f, "it cannot be read: {error}"),
            Self::Damaged(why) => write!(f, "it is damaged: {why}"),
            Self::Format { found } => {
                write!(f, "it has format {found}, and this ringmq reads format {FORMAT}")
            }
            Self::Elsewhere { what, there, here } => {
                write!(f, "it was measured with another {what}: {there}, and here it is {here}")
            }
        }
    }
}

impl std::error::Error for Ignored {}

/// Strategies by the names that operators use.
mod by_name {
    use super::Transfer;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(transfer: &Transfer, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(transfer.name())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Transfer, D::Error> {
        let name = String::deserialize(from)?;
        let found = Transfer::ALL.into_iter().find(|transfer| transfer.name() == name);
        found.ok_or_else(|| D::Error::custom(format!("{name:?} is no strategy")))
    }
}
