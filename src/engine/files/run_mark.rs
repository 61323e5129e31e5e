//! The run mark of a shard: durable before a life's first ack, so that the next start
//! knows whether acknowledged bytes may lie in an arena only.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::{DirectoryError, FileError, Tried};
use super::identity::id_text;
use super::small;

/// The content of the file `run-mark`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunMark {
    /// One more at each start.
    pub life: u64,
    /// Whether the life ended with everything written and flushed.
    pub clean: bool,
    #[serde(with = "id_text")]
    pub boot_id: [u8; 16],
    /// Where the life's arena lies; its header repeats directory, life and boot.
    /// `None`: there was no shared arena, so nothing was acknowledged before it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arena: Option<String>,
    /// Where the log ended, of a clean life.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_end: Option<u64>,
}

impl RunMark {
    /// `None`: the shard has never run.
    pub fn load(path: &Path) -> Result<Option<Self>, DirectoryError> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == ErrorKind::InvalidData => String::new(),
            result => result.tried("read", path)?,
        };
        let damaged = |why: String| DirectoryError::Damaged { path: path.into(), why };
        let content = small::without_checksum(&text)
            .ok_or_else(|| damaged("the checksum does not match the content".to_owned()))?;
        let mark = toml::from_str(content).map_err(|error| damaged(error.message().to_owned()))?;
        Ok(Some(mark))
    }

    /// Durable when it returns.
    pub fn store(&self, path: &Path) -> Result<(), FileError> {
        let text = toml::to_string(self).expect("plain fields always have a TOML form");
        small::replace(path, small::with_checksum(&text).as_bytes())
    }
}
