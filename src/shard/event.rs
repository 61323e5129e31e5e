//! Everything that can make a shard act, and everything it can want. One screen each.

use crate::base::ConnId;
use crate::base::memory::BufferId;
use crate::base::metadata::{DataVersion, Durable};
use crate::base::outgoing::Outgoing;
use crate::broker::TopicMade;
use crate::broker::effect::Effect;
use crate::store;

/// What happened outside.
pub enum Event {
    /// The first `len` bytes of a buffer, lent until the turn ends.
    Received { conn: ConnId, buffer: BufferId, len: usize },
    /// The peer closed, or the connection broke; nothing more arrives.
    Ended { conn: ConnId },
    /// A send has ended and its memory is back. `whole`: every byte has left.
    Sent { conn: ConnId, outgoing: Outgoing, whole: bool },
    /// The rest of a send was copied: what it was lent is back. `Sent` still follows.
    Copied { conn: ConnId, outgoing: Outgoing },
    /// The kernel holds nothing of this connection any more.
    Closed { conn: ConnId },
    /// Something of the store is done.
    Store(store::Done),
    /// A metadata change is durable, or it failed for the reason given.
    Stored { token: u64, result: Result<Durable, String> },
    /// A topic was created on every shard of the node; here is this shard's.
    TopicMade(TopicMade),
    /// Every shard has installed the topic, or it could not be created.
    TopicReady { name: String, result: Result<(), String> },
    /// Every reachable name server knows the topics of this version.
    Published { version: DataVersion },
}

/// What shall happen outside.
pub enum Intent {
    /// Send this; `Event::Sent` gives the memory back.
    Send {
        conn: ConnId,
        outgoing: Outgoing,
    },
    /// Copy what this connection's send has not sent, so that its memory comes back with
    /// `Event::Copied`; unless the send is over first.
    CopySend {
        conn: ConnId,
    },
    /// Receive nothing more from this peer until `Resume`. What has arrived still comes.
    Pause {
        conn: ConnId,
    },
    Resume {
        conn: ConnId,
    },
    /// Shut the connection down; `Event::Closed` follows once nothing is in flight.
    Close {
        conn: ConnId,
    },
    /// A write, a flush, a read, a job for the helper.
    Store(store::Intent),
    /// A wish that the control thread or the metadata thread fulfils.
    Effect(Effect),
}
