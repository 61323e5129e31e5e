//! `ringmq admin stats`: what each broker has moved, and how.

use std::collections::BTreeMap;
use std::io::Write;

use serde::Serialize;

use super::connection::Connection;
use super::error::ClientError;
use super::route::NameServers;
use crate::base::limits::CLIENT_BROKERS_MAX;
use crate::config::StatsConfig;
use crate::wire::body::from_bytes;
use crate::wire::body::lists::KvTable;
use crate::wire::code::{request, response};

/// Begins the keys of ringmq's own counters.
const PREFIX: &str = "ringmq.";

/// The counters of one broker, without their prefix.
#[derive(Debug, Serialize)]
struct BrokerStats {
    broker: String,
    address: String,
    counters: BTreeMap<String, u64>,
}

/// `admin stats` with a place for its output handed in.
pub fn stats_to(config: StatsConfig, mut output: impl Write) -> Result<(), ClientError> {
    let cluster = NameServers::new(config.name_servers).cluster()?;
    let primaries = cluster
        .broker_addr_table
        .iter()
        .filter_map(|(name, broker)| Some((name.clone(), broker.broker_addrs.get(&0)?.clone())));
    let mut all = Vec::new();
    for (broker, address) in primaries.take(CLIENT_BROKERS_MAX) {
        let counters = counters_of(&broker, &address)?;
        all.push(BrokerStats { broker, address, counters });
    }
    let written = match config.json {
        true => serde_json::to_writer_pretty(&mut output, &all)
            .map_err(Into::into)
            .and_then(|()| writeln!(output)),
        false => all.iter().try_for_each(|stats| show(stats, &mut output)),
    };
    written.map_err(ClientError::Output)
}

fn counters_of(broker: &str, address: &str) -> Result<BTreeMap<String, u64>, ClientError> {
    let (name, at) = (broker.to_owned(), address.to_owned());
    let mut connection = Connection::open(address).map_err(|why| ClientError::Unreachable {
        broker: name.clone(),
        address: at.clone(),
        why,
    })?;
    let asked = connection.call(request::GET_BROKER_RUNTIME_INFO, |_| {}, b"");
    let reply = asked.map_err(|why| ClientError::Unanswered { broker: name, address: at, why })?;
    let (who, reply) = (format!("broker {broker}"), reply.view());
    if reply.code != response::SUCCESS {
        let remark = reply.remark.map(|remark| remark.text().into_owned());
        return Err(ClientError::refused(&who, reply.code, remark));
    }
    let table: KvTable = from_bytes(reply.body)
        .map_err(|error| ClientError::Odd { who, what: error.to_string() })?;
    let ours = table.table.into_iter().filter_map(|(key, value)| {
        Some((key.strip_prefix(PREFIX)?.to_owned(), value.parse().ok()?))
    });
    Ok(ours.collect())
}

fn show(stats: &BrokerStats, output: &mut impl Write) -> std::io::Result<()> {
    let BrokerStats { broker, address, counters } = stats;
    writeln!(output, "{broker} at {address}")?;
    if counters.is_empty() {
        return writeln!(output, "  no counters: it is no ringmq, or has done nothing yet");
    }
    let width = counters.keys().map(String::len).max().unwrap_or(0);
    for (key, value) in counters {
        writeln!(output, "  {key:width$}  {value:>16}")?;
    }
    Ok(())
}
