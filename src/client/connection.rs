//! One blocking connection to a name server or broker: requests out, replies in.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use crate::wire::code::{request, response};
use crate::wire::{Codec, FrameWriter, Request, parse_prefix};

const CONNECT_WAIT: Duration = Duration::from_secs(3);
const WRITE_WAIT: Duration = Duration::from_secs(10);
/// RocketMQ clients wait three seconds for a send; a broker that waits for a flush may
/// take five.
const CALL_WAIT: Duration = Duration::from_secs(6);
const READ_BYTES: usize = 64 * 1024;

pub struct Connection {
    stream: TcpStream,
    /// What has arrived beyond the replies that were taken.
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    next_opaque: i32,
}

/// A reply, whole and readable.
pub struct Reply {
    frame: Vec<u8>,
}

impl Reply {
    pub fn view(&self) -> Request<'_> {
        let read = Request::read(&self.frame);
        read.expect("it was read when it came").expect("it was whole when it came").0
    }
}

impl Connection {
    /// Connects to HOST:PORT, trying each address that the host has.
    pub fn open(address: &str) -> io::Result<Self> {
        let mut last = io::Error::new(ErrorKind::NotFound, "the host has no address");
        for at in address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&at, CONNECT_WAIT) {
                Ok(stream) => return Self::over(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WRITE_WAIT))?;
        // From one on: Node takes an opaque of zero for a missing one.
        Ok(Self { stream, inbox: Vec::new(), outbox: Vec::new(), next_opaque: 1 })
    }

    /// Whether the peer has closed it, as brokers do with idle ones.
    pub fn is_closed(&self) -> bool {
        let peek = |stream: &TcpStream| {
            stream.set_nonblocking(true)?;
            let seen = stream.peek(&mut [0]);
            stream.set_nonblocking(false)?;
            seen
        };
        match peek(&self.stream) {
            Ok(seen) => seen == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }

    /// Writes a request. The reply will carry the opaque that is returned.
    pub fn submit(
        &mut self,
        code: i32,
        fields: impl FnOnce(&mut FrameWriter<'_>),
        body: &[u8],
    ) -> io::Result<i32> {
        let opaque = self.next_opaque;
        self.next_opaque = opaque.checked_add(1).unwrap_or(1);
        self.outbox.clear();
        let mut writer = FrameWriter::request(&mut self.outbox, Codec::Json, opaque, code, false);
        fields(&mut writer);
        if !writer.finish(body.len()) {
            return Err(io::Error::new(ErrorKind::InvalidInput, "the request is too long"));
        }
        self.outbox.extend_from_slice(body);
        self.stream.write_all(&self.outbox)?;
        Ok(opaque)
    }

    /// The reply to a request, when no other reply is awaited.
    pub fn call(
        &mut self,
        code: i32,
        fields: impl FnOnce(&mut FrameWriter<'_>),
        body: &[u8],
    ) -> io::Result<Reply> {
        let opaque = self.submit(code, fields, body)?;
        let until = Instant::now() + CALL_WAIT;
        while let Some(reply) = self.receive(until)? {
            if reply.view().opaque == opaque {
                return Ok(reply);
            }
        }
        let silence = format!("no reply to {} in {} s", name_of(code), CALL_WAIT.as_secs());
        Err(io::Error::new(ErrorKind::TimedOut, silence))
    }

    /// The next reply, or `None` when none has come until then. What the peer asks of us
    /// meanwhile is declined.
    pub fn receive(&mut self, until: Instant) -> io::Result<Option<Reply>> {
        loop {
            while let Some(frame) = self.take_frame()? {
                let (command, _) = Request::read(&frame)
                    .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?
                    .expect("a whole frame was taken");
                if command.is_response() {
                    return Ok(Some(Reply { frame }));
                }
                self.decline(&command)?;
            }
            if !self.read(until)? {
                return Ok(None);
            }
        }
    }

    fn take_frame(&mut self) -> io::Result<Option<Vec<u8>>> {
        let prefix = parse_prefix(&self.inbox)
            .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        match prefix {
            Some(prefix) if prefix.frame_bytes <= self.inbox.len() => {
                let rest = self.inbox.split_off(prefix.frame_bytes);
                Ok(Some(std::mem::replace(&mut self.inbox, rest)))
            }
            _ => Ok(None),
        }
    }

    /// Brokers tell of other members and ask for a client's state; neither matters here.
    fn decline(&mut self, command: &Request<'_>) -> io::Result<()> {
        if command.is_oneway() {
            return Ok(());
        }
        self.outbox.clear();
        let code = response::REQUEST_CODE_NOT_SUPPORTED;
        FrameWriter::reply(&mut self.outbox, command.codec, command.opaque, code)
            .remark("a command line client does not serve requests")
            .finish(0);
        self.stream.write_all(&self.outbox)
    }

    /// Waits for bytes; false when the time is over.
    fn read(&mut self, until: Instant) -> io::Result<bool> {
        let mut bytes = [0; READ_BYTES];
        loop {
            let wait = until.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                return Ok(false);
            }
            // Shorter waits would round down to none, which means forever.
            self.stream.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "it hung up")),
                Ok(len) => {
                    self.inbox.extend_from_slice(&bytes[..len]);
                    return Ok(true);
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
    }
}

fn name_of(code: i32) -> &'static str {
    request::name(code).unwrap_or("a request")
}
