//! The bodies of replies, out of the tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::routes::{Broker, Route, RouteTable};
use crate::wire::body::lists::{KvTable, TopicList};
use crate::wire::body::route::{BrokerData, ClusterInfo, QueueData, TopicRoute};
use crate::wire::body::to_bytes;

/// The reply to 901.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MemberGroup<'a> {
    broker_member_group: Members<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Members<'a> {
    broker_addrs: BTreeMap<i64, String>,
    broker_name: &'a str,
    cluster: &'a str,
}

/// 105.
pub(super) fn route(route: &Route<'_>, order: Option<&str>) -> TopicRoute {
    let servers = route.filter_servers.iter();
    let brokers = route.brokers.iter();
    let queues = route.rows.iter().map(|row| QueueData {
        broker_name: row.broker.to_string(),
        perm: row.queues.perm,
        read_queue_nums: row.queues.read,
        topic_sys_flag: row.queues.sys_flag,
        write_queue_nums: row.queues.write,
    });
    TopicRoute {
        broker_datas: brokers.map(|found| data(found.name, found.broker, &found.addrs)).collect(),
        filter_server_table: servers.map(|(addr, s)| ((*addr).to_owned(), s.to_vec())).collect(),
        order_topic_conf: order.map(str::to_owned),
        queue_datas: queues.collect(),
    }
}

/// 106.
pub(super) fn cluster_info(routes: &RouteTable) -> Vec<u8> {
    let brokers = routes.brokers();
    let clusters = routes.clusters();
    to_bytes(&ClusterInfo {
        broker_addr_table: brokers
            .map(|(name, broker)| (name.to_owned(), data(name, broker, &broker.addrs)))
            .collect(),
        cluster_addr_table: clusters
            .map(|(cluster, names)| (cluster.to_owned(), names.map(str::to_owned).collect()))
            .collect(),
    })
}

/// 901.
pub(super) fn member_group(routes: &RouteTable, cluster: &str, broker: &str) -> Vec<u8> {
    let addrs = routes.broker(broker).map(|broker| texts(&broker.addrs));
    let broker_addrs = addrs.unwrap_or_default();
    to_bytes(&MemberGroup {
        broker_member_group: Members { broker_addrs, broker_name: broker, cluster },
    })
}

/// 206, 224, 311 to 313.
pub(super) fn topic_list<'a>(topics: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let topic_list = topics.map(str::to_owned).collect();
    to_bytes(&TopicList { broker_addr: None, topic_list })
}

/// 304: clusters and brokers have topics of their own names. The address is one where
/// the other system topics can be asked for.
pub(super) fn system_topics(routes: &RouteTable) -> Vec<u8> {
    let mut topic_list = Vec::new();
    for (cluster, brokers) in routes.clusters() {
        topic_list.push(cluster.to_owned());
        topic_list.extend(brokers.map(str::to_owned));
    }
    let addr = routes.brokers().find_map(|(_, broker)| broker.addrs.values().next());
    to_bytes(&TopicList { broker_addr: addr.map(|addr| addr.to_string()), topic_list })
}

/// 219, and the reply to 103.
pub(super) fn value_table(values: &BTreeMap<String, String>) -> Vec<u8> {
    KvTable { table: values.clone() }.to_bytes()
}

fn data(name: &str, broker: &Broker, addrs: &BTreeMap<i64, Arc<str>>) -> BrokerData {
    BrokerData {
        broker_addrs: texts(addrs),
        broker_name: name.to_owned(),
        cluster: broker.cluster.clone(),
        enable_acting_master: broker.acting_master,
        zone_name: broker.zone.clone(),
    }
}

fn texts(addrs: &BTreeMap<i64, Arc<str>>) -> BTreeMap<i64, String> {
    addrs.iter().map(|(id, addr)| (*id, addr.to_string())).collect()
}
