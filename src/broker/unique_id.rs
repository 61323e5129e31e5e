//! Unique message ids for senders that bring none, in the form that clients make:
//! hex of address, process id, a hash, milliseconds and a counter.

use std::net::SocketAddrV4;

use crate::base::properties;

/// Makes ids that no other process makes.
#[derive(Debug)]
pub struct UniqueIds {
    prefix: [u8; 10],
    start_ms: i64,
    counter: u64,
}

pub const UNIQUE_ID_BYTES: usize = 32;
const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

impl UniqueIds {
    pub fn new(host: SocketAddrV4, start_ms: i64) -> Self {
        let mut prefix = [0; 10];
        prefix[..4].copy_from_slice(&host.ip().octets());
        prefix[4..6].copy_from_slice(&(std::process::id() as u16).to_be_bytes());
        prefix[6..8].copy_from_slice(&host.port().to_be_bytes());
        prefix[8..].copy_from_slice(&((start_ms >> 10) as u16).to_be_bytes());
        Self { prefix, start_ms, counter: 0 }
    }

    /// Appends a `UNIQ_KEY` property. Returns where its value lies.
    pub fn push_property(&mut self, text: &mut Vec<u8>) -> std::ops::Range<usize> {
        let id = self.next();
        properties::push(text, b"UNIQ_KEY", &id);
        let end = text.len() - 1;
        end - UNIQUE_ID_BYTES..end
    }

    fn next(&mut self) -> [u8; UNIQUE_ID_BYTES] {
        self.counter += 1;
        let mut raw = [0; 16];
        raw[..10].copy_from_slice(&self.prefix);
        let rest = (self.start_ms as u64).wrapping_mul(1 << 20).wrapping_add(self.counter);
        raw[10..].copy_from_slice(&rest.to_be_bytes()[2..]);
        let mut hex = [0; UNIQUE_ID_BYTES];
        for (at, byte) in raw.into_iter().enumerate() {
            hex[at * 2] = DIGITS[usize::from(byte >> 4)];
            hex[at * 2 + 1] = DIGITS[usize::from(byte & 15)];
        }
        hex
    }
}
