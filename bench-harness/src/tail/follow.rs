//! Consumers at the end of their queues: each queue has one pull at the
//! broker, which answers when there is a message.

use crate::drain::{QueueSpan, RemotingPulls, take_stored};
use crate::load::{Clock, Control, Phase, Recorder};
use crate::wire::{Frame, Header, take_frame};
use crate::{body, threads};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio_uring::buf::BoundedBuf;
use tokio_uring::net::TcpStream;

/// What all consumers of a tail share with the thread that leads it.
pub struct Following {
    pub clock: Clock,
    pub control: Arc<Control>,
    /// Only messages of this run are counted.
    pub run: u64,
    /// Received so far.
    pub received: AtomicU64,
    pub stop: AtomicBool,
    /// Why a consumer ended early.
    pub broken: std::sync::Mutex<Option<String>>,
}

const READ_BYTES: usize = 1 << 20;
const STOP_POLL: Duration = Duration::from_millis(5);

const FOUND: i32 = 0;
/// Nothing there in all that time, or not yet.
const NOT_FOUND: [i32; 2] = [19, 20];

/// Follows all queues with these connections until told to stop.
pub fn follow(
    style: &RemotingPulls,
    shares: Vec<(SocketAddr, Vec<QueueSpan>)>,
    following: &Arc<Following>,
    ready: impl FnOnce(),
) -> io::Result<Recorder> {
    threads::ring_runtime()?.block_on(async {
        let recorder = Rc::new(RefCell::new(Recorder::new()));
        let (mut tasks, mut streams) = (Vec::new(), Vec::new());
        for (addr, queues) in shares {
            let socket = std::net::TcpStream::connect(addr)?;
            socket.set_nodelay(true)?;
            let stream = Rc::new(TcpStream::from_std(socket));
            streams.push(stream.clone());
            let follower = Follower {
                style: style.clone(),
                stream,
                queues,
                in_flight: HashMap::new(),
                next_opaque: 1,
                output: Vec::new(),
                following: following.clone(),
                recorder: recorder.clone(),
            };
            tasks.push(tokio_uring::spawn(follower.run()));
        }
        ready();
        let stopping = Rc::new(Cell::new(false));
        let stopper = tokio_uring::spawn(stop_all(following.clone(), streams, stopping.clone()));
        for task in tasks {
            let ended = task.await.expect("a consumer does not panic");
            // A connection that we shut down ends like one that broke.
            if let (Err(error), false) = (ended, stopping.get()) {
                following
                    .broken
                    .lock()
                    .expect("no panic under it")
                    .get_or_insert(error.to_string());
            }
        }
        stopper.abort();
        Ok(recorder.take())
    })
}

async fn stop_all(
    following: Arc<Following>,
    streams: Vec<Rc<TcpStream>>,
    stopping: Rc<Cell<bool>>,
) {
    while !following.stop.load(Ordering::Relaxed) {
        tokio::time::sleep(STOP_POLL).await;
    }
    stopping.set(true);
    for stream in streams {
        // One that the broker closed first cannot be shut down again.
        let _ = stream.shutdown(std::net::Shutdown::Both);
    }
}

/// One connection and the queues that it follows.
struct Follower {
    style: RemotingPulls,
    stream: Rc<TcpStream>,
    queues: Vec<QueueSpan>,
    in_flight: HashMap<u32, usize>,
    next_opaque: u32,
    output: Vec<u8>,
    following: Arc<Following>,
    recorder: Rc<RefCell<Recorder>>,
}

impl Follower {
    async fn run(mut self) -> io::Result<()> {
        for index in 0..self.queues.len() {
            self.pull(index);
        }
        let (mut input, mut filled) = (vec![0; READ_BYTES], 0);
        loop {
            if !self.output.is_empty() {
                let output = std::mem::take(&mut self.output);
                let (written, back) = self.stream.write_all(output).await;
                written?;
                self.output = back;
                self.output.clear();
            }
            let (read, slice) = self.stream.read(input.slice(filled..)).await;
            input = slice.into_inner();
            match read? {
                0 => return Err(io::Error::other("closed by the broker")),
                count => filled += count,
            }
            let mut used = 0;
            while let Some(frame) = take_frame(&input[used..filled]).map_err(io::Error::other)? {
                used += frame.len;
                self.take(&frame)?;
            }
            input.copy_within(used..filled, 0);
            filled -= used;
            if filled == input.len() {
                input.resize(2 * filled, 0);
            }
        }
    }

    fn pull(&mut self, index: usize) {
        let opaque = self.next_opaque;
        self.next_opaque = self.next_opaque % (i32::MAX as u32) + 1;
        let request = self.style.request(&self.queues[index]);
        self.output.extend_from_slice(&request.encode(self.style.codec, opaque).bytes);
        self.in_flight.insert(opaque, index);
    }

    fn take(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        let header = Header::parse(frame.codec, frame.header).map_err(io::Error::other)?;
        // Anything else is a request of the broker's own: not for us.
        let Some(index) = self.in_flight.remove(&header.opaque) else { return Ok(()) };
        if header.code != FOUND && !NOT_FOUND.contains(&header.code) {
            let (queue, code, remark) = (self.queues[index].queue, header.code, &header.remark);
            return Err(io::Error::other(format!("queue {queue}: code {code} {remark}")));
        }
        let stated = header.ext("nextBeginOffset").and_then(|text| text.parse::<u64>().ok());
        if header.code == FOUND {
            let next = stated.filter(|next| *next > self.queues[index].next);
            self.queues[index].next =
                next.ok_or_else(|| io::Error::other("a reply with messages goes nowhere"))?;
            self.count(frame.body)?;
        }
        self.pull(index);
        Ok(())
    }

    fn count(&self, mut bytes: &[u8]) -> io::Result<()> {
        let now_ns = self.following.clock.now_ns();
        let control = &self.following.control;
        let arrived = control.phase() == Phase::Measuring;
        let mut recorder = self.recorder.borrow_mut();
        recorder.at(control.measured_ns(now_ns));
        let mut count = 0;
        while let Some(message) = take_stored(bytes).map_err(|e| io::Error::other(e.to_string()))? {
            bytes = &bytes[message.len..];
            match body::sent(message.body) {
                Some((run, sent_ns)) if run == self.following.run => {
                    let latency_ns = now_ns.saturating_sub(sent_ns);
                    recorder.received(arrived, control.covers(sent_ns), latency_ns);
                    count += 1;
                }
                _ => {}
            }
        }
        self.following.received.fetch_add(count, Ordering::Relaxed);
        Ok(())
    }
}
