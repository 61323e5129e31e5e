//! The tables of the metadata file. Keys begin with the shard where a shard owns them.
//!
//! | table | key | value |
//! |---|---|---|
//! | counters | name | `format`; `topic-id`: the next one |
//! | topics | shard, name | JSON: id, birth, config |
//! | deleted | shard, topic name | where the log ended when it was deleted |
//! | groups | shard, name | JSON: config |
//! | versions | shard, `topics` or `groups` | JSON: data version |
//! | offsets | shard, topic, group, queue | queue offset |
//! | options | shard, name | value |
//! | values | namespace, key | value |

use redb::{
    Database, Error, ReadableDatabase, ReadableTable, StorageError, Table, TableDefinition,
    WriteTransaction,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::change::{
    Change, DataVersion, Loaded, OffsetEntry, Outcome, ShardMetadata, TopicEffect, TopicPlaced,
    TopicRecord, next_version,
};
use crate::base::group::GroupConfig;
use crate::base::topic::TopicConfig;
use crate::base::{LogOffset, QueueOffset, TopicId};

const FORMAT: u64 = 1;

type ShardKey = (u16, &'static str);
type OffsetKey = (u16, &'static str, &'static str, u32);

const COUNTERS: TableDefinition<&str, u64> = TableDefinition::new("counters");
const TOPICS: TableDefinition<ShardKey, &[u8]> = TableDefinition::new("topics");
const DELETED: TableDefinition<ShardKey, u64> = TableDefinition::new("deleted");
const GROUPS: TableDefinition<ShardKey, &[u8]> = TableDefinition::new("groups");
const VERSIONS: TableDefinition<ShardKey, &[u8]> = TableDefinition::new("versions");
const OFFSETS: TableDefinition<OffsetKey, u64> = TableDefinition::new("offsets");
const OPTIONS: TableDefinition<ShardKey, &str> = TableDefinition::new("options");
const VALUES: TableDefinition<(&str, &str), &str> = TableDefinition::new("values");

const NEXT_TOPIC_ID: &str = "topic-id";
const TOPICS_VERSION: &str = "topics";
const GROUPS_VERSION: &str = "groups";

/// A topic as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredTopic {
    id: u32,
    birth: u64,
    config: TopicConfig,
}

/// Reads everything; makes the tables of a new file.
pub(super) fn load(database: &Database, shards: u16) -> Result<Loaded, Error> {
    make_tables(database)?;
    let read = database.begin_read()?;
    let mut loaded = Loaded::default();
    let (topics, groups) = (read.open_table(TOPICS)?, read.open_table(GROUPS)?);
    let (versions, offsets) = (read.open_table(VERSIONS)?, read.open_table(OFFSETS)?);
    let options = read.open_table(OPTIONS)?;
    for shard in 0..shards {
        let mut found = ShardMetadata {
            topic_version: version(&versions, shard, TOPICS_VERSION)?,
            group_version: version(&versions, shard, GROUPS_VERSION)?,
            ..ShardMetadata::default()
        };
        for entry in topics.range(of_shard(shard))? {
            let (key, value) = entry?;
            found.topics.insert(key.value().1.to_owned(), topic_record(value.value())?);
        }
        for entry in groups.range(of_shard(shard))? {
            let (key, value) = entry?;
            found.groups.insert(key.value().1.to_owned(), from_json("a group", value.value())?);
        }
        for entry in options.range(of_shard(shard))? {
            let (key, value) = entry?;
            found.options.insert(key.value().1.to_owned(), value.value().to_owned());
        }
        for entry in offsets.range((shard, "", "", 0)..(shard + 1, "", "", 0))? {
            let (key, value) = entry?;
            let (_, topic, group, queue) = key.value();
            let (topic, group) = (topic.to_owned(), group.to_owned());
            let offset = QueueOffset(value.value());
            found.offsets.push(OffsetEntry { topic, group, queue, offset });
        }
        loaded.shards.push(found);
    }
    for entry in read.open_table(VALUES)?.iter()? {
        let (key, value) = entry?;
        let (namespace, key) = key.value();
        loaded.values.insert((namespace.to_owned(), key.to_owned()), value.value().to_owned());
    }
    Ok(loaded)
}

fn make_tables(database: &Database) -> Result<(), Error> {
    let write = database.begin_write()?;
    {
        let mut counters = write.open_table(COUNTERS)?;
        let found = counters.get("format")?.map(|found| found.value());
        match found {
            None => drop(counters.insert("format", FORMAT)?),
            Some(FORMAT) => {}
            Some(found) => {
                let why = format!("it has format {found}, and this ringmq reads format {FORMAT}");
                return Err(StorageError::Corrupted(why).into());
            }
        }
        write.open_table(TOPICS)?;
        write.open_table(DELETED)?;
        write.open_table(GROUPS)?;
        write.open_table(VERSIONS)?;
        write.open_table(OFFSETS)?;
        write.open_table(OPTIONS)?;
        write.open_table(VALUES)?;
    }
    Ok(write.commit()?)
}

/// Makes all changes durable in one transaction, or none of them.
pub(super) fn transact(
    database: &Database,
    shards: u16,
    now_ms: i64,
    changes: Vec<Change>,
) -> Result<Vec<Outcome>, Error> {
    let write = database.begin_write()?;
    let transaction = Transaction { write: &write, shards, now_ms };
    let outcomes = changes.into_iter().map(|change| transaction.apply(change));
    let outcomes = outcomes.collect::<Result<_, _>>()?;
    write.commit()?;
    Ok(outcomes)
}

struct Transaction<'t> {
    write: &'t WriteTransaction,
    shards: u16,
    now_ms: i64,
}

impl Transaction<'_> {
    fn apply(&self, change: Change) -> Result<Outcome, Error> {
        match change {
            Change::CreateTopicOnAllShards { config } => {
                self.place(0..self.shards, |existing| existing.unwrap_or(&config).clone(), &config)
            }
            Change::PutTopic { shards, config } => self.place(shards, |_| config.clone(), &config),
            Change::DeleteTopic { shard, name, log_end } => {
                self.delete_topic(shard, &name, log_end)
            }
            Change::CutLog { shard, log_end } => self.cut_log(shard, log_end),
            Change::ForgetDeleted { shard, log_start } => {
                let mut deleted = self.write.open_table(DELETED)?;
                deleted.retain_in(of_shard(shard), |_, end| end > log_start.0)?;
                Ok(Outcome::Kept)
            }
            Change::PutGroup { shard, config } => self.put_group(shard, config),
            Change::DeleteGroup { shard, name, with_offsets } => {
                self.delete_group(shard, name, with_offsets)
            }
            Change::PutOffsets { shard, batch } => {
                let mut offsets = self.write.open_table(OFFSETS)?;
                for OffsetEntry { topic, group, queue, offset } in &batch {
                    offsets.insert((shard, topic.as_str(), group.as_str(), *queue), offset.0)?;
                }
                Ok(Outcome::Kept)
            }
            Change::DeleteOffsets { shard, topic, group } => {
                let mut offsets = self.write.open_table(OFFSETS)?;
                let queues = (shard, &*topic, &*group, 0)..=(shard, &*topic, &*group, u32::MAX);
                offsets.retain_in(queues, |_, _| false)?;
                Ok(Outcome::Kept)
            }
            Change::PutOptions { shard, options } => {
                let mut table = self.write.open_table(OPTIONS)?;
                for (name, value) in &options {
                    table.insert((shard, name.as_str()), value.as_str())?;
                }
                Ok(Outcome::Kept)
            }
            Change::PutValue { namespace, key, value } => {
                self.write.open_table(VALUES)?.insert((&*namespace, &*key), &*value)?;
                Ok(Outcome::Kept)
            }
            Change::DeleteValue { namespace, key } => {
                let mut values = self.write.open_table(VALUES)?;
                let existed = values.remove((&*namespace, &*key))?.is_some();
                Ok(Outcome::ValueDeleted { existed })
            }
        }
    }

    /// Gives each shard the topic that `decide` makes of the one it has.
    fn place(
        &self,
        shards: impl IntoIterator<Item = u16>,
        decide: impl Fn(Option<&TopicConfig>) -> TopicConfig,
        wanted: &TopicConfig,
    ) -> Result<Outcome, Error> {
        let mut topics = self.write.open_table(TOPICS)?;
        let mut placed = Vec::new();
        for shard in shards {
            assert!(shard < self.shards, "there is no shard {shard}");
            let key = (shard, wanted.name.as_str());
            let existing = topics.get(key)?.map(|found| topic_record(found.value())).transpose()?;
            let config = decide(existing.as_ref().map(|record| &record.config));
            let (record, effect) = match existing {
                Some(record) if record.config == config => (record, TopicEffect::Unchanged),
                Some(record) => (TopicRecord { config, ..record }, TopicEffect::Changed),
                None => (self.new_topic(shard, config)?, TopicEffect::Made),
            };
            let version = if effect == TopicEffect::Unchanged {
                self.version(shard, TOPICS_VERSION)?
            } else {
                topics.insert(key, stored(&record).as_slice())?;
                self.bump(shard, TOPICS_VERSION)?
            };
            placed.push(TopicPlaced { shard, record, effect, version });
        }
        Ok(Outcome::Topics(placed))
    }

    fn new_topic(&self, shard: u16, config: TopicConfig) -> Result<TopicRecord, Error> {
        let mut counters = self.write.open_table(COUNTERS)?;
        let next = counters.get(NEXT_TOPIC_ID)?.map_or(1, |next| next.value());
        let exhausted = |_| StorageError::Corrupted("all topic ids are used up".to_owned());
        let id = TopicId(u32::try_from(next).map_err(exhausted)?);
        counters.insert(NEXT_TOPIC_ID, next + 1)?;
        let mut deleted = self.write.open_table(DELETED)?;
        let birth = deleted.remove((shard, config.name.as_str()))?;
        let birth = LogOffset(birth.map_or(0, |end| end.value()));
        Ok(TopicRecord { id, birth, config })
    }

    fn delete_topic(&self, shard: u16, name: &str, end: LogOffset) -> Result<Outcome, Error> {
        let mut topics = self.write.open_table(TOPICS)?;
        let removed = topics.remove((shard, name))?;
        let record = removed.map(|found| topic_record(found.value())).transpose()?;
        if record.is_none() {
            let version = self.version(shard, TOPICS_VERSION)?;
            return Ok(Outcome::TopicDeleted { shard, record, version });
        }
        self.write.open_table(DELETED)?.insert((shard, name), end.0)?;
        let after = format!("{name}\0");
        let mut offsets = self.write.open_table(OFFSETS)?;
        offsets.retain_in((shard, name, "", 0)..(shard, after.as_str(), "", 0), |_, _| false)?;
        let version = self.bump(shard, TOPICS_VERSION)?;
        Ok(Outcome::TopicDeleted { shard, record, version })
    }

    fn cut_log(&self, shard: u16, end: LogOffset) -> Result<Outcome, Error> {
        let mut deleted = self.write.open_table(DELETED)?;
        let mut beyond = Vec::new();
        for entry in deleted.range(of_shard(shard))? {
            let (key, value) = entry?;
            if value.value() > end.0 {
                beyond.push(key.value().1.to_owned());
            }
        }
        for name in &beyond {
            deleted.insert((shard, name.as_str()), end.0)?;
        }
        let mut topics = self.write.open_table(TOPICS)?;
        let mut born_beyond = Vec::new();
        for entry in topics.range(of_shard(shard))? {
            let (_, value) = entry?;
            let record = topic_record(value.value())?;
            if record.birth > end {
                born_beyond.push(TopicRecord { birth: end, ..record });
            }
        }
        for record in &born_beyond {
            topics.insert((shard, record.config.name.as_str()), stored(record).as_slice())?;
        }
        Ok(Outcome::Kept)
    }

    fn put_group(&self, shard: u16, config: GroupConfig) -> Result<Outcome, Error> {
        let mut groups = self.write.open_table(GROUPS)?;
        let key = (shard, config.name.as_str());
        let existing: Option<GroupConfig> =
            groups.get(key)?.map(|found| from_json("a group", found.value())).transpose()?;
        let changed = existing.as_ref() != Some(&config);
        let version = if changed {
            groups.insert(key, to_json(&config).as_slice())?;
            self.bump(shard, GROUPS_VERSION)?
        } else {
            self.version(shard, GROUPS_VERSION)?
        };
        Ok(Outcome::Group { shard, config, changed, version })
    }

    fn delete_group(&self, shard: u16, name: String, with_offsets: bool) -> Result<Outcome, Error> {
        let existed = self.write.open_table(GROUPS)?.remove((shard, &*name))?.is_some();
        if with_offsets {
            let mut offsets = self.write.open_table(OFFSETS)?;
            let of_shard = (shard, "", "", 0)..(shard + 1, "", "", 0);
            offsets.retain_in(of_shard, |(_, _, group, _), _| group != name)?;
        }
        let version = if existed {
            self.bump(shard, GROUPS_VERSION)?
        } else {
            self.version(shard, GROUPS_VERSION)?
        };
        Ok(Outcome::GroupDeleted { shard, name, existed, version })
    }

    fn version(&self, shard: u16, what: &'static str) -> Result<DataVersion, Error> {
        version(&self.write.open_table(VERSIONS)?, shard, what)
    }

    fn bump(&self, shard: u16, what: &'static str) -> Result<DataVersion, Error> {
        let mut versions: Table<'_, ShardKey, &[u8]> = self.write.open_table(VERSIONS)?;
        let next = next_version(version(&versions, shard, what)?, self.now_ms);
        versions.insert((shard, what), to_json(&next).as_slice())?;
        Ok(next)
    }
}

fn version(
    versions: &impl ReadableTable<ShardKey, &'static [u8]>,
    shard: u16,
    what: &'static str,
) -> Result<DataVersion, Error> {
    let found = versions.get((shard, what))?;
    Ok(found.map(|found| from_json("a version", found.value())).transpose()?.unwrap_or_default())
}

/// Every key of a shard whose second part is a name.
fn of_shard(shard: u16) -> std::ops::Range<ShardKey> {
    (shard, "")..(shard + 1, "")
}

fn topic_record(bytes: &[u8]) -> Result<TopicRecord, Error> {
    let StoredTopic { id, birth, config } = from_json("a topic", bytes)?;
    Ok(TopicRecord { id: TopicId(id), birth: LogOffset(birth), config })
}

fn stored(record: &TopicRecord) -> Vec<u8> {
    let TopicRecord { id, birth, config } = record;
    to_json(&StoredTopic { id: id.0, birth: birth.0, config: config.clone() })
}

fn from_json<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| {
        Error::from(StorageError::Corrupted(format!("{what} cannot be read: {error}")))
    })
}

fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain fields always have a JSON form")
}
