//! A client that can be as rude as a test needs it.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use ringmq::wire::code::request;

use crate::requests::{Ask, Frame, ask, read_frame, send, update_topic};

/// No answer takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// One connection.
pub struct Peer {
    pub stream: TcpStream,
    inbox: Vec<u8>,
    opaque: i32,
}

impl Peer {
    pub fn connect(address: &str) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    pub fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, inbox: Vec::new(), opaque: 0 }
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    #[track_caller]
    pub fn ask(&mut self, ask: &Ask) -> Frame {
        self.opaque += 1;
        self.write(&ask.frame(self.opaque));
        let reply = self.read();
        assert_eq!(reply.opaque, self.opaque, "a reply that nobody asked for: {reply:?}");
        reply
    }

    #[track_caller]
    pub fn read(&mut self) -> Frame {
        let mut bytes = [0; 65_536];
        loop {
            if let Some((frame, len)) = read_frame(&self.inbox) {
                assert!(frame.is_reply, "{frame:?}");
                self.inbox.drain(..len);
                return frame;
            }
            let len = self.stream.read(&mut bytes).expect("a reply in time");
            assert!(len > 0, "the broker hung up");
            self.inbox.extend_from_slice(&bytes[..len]);
        }
    }

    /// Fails unless the broker hangs up without another word.
    #[track_caller]
    pub fn expect_closed(mut self, what: &str) {
        match self.stream.read(&mut [0; 64]) {
            Ok(0) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => panic!("{what}: {other:?} instead of a close"),
        }
    }

    /// A message goes to topic T and its queue becomes one longer.
    #[track_caller]
    pub fn send_one(&mut self) {
        let reply = self.ask(&send("T", 0, "fine"));
        assert_eq!(reply.code, 0, "{reply:?}");
    }

    #[track_caller]
    pub fn max_offset(&mut self, topic: &str) -> i64 {
        self.ask(&ask(request::GET_MAX_OFFSET).with("topic", topic).with("queueId", 0))
            .expect(0)
            .number("offset")
    }

    pub fn create(&mut self, topic: &str) {
        self.ask(&update_topic(topic, 1)).expect(0);
    }
}
