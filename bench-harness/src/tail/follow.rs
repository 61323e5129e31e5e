//! Consumers at the end of their queues: what they ask for waits at the
//! broker, which answers when there is a message.

use super::fetches::KafkaFollows;
use super::pulls::RemotingFollows;
use crate::drain::{QueueSpan, RemotingPulls};
use crate::kafka::FetchStyle;
use crate::load::{Clock, Control, Phase, Recorder};
use crate::{body, threads};
use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio_uring::buf::BoundedBuf;
use tokio_uring::net::TcpStream;

/// How consumers ask, in which protocol.
#[derive(Clone, Debug)]
pub enum TailStyle {
    Remoting(RemotingPulls),
    Kafka(FetchStyle),
}

/// What a following connection needs of a protocol.
pub trait Follows {
    /// Appends what should wait at the broker and does not.
    fn ask(&mut self, output: &mut Vec<u8>) -> io::Result<()>;

    /// Handles the first frame of `bytes`, giving out the body of each message; returns the
    /// frame's length once it is whole.
    fn take(&mut self, bytes: &[u8], message: &mut dyn FnMut(&[u8])) -> io::Result<Option<usize>>;
}

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

/// Follows all queues with these connections until told to stop.
pub fn follow(
    style: &TailStyle,
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
            let (following, recorder) = (following.clone(), recorder.clone());
            tasks.push(match style.clone() {
                TailStyle::Remoting(pulls) => {
                    let follows = RemotingFollows::new(pulls, queues);
                    tokio_uring::spawn(Follower { follows, stream, following, recorder }.run())
                }
                TailStyle::Kafka(style) => {
                    let follows = KafkaFollows::new(style, queues);
                    tokio_uring::spawn(Follower { follows, stream, following, recorder }.run())
                }
            });
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
struct Follower<F: Follows> {
    follows: F,
    stream: Rc<TcpStream>,
    following: Arc<Following>,
    recorder: Rc<RefCell<Recorder>>,
}

impl<F: Follows> Follower<F> {
    async fn run(mut self) -> io::Result<()> {
        let (mut input, mut filled) = (vec![0; READ_BYTES], 0);
        let mut output = Vec::new();
        loop {
            self.follows.ask(&mut output)?;
            if !output.is_empty() {
                let (written, back) = self.stream.write_all(output).await;
                written?;
                output = back;
                output.clear();
            }
            let (read, slice) = self.stream.read(input.slice(filled..)).await;
            input = slice.into_inner();
            match read? {
                0 => return Err(io::Error::other("closed by the broker")),
                count => filled += count,
            }
            let used = self.take(&input[..filled])?;
            input.copy_within(used..filled, 0);
            filled -= used;
            if filled == input.len() {
                input.resize(2 * filled, 0);
            }
        }
    }

    /// Counts the messages of every whole frame; returns the length of these.
    fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let now_ns = self.following.clock.now_ns();
        let (control, run) = (&self.following.control, self.following.run);
        let arrived = control.phase() == Phase::Measuring;
        let mut recorder = self.recorder.borrow_mut();
        recorder.at(control.measured_ns(now_ns));
        let (mut used, mut count) = (0, 0);
        let mut message = |body: &[u8]| {
            if let Some((_, sent_ns)) = body::sent(body).filter(|(of, _)| *of == run) {
                let latency_ns = now_ns.saturating_sub(sent_ns);
                recorder.received(arrived, control.covers(sent_ns), latency_ns);
                count += 1;
            }
        };
        while let Some(len) = self.follows.take(&bytes[used..], &mut message)? {
            used += len;
        }
        self.following.received.fetch_add(count, Ordering::Relaxed);
        Ok(used)
    }
}
