//! Small durable things: index runs, the table of bases, metadata. A change of theirs
//! happens whole or not at all.

use std::collections::BTreeMap;
use std::io;

use ringmq::base::group::GroupConfig;
use ringmq::base::metadata::{DataVersion, Durable, TopicRecord};
use ringmq::base::topic::TopicConfig;
use ringmq::base::{LogOffset, QueueOffset, TopicId};
use ringmq::broker::effect::MetaChange;
use ringmq::broker::{OffsetChange, Restored, journaled_positions};
use ringmq::queue::{Bases, QueueKey, ReadAt};
use ringmq::store::recovery::IndexFiles;

/// The index folder.
#[derive(Default)]
pub struct Index {
    pub runs: BTreeMap<u64, Vec<u8>>,
    pub bases: Option<Vec<u8>>,
}

impl Index {
    pub fn put_bases(&mut self, bases: &Bases) {
        let mut bytes = Vec::new();
        bases.write_to(&mut bytes).expect("memory takes all");
        self.bases = Some(bytes);
    }

    /// What a helper does with an expired run.
    pub fn fold(&mut self, start: LogOffset, keep: impl Fn(TopicId) -> bool) {
        let mut bases = self.bases.as_ref().map_or_else(Bases::default, |bytes| {
            Bases::read(&bytes[..]).expect("the table is whole")
        });
        let run = self.runs.get(&start.0).expect("a run is folded once");
        bases.fold(&run[..]).expect("the run is whole");
        bases.retain(keep);
        self.put_bases(&bases);
        self.runs.remove(&start.0);
    }
}

struct Bytes<'a>(&'a [u8]);

impl ReadAt for Bytes<'_> {
    fn read_exact_at(&self, buf: &mut [u8], position: u64) -> io::Result<()> {
        self.0.read_exact_at(buf, position)
    }

    fn file_bytes(&self) -> io::Result<u64> {
        self.0.file_bytes()
    }
}

impl IndexFiles for Index {
    fn runs(&self) -> io::Result<Vec<LogOffset>> {
        Ok(self.runs.keys().copied().map(LogOffset).collect())
    }

    fn open_run(&self, start: LogOffset) -> io::Result<Box<dyn ReadAt + '_>> {
        let run = self.runs.get(&start.0).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Bytes(run)))
    }

    fn open_bases(&self) -> io::Result<Option<Box<dyn ReadAt + '_>>> {
        Ok(self.bases.as_ref().map(|bytes| Box::new(Bytes(bytes)) as _))
    }
}

/// The metadata of one shard.
#[derive(Default)]
pub struct Metadata {
    topics: BTreeMap<String, TopicRecord>,
    groups: BTreeMap<String, GroupConfig>,
    offsets: BTreeMap<(String, String, u32), i64>,
    /// Where deleted topics ended.
    deleted: BTreeMap<String, LogOffset>,
    next_id: u32,
    version: i64,
}

impl Metadata {
    fn version(&mut self) -> DataVersion {
        self.version += 1;
        DataVersion { counter: self.version, state_version: 0, timestamp: 0 }
    }

    pub fn records(&self) -> Vec<TopicRecord> {
        self.topics.values().cloned().collect()
    }

    pub fn knows(&self, id: TopicId) -> bool {
        self.topics.values().any(|topic| topic.id == id)
    }

    /// Puts a topic; one that is there keeps its id.
    pub fn put_topic(&mut self, config: TopicConfig) -> (TopicRecord, DataVersion) {
        let birth = self.deleted.remove(&config.name).unwrap_or_default();
        let name = config.name.clone();
        self.next_id += 1;
        let fresh = TopicRecord { id: TopicId(self.next_id), birth, config: config.clone() };
        let record = self.topics.entry(name).or_insert(fresh);
        record.config = config;
        (record.clone(), self.version())
    }

    /// Makes a change durable.
    pub fn apply(&mut self, change: MetaChange) -> Durable {
        match change {
            MetaChange::PutTopic { config } => {
                let (record, version) = self.put_topic(config);
                Durable::Topic { record, version, changed: true }
            }
            MetaChange::DeleteTopic { name, log_end } => {
                if self.topics.remove(&name).is_some() {
                    self.deleted.insert(name.clone(), log_end);
                }
                self.offsets.retain(|(_, topic, _), _| *topic != name);
                Durable::TopicDeleted { version: self.version() }
            }
            MetaChange::PutGroup { config } => {
                self.groups.insert(config.name.clone(), config.clone());
                Durable::Group { config, version: self.version() }
            }
            MetaChange::DeleteGroup { name, with_offsets } => {
                self.groups.remove(&name);
                if with_offsets {
                    self.offsets.retain(|(group, _, _), _| *group != name);
                }
                Durable::GroupDeleted { version: self.version() }
            }
            MetaChange::Offsets { changes } => {
                changes.into_iter().for_each(|change| self.put_offset(change));
                Durable::Kept
            }
            _ => Durable::Kept,
        }
    }

    /// Positions of a journal that outlived its process.
    pub fn take_in(&mut self, journal: &[Vec<u8>]) {
        let name_of = |id| {
            let topic = self.topics.iter().find(|(_, topic)| topic.id == id);
            topic.map(|(name, _)| name.as_str())
        };
        let entries = journal.iter().map(Vec::as_slice);
        let has_group = |group: &str| self.groups.contains_key(group);
        let positions = journaled_positions(entries, name_of, has_group);
        positions.into_iter().for_each(|change| self.put_offset(change));
    }

    fn put_offset(&mut self, change: OffsetChange) {
        self.offsets.insert((change.group, change.topic, change.queue), change.offset);
    }

    /// The log has lost its tail.
    pub fn cut(&mut self, end: LogOffset) {
        self.topics.values_mut().for_each(|topic| topic.birth = topic.birth.min(end));
        self.deleted.values_mut().for_each(|birth| *birth = (*birth).min(end));
    }

    /// The highest position of any group, by queue.
    pub fn committed(&self) -> Vec<(QueueKey, QueueOffset)> {
        let mut highest = BTreeMap::new();
        for ((_, topic, queue), offset) in &self.offsets {
            let Some(topic) = self.topics.get(topic) else { continue };
            let key = QueueKey { topic: topic.id, queue: *queue };
            let position = highest.entry(key).or_insert(QueueOffset(0));
            *position = (*position).max(QueueOffset(*offset as u64));
        }
        highest.into_iter().collect()
    }

    pub fn restored(&self) -> Restored {
        let version = DataVersion { counter: self.version, state_version: 0, timestamp: 0 };
        let offsets = self.offsets.iter().map(|((group, topic, queue), offset)| OffsetChange {
            group: group.clone(),
            topic: topic.clone(),
            queue: *queue,
            offset: *offset,
        });
        Restored {
            topics: self.records(),
            topic_version: version,
            groups: self.groups.values().cloned().collect(),
            group_version: version,
            offsets: offsets.collect(),
            options: Vec::new(),
        }
    }
}
