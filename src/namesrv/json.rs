//! The JSON bodies of replies, as Apache's name server writes them: no white space,
//! names in alphabetical order, absent members left out, and in the legacy form
//! numeric keys without quotes, which is no JSON but what old clients parse.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::routes::{Broker, Route, RouteTable};
use crate::base::metadata::DataVersion;

/// How numeric keys are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Legacy,
    Standard,
}

/// 105.
pub(super) fn route(route: &Route<'_>, order: Option<&str>, form: Form) -> Vec<u8> {
    let mut json = Json::new(form);
    json.open(b'{').key("brokerDatas").open(b'[');
    for found in &route.brokers {
        json.broker_data(found.name, found.broker, &found.addrs);
    }
    json.close(b']').key("filterServerTable").open(b'{');
    for (addr, servers) in &route.filter_servers {
        json.key(addr).texts(servers.iter().map(String::as_str));
    }
    json.close(b'}');
    if let Some(order) = order {
        json.key("orderTopicConf").text(order);
    }
    json.key("queueDatas").open(b'[');
    for row in route.rows {
        json.open(b'{').key("brokerName").text(&row.broker);
        json.key("perm").number(row.queues.perm.into());
        json.key("readQueueNums").number(row.queues.read.into());
        json.key("topicSysFlag").number(row.queues.sys_flag.into());
        json.key("writeQueueNums").number(row.queues.write.into()).close(b'}');
    }
    json.close(b']').close(b'}');
    json.out
}

/// 106.
pub(super) fn cluster_info(routes: &RouteTable) -> Vec<u8> {
    let mut json = Json::new(Form::Legacy);
    json.open(b'{').key("brokerAddrTable").open(b'{');
    for (name, broker) in routes.brokers() {
        json.key(name).broker_data(name, broker, &broker.addrs);
    }
    json.close(b'}').key("clusterAddrTable").open(b'{');
    for (cluster, names) in routes.clusters() {
        json.key(cluster).texts(names);
    }
    json.close(b'}').close(b'}');
    json.out
}

/// 901.
pub(super) fn member_group(routes: &RouteTable, cluster: &str, broker: &str) -> Vec<u8> {
    let none = BTreeMap::new();
    let addrs = routes.broker(broker).map_or(&none, |broker| &broker.addrs);
    let mut json = Json::new(Form::Legacy);
    json.open(b'{').key("brokerMemberGroup").open(b'{').key("brokerAddrs").addrs(addrs);
    json.key("brokerName").text(broker).key("cluster").text(cluster).close(b'}').close(b'}');
    json.out
}

/// 206, 224, 311 to 313.
pub(super) fn topic_list<'a>(
    topics: impl Iterator<Item = &'a str>,
    broker_addr: Option<&str>,
) -> Vec<u8> {
    let mut json = Json::new(Form::Legacy);
    json.open(b'{');
    if let Some(addr) = broker_addr {
        json.key("brokerAddr").text(addr);
    }
    json.key("topicList").texts(topics).close(b'}');
    json.out
}

/// 304: clusters and brokers have topics of their own names. The address is one where
/// the other system topics can be asked for.
pub(super) fn system_topics(routes: &RouteTable) -> Vec<u8> {
    let mut names = Vec::new();
    for (cluster, brokers) in routes.clusters() {
        names.push(cluster);
        names.extend(brokers);
    }
    let addr = routes.brokers().find_map(|(_, broker)| broker.addrs.values().next());
    topic_list(names.into_iter(), addr.map(|addr| &**addr))
}

/// 219, and the reply to 103.
pub(super) fn value_table(values: &BTreeMap<String, String>) -> Vec<u8> {
    let mut json = Json::new(Form::Legacy);
    json.open(b'{').key("table").open(b'{');
    for (key, value) in values {
        json.key(key).text(value);
    }
    json.close(b'}').close(b'}');
    json.out
}

/// 322.
pub(super) fn data_version(version: DataVersion) -> Vec<u8> {
    let mut json = Json::new(Form::Legacy);
    json.open(b'{').key("counter").number(version.counter);
    json.key("stateVersion").number(version.state_version);
    json.key("timestamp").number(version.timestamp).close(b'}');
    json.out
}

struct Json {
    out: Vec<u8>,
    form: Form,
}

impl Json {
    fn new(form: Form) -> Self {
        Self { out: Vec::new(), form }
    }

    fn broker_data(&mut self, name: &str, broker: &Broker, addrs: &BTreeMap<i64, Arc<str>>) {
        self.open(b'{').key("brokerAddrs").addrs(addrs);
        self.key("brokerName").text(name).key("cluster").text(&broker.cluster);
        self.key("enableActingMaster");
        self.out.extend_from_slice(if broker.acting_master { b"true" } else { b"false" });
        if let Some(zone) = &broker.zone {
            self.key("zoneName").text(zone);
        }
        self.close(b'}');
    }

    fn addrs(&mut self, addrs: &BTreeMap<i64, Arc<str>>) -> &mut Self {
        self.open(b'{');
        for (id, addr) in addrs {
            self.number_key(*id).text(addr);
        }
        self.close(b'}')
    }

    fn texts<'a>(&mut self, texts: impl Iterator<Item = &'a str>) -> &mut Self {
        self.open(b'[');
        for text in texts {
            self.text(text);
        }
        self.close(b']')
    }

    fn open(&mut self, bracket: u8) -> &mut Self {
        self.separate();
        self.out.push(bracket);
        self
    }

    fn close(&mut self, bracket: u8) -> &mut Self {
        self.out.push(bracket);
        self
    }

    fn key(&mut self, key: &str) -> &mut Self {
        self.text(key);
        self.out.push(b':');
        self
    }

    fn number_key(&mut self, key: i64) -> &mut Self {
        match self.form {
            Form::Legacy => self.number(key),
            Form::Standard => self.text(&key.to_string()),
        };
        self.out.push(b':');
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.separate();
        serde_json::to_writer(&mut self.out, text).expect("a text into memory");
        self
    }

    fn number(&mut self, number: i64) -> &mut Self {
        self.separate();
        self.out.extend_from_slice(number.to_string().as_bytes());
        self
    }

    /// A comma, unless something has just been opened or named. No text ends in one of
    /// these bytes: its closing quote comes last.
    fn separate(&mut self) {
        if !matches!(self.out.last(), None | Some(b'{' | b'[' | b':')) {
            self.out.push(b',');
        }
    }
}
