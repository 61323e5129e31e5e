//! The broker starts: what is there is judged, brought back, made durable step by step,
//! and served. A start may be killed at each of its steps, and so may the machine.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use rand::Rng;
use ringmq::base::options::BrokerOptions;
use ringmq::base::{AckLevel, WriteMode};
use ringmq::broker::{Broker, Identity};
use ringmq::log::Extents;
use ringmq::log::recovery::ArenaFound;
use ringmq::log::run_mark::ArenaId;
use ringmq::log::scan::SegmentSource;
use ringmq::shard::Shard;
use ringmq::store::recovery::{Recovered, Remains, StartError, recover};

use super::arena::SimArena;
use super::checker::Loss;
use super::process::Process;
use super::world::{Death, Happening, World};

/// The start did not live to its end.
struct Interrupted;

/// The step at which a start ends, counted down.
struct Doom {
    left: Option<u32>,
}

impl Doom {
    fn step(&mut self) -> Result<(), Interrupted> {
        match &mut self.left {
            Some(0) => Err(Interrupted),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl World {
    pub fn start(&mut self) {
        if self.process.is_some() {
            return;
        }
        let dies = !self.faults.calm && self.random.random_bool(0.3);
        let mut doom = Doom { left: dies.then(|| self.random.random_range(0..14)) };
        if self.try_start(&mut doom).is_err() {
            self.counts.broken_starts += 1;
            self.note("start broken off", 0);
            if self.random.random_bool(0.4) {
                let death = Death::of_machine(&mut self.random);
                self.lose_memory(death);
            }
            let delay = self.delay(100_000);
            self.after(delay, Happening::Start);
        }
    }

    fn try_start(&mut self, doom: &mut Doom) -> Result<(), Interrupted> {
        // What the killed process had under way ends before the start gets its locks.
        self.disk.settle(&mut self.random);
        let any = WriteMode::ALL[self.random.random_range(0..WriteMode::ALL.len())];
        self.write = self.config.write.unwrap_or(any);
        self.lose_a_run();
        doom.step()?;
        let recovered = self.recover();
        self.gave_up |= recovered.report.gave_up;
        doom.step()?;
        self.prepare(&recovered, doom)?;
        let arena = self.new_arena(&recovered);
        let id = arena.id;
        // Without room in shared memory the arena ends with the process.
        let shared = self.random.random_bool(0.85);
        doom.step()?;
        self.place = shared.then(|| arena.into_remnant(&mut self.random));
        self.tampered = false;
        doom.step()?;
        self.mark = Some(recovered.mark_running(self.boot, shared.then_some(id)));
        doom.step()?;
        self.serve(recovered, id, shared);
        Ok(())
    }

    /// Now and then an index run is damaged or gone: the log has all that it held.
    fn lose_a_run(&mut self) {
        if self.faults.calm || self.index.runs.is_empty() || !self.random.random_bool(0.1) {
            return;
        }
        self.counts.runs_lost += 1;
        let which = self.random.random_range(0..self.index.runs.len());
        let start = *self.index.runs.keys().nth(which).expect("in range");
        let run = self.index.runs.get_mut(&start).expect("it is there");
        match self.random.random_range(0..4) {
            0 => _ = self.index.runs.remove(&start),
            1 => run.truncate(self.random.random_range(0..run.len())),
            2 => {
                let at = self.random.random_range(run.len() - 32..run.len());
                run[at] ^= 1 << self.random.random_range(0..8);
            }
            // Entries are checked when they are read, all else at a start.
            _ => {
                let entries = 64..run.len() - 32;
                let at = self.random.random_range(entries.start..=entries.end);
                run[at] ^= 1 << self.random.random_range(0..8);
            }
        }
    }

    /// Judges and reads. An arena that was tampered with is refused first.
    fn recover(&mut self) -> Recovered {
        let refused = match self.try_recover(false) {
            Ok(recovered) => return recovered,
            Err(refused) => refused,
        };
        let expected = self.tampered && matches!(refused, StartError::Refused(_));
        assert!(expected, "the start is refused: {refused}");
        self.counts.refused_starts += 1;
        self.loss = self.loss.max(Loss::Arena);
        self.try_recover(true).unwrap_or_else(|error| panic!("loss is accepted: {error}"))
    }

    fn try_recover(&self, accept_loss: bool) -> Result<Recovered, StartError> {
        let topics = self.metadata.records();
        let committed = self.metadata.committed();
        let arena = match &self.place {
            None => ArenaFound::Nothing,
            Some(remnant) => ArenaFound::Header { id: remnant.id, life: remnant.life },
        };
        recover(&Remains {
            mark: self.mark,
            segments: &self.disk,
            index: &self.index,
            arena,
            old_arena: self.place.as_ref().map(|remnant| remnant as _),
            topics: &topics,
            committed: &committed,
            geometry: self.config.geometry,
            boot: self.boot,
            accept_loss,
        })
    }

    /// What must be durable before anything is served.
    fn prepare(&mut self, recovered: &Recovered, doom: &mut Doom) -> Result<(), Interrupted> {
        let before = &recovered.before;
        self.replay(recovered, doom)?;
        for base in &before.sync {
            self.disk.sync(*base);
            doom.step()?;
        }
        for run in &before.unlink_runs {
            self.index.runs.remove(&run.0);
        }
        doom.step()?;
        if let Some(end) = before.cut_metadata {
            self.metadata.cut(end);
        }
        self.metadata.take_in(&recovered.journal);
        doom.step()?;
        if let Some(bases) = &before.bases {
            self.index.put_bases(bases);
        }
        doom.step()?;
        self.mark = recovered.mark_recovered(self.boot).or(self.mark);
        doom.step()
    }

    fn replay(&mut self, recovered: &Recovered, doom: &mut Doom) -> Result<(), Interrupted> {
        let Some(remnant) = self.place.clone().filter(|_| recovered.replays()) else {
            self.disk.forget_above(recovered.chain.at);
            return Ok(());
        };
        let mut writes = Vec::new();
        let write = &mut |at, bytes: &[u8]| -> io::Result<()> {
            writes.push((at, bytes.to_vec()));
            Ok(())
        };
        recovered.write_replay(&remnant, write).expect("memory takes all");
        let first = writes.first().map_or(recovered.chain.at, |(at, _)| *at);
        self.disk.forget_above(first);
        for (at, bytes) in writes {
            let id = self.disk.submit(at, bytes, false);
            // Killed here, the write lands or not, or in part.
            doom.step()?;
            match self.write.is_cached() {
                true => self.disk.copy(id),
                false => self.disk.complete(id),
            }
        }
        Ok(())
    }

    fn new_arena(&mut self, recovered: &Recovered) -> SimArena {
        let id = ArenaId(std::array::from_fn(|_| self.random.random()));
        SimArena::new(id, recovered.life, self.config.sizes, recovered.chain.at)
    }

    fn serve(&mut self, mut recovered: Recovered, id: ArenaId, shared: bool) {
        let report = recovered.report.clone();
        self.note("start", report.log_end.0);
        if self.config.trace {
            println!("             {report:?}");
        }
        assert_eq!(report.rot_total, 0, "nothing has rotted: {report:?}");
        assert_eq!(report.misplaced_total, 0, "every record fits its queue: {report:?}");
        let deleted = self.topics.iter().any(|topic| topic.retired);
        assert!(deleted || report.records_of_nobody == 0, "every topic lives: {report:?}");
        let lost = self.checker.counts.lost;
        self.checker.restarted(self.loss, report.log_end, self.flushed, self.settled_us);
        assert!(self.checker.counts.lost == lost || self.gave_up, "lost without a word");
        self.gave_up = false;
        self.counts.starts += 1;
        self.counts.modes[self.write as usize] += 1;
        self.counts.replayed += report.records_replayed;
        self.counts.scanned += report.records_scanned;
        (self.loss, self.flushed) = (Loss::Nothing, report.log_end);
        self.place = None;
        self.counts.unshared += u64::from(!shared);
        self.checker.floor_from = (!shared).then_some(report.log_end);
        let arena = SimArena::new(id, recovered.life, self.config.sizes, recovered.chain.at);
        let folds = std::mem::take(&mut recovered.before.fold_runs);
        for start in folds {
            let metadata = &self.metadata;
            self.index.fold(start, |topic| metadata.knows(topic));
        }
        let recovered_end = recovered.chain.at;
        let (method, retention) = (self.config.flush_method, self.config.retention);
        let mut store = recovered.into_store(method, retention, self.faults.disk_use, &arena);
        // All that the log may write to is opened, and flushed, once more.
        let first = self.config.geometry.base(recovered_end);
        let ahead: Vec<_> =
            self.disk.segments().iter().copied().filter(|it| *it >= first).collect();
        for base in ahead {
            self.disk.sync(base);
            if self.disk.is_reserved(base) {
                store.on_segment_ready(base, Extents::Reserved);
            }
        }
        if !shared {
            store.set_floor(AckLevel::Written);
        }
        let identity = Identity {
            cluster: "cluster".to_owned(),
            name: "broker-0".to_owned(),
            store_host: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 10911),
            level: self.config.level,
            // So that most of what is read counts as old.
            memory: 1 << 16,
        };
        let mut broker = Broker::new(identity, BrokerOptions::default(), self.now().unix_ms);
        broker.restore(self.metadata.restored(), &mut store);
        self.processes += 1;
        let process = Process::new(self.processes, Shard::new(broker, store), arena, shared);
        self.process = Some(process);
        self.first_turn();
    }
}
