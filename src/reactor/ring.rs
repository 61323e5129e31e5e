//! A data thread's ring: submissions out, completions in, one turn at a time.

use super::arena::{Arena, memory::Memory};
use super::buffers::ReceiveBuffers;
use super::completion::Completion;
use super::disk::FIXED_BUFFER_BYTES;
use super::doorbell::{Doorbell, DoorbellWatch, doorbell};
use super::gather::Gather;
use super::lent::Lent;
use super::op::{InFlight, UNWATCHED};
use super::rlimits;
use super::send_now::Pipes;
use super::setup::{self, Degradation, RingConfig, SetupError};
use super::socket::SocketState;
use super::turn::Reaped;
use crate::base::counters::{Counters, ThreadCounters};
use crate::base::memory::{BufferId, Buffers};
use io_uring::types::CancelBuilder;
use io_uring::{IoUring, opcode, squeue};
use nix::sys::resource::{UsageWho, getrusage};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Registered buffers of all arenas of a ring together.
const FIXED_BUFFERS_MAX: u32 = 256;
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
    pub(super) pipes: Pipes,
    /// Whether the kernel has zero-copy sends.
    pub(super) zero_copy: bool,
    /// Submissions that found the queue full.
    pub(super) backlog: VecDeque<squeue::Entry>,
    pub(super) reaped: Vec<Reaped>,
    bell: Doorbell,
    pub(super) watch: DoorbellWatch,
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
            pipes: Pipes::default(),
            zero_copy: true,
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

    /// Asks the kernel for the calling thread's page faults, which is the ring's own.
    pub fn counters(&self) -> Counters {
        let usage = getrusage(UsageWho::RUSAGE_THREAD);
        let (minor, major) = usage.map_or((0, 0), |usage| {
            (usage.minor_page_faults() as u64, usage.major_page_faults() as u64)
        });
        Counters { minor_faults: minor, major_faults: major, ..self.counters }
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

    /// Operations in flight, the doorbell's own among them.
    pub fn operations_in_flight(&self) -> usize {
        self.in_flight.len()
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

impl ThreadCounters for Ring {
    fn counters(&self) -> Counters {
        self.counters()
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
