//! Why a request is not done: a response code, and a remark that names the rule.

use crate::log::NoRoom;
use crate::wire::FieldError;
use crate::wire::code::response;

use super::context::Cause;

/// The peer's mistake or our state, as a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: i32,
    pub remark: String,
}

impl Refusal {
    pub fn new(code: i32, remark: impl Into<String>) -> Self {
        Self { code, remark: remark.into() }
    }

    /// The message breaks a rule; sending it again elsewhere cannot help.
    pub fn illegal(remark: impl Into<String>) -> Self {
        Self::new(response::MESSAGE_ILLEGAL, remark)
    }

    pub fn invalid(remark: impl Into<String>) -> Self {
        Self::new(response::INVALID_PARAMETER, remark)
    }

    pub fn error(remark: impl Into<String>) -> Self {
        Self::new(response::SYSTEM_ERROR, remark)
    }

    pub fn no_topic(name: &str) -> Self {
        let remark = format!("topic[{name}] not exist, apply first please!");
        Self::new(response::TOPIC_NOT_EXIST, remark)
    }

    pub fn no_group(name: &str) -> Self {
        let remark = format!("subscription group [{name}] does not exist");
        Self::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark)
    }

    pub fn unavailable(remark: impl Into<String>) -> Self {
        Self::new(response::SERVICE_NOT_AVAILABLE, remark)
    }

    /// The log will not take writes again in this life, or not now.
    pub fn no_room(why: &NoRoom) -> Self {
        match why {
            NoRoom::Failed(failure) => {
                Self::unavailable(format!("the CommitLog has failed: {failure}"))
            }
            NoRoom::Stopping => Self::unavailable("the broker is stopping"),
            NoRoom::ArenaFull | NoRoom::SegmentNotReady => Self::waited_too_long(&Cause::Room),
        }
    }

    /// The journal of consumer offsets is full while the metadata is behind.
    pub fn offsets_behind() -> Self {
        let remark = "[OVERLOAD]system busy: consumer offsets come faster than they can be \
                      made durable; commit again later";
        Self::new(response::SYSTEM_BUSY, remark)
    }

    /// No further frame can wait.
    pub fn waiting_full() -> Self {
        let remark = "[OVERLOAD]system busy, start flow control for a while: \
                      waiting requests have reached WAITING_BYTES_MAX (64 MiB)";
        Self::new(response::SYSTEM_BUSY, remark)
    }

    /// The time to wait for `cause` is up.
    pub fn waited_too_long(cause: &Cause) -> Self {
        match cause {
            Cause::Topic(name) => {
                Self::error(format!("topic[{name}] could not be created within 2 s; try again"))
            }
            Cause::TopicChange(name) | Cause::GroupChange(name) => Self::error(format!(
                "an earlier change of {name} did not become durable within 10 s; try again"
            )),
            Cause::Load(_) => Self::error("reading from disk took longer than 10 s"),
            Cause::Room => Self::new(
                response::SYSTEM_BUSY,
                "[REJECTREQUEST]system busy, start flow control for a while: \
                 the CommitLog's writes have been behind for 1 s (ROOM_WAIT_US_MAX)",
            ),
        }
    }
}

impl From<FieldError> for Refusal {
    fn from(error: FieldError) -> Self {
        Self::invalid(format!("{error}"))
    }
}
