//! The index of a start: runs taken back, records indexed again.

use std::collections::{HashMap, HashSet};

use super::{MISPLACED_REPORTS_MAX, Remains, StartError};
use crate::base::metadata::TopicRecord;
use crate::base::{LogOffset, QueueOffset, TopicId};
use crate::log::Geometry;
use crate::log::scan::Found;
use crate::queue::{IndexError, QueueIndex, QueueKey};
use crate::store::rebuild::entry_of;

/// Whom records belong to.
pub(super) struct Owners<'a> {
    by_name: HashMap<&'a [u8], (TopicId, LogOffset)>,
    ids: HashSet<TopicId>,
}

impl<'a> Owners<'a> {
    pub fn new(topics: &'a [TopicRecord]) -> Self {
        let names = topics.iter();
        let by_name = names.map(|topic| (topic.config.name.as_bytes(), (topic.id, topic.birth)));
        Self { by_name: by_name.collect(), ids: topics.iter().map(|topic| topic.id).collect() }
    }

    pub fn is_known(&self, topic: TopicId) -> bool {
        self.ids.contains(&topic)
    }

    /// The topic of a record at `at`, unless it is a deleted namesake's or unknown.
    fn of(&self, name: &[u8], at: LogOffset) -> Option<TopicId> {
        self.by_name.get(name).filter(|(_, birth)| *birth <= at).map(|(id, _)| *id)
    }
}

/// Takes back the runs that a log which ends at or below `log_end` can have. Returns
/// with the index the runs that are of no use.
pub(super) fn load_runs(
    remains: &Remains,
    owners: &Owners,
    log_end: LogOffset,
) -> Result<(QueueIndex, Vec<LogOffset>), StartError> {
    let log_min = remains.segments.segments().first().copied().unwrap_or_default();
    let mut index = QueueIndex::new(log_min.min(log_end));
    let mut runs = remains.index.runs().map_err(StartError::Index)?.into_iter();
    for start in runs.by_ref() {
        let loaded = remains
            .index
            .open_run(start)
            .map_err(IndexError::from)
            .and_then(|file| index.load_run(&*file, log_end, |topic| owners.is_known(topic)));
        if let Err(error) = loaded {
            tracing::warn!(run = start.0, %error, "this index run and later ones are made again");
            return Ok((index, [start].into_iter().chain(runs).collect()));
        }
    }
    Ok((index, Vec::new()))
}

/// Indexes the records that a scan and a replay meet.
pub(super) struct Indexing<'a> {
    pub index: QueueIndex,
    pub of_nobody: u64,
    pub misplaced: Vec<String>,
    pub misplaced_total: u64,
    geometry: Geometry,
    owners: &'a Owners<'a>,
    /// Runs have everything below.
    covered: LogOffset,
    /// The active run ends here at the latest.
    run_end: LogOffset,
}

impl<'a> Indexing<'a> {
    pub fn new(index: QueueIndex, geometry: Geometry, owners: &'a Owners<'a>) -> Self {
        let covered = index.dispatched();
        Self {
            index,
            of_nobody: 0,
            misplaced: Vec::new(),
            misplaced_total: 0,
            geometry,
            owners,
            covered,
            run_end: geometry.end(covered),
        }
    }

    pub fn take(&mut self, found: &Found) {
        let (at, record) = (found.at, &found.record);
        if at < self.covered || !record.is_dispatched() {
            return;
        }
        let Some(topic) = self.owners.of(record.topic(), at) else {
            self.of_nobody += 1;
            return;
        };
        self.end_runs(at);
        let key = QueueKey { topic, queue: record.queue_id() };
        let entry = entry_of(record);
        // A negative offset is an impossible one, and refused as that.
        let offset = QueueOffset(record.queue_offset() as u64);
        if let Err(error) = self.index.append_recovered(key, offset, entry) {
            self.misplaced_total += 1;
            if self.misplaced.len() < MISPLACED_REPORTS_MAX {
                self.misplaced.push(format!("at log offset {at}: {error}"));
            }
        }
    }

    /// The log ends here.
    pub fn end_at(&mut self, end: LogOffset) {
        self.end_runs(end);
        self.index.dispatched_to(end.max(self.index.dispatched()));
    }

    /// A run ends with its segment, so that it expires with it.
    fn end_runs(&mut self, at: LogOffset) {
        while self.run_end <= at {
            self.index.roll(self.run_end);
            self.run_end = self.geometry.end(self.run_end);
        }
    }
}
