//! The arena's journal: commits that are not durable elsewhere yet, and which of them no
//! longer count because their group was deleted. A topic's are told by its id, which no
//! namesake has.

use crate::base::TopicId;

use super::offsets::Change;

/// An entry of the journal:
///
/// ```text
/// 1 | u32 topic id | u32 queue | i64 offset | group
/// 2 | group                  its positions leave,
/// 3 | group                  … and have left
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalEntry<'a> {
    Commit {
        topic: TopicId,
        queue: u32,
        offset: i64,
        group: &'a str,
    },
    /// The deletion of this group's positions is being made durable.
    GroupLeaves(&'a str),
    /// … and has become so. A namesake may come from here on.
    GroupGone(&'a str),
}

const COMMIT: u8 = 1;
const GROUP_LEAVES: u8 = 2;
const GROUP_GONE: u8 = 3;

impl<'a> JournalEntry<'a> {
    pub fn encode<'o>(&self, out: &'o mut Vec<u8>) -> &'o [u8] {
        out.clear();
        let group = match *self {
            Self::Commit { topic, queue, offset, group } => {
                out.push(COMMIT);
                out.extend_from_slice(&topic.0.to_be_bytes());
                out.extend_from_slice(&queue.to_be_bytes());
                out.extend_from_slice(&offset.to_be_bytes());
                group
            }
            Self::GroupLeaves(group) => {
                out.push(GROUP_LEAVES);
                group
            }
            Self::GroupGone(group) => {
                out.push(GROUP_GONE);
                group
            }
        };
        out.extend_from_slice(group.as_bytes());
        out
    }

    /// None for bytes that `encode` has not made.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        Some(match *kind {
            COMMIT => {
                let (topic, rest) = rest.split_first_chunk()?;
                let (queue, rest) = rest.split_first_chunk()?;
                let (offset, group) = rest.split_first_chunk()?;
                Self::Commit {
                    topic: TopicId(u32::from_be_bytes(*topic)),
                    queue: u32::from_be_bytes(*queue),
                    offset: i64::from_be_bytes(*offset),
                    group: str::from_utf8(group).ok()?,
                }
            }
            GROUP_LEAVES => Self::GroupLeaves(str::from_utf8(rest).ok()?),
            GROUP_GONE => Self::GroupGone(str::from_utf8(rest).ok()?),
            _ => return None,
        })
    }
}

/// The positions that a journal still holds for a start, oldest first: those of topics
/// that `topic` knows, without what went with a deleted group. `has_group` tells whether
/// a deletion that was under way has come to nothing.
pub fn journaled_positions<'a>(
    entries: impl IntoIterator<Item = &'a [u8]>,
    topic: impl Fn(TopicId) -> Option<&'a str>,
    has_group: impl Fn(&str) -> bool,
) -> Vec<Change> {
    let mut positions: Vec<Change> = Vec::new();
    // Groups that leave, with how many positions came before that.
    let mut leaving: Vec<(&str, usize)> = Vec::new();
    for entry in entries.into_iter().filter_map(JournalEntry::decode) {
        match entry {
            JournalEntry::Commit { topic: id, queue, offset, group } => {
                let Some(topic) = topic(id) else { continue };
                let (group, topic) = (group.to_owned(), topic.to_owned());
                positions.push(Change { group, topic, queue, offset });
            }
            JournalEntry::GroupLeaves(group) => {
                leaving.retain(|(other, _)| *other != group);
                leaving.push((group, positions.len()));
            }
            JournalEntry::GroupGone(group) => {
                if let Some(at) = leaving.iter().position(|(other, _)| *other == group) {
                    let (_, before) = leaving.remove(at);
                    forget(&mut positions, group, before, &mut leaving);
                }
            }
        }
    }
    while let Some((group, before)) = leaving.pop() {
        if !has_group(group) {
            forget(&mut positions, group, before, &mut leaving);
        }
    }
    positions
}

/// Takes a group's positions out of the first `before`.
fn forget(positions: &mut Vec<Change>, group: &str, before: usize, leaving: &mut [(&str, usize)]) {
    let mut at = 0;
    let mut taken_at = Vec::new();
    positions.retain(|change| {
        let stays = at >= before || change.group != group;
        if !stays {
            taken_at.push(at);
        }
        at += 1;
        stays
    });
    for (_, count) in leaving {
        *count -= taken_at.iter().filter(|at| **at < *count).count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(topic: u32, group: &str, offset: i64) -> JournalEntry<'_> {
        JournalEntry::Commit { topic: TopicId(topic), queue: 0, offset, group }
    }

    /// Topic 1 is called T, all others are gone; so is the group "gone".
    fn left(entries: &[JournalEntry]) -> Vec<(String, i64)> {
        let encoded: Vec<Vec<u8>> =
            entries.iter().map(|entry| entry.encode(&mut Vec::new()).to_vec()).collect();
        let topic = |id: TopicId| (id.0 == 1).then_some("T");
        let entries = encoded.iter().map(Vec::as_slice);
        let positions = journaled_positions(entries, topic, |group| group != "gone");
        positions.into_iter().map(|change| (change.group, change.offset)).collect()
    }

    #[test]
    fn entries_are_read_as_they_were_written() {
        let mut bytes = Vec::new();
        for entry in [
            commit(7, "group", i64::MAX),
            JournalEntry::GroupLeaves("g"),
            JournalEntry::GroupGone("g"),
        ] {
            let encoded = entry.encode(&mut bytes);
            assert_eq!(JournalEntry::decode(encoded), Some(entry));
            assert_eq!(JournalEntry::decode(&[&[9], &encoded[1..]].concat()), None);
        }
        for cut in 0..17 {
            let mut whole = Vec::new();
            commit(7, "", 1).encode(&mut whole);
            assert_eq!(JournalEntry::decode(&whole[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn a_topic_that_is_gone_has_no_positions() {
        assert_eq!(left(&[commit(1, "a", 5), commit(2, "a", 6)]), [("a".to_owned(), 5)]);
    }

    #[test]
    fn a_deletion_takes_what_came_before_it_and_nothing_else() {
        use JournalEntry::{GroupGone, GroupLeaves};
        let entries = [
            commit(1, "a", 1),
            commit(1, "b", 2),
            GroupLeaves("b"),
            GroupLeaves("a"),
            commit(1, "b", 3),
            commit(1, "a", 4),
            GroupGone("a"),
            commit(1, "a", 5),
            GroupGone("b"),
        ];
        let expected = [("b", 3), ("a", 4), ("a", 5)].map(|(g, at)| (g.to_owned(), at));
        assert_eq!(left(&entries), expected);
    }

    #[test]
    fn a_deletion_under_way_counts_if_the_group_is_gone() {
        use JournalEntry::GroupLeaves;
        assert_eq!(left(&[commit(1, "gone", 1), GroupLeaves("gone")]), []);
        let still = [commit(1, "there", 1), GroupLeaves("there")];
        assert_eq!(left(&still), [("there".to_owned(), 1)]);
        // A start that failed before, and a deletion that is tried again.
        let again = [commit(1, "gone", 1), GroupLeaves("gone"), GroupLeaves("gone")];
        assert_eq!(left(&again), []);
    }
}
