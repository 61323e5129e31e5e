//! The remoting protocol of RocketMQ: bytes to typed requests and back.
//!
//! Decides how every byte is read and written, and nothing of what a request means.
//! No sockets, no clock. Reading order: `frame` draws one frame out of a stream,
//! `request` decodes its header, `forms` the faster where headers repeat, `ext` holds
//! the header's fields, `reply` writes frames; `send`, `batch`, `pull` and `headers` give fields types, `body` the JSON
//! bodies, `message` reads stored messages.
//!
//! What lies on the way of sends and pulls (frame, header, fields, replies) allocates
//! nothing and is our own; bodies off that way use serde.

pub mod batch;
pub mod body;
pub mod code;
pub mod ext;
pub mod frame;
pub mod headers;
pub mod language;
pub mod message;
pub mod message_id;
pub mod pull;
pub mod reply;
pub mod request;
pub mod send;

mod binary;
mod forms;
mod json;
mod slots;
mod text;

pub use batch::{BatchEntries, BatchEntry, BatchError};
pub use ext::{ExtFields, Field, FieldError, Value};
pub use forms::HeaderForms;
pub use frame::{Codec, FrameError, Prefix, parse_prefix};
pub use language::Language;
pub use message::{StoredMessage, StoredMessages};
pub use message_id::{MessageIdHost, OffsetMessageId};
pub use pull::{PullReply, PullRequest};
pub use reply::FrameWriter;
pub use request::{HeaderError, ReadError, Request};
pub use send::{SendReply, SendRequest};
