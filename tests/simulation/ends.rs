//! How a life of the broker ends: killed, with the power, or as it should.

use rand::Rng;
use ringmq::log::ChainEnd;
use ringmq::log::run_mark::{BootId, RunMark};

use super::checker::Loss;
use super::world::{Death, Happening, World};

impl World {
    pub fn number(&self) -> u64 {
        self.process.as_ref().map_or(0, |process| process.number)
    }

    /// The process ends without a word, and what dies with it.
    pub fn end_process(&mut self, death: Death) {
        let Some(process) = self.process.take() else { return };
        self.faults.turn = None;
        self.note(&format!("{death:?}"), process.number);
        self.flushed = self.flushed.max(process.shard.store.watermarks().flushed());
        let broken = process.log_failed;
        // The window of the levels below flushed: a write's delay, half a second, and
        // what the disk takes for it.
        let window_us = 100_000 + 500_000 + 8 * 20 * 3 * self.config.disk_us;
        self.settled_us = match broken {
            true => self.settled_us,
            false => self.settled_us.max(self.now_us.saturating_sub(window_us)),
        };
        self.settle_metadata(process.number);
        self.drop_connections(process.number);
        let remnant = process.arena.into_remnant(&mut self.random);
        match death {
            Death::Kernel | Death::Power => self.lose_memory(death),
            Death::Killed => {
                self.counts.kills += 1;
                self.place = process.shared.then_some(remnant);
                if !process.shared {
                    self.loss = self.loss.max(Loss::Arena);
                    // Its name was lost, and there was no time to say so.
                    self.tampered = self.mark.is_some_and(|mark| mark.arena.is_some());
                }
            }
        }
        let delay = self.delay(300_000);
        self.after(delay, Happening::Start);
    }

    /// Nothing in memory survives, and of the disk only what must.
    pub fn lose_memory(&mut self, death: Death) {
        match death {
            Death::Kernel => {
                self.counts.kernel_crashes += 1;
                self.loss = self.loss.max(Loss::Kernel);
                self.disk.crash_kernel(&mut self.random);
            }
            _ => {
                self.counts.power_cuts += 1;
                self.loss = self.loss.max(Loss::Unflushed);
                self.disk.power_cut(&mut self.random);
            }
        }
        self.place = None;
        self.tampered = false;
        let boots = self.counts.power_cuts + self.counts.kernel_crashes;
        self.boot = BootId([(boots % 250 + 2) as u8; 16]);
    }

    /// The stop that was asked for is complete, or the log had failed.
    pub fn end_cleanly(&mut self, end: Result<ChainEnd, String>) {
        let Ok(end) = end else { return self.end_process(Death::Killed) };
        let process = self.process.take().expect("it has stopped");
        self.note("stopped", end.at.0);
        self.counts.clean_stops += 1;
        let mark = self.mark.expect("a life has a mark");
        self.mark = Some(RunMark { clean: Some(end), ..mark });
        self.flushed = self.flushed.max(end.at);
        self.settled_us = self.now_us;
        self.drop_connections(process.number);
        let remnant = process.arena.into_remnant(&mut self.random);
        self.place = process.shared.then_some(remnant);
        if !self.faults.calm && self.random.random_bool(0.3) {
            // A clean stop leaves nothing behind that needs the arena or the power.
            match self.random.random_bool(0.5) {
                true => self.place = None,
                false => {
                    self.disk.power_cut(&mut self.random);
                    self.place = None;
                }
            }
        }
        let delay = self.delay(300_000);
        self.after(delay, Happening::Start);
    }

    /// The metadata thread may have come this far with what it was given.
    fn settle_metadata(&mut self, number: u64) {
        let of_process = |what: &Happening| matches!(what, Happening::Metadata { process, .. } if *process == number);
        let keys: Vec<_> =
            self.events.iter().filter(|(_, what)| of_process(what)).map(|(key, _)| *key).collect();
        let done = self.random.random_range(0..=keys.len());
        for key in &keys[..done] {
            if let Some(Happening::Metadata { change, .. }) = self.events.remove(key) {
                self.metadata.apply(change);
            }
        }
        self.metadata_free_us = 0;
    }

    /// The kernel closes what a process had open; some of what it had sent arrives.
    fn drop_connections(&mut self, number: u64) {
        let sending: Vec<_> = self
            .events
            .values()
            .filter_map(|what| match what {
                Happening::Sent { process, connection, bytes, .. } if *process == number => {
                    Some((*connection, bytes.clone()))
                }
                _ => None,
            })
            .collect();
        for (connection, bytes) in sending {
            let left = self.connections.get(&connection).is_none_or(|it| it.left);
            if !left && self.random.random_bool(0.5) {
                let len = self.random.random_range(0..=bytes.len());
                self.deliver_later(connection, &bytes[..len]);
            }
        }
        let gone: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, it)| it.life == number)
            .map(|(number, _)| *number)
            .collect();
        for number in gone {
            let delay = 20_000 + self.delay(5_000);
            self.after(delay, Happening::HungUp(number));
        }
    }
}
