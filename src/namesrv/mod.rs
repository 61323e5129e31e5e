//! The name server as a value: which brokers are alive, which topics they have, and a
//! few values that operators keep there. It is told of requests, closed connections
//! and time; it owns no socket, no file and no clock.
//!
//! `handle` is the table of contents: a code, and the method that answers it. Replies
//! are those of Apache's name server byte for byte where clients read them
//! (`tests/namesrv_dialogue.rs`); remarks are for humans and our own. Static topics'
//! mappings are passed over, and brokers are never called back (905).
//!
//! Values and options that requests change must outlive the process, which is their
//! owner's work: `take_changes` after `handle` says what to keep before the reply is
//! sent, `restore` brings it back.

mod answer;
mod bodies;
mod options;
mod register;
mod routes;
mod topics;
mod values;

use std::mem;

pub use options::Options;
pub use values::ValueChange;

use crate::base::Now;
use crate::wire::Request;
use crate::wire::body::to_bytes;
use crate::wire::code::{request as asked, response};
use crate::wire::headers::namesrv::{
    BrokerNameOf, BrokerOf, ClusterOf, DeleteTopic, GetRoute, KeyOf, NamespaceOf, PutKv,
    RegisterBroker,
};
use answer::{Answer, Handled, Refusal, reply};
use routes::{Member, RouteTable};
use topics::{Queues, READ, Row, WRITE};
use values::ValueTable;

/// A connection, by a number that its owner never uses twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// The namespace whose values say how many queues of an ordered topic each broker has.
const ORDER_NAMESPACE: &str = "ORDER_TOPIC_CONFIG";

pub struct NameServer {
    routes: RouteTable,
    values: ValueTable,
    options: Options,
    changes: Vec<ValueChange>,
    /// On the clock that never goes back.
    started_us: u64,
}

impl NameServer {
    pub fn new(options: Options, now: Now) -> Self {
        Self {
            routes: RouteTable::default(),
            values: ValueTable::default(),
            options,
            changes: Vec::new(),
            started_us: now.mono_us,
        }
    }

    /// Brings back a value, or an option, that `take_changes` gave in an earlier life.
    pub fn restore(&mut self, namespace: &str, key: &str, value: &str) {
        if namespace == options::NAMESPACE {
            // What an older version kept and this one does not know has no effect.
            let _ = self.options.set(key, value);
        } else {
            // It fitted when it was kept.
            let _ = self.values.put(namespace, key, value);
        }
    }

    /// Answers one request: appends the whole reply, or nothing when none is wanted.
    pub fn handle(&mut self, conn: ConnId, request: &Request<'_>, now: Now, out: &mut Vec<u8>) {
        if request.is_response() {
            return;
        }
        let handled = self.dispatch(conn, request, now);
        if !request.is_oneway() {
            reply(request, handled, out);
        }
    }

    /// Values and options that the last requests changed, in order. Whoever keeps them
    /// holds the reply back until they are durable.
    pub fn take_changes(&mut self) -> Vec<ValueChange> {
        mem::take(&mut self.changes)
    }

    /// A connection has closed: the brokers that registered over it are gone.
    pub fn on_closed(&mut self, conn: ConnId) {
        self.routes.drop_connection(conn);
    }

    /// Drops brokers that were silent for too long and returns the connections that
    /// they had registered over, for closing.
    pub fn expire(&mut self, now: Now) -> Vec<ConnId> {
        self.routes.expire(now)
    }

    /// When `expire` will next find something, if nobody speaks until then.
    pub fn next_deadline(&self) -> Option<u64> {
        self.routes.next_deadline()
    }

    fn dispatch(&mut self, conn: ConnId, request: &Request<'_>, now: Now) -> Handled {
        match request.code {
            asked::PUT_KV_CONFIG => self.put_value(request),
            asked::GET_KV_CONFIG => self.get_value(request),
            asked::DELETE_KV_CONFIG => self.delete_value(request),
            asked::GET_KVLIST_BY_NAMESPACE => self.list_values(request),
            asked::REGISTER_BROKER => self.register_broker(conn, request, now),
            asked::UNREGISTER_BROKER => self.unregister_broker(request),
            asked::QUERY_DATA_VERSION => self.query_data_version(request, now),
            asked::BROKER_HEARTBEAT => self.broker_heartbeat(request, now),
            asked::GET_BROKER_MEMBER_GROUP => self.member_group(request),
            asked::GET_ROUTEINFO_BY_TOPIC => self.route(request, now),
            asked::GET_BROKER_CLUSTER_INFO => Ok(Answer::body(bodies::cluster_info(&self.routes))),
            asked::WIPE_WRITE_PERM_OF_BROKER => self.wipe_write_permission(request),
            asked::ADD_WRITE_PERM_OF_BROKER => self.add_write_permission(request),
            asked::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => self.all_topics(),
            asked::GET_TOPICS_BY_CLUSTER => self.topics_of_cluster(request),
            asked::GET_SYSTEM_TOPIC_LIST_FROM_NS => {
                Ok(Answer::body(bodies::system_topics(&self.routes)))
            }
            asked::GET_UNIT_TOPIC_LIST => self.topics_with(|row| row.is_unit()),
            asked::GET_HAS_UNIT_SUB_TOPIC_LIST => self.topics_with(|row| row.has_unit_sub()),
            asked::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => {
                self.topics_with(|row| row.has_unit_sub() && !row.is_unit())
            }
            asked::DELETE_TOPIC_IN_NAMESRV => self.delete_topic(request),
            asked::REGISTER_TOPIC_IN_NAMESRV => self.register_topic(request),
            asked::UPDATE_NAMESRV_CONFIG => self.update_options(request),
            asked::GET_NAMESRV_CONFIG => Ok(Answer::body(self.options.text().into_bytes())),
            other => Err(Refusal::new(
                response::REQUEST_CODE_NOT_SUPPORTED,
                format!("request code {other} is not supported by the name server"),
            )),
        }
    }

    fn put_value(&mut self, request: &Request<'_>) -> Handled {
        let PutKv { namespace, key, value } = PutKv::decode(&request.ext)?;
        let (namespace, key, value) = (namespace.text(), key.text(), value.text());
        self.values.put(&namespace, &key, &value)?;
        self.changes.push(ValueChange::put(&namespace, &key, &value));
        Ok(Answer::done())
    }

    fn get_value(&self, request: &Request<'_>) -> Handled {
        let KeyOf { namespace, key } = KeyOf::decode(&request.ext)?;
        let (namespace, key) = (namespace.text(), key.text());
        let Some(value) = self.values.get(&namespace, &key) else {
            let remark = format!("no value under {key} in the namespace {namespace}");
            return Err(Refusal::new(response::QUERY_NOT_FOUND, remark));
        };
        Ok(Answer::done().field("value", value))
    }

    fn delete_value(&mut self, request: &Request<'_>) -> Handled {
        let KeyOf { namespace, key } = KeyOf::decode(&request.ext)?;
        let (namespace, key) = (namespace.text(), key.text());
        if self.values.delete(&namespace, &key) {
            self.changes.push(ValueChange::delete(&namespace, &key));
        }
        Ok(Answer::done())
    }

    fn list_values(&self, request: &Request<'_>) -> Handled {
        let namespace = NamespaceOf::decode(&request.ext)?.namespace.text();
        let Some(values) = self.values.namespace(&namespace) else {
            let remark = format!("no namespace {namespace}");
            return Err(Refusal::new(response::QUERY_NOT_FOUND, remark));
        };
        Ok(Answer::body(bodies::value_table(values)))
    }

    fn register_broker(&mut self, conn: ConnId, request: &Request<'_>, now: Now) -> Handled {
        let header = RegisterBroker::decode(&request.ext)?;
        register::check_crc(request.body, header.body_crc32)?;
        let offered = register::read_body(request, header.compressed)?;
        let cluster = header.cluster_name.text();
        let broker = header.broker_name.text();
        let addr = header.broker_addr.text();
        let ha_addr = header.ha_server_addr.map(|text| text.text());
        let zone = header.zone_name.map(|text| text.text());
        let member = Member {
            cluster: &cluster,
            broker: &broker,
            addr: &addr,
            id: header.broker_id,
            ha_addr: ha_addr.as_deref(),
            zone: zone.as_deref(),
            acting_master: header.enable_acting_master,
            timeout_ms: header.heartbeat_timeout_millis,
        };
        let delete_absent = self.options.delete_topic_with_broker_registration;
        let primary = self.routes.register(&member, offered, delete_absent, conn, now)?;
        let mut answer = Answer::done();
        if let Some(primary) = primary {
            answer = answer.maybe_field("haServerAddr", primary.ha_addr.as_deref());
            answer = answer.field("masterAddr", &primary.addr);
        }
        if self.options.return_order_topic_config_to_broker
            && let Some(orders) = self.values.namespace(ORDER_NAMESPACE)
        {
            answer = answer.with_body(bodies::value_table(orders));
        }
        Ok(answer)
    }

    fn unregister_broker(&mut self, request: &Request<'_>) -> Handled {
        let header = BrokerOf::decode(&request.ext)?;
        self.routes.unregister(&header.cluster_name.text(), &header.broker_addr.text());
        Ok(Answer::done())
    }

    fn query_data_version(&mut self, request: &Request<'_>, now: Now) -> Handled {
        let header = BrokerOf::decode(&request.ext)?;
        let asked = register::read_data_version(request.body)?;
        let known = self.routes.touch(&header.cluster_name.text(), &header.broker_addr.text(), now);
        let changed = known.is_none() || known != asked;
        let answer = Answer::done().field("changed", if changed { "true" } else { "false" });
        Ok(match known {
            Some(version) => answer.with_body(to_bytes(&version)),
            None => answer,
        })
    }

    fn broker_heartbeat(&mut self, request: &Request<'_>, now: Now) -> Handled {
        let cluster = request.ext.need("clusterName")?.text();
        let addr = request.ext.need("brokerAddr")?.text();
        self.routes.touch(&cluster, &addr, now);
        Ok(Answer::done())
    }

    fn member_group(&self, request: &Request<'_>) -> Handled {
        let cluster = request.ext.need("clusterName")?.text();
        let broker = request.ext.need("brokerName")?.text();
        Ok(Answer::body(bodies::member_group(&self.routes, &cluster, &broker)))
    }

    fn route(&self, request: &Request<'_>, now: Now) -> Handled {
        let header = GetRoute::decode(&request.ext)?;
        let waited_us = now.mono_us.saturating_sub(self.started_us);
        if self.options.need_wait_for_service
            && waited_us < self.options.wait_seconds_for_service.saturating_mul(1_000_000)
        {
            let remark = "the name server has just started and waits for brokers".to_owned();
            return Err(Refusal::new(response::SYSTEM_ERROR, remark));
        }
        let topic = header.topic.text();
        let Some(route) = self.routes.route(&topic, self.options.support_acting_master) else {
            let remark = format!("no broker has registered the topic {topic}");
            return Err(Refusal::new(response::TOPIC_NOT_EXIST, remark));
        };
        let order = match self.options.order_message_enable {
            true => self.values.get(ORDER_NAMESPACE, &topic),
            false => None,
        };
        let body = bodies::route(&route, order);
        let standard_only = header.accept_standard_json_only;
        Ok(Answer::body(body.to_bytes_for(request.version, standard_only)))
    }

    fn wipe_write_permission(&mut self, request: &Request<'_>) -> Handled {
        let broker = BrokerNameOf::decode(&request.ext)?.broker_name.text();
        let count = self.routes.change_permissions(&broker, |perm| perm & !WRITE);
        Ok(Answer::done().field("wipeTopicCount", &count.to_string()))
    }

    fn add_write_permission(&mut self, request: &Request<'_>) -> Handled {
        let broker = BrokerNameOf::decode(&request.ext)?.broker_name.text();
        let read_write = READ | WRITE;
        let count = self.routes.change_permissions(&broker, |_| read_write);
        Ok(Answer::done().field("addTopicCount", &count.to_string()))
    }

    fn all_topics(&self) -> Handled {
        self.options.check_enabled(self.options.enable_all_topic_list, "enableAllTopicList")?;
        Ok(Answer::body(bodies::topic_list(self.routes.topics().names())))
    }

    fn topics_of_cluster(&self, request: &Request<'_>) -> Handled {
        self.options.check_enabled(self.options.enable_topic_list, "enableTopicList")?;
        let cluster = ClusterOf::decode(&request.ext)?.cluster.text();
        Ok(Answer::body(bodies::topic_list(self.routes.topics_of_cluster(&cluster))))
    }

    /// Topics whose first row is `wanted`.
    fn topics_with(&self, wanted: impl Fn(&Queues) -> bool) -> Handled {
        self.options.check_enabled(self.options.enable_topic_list, "enableTopicList")?;
        let first = |rows: &[Row]| rows.first().is_some_and(|row| wanted(&row.queues));
        Ok(Answer::body(bodies::topic_list(self.routes.topics().names_where(first))))
    }

    fn delete_topic(&mut self, request: &Request<'_>) -> Handled {
        let header = DeleteTopic::decode(&request.ext)?;
        let cluster = header.cluster_name.filter(|name| !name.is_empty()).map(|name| name.text());
        self.routes.delete_topic(&header.topic.text(), cluster.as_deref());
        Ok(Answer::done())
    }

    fn register_topic(&mut self, request: &Request<'_>) -> Handled {
        // Very old clients ask something else by this code, with neither topic nor body.
        if request.body.is_empty() {
            return Ok(Answer::done());
        }
        let topic = request.ext.need("topic")?.text();
        let rows = register::read_rows(request.body)?;
        self.routes.put_rows(&topic, &rows)?;
        Ok(Answer::done())
    }

    fn update_options(&mut self, request: &Request<'_>) -> Handled {
        for (name, value) in self.options.update(request.body)? {
            self.changes.push(ValueChange::put(options::NAMESPACE, &name, &value));
        }
        Ok(Answer::done())
    }
}
