//! Next offsets of queues whose entries may all have expired.
//!
//! A queue's next offset stands in the log and in the directories of its runs; when the
//! last of these expires, it would be gone, and the queue would begin at 0 again, below
//! what its consumers have committed. So before a run's file is unlinked, a helper folds
//! its directory into this table, from files alone, and replaces the table's file. The
//! shard's thread does nothing for it.

use std::io::{self, Write};

use super::file::{POSITION_MAX, ReadAt, check_magic, crc, u32_at, u64_at};
use super::format::{Directory, Header};
use super::{IndexError, QueueKey, TopicId};
use crate::base::QueueOffset;

/// The table, as a helper holds it between reading and replacing its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bases {
    /// Ascending by key, each once.
    rows: Vec<(QueueKey, QueueOffset)>,
}

const MAGIC: [u8; 8] = *b"RMQIBASE";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;
const ROW_BYTES: usize = 16;

impl Bases {
    pub fn read(file: &(impl ReadAt + ?Sized)) -> Result<Self, IndexError> {
        let len = file.file_bytes()?;
        let damaged = |position| IndexError::Damaged { part: "bases", position };
        let mut header = [0; HEADER_BYTES];
        if len < (HEADER_BYTES + 4) as u64 {
            return Err(damaged(0));
        }
        file.read_exact_at(&mut header, 0)?;
        check_magic(&header, MAGIC, VERSION)?;
        let count = u64::from(u32_at(&header, 12));
        if HEADER_BYTES as u64 + count * ROW_BYTES as u64 + 4 != len {
            return Err(damaged(12));
        }
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, 0)?;
        let (content, sum) = bytes.split_at(bytes.len() - 4);
        if u32_at(sum, 0) != crc(content) {
            return Err(damaged(len - 4));
        }
        let rows: Vec<_> = content[HEADER_BYTES..].chunks_exact(ROW_BYTES).map(parse_row).collect();
        let ascending = rows.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let in_range = rows.iter().all(|(_, next)| next.0 <= POSITION_MAX);
        if ascending && in_range { Ok(Self { rows }) } else { Err(damaged(HEADER_BYTES as u64)) }
    }

    /// Takes in where each queue stood at the end of a run.
    pub fn fold(&mut self, run: &(impl ReadAt + ?Sized)) -> Result<(), IndexError> {
        let header = Header::load(run)?;
        let mut ends = Vec::new();
        Directory::load(run, &header, |key, first, count| {
            ends.push((key, first + u64::from(count)));
            Ok(())
        })?;
        self.raise(ends);
        Ok(())
    }

    /// Takes in where queues go on; of several places the highest counts.
    pub fn raise(&mut self, nexts: impl IntoIterator<Item = (QueueKey, QueueOffset)>) {
        self.rows.extend(nexts);
        // The highest offset of each key first, then only that.
        self.rows.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        self.rows.dedup_by_key(|row| row.0);
    }

    /// Forgets topics that are no more.
    pub fn retain(&mut self, keep: impl Fn(TopicId) -> bool) {
        self.rows.retain(|(key, _)| keep(key.topic));
    }

    pub fn write_to(&self, mut out: impl Write) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.rows.len() * ROW_BYTES + 4);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(self.rows.len() as u32).to_le_bytes());
        for (key, next) in &self.rows {
            bytes.extend_from_slice(&key.topic.0.to_le_bytes());
            bytes.extend_from_slice(&key.queue.to_le_bytes());
            bytes.extend_from_slice(&next.0.to_le_bytes());
        }
        bytes.extend_from_slice(&crc(&bytes).to_le_bytes());
        out.write_all(&bytes)?;
        out.flush()
    }

    pub fn rows(&self) -> impl ExactSizeIterator<Item = (QueueKey, QueueOffset)> {
        self.rows.iter().copied()
    }
}

fn parse_row(row: &[u8]) -> (QueueKey, QueueOffset) {
    let key = QueueKey { topic: TopicId(u32_at(row, 0)), queue: u32_at(row, 4) };
    (key, QueueOffset(u64_at(row, 8)))
}
