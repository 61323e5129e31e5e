//! What a run sent and what of it was acknowledged, so that a later drain can
//! tell loss from refusal.

use crate::body::Stream;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io;
use std::path::Path;

/// One line per stream in a file; see [`Ledger::write`].
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Ledger {
    pub streams: Vec<StreamRecord>,
}

/// Sequences 0..sent were sent; all but the listed ones were acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRecord {
    pub stream: Stream,
    pub sent: u64,
    pub unacknowledged: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    run: u64,
    producer: u32,
    queue: u32,
    sent: u64,
    unacknowledged: Vec<u64>,
}

impl Ledger {
    /// JSON lines, in the order of connections and queues.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = String::new();
        for record in &self.streams {
            let Stream { run, producer, queue } = record.stream;
            let (sent, unacknowledged) = (record.sent, record.unacknowledged.clone());
            let line = Line { run, producer, queue, sent, unacknowledged };
            text.push_str(&serde_json::to_string(&line)?);
            text.push('\n');
        }
        std::fs::write(path, text)
    }

    pub fn read(path: &Path) -> io::Result<Ledger> {
        let mut streams = Vec::new();
        for line in std::fs::read_to_string(path)?.lines() {
            let line: Line = serde_json::from_str(line)?;
            streams.push(StreamRecord {
                stream: Stream { run: line.run, producer: line.producer, queue: line.queue },
                sent: line.sent,
                unacknowledged: line.unacknowledged,
            });
        }
        Ok(Ledger { streams })
    }

    pub fn by_stream(&self) -> HashMap<Stream, &StreamRecord> {
        self.streams.iter().map(|record| (record.stream, record)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_survives_its_file() {
        let stream = Stream { run: u64::MAX, producer: 1, queue: 2 };
        let record = StreamRecord { stream, sent: 9, unacknowledged: vec![3, 8] };
        let ledger = Ledger { streams: vec![record] };
        let file = tempfile::NamedTempFile::new().unwrap();
        ledger.write(file.path()).unwrap();
        assert_eq!(Ledger::read(file.path()).unwrap(), ledger);
    }
}
