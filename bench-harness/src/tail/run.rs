//! A tail: consumers wait at the ends of the queues before the first message
//! is sent, and stay until all that was acknowledged has come.

use super::catch_up::{self, CatchUp};
use super::follow::{Following, TailStyle, follow};
use crate::drain::{self, DrainPlan, QueueSpan};
use crate::load::{self, Clock, Control, LoadPlan, Mark, Recorder};
use crate::threads;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

pub struct TailPlan {
    pub load: LoadPlan,
    pub style: TailStyle,
    pub consumers: usize,
    pub catch_up: Option<DrainPlan>,
}

pub struct TailResult {
    pub elapsed: Duration,
    pub sent: Recorder,
    pub received: Recorder,
    pub catch_up: Option<CatchUp>,
}

/// How long the last messages may be on their way.
const GRACE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);

/// Runs the plan; `at` is called when the measurement begins and ends.
pub fn run(plan: &TailPlan, at: impl FnMut(Mark)) -> io::Result<TailResult> {
    let (clock, control) = (Clock::start(), Arc::new(Control::new()));
    let following = Arc::new(Following {
        clock,
        control: control.clone(),
        run: plan.load.shape.run,
        received: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        broken: Mutex::new(None),
    });
    let shares = share(plan)?;
    let (ready, is_ready) = mpsc::channel();
    let core = threads::core_of(&plan.load.cores, 0);
    let consumers = threads::spawn("consumers", core, {
        let (style, following) = (plan.style.clone(), following.clone());
        move || {
            follow(&style, shares, &following, || {
                ready.send(()).expect("it is awaited below");
            })
        }
    })?;
    // Without a word the thread has ended, and its error is told by joining it.
    let sent = match is_ready.recv() {
        Ok(()) => send(plan, clock, &control, at),
        Err(_) => Err(io::Error::other("the consumers did not connect")),
    };
    if let Ok((result, _)) = &sent {
        let all = result.recorder.measured.messages + result.recorder.outside.messages;
        wait_for(&following, all);
    }
    following.stop.store(true, Ordering::Relaxed);
    let received = consumers.join().expect("a consumer thread does not panic")?;
    let (result, catch_up) = sent?;
    if let Some(why) = following.broken.lock().expect("no panic under it").take() {
        return Err(io::Error::other(format!("a consumer ended: {why}")));
    }
    let mut all = Recorder::new();
    all.add(received);
    Ok(TailResult { elapsed: result.elapsed, sent: result.recorder, received: all, catch_up })
}

fn send(
    plan: &TailPlan,
    clock: Clock,
    control: &Arc<Control>,
    at: impl FnMut(Mark),
) -> io::Result<(load::LoadResult, Option<CatchUp>)> {
    let backlog = plan.catch_up.clone();
    let reader = backlog.map(|backlog| catch_up::spawn(backlog, control.clone())).transpose()?;
    let sent = load::run_by(&plan.load, clock, control.clone(), at);
    if sent.is_err() {
        // The reader goes by the phase, and nobody else ends it now.
        control.end(clock.now_ns());
    }
    let read = reader.map(|reader| reader.join().expect("a reader does not panic"));
    Ok((sent?, read.transpose()?))
}

fn wait_for(following: &Following, messages: u64) {
    let deadline = Instant::now() + GRACE;
    while following.received.load(Ordering::Relaxed) < messages
        && following.broken.lock().expect("no panic under it").is_none()
        && Instant::now() < deadline
    {
        std::thread::sleep(POLL);
    }
}

/// Every queue's end, and which connection follows it.
fn share(plan: &TailPlan) -> io::Result<Vec<(SocketAddr, Vec<QueueSpan>)>> {
    let mut shares = Vec::new();
    for endpoint in &plan.load.endpoints {
        let topic = &plan.load.shape.topic;
        let mut spans = match &plan.style {
            TailStyle::Remoting(_) => drain::spans(endpoint, topic, None)?,
            TailStyle::Kafka(_) => drain::kafka_spans(endpoint, topic, None)?,
        };
        for span in &mut spans {
            span.next = span.end;
        }
        for consumer in 0..plan.consumers.min(spans.len()) {
            let mine = spans.iter().skip(consumer).step_by(plan.consumers).copied().collect();
            shares.push((endpoint.addr, mine));
        }
    }
    Ok(shares)
}
