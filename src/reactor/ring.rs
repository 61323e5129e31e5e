//! A data thread's ring: submissions out, completions in, one turn at a time.

use super::arena::{Arena, memory::Memory};
use super::buffers::ReceiveBuffers;
use super::completion::Completion;
use super::disk::FIXED_BUFFER_BYTES;
use super::doorbell::{Doorbell, DoorbellWatch, doorbell};
use super::gather::Gather;
use super::lent::Lent;
use super::op::{InFlight, Op, UNWATCHED};
use super::rlimits;
use super::setup::{self, Degradation, RingConfig, SetupError};
use super::socket::SocketState;
use crate::base::memory::{BufferId, Buffers};
use io_uring::types::{CancelBuilder, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Registered buffers of all arenas of a ring together.
const FIXED_BUFFERS_MAX: u32 = 256;
/// Calls of one turn that fetch what the first has left.
const FETCHES_MAX: usize = 32;
/// How long a dropped ring waits for the kernel to let go; then it leaks the memory.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// An io_uring and everything that its operations hold. It stays on its thread.
pub struct Ring {
    pub(super) uring: IoUring,
    pub(super) in_flight: InFlight,
    pub(super) buffers: ReceiveBuffers,
    pub(super) arenas: Vec<RingArena>,
    /// Completions that needed no call.
    pub(super) ready: Vec<Completion>,
    /// Connections that ran out of receive buffers, with their tokens, oldest first.
    pub(super) starved: VecDeque<(Rc<SocketState>, u64)>,
    pub(super) gathers: Vec<Lent<Gather>>,
    /// Submissions that found the queue full.
    backlog: VecDeque<squeue::Entry>,
    reaped: Vec<Reaped>,
    bell: Doorbell,
    watch: DoorbellWatch,
    degradations: Vec<Degradation>,
    register_arenas: bool,
    fixed_buffers: u32,
    pub(super) draining: bool,
    pub(super) counters: Counters,
}

/// An arena that this ring writes from, reads into and sends from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaId(pub(super) u16);

pub(super) struct RingArena {
    pub memory: Rc<Memory>,
    /// The first of its registered buffers, if it has any.
    pub fixed: Option<u16>,
}

/// How long a turn may wait for something to happen.
#[derive(Clone, Copy, Debug)]
pub enum Wait {
    Never,
    /// Look for `spin`, then sleep: until something happens, at most for `at_most`.
    SpinThenPark {
        spin: Duration,
        at_most: Option<Duration>,
    },
}

/// What a ring has done since it was made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Calls of io_uring_enter.
    pub enters: u64,
    /// Of those, calls that slept.
    pub parks: u64,
    pub completions: u64,
    /// Receives that found no buffer.
    pub starved: u64,
    /// Sends that left in more than one call.
    pub short_sends: u64,
    /// Sends whose rest was copied, so that the arena could go on.
    pub copied_sends: u64,
}

struct Reaped {
    user_data: u64,
    result: i32,
    flags: u32,
}

impl Ring {
    /// Makes a ring for the calling thread, with its receive buffers and doorbell.
    pub fn new(config: RingConfig) -> Result<Self, SetupError> {
        let (uring, degradations) = setup::build(&config)?;
        let memory = |error| SetupError::Io { tried: "map receive buffers", error };
        let mut buffers =
            ReceiveBuffers::new(config.buffer_count, config.buffer_bytes).map_err(memory)?;
        buffers.publish();
        buffers.register(&uring.submitter()).map_err(setup::explain_buffers)?;
        let tried = |error| SetupError::Io { tried: "make an eventfd", error };
        let (bell, watch) = doorbell().map_err(tried)?;
        let mut ring = Self {
            uring,
            in_flight: InFlight::default(),
            buffers,
            arenas: Vec::new(),
            ready: Vec::new(),
            starved: VecDeque::new(),
            gathers: Vec::new(),
            backlog: VecDeque::new(),
            reaped: Vec::with_capacity(config.cq_entries as usize),
            bell,
            watch,
            degradations,
            register_arenas: config.register_arenas,
            fixed_buffers: 0,
            draining: false,
            counters: Counters::default(),
        };
        let tried = |error| SetupError::Io { tried: "register a table of buffers", error };
        ring.uring.submitter().register_buffers_sparse(FIXED_BUFFERS_MAX).map_err(tried)?;
        ring.watch_doorbell();
        Ok(ring)
    }

    /// What is missing on this machine; worth one log line each.
    pub fn degradations(&self) -> &[Degradation] {
        &self.degradations
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// For other threads, to wake this one.
    pub fn doorbell(&self) -> Doorbell {
        self.bell.clone()
    }

    /// Makes an arena known to the ring, which keeps its memory from then on. Where the
    /// kernel refuses to register it, its writes and reads go the slower way.
    pub fn add_arena(&mut self, arena: &Arena) -> ArenaId {
        let memory = arena.log.memory.clone();
        let registered = self.register_arenas.then(|| self.register(&memory));
        let fixed = match registered {
            None => None,
            Some(Ok(first)) => Some(first),
            Some(Err(error)) => {
                self.degradations.push(Degradation::ArenaNotRegistered {
                    bytes: memory.layout.file_len(),
                    limit: rlimits::locked_memory(),
                    cause: error.to_string(),
                });
                None
            }
        };
        self.arenas.push(RingArena { memory, fixed });
        ArenaId((self.arenas.len() - 1) as u16)
    }

    /// Registers a file's worth of an arena's mapping, in buffers of at most 1 GiB.
    fn register(&mut self, memory: &Memory) -> io::Result<u16> {
        let len = memory.layout.file_len();
        let first = self.fixed_buffers;
        let count = len.div_ceil(FIXED_BUFFER_BYTES) as u32;
        if first + count > FIXED_BUFFERS_MAX {
            return Err(io::Error::other("the ring's table of buffers is full"));
        }
        let iovecs: Vec<_> = (0..len)
            .step_by(FIXED_BUFFER_BYTES)
            .map(|at| {
                let iov_len = FIXED_BUFFER_BYTES.min(len - at);
                libc::iovec { iov_base: memory.at(at, iov_len).cast(), iov_len }
            })
            .collect();
        // SAFETY: the ring keeps the arena's memory for as long as it lives itself.
        unsafe { self.uring.submitter().register_buffers_update(first, &iovecs, None)? };
        self.fixed_buffers += count;
        Ok(first as u16)
    }

    /// Gives a receive buffer back; the kernel gets it with the next turn.
    pub fn give_back(&mut self, buffer: BufferId) {
        self.buffers.give_back(buffer);
    }

    /// The receive buffers alone, for a caller that borrows the ring in parts.
    pub fn receive_buffers(&self) -> &impl Buffers {
        &self.buffers
    }

    /// Receive buffers in all.
    pub fn buffers_count(&self) -> usize {
        self.buffers.count()
    }

    /// Receive buffers that are now with the caller.
    pub fn buffers_lent(&self) -> usize {
        self.buffers.lent()
    }

    /// Operations in flight, the doorbell's own among them.
    pub fn operations_in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// One turn: submits all that was asked for and adds what has completed to `out`.
    ///
    /// `has_mail` is asked after this thread has announced that it sleeps, and before it
    /// does: whoever puts mail down first and rings second is never overlooked. An error
    /// is one of the ring itself and final.
    pub fn turn(
        &mut self,
        wait: Wait,
        mut has_mail: impl FnMut() -> bool,
        out: &mut Vec<Completion>,
    ) -> io::Result<()> {
        out.append(&mut self.ready);
        self.rearm_starved();
        self.buffers.publish();
        let Wait::SpinThenPark { spin, mut at_most } = wait else { return self.poll(out) };
        if !out.is_empty() || has_mail() {
            return self.poll(out);
        }
        if !spin.is_zero() {
            let started = Instant::now();
            loop {
                self.poll(out)?;
                if !out.is_empty() || has_mail() {
                    return Ok(());
                }
                let elapsed = started.elapsed();
                if at_most.is_some_and(|at_most| elapsed >= at_most) {
                    return Ok(());
                }
                if elapsed >= spin {
                    at_most = at_most.map(|at_most| at_most - elapsed);
                    break;
                }
                for _ in 0..16 {
                    std::hint::spin_loop();
                }
            }
        }
        self.park(at_most, has_mail, out)
    }

    /// Submits and fetches without waiting, and without a call if there is no reason for one.
    fn poll(&mut self, out: &mut Vec<Completion>) -> io::Result<()> {
        self.flush_backlog()?;
        if self.has_work_for_the_kernel() {
            self.enter(0, None)?;
        }
        self.reap(out);
        self.fetch_rest(out)
    }

    /// The kernel runs about twenty pieces of deferred work per call; a turn wants what
    /// all connections have sent, or half of the receive buffers.
    fn fetch_rest(&mut self, out: &mut Vec<Completion>) -> io::Result<()> {
        for _ in 0..FETCHES_MAX {
            let submissions = self.uring.submission();
            let waiting = submissions.taskrun() || submissions.cq_overflow();
            drop(submissions);
            if !waiting || self.buffers.offered() <= self.buffers.count() / 2 {
                break;
            }
            self.enter(0, None)?;
            self.reap(out);
        }
        Ok(())
    }

    fn has_work_for_the_kernel(&mut self) -> bool {
        let submissions = self.uring.submission();
        !submissions.is_empty() || submissions.taskrun() || submissions.cq_overflow()
    }

    fn park(
        &mut self,
        at_most: Option<Duration>,
        mut has_mail: impl FnMut() -> bool,
        out: &mut Vec<Completion>,
    ) -> io::Result<()> {
        self.flush_backlog()?;
        self.watch.announce_park();
        if has_mail() {
            self.watch.awake();
            return self.poll(out);
        }
        self.counters.parks += 1;
        let entered = self.enter(1, at_most);
        self.watch.awake();
        self.reap(out);
        entered?;
        self.fetch_rest(out)
    }

    /// Enters the kernel, submits, runs deferred work, and waits for `want` completions.
    fn enter(&mut self, want: u32, at_most: Option<Duration>) -> io::Result<()> {
        const GET_EVENTS: u32 = io_uring::EnterFlags::GETEVENTS.bits();
        const EXT_ARG: u32 = io_uring::EnterFlags::EXT_ARG.bits();
        self.counters.enters += 1;
        let to_submit = self.uring.submission().len() as u32;
        let submitter = self.uring.submitter();
        let entered = match at_most {
            None => {
                // SAFETY: no argument is passed, and everything submitted is held in `in_flight`.
                unsafe { submitter.enter::<()>(to_submit, want, GET_EVENTS, None) }
            }
            Some(at_most) => {
                let timeout = Timespec::from(at_most);
                let args = SubmitArgs::new().timespec(&timeout);
                // SAFETY: `args` and the time it points to outlive the call.
                unsafe { submitter.enter(to_submit, want, GET_EVENTS | EXT_ARG, Some(&args)) }
            }
        };
        match entered.map_err(|error| (error.raw_os_error(), error)) {
            Ok(_) => Ok(()),
            // The time is up, a signal came, or completions must be taken before more go in.
            Err((Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN), _)) => Ok(()),
            Err((_, error)) => Err(error),
        }
    }

    /// Handles what is in the completion queue now.
    fn reap(&mut self, out: &mut Vec<Completion>) {
        let mut reaped = std::mem::take(&mut self.reaped);
        reaped.extend(self.uring.completion().map(|entry| Reaped {
            user_data: entry.user_data(),
            result: entry.result(),
            flags: entry.flags(),
        }));
        self.counters.completions += reaped.len() as u64;
        for completion in reaped.drain(..) {
            self.on_completion(&completion, out);
        }
        self.reaped = reaped;
    }

    fn on_completion(&mut self, done: &Reaped, out: &mut Vec<Completion>) {
        let Reaped { user_data, result, flags } = *done;
        if user_data == UNWATCHED {
            return;
        }
        let more = cqueue::more(flags);
        let op = self.in_flight.get(user_data).expect("a completion belongs to an operation");
        match op {
            Op::Accept { .. } => self.on_accept(user_data, result, more, out),
            Op::Receive { .. } => self.on_receive(user_data, result, flags, out),
            Op::Send { .. } => self.on_send(user_data, result, out),
            Op::Write(_) => self.on_write(user_data, result, out),
            Op::Read { .. } => self.on_read(user_data, result, out),
            Op::Sync { .. } => self.on_sync(user_data, result, out),
            Op::Doorbell => {
                out.push(Completion::Rung);
                if !more {
                    self.in_flight.remove(user_data);
                    if !self.draining {
                        self.watch_doorbell();
                    }
                }
            }
        }
    }

    /// The poll reports each ring of the bell once and needs no read to go on.
    fn watch_doorbell(&mut self) {
        let user_data = self.in_flight.insert(Op::Doorbell);
        let fd = types::Fd(self.watch.fd());
        let entry = opcode::PollAdd::new(fd, libc::POLLIN as u32).multi(true).build();
        self.submit(entry.user_data(user_data));
    }

    /// Queues a submission whose memory is held by the operation of its user data.
    pub(super) fn submit(&mut self, entry: squeue::Entry) {
        if self.backlog.is_empty() && self.try_push(&entry) {
            return;
        }
        self.backlog.push_back(entry);
        // Makes room now, so that the backlog stays short; what is refused waits in it.
        let _ = self.flush_backlog();
    }

    fn try_push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: what the entry points to belongs to its operation until the last completion.
        unsafe { self.uring.submission().push(entry) }.is_ok()
    }

    fn flush_backlog(&mut self) -> io::Result<()> {
        while let Some(entry) = self.backlog.front().cloned() {
            if !self.try_push(&entry) {
                let before = self.uring.submission().len();
                self.enter(0, None)?;
                if self.uring.submission().len() == before {
                    // Completions must be taken first; the next turn tries again.
                    return Ok(());
                }
                continue;
            }
            self.backlog.pop_front();
        }
        Ok(())
    }

    /// Asks the kernel to end an operation. Its last completion still comes.
    pub(super) fn submit_cancel(&mut self, user_data: u64) {
        self.submit(opcode::AsyncCancel::new(user_data).build().user_data(UNWATCHED));
    }

    /// Waits until the kernel holds nothing of ours.
    fn drain(&mut self) -> io::Result<()> {
        self.draining = true;
        self.starved.clear();
        let all = CancelBuilder::any().all();
        self.submit(opcode::AsyncCancel2::new(all).build().user_data(UNWATCHED));
        let deadline = Instant::now() + DRAIN_MAX;
        let mut out = Vec::new();
        while !self.in_flight.is_empty() && Instant::now() < deadline {
            self.flush_backlog()?;
            self.enter(1, Some(Duration::from_millis(100)))?;
            self.reap(&mut out);
            out.clear();
        }
        Ok(())
    }
}

impl Buffers for Ring {
    fn bytes(&self, id: BufferId) -> &[u8] {
        self.buffers.bytes(id)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let _ = self.drain();
        let unregistered = self.uring.submitter().unregister_buf_ring(super::buffers::GROUP);
        if !self.in_flight.is_empty() || unregistered.is_err() {
            // The kernel may still write to what these hold: leak it rather than free it.
            std::mem::forget(std::mem::take(&mut self.in_flight));
            self.buffers.leak();
        }
    }
}
