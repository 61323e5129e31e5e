//! One life of the broker: its turns, its end that was asked for.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use ringmq::base::counters::Counters;
use ringmq::base::memory::{BufferId, Buffers, NoFiles};
use ringmq::base::{ConnId, LogOffset};
use ringmq::queue::FrozenRun;
use ringmq::shard::{Event, Shard};

use super::arena::{Crash, SimArena};
use super::world::{Death, Happening, World};

/// One life of the broker.
pub struct Process {
    pub number: u64,
    pub shard: Shard,
    pub arena: SimArena,
    pub inbox: Vec<Input>,
    pub by_id: BTreeMap<ConnId, u64>,
    pub jobs: VecDeque<Job>,
    pub deadline: u64,
    /// Deadlines in a row at which nothing was done.
    pub idle_turns: u32,
    pub log_failed: bool,
    /// The next start will find its arena.
    pub shared: bool,
    pub stopping: bool,
}

pub enum Input {
    Bytes(ConnId, Vec<u8>),
    Event(Box<Event>),
    Stop,
}

/// Work of the helper, one after the other.
pub enum Job {
    Prepare(LogOffset),
    WriteRun(Arc<FrozenRun>),
    Fold(LogOffset),
    Drop(LogOffset, bool),
    /// The run mark of a life without an arena.
    Disown,
}

impl Process {
    pub fn new(number: u64, shard: Shard, arena: SimArena, shared: bool) -> Self {
        Self {
            number,
            shard,
            arena,
            inbox: Vec::new(),
            by_id: BTreeMap::new(),
            jobs: VecDeque::new(),
            deadline: 0,
            idle_turns: 0,
            log_failed: false,
            shared,
            stopping: false,
        }
    }
}

struct TurnBuffers(Vec<Vec<u8>>);

impl Buffers for TurnBuffers {
    fn bytes(&self, id: BufferId) -> &[u8] {
        &self.0[usize::from(id.0)]
    }
}
impl World {
    pub fn turn(&mut self) {
        if self.process.as_ref().is_some_and(|process| !process.inbox.is_empty()) {
            self.process.as_mut().expect("checked").idle_turns = 0;
            self.run_turn();
        }
    }

    /// One turn of the shard, which its process may not survive.
    pub fn run_turn(&mut self) {
        let now = self.now();
        let Some(process) = &mut self.process else { return };
        self.counts.turns += 1;
        let crash = self.faults.turn;
        if let Some(crash) = crash.filter(|crash| crash.in_arena) {
            process.arena.fuse.get_or_insert(crash.after);
        }
        let inputs = std::mem::take(&mut process.inbox);
        let Process { shard, arena, .. } = process;
        let mut intents = Vec::new();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let mut buffers = TurnBuffers(Vec::new());
            let mut events = Vec::new();
            let mut stops = false;
            for input in inputs {
                match input {
                    Input::Event(event) => events.push(*event),
                    Input::Stop => stops = true,
                    Input::Bytes(conn, bytes) => {
                        let (buffer, len) = (BufferId(buffers.0.len() as u16), bytes.len());
                        buffers.0.push(bytes);
                        events.push(Event::Received { conn, buffer, len });
                    }
                }
            }
            let mut world = ringmq::shard::World {
                now,
                arena,
                files: &NoFiles,
                thread: &Counters::default(),
                buffers: &buffers,
                intents: &mut intents,
            };
            for event in events {
                if shard.is_full() {
                    shard.end_turn(&mut world);
                }
                shard.on(event, &mut world);
            }
            if stops {
                shard.stop(&mut world);
            }
            shard.end_turn(&mut world);
        }));
        match outcome {
            Ok(()) => {}
            Err(payload) if payload.is::<Crash>() => {
                self.counts.kills_in_turn += 1;
                return self.end_process(crash.map_or(Death::Killed, |crash| crash.death));
            }
            Err(payload) => resume_unwind(payload),
        }
        let mut left = crash.filter(|crash| !crash.in_arena).map(|crash| crash.after);
        for intent in intents {
            if left == Some(0) {
                self.counts.kills_in_turn += 1;
                return self.end_process(crash.expect("counted down").death);
            }
            left = left.map(|left| left - 1);
            self.perform(intent);
        }
        if left.is_some() {
            self.counts.kills_in_turn += 1;
            return self.end_process(crash.expect("counted down").death);
        }
        self.look_after_process();
    }

    /// After a turn: its deadline, and its end if that was asked for.
    fn look_after_process(&mut self) {
        let now = self.now();
        let Some(process) = &mut self.process else { return };
        self.checker.log_min = process.shard.store.log_range().0;
        let failed = process.shard.store.failure().is_some();
        if failed && !process.log_failed {
            process.log_failed = true;
            self.counts.disk_errors += 1;
        }
        process.deadline += 1;
        let (number, deadline) = (process.number, process.deadline);
        let next = process.shard.next_deadline_us(now);
        if process.stopping
            && let Some(end) = process.shard.has_stopped()
        {
            return self.end_cleanly(end);
        }
        if let Some(next) = next.filter(|next| *next < u64::MAX) {
            self.at(
                next.max(now.mono_us + 1),
                Happening::Deadline { process: number, number: deadline },
            );
        }
    }

    /// The first turn of a process, which has nothing to do but to begin.
    pub fn first_turn(&mut self) {
        self.run_turn();
    }

    /// Tells the shard to stop; it ends once it has.
    pub fn stop(&mut self) {
        let Some(process) = &mut self.process else { return };
        process.stopping = true;
        process.inbox.push(Input::Stop);
        self.turn();
    }
}
