//! The disk under a log: what a kernel shows, what survives a power cut, and the writes
//! between the two.

use std::collections::BTreeMap;
use std::io;

use rand::Rng;
use rand::seq::SliceRandom;
use ringmq::base::LogOffset;
use ringmq::log::Geometry;
use ringmq::log::scan::SegmentSource;

use super::Random;

pub const BLOCK: usize = 4096;
const SECTOR: usize = 512;

pub struct Disk {
    pub geometry: Geometry,
    pub segments: BTreeMap<u64, Segment>,
    /// Their bases, as a listing gives them.
    bases: Vec<LogOffset>,
    pub in_flight: Vec<Write>,
    next: u64,
    /// Expired segments that may serve again.
    recycled: Vec<Vec<u8>>,
}

pub struct Segment {
    /// What reads see.
    pub seen: Vec<u8>,
    /// What survives a power cut whatever happens.
    pub durable: Vec<u8>,
    /// Completed, or in the page cache, and not durable.
    pub unflushed: Vec<Write>,
    /// Blocks of the log that were written since the segment got its name.
    pub written: Vec<bool>,
    /// Its extents were not written before, so that a block survives the kernel only
    /// when it is flushed.
    pub reserved: bool,
}

#[derive(Clone)]
pub struct Write {
    pub id: u64,
    pub at: LogOffset,
    pub bytes: Vec<u8>,
    pub durable: bool,
    /// Not all of it has landed.
    pub torn: bool,
    /// In the page cache alone, over these bytes of before.
    pub dirty: Option<Vec<u8>>,
}

impl Disk {
    pub fn new(geometry: Geometry) -> Self {
        Self {
            geometry,
            segments: BTreeMap::new(),
            bases: Vec::new(),
            in_flight: Vec::new(),
            next: 0,
            recycled: Vec::new(),
        }
    }

    // ----- Segments ----------------------------------------------------------------

    /// Makes the segment, durably; nothing if it is there.
    pub fn prepare(&mut self, base: LogOffset) {
        if self.segments.contains_key(&base.0) {
            return;
        }
        let size = self.geometry.segment_bytes() as usize;
        let bytes = self.recycled.pop().unwrap_or_else(|| vec![0; size]);
        let segment = Segment {
            seen: bytes.clone(),
            durable: bytes,
            unflushed: Vec::new(),
            written: vec![false; size / BLOCK],
            reserved: false,
        };
        self.segments.insert(base.0, segment);
        self.list();
    }

    pub fn drop_segment(&mut self, base: LogOffset, recycle: bool) {
        let segment = self.segments.remove(&base.0).expect("a segment expires once");
        if recycle {
            self.recycled.push(segment.seen);
        }
        self.list();
    }

    fn list(&mut self) {
        self.bases = self.segments.keys().copied().map(LogOffset).collect();
    }

    // ----- Writes ------------------------------------------------------------------

    /// A write is handed to the device. Returns its id.
    pub fn submit(&mut self, at: LogOffset, bytes: Vec<u8>, durable: bool) -> u64 {
        assert!(at.0.is_multiple_of(BLOCK as u64) && bytes.len().is_multiple_of(BLOCK));
        let (base, end) = (self.geometry.base(at), self.geometry.end(at));
        assert!(at + bytes.len() as u64 <= end, "a write crosses the end of its segment");
        assert!(self.segments.contains_key(&base.0), "a write to {base}, which is not there");
        self.next += 1;
        self.in_flight.push(Write { id: self.next, at, bytes, durable, torn: false, dirty: None });
        self.next
    }

    /// The write has completed.
    pub fn complete(&mut self, id: u64) {
        let i = self.in_flight.iter().position(|write| write.id == id);
        let write = self.in_flight.swap_remove(i.expect("a write completes once"));
        self.land(write);
    }

    /// The write has failed: what it wrote is anything between nothing and all.
    pub fn fail(&mut self, id: u64, random: &mut Random) {
        let i = self.in_flight.iter().position(|write| write.id == id);
        let mut write = self.in_flight.swap_remove(i.expect("a write completes once"));
        write.durable = false;
        self.tear(&mut write, random);
        self.land(write);
    }

    pub fn land(&mut self, write: Write) {
        let position = self.geometry.position(write.at) as usize;
        let base = self.geometry.base(write.at);
        let segment = self.segments.get_mut(&base.0).expect("writes go before their segment");
        let range = position..position + write.bytes.len();
        for (i, block) in write.bytes.chunks_exact(BLOCK).enumerate() {
            let at = position + i * BLOCK;
            let same = segment.seen[at..at + BLOCK] == *block;
            // The zero block of a clean stop, and what comes over it, are the exception.
            let zero = segment.seen[at..at + BLOCK].iter().all(|byte| *byte == 0);
            let again = segment.written[at / BLOCK] && !same && !zero && !write.torn;
            assert!(!again, "block {at} of segment {base} is written again with other bytes");
            segment.written[at / BLOCK] |= !write.torn;
        }
        segment.seen[range.clone()].copy_from_slice(&write.bytes);
        if write.durable && write.dirty.is_none() {
            segment.durable[range].copy_from_slice(&write.bytes);
        } else {
            segment.unflushed.push(write);
        }
    }

    /// An fdatasync begins: it covers all writes that have completed, or are in the page
    /// cache, by now.
    pub fn begin_sync(&mut self, base: LogOffset) -> Vec<u64> {
        let segment = self.segments.get(&base.0).expect("a segment that was written");
        segment.unflushed.iter().map(|write| write.id).collect()
    }

    pub fn end_sync(&mut self, base: LogOffset, covered: &[u64]) {
        let Some(segment) = self.segments.get_mut(&base.0) else { return };
        let geometry = self.geometry;
        let durable = &mut segment.durable;
        segment.unflushed.retain(|write| {
            let keep = !covered.contains(&write.id);
            if !keep {
                let at = geometry.position(write.at) as usize;
                durable[at..at + write.bytes.len()].copy_from_slice(&write.bytes);
            }
            keep
        });
    }

    pub fn sync(&mut self, base: LogOffset) {
        let covered = self.begin_sync(base);
        self.end_sync(base, &covered);
    }

    /// Bytes as a read sees them; None if the segment is gone.
    pub fn read_at(&self, at: LogOffset, len: usize) -> Option<&[u8]> {
        let segment = self.segments.get(&self.geometry.base(at).0)?;
        let position = self.geometry.position(at) as usize;
        segment.seen.get(position..position + len)
    }

    // ----- Ends --------------------------------------------------------------------

    /// The process was killed: the kernel finishes some of its writes, in any order.
    pub fn settle(&mut self, random: &mut Random) {
        let mut writes = std::mem::take(&mut self.in_flight);
        writes.shuffle(random);
        for mut write in writes {
            match random.random_range(0..4) {
                0 => continue,
                1 => self.tear(&mut write, random),
                _ => {}
            }
            self.land(write);
        }
    }

    /// The power fails: of what is not durable each write is kept, dropped or torn, in
    /// any order, and the rest is gone.
    pub fn power_cut(&mut self, random: &mut Random) {
        let mut writes = std::mem::take(&mut self.in_flight);
        for segment in self.segments.values_mut() {
            writes.append(&mut segment.unflushed);
        }
        writes.shuffle(random);
        let habit = random.random_range(0..5);
        for write in writes {
            let Some(segment) = self.segments.get_mut(&self.geometry.base(write.at).0) else {
                continue;
            };
            let position = self.geometry.position(write.at) as usize;
            let sectors = write.bytes.len() / SECTOR;
            let whole = random.random_range(0..=sectors);
            let fate = if habit < 4 { habit } else { random.random_range(0..5) };
            // Pages that are kept: what lies in the page cache goes out page by page.
            let pages = random.random::<u64>();
            for (i, sector) in write.bytes.chunks_exact(SECTOR).enumerate() {
                let kept = match fate {
                    0 => false,
                    1 => true,
                    2 => random.random_bool(0.5),
                    3 => pages >> (i * SECTOR / BLOCK % 64) & 1 == 1,
                    _ => i < whole,
                };
                if kept {
                    let at = position + i * SECTOR;
                    segment.durable[at..at + SECTOR].copy_from_slice(sector);
                }
            }
        }
        for segment in self.segments.values_mut() {
            segment.seen.clone_from(&segment.durable);
        }
    }

    /// The power fails, and nothing is left of what is not durable.
    #[allow(dead_code)] // The simulator's power cuts are not as simple.
    pub fn lose_unflushed(&mut self) {
        self.in_flight.clear();
        for segment in self.segments.values_mut() {
            segment.unflushed.clear();
            segment.seen.clone_from(&segment.durable);
        }
    }

    /// The log was found to end here: what lies behind may be written anew.
    pub fn forget_above(&mut self, end: LogOffset) {
        for (base, segment) in &mut self.segments {
            for (i, written) in segment.written.iter_mut().enumerate() {
                *written &= base + (i * BLOCK) as u64 + BLOCK as u64 <= end.0;
            }
        }
    }

    /// Leaves some of a write's sectors as they were before.
    fn tear(&self, write: &mut Write, random: &mut Random) {
        let before = self.read_at(write.at, write.bytes.len()).expect("a segment that is there");
        let sectors = write.bytes.len() / SECTOR;
        let cut = random.random_range(0..=sectors) * SECTOR;
        write.torn = true;
        write.bytes[cut..].copy_from_slice(&before[cut..]);
    }
}

impl SegmentSource for Disk {
    fn segments(&self) -> &[LogOffset] {
        &self.bases
    }

    fn read(&self, at: LogOffset, buf: &mut [u8]) -> io::Result<()> {
        assert!(at.0.is_multiple_of(BLOCK as u64) && buf.len().is_multiple_of(BLOCK));
        let bytes = self.read_at(at, buf.len()).ok_or(io::ErrorKind::NotFound)?;
        buf.copy_from_slice(bytes);
        Ok(())
    }
}
