//! Attributes of topics and groups: edits as tools write them, and the rules they meet.

use std::collections::BTreeMap;

use crate::base::AckLevel;
use crate::base::topic::{ACK_ATTRIBUTE, TRANSFER_ATTRIBUTE};
use crate::base::transfer::TransferChoice;

use super::refusal::Refusal;

/// Attributes by name.
pub type Attributes = BTreeMap<String, String>;

/// One change that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    Put(String, String),
    Remove(String),
}

/// An attribute that we know.
#[derive(Clone, Copy)]
pub struct Rule {
    key: &'static str,
    is_mutable: bool,
    /// The value is one of RocketMQ's and means something that we do.
    allows: fn(&str) -> bool,
    values: &'static str,
}

/// What a topic may carry. `BatchCQ`, `COMPACTION` and `MIXED` would promise what this
/// broker does not do, so they are refused rather than kept.
pub const OF_TOPICS: &[Rule] = &[
    Rule {
        key: "queue.type",
        is_mutable: false,
        allows: |value| value == "SimpleCQ",
        values: "SimpleCQ",
    },
    Rule {
        key: "cleanup.policy",
        is_mutable: false,
        allows: |value| value == "DELETE",
        values: "DELETE",
    },
    Rule {
        key: "message.type",
        is_mutable: true,
        allows: |value| ["UNSPECIFIED", "NORMAL", "FIFO", "DELAY", "TRANSACTION"].contains(&value),
        values: "UNSPECIFIED, NORMAL, FIFO, DELAY or TRANSACTION",
    },
    Rule {
        key: "reserve.time",
        is_mutable: true,
        allows: |value| value.parse::<i64>().is_ok_and(|ms| ms >= -1),
        values: "a number from -1 on",
    },
    Rule {
        key: ACK_ATTRIBUTE,
        is_mutable: true,
        allows: |value| value.parse::<AckLevel>().is_ok(),
        values: "appended, written or flushed",
    },
    Rule {
        key: TRANSFER_ATTRIBUTE,
        is_mutable: true,
        allows: |value| value.parse::<TransferChoice>().is_ok(),
        values: TransferChoice::NAMES,
    },
];

/// Groups carry none that this broker knows.
pub const OF_GROUPS: &[Rule] = &[];

/// Reads `+key=value,-key`.
pub fn parse_edits(text: &str) -> Result<Vec<Edit>, Refusal> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(parse_edit).collect()
}

fn parse_edit(text: &str) -> Result<Edit, Refusal> {
    if let Some((key, value)) = text.strip_prefix('+').and_then(|put| put.split_once('=')) {
        return Ok(Edit::Put(key.trim().to_owned(), value.trim().to_owned()));
    }
    match text.strip_prefix('-') {
        Some(key) if !key.contains('=') => Ok(Edit::Remove(key.trim().to_owned())),
        _ => Err(Refusal::error(format!("attribute {text:?} is neither +key=value nor -key"))),
    }
}

/// Edits in a configuration's own map: signs before the keys, or none for a value that
/// stands.
pub fn edits_of(attributes: &Attributes) -> Vec<Edit> {
    let edit = |(key, value): (&String, &String)| match key.strip_prefix('-') {
        Some(key) => Edit::Remove(key.to_owned()),
        None => Edit::Put(key.strip_prefix('+').unwrap_or(key).to_owned(), value.clone()),
    };
    attributes.iter().map(edit).collect()
}

/// The attributes after `edits`. `current` is None for what is only being made.
pub fn edited(
    current: Option<&Attributes>,
    edits: &[Edit],
    rules: &[Rule],
) -> Result<Attributes, Refusal> {
    let mut next = current.cloned().unwrap_or_default();
    for (at, edit) in edits.iter().enumerate() {
        let key = edit.key();
        if edits[..at].iter().any(|earlier| earlier.key() == key) {
            return Err(Refusal::error(format!("attribute {key} is named twice")));
        }
        let rule = rules.iter().find(|rule| rule.key == key);
        let rule =
            rule.ok_or_else(|| Refusal::error(format!("attribute {key} is not supported")))?;
        match edit {
            Edit::Put(key, value) => {
                if !(rule.allows)(value) {
                    let values = rule.values;
                    return Err(Refusal::error(format!(
                        "attribute {key}={value} is not supported: it takes {values}"
                    )));
                }
                let changes = next.insert(key.clone(), value.clone()).as_ref() != Some(value);
                rule.check_change(changes && current.is_some())?;
            }
            Edit::Remove(key) => {
                let removed = next.remove(key).is_some();
                rule.check_change(removed)?;
                if !removed {
                    return Err(Refusal::error(format!("attribute {key} is not set")));
                }
            }
        }
    }
    Ok(next)
}

impl Edit {
    fn key(&self) -> &str {
        match self {
            Self::Put(key, _) | Self::Remove(key) => key,
        }
    }
}

impl Rule {
    fn check_change(&self, changes: bool) -> Result<(), Refusal> {
        if changes && !self.is_mutable {
            let remark = format!("attribute {} cannot be changed after creation", self.key);
            return Err(Refusal::error(remark));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str) -> Attributes {
        Attributes::from([(key.to_owned(), value.to_owned())])
    }

    fn edit(current: Option<&Attributes>, text: &str) -> Result<Attributes, Refusal> {
        edited(current, &parse_edits(text)?, OF_TOPICS)
    }

    #[test]
    fn edits_add_change_and_remove() {
        let made = edit(None, "+message.type=FIFO, +ringmq.ack=flushed").unwrap();
        assert_eq!(made["ringmq.ack"], "flushed");
        let changed = edit(Some(&made), "+ringmq.ack=written,-message.type").unwrap();
        assert_eq!(changed, put("ringmq.ack", "written"));
        assert_eq!(edit(Some(&changed), "").unwrap(), changed);
    }

    #[test]
    fn an_immutable_attribute_keeps_its_first_value() {
        let made = edit(None, "+queue.type=SimpleCQ").unwrap();
        assert_eq!(edit(Some(&made), "+queue.type=SimpleCQ").unwrap(), made);
        for text in ["-queue.type", "+cleanup.policy=DELETE"] {
            let refusal = edit(Some(&made), text).unwrap_err();
            assert!(refusal.remark.contains("cannot be changed"), "{text}: {}", refusal.remark);
        }
    }

    #[test]
    fn what_we_do_not_do_or_understand_is_refused() {
        for text in [
            "+ringmq.ack=durable",
            "+queue.type=BatchCQ",
            "+cleanup.policy=COMPACTION",
            "+message.type=MIXED",
            "+reserve.time=-2",
            "+colour=red",
            "message.type=FIFO",
            "+message.type",
            "-message.type",
            "+message.type=FIFO,+message.type=DELAY",
        ] {
            assert_eq!(edit(None, text).unwrap_err().code, 1, "{text}");
        }
    }

    #[test]
    fn a_list_may_carry_signs_or_plain_values() {
        let listed = Attributes::from([
            ("+message.type".to_owned(), "FIFO".to_owned()),
            ("-reserve.time".to_owned(), String::new()),
            ("ringmq.ack".to_owned(), "written".to_owned()),
        ]);
        assert_eq!(
            edits_of(&listed),
            [
                Edit::Put("message.type".to_owned(), "FIFO".to_owned()),
                Edit::Remove("reserve.time".to_owned()),
                Edit::Put("ringmq.ack".to_owned(), "written".to_owned()),
            ]
        );
    }
}
