//! Where a topic's queues are: asked of the name servers, one after the other.

use std::io;

use super::connection::{Connection, Reply};
use super::error::ClientError;
use crate::base::limits::{CLIENT_BROKERS_MAX, QUEUES_OF_TOPIC_MAX};
use crate::base::topic::{PERM_READ, PERM_WRITE};
use crate::wire::Value;
use crate::wire::body::from_bytes;
use crate::wire::body::route::{BrokerData, ClusterInfo, QueueData, TopicRoute};
use crate::wire::code::{request, response};
use crate::wire::headers::namesrv::GetRoute;

/// The name servers that were given. One that answered is asked again.
pub struct NameServers {
    addresses: Vec<String>,
    /// Which of `addresses` is connected.
    connected: Option<(usize, Connection)>,
}

/// A broker with the queues that it has of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerQueues {
    pub broker: String,
    pub address: String,
    pub queues: u32,
}

impl NameServers {
    pub fn new(addresses: Vec<String>) -> Self {
        Self { addresses, connected: None }
    }

    /// The topic's route; `None` when the name server knows no such topic.
    pub fn route_of(&mut self, topic: &str) -> Result<Option<TopicRoute>, ClientError> {
        let reply = self.ask(|connection| ask_route(connection, topic))?;
        let (who, reply) = (self.who(), reply.view());
        match reply.code {
            response::SUCCESS => from_bytes(reply.body)
                .map(Some)
                .map_err(|error| ClientError::Odd { who, what: error.to_string() }),
            response::TOPIC_NOT_EXIST => Ok(None),
            code => {
                Err(ClientError::refused(&who, code, reply.remark.map(|r| r.text().into_owned())))
            }
        }
    }

    /// All brokers that the name server knows.
    pub fn cluster(&mut self) -> Result<ClusterInfo, ClientError> {
        let code = request::GET_BROKER_CLUSTER_INFO;
        let reply = self.ask(|connection| connection.call(code, |_| {}, b""))?;
        let (who, reply) = (self.who(), reply.view());
        match reply.code {
            response::SUCCESS => from_bytes(reply.body)
                .map_err(|error| ClientError::Odd { who, what: error.to_string() }),
            code => {
                Err(ClientError::refused(&who, code, reply.remark.map(|r| r.text().into_owned())))
            }
        }
    }

    /// The one that has answered.
    fn who(&self) -> String {
        match &self.connected {
            Some((at, _)) => format!("name server {}", self.addresses[*at]),
            None => unreachable!("the one that answered stays connected"),
        }
    }

    fn ask(
        &mut self,
        ask: impl Fn(&mut Connection) -> io::Result<Reply>,
    ) -> Result<Reply, ClientError> {
        // It may be gone since it answered last: then all are tried anew.
        if let Some((at, mut connection)) = self.connected.take()
            && let Ok(reply) = ask(&mut connection)
        {
            self.connected = Some((at, connection));
            return Ok(reply);
        }
        let mut tried = Vec::new();
        for (at, address) in self.addresses.iter().enumerate() {
            let answer = Connection::open(address)
                .and_then(|mut connection| Ok((ask(&mut connection)?, connection)));
            match answer {
                Ok((reply, connection)) => {
                    self.connected = Some((at, connection));
                    return Ok(reply);
                }
                Err(why) => tried.push((address.clone(), why)),
            }
        }
        Err(ClientError::NameServers { tried })
    }
}

fn ask_route(connection: &mut Connection, topic: &str) -> io::Result<Reply> {
    let header = GetRoute { topic: Value::of(topic), accept_standard_json_only: true };
    connection.call(request::GET_ROUTEINFO_BY_TOPIC, |writer| header.encode(writer), b"")
}

/// The queues that take messages. Only a primary, id 0, does.
pub fn writable(route: &TopicRoute) -> Vec<BrokerQueues> {
    let primary = |broker: &BrokerData| broker.broker_addrs.get(&0).cloned();
    queues(route, PERM_WRITE, |queue| queue.write_queue_nums, primary)
}

/// The queues that can be read, at the primary where there is one.
pub fn readable(route: &TopicRoute) -> Vec<BrokerQueues> {
    let first = |broker: &BrokerData| broker.broker_addrs.values().next().cloned();
    queues(route, PERM_READ, |queue| queue.read_queue_nums, first)
}

fn queues(
    route: &TopicRoute,
    perm: u32,
    count: impl Fn(&QueueData) -> i32,
    address: impl Fn(&BrokerData) -> Option<String>,
) -> Vec<BrokerQueues> {
    let place = |queue: &QueueData| {
        let broker = route.broker_datas.iter().find(|data| data.broker_name == queue.broker_name);
        let queues = u32::try_from(count(queue)).ok()?.min(QUEUES_OF_TOPIC_MAX);
        let is_usable = queue.perm as u32 & perm != 0 && queues > 0;
        let address = broker.and_then(&address).filter(|_| is_usable)?;
        Some(BrokerQueues { broker: queue.broker_name.clone(), address, queues })
    };
    route.queue_datas.iter().filter_map(place).take(CLIENT_BROKERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn broker(name: &str, addresses: &[(i64, &str)]) -> BrokerData {
        let addresses = addresses.iter().map(|(id, address)| (*id, (*address).to_owned()));
        BrokerData {
            broker_addrs: BTreeMap::from_iter(addresses),
            broker_name: name.to_owned(),
            ..BrokerData::default()
        }
    }

    fn queue(name: &str, perm: i32, read: i32, write: i32) -> QueueData {
        QueueData {
            broker_name: name.to_owned(),
            perm,
            read_queue_nums: read,
            write_queue_nums: write,
            ..QueueData::default()
        }
    }

    #[test]
    fn messages_go_to_primaries_that_allow_it_and_are_read_where_it_is_allowed() {
        let route = TopicRoute {
            broker_datas: vec![
                broker("a", &[(0, "a:1"), (1, "a:2")]),
                broker("b", &[(1, "b:2")]),
                broker("c", &[(0, "c:1")]),
            ],
            queue_datas: vec![
                queue("a", 6, 4, 2),
                queue("b", 6, 4, 2),
                queue("c", 4, 3, 3),
                queue("nowhere", 6, 4, 4),
            ],
            ..TopicRoute::default()
        };
        let place = |broker: &str, address: &str, queues| BrokerQueues {
            broker: broker.to_owned(),
            address: address.to_owned(),
            queues,
        };
        assert_eq!(writable(&route), [place("a", "a:1", 2)]);
        let all = [place("a", "a:1", 4), place("b", "b:2", 4), place("c", "c:1", 3)];
        assert_eq!(readable(&route), all);
    }

    #[test]
    fn absurd_counts_of_queues_and_brokers_are_bounded() {
        let names: Vec<String> = (0..CLIENT_BROKERS_MAX + 9).map(|n| n.to_string()).collect();
        let mut route = TopicRoute {
            broker_datas: names.iter().map(|name| broker(name, &[(0, "h:1")])).collect(),
            queue_datas: names.iter().map(|name| queue(name, 6, i32::MAX, -1)).collect(),
            ..TopicRoute::default()
        };
        assert_eq!(writable(&route), []);
        assert_eq!(readable(&route).len(), CLIENT_BROKERS_MAX);
        assert_eq!(readable(&route)[0].queues, QUEUES_OF_TOPIC_MAX);
        route.queue_datas[0].perm = 2;
        assert_eq!(readable(&route)[0].broker, "1");
    }
}
