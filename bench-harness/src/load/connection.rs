//! One connection under load: a task that writes requests while the window
//! and the schedule have room, and a task that reads their replies.

use super::bank::{Bank, Replies};
use super::flight::{Flights, Request};
use super::pace::Pace;
use super::recorder::Recorder;
use super::run::{Clock, Control, Phase};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio_uring::buf::BoundedBuf;
use tokio_uring::net::TcpStream;

/// What the tasks of one generator thread share.
pub struct Shared {
    pub clock: Clock,
    pub control: Arc<Control>,
    pub recorder: RefCell<Recorder>,
    pub pace: Option<Pace>,
    pub messages_per_request: u64,
    pub ok_code: i32,
}

/// One connection, shared by its two tasks and the thread's conductor.
pub struct Connection {
    pub stream: TcpStream,
    pub wake: Notify,
    shared: Rc<Shared>,
    /// Its number among the thread's connections, for the schedule.
    index: usize,
    flights: RefCell<Flights>,
    /// Requests sent so far and requests it may send in all.
    sent: Cell<u64>,
    quota: u64,
    broken: Cell<bool>,
    closing: Cell<bool>,
    /// Sequences that were not acknowledged.
    failed: RefCell<Vec<Failed>>,
}

/// A request whose messages may or may not be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Index among the connection's queues.
    pub stream: u32,
    pub first_seq: u64,
}

/// Enough to name what failed in a run that still makes sense.
const FAILED_MAX: usize = 1 << 20;

const READ_BYTES: usize = 256 * 1024;

impl Connection {
    pub fn new(
        stream: TcpStream,
        shared: Rc<Shared>,
        index: usize,
        window: usize,
        quota: u64,
    ) -> Connection {
        Connection {
            stream,
            wake: Notify::new(),
            shared,
            index,
            flights: RefCell::new(Flights::new(window)),
            sent: Cell::new(0),
            quota,
            broken: Cell::new(false),
            closing: Cell::new(false),
            failed: RefCell::default(),
        }
    }

    /// Whether nothing is left to be sent.
    fn finished(&self) -> bool {
        self.broken.get()
            || self.sent.get() >= self.quota
            || self.shared.control.phase() == Phase::Ending
    }

    /// Whether nothing is left to be answered.
    pub fn drained(&self) -> bool {
        self.broken.get() || self.flights.borrow().in_flight() == 0
    }

    /// Requests that window, schedule and quota allow now.
    fn room(&self, now_ns: u64) -> usize {
        let window = self.flights.borrow().room();
        let left = self.quota - self.sent.get();
        let due = self.shared.pace.map_or(u64::MAX, |pace| {
            pace.due_on_by(self.index, now_ns).saturating_sub(self.sent.get())
        });
        window.min(usize::try_from(left.min(due)).unwrap_or(usize::MAX))
    }

    /// Sends until the run ends; gives the bank back, whose streams know how far they came.
    pub async fn write_requests<B: Bank>(
        &self,
        mut buffer: Vec<u8>,
        mut bank: B,
        chunk: usize,
    ) -> B {
        while !self.finished() {
            let now_ns = self.shared.clock.now_ns();
            let count = self.room(now_ns).min(chunk);
            if count == 0 {
                self.wake.notified().await;
                continue;
            }
            let first = bank.first();
            self.fill(&mut buffer, &mut bank, first..first + count, now_ns);
            let end = bank.start_of(first + count, buffer.len());
            let bytes = buffer.slice(bank.start_of(first, 0)..end);
            let (written, bytes) = self.stream.write_all(bytes).await;
            buffer = bytes.into_inner();
            if let Err(error) = written {
                self.break_off(&format!("write: {error}"));
            }
        }
        bank
    }

    fn fill<B: Bank>(
        &self,
        buffer: &mut [u8],
        bank: &mut B,
        frames: std::ops::Range<usize>,
        now_ns: u64,
    ) {
        let mut flights = self.flights.borrow_mut();
        bank.set_born(self.shared.clock.unix_ms(now_ns));
        for frame in frames {
            let opaque = flights.next_opaque().expect("the window has room");
            let sent = self.sent.get();
            let intended = match self.shared.pace {
                Some(pace) => pace.due_on_ns(self.index, sent),
                None => now_ns,
            };
            let (stream, first_seq) = bank.fill(buffer, frame, opaque, intended);
            flights.launch(Request { intended, stream, first_seq });
            self.sent.set(sent + 1);
        }
    }

    /// Reads until the connection is shut down, by us or by the broker.
    pub async fn read_replies<R: Replies>(&self, mut replies: R, longest_frame: usize) {
        let mut buffer = vec![0; READ_BYTES.max(2 * longest_frame)];
        let mut filled = 0;
        loop {
            let (read, slice) = self.stream.read(buffer.slice(filled..)).await;
            buffer = slice.into_inner();
            match read {
                Ok(0) => return self.break_off("closed by the broker"),
                Err(error) => return self.break_off(&format!("read: {error}")),
                Ok(count) => filled += count,
            }
            let Some(used) = self.take_replies(&buffer[..filled], &mut replies) else {
                return;
            };
            buffer.copy_within(used..filled, 0);
            filled -= used;
            if filled == buffer.len() {
                buffer.resize(2 * filled, 0);
            }
            self.wake.notify_one();
        }
    }

    /// Handles every whole reply; returns their length, or nothing if they cannot be read.
    fn take_replies<R: Replies>(&self, bytes: &[u8], replies: &mut R) -> Option<usize> {
        let now_ns = self.shared.clock.now_ns();
        let measuring = self.shared.control.phase() == Phase::Measuring;
        let mut recorder = self.shared.recorder.borrow_mut();
        recorder.at(self.shared.control.measured_ns(now_ns));
        let mut flights = self.flights.borrow_mut();
        let mut used = 0;
        loop {
            match replies.scan(&bytes[used..]) {
                Ok(None) => return Some(used),
                Err(error) => {
                    drop((recorder, flights));
                    self.break_off(&error.to_string());
                    return None;
                }
                Ok(Some(reply)) => {
                    used += reply.len;
                    let Some(request) = flights.land(reply.opaque) else {
                        recorder.outcome(measuring).unmatched += 1;
                        continue;
                    };
                    if reply.code == self.shared.ok_code {
                        let latency = now_ns.saturating_sub(request.intended);
                        recorder.success(measuring, self.shared.messages_per_request, latency);
                    } else {
                        *recorder.outcome(measuring).refused.entry(reply.code).or_default() += 1;
                        self.fail(request);
                    }
                }
            }
        }
    }

    fn fail(&self, request: Request) {
        let mut failed = self.failed.borrow_mut();
        if failed.len() < FAILED_MAX {
            failed.push(Failed { stream: request.stream, first_seq: request.first_seq });
        }
    }

    /// Nothing more will come or go. Said once, and not when we closed it ourselves.
    fn break_off(&self, why: &str) {
        if !self.closing.get() && !self.broken.replace(true) {
            let measuring = self.shared.control.phase() == Phase::Measuring;
            self.shared.recorder.borrow_mut().outcome(measuring).broken.push(why.to_string());
        }
        self.wake.notify_one();
    }

    /// Ends both tasks, whatever they wait for.
    pub fn close(&self) {
        self.closing.set(true);
        self.broken.set(true);
        self.wake.notify_one();
        // A connection that the broker closed first cannot be shut down again.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    /// Counts what never got its reply; returns all that was not acknowledged.
    pub fn settle(&self, ended_ns: u64) -> Vec<Failed> {
        let flights = self.flights.borrow();
        let mut recorder = self.shared.recorder.borrow_mut();
        for request in flights.unanswered() {
            recorder.measured.unanswered += 1;
            self.fail(request);
        }
        if let Some(pace) = self.shared.pace {
            let due = pace.due_on_by(self.index, ended_ns).min(self.quota);
            recorder.measured.unsent += due.saturating_sub(self.sent.get());
        }
        self.failed.take()
    }
}
