//! Pulls of RocketMQ's own protocol.

use super::puller::{Arrival, Pulls};
use super::run::QueueSpan;
use super::stored::count_stored;
use super::subscription::Subscription;
use super::verify::{Expected, Verifier};
use crate::wire::{Codec, Header, Request, code, take_frame};
use std::io;

/// How a drain pulls.
#[derive(Clone, Debug)]
pub struct RemotingPulls {
    pub topic: String,
    pub group: String,
    pub codec: Codec,
    /// Code 361 instead of 11.
    pub lite: bool,
    pub max_messages: u32,
    pub max_bytes: Option<u32>,
    pub subscription: Subscription,
    /// How the broker is to move the bytes, where it is ringmq.
    pub transfer: Option<String>,
    /// Count messages without looking into them.
    pub discard: bool,
    /// How long the broker may hold a pull for which there is nothing yet; 0: not at all.
    pub wait_ms_max: u32,
}

const MAY_WAIT: u32 = 2;
const SUBSCRIPTION_IN_REQUEST: u32 = 4;
const LITE: u32 = 16;

const FOUND: i32 = 0;
const RETRY_AT_ONCE: i32 = 20;
const OFFSET_MOVED: i32 = 21;

impl Pulls for RemotingPulls {
    fn write(&self, queue: &QueueSpan, opaque: u32, output: &mut Vec<u8>) -> io::Result<()> {
        output.extend_from_slice(&self.request(queue).encode(self.codec, opaque).bytes);
        Ok(())
    }

    fn read<'a>(&self, bytes: &'a [u8]) -> io::Result<Option<Arrival<'a>>> {
        let Some(frame) = take_frame(bytes).map_err(io::Error::other)? else {
            return Ok(None);
        };
        let header = Header::parse(frame.codec, frame.header).map_err(io::Error::other)?;
        let stated = header.ext("nextBeginOffset").and_then(|text| text.parse::<u64>().ok());
        let (next, body) = match header.code {
            FOUND => (stated, frame.body),
            RETRY_AT_ONCE | OFFSET_MOVED => (stated, &[][..]),
            _ => (None, &[][..]),
        };
        let (opaque, code, remark) = (header.opaque, header.code, header.remark);
        Ok(Some(Arrival { opaque, code, remark, next, body, len: frame.len }))
    }

    fn count(&self, body: &[u8], queue: &QueueSpan, verifier: &mut Verifier) -> io::Result<u64> {
        if self.discard {
            return count_stored(body).map_err(|error| io::Error::other(error.to_string()));
        }
        let expected = Expected {
            topic: self.topic.as_bytes(),
            queue: queue.queue,
            from_offset: queue.next,
            whole: queue.whole,
            subscription: &self.subscription,
        };
        Ok(verifier.take(body, expected))
    }
}

impl RemotingPulls {
    pub fn request(&self, queue: &QueueSpan) -> Request {
        let (code, mut flag) = match self.lite {
            true => (code::LITE_PULL, SUBSCRIPTION_IN_REQUEST | LITE),
            false => (code::PULL, SUBSCRIPTION_IN_REQUEST),
        };
        if self.wait_ms_max > 0 {
            flag |= MAY_WAIT;
        }
        let mut request = Request::new(code)
            .ext("commitOffset", 0)
            .ext("consumerGroup", &self.group)
            .ext("expressionType", "TAG")
            .ext("maxMsgNums", self.max_messages)
            .ext("queueId", queue.queue)
            .ext("queueOffset", queue.next)
            .ext("subVersion", 0)
            .ext("subscription", self.subscription.expression())
            .ext("suspendTimeoutMillis", self.wait_ms_max)
            .ext("sysFlag", flag)
            .ext("topic", &self.topic);
        if let Some(bytes) = self.max_bytes {
            request = request.ext("maxMsgBytes", bytes);
        }
        if let Some(transfer) = &self.transfer {
            request = request.ext("ringmq.transfer", transfer);
        }
        request
    }
}
