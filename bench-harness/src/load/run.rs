//! A load run: threads, each with its own runtime and its share of the
//! connections, led through warm-up, measurement and end.

use super::connection::{Connection, Shared};
use super::pace::Pace;
use super::recorder::Recorder;
use super::template::{FrameBank, MessageShape};
use crate::body::Stream;
use crate::ledger::{Ledger, StreamRecord};
use crate::target::Endpoint;
use crate::threads;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio_uring::net::TcpStream;

/// Everything that a run does, decided beforehand.
#[derive(Clone)]
pub struct LoadPlan {
    pub shape: MessageShape,
    pub endpoints: Vec<Endpoint>,
    pub connections: usize,
    /// Requests in flight per connection.
    pub window: usize,
    pub threads: usize,
    /// Cores that the threads are pinned to in turn; none: not pinned.
    pub cores: Vec<usize>,
    /// Messages per second over all connections; zero: as fast as they are answered.
    pub rate: f64,
    pub limit: Limit,
    pub warmup: Duration,
    /// The reply code that means success: 0, or the request's own from an echo.
    pub ok_code: i32,
    /// Never park: costs a core, saves the wake-up.
    pub spin: bool,
}

/// When a run ends.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// After this time of measurement.
    For(Duration),
    /// After this many messages, the warm-up's included.
    Messages(u64),
}

pub struct LoadResult {
    pub recorder: Recorder,
    pub elapsed: Duration,
    pub ledger: Ledger,
}

/// Where a run is; only forward.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Phase {
    WarmingUp,
    Measuring,
    Ending,
}

/// The phase, told to all threads.
pub struct Control(AtomicU8);

impl Control {
    pub fn new() -> Control {
        Control(AtomicU8::new(Phase::WarmingUp as u8))
    }

    pub fn phase(&self) -> Phase {
        match self.0.load(Ordering::Relaxed) {
            0 => Phase::WarmingUp,
            1 => Phase::Measuring,
            _ => Phase::Ending,
        }
    }

    pub fn set(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Relaxed);
    }
}

/// Nanoseconds since the run's start, and the calendar time that belongs to them.
#[derive(Clone, Copy)]
pub struct Clock {
    start: Instant,
    start_unix_ms: u64,
}

impl Clock {
    pub fn start() -> Clock {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { start: Instant::now(), start_unix_ms: unix.as_millis() as u64 }
    }

    pub fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    pub fn unix_ms(&self, now_ns: u64) -> u64 {
        self.start_unix_ms + now_ns / 1_000_000
    }
}

/// The two ends of the measurement, for whoever watches the broker meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    Begin,
    End,
}

/// Bytes that one write aims at.
const WRITE_BYTES: usize = 256 * 1024;
/// How long replies may take after the last request was sent.
const GRACE: Duration = Duration::from_secs(10);

/// Runs the plan; `at` is called when the measurement begins and ends.
pub fn run(plan: &LoadPlan, mut at: impl FnMut(Mark)) -> io::Result<LoadResult> {
    let control = Arc::new(Control::new());
    let clock = Clock::start();
    let (done, finished) = mpsc::channel();
    let threads: Vec<_> = (0..plan.threads)
        .map(|thread| {
            let (plan, control, done) = (plan.clone(), control.clone(), done.clone());
            threads::spawn("load", threads::core_of(&plan.cores, thread), move || {
                let result = run_thread(&plan, thread, clock, control);
                // The receiver outlives the threads unless the run already failed.
                let _ = done.send(());
                result
            })
        })
        .collect::<io::Result<_>>()?;

    drop(done);
    let mut left = plan.threads - wait(&finished, plan.threads, Some(plan.warmup));
    at(Mark::Begin);
    control.set(Phase::Measuring);
    let begun = Instant::now();
    let limit = match plan.limit {
        Limit::For(duration) => Some(duration),
        Limit::Messages(_) => None,
    };
    left -= wait(&finished, left, limit);
    control.set(Phase::Ending);
    let elapsed = begun.elapsed();
    at(Mark::End);
    wait(&finished, left, None);

    let mut recorder = Recorder::new();
    let mut ledger = Ledger::default();
    for thread in threads {
        let (part, records) = thread.join().expect("a generator thread does not panic")?;
        recorder.add(part);
        ledger.streams.extend(records);
    }
    Ok(LoadResult { recorder, elapsed, ledger })
}

/// Waits until all of `left` threads are done, or the time is over; says how many are.
fn wait(finished: &mpsc::Receiver<()>, left: usize, limit: Option<Duration>) -> usize {
    let deadline = limit.map(|limit| Instant::now() + limit);
    for done in 0..left {
        let message = match deadline {
            Some(at) => finished.recv_timeout(at.saturating_duration_since(Instant::now())).ok(),
            None => finished.recv().ok(),
        };
        if message.is_none() {
            return done;
        }
    }
    left
}

fn run_thread(
    plan: &LoadPlan,
    thread: usize,
    clock: Clock,
    control: Arc<Control>,
) -> io::Result<(Recorder, Vec<StreamRecord>)> {
    threads::ring_runtime()?.block_on(lead(plan, thread, clock, control))
}

/// Opens the thread's connections, lets them work, and collects what they did.
async fn lead(
    plan: &LoadPlan,
    thread: usize,
    clock: Clock,
    control: Arc<Control>,
) -> io::Result<(Recorder, Vec<StreamRecord>)> {
    let mine: Vec<usize> = (thread..plan.connections).step_by(plan.threads).collect();
    if mine.is_empty() {
        return Ok((Recorder::new(), Vec::new()));
    }
    let batch = plan.shape.batch as u64;
    let share = mine.len() as f64 / plan.connections as f64;
    let pace = (plan.rate > 0.0)
        .then(|| Pace::new(clock.now_ns(), plan.rate * share / batch as f64, mine.len()));
    let shared = Rc::new(Shared {
        clock,
        control: control.clone(),
        recorder: RefCell::default(),
        pace,
        messages_per_request: batch,
        ok_code: plan.ok_code,
    });

    let mut connections = Vec::new();
    let mut writers = Vec::new();
    let mut readers = Vec::new();
    for (index, &producer) in mine.iter().enumerate() {
        let endpoint = &plan.endpoints[producer % plan.endpoints.len()];
        let socket = std::net::TcpStream::connect(endpoint.addr)?;
        socket.set_nodelay(true)?;
        let stream = TcpStream::from_std(socket);
        let quota = quota_of(plan, producer);
        let connection =
            Rc::new(Connection::new(stream, shared.clone(), index, plan.window, quota));
        let shape = MessageShape { broker_name: endpoint.name.clone(), ..plan.shape.clone() };
        let chunk = chunk_of(&shape, plan.window);
        let (buffer, bank) = FrameBank::build(&shape, producer as u32, &endpoint.queues, chunk);
        let longest = bank.longest();
        connections.push(connection.clone());
        readers.push(tokio_uring::spawn({
            let connection = connection.clone();
            async move { connection.read_replies(longest).await }
        }));
        writers.push(tokio_uring::spawn(async move {
            connection.write_requests(buffer, bank, chunk).await
        }));
    }
    let pacer = pace.map(|pace| tokio_uring::spawn(pace_out(pace, clock, connections.clone())));
    let spinner = plan.spin.then(|| tokio_uring::spawn(spin()));
    let ender = tokio_uring::spawn(end_writers(control.clone(), connections.clone()));

    let banks = collect_writers(writers).await;
    let ended_ns = clock.now_ns();
    wait_for_replies(&connections).await;
    for connection in &connections {
        connection.close();
    }
    for reader in readers {
        reader.await.expect("a reader does not panic");
    }
    for task in [pacer, spinner, Some(ender)].into_iter().flatten() {
        task.abort();
    }
    let mut records = Vec::new();
    for ((connection, bank), &producer) in connections.iter().zip(&banks).zip(&mine) {
        let failed = connection.settle(ended_ns);
        for (index, (queue, sent)) in bank.streams().enumerate() {
            let stream = Stream { run: plan.shape.run, producer: producer as u32, queue };
            let lost = failed.iter().filter(|request| request.stream as usize == index);
            let unacknowledged =
                lost.flat_map(|request| request.first_seq..request.first_seq + batch).collect();
            records.push(StreamRecord { stream, sent, unacknowledged });
        }
    }
    Ok((shared.recorder.take(), records))
}

async fn collect_writers(writers: Vec<tokio::task::JoinHandle<FrameBank>>) -> Vec<FrameBank> {
    let mut banks = Vec::with_capacity(writers.len());
    for writer in writers {
        banks.push(writer.await.expect("a writer does not panic"));
    }
    banks
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
fn chunk_of(shape: &MessageShape, window: usize) -> usize {
    let frame_bytes = shape.batch * (shape.size + 128) + 256;
    (WRITE_BYTES / frame_bytes).clamp(1, window)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_reach_every_holder() {
        let control = Control::new();
        for phase in [Phase::WarmingUp, Phase::Measuring, Phase::Ending] {
            control.set(phase);
            assert_eq!(control.phase(), phase);
        }
    }
}
