//! The other end: a thread that takes what comes on all connections, and tells how much
//! that was and when it had the last of it.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread::JoinHandle;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv};

use super::cell::Receiving;

/// What is received in one call at most: a buffer that a core's own cache holds.
const RECEIVE_BYTES: usize = 256 * 1024;

/// What one connection brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    pub bytes: u64,
    /// CRC-32 of all of them in their order; only of a receiver that copies.
    pub crc: u32,
}

/// When everything had come.
pub struct Received {
    pub sums: Vec<Sum>,
    pub at: Instant,
}

pub struct Receiver {
    thread: JoinHandle<io::Result<Received>>,
}

impl Receiver {
    /// Connects over loopback; the near ends are returned. `sums`: makes checksums, which
    /// takes longer than to copy.
    pub fn start(
        connections: usize,
        receiving: Receiving,
        core: Option<usize>,
        sums: bool,
    ) -> io::Result<(Self, Vec<OwnedFd>)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let (mut near, mut far) = (Vec::new(), Vec::new());
        for _ in 0..connections {
            far.push(TcpStream::connect(address)?);
            let (stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            near.push(OwnedFd::from(stream));
        }
        let receive = move || {
            if let Some(id) = core {
                core_affinity::set_for_current(core_affinity::CoreId { id });
            }
            receive_all(far, receiving, sums)
        };
        let thread = std::thread::Builder::new().name("probe-receiver".into()).spawn(receive)?;
        Ok((Self { thread }, near))
    }

    /// Waits until the near ends are closed and all is received.
    pub fn finish(self) -> io::Result<Received> {
        self.thread.join().map_err(|_| io::Error::other("the receiver panicked"))?
    }
}

/// A connection until its end.
struct Line {
    stream: TcpStream,
    index: usize,
}

fn receive_all(
    streams: Vec<TcpStream>,
    receiving: Receiving,
    checks: bool,
) -> io::Result<Received> {
    let mut sums = vec![Sum::default(); streams.len()];
    let mut hashers = vec![crc32fast::Hasher::new(); streams.len()];
    let mut open: Vec<Line> =
        (streams.into_iter().enumerate()).map(|(index, stream)| Line { stream, index }).collect();
    let mut buffer = vec![0; RECEIVE_BYTES];
    // One connection alone is waited for in the receive itself.
    let alone = open.len() == 1;
    let flags = match receiving {
        Receiving::Copies => MsgFlags::empty(),
        Receiving::Discards => MsgFlags::MSG_TRUNC,
    } | if alone { MsgFlags::empty() } else { MsgFlags::MSG_DONTWAIT };
    while !open.is_empty() {
        let ready = if alone { vec![true] } else { wait(&open)? };
        let mut ready = ready.into_iter();
        let mut failed = None;
        open.retain(|line| {
            if !ready.next().unwrap_or(false) {
                return true;
            }
            match recv(line.stream.as_raw_fd(), &mut buffer, flags) {
                Ok(0) => return false,
                Ok(count) => {
                    sums[line.index].bytes += count as u64;
                    if checks && receiving == Receiving::Copies {
                        hashers[line.index].update(&buffer[..count]);
                    }
                }
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(error) => failed = Some(error),
            }
            true
        });
        if let Some(error) = failed {
            return Err(error.into());
        }
    }
    let at = Instant::now();
    for (sum, hasher) in sums.iter_mut().zip(hashers) {
        sum.crc = hasher.finalize();
    }
    Ok(Received { sums, at })
}

/// Which of the connections have something.
fn wait(open: &[Line]) -> io::Result<Vec<bool>> {
    let mut asked: Vec<PollFd> =
        open.iter().map(|line| PollFd::new(line.stream.as_fd(), PollFlags::POLLIN)).collect();
    match poll(&mut asked, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(asked.iter().map(|asked| asked.any().unwrap_or(true)).collect())
}
