//! From a number to a slot, without a pause that grows with the number of queues.
//!
//! One hash table of a million entries rehashes all of them in one turn. Split into
//! parts by the hash, each part rehashes alone, some ten thousand entries at a time.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

const PARTS: usize = 64;

pub(super) struct Keys {
    parts: Vec<HashMap<u64, u32, BuildHasherDefault<Mix>>>,
}

impl Default for Keys {
    fn default() -> Self {
        Self { parts: (0..PARTS).map(|_| HashMap::default()).collect() }
    }
}

impl Keys {
    pub fn get(&self, key: u64) -> Option<u32> {
        self.parts[part(key)].get(&key).copied()
    }

    pub fn insert(&mut self, key: u64, value: u32) -> Option<u32> {
        self.parts[part(key)].insert(key, value)
    }

    pub fn remove(&mut self, key: u64) -> Option<u32> {
        self.parts[part(key)].remove(&key)
    }

    /// What the tables take, by the layout of the standard hash map: one control byte
    /// per bucket, at most seven eighths of the buckets in use.
    pub fn memory_bytes(&self) -> usize {
        let buckets = |capacity: usize| (capacity * 8 / 7).next_power_of_two();
        let in_use = self.parts.iter().map(HashMap::capacity).filter(|capacity| *capacity > 0);
        in_use.map(|capacity| buckets(capacity) * (size_of::<(u64, u32)>() + 1)).sum()
    }
}

fn part(key: u64) -> usize {
    // Bits that neither the bucket nor the control byte of a part is taken from.
    (mix(key) >> 40) as usize % PARTS
}

/// Keys are numbers that this broker gave out, so no peer can choose colliding ones and
/// a multiplication is hash enough.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = mix(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = mix(key);
    }
}

fn mix(key: u64) -> u64 {
    let folded = (key ^ (key >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    folded ^ (folded >> 29)
}
