//! One request at a time over a plain socket: all that set-up needs.

use crate::wire::{Codec, FrameError, Header, HeaderError, Request, take_frame};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// A connection on which every request waits for its reply.
pub struct AdminClient {
    peer: SocketAddr,
    stream: TcpStream,
    next_opaque: u32,
    received: Vec<u8>,
}

/// A reply that says success.
#[derive(Debug)]
pub struct Answer {
    pub header: Header,
    pub body: Vec<u8>,
}

#[derive(Debug)]
pub enum AdminError {
    Io(SocketAddr, io::Error),
    Frame(SocketAddr, FrameError),
    Header(SocketAddr, HeaderError),
    /// The peer understood and refused.
    Refused {
        peer: SocketAddr,
        request: i32,
        code: i32,
        remark: String,
    },
    /// The peer answered with something that makes no sense.
    Nonsense(SocketAddr, String),
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminError::Io(peer, error) => write!(f, "{peer}: {error}"),
            AdminError::Frame(peer, error) => write!(f, "{peer}: {error}"),
            AdminError::Header(peer, error) => write!(f, "{peer}: {error}"),
            AdminError::Refused { peer, request, code, remark } => {
                write!(f, "{peer} answered request {request} with code {code}: {remark}")
            }
            AdminError::Nonsense(peer, what) => write!(f, "{peer}: {what}"),
        }
    }
}

impl std::error::Error for AdminError {}

impl From<AdminError> for io::Error {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::Io(peer, error) => io::Error::new(error.kind(), format!("{peer}: {error}")),
            other => io::Error::other(other.to_string()),
        }
    }
}

/// As wide as the load's own, for servers that only know those.
const FIRST_OPAQUE: u32 = 1_000_000_000;
const TIMEOUT: Duration = Duration::from_secs(10);

impl AdminClient {
    pub fn connect(peer: SocketAddr) -> Result<AdminClient, AdminError> {
        let open = || {
            let stream = TcpStream::connect_timeout(&peer, TIMEOUT)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            Ok(stream)
        };
        let stream = open().map_err(|error| AdminError::Io(peer, error))?;
        Ok(AdminClient { peer, stream, next_opaque: FIRST_OPAQUE, received: Vec::new() })
    }

    /// Sends the request and waits for success.
    pub fn call(&mut self, request: &Request) -> Result<Answer, AdminError> {
        let opaque = self.next_opaque;
        self.next_opaque += 1;
        let bytes = request.encode(Codec::Json, opaque).bytes;
        self.stream.write_all(&bytes).map_err(|error| AdminError::Io(self.peer, error))?;
        loop {
            let answer = self.receive()?;
            // Requests of the broker's own may come in between.
            if answer.header.opaque != opaque {
                continue;
            }
            let Header { code: replied, remark, .. } = &answer.header;
            if *replied != 0 {
                let (code, remark) = (*replied, remark.clone());
                let request = request.code();
                return Err(AdminError::Refused { peer: self.peer, request, code, remark });
            }
            return Ok(answer);
        }
    }

    /// The peer's answer cannot be meant.
    pub fn nonsense(&self, what: impl fmt::Display) -> AdminError {
        AdminError::Nonsense(self.peer, what.to_string())
    }

    fn receive(&mut self) -> Result<Answer, AdminError> {
        loop {
            let frame = take_frame(&self.received).map_err(|e| AdminError::Frame(self.peer, e))?;
            if let Some(frame) = frame {
                let header = Header::parse(frame.codec, frame.header)
                    .map_err(|e| AdminError::Header(self.peer, e))?;
                let (body, len) = (frame.body.to_vec(), frame.len);
                self.received.drain(..len);
                return Ok(Answer { header, body });
            }
            self.read_more().map_err(|error| AdminError::Io(self.peer, error))?;
        }
    }

    fn read_more(&mut self) -> io::Result<()> {
        let mut piece = [0; 16 * 1024];
        let count = self.stream.read(&mut piece)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.received.extend_from_slice(&piece[..count]);
        Ok(())
    }
}

/// The IPv4 address behind `HOST:PORT`, or any other where there is none.
pub fn resolve(text: &str) -> io::Result<SocketAddr> {
    let all: Vec<SocketAddr> = text
        .to_socket_addrs()
        .map_err(|error| io::Error::new(error.kind(), format!("{text}: {error}")))?
        .collect();
    all.iter()
        .find(|addr| addr.is_ipv4())
        .or(all.first())
        .copied()
        .ok_or_else(|| io::Error::other(format!("{text}: no address")))
}
