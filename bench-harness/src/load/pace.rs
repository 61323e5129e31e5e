//! When the requests of an open loop are due.
//!
//! The schedule is fixed before the run: request `k` of a thread is due at
//! `start + k · interval`, and belongs to connection `k mod connections`.
//! A latency counts from there, whenever the request really left, so a
//! stalled broker cannot hide the requests that it kept from being sent.

/// The schedule of one generator thread.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    start_ns: u64,
    interval_ns: f64,
    connections: u64,
}

impl Pace {
    pub fn new(start_ns: u64, requests_per_second: f64, connections: usize) -> Pace {
        assert!(requests_per_second > 0.0 && connections > 0);
        Pace { start_ns, interval_ns: 1e9 / requests_per_second, connections: connections as u64 }
    }

    /// When the thread's `k`-th request is due.
    pub fn due_ns(&self, k: u64) -> u64 {
        self.start_ns + (k as f64 * self.interval_ns) as u64
    }

    /// When the `j`-th request of `connection` is due.
    pub fn due_on_ns(&self, connection: usize, j: u64) -> u64 {
        self.due_ns(j * self.connections + connection as u64)
    }

    /// How many requests of the thread are due by `now`.
    pub fn due_by(&self, now_ns: u64) -> u64 {
        if now_ns < self.start_ns {
            return 0;
        }
        let estimate = ((now_ns - self.start_ns) as f64 / self.interval_ns) as u64;
        // Rounding may be off by one either way; `due_ns` decides.
        (estimate.saturating_sub(1)..)
            .find(|&k| self.due_ns(k) > now_ns)
            .expect("the schedule never ends")
    }

    /// How many requests of `connection` are due by `now`.
    pub fn due_on_by(&self, connection: usize, now_ns: u64) -> u64 {
        let all = self.due_by(now_ns);
        (all + self.connections - 1 - connection as u64) / self.connections
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_due_exactly_from_its_time_on() {
        for rate in [3.0, 1_000.0, 333_333.0, 2_000_000.0] {
            let pace = Pace::new(5_000, rate, 3);
            assert_eq!(pace.due_by(0), 0);
            for k in 0..2_000 {
                assert_eq!(pace.due_by(pace.due_ns(k)), k + 1, "rate {rate}");
                assert_eq!(pace.due_by(pace.due_ns(k) - 1), k, "rate {rate}");
            }
        }
    }

    #[test]
    fn connections_share_the_schedule_without_loss() {
        let pace = Pace::new(0, 10_000.0, 7);
        for now in (0..20_000_000).step_by(12_345) {
            let shared: u64 = (0..7).map(|c| pace.due_on_by(c, now)).sum();
            assert_eq!(shared, pace.due_by(now));
        }
        assert_eq!(pace.due_on_ns(3, 2), pace.due_ns(17));
    }
}
