//! One generator thread: its connections and the tasks that keep them busy,
//! pace them, and end them.

use super::bank::{Bank, Produced, Protocol, Remoting, Replies};
use super::batches::BatchBank;
use super::connection::{Connection, Shared};
use super::pace::Pace;
use super::recorder::Recorder;
use super::run::{Beside, Clock, Control, Limit, LoadPlan, Phase};
use super::template::FrameBank;
use crate::body::Stream;
use crate::ledger::StreamRecord;
use crate::threads;
use crate::wire::ReplyScanner;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_uring::net::TcpStream;

/// Bytes that one write aims at.
const WRITE_BYTES: usize = 256 * 1024;
/// How long replies may take after the last request was sent.
const GRACE: Duration = Duration::from_secs(10);

/// What a thread brings home.
pub type Share = (Recorder, Vec<StreamRecord>);

pub fn run_thread(
    plan: &LoadPlan,
    thread: usize,
    clock: Clock,
    control: Arc<Control>,
    beside: Option<Beside>,
) -> io::Result<Share> {
    let mine: Vec<usize> = (thread..plan.connections).step_by(plan.threads).collect();
    if mine.is_empty() {
        control.sent(0);
        return Ok(Share::default());
    }
    threads::ring_runtime()?.block_on(async {
        let beside = beside.map(|begin| tokio_uring::spawn(begin()));
        let crew = Crew::open(plan, mine, clock, control.clone())?;
        let share = crew.work(plan).await;
        control.sent(share.0.measured.messages + share.0.outside.messages);
        if let Some(beside) = beside {
            beside.await.expect("what runs beside does not panic");
        }
        Ok(share)
    })
}

/// The connections of a thread, each with its two tasks.
struct Crew {
    shared: Rc<Shared>,
    /// Their numbers in the whole run.
    producers: Vec<usize>,
    connections: Vec<Rc<Connection>>,
    /// Each brings home how many messages went to which queue.
    writers: Vec<JoinHandle<Vec<(u32, u64)>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Crew {
    fn open(
        plan: &LoadPlan,
        producers: Vec<usize>,
        clock: Clock,
        control: Arc<Control>,
    ) -> io::Result<Crew> {
        let batch = plan.shape.batch as u64;
        let share = producers.len() as f64 / plan.connections as f64;
        let requests_per_second = plan.rate * share / batch as f64;
        let pace = (plan.rate > 0.0)
            .then(|| Pace::new(clock.now_ns(), requests_per_second, producers.len()));
        let shared = Rc::new(Shared {
            clock,
            control,
            recorder: RefCell::default(),
            pace,
            messages_per_request: batch,
            ok_code: plan.protocol.ok_code(),
        });
        let (connections, writers, readers) = (Vec::new(), Vec::new(), Vec::new());
        let mut crew = Crew { shared, producers, connections, writers, readers };
        for index in 0..crew.producers.len() {
            crew.open_one(plan, index)?;
        }
        Ok(crew)
    }

    fn open_one(&mut self, plan: &LoadPlan, index: usize) -> io::Result<()> {
        let producer = self.producers[index];
        let endpoint = &plan.endpoints[producer % plan.endpoints.len()];
        let socket = std::net::TcpStream::connect(endpoint.addr)?;
        socket.set_nodelay(true)?;
        let connection = Rc::new(Connection::new(
            TcpStream::from_std(socket),
            self.shared.clone(),
            index,
            plan.window,
            quota_of(plan, producer),
        ));
        let (producer, chunk) = (producer as u32, chunk_of(plan));
        match &plan.protocol {
            Protocol::Remoting(remoting) => {
                let remoting = Remoting { broker_name: endpoint.name.clone(), ..remoting.clone() };
                let queues = &endpoint.queues;
                let (buffer, bank) =
                    FrameBank::build(&plan.shape, &remoting, producer, queues, chunk);
                self.begin(connection, buffer, bank, ReplyScanner::new(remoting.ok_code), chunk);
            }
            Protocol::Kafka(produce) => {
                let queues = &endpoint.queues;
                let (buffer, bank) =
                    BatchBank::build(&plan.shape, *produce, producer, queues, chunk)?;
                self.begin(connection, buffer, bank, Produced, chunk);
            }
        }
        Ok(())
    }

    /// Starts the two tasks of a connection.
    fn begin<B: Bank, R: Replies>(
        &mut self,
        connection: Rc<Connection>,
        buffer: Vec<u8>,
        bank: B,
        replies: R,
        chunk: usize,
    ) {
        let longest = bank.longest();
        self.connections.push(connection.clone());
        self.readers.push(tokio_uring::spawn({
            let connection = connection.clone();
            async move { connection.read_replies(replies, longest).await }
        }));
        self.writers.push(tokio_uring::spawn(async move {
            connection.write_requests(buffer, bank, chunk).await.streams()
        }));
    }

    /// Until everything is sent and answered, or given up.
    async fn work(self, plan: &LoadPlan) -> Share {
        let (clock, control) = (self.shared.clock, self.shared.control.clone());
        let connections = || self.connections.clone();
        let pace = self.shared.pace;
        let pacer = pace.map(|pace| tokio_uring::spawn(pace_out(pace, clock, connections())));
        let spinner = plan.spin.then(|| tokio_uring::spawn(spin()));
        let ender = tokio_uring::spawn(end_writers(control, connections()));

        let mut sent = Vec::with_capacity(self.writers.len());
        for writer in self.writers {
            sent.push(writer.await.expect("a writer does not panic"));
        }
        let ended_ns = clock.now_ns();
        wait_for_replies(&self.connections).await;
        for connection in &self.connections {
            connection.close();
        }
        for reader in self.readers {
            reader.await.expect("a reader does not panic");
        }
        for task in [pacer, spinner, Some(ender)].into_iter().flatten() {
            task.abort();
        }
        let mut records = Vec::new();
        for ((connection, sent), &producer) in
            self.connections.iter().zip(sent).zip(&self.producers)
        {
            records.extend(records_of(plan, connection, sent, producer as u32, ended_ns));
        }
        (self.shared.recorder.take(), records)
    }
}

/// What a connection sent, queue by queue, and what of it was not acknowledged.
fn records_of(
    plan: &LoadPlan,
    connection: &Connection,
    sent: Vec<(u32, u64)>,
    producer: u32,
    ended_ns: u64,
) -> Vec<StreamRecord> {
    let batch = plan.shape.batch as u64;
    let failed = connection.settle(ended_ns);
    let record = |(index, (queue, sent)): (usize, (u32, u64))| {
        let stream = Stream { run: plan.shape.run, producer, queue };
        let lost = failed.iter().filter(|request| request.stream as usize == index);
        let unacknowledged =
            lost.flat_map(|request| request.first_seq..request.first_seq + batch).collect();
        StreamRecord { stream, sent, unacknowledged }
    };
    sent.into_iter().enumerate().map(record).collect()
}

/// Requests of one connection when a number of messages was asked for.
fn quota_of(plan: &LoadPlan, producer: usize) -> u64 {
    let Limit::Messages(messages) = plan.limit else {
        return u64::MAX;
    };
    let requests = messages.div_ceil(plan.shape.batch as u64);
    let (each, rest) = (requests / plan.connections as u64, requests % plan.connections as u64);
    each + u64::from((producer as u64) < rest)
}

/// Requests per write: enough bytes for one large write, at most the window.
fn chunk_of(plan: &LoadPlan) -> usize {
    let shape = &plan.shape;
    let frame_bytes = shape.batch * shape.size + plan.protocol.overhead_bytes(shape.batch);
    (WRITE_BYTES / frame_bytes).clamp(1, plan.window)
}

/// Wakes each connection when its next request is due.
async fn pace_out(pace: Pace, clock: Clock, connections: Vec<Rc<Connection>>) {
    let mut next = 0;
    loop {
        let now_ns = clock.now_ns();
        let due = pace.due_by(now_ns);
        // Waking one connection twice does no harm: it asks the schedule itself.
        for k in next..due.min(next + connections.len() as u64) {
            connections[k as usize % connections.len()].wake.notify_one();
        }
        next = due.max(next);
        let ahead_ns = pace.due_ns(next).saturating_sub(now_ns);
        if ahead_ns > SLEEP_FROM_NS {
            tokio::time::sleep(Duration::from_nanos(ahead_ns - TIMER_SLACK_NS)).await;
        } else {
            spin_once().await;
        }
    }
}

/// Timers tick in milliseconds, so shorter waits spin on the ring.
const SLEEP_FROM_NS: u64 = 3_000_000;
const TIMER_SLACK_NS: u64 = 2_000_000;

async fn spin() {
    loop {
        spin_once().await;
    }
}

/// One turn of the ring that does not sleep: whatever is ready is handled meanwhile.
async fn spin_once() {
    if tokio_uring::no_op().await.is_err() {
        // A ring without no-ops spins more slowly.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Writers that wait for a reply or their time learn that the run is over.
async fn end_writers(control: Arc<Control>, connections: Vec<Rc<Connection>>) {
    while control.phase() != Phase::Ending {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for connection in &connections {
        connection.wake.notify_one();
    }
    // A write that nobody reads never returns: cut it off.
    tokio::time::sleep(GRACE).await;
    for connection in &connections {
        connection.close();
    }
}

async fn wait_for_replies(connections: &[Rc<Connection>]) {
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline && !connections.iter().all(|c| c.drained()) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
