//! What can keep a client from its work, told with what to do about it.

use std::fmt;
use std::io;

use crate::wire::code::response;

/// Why `send` or `tail` ended early.
#[derive(Debug)]
pub enum ClientError {
    /// Neither a body nor anything that pipes one in.
    NothingToSend {
        topic: String,
    },
    /// None of the name servers could be asked; each with what went wrong.
    NameServers {
        tried: Vec<(String, io::Error)>,
    },
    /// No route, and no broker that would create the topic.
    UnknownTopic {
        topic: String,
    },
    /// There is a route, but no queue of it takes messages.
    NotWritable {
        topic: String,
    },
    /// A broker could not be connected to: nothing was sent.
    Unreachable {
        broker: String,
        address: String,
        why: io::Error,
    },
    /// A connection broke or stayed silent after a message was written to it.
    Unanswered {
        broker: String,
        address: String,
        why: io::Error,
    },
    /// A peer answered with an error code.
    Refused {
        who: String,
        code: i32,
        remark: String,
    },
    /// A peer answered with something that is no answer.
    Odd {
        who: String,
        what: String,
    },
    /// A message that no broker would take, so that it is not sent.
    Unsendable(String),
    Input(io::Error),
    Output(io::Error),
    /// Several messages were to be sent, and some were.
    Stopped {
        line: u64,
        sent: u64,
        cause: Box<ClientError>,
    },
}

impl ClientError {
    pub(super) fn refused(who: &str, code: i32, remark: Option<String>) -> Self {
        let remark = remark.unwrap_or_else(|| "no remark".to_owned());
        Self::Refused { who: who.to_owned(), code, remark }
    }

    /// Whether the message surely was not stored, and another queue may well take it.
    pub(super) fn is_worth_another_try(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { code, .. } => matches!(
                *code,
                response::SYSTEM_BUSY | response::SERVICE_NOT_AVAILABLE | response::GO_AWAY
            ),
            _ => false,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingToSend { topic } => write!(
                f,
                "nothing to send: give the message, `ringmq send {topic} 'hello'`, or pipe \
                 messages in, one a line, `some-program | ringmq send {topic}`"
            ),
            Self::NameServers { tried } => {
                write!(f, "no name server can be reached (")?;
                for (at, (address, why)) in tried.iter().enumerate() {
                    write!(f, "{}{address}: {why}", if at == 0 { "" } else { "; " })?;
                }
                write!(
                    f,
                    "); `cargo run --release` starts a broker with one on 127.0.0.1:9876, \
                     `--namesrv HOST:PORT` names another"
                )
            }
            Self::UnknownTopic { topic } => write!(
                f,
                "topic {topic} does not exist and no broker creates topics by itself; create \
                 it (`mqadmin updateTopic -t {topic}`), or see whether a broker runs"
            ),
            Self::NotWritable { topic } => write!(
                f,
                "topic {topic} has no queue that takes messages now; see its permission \
                 (`mqadmin topicRoute -t {topic}`) and whether its brokers run"
            ),
            Self::Unreachable { broker, address, why } => write!(
                f,
                "broker {broker} cannot be reached at {address}: {why}; nothing was sent to \
                 it; see whether it runs and routes name an address that leads to it"
            ),
            Self::Unanswered { broker, address, why } => write!(
                f,
                "broker {broker} at {address} did not answer: {why}; whether the message is \
                 stored is unknown"
            ),
            Self::Refused { who, code, remark } => {
                let name = response::name(*code).unwrap_or("unknown code");
                write!(f, "{who} refused: code {code} ({name}): {remark}")
            }
            Self::Odd { who, what } => write!(f, "{who} answered what cannot be read: {what}"),
            Self::Unsendable(why) => f.write_str(why),
            Self::Input(error) => write!(f, "standard input cannot be read: {error}"),
            Self::Output(error) => write!(f, "output cannot be written: {error}"),
            Self::Stopped { line, sent, cause } => {
                write!(f, "line {line} was not sent, {sent} before it were: {cause}")
            }
        }
    }
}

impl std::error::Error for ClientError {}
