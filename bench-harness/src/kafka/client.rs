//! One request at a time over a plain socket: all that set-up needs.

use super::read::{KafkaError, Read, Reader, take_frame};
use super::request::{FRAME_BYTES_MAX, Request, encode, version};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, MetadataRequest};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A connection on which every request waits for its reply.
pub struct KafkaClient {
    peer: SocketAddr,
    stream: TcpStream,
    next_correlation: i32,
    received: Vec<u8>,
}

const TIMEOUT: Duration = Duration::from_secs(20);

/// What the tool sends, and in which version.
const NEEDED: [(ApiKey, i16); 5] = [
    (ApiKey::Produce, version::PRODUCE),
    (ApiKey::Fetch, version::FETCH),
    (ApiKey::ListOffsets, version::LIST_OFFSETS),
    (ApiKey::Metadata, version::METADATA),
    (ApiKey::CreateTopics, version::CREATE_TOPICS),
];

impl KafkaClient {
    pub fn connect(peer: SocketAddr) -> io::Result<KafkaClient> {
        let open = || {
            let stream = TcpStream::connect_timeout(&peer, TIMEOUT)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            Ok(stream)
        };
        let stream = open().map_err(|error| at(peer, error))?;
        Ok(KafkaClient { peer, stream, next_correlation: 1, received: Vec::new() })
    }

    /// Sends the request and has its reply's body read by `read`.
    pub fn call<R: Request, T>(
        &mut self,
        request: &R,
        version: i16,
        read: impl FnOnce(&mut Reader<'_>) -> Read<T>,
    ) -> io::Result<T> {
        let correlation = self.next_correlation;
        self.next_correlation = correlation.wrapping_add(1);
        let frame = encode(request, version, correlation)?;
        self.exchange(&frame).map_err(|error| at(self.peer, error))?;
        let body = || {
            let mut reader = Reader::new(take_frame(&self.received)?.ok_or(KafkaError::Cut)?);
            let came = reader.i32()?;
            if came != correlation {
                return Err(KafkaError::Correlation { awaited: correlation, came });
            }
            read(&mut reader)
        };
        body().map_err(|error| at(self.peer, error.into()))
    }

    /// Whether the broker speaks every version that the tool uses.
    pub fn check_versions(&mut self) -> io::Result<()> {
        let spoken =
            self.call(&ApiVersionsRequest::default(), version::API_VERSIONS, read_versions)?;
        for (key, wanted) in NEEDED {
            let spoken = spoken.iter().find(|(spoken, ..)| *spoken == key as i16);
            if !spoken.is_some_and(|(_, min, max)| (*min..=*max).contains(&wanted)) {
                let why = format!("does not speak {key:?} version {wanted}");
                return Err(at(self.peer, io::Error::other(why)));
            }
        }
        Ok(())
    }

    /// Whether the broker has joined its controller: only then it can make topics.
    pub fn check_joined(&mut self) -> io::Result<()> {
        let request = MetadataRequest::default().with_topics(Some(Vec::new()));
        match self.call(&request, version::METADATA, read_brokers)? {
            0 => Err(at(self.peer, io::Error::other("knows of no broker yet"))),
            _ => Ok(()),
        }
    }

    fn exchange(&mut self, frame: &[u8]) -> io::Result<()> {
        self.stream.write_all(frame)?;
        self.received.clear();
        while take_frame(&self.received)?.is_none() {
            if self.received.len() > FRAME_BYTES_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.read_more()?;
        }
        Ok(())
    }

    fn read_more(&mut self) -> io::Result<()> {
        let mut piece = [0; 16 * 1024];
        let count = io::Read::read(&mut self.stream, &mut piece)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.received.extend_from_slice(&piece[..count]);
        Ok(())
    }
}

fn at(peer: SocketAddr, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{peer}: {error}"))
}

/// Key, lowest and highest version of each request.
fn read_versions(reader: &mut Reader<'_>) -> Read<Vec<(i16, i16, i16)>> {
    reader.success()?;
    (0..reader.count()?).map(|_| Ok((reader.i16()?, reader.i16()?, reader.i16()?))).collect()
}

fn read_brokers(reader: &mut Reader<'_>) -> Read<usize> {
    let _throttle_ms = reader.i32()?;
    reader.count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use kafka_protocol::messages::ApiVersionsResponse;
    use kafka_protocol::messages::api_versions_response::ApiVersion;
    use kafka_protocol::protocol::Encodable;

    fn reply(code: i16) -> BytesMut {
        let keys = [(0, 0, 13), (1, 4, 18)].map(|(key, min, max)| {
            ApiVersion::default().with_api_key(key).with_min_version(min).with_max_version(max)
        });
        let reply = ApiVersionsResponse::default().with_error_code(code).with_api_keys(keys.into());
        let mut bytes = BytesMut::new();
        reply.encode(&mut bytes, version::API_VERSIONS).unwrap();
        bytes
    }

    #[test]
    fn versions_are_read_as_the_broker_states_them() {
        let spoken = read_versions(&mut Reader::new(&reply(0)));
        assert_eq!(spoken, Ok(vec![(0, 0, 13), (1, 4, 18)]));
        assert_eq!(read_versions(&mut Reader::new(&reply(35))), Err(KafkaError::Refused(35)));
        for cut in 0..reply(0).len() {
            assert!(read_versions(&mut Reader::new(&reply(0)[..cut])).is_err(), "cut at {cut}");
        }
    }
}
