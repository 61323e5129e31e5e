//! Retention: which segments go, and what becomes of their files. Pure policy, asked
//! with each look at the disk, every 1 to 10 s, and whenever the log asks for a segment:
//! only then is one used again.
//!
//! Apache deletes files older than `fileReservedTime` in one hour of the day
//! (`deleteWhen`), or at any hour once disk use passes 75 %; past 85 % it deletes the
//! oldest files whatever their age. An operator's expectation that carries over is: below
//! 75 % nothing is hurried, from 75 % on what is old enough goes at once, from 85 % on age
//! does not protect. We have no such hour. So below 75 % a segment past its age goes when
//! the pass comes (a few per pass, so that unlinking never crowds the disk), from 75 % on
//! all that are past their age go in one pass, and none is recycled, so that use falls.

use crate::base::LogOffset;

/// Disk use as `df` counts it, used / (used + available), in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DiskUse(pub u32);

/// The settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionConfig {
    /// A segment whose newest message is older than this has expired.
    pub age_ms_max: i64,
    /// From here on all expired segments go at once, and are not recycled.
    pub hurry_at: DiskUse,
    /// From here on the oldest segments go whatever their age.
    pub force_at: DiskUse,
    /// From here on writes are refused, until use is below again.
    pub refuse_at: DiskUse,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self {
            age_ms_max: 72 * 60 * 60 * 1000,
            hurry_at: DiskUse(750),
            force_at: DiskUse(850),
            refuse_at: DiskUse(900),
        }
    }
}

/// Segments that go in one pass while nothing hurries, or when age does not count.
pub const EXPIRED_PER_PASS_MAX: usize = 10;

/// What is known of a segment. Given in log order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentFacts {
    pub base: LogOffset,
    pub newest_store_ms: i64,
    /// A reader, or a send under way, still uses the file.
    pub held: bool,
    /// Appends go here, or something in it is not flushed, or not yet in a durable index.
    pub active: bool,
}

/// What becomes of an expired segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its file is renamed into the ready pool.
    Recycle,
    /// Its name goes; the file with its last reader.
    Unlink,
}

/// One expired segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    pub base: LogOffset,
    pub fate: Fate,
}

/// The segments that go now, oldest first: always a prefix of `segments`, so that the
/// log's minimum moves and leaves no hole. `deficit`: ready segments that are missing.
pub fn expire(
    config: &RetentionConfig,
    segments: &[SegmentFacts],
    now_ms: i64,
    disk: DiskUse,
    mut deficit: usize,
) -> Vec<Expired> {
    let hurry = disk >= config.hurry_at;
    let force = disk >= config.force_at;
    let mut out: Vec<Expired> = Vec::new();
    for (i, segment) in segments.iter().enumerate() {
        let newest = i + 1 == segments.len();
        if segment.active || newest {
            break;
        }
        let old = now_ms.saturating_sub(segment.newest_store_ms) > config.age_ms_max;
        let one_more = out.len() < EXPIRED_PER_PASS_MAX;
        if !(old && (hurry || one_more) || force && one_more) {
            break;
        }
        let recycle = deficit > 0 && !hurry && !segment.held;
        deficit -= usize::from(recycle);
        let fate = if recycle { Fate::Recycle } else { Fate::Unlink };
        out.push(Expired { base: segment.base, fate });
    }
    out
}

/// Whether writes are refused for want of disk; asked anew with each measurement.
pub fn refuses_writes(config: &RetentionConfig, disk: DiskUse) -> bool {
    disk >= config.refuse_at
}

impl DiskUse {
    /// From `statvfs`: blocks used, and blocks available to this user.
    pub fn of(used: u64, available: u64) -> Self {
        let total = u128::from(used) + u128::from(available);
        // As `df`: a part of a thousandth counts whole, and no disk is an empty one.
        let use_ = (u128::from(used) * 1000).div_ceil(total.max(1));
        Self(u32::try_from(use_).unwrap_or(1000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const NOW: i64 = 1_000 * HOUR;

    /// Segments whose newest message is so many hours old; the last is active.
    fn log(ages: &[i64]) -> Vec<SegmentFacts> {
        let facts = ages.iter().enumerate().map(|(i, age)| SegmentFacts {
            base: LogOffset(i as u64 * 100),
            newest_store_ms: NOW - age * HOUR,
            held: false,
            active: i + 1 == ages.len(),
        });
        facts.collect()
    }

    fn fates(segments: &[SegmentFacts], disk: u32, deficit: usize) -> Vec<Fate> {
        let expired = expire(&RetentionConfig::default(), segments, NOW, DiskUse(disk), deficit);
        for (i, one) in expired.iter().enumerate() {
            assert_eq!(one.base, segments[i].base, "a prefix of the log");
        }
        expired.iter().map(|one| one.fate).collect()
    }

    #[test]
    fn only_what_is_past_its_age_goes() {
        assert_eq!(fates(&log(&[80, 73, 71, 1]), 500, 0), [Fate::Unlink; 2]);
        assert_eq!(fates(&log(&[71, 1]), 849, 0), []);
        // A younger one in front keeps an older one: no hole opens.
        assert_eq!(fates(&log(&[71, 99, 1]), 500, 0), []);
    }

    #[test]
    fn a_segment_is_recycled_only_for_the_ready_pool_below_75_percent_and_unheld() {
        let mut segments = log(&[99, 98, 97, 1]);
        assert_eq!(fates(&segments, 500, 2), [Fate::Recycle, Fate::Recycle, Fate::Unlink]);
        assert_eq!(fates(&segments, 750, 2), [Fate::Unlink; 3]);
        segments[0].held = true;
        assert_eq!(fates(&segments, 500, 1), [Fate::Unlink, Fate::Recycle, Fate::Unlink]);
    }

    #[test]
    fn above_85_percent_age_does_not_protect_but_the_active_segment_stays() {
        assert_eq!(fates(&log(&[3, 2, 1]), 850, 5), [Fate::Unlink; 2]);
        assert_eq!(fates(&log(&[1]), 999, 5), []);
        let mut segments = log(&[3, 2, 1]);
        segments[1].active = true;
        assert_eq!(fates(&segments, 999, 0).len(), 1);
    }

    #[test]
    fn a_pass_is_bounded_unless_the_disk_fills_with_what_has_expired() {
        let old = log(&[100; 31]);
        assert_eq!(fates(&old, 500, 0).len(), EXPIRED_PER_PASS_MAX);
        assert_eq!(fates(&old, 750, 0).len(), 30);
        assert_eq!(fates(&log(&[1; 31]), 900, 0).len(), EXPIRED_PER_PASS_MAX);
    }

    #[test]
    fn writes_are_refused_at_90_percent_and_return_below() {
        let config = RetentionConfig::default();
        assert!(refuses_writes(&config, DiskUse::of(900, 100)));
        assert!(!refuses_writes(&config, DiskUse::of(899, 101)));
        assert_eq!(DiskUse::of(0, 0), DiskUse(0));
        assert_eq!(DiskUse::of(u64::MAX, 0), DiskUse(1000));
    }
}
