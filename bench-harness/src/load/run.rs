//! A load run: threads, each with its own runtime and its share of the
//! connections, led through warm-up, measurement and end.

use super::bank::{MessageShape, Protocol};
use super::recorder::Recorder;
use super::thread::run_thread;
use crate::ledger::Ledger;
use crate::target::Endpoint;
use crate::threads;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Everything that a run does, decided beforehand.
#[derive(Clone)]
pub struct LoadPlan {
    pub shape: MessageShape,
    pub protocol: Protocol,
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
#[derive(Default)]
pub struct Control {
    phase: AtomicU8,
    /// When the measurement began.
    begun_ns: AtomicU64,
    ended_ns: AtomicU64,
    /// Threads that still send or await replies.
    sending: AtomicUsize,
    acknowledged: AtomicU64,
}

impl Control {
    pub fn new() -> Control {
        Control::default()
    }

    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::WarmingUp,
            1 => Phase::Measuring,
            _ => Phase::Ending,
        }
    }

    fn set(&self, phase: Phase) {
        // Who sees the phase sees the time that belongs to it.
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// From here on it is measured.
    pub fn begin(&self, now_ns: u64) {
        self.begun_ns.store(now_ns, Ordering::Relaxed);
        self.set(Phase::Measuring);
    }

    /// From here on it is not.
    pub fn end(&self, now_ns: u64) {
        self.ended_ns.store(now_ns, Ordering::Relaxed);
        self.set(Phase::Ending);
    }

    /// A thread has sent all that it will, and awaited all replies: this many messages are safe.
    pub fn sent(&self, acknowledged: u64) {
        self.acknowledged.fetch_add(acknowledged, Ordering::Relaxed);
        self.sending.fetch_sub(1, Ordering::AcqRel);
    }

    /// All messages that were acknowledged, once there will be no more.
    pub fn acknowledged(&self) -> Option<u64> {
        let ended = self.phase() == Phase::Ending && self.sending.load(Ordering::Acquire) == 0;
        ended.then(|| self.acknowledged.load(Ordering::Relaxed))
    }

    /// Whether that moment lies in the measurement, as far as it has come.
    pub fn covers(&self, ns: u64) -> bool {
        let begun = ns >= self.begun_ns.load(Ordering::Relaxed);
        match self.phase() {
            Phase::WarmingUp => false,
            Phase::Measuring => begun,
            Phase::Ending => begun && ns < self.ended_ns.load(Ordering::Relaxed),
        }
    }

    /// How far into the measurement that moment is.
    pub fn measured_ns(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.begun_ns.load(Ordering::Relaxed))
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

/// What else runs on the first thread, on its ring. Two threads of one core would wait for
/// each other by the scheduler's slices: milliseconds that no broker took.
pub type Beside = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// Runs the plan; `at` is called when the measurement begins and ends.
pub fn run(plan: &LoadPlan, at: impl FnMut(Mark)) -> io::Result<LoadResult> {
    run_by(plan, Clock::start(), Arc::new(Control::new()), None, at)
}

/// The same by a clock and phases that others share, such as who receives what is sent.
pub fn run_by(
    plan: &LoadPlan,
    clock: Clock,
    control: Arc<Control>,
    mut beside: Option<Beside>,
    mut at: impl FnMut(Mark),
) -> io::Result<LoadResult> {
    control.sending.store(plan.threads, Ordering::Relaxed);
    let (done, finished) = mpsc::channel();
    let threads: Vec<_> = (0..plan.threads)
        .map(|thread| {
            let (plan, control, done) = (plan.clone(), control.clone(), done.clone());
            let beside = beside.take();
            threads::spawn("load", threads::core_of(&plan.cores, thread), move || {
                let result = run_thread(&plan, thread, clock, control, beside);
                // The receiver outlives the threads unless the run already failed.
                let _ = done.send(());
                result
            })
        })
        .collect::<io::Result<_>>()?;

    drop(done);
    let mut left = plan.threads - wait(&finished, plan.threads, Some(plan.warmup));
    at(Mark::Begin);
    control.begin(clock.now_ns());
    let begun = Instant::now();
    let limit = match plan.limit {
        Limit::For(duration) => Some(duration),
        Limit::Messages(_) => None,
    };
    left -= wait(&finished, left, limit);
    control.end(clock.now_ns());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_acknowledged_is_known_when_the_last_thread_is_done() {
        let control = Control::new();
        control.sending.store(2, Ordering::Relaxed);
        control.sent(30);
        control.end(1);
        assert_eq!(control.acknowledged(), None);
        control.sent(12);
        assert_eq!(control.acknowledged(), Some(42));
    }

    #[test]
    fn phases_reach_every_holder() {
        let control = Control::new();
        assert_eq!((control.phase(), control.covers(5)), (Phase::WarmingUp, false));
        control.begin(100);
        assert_eq!((control.phase(), control.measured_ns(130)), (Phase::Measuring, 30));
        assert_eq!([99, 100, 9_999].map(|ns| control.covers(ns)), [false, true, true]);
        control.end(200);
        assert_eq!(control.phase(), Phase::Ending);
        assert_eq!([99, 100, 199, 200].map(|ns| control.covers(ns)), [false, true, true, false]);
    }
}
