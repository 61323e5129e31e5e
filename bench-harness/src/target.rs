//! Where the load goes: one broker by address, or every broker that a name
//! server names for the topic; in RocketMQ's protocol or in Kafka's.

use crate::admin::{AdminClient, AdminError, resolve};
use crate::kafka::{self, KafkaClient};
use crate::wire::{Request, code};
use clap::Args;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// One broker and the queues of the topic that it owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub addr: SocketAddr,
    pub name: Option<String>,
    pub queues: Vec<u32>,
}

/// What is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Speech {
    /// RocketMQ's remoting protocol: ringmq, Apache RocketMQ
    #[default]
    Remoting,
    /// Kafka's; a queue is a partition then
    Kafka,
}

/// The target as asked for on the command line.
#[derive(Args, Clone, Debug)]
pub struct TargetArgs {
    #[arg(long, value_enum, default_value_t = Speech::Remoting)]
    pub protocol: Speech,
    /// Talk to this broker, without a name server
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "namesrv")]
    pub broker: Option<String>,
    /// Ask this name server for the topic's brokers and queues
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "broker")]
    pub namesrv: Option<String>,
    #[arg(long, default_value = "ringmq-bench")]
    pub topic: String,
    /// Queues of the topic per broker (default: the route's, or 4 without a name server)
    #[arg(long, value_name = "N")]
    pub queues: Option<u32>,
    /// First create the topic with this many queues on every broker
    #[arg(long, value_name = "QUEUES")]
    pub create_topic: Option<u32>,
}

/// What a topic has that is created by its first message.
const QUEUES_DEFAULT: u32 = 4;
/// How long a name server may take to learn of a new topic.
const ROUTE_PATIENCE: Duration = Duration::from_secs(40);
const WRITABLE: u32 = 2;

impl TargetArgs {
    /// Creates the topic if asked to, and finds who serves it.
    pub fn endpoints(&self) -> io::Result<Vec<Endpoint>> {
        let mut endpoints = match (&self.broker, &self.namesrv) {
            (Some(broker), _) => self.direct(resolve(broker)?)?,
            (None, Some(_)) if self.protocol == Speech::Kafka => {
                return Err(io::Error::other("Kafka has no name server: use --broker"));
            }
            (None, Some(namesrv)) => self.routed(resolve(namesrv)?)?,
            (None, None) => return Err(io::Error::other("neither a broker nor a name server")),
        };
        for endpoint in &mut endpoints {
            if let Some(queues) = self.queues {
                endpoint.queues.truncate(queues as usize);
            }
        }
        endpoints.retain(|endpoint| !endpoint.queues.is_empty());
        if endpoints.is_empty() {
            return Err(io::Error::other(format!("no broker takes messages for {}", self.topic)));
        }
        Ok(endpoints)
    }

    /// Brokers that may have counters of ringmq's.
    pub fn counting(&self, endpoints: &[Endpoint]) -> Vec<SocketAddr> {
        match self.protocol {
            Speech::Remoting => endpoints.iter().map(|endpoint| endpoint.addr).collect(),
            Speech::Kafka => Vec::new(),
        }
    }

    fn direct(&self, addr: SocketAddr) -> io::Result<Vec<Endpoint>> {
        if self.protocol == Speech::Kafka {
            return self.kafka(addr);
        }
        if let Some(queues) = self.create_topic {
            create_topic(addr, &self.topic, queues)?;
        }
        let queues = self.queues.or(self.create_topic).unwrap_or(QUEUES_DEFAULT);
        Ok(vec![Endpoint { addr, name: None, queues: (0..queues).collect() }])
    }

    fn kafka(&self, addr: SocketAddr) -> io::Result<Vec<Endpoint>> {
        let mut client = KafkaClient::connect(addr)?;
        client.check_versions()?;
        if let Some(queues) = self.create_topic {
            kafka::create_topic(&mut client, &self.topic, queues)?;
        }
        let queues = kafka::leaders_known(&mut client, &self.topic, self.create_topic.is_some())?;
        Ok(vec![Endpoint { addr, name: None, queues }])
    }

    fn routed(&self, namesrv: SocketAddr) -> io::Result<Vec<Endpoint>> {
        let mut client = AdminClient::connect(namesrv)?;
        let Some(queues) = self.create_topic else {
            return Ok(route(&mut client, &self.topic)?);
        };
        let mut made = BTreeSet::new();
        let deadline = Instant::now() + ROUTE_PATIENCE;
        loop {
            // A broker that has just started may still have to register.
            for broker in masters(&mut client)? {
                if made.insert(broker) {
                    create_topic(broker, &self.topic, queues)?;
                }
            }
            match route(&mut client, &self.topic) {
                Ok(found) if found.len() >= made.len().max(1) => return Ok(found),
                Ok(_) | Err(AdminError::Refused { code: 17, .. }) => {}
                Err(error) => return Err(error.into()),
            }
            if Instant::now() > deadline {
                return Err(io::Error::other("the name server did not learn of the topic"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Creates or updates a topic that may be read and written.
pub fn create_topic(broker: SocketAddr, topic: &str, queues: u32) -> Result<(), AdminError> {
    let request = Request::new(code::CREATE_TOPIC)
        .ext("topic", topic)
        .ext("defaultTopic", "TBW102")
        .ext("readQueueNums", queues)
        .ext("writeQueueNums", queues)
        .ext("perm", 6)
        .ext("topicFilterType", "SINGLE_TAG")
        .ext("topicSysFlag", 0)
        .ext("order", false);
    AdminClient::connect(broker)?.call(&request).map(drop)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RouteBody {
    #[serde(default)]
    broker_datas: Vec<BrokerData>,
    #[serde(default)]
    queue_datas: Vec<QueueData>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BrokerData {
    broker_name: String,
    broker_addrs: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct QueueData {
    broker_name: String,
    #[serde(default)]
    perm: u32,
    #[serde(default)]
    write_queue_nums: u32,
}

/// The topic's masters that take messages, each with its queues.
fn route(client: &mut AdminClient, topic: &str) -> Result<Vec<Endpoint>, AdminError> {
    let request = Request::new(code::ROUTE).ext("topic", topic).ext("acceptStandardJsonOnly", true);
    let body = client.call(&request)?.body;
    let route: RouteBody = parse(client, &body)?;
    let mut endpoints = Vec::new();
    for queue in route.queue_datas.iter().filter(|queue| queue.perm & WRITABLE != 0) {
        let named = |data: &&BrokerData| data.broker_name == queue.broker_name;
        let master =
            route.broker_datas.iter().find(named).and_then(|data| data.broker_addrs.get("0"));
        if let Some(master) = master {
            endpoints.push(Endpoint {
                addr: address(client, master)?,
                name: Some(queue.broker_name.clone()),
                queues: (0..queue.write_queue_nums).collect(),
            });
        }
    }
    endpoints.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(endpoints)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClusterBody {
    #[serde(default)]
    broker_addr_table: BTreeMap<String, BrokerData>,
}

/// Every broker that the name server knows, without replicas.
fn masters(client: &mut AdminClient) -> Result<Vec<SocketAddr>, AdminError> {
    let body = client.call(&Request::new(code::CLUSTER_INFO))?.body;
    let cluster: ClusterBody = parse(client, &body)?;
    let addrs = cluster.broker_addr_table.values().filter_map(|data| data.broker_addrs.get("0"));
    addrs.map(|addr| address(client, addr)).collect()
}

fn address(client: &AdminClient, text: &str) -> Result<SocketAddr, AdminError> {
    resolve(text).map_err(|error| client.nonsense(error))
}

fn parse<T: for<'de> Deserialize<'de>>(client: &AdminClient, body: &[u8]) -> Result<T, AdminError> {
    serde_json::from_slice(&quote_numeric_keys(body)).map_err(|error| client.nonsense(error))
}

/// Java writes maps by number without quotes, `{0:"…"}`, which is not JSON.
fn quote_numeric_keys(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 16);
    let mut in_text = false;
    let mut i = 0;
    while i < body.len() {
        let byte = body[i];
        if in_text && byte == b'\\' {
            out.extend_from_slice(&body[i..(i + 2).min(body.len())]);
            i += 2;
            continue;
        }
        in_text ^= byte == b'"';
        out.push(byte);
        i += 1;
        if !in_text && matches!(byte, b'{' | b',') {
            let digits = body[i..].iter().take_while(|b| b.is_ascii_digit()).count();
            if digits > 0 && body.get(i + digits) == Some(&b':') {
                out.push(b'"');
                out.extend_from_slice(&body[i..i + digits]);
                out.push(b'"');
                i += digits;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numeric_keys_are_quoted_and_texts_left_alone() {
        let java = br#"{"a":{0:"h:1",12:"h\",3:"},"b":[1,2:]}"#;
        let json = quote_numeric_keys(java);
        assert_eq!(json, br#"{"a":{"0":"h:1","12":"h\",3:"},"b":[1,"2":]}"#);
    }
}
