//! A tail: consumers wait at the ends of the queues before the first message
//! is sent, and stay until all that was acknowledged has come.

use super::catch_up::{self, CatchUp};
use super::follow::{Following, TailStyle, follow};
use crate::drain::{self, DrainPlan, QueueSpan};
use crate::load::{self, Beside, Clock, Control, LoadPlan, Mark, Protocol, Recorder};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::Duration;

pub struct TailPlan {
    pub load: LoadPlan,
    pub style: TailStyle,
    pub consumers: usize,
    pub catch_up: Option<DrainPlan>,
}

pub struct TailResult {
    pub elapsed: Duration,
    /// Messages that were acknowledged and that the consumers ask for.
    pub wanted: u64,
    pub sent: Recorder,
    pub received: Recorder,
    pub catch_up: Option<CatchUp>,
}

/// Runs the plan; `at` is called when the measurement begins and ends.
pub fn run(plan: &TailPlan, at: impl FnMut(Mark)) -> io::Result<TailResult> {
    let (clock, control) = (Clock::start(), Arc::new(Control::new()));
    let run = plan.load.shape.run;
    let filtered = plan.style.is_filtered();
    let following = Following { clock, control: control.clone(), run, filtered };
    let (style, shares) = (plan.style.clone(), share(plan)?);
    let (received, followed) = mpsc::channel();
    let beside: Beside = Box::new(move || {
        Box::pin(async move {
            // The receiver outlives the load.
            let _ = received.send(follow(style, shares, following).await);
        })
    });
    let sent = send(plan, clock, &control, beside, at);
    // Consumers that never began have no more to say than the load.
    let received = followed.recv().ok().transpose()?;
    let (result, catch_up) = sent?;
    let mut all = Recorder::new();
    all.add(received.unwrap_or_default());
    let wanted = wanted(plan, &result);
    let (elapsed, sent) = (result.elapsed, result.recorder);
    Ok(TailResult { elapsed, wanted, sent, received: all, catch_up })
}

/// Messages that must arrive.
fn wanted(plan: &TailPlan, result: &load::LoadResult) -> u64 {
    match (&plan.style, &plan.load.protocol) {
        (TailStyle::Remoting(pulls), Protocol::Remoting(sends)) if !pulls.subscription.is_all() => {
            pulls.subscription.share_of(&result.ledger, &sends.tags)
        }
        _ => result.recorder.measured.messages + result.recorder.outside.messages,
    }
}

fn send(
    plan: &TailPlan,
    clock: Clock,
    control: &Arc<Control>,
    beside: Beside,
    at: impl FnMut(Mark),
) -> io::Result<(load::LoadResult, Option<CatchUp>)> {
    let backlog = plan.catch_up.clone();
    let reader = backlog.map(|backlog| catch_up::spawn(backlog, control.clone())).transpose()?;
    let sent = load::run_by(&plan.load, clock, control.clone(), Some(beside), at);
    if sent.is_err() {
        // The reader goes by the phase, and nobody else ends it now.
        control.end(clock.now_ns());
    }
    let read = reader.map(|reader| reader.join().expect("a reader does not panic"));
    Ok((sent?, read.transpose()?))
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
