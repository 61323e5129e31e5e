//! Consumers at the end of their queues: what they ask for waits at the
//! broker, which answers when there is a message.

use super::fetches::KafkaFollows;
use super::pulls::RemotingFollows;
use crate::body;
use crate::drain::{QueueSpan, RemotingPulls};
use crate::kafka::FetchStyle;
use crate::load::{Clock, Control, Phase, Recorder};
use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_uring::buf::BoundedBuf;
use tokio_uring::net::TcpStream;

/// How consumers ask, in which protocol.
#[derive(Clone, Debug)]
pub enum TailStyle {
    Remoting(RemotingPulls),
    Kafka(FetchStyle),
}

impl TailStyle {
    pub fn is_filtered(&self) -> bool {
        matches!(self, Self::Remoting(pulls) if !pulls.subscription.is_all())
    }
}

/// What a following connection needs of a protocol.
pub trait Follows {
    /// Appends what should wait at the broker and does not.
    fn ask(&mut self, output: &mut Vec<u8>) -> io::Result<()>;

    /// Handles the first frame of `bytes`, giving out the body of each message; returns the
    /// frame's length once it is whole.
    fn take(&mut self, bytes: &[u8], message: &mut dyn FnMut(&[u8])) -> io::Result<Option<usize>>;
}

/// By what consumers go.
#[derive(Clone)]
pub struct Following {
    pub clock: Clock,
    pub control: Arc<Control>,
    /// Only messages of this run are counted.
    pub run: u64,
    /// Not all that is sent is asked for.
    pub filtered: bool,
}

/// What the consumers of a thread share.
struct Seen {
    following: Following,
    recorder: RefCell<Recorder>,
    /// Received so far.
    received: Cell<u64>,
    /// Why a consumer ended early.
    broken: RefCell<Option<String>>,
}

const READ_BYTES: usize = 1 << 20;
const POLL: Duration = Duration::from_millis(5);
/// How long the last messages may be on their way.
const GRACE: Duration = Duration::from_secs(10);
/// When so long nothing has come that passes a filter, nothing more will.
const QUIET: Duration = Duration::from_secs(1);
/// When the load has failed, nobody says how many messages there are.
const END_PATIENCE: Duration = Duration::from_secs(40);

/// Follows all queues with these connections until all that was acknowledged has come.
pub async fn follow(
    style: TailStyle,
    shares: Vec<(SocketAddr, Vec<QueueSpan>)>,
    following: Following,
) -> io::Result<Recorder> {
    let seen = Rc::new(Seen {
        following,
        recorder: RefCell::default(),
        received: Cell::new(0),
        broken: RefCell::default(),
    });
    let (mut tasks, mut streams) = (Vec::new(), Vec::new());
    for (addr, queues) in shares {
        let socket = std::net::TcpStream::connect(addr)?;
        socket.set_nodelay(true)?;
        let stream = Rc::new(TcpStream::from_std(socket));
        streams.push(stream.clone());
        let seen = seen.clone();
        tasks.push(match style.clone() {
            TailStyle::Remoting(pulls) => {
                let follows = RemotingFollows::new(pulls, queues);
                tokio_uring::spawn(Follower { follows, stream, seen }.run())
            }
            TailStyle::Kafka(style) => {
                let follows = KafkaFollows::new(style, queues);
                tokio_uring::spawn(Follower { follows, stream, seen }.run())
            }
        });
    }
    until_all_came(&seen).await;
    let broken = seen.broken.take();
    for stream in streams {
        // One that the broker closed first cannot be shut down again.
        let _ = stream.shutdown(std::net::Shutdown::Both);
    }
    for task in tasks {
        task.await.expect("a consumer does not panic");
    }
    match broken {
        Some(why) => Err(io::Error::other(format!("a consumer ended: {why}"))),
        None => Ok(seen.recorder.take()),
    }
}

async fn until_all_came(seen: &Seen) {
    let control = &seen.following.control;
    while control.phase() != Phase::Ending {
        tokio::time::sleep(POLL).await;
    }
    let mut deadline = Instant::now() + END_PATIENCE;
    let mut known = None;
    let (mut last, mut since) = (0, Instant::now());
    while Instant::now() < deadline && seen.broken.borrow().is_none() {
        if known.is_none() && control.acknowledged().is_some() {
            known = control.acknowledged();
            deadline = Instant::now() + GRACE;
        }
        if known.is_some_and(|all| seen.received.get() >= all) {
            return;
        }
        if last != seen.received.get() {
            (last, since) = (seen.received.get(), Instant::now());
        }
        // How many a filter lets pass is known afterwards.
        if known.is_some() && seen.following.filtered && since.elapsed() > QUIET {
            return;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// One connection and the queues that it follows.
struct Follower<F: Follows> {
    follows: F,
    stream: Rc<TcpStream>,
    seen: Rc<Seen>,
}

impl<F: Follows> Follower<F> {
    /// Until the connection is shut down, by us or by the broker.
    async fn run(mut self) {
        if let Err(error) = self.receive().await {
            self.seen.broken.borrow_mut().get_or_insert(error.to_string());
        }
    }

    async fn receive(&mut self) -> io::Result<()> {
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
        let Following { clock, control, run, .. } = &self.seen.following;
        let now_ns = clock.now_ns();
        let arrived = control.phase() == Phase::Measuring;
        let mut recorder = self.seen.recorder.borrow_mut();
        recorder.at(control.measured_ns(now_ns));
        let (mut used, mut count) = (0, 0);
        let mut message = |body: &[u8]| {
            if let Some((_, sent_ns)) = body::sent(body).filter(|(of, _)| of == run) {
                let latency_ns = now_ns.saturating_sub(sent_ns);
                recorder.received(arrived, control.covers(sent_ns), latency_ns);
                count += 1;
            }
        };
        while let Some(len) = self.follows.take(&bytes[used..], &mut message)? {
            used += len;
        }
        self.seen.received.set(self.seen.received.get() + count);
        Ok(used)
    }
}
