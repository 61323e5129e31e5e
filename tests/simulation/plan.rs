//! A run from its seed: what it is made of, which faults strike, and how it ends.

use rand::{Rng, SeedableRng};
use ringmq::base::AckLevel;
use ringmq::log::retention::{DiskUse, RetentionConfig};
use ringmq::log::run_mark::ArenaId;
use ringmq::log::{FlushMethod, Geometry};
use ringmq::shard::Event;
use ringmq::store::Done;
use ringmq::wire::Codec;

use super::Random;
use super::arena::ArenaSizes;
use super::checker::Queue;
use super::process::Input;
use super::world::{Config, Death, Happening, Topic, TurnCrash, World};

/// How long the end of a run may take in simulated time: what is under way is answered,
/// everything is read once more, the broker stops and starts, and again.
const END_US: u64 = 200_000_000;

impl Config {
    pub fn of_seed(seed: u64, load_us: u64, trace: bool) -> Self {
        let mut random = Random::seed_from_u64(seed ^ 0x5EED);
        let segment_bytes = [64, 96, 128, 256][random.random_range(0..4)] * 1024;
        let ring = [192, 256, 512, 1024][random.random_range(0..4)] * 1024;
        Self {
            seed,
            load_us,
            geometry: Geometry::new(segment_bytes),
            sizes: ArenaSizes {
                ring,
                slots: random.random_range(9..24),
                slot_bytes: [16, 32][random.random_range(0..2)] * 1024,
                journal_half: [300, 4_096, 64 * 1024][random.random_range(0..3)],
            },
            flush_method: match random.random_bool(0.5) {
                true => FlushMethod::Dsync,
                false => FlushMethod::Fdatasync,
            },
            write: None,
            level: AckLevel::ALL[random.random_range(0..3)],
            retention: RetentionConfig {
                age_ms_max: [3_000, 15_000, 1_000_000][random.random_range(0..3)],
                ..RetentionConfig::default()
            },
            clients: random.random_range(2..6),
            action_us: [300, 1_000, 5_000, 30_000][random.random_range(0..4)],
            fault_us: [300_000, 1_500_000, 6_000_000][random.random_range(0..3)],
            disk_us: [100, 1_000, 8_000, 30_000][random.random_range(0..4)],
            trace,
        }
    }
}

impl World {
    /// One whole run. Panics where a promise is broken.
    pub fn play(&mut self) {
        self.start();
        for client in 0..self.config.clients {
            self.after(1_000, Happening::Tick(client));
        }
        let first = self.delay(2 * self.config.fault_us);
        self.after(first, Happening::Fault);
        let end_us = self.now_us + self.config.load_us;
        self.run(end_us, |_| false);
        self.end();
    }

    fn end(&mut self) {
        self.faults.calm = true;
        self.faults.turn = None;
        if let Some(process) = &mut self.process {
            process.arena.fuse = None;
        }
        self.faults.disk_error = false;
        self.faults.disk_use = DiskUse(500);
        // A failed log serves no more sends; it ends here as by an operator.
        if self.process.as_ref().is_some_and(|process| process.log_failed) {
            self.end_process(Death::Killed);
        }
        self.until("the broker is up", |world| world.process.is_some());
        self.until("all is answered", |world| world.is_quiet());
        self.until("topics are deleted", |world| {
            !world.topics.iter().any(|topic| topic.retired && topic.queues > 0)
        });
        self.audit();
        self.stop();
        self.until("a clean stop and a start", |world| {
            world.process.as_ref().is_some_and(|process| !process.stopping)
        });
        self.audit();
        self.end_process(Death::Power);
        self.until("a start after a power cut", |world| world.process.is_some());
        self.audit();
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let end_us = self.now_us + END_US;
        self.run(end_us, &mut done);
        let waiting: Vec<_> = self
            .clients
            .iter()
            .flat_map(|client| client.outstanding.values().map(|it| (client.number, it.describe())))
            .collect();
        assert!(
            done(self),
            "the run does not come to its end: {what}; waiting: {waiting:?}, {}",
            self.describe_connections()
        );
    }

    fn is_quiet(&self) -> bool {
        self.clients.iter().all(|client| client.outstanding.is_empty())
    }

    // ----- Faults ------------------------------------------------------------------

    /// Something goes wrong.
    pub fn strike(&mut self) {
        if self.faults.calm {
            return;
        }
        let pause = self.delay(2 * self.config.fault_us);
        self.after(pause, Happening::Fault);
        match self.random.random_range(0..100) {
            0..12 => self.end_process(Death::Killed),
            12..20 => {
                let death = Death::of_machine(&mut self.random);
                self.end_process(death);
            }
            20..45 => {
                self.faults.turn = Some(TurnCrash {
                    death: match self.random.random_bool(0.4) {
                        true => Death::of_machine(&mut self.random),
                        false => Death::Killed,
                    },
                    in_arena: self.random.random_bool(0.7),
                    after: self.random.random_range(0..12),
                });
            }
            45..53 => self.stop(),
            53..58 => self.fail_disk(),
            58..61 => self.lose_arena(),
            61..63 => self.lose_arena_name(),
            63..73 => {
                let use_ = [500, 500, 500, 760, 860, 920][self.random.random_range(0..6)];
                self.faults.disk_use = DiskUse(use_);
            }
            73..75 => self.retire_a_topic(),
            75..78 => self.skew_ms += self.random.random_range(-3_000..3_000),
            78..90 => {
                let stalled_until_us = self.now_us + self.random.random_range(0..3_000_000);
                let count = self.connections.len().max(1);
                let which = self.random.random_range(0..count);
                if let Some(it) = self.connections.values_mut().nth(which) {
                    it.stalled_until_us = stalled_until_us;
                }
            }
            _ => self.lose_connection(),
        }
    }

    fn fail_disk(&mut self) {
        if self.process.as_ref().is_some_and(|process| process.log_failed) {
            // Long enough without sends: the operator restarts it.
            return self.end_process(Death::Killed);
        }
        self.faults.disk_error = true;
    }

    /// The process dies, and somebody has been at its arena.
    fn lose_arena(&mut self) {
        if self.process.is_none() {
            return;
        }
        self.end_process(Death::Killed);
        let Some(remnant) = &mut self.place else { return };
        match self.random.random_range(0..3) {
            0 => self.place = None,
            1 => remnant.id = ArenaId([0xEE; 16]),
            _ => remnant.life += 1,
        }
        self.tampered = true;
    }

    /// Somebody takes the arena's name away while its process runs, which finds out.
    fn lose_arena_name(&mut self) {
        let Some(process) = self.process.as_mut().filter(|process| process.shared) else { return };
        process.shared = false;
        process.inbox.push(Input::Event(Box::new(Event::Store(Done::ArenaLost))));
        self.counts.names_lost += 1;
        self.turn();
        let store = self.process.as_ref().map(|process| &process.shard.store);
        self.checker.floor_from = store.map(|store| store.watermarks().appended());
    }

    fn lose_connection(&mut self) {
        let client = self.random.random_range(0..self.config.clients);
        if let Some(connection) = self.clients[client].connection.take() {
            self.clients[client].outstanding.clear();
            self.leave(connection);
        }
    }

    // ----- Deleted topics ----------------------------------------------------------

    pub fn operator(&self) -> usize {
        self.config.clients + 1
    }

    /// A topic is to go. Every client hangs up first, so that nothing that was sent to it
    /// can arrive after it is gone, when it would make a namesake.
    fn retire_a_topic(&mut self) {
        let may_go =
            |(_, topic): &(usize, &Topic)| topic.name.starts_with("made-") && !topic.retired;
        let found: Vec<usize> =
            self.topics.iter().enumerate().filter(may_go).map(|(topic, _)| topic).collect();
        if found.is_empty() || self.topics.iter().any(|topic| topic.retired && topic.queues > 0) {
            return;
        }
        let topic = found[self.random.random_range(0..found.len())];
        self.topics[topic].retired = true;
        for client in 0..self.config.clients {
            if let Some(connection) = self.clients[client].connection.take() {
                self.clients[client].outstanding.clear();
                self.leave(connection);
            }
        }
        self.after(100_000, Happening::Tick(self.operator()));
    }

    /// The operator deletes what has been retired, and tries again until it is told so.
    pub fn operate(&mut self) {
        let operator = self.operator();
        let going = |topic: &Topic| topic.retired && topic.queues > 0;
        let Some(topic) = self.topics.iter().position(going) else { return };
        self.after(150_000, Happening::Tick(operator));
        if self.clients[operator].connection.is_none() {
            self.clients[operator].connection = self.connect(operator);
        }
        let Some(connection) = self.clients[operator].connection else { return };
        if self.clients[operator].outstanding.is_empty() {
            let (name, now_us) = (&self.topics[topic].name, self.now_us);
            let frame = self.clients[operator].delete(topic, name, now_us);
            self.write(connection, &frame);
        }
    }

    /// The topic is gone. Whoever sends to its name from now on makes another one.
    pub fn deleted(&mut self, topic: usize) {
        self.counts.topics_deleted += 1;
        self.checker.forget(topic);
        let name = self.topics[topic].name.clone();
        let queues = std::mem::take(&mut self.topics[topic].queues);
        self.topics.push(Topic { name, queues, retired: false });
        self.checker.levels.push(self.config.level);
    }

    // ----- The audit ---------------------------------------------------------------

    pub fn auditor(&self) -> usize {
        self.config.clients
    }

    /// Reads every queue from its first message to its last.
    fn audit(&mut self) {
        let auditor = self.auditor();
        let mut queues: Vec<Queue> = self.checker.queues();
        queues.retain(|(topic, _)| !self.topics[*topic].retired);
        self.clients[auditor].positions = queues.iter().map(|queue| (*queue, 0)).collect();
        self.audit_left = queues;
        self.after(1, Happening::Tick(auditor));
        self.until("an audit", |world| world.audit_left.is_empty());
    }

    /// The auditor's turn: it connects, and asks for what comes next.
    pub fn audit_step(&mut self) {
        let auditor = self.auditor();
        if self.audit_left.is_empty() {
            return;
        }
        if self.clients[auditor].connection.is_none() {
            self.clients[auditor].connection = self.connect(auditor);
        }
        self.after(100_000, Happening::Tick(auditor));
        self.audit_next();
    }

    fn audit_next(&mut self) {
        let auditor = self.auditor();
        let Some(queue) = self.audit_left.last().copied() else { return };
        let Some(connection) = self.clients[auditor].connection else { return };
        if !self.clients[auditor].outstanding.is_empty() {
            return;
        }
        let from = self.clients[auditor].positions[&queue];
        let (name, now_us) = (&self.topics[queue.0].name, self.now_us);
        let codec = Codec::Json;
        let frame = self.clients[auditor].pull(
            &self.checker,
            name,
            queue,
            from,
            None,
            None,
            None,
            4096,
            codec,
            now_us,
        );
        self.write(connection, &frame);
    }

    /// The auditor has got an answer.
    pub fn audited(&mut self, queue: Queue, code: i32, next: i64, max: i64) {
        if code == 19 && next == max || (code == 21 && max == 0) {
            self.checker.check_max(queue, max, self.checker.visible_end(queue));
            self.audit_left.pop();
        }
        self.audit_next();
    }
}
