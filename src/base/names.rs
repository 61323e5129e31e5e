//! Names of topics and groups: which are legal, and which belong to the system.

use std::fmt;

use super::limits::{GROUP_BYTES_MAX, RETRY_TOPIC_BYTES_MAX, TOPIC_BYTES_MAX};
use super::topic::{PERM_INHERIT, PERM_READ, PERM_WRITE, TopicConfig};

pub const RETRY_PREFIX: &str = "%RETRY%";
pub const DEAD_LETTER_PREFIX: &str = "%DLQ%";
/// The model of topics that are made by a send.
pub const AUTO_CREATE_MODEL: &str = "TBW102";
pub const SELF_TEST_TOPIC: &str = "SELF_TEST_TOPIC";
pub const BENCHMARK_TOPIC: &str = "BenchmarkTest";
pub const OFFSET_MOVED_TOPIC: &str = "OFFSET_MOVED_EVENT";
pub const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
pub const TRACE_TOPIC: &str = "RMQ_SYS_TRACE_TOPIC";
pub const HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
pub const OP_HALF_TOPIC: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
pub const TRANSACTION_CHECK_MAX_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
pub const WHEEL_TIMER_TOPIC: &str = "rmq_sys_wheel_timer";
pub const CHECKPOINT_TOPIC: &str = "CHECKPOINT_TOPIC";

/// Under this name the log keeps the footers of its groups.
pub const FOOTER_TOPIC: &str = "rmq_sys_ringmq_footer";

const SYSTEM_PREFIX: &str = "rmq_sys_";
const SYSTEM_TOPICS: [&str; 11] = [
    AUTO_CREATE_MODEL,
    SELF_TEST_TOPIC,
    BENCHMARK_TOPIC,
    OFFSET_MOVED_TOPIC,
    SCHEDULE_TOPIC,
    TRACE_TOPIC,
    HALF_TOPIC,
    OP_HALF_TOPIC,
    TRANSACTION_CHECK_MAX_TOPIC,
    WHEEL_TIMER_TOPIC,
    CHECKPOINT_TOPIC,
];
/// Topics that only the broker itself may append to.
const BROKER_ONLY_TOPICS: [&str; 7] = [
    SCHEDULE_TOPIC,
    HALF_TOPIC,
    OP_HALF_TOPIC,
    TRANSACTION_CHECK_MAX_TOPIC,
    SELF_TEST_TOPIC,
    OFFSET_MOVED_TOPIC,
    FOOTER_TOPIC,
];
/// Groups that exist without being made.
pub const PREDEFINED_GROUPS: [&str; 8] = [
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_RMQ_SYS_TRANS",
];
/// Groups that may be made even where automatic creation is off.
const SYSTEM_GROUP_PREFIX: &str = "CID_RMQ_SYS_";

/// The rule that a name breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    Blank(Kind),
    Character { kind: Kind, found: char, at: usize },
    TooLong { kind: Kind, bytes: usize, max: usize },
}

/// Whose name it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Topic,
    Group,
}

/// Whether a topic may bear this name; retry and dead-letter topics may be longer.
pub fn check_topic(name: &str) -> Result<(), NameError> {
    check(
        Kind::Topic,
        name,
        if is_retry_or_dead_letter(name) { RETRY_TOPIC_BYTES_MAX } else { TOPIC_BYTES_MAX },
    )
}

/// Whether a group may bear this name.
pub fn check_group(name: &str) -> Result<(), NameError> {
    check(Kind::Group, name, GROUP_BYTES_MAX)
}

fn check(kind: Kind, name: &str, max: usize) -> Result<(), NameError> {
    if name.trim().is_empty() {
        return Err(NameError::Blank(kind));
    }
    if name.len() > max {
        return Err(NameError::TooLong { kind, bytes: name.len(), max });
    }
    match name.char_indices().find(|(_, found)| !is_legal(*found)) {
        Some((at, found)) => Err(NameError::Character { kind, found, at }),
        None => Ok(()),
    }
}

fn is_legal(found: char) -> bool {
    found.is_ascii_alphanumeric() || matches!(found, '%' | '|' | '-' | '_')
}

pub fn is_retry(topic: &str) -> bool {
    topic.starts_with(RETRY_PREFIX)
}

pub fn is_dead_letter(topic: &str) -> bool {
    topic.starts_with(DEAD_LETTER_PREFIX)
}

pub fn is_retry_or_dead_letter(topic: &str) -> bool {
    is_retry(topic) || is_dead_letter(topic)
}

pub fn retry_topic(group: &str) -> String {
    format!("{RETRY_PREFIX}{group}")
}

pub fn dead_letter_topic(group: &str) -> String {
    format!("{DEAD_LETTER_PREFIX}{group}")
}

/// Whether tools may neither make nor delete the topic.
pub fn is_system_topic(topic: &str, cluster: &str, broker: &str) -> bool {
    topic.starts_with(SYSTEM_PREFIX)
        || SYSTEM_TOPICS.contains(&topic)
        || topic == cluster
        || topic == broker
        || topic.strip_suffix("_REPLY_TOPIC") == Some(cluster)
}

/// Whether clients may not send to the topic.
pub fn is_closed_to_clients(topic: &str) -> bool {
    BROKER_ONLY_TOPICS.contains(&topic)
}

/// Whether the group belongs to RocketMQ itself.
pub fn is_system_group(group: &str) -> bool {
    group.starts_with(SYSTEM_GROUP_PREFIX) || PREDEFINED_GROUPS.contains(&group)
}

/// The topics that a broker has from birth. `auto_create_queues` is `None` where
/// sends must not make topics: then there is no model for them.
pub fn system_topics(
    cluster: &str,
    broker: &str,
    auto_create_queues: Option<u32>,
    trace: bool,
) -> Vec<TopicConfig> {
    const PLAIN: u32 = PERM_READ | PERM_WRITE;
    const OPEN: u32 = PLAIN | PERM_INHERIT;
    let topic = TopicConfig::new;
    let mut topics = vec![
        topic(SELF_TEST_TOPIC, 1, PLAIN),
        topic(BENCHMARK_TOPIC, 1024, PLAIN),
        topic(cluster, 16, OPEN),
        topic(broker, 1, OPEN),
        topic(OFFSET_MOVED_TOPIC, 1, PLAIN),
        topic(SCHEDULE_TOPIC, 18, PLAIN),
        topic(&format!("{cluster}_REPLY_TOPIC"), 1, PLAIN),
        topic(&format!("{SYSTEM_PREFIX}REVIVE_LOG_{cluster}"), 8, PLAIN),
        topic(&format!("{SYSTEM_PREFIX}SYNC_BROKER_MEMBER_{broker}"), 1, PLAIN),
        topic(HALF_TOPIC, 1, PLAIN),
        topic(OP_HALF_TOPIC, 1, PLAIN),
        topic(WHEEL_TIMER_TOPIC, 1, PLAIN),
    ];
    topics.extend(auto_create_queues.map(|queues| topic(AUTO_CREATE_MODEL, queues, OPEN)));
    topics.extend(trace.then(|| topic(TRACE_TOPIC, 1, PLAIN)));
    topics
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Topic => "topic",
            Self::Group => "group",
        })
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank(kind) => write!(f, "the {kind} name is blank"),
            Self::Character { kind, found, at } => write!(
                f,
                "the {kind} name has {found:?} at byte {at}; only letters, digits and % | - _ may be in it"
            ),
            Self::TooLong { kind, bytes, max } => {
                write!(f, "the {kind} name has {bytes} bytes; at most {max} are allowed")
            }
        }
    }
}

impl std::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_for_blanks_characters_and_length() {
        assert_eq!(check_topic("Orders-1_|x"), Ok(()));
        assert_eq!(check_topic(" "), Err(NameError::Blank(Kind::Topic)));
        let found = NameError::Character { kind: Kind::Topic, found: '/', at: 1 };
        assert_eq!(check_topic("a/b"), Err(found));
        assert!(check_topic("naïve").is_err());
        assert_eq!(check_topic(&"t".repeat(127)), Ok(()));
        let long = NameError::TooLong { kind: Kind::Topic, bytes: 128, max: 127 };
        assert_eq!(check_topic(&"t".repeat(128)), Err(long));
        assert_eq!(check_topic(&retry_topic(&"g".repeat(120))), Ok(()));
        assert!(check_topic(&retry_topic(&"g".repeat(249))).is_err());
        assert_eq!(check_group(&"g".repeat(120)), Ok(()));
        assert!(check_group(&"g".repeat(121)).is_err());
    }

    #[test]
    fn every_topic_from_birth_is_legal_and_of_the_system() {
        let topics = system_topics("DefaultCluster", "broker-0", Some(8), true);
        assert_eq!(topics.len(), 14);
        for topic in &topics {
            assert_eq!(check_topic(&topic.name), Ok(()), "{}", topic.name);
            assert!(is_system_topic(&topic.name, "DefaultCluster", "broker-0"), "{}", topic.name);
        }
        let model = topics.iter().find(|topic| topic.name == AUTO_CREATE_MODEL).unwrap();
        assert!(model.is_inherited() && model.write_queues == 8);
        assert!(!is_system_topic("Orders", "DefaultCluster", "broker-0"));
    }

    #[test]
    fn without_automatic_creation_there_is_no_model() {
        let topics = system_topics("c", "b", None, false);
        assert!(topics.iter().all(|topic| topic.name != AUTO_CREATE_MODEL));
    }

    #[test]
    fn clients_may_send_to_their_topics_and_not_to_those_of_the_broker() {
        assert!(is_closed_to_clients(SCHEDULE_TOPIC) && is_closed_to_clients(HALF_TOPIC));
        assert!(is_closed_to_clients(FOOTER_TOPIC), "a sent record must not pass for a footer");
        assert!(is_system_topic(FOOTER_TOPIC, "c", "b"), "tools cannot make it either");
        assert!(!is_closed_to_clients(WHEEL_TIMER_TOPIC), "the prefix alone closes nothing");
        assert!(!is_closed_to_clients("Orders") && !is_closed_to_clients(BENCHMARK_TOPIC));
    }
}
