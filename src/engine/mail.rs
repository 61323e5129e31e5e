//! Mail between threads. A data thread has one bounded mailbox; whoever posts rings its
//! doorbell, which costs nothing while the thread is awake.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::base::limits::MAILBOX_LETTERS_MAX;
use crate::broker::effect::Effect;
use crate::log::ChainEnd;
use crate::reactor::Doorbell;
use crate::shard::Event;

/// A letter to one shard of a data thread, by its seat there.
pub struct Mail {
    pub seat: usize,
    pub letter: Letter,
}

/// What other threads tell a shard.
pub enum Letter {
    Event(Box<Event>),
    /// The helper has done something: ask it.
    HelperDone,
    /// Stop accepting connections and requests that come new.
    Drain,
    /// Finish: write, flush, persist, and end.
    Stop,
}

/// The sender's end of a data thread's mailbox.
#[derive(Clone)]
pub struct Courier {
    mailbox: SyncSender<Mail>,
    doorbell: Doorbell,
}

/// Makes a data thread's mailbox. Std's bounded channel: several senders, one receiver,
/// and neither `try_send` nor `try_recv` takes a lock.
pub fn mailbox(doorbell: Doorbell) -> (Courier, Receiver<Mail>) {
    let (mailbox, mail) = sync_channel(MAILBOX_LETTERS_MAX);
    (Courier { mailbox, doorbell }, mail)
}

impl Courier {
    /// Posts a letter. From threads that may wait: a full mailbox is waited for.
    pub fn post(&self, seat: usize, letter: Letter) {
        // An error means that the thread has ended: nobody is there to be told.
        let _ = self.mailbox.send(Mail { seat, letter });
        self.doorbell.ring();
    }

    /// Tells that the helper has something; a full mailbox will be looked at anyway.
    pub fn nudge(&self, seat: usize) {
        let _ = self.mailbox.try_send(Mail { seat, letter: Letter::HelperDone });
        self.doorbell.ring();
    }
}

/// Where a shard's effects go: to the control thread, which never makes it wait.
pub trait Outbox {
    fn put(&mut self, shard: u16, effect: Effect);

    /// The shard has ended, cleanly or not.
    fn ended(&mut self, shard: u16, result: Result<ChainEnd, String>);
}
