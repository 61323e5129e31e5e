//! What a page cache adds to the disk: bytes that every read sees and that a crash of the
//! kernel takes, any page of them or none, until their write-out is complete.

use rand::Rng;
use rand::seq::SliceRandom;
use ringmq::base::LogOffset;

use super::Random;
use super::disk::{BLOCK, Disk, Segment, Write};

impl Disk {
    /// The bytes of a write are in the page cache; `complete` says that they are out.
    pub fn copy(&mut self, id: u64) {
        let i = self.in_flight.iter().position(|write| write.id == id);
        let mut write = self.in_flight.swap_remove(i.expect("a write is copied once"));
        let before = self.read_at(write.at, write.bytes.len()).expect("a segment that is there");
        write.dirty = Some(before.to_vec());
        self.land(write);
    }

    /// The write-out is complete. An fdatasync may have come before it.
    pub fn write_out(&mut self, id: u64) {
        let geometry = self.geometry;
        for segment in self.segments.values_mut() {
            let Some(i) = segment.unflushed.iter().position(|write| write.id == id) else {
                continue;
            };
            let write = &mut segment.unflushed[i];
            write.dirty = None;
            if write.durable {
                let write = segment.unflushed.swap_remove(i);
                let at = geometry.position(write.at) as usize;
                segment.durable[at..at + write.bytes.len()].copy_from_slice(&write.bytes);
            }
        }
    }

    /// The write-out has failed: what a read sees is anything between nothing and all.
    pub fn fail_write_out(&mut self, id: u64, random: &mut Random) {
        let geometry = self.geometry;
        for segment in self.segments.values_mut() {
            let Some(i) = segment.unflushed.iter().position(|write| write.id == id) else {
                continue;
            };
            let write = &mut segment.unflushed[i];
            let at = geometry.position(write.at) as usize;
            let before = write.dirty.take().expect("its write-out has not ended");
            for (page, old) in write.bytes.chunks_mut(BLOCK).zip(before.chunks(BLOCK)) {
                if random.random_bool(0.5) {
                    page.copy_from_slice(old);
                }
            }
            (write.torn, write.durable) = (true, false);
            segment.seen[at..at + write.bytes.len()].copy_from_slice(&write.bytes);
            segment.written[at / BLOCK..][..write.bytes.len() / BLOCK].fill(false);
        }
    }

    /// The kernel crashes and the device lives: what was written out stays where extents
    /// had been written before. Of all else each page is there or not.
    pub fn crash_kernel(&mut self, random: &mut Random) {
        let geometry = self.geometry;
        let mut uncertain = std::mem::take(&mut self.in_flight);
        for segment in self.segments.values_mut() {
            let reserved = segment.reserved;
            uncertain.extend(
                segment.unflushed.extract_if(.., |write| reserved || write.dirty.is_some()),
            );
        }
        uncertain.shuffle(random);
        let habit = random.random_range(0..3);
        for write in uncertain {
            let segment = self.segments.get_mut(&geometry.base(write.at).0);
            let segment = segment.expect("writes go before their segment");
            let at = geometry.position(write.at) as usize;
            for (i, page) in write.bytes.chunks_exact(BLOCK).enumerate() {
                if habit == 1 || habit == 2 && random.random_bool(0.5) {
                    segment.durable[at + i * BLOCK..][..BLOCK].copy_from_slice(page);
                }
            }
        }
        for segment in self.segments.values_mut() {
            let Segment { seen, durable, unflushed, .. } = segment;
            seen.clone_from(durable);
            for Write { at, bytes, .. } in unflushed {
                seen[geometry.position(*at) as usize..][..bytes.len()].copy_from_slice(bytes);
            }
        }
    }

    /// The extents of a segment have space and nothing in them.
    pub fn reserve(&mut self, base: LogOffset) {
        self.segments.get_mut(&base.0).expect("a segment that is there").reserved = true;
    }

    pub fn is_reserved(&self, base: LogOffset) -> bool {
        self.segments.get(&base.0).is_some_and(|segment| segment.reserved)
    }
}
