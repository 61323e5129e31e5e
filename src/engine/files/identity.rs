//! What was decided when a data directory was made, and stays.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::{DirectoryError, FileError, Tried};
use super::small;
use crate::base::limits::{
    SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SEGMENT_SPACE_DIVISOR,
};

/// The layout that this version reads and writes.
pub const FORMAT: u64 = 1;

/// The content of the file `identity`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    format: u64,
    /// Told apart from all other directories, and from a copy's original by nothing.
    #[serde(with = "id_text")]
    pub id: [u8; 16],
    pub cluster: String,
    pub broker_name: String,
    pub shards: u16,
    pub segment_bytes: u64,
}

/// A setting, and whether somebody asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice<T> {
    Given(T),
    Default(T),
}

/// What a start asks of its directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub cluster: Choice<String>,
    pub broker_name: Choice<String>,
    pub shards: Choice<u16>,
    /// `None`: 256 MiB, or less where space is short.
    pub segment_bytes: Option<u64>,
}

impl<T> Choice<T> {
    pub fn value(&self) -> &T {
        match self {
            Self::Given(value) | Self::Default(value) => value,
        }
    }

    pub fn is_given(&self) -> bool {
        matches!(self, Self::Given(_))
    }

    pub fn given(&self) -> Option<&T> {
        match self {
            Self::Given(value) => Some(value),
            Self::Default(_) => None,
        }
    }
}

impl Identity {
    /// The identity of a new directory on a file system with `available` free bytes.
    pub fn new(path: &Path, wanted: &Wanted, available: u64) -> Result<Self, DirectoryError> {
        let shards = *wanted.shards.value();
        Ok(Self {
            format: FORMAT,
            id: random_id()?,
            cluster: wanted.cluster.value().clone(),
            broker_name: wanted.broker_name.value().clone(),
            shards,
            segment_bytes: segment_bytes(path, wanted.segment_bytes, available, shards)?,
        })
    }

    /// The identity that `path` holds; `None` where there is no file.
    pub fn load(path: &Path) -> Result<Option<Self>, DirectoryError> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            // Bytes that are no text are damage, not a refusal of the system.
            Err(error) if error.kind() == ErrorKind::InvalidData => String::new(),
            result => result.tried("read", path)?,
        };
        let damaged = |why: &str| DirectoryError::Damaged { path: path.into(), why: why.into() };
        // The version first: another one may have another checksum and other fields.
        let found = text.lines().find_map(|line| line.strip_prefix("format = "));
        let found = found.and_then(|value| value.trim().parse().ok());
        if let Some(found) = found.filter(|found| *found != FORMAT) {
            return Err(DirectoryError::OtherVersion { path: path.into(), found, ours: FORMAT });
        }
        let content = small::without_checksum(&text)
            .ok_or_else(|| damaged("the checksum does not match the content"))?;
        toml::from_str(content).map(Some).map_err(|error| damaged(error.message()))
    }

    /// Makes the identity durable.
    pub fn store(&self, path: &Path) -> Result<(), FileError> {
        let fields = toml::to_string(self).expect("plain fields always have a TOML form");
        let text = format!("# A data directory of ringmq. Nothing here may be edited.\n{fields}");
        small::replace(path, small::with_checksum(&text).as_bytes())
    }

    /// Whether a start that asks for `wanted` may use the directory `path`.
    pub fn check(&self, path: &Path, wanted: &Wanted) -> Result<(), DirectoryError> {
        let differs = |flag, kept: &dyn ToString, given: &dyn ToString| {
            let (kept, given) = (kept.to_string(), given.to_string());
            Err(DirectoryError::Differs { path: path.into(), flag, kept, given })
        };
        match wanted {
            Wanted { cluster: Choice::Given(given), .. } if *given != self.cluster => {
                differs("cluster", &self.cluster, given)
            }
            Wanted { broker_name: Choice::Given(given), .. } if *given != self.broker_name => {
                differs("broker-name", &self.broker_name, given)
            }
            Wanted { shards: Choice::Given(given), .. } if *given != self.shards => {
                differs("shards", &self.shards, given)
            }
            Wanted { segment_bytes: Some(given), .. } if *given != self.segment_bytes => {
                differs("segment-size", &self.segment_bytes, given)
            }
            _ => Ok(()),
        }
    }
}

/// The size of a new directory's segments: a power of two, at most a small part of
/// the free space, so that the ready ones and the active one never eat it up.
fn segment_bytes(
    path: &Path,
    given: Option<u64>,
    available: u64,
    shards: u16,
) -> Result<u64, DirectoryError> {
    let share = SEGMENT_SPACE_DIVISOR * u64::from(shards);
    let most = available / share;
    if most < SEGMENT_BYTES_MIN {
        let needed = SEGMENT_BYTES_MIN * share;
        return Err(DirectoryError::TooSmall { path: path.into(), available, needed });
    }
    let Some(given) = given else {
        let fitting = 1 << most.ilog2();
        return Ok(SEGMENT_BYTES_DEFAULT.min(fitting));
    };
    let refuse = |rule| Err(DirectoryError::SegmentSize { given, rule });
    if !given.is_power_of_two() || !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&given) {
        return refuse("it must be a power of two from 16MiB to 1GiB".to_owned());
    }
    if given > most {
        return refuse(format!(
            "it may be at most the free space divided by {SEGMENT_SPACE_DIVISOR} and by the \
             shards, {most} bytes here; give less, or leave the flag out"
        ));
    }
    Ok(given)
}

/// What the arena of a directory's shard is called, wherever it lies.
pub fn arena_name(directory: &[u8; 16], shard: u16) -> String {
    format!("ringmq-{}-{shard}", small::hex(directory))
}

/// Sixteen bytes that no other directory or arena has.
pub fn random_id() -> Result<[u8; 16], FileError> {
    let source = Path::new("/dev/urandom");
    let mut id = [0; 16];
    let read = File::open(source).and_then(|mut file| file.read_exact(&mut id));
    read.tried("read", source)?;
    Ok(id)
}

/// Ids as hex in text files.
mod id_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::small;

    pub fn serialize<S: Serializer>(id: &[u8; 16], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&small::hex(id))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 16], D::Error> {
        let text = String::deserialize(deserializer)?;
        small::unhex(&text).ok_or_else(|| D::Error::custom("an id has 32 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn segments_shrink_with_the_free_space_and_an_explicit_size_does_not() {
        let size = |given, available, shards| {
            segment_bytes(Path::new("d"), given, available, shards).map_err(|e| e.to_string())
        };
        assert_eq!(size(None, 100_000 * MIB, 2), Ok(256 * MIB));
        assert_eq!(size(None, 256 * 64 * MIB, 2), Ok(256 * MIB));
        assert_eq!(size(None, 256 * 64 * MIB - 1, 2), Ok(128 * MIB));
        assert_eq!(size(None, 16 * 64 * MIB, 2), Ok(16 * MIB));
        assert!(size(None, 16 * 64 * MIB - 1, 2).unwrap_err().contains("free"));
        assert_eq!(size(Some(1024 * MIB), 100_000 * MIB, 2), Ok(1024 * MIB));
        assert!(size(Some(1024 * MIB), 10_000 * MIB, 2).unwrap_err().contains("at most"));
        for bad in [8 * MIB, 48 * MIB, 2048 * MIB, 0] {
            assert!(size(Some(bad), 1_000_000 * MIB, 1).unwrap_err().contains("power of two"));
        }
    }
}
