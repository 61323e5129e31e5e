//! The id that a client gives to a message: what consumers and tools show as its msgId.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::Ipv4Addr;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Makes ids that no other process makes.
///
/// ```text
///  0    4     6      10                     14      16
///  | ip | pid | hash | ms since month began | count |    as upper-case hex
/// ```
///
/// Tools read the time back, to look for the message only from then on.
#[derive(Debug)]
pub struct UniqueIds {
    prefix: [u8; 10],
    count: u16,
}

impl UniqueIds {
    pub fn new() -> Self {
        // In Java the hash is that of a class loader: anything that another process
        // with our number, perhaps in another container, does not have.
        let hash = RandomState::new().build_hasher().finish() as u32;
        let mut prefix = [0; 10];
        prefix[..4].copy_from_slice(&Ipv4Addr::LOCALHOST.octets());
        prefix[4..6].copy_from_slice(&(std::process::id() as u16).to_be_bytes());
        prefix[6..].copy_from_slice(&hash.to_be_bytes());
        Self { prefix, count: 0 }
    }

    /// The next id, made at `now_ms` since 1970.
    pub fn next(&mut self, now_ms: i64) -> String {
        let mut id = [0; 16];
        id[..10].copy_from_slice(&self.prefix);
        id[10..14].copy_from_slice(&(month_ms(now_ms) as u32).to_be_bytes());
        id[14..].copy_from_slice(&self.count.to_be_bytes());
        self.count = self.count.wrapping_add(1);
        id.iter().map(|byte| format!("{byte:02X}")).collect()
    }
}

/// Milliseconds since the month began (UTC).
fn month_ms(now_ms: i64) -> i64 {
    let (day, in_day) = (now_ms.div_euclid(DAY_MS), now_ms.rem_euclid(DAY_MS));
    (day_of_month(day) - 1) * DAY_MS + in_day
}

/// The day of its month that a day since 1970 is. Years are taken from March on, so that
/// the leap day is a year's last: month `m` then begins at day (153 m + 2) / 5.
fn day_of_month(day: i64) -> i64 {
    const ERA_DAYS: i64 = 146_097;
    // From 0000-03-01, where an era of 400 years begins.
    let in_era = (day + 719_468).rem_euclid(ERA_DAYS);
    let year = (in_era - in_era / 1460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    in_year - (153 * month + 2) / 5 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_know_their_place_in_the_month() {
        // date -u -d 2024-02-29 +%s and others, in days.
        for (day, expected) in [
            (0, 1),       // 1970-01-01
            (19_782, 29), // 2024-02-29
            (19_783, 1),  // 2024-03-01
            (20_088, 31), // 2024-12-31
            (20_089, 1),  // 2025-01-01
            (11_016, 29), // 2000-02-29
            (47_540, 28), // 2100-02-28
            (47_541, 1),  // 2100-03-01
        ] {
            assert_eq!(day_of_month(day), expected, "day {day}");
        }
        assert_eq!(month_ms(19_783 * DAY_MS + 5), 5);
    }

    #[test]
    fn ids_have_the_form_of_java_clients_and_differ() {
        let mut ids = UniqueIds::new();
        let (first, second) = (ids.next(19_783 * DAY_MS + 0x12345), ids.next(0));
        assert_eq!(first.len(), 32);
        assert!(first.starts_with("7F000001"), "{first}");
        assert_eq!(&first[20..], "000123450000");
        assert_ne!(first, second);
        assert_ne!(UniqueIds::new().next(0)[..20], first[..20], "of another process");
    }
}
