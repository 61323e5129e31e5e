//! Requests as frames.

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::{RequestHeader, TopicName};
use kafka_protocol::protocol::{StrBytes, encode_request_header_into_buffer};
use std::io;

pub use kafka_protocol::protocol::Request;

/// The largest frame that the tool accepts: a fetch of 16 MiB and its surroundings, with room.
pub const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The newest versions that name topics; set-up takes the last simple layouts.
pub mod version {
    pub const PRODUCE: i16 = 12;
    pub const FETCH: i16 = 12;
    pub const LIST_OFFSETS: i16 = 5;
    pub const METADATA: i16 = 8;
    pub const API_VERSIONS: i16 = 0;
    pub const CREATE_TOPICS: i16 = 4;
    pub const DELETE_TOPICS: i16 = 3;
}

/// Where a frame's correlation is: after length, key and version.
pub const CORRELATION_AT: usize = 8;

const CLIENT: &str = "ringmq-bench";

/// The whole frame of a request.
pub fn encode<R: Request>(request: &R, version: i16, correlation: i32) -> io::Result<Vec<u8>> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_static_str(CLIENT)));
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    let wrong = |error| io::Error::other(format!("request {} v{version}: {error}", R::KEY));
    encode_request_header_into_buffer(&mut frame, &header).map_err(wrong)?;
    request.encode(&mut frame, version).map_err(wrong)?;
    let len = (frame.len() - 4) as i32;
    frame[..4].copy_from_slice(&len.to_be_bytes());
    Ok(frame.into())
}

pub fn topic_name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_string()))
}
