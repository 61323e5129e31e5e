//! What the shard wants done outside: its disk, its helper, its metadata.

use ringmq::base::memory::LogRing;
use ringmq::base::metadata::TopicRecord;
use ringmq::base::topic::TopicConfig;
use ringmq::base::{LogOffset, WriteMode};
use ringmq::broker::TopicMade;
use ringmq::broker::effect::Effect;
use ringmq::log::{Extents, LogIntent, OpId};
use ringmq::queue::{Directory, FrozenRun};
use ringmq::shard::{Event, Intent};
use ringmq::store::{self, Done, LostExtent, Owner, rebuild_extent};

use rand::Rng;

use super::process::Job;
use super::world::{Happening, World};

impl World {
    pub fn perform(&mut self, intent: Intent) {
        match intent {
            Intent::Send { conn, outgoing } => self.send(conn, outgoing),
            Intent::CopySend { conn } => {
                let (process, delay) = (self.number(), self.delay(50));
                if let Some(connection) = self.connection_of(conn) {
                    self.after(delay, Happening::Copied { process, connection });
                }
            }
            Intent::Pause { conn } => {
                self.counts.paused += 1;
                let late = self.random.random_bool(0.5);
                self.with_connection(conn, |it| {
                    it.paused = true;
                    it.late = late;
                });
                if let Some(number) = self.connection_of(conn) {
                    self.schedule_up(number);
                }
            }
            Intent::Resume { conn } => {
                self.with_connection(conn, |it| it.paused = false);
                if let Some(number) = self.connection_of(conn) {
                    self.schedule_up(number);
                }
            }
            Intent::Close { conn } => self.close(conn),
            Intent::Store(intent) => self.perform_store(intent),
            Intent::Effect(effect) => self.perform_effect(effect),
        }
    }

    fn perform_store(&mut self, intent: store::Intent) {
        let process = self.number();
        let usual = self.config.disk_us;
        match intent {
            store::Intent::Log(LogIntent::Write { op, at, len, durable }) => {
                let arena = &mut self.process.as_mut().expect("it has just acted").arena;
                arena.lend(at, u64::from(len));
                let bytes = arena.readable(at, len as usize).to_vec();
                let id = self.disk.submit(at, bytes.clone(), durable);
                let fails = self.disk_fails();
                let delay = self.delay(usual);
                match self.write {
                    WriteMode::Direct => {}
                    WriteMode::Mmap => self.disk.copy(id),
                    WriteMode::Buffered | WriteMode::BufferedUncached => {
                        let copied = self.random.random_range(0..=delay);
                        self.after(copied, Happening::InCache { process, id });
                    }
                }
                self.after(delay, Happening::Written { process, op, id, at, bytes, fails });
            }
            store::Intent::Log(LogIntent::Sync { op, segment }) => {
                let covered = self.disk.begin_sync(segment);
                let fails = self.disk_fails();
                let delay = self.delay(usual * 3);
                self.after(delay, Happening::Synced { process, op, segment, covered, fails });
            }
            store::Intent::Log(LogIntent::PrepareSegment { base }) => self.job(Job::Prepare(base)),
            store::Intent::Log(LogIntent::HurrySegment { .. }) => {}
            store::Intent::WriteRun { run } => self.job(Job::WriteRun(run)),
            store::Intent::FoldRun { start } => self.job(Job::Fold(start)),
            store::Intent::DropSegment { base, recycle } => self.job(Job::Drop(base, recycle)),
            store::Intent::ReadLog { slot, at, len, .. } => {
                let delay = self.delay(usual);
                self.after(delay, Happening::LogRead { process, slot, at, len });
            }
            store::Intent::ReadIndex { load, range, block } => {
                let delay = self.delay(usual * 2);
                self.after(delay, Happening::IndexRead { process, load, range, block });
            }
            store::Intent::RebuildIndex { lost, owner } => {
                let delay = self.delay(usual * 5);
                self.after(delay, Happening::IndexRebuilt { process, lost, owner });
            }
            store::Intent::DisownArena => self.job(Job::Disown),
            store::Intent::CheckDisk => {
                let delay = self.delay(usual);
                self.after(delay, Happening::DiskChecked { process });
            }
        }
    }

    /// A damaged index extent is made again, unless its log has expired meanwhile.
    pub fn rebuilt(&mut self, lost: LostExtent, owner: &Owner) -> Event {
        let LostExtent { load, range, mut block } = lost;
        let geometry = self.config.geometry;
        let result = match rebuild_extent(&self.disk, geometry, &range, owner, &mut block) {
            Ok(whole) => {
                assert!(whole, "the log has what the index had: {range:?} of {owner:?}");
                self.counts.extents_rebuilt += 1;
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        };
        Event::Store(Done::IndexRebuilt { load, range, block, result })
    }

    fn disk_fails(&mut self) -> bool {
        std::mem::take(&mut self.faults.disk_error)
    }

    pub fn written(
        &mut self,
        op: OpId,
        id: u64,
        at: LogOffset,
        bytes: Vec<u8>,
        fails: bool,
    ) -> Event {
        self.note("written", at.0);
        let arena = &mut self.process.as_mut().expect("its write").arena;
        arena.give_back(at, bytes.len() as u64);
        let still = arena.readable(at, bytes.len()) == bytes;
        assert!(still, "bytes at {at} have changed while they were written");
        let len = bytes.len() as u32;
        let result = match fails {
            false => Ok(len),
            true if self.random.random_bool(0.5) => Ok(len - 512),
            true => Err(5),
        };
        match (fails, self.write.is_cached()) {
            (false, false) => self.disk.complete(id),
            (true, false) => self.disk.fail(id, &mut self.random),
            (false, true) => self.disk.write_out(id),
            (true, true) => self.disk.fail_write_out(id, &mut self.random),
        }
        Event::Store(Done::Written { op, result })
    }

    fn job(&mut self, job: Job) {
        let process = self.process.as_mut().expect("it has just acted");
        process.jobs.push_back(job);
        if process.jobs.len() == 1 {
            self.begin_job();
        }
    }

    fn begin_job(&mut self) {
        let process = self.number();
        let usual = self.config.disk_us;
        let delay = self.delay(usual * 10);
        self.after(delay, Happening::Job { process });
    }

    /// The helper has done its first job.
    pub fn end_job(&mut self) -> Option<Event> {
        let fails = !self.faults.calm && self.random.random_bool(0.03);
        let process = self.process.as_mut().expect("its job");
        let job = process.jobs.pop_front().expect("a job was begun");
        if !process.jobs.is_empty() {
            self.begin_job();
        }
        match job {
            Job::Prepare(base) => {
                let result = match fails {
                    true => Err("no space left on device".to_owned()),
                    false => {
                        self.disk.prepare(base);
                        if self.random.random_bool(0.3) {
                            self.disk.reserve(base);
                        }
                        let reserved = self.disk.is_reserved(base);
                        Ok(if reserved { Extents::Reserved } else { Extents::Written })
                    }
                };
                Some(Event::Store(Done::SegmentReady { base, result }))
            }
            Job::WriteRun(run) if fails => {
                let result = Err("no space left on device".to_owned());
                Some(Event::Store(Done::RunWritten { run, result }))
            }
            Job::WriteRun(run) => {
                self.counts.runs_written += 1;
                let result = self.write_run(&run);
                Some(Event::Store(Done::RunWritten { run, result }))
            }
            Job::Disown if fails => None,
            Job::Disown => {
                let mark = self.mark.as_mut().expect("a life has a mark");
                mark.arena = None;
                self.checker.disowned();
                None
            }
            Job::Fold(start) => {
                let metadata = &self.metadata;
                self.index.fold(start, |topic| metadata.knows(topic));
                None
            }
            Job::Drop(base, recycle) => {
                self.note("dropped", base.0);
                self.counts.segments_dropped += 1;
                self.disk.drop_segment(base, recycle);
                None
            }
        }
    }

    fn write_run(&mut self, run: &FrozenRun) -> Result<Directory, String> {
        let mut bytes = Vec::new();
        let directory = run.write_to(&mut bytes).expect("memory takes all");
        self.index.runs.insert(run.start().0, bytes);
        Ok(directory)
    }

    fn perform_effect(&mut self, effect: Effect) {
        let process = self.number();
        match effect {
            Effect::Persist { token, change } => {
                let delay = self.delay(3_000);
                self.metadata_free_us = self.metadata_free_us.max(self.now_us) + delay;
                self.at(self.metadata_free_us, Happening::Metadata { process, token, change });
            }
            Effect::CreateEverywhere { config } => {
                let delay = self.delay(20_000);
                self.after(delay, Happening::Created { process, config });
            }
            Effect::Installed { topic } => {
                let delay = self.delay(5_000);
                self.after(delay, Happening::Ready { process, name: topic, result: Ok(()) });
            }
            Effect::Publish { version, .. } => {
                let delay = self.delay(30_000);
                self.after(delay, Happening::Published { process, version });
            }
        }
    }

    pub fn created(&mut self, config: TopicConfig) -> Option<Event> {
        if !self.faults.calm && self.random.random_bool(0.2) {
            let result = Err("no space left on device".to_owned());
            return Some(Event::TopicReady { name: config.name, result });
        }
        let (record, version): (TopicRecord, _) = self.metadata.put_topic(config);
        Some(Event::TopicMade(TopicMade { record, version }))
    }
}
