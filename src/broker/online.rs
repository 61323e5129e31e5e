//! Operators' questions about who is there: 203, 204, 328, 345; and 46, by which a
//! consumer asks whether its filter is understood.

use std::collections::BTreeMap;

use crate::base::names;
use crate::wire::Request;
use crate::wire::body::heartbeat::CheckClientConfig;
use crate::wire::body::lists::{
    Connection, ConsumerConnection, ProducerConnection, ProducerInfo, ProducerTable, SubscriptionOf,
};
use crate::wire::body::{from_bytes, to_bytes};
use crate::wire::code::response;
use crate::wire::headers::groups::{ConsumerGroup, ProducerGroup};

use super::Broker;
use super::context::{Context, Outcome, ReplyTo};
use super::members::Member;
use super::refusal::Refusal;
use super::topic_admin::unreadable;

type Handled = Result<Outcome, Refusal>;

impl Broker {
    /// 203: the members of a consumer group, and what it subscribes to.
    pub(super) fn consumer_connections(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        request: &Request,
    ) -> Handled {
        let name = ConsumerGroup::decode(&request.ext)?.consumer_group.text();
        let group = self.members.consumer_group(&name).ok_or_else(|| {
            let remark = format!("the consumer group[{name}] not online");
            Refusal::new(response::CONSUMER_NOT_ONLINE, remark)
        })?;
        // What clients call a topic need not be a name; as a key it has to.
        let subscriptions = group.subscriptions.iter();
        let subscriptions = subscriptions.filter(|(topic, _)| names::check_topic(topic).is_ok());
        let body = ConsumerConnection {
            connection_set: connections(cx, &group.members),
            consume_from_where: group.from_where,
            consume_type: group.consume_type,
            message_model: group.model,
            subscription_table: subscriptions
                .map(|(topic, subscribed)| (topic.clone(), subscribed.data.clone()))
                .collect(),
        };
        cx.reply_body(to, &to_bytes(&body));
        Ok(Outcome::Done)
    }

    /// 204: the members of a producer group.
    pub(super) fn producer_connections(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        request: &Request,
    ) -> Handled {
        let name = ProducerGroup::decode(&request.ext)?.producer_group.text();
        let none = || Refusal::error(format!("the producer group[{name}] not exist"));
        let members = self.members.producer_group(&name).ok_or_else(none)?;
        let body = ProducerConnection { connection_set: connections(cx, members) };
        cx.reply_body(to, &to_bytes(&body));
        Ok(Outcome::Done)
    }

    /// 328: all producers.
    pub(super) fn all_producers(&mut self, cx: &mut Context, to: ReplyTo, _: &Request) -> Handled {
        let info = |member: &Member| ProducerInfo {
            client_id: member.client_id.clone(),
            language: member.language.to_owned(),
            last_update_timestamp: member.seen_ms,
            remote_ip: address(cx, member),
            version: member.version,
        };
        let groups = self.members.producer_groups();
        let groups: BTreeMap<String, Vec<ProducerInfo>> = groups
            .map(|(name, members)| (name.to_owned(), members.iter().map(info).collect()))
            .collect();
        // Clients choose these names: as keys they must not lose their quotes.
        let body = ProducerTable { data: groups }.to_bytes();
        cx.reply_body(to, &body);
        Ok(Outcome::Done)
    }

    /// 345: what a group wants of a topic.
    pub(super) fn subscription(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        request: &Request,
    ) -> Handled {
        let group = request.ext.need("group")?.text().into_owned();
        let topic = request.ext.need("topic")?.text().into_owned();
        let online = self.members.consumer_group(&group);
        let subscribed = online.and_then(|online| online.subscriptions.get(&topic));
        let subscription_data = subscribed.map(|subscribed| subscribed.data.clone());
        cx.reply_body(to, &to_bytes(&SubscriptionOf { group, subscription_data, topic }));
        Ok(Outcome::Done)
    }

    /// 46: only tags are understood.
    pub(super) fn check_client(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        request: &Request,
    ) -> Handled {
        if request.body.is_empty() {
            cx.ok(to);
            return Ok(Outcome::Done);
        }
        let asked: CheckClientConfig = from_bytes(request.body).map_err(unreadable)?;
        let wanted = asked.subscription_data;
        if !wanted.is_tag() {
            return Err(Refusal::error(format!(
                "the broker does not support consumer to filter message by {}",
                wanted.expression_type
            )));
        }
        cx.ok(to);
        Ok(Outcome::Done)
    }
}

fn connections(cx: &Context, members: &[Member]) -> Vec<Connection> {
    let connection = |member: &Member| Connection {
        client_addr: address(cx, member),
        client_id: member.client_id.clone(),
        language: member.language.to_owned(),
        version: member.version,
    };
    members.iter().map(connection).collect()
}

fn address(cx: &Context, member: &Member) -> String {
    cx.replies.peer(member.conn).map(|peer| peer.to_string()).unwrap_or_default()
}
