//! How many messages groups are given, per topic and second.

use slab::Slab;

/// Counts per group and topic. A pull keeps the slot of its own, so that counting takes
/// no look-up by name.
#[derive(Debug, Default)]
pub struct ConsumeRates {
    slots: Slab<(u32, Rate)>,
    generations: u32,
}

/// A place in the table, and which of its users is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateSlot {
    index: u32,
    generation: u32,
}

/// The last minute, in parts.
#[derive(Clone, Copy, Debug)]
struct Rate {
    counts: [u32; PARTS],
    /// The number of the part that counts now, from the clock's beginning, and of the
    /// first that did.
    newest: u64,
    first: u64,
}

const PART_US: u64 = 10_000_000;
/// Six whole parts, and the one that has just begun.
const PARTS: usize = 7;

impl ConsumeRates {
    pub fn open(&mut self, now_us: u64) -> RateSlot {
        self.generations = self.generations.wrapping_add(1);
        let generation = self.generations;
        let index = self.slots.insert((generation, Rate::new(now_us))) as u32;
        RateSlot { index, generation }
    }

    /// Pulls that still know the slot count nothing from now on.
    pub fn close(&mut self, slot: RateSlot) {
        if self.get(slot).is_some() {
            self.slots.remove(slot.index as usize);
        }
    }

    pub fn count(&mut self, slot: RateSlot, messages: u32, now_us: u64) {
        if let Some(rate) = self.get(slot) {
            rate.count(messages, now_us);
        }
    }

    /// Messages per second over the last minute, or since the counting began.
    pub fn per_second(&mut self, slot: RateSlot, now_us: u64) -> f64 {
        self.get(slot).map_or(0.0, |rate| rate.per_second(now_us))
    }

    fn get(&mut self, slot: RateSlot) -> Option<&mut Rate> {
        let found = self.slots.get_mut(slot.index as usize);
        found.filter(|(generation, _)| *generation == slot.generation).map(|(_, rate)| rate)
    }
}

impl Rate {
    fn new(now_us: u64) -> Self {
        let now = now_us / PART_US;
        Self { counts: [0; PARTS], newest: now, first: now }
    }

    fn count(&mut self, messages: u32, now_us: u64) {
        self.turn_to(now_us / PART_US);
        let part = &mut self.counts[self.newest as usize % PARTS];
        *part = part.saturating_add(messages);
    }

    fn per_second(&mut self, now_us: u64) -> f64 {
        self.turn_to(now_us / PART_US);
        let since = self.first.max((self.newest + 1).saturating_sub(PARTS as u64));
        let us = (now_us - since * PART_US).max(PART_US);
        let given: u64 = self.counts.iter().map(|count| u64::from(*count)).sum();
        given as f64 * 1e6 / us as f64
    }

    /// Forgets what is older than a minute.
    fn turn_to(&mut self, now: u64) {
        for part in (self.newest + 1..=now).take(PARTS) {
            self.counts[part as usize % PARTS] = 0;
        }
        self.newest = self.newest.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn a_rate_is_that_of_the_last_minute() {
        let mut rates = ConsumeRates::default();
        let slot = rates.open(0);
        for second in 0..200 {
            rates.count(slot, 10, second * SECOND);
            let rate = rates.per_second(slot, (second + 1) * SECOND);
            assert!(second < 10 || (9.0..=10.0).contains(&rate), "{rate} after {second} s");
        }
        assert!((4.0..6.0).contains(&rates.per_second(slot, 230 * SECOND)));
        assert_eq!(rates.per_second(slot, 270 * SECOND), 0.0);
        assert_eq!(rates.per_second(slot, 100_000 * SECOND), 0.0);
        rates.count(slot, 600, 100_000 * SECOND);
        assert!((9.0..=10.0).contains(&rates.per_second(slot, 100_000 * SECOND)));
    }

    #[test]
    fn a_slot_that_is_used_again_counts_nothing_of_its_former_user() {
        let mut rates = ConsumeRates::default();
        let former = rates.open(0);
        rates.close(former);
        let slot = rates.open(0);
        assert_eq!(slot.index, former.index);
        rates.count(former, 100, SECOND);
        rates.close(former);
        assert_eq!(rates.per_second(slot, SECOND), 0.0);
        rates.count(slot, 100, SECOND);
        assert_eq!(rates.per_second(slot, 10 * SECOND), 10.0);
    }
}
