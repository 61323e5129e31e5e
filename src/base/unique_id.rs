//! The id that a message gets before it is stored: what consumers and tools show as its
//! msgId. Clients make it, and a broker for those that do not.

use std::net::Ipv4Addr;

use super::hex::hex_pairs;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Digits of an id.
pub const UNIQUE_ID_BYTES: usize = 32;

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
    /// The day of the last id, in days since 1970, and where in its month it began.
    day: i64,
    day_in_month_ms: i64,
}

impl UniqueIds {
    /// In Java the hash is that of a class loader: anything that another process with our
    /// number, perhaps in another container, does not have.
    pub fn new(ip: Ipv4Addr, hash: u32) -> Self {
        let mut prefix = [0; 10];
        prefix[..4].copy_from_slice(&ip.octets());
        prefix[4..6].copy_from_slice(&(std::process::id() as u16).to_be_bytes());
        prefix[6..].copy_from_slice(&hash.to_be_bytes());
        Self { prefix, count: 0, day: 0, day_in_month_ms: 0 }
    }

    /// The next id, made at `now_ms` since 1970.
    pub fn next(&mut self, now_ms: i64) -> [u8; UNIQUE_ID_BYTES] {
        let mut id = [0; UNIQUE_ID_BYTES / 2];
        id[..10].copy_from_slice(&self.prefix);
        // Above 2^31 from the month's 25th day on: Java wraps it, and reads it back unsigned.
        id[10..14].copy_from_slice(&(self.month_ms(now_ms) as u32).to_be_bytes());
        id[14..].copy_from_slice(&self.count.to_be_bytes());
        self.count = self.count.wrapping_add(1);
        let mut hex = [0; UNIQUE_ID_BYTES];
        hex.copy_from_slice(hex_pairs(id).as_flattened());
        hex
    }

    /// Milliseconds since the month began (UTC).
    fn month_ms(&mut self, now_ms: i64) -> i64 {
        let day = now_ms.div_euclid(DAY_MS);
        if day != self.day {
            (self.day, self.day_in_month_ms) = (day, (day_of_month(day) - 1) * DAY_MS);
        }
        self.day_in_month_ms + now_ms.rem_euclid(DAY_MS)
    }
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

    const IP: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 3);

    fn next(ids: &mut UniqueIds, now_ms: i64) -> String {
        String::from_utf8(ids.next(now_ms).to_vec()).unwrap()
    }

    /// What `getNearlyTimeFromID` of Java's clients reads out of an id at `now_ms`, for a
    /// month and the one before it that began then.
    fn nearly_time(id: &str, now_ms: i64, month_ms: i64, month_before_ms: i64) -> i64 {
        let span_ms = i64::from(u32::from_str_radix(&id[20..28], 16).unwrap());
        let began = if month_ms + span_ms >= now_ms { month_before_ms } else { month_ms };
        began + span_ms
    }

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
    }

    #[test]
    fn ids_have_the_form_of_java_clients_and_differ() {
        let mut ids = UniqueIds::new(IP, 0xfeed_f00d);
        let first = next(&mut ids, 19_783 * DAY_MS + 0x12345);
        let pid = std::process::id() as u16;
        assert_eq!(first, format!("0A010203{pid:04X}FEEDF00D000123450000"));
        assert_eq!(&next(&mut ids, 19_783 * DAY_MS + 0x12345)[20..], "000123450001");
        for _ in 2..=0x1_0000 {
            ids.next(0);
        }
        assert_eq!(&next(&mut ids, 0)[28..], "0001", "the count begins anew");
    }

    #[test]
    fn tools_read_back_when_an_id_was_made() {
        // 2024-02-01, 2024-03-01.
        let (february, march) = (19_754 * DAY_MS, 19_783 * DAY_MS);
        let mut ids = UniqueIds::new(IP, 7);
        for made in [march + 1, march + 17 * DAY_MS + 5, march + 30 * DAY_MS + 86_399_999] {
            let id = next(&mut ids, made);
            assert_eq!(nearly_time(&id, made + 1, march, february), made);
        }
        let made = march - 1;
        let id = next(&mut ids, made);
        assert_eq!(nearly_time(&id, march + 1, march, february), made, "in the month before");
    }
}
