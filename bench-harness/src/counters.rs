//! What ringmq counts of its own work: bytes, calls and copies of every
//! strategy and write mode, fallbacks, faults. Other brokers have none.

use crate::admin::{AdminClient, AdminError};
use crate::wire::{Request, code};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

/// Counters by their names without the prefix; those at zero are left out.
pub type Counted = BTreeMap<String, u64>;

/// Begins the names that no other broker has.
const PREFIX: &str = "ringmq.";

/// What one broker counted over a stretch of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BrokerCounters {
    pub broker: String,
    pub counted: Counted,
}

/// The counters of some brokers at one moment.
pub struct CountersMark(Vec<(SocketAddr, Counted)>);

impl CountersMark {
    pub fn take(brokers: &[SocketAddr]) -> io::Result<CountersMark> {
        let ask = |&broker: &SocketAddr| Ok((broker, ask(broker)?));
        brokers.iter().map(ask).collect::<io::Result<_>>().map(CountersMark)
    }

    /// What was counted since; nothing of brokers that count nothing.
    pub fn until(&self, end: &CountersMark) -> Vec<BrokerCounters> {
        let both = self.0.iter().zip(&end.0);
        let grown = both.map(|((broker, from), (_, to))| BrokerCounters {
            broker: broker.to_string(),
            counted: growth(from, to),
        });
        grown.filter(|counters| !counters.counted.is_empty()).collect()
    }
}

fn growth(from: &Counted, to: &Counted) -> Counted {
    let since = |(name, now): (&String, &u64)| {
        let grown = now.saturating_sub(from.get(name).copied().unwrap_or(0));
        (grown > 0).then(|| (name.clone(), grown))
    };
    to.iter().filter_map(since).collect()
}

#[derive(Deserialize)]
struct Table {
    table: BTreeMap<String, String>,
}

fn ask(broker: SocketAddr) -> io::Result<Counted> {
    let mut client = AdminClient::connect(broker)?;
    match client.call(&Request::new(code::RUNTIME_INFO)) {
        Ok(answer) => Ok(ours(&answer.body)),
        Err(AdminError::Refused { .. }) => Ok(Counted::new()),
        Err(error) => Err(error.into()),
    }
}

/// A body that is no such table is another broker's, and has nothing of ours.
fn ours(body: &[u8]) -> Counted {
    let Ok(Table { table }) = serde_json::from_slice(body) else { return Counted::new() };
    let counter = |(name, value): (String, String)| {
        Some((name.strip_prefix(PREFIX)?.to_string(), value.parse().ok()?))
    };
    table.into_iter().filter_map(counter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(pairs: &[(&str, u64)]) -> Counted {
        pairs.iter().map(|(name, value)| (name.to_string(), *value)).collect()
    }

    #[test]
    fn our_counters_are_taken_out_of_the_table_and_what_grew_is_told() {
        let body = br#"{"table":{"ringmq.thread.enters":"12","ringmq.transfer.mmap.bytes":"9","putTps":"0.1 2"}}"#;
        let before = ours(body);
        assert_eq!(before, counted(&[("thread.enters", 12), ("transfer.mmap.bytes", 9)]));
        let after = counted(&[("thread.enters", 15), ("transfer.mmap.bytes", 9), ("new", 4)]);
        assert_eq!(growth(&before, &after), counted(&[("new", 4), ("thread.enters", 3)]));
    }

    #[test]
    fn a_broker_that_counts_nothing_has_no_counters() {
        for body in [&b""[..], b"[]", br#"{"table":{"putTps":"0.1"}}"#] {
            assert_eq!(ours(body), Counted::new());
        }
        let broker = SocketAddr::from(([127, 0, 0, 1], 1));
        let mark = || CountersMark(vec![(broker, Counted::new())]);
        assert_eq!(mark().until(&mark()), []);
    }
}
