//! The remoting protocol as a load tool needs it: frames out, replies in.
//!
//! Requests of the set-up (routes, topics, offsets) are built one by one
//! with [`Request`]; the hot paths build a frame once and patch it.

mod header;
mod reply;
mod request;
mod scan;

pub use header::{Header, HeaderError};
pub use reply::{Frame, FrameError, take_frame};
pub use request::{Encoded, Request};
pub use scan::{Reply, ReplyScanner, ScanError};

/// A frame's length word does not count itself.
pub const LENGTH_BYTES: usize = 4;
/// Length word and the word of codec and header length.
pub const PREFIX_BYTES: usize = 8;
/// The largest frame that either side accepts.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The version ordinal that a Java 5.3.3 client would send.
pub const CLIENT_VERSION: u16 = 479;

/// Request codes that the tool sends.
pub mod code {
    pub const PULL: i32 = 11;
    pub const CREATE_TOPIC: i32 = 17;
    pub const UPDATE_CONFIG: i32 = 25;
    pub const RUNTIME_INFO: i32 = 28;
    pub const MAX_OFFSET: i32 = 30;
    pub const MIN_OFFSET: i32 = 31;
    pub const HEART_BEAT: i32 = 34;
    pub const ROUTE: i32 = 105;
    pub const CLUSTER_INFO: i32 = 106;
    pub const CREATE_GROUP: i32 = 200;
    pub const SEND_V2: i32 = 310;
    pub const SEND_BATCH: i32 = 320;
    pub const LITE_PULL: i32 = 361;
}

/// How the header of a frame is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// What clients send unless told otherwise.
    Json,
    /// RocketMQ's own binary form.
    Binary,
}

impl Codec {
    pub fn byte(self) -> u8 {
        match self {
            Codec::Json => 0,
            Codec::Binary => 1,
        }
    }
}
