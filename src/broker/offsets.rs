//! Consumer offsets: where each group goes on in each queue.

use std::collections::{BTreeMap, HashMap};

use crate::base::limits::CONSUMER_OFFSETS_MAX;

use super::consume_rates::{ConsumeRates, RateSlot};

/// The consumer offsets of a shard, by group and topic.
#[derive(Debug, Default)]
pub struct Offsets {
    groups: HashMap<String, HashMap<String, OfTopic>>,
    rates: ConsumeRates,
    count: usize,
    /// Positions that changed since the last `take_changes`, each once.
    changed: Vec<(String, String, u32)>,
}

/// A group's positions on a topic, by queue.
#[derive(Debug, Default)]
struct OfTopic {
    queues: Vec<Position>,
    /// How fast it is given messages, once it has pulled.
    rate: Option<RateSlot>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Position {
    /// None: this group has not committed on this queue.
    committed: Option<i64>,
    /// Where the last pull of the group began.
    pulled: Option<i64>,
    changed: bool,
}

/// One position, as it is persisted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub group: String,
    pub topic: String,
    pub queue: u32,
    pub offset: i64,
}

/// Positions taken out while their deletion is being made durable.
#[derive(Debug, Default)]
pub struct Taken(Vec<(String, String, Vec<Position>)>);

impl Taken {
    fn len(&self) -> usize {
        self.0.iter().map(|(_, _, queues)| queues.len()).sum()
    }
}

/// The table already holds `CONSUMER_OFFSETS_MAX` positions.
#[derive(Debug, PartialEq, Eq)]
pub struct TooMany;

impl Offsets {
    pub fn get(&self, group: &str, topic: &str, queue: u32) -> Option<i64> {
        self.position(group, topic, queue)?.committed
    }

    /// Where the last pull of the group began; for operators who watch progress.
    pub fn pulled(&self, group: &str, topic: &str, queue: u32) -> Option<i64> {
        self.position(group, topic, queue)?.pulled
    }

    /// Makes a place for the position, unless there are too many.
    pub fn open(&mut self, group: &str, topic: &str, queue: u32) -> Result<(), TooMany> {
        self.position_mut(group, topic, queue).map(|_| ())
    }

    /// The last commit counts, also when it goes back. The position is open.
    pub fn commit(&mut self, group: &str, topic: &str, queue: u32, offset: i64) {
        let position = self.position_mut(group, topic, queue);
        let position = position.expect("a position is opened before a commit");
        position.committed = Some(offset);
        if !std::mem::replace(&mut position.changed, true) {
            self.changed.push((group.to_owned(), topic.to_owned(), queue));
        }
    }

    /// A position that is durable already, at start.
    pub fn restore(&mut self, change: &Change) -> Result<(), TooMany> {
        let position = self.position_mut(&change.group, &change.topic, change.queue)?;
        position.committed = Some(change.offset);
        Ok(())
    }

    /// A pull begins at `offset`. Returns where to count what it is given.
    pub fn note_pull(
        &mut self,
        group: &str,
        topic: &str,
        queue: u32,
        offset: i64,
        now_us: u64,
    ) -> Option<RateSlot> {
        if self.position(group, topic, queue).is_none() {
            self.make_room(group, topic, queue).ok()?;
        }
        let of_topic = self.groups.get_mut(group)?.get_mut(topic)?;
        of_topic.queues[queue as usize].pulled = Some(offset);
        Some(*of_topic.rate.get_or_insert_with(|| self.rates.open(now_us)))
    }

    pub fn note_given(&mut self, rate: RateSlot, messages: u32, now_us: u64) {
        self.rates.count(rate, messages, now_us);
    }

    /// Messages per second that the group was given of a topic in the last minute.
    pub fn rate(&mut self, group: &str, topic: &str, now_us: u64) -> f64 {
        let rate = self.groups.get(group).and_then(|topics| topics.get(topic)?.rate);
        rate.map_or(0.0, |rate| self.rates.per_second(rate, now_us))
    }

    /// What changed since the last call, to be made durable in one transaction.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let changed = std::mem::take(&mut self.changed);
        let mut changes = Vec::with_capacity(changed.len());
        for (group, topic, queue) in changed {
            let Ok(position) = self.position_mut(&group, &topic, queue) else { continue };
            position.changed = false;
            if let Some(offset) = position.committed {
                changes.push(Change { group, topic, queue, offset });
            }
        }
        changes
    }

    /// A transaction failed: all positions are to be made durable with the next one.
    pub fn mark_all_changed(&mut self) {
        for (group, topics) in &mut self.groups {
            for (topic, of_topic) in topics {
                for (queue, position) in of_topic.queues.iter_mut().enumerate() {
                    if position.committed.is_some() && !position.changed {
                        position.changed = true;
                        self.changed.push((group.clone(), topic.clone(), queue as u32));
                    }
                }
            }
        }
    }

    pub fn has_changes(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The topics on which `group` has positions, with the committed ones by queue.
    pub fn topics_of(&self, group: &str) -> BTreeMap<&str, Vec<(u32, i64)>> {
        let topics = self.groups.get(group).into_iter().flatten();
        topics
            .map(|(topic, of_topic)| {
                let committed = of_topic.queues.iter().enumerate();
                let committed =
                    committed.filter_map(|(queue, at)| Some((queue as u32, at.committed?)));
                (topic.as_str(), committed.collect())
            })
            .collect()
    }

    /// The groups that have a position on `topic`.
    pub fn groups_of(&self, topic: &str) -> Vec<&str> {
        let has = |topics: &HashMap<String, OfTopic>| {
            let mut queues = topics.get(topic).into_iter().flat_map(|it| &it.queues);
            queues.any(|at| at.committed.is_some())
        };
        self.groups
            .iter()
            .filter(|(_, topics)| has(topics))
            .map(|(group, _)| group.as_str())
            .collect()
    }

    /// Takes out the positions of a group that is being deleted.
    pub fn take_group(&mut self, group: &str) -> Taken {
        let topics = self.groups.remove(group).into_iter().flatten();
        let taken = topics.map(|(topic, of_topic)| {
            of_topic.rate.inspect(|rate| self.rates.close(*rate));
            (group.to_owned(), topic, of_topic.queues)
        });
        let taken = Taken(taken.collect());
        self.changed.retain(|(name, _, _)| name != group);
        self.count -= taken.len();
        taken
    }

    /// Takes out the positions on a topic that is being deleted.
    pub fn take_topic(&mut self, topic: &str) -> Taken {
        let taken = self.groups.iter_mut().filter_map(|(group, topics)| {
            let (topic, of_topic) = topics.remove_entry(topic)?;
            of_topic.rate.inspect(|rate| self.rates.close(*rate));
            Some((group.clone(), topic, of_topic.queues))
        });
        let taken = Taken(taken.collect());
        self.changed.retain(|(_, name, _)| name != topic);
        self.count -= taken.len();
        taken
    }

    /// The deletion has failed. What was committed meanwhile counts.
    pub fn put_back(&mut self, taken: Taken) {
        for (group, topic, queues) in taken.0 {
            for (queue, old) in queues.into_iter().enumerate() {
                let Some(offset) = old.committed else { continue };
                // There was room for it before.
                if self.get(&group, &topic, queue as u32).is_none()
                    && self.open(&group, &topic, queue as u32).is_ok()
                {
                    self.commit(&group, &topic, queue as u32, offset);
                }
            }
        }
    }

    fn position(&self, group: &str, topic: &str, queue: u32) -> Option<&Position> {
        self.groups.get(group)?.get(topic)?.queues.get(queue as usize)
    }

    /// The position, made when missing. Only the first use of a queue allocates.
    fn position_mut(
        &mut self,
        group: &str,
        topic: &str,
        queue: u32,
    ) -> Result<&mut Position, TooMany> {
        if self.position(group, topic, queue).is_none() {
            self.make_room(group, topic, queue)?;
        }
        let of_topic = self.groups.get_mut(group).and_then(|topics| topics.get_mut(topic));
        Ok(&mut of_topic.expect("made above").queues[queue as usize])
    }

    fn make_room(&mut self, group: &str, topic: &str, queue: u32) -> Result<(), TooMany> {
        let topics = self.groups.entry(group.to_owned()).or_default();
        let queues = &mut topics.entry(topic.to_owned()).or_default().queues;
        let grown = (queue as usize + 1).saturating_sub(queues.len());
        if self.count + grown > CONSUMER_OFFSETS_MAX {
            return Err(TooMany);
        }
        self.count += grown;
        queues.resize(queues.len() + grown, Position::default());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(offsets: &mut Offsets, topic: &str, queue: u32, offset: i64) {
        offsets.open("g", topic, queue).unwrap();
        offsets.commit("g", topic, queue, offset);
    }

    #[test]
    fn the_last_commit_counts_and_is_handed_out_once() {
        let mut offsets = Offsets::default();
        commit(&mut offsets, "t", 2, 10);
        commit(&mut offsets, "t", 2, 7);
        assert_eq!(offsets.get("g", "t", 2), Some(7));
        assert_eq!(offsets.get("g", "t", 1), None);
        let change = Change { group: "g".into(), topic: "t".into(), queue: 2, offset: 7 };
        assert_eq!(offsets.take_changes(), [change]);
        assert!(!offsets.has_changes());
    }

    #[test]
    fn the_positions_of_a_removed_topic_or_group_are_gone() {
        let mut offsets = Offsets::default();
        commit(&mut offsets, "t", 0, 1);
        commit(&mut offsets, "u", 0, 2);
        offsets.take_topic("t");
        assert_eq!(offsets.get("g", "t", 0), None);
        assert_eq!(offsets.topics_of("g").len(), 1);
        offsets.take_group("g");
        assert_eq!(offsets.get("g", "u", 0), None);
        assert!(offsets.take_changes().is_empty());
    }

    #[test]
    fn a_deletion_that_fails_gives_positions_back_but_not_over_newer_ones() {
        let mut offsets = Offsets::default();
        commit(&mut offsets, "t", 0, 1);
        commit(&mut offsets, "t", 1, 2);
        offsets.take_changes();
        let taken = offsets.take_topic("t");
        assert!(!offsets.has_changes());
        commit(&mut offsets, "t", 1, 5);
        offsets.put_back(taken);
        assert_eq!(offsets.get("g", "t", 0), Some(1));
        assert_eq!(offsets.get("g", "t", 1), Some(5));
        assert_eq!(offsets.take_changes().len(), 2, "both are made durable again");
    }

    #[test]
    fn a_pull_alone_commits_nothing() {
        let mut offsets = Offsets::default();
        offsets.note_pull("g", "t", 0, 5, 0);
        assert_eq!(offsets.pulled("g", "t", 0), Some(5));
        assert_eq!(offsets.get("g", "t", 0), None);
        assert!(offsets.groups_of("t").is_empty());
    }
}
