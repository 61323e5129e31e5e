//! Connections between clients and the broker: streams of bytes that arrive in
//! arbitrary cuts, late, or not at all.

use std::collections::VecDeque;

use ringmq::base::ConnId;

/// One connection, as the kernels at both ends have it.
pub struct Connection {
    pub client: usize,
    /// The process that serves it.
    pub life: u64,
    /// Its name in the shard.
    pub id: ConnId,
    /// Sent by the client and not handed to the shard.
    pub up: VecDeque<u8>,
    /// Arrived at the client and not yet a whole frame.
    pub down: Vec<u8>,
    /// A delivery to the shard is due.
    pub up_scheduled: bool,
    /// The shard takes nothing for now.
    pub paused: bool,
    /// … but something had arrived before, and still comes.
    pub late: bool,
    /// The shard has closed it.
    pub closing: bool,
    /// The client has closed it.
    pub left: bool,
    /// A send is with the kernel.
    pub sending: bool,
    /// What is on its way to the client has arrived by then.
    pub down_free_us: u64,
    /// The client reads nothing before this.
    pub stalled_until_us: u64,
}

impl Connection {
    pub fn new(client: usize, life: u64, id: ConnId) -> Self {
        Self {
            client,
            life,
            id,
            up: VecDeque::new(),
            down: Vec::new(),
            up_scheduled: false,
            paused: false,
            late: false,
            closing: false,
            left: false,
            sending: false,
            down_free_us: 0,
            stalled_until_us: 0,
        }
    }

    /// Nobody listens at the client's end any more.
    pub fn is_over(&self) -> bool {
        self.closing || self.left
    }
}
