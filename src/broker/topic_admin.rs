//! Operators' requests about topics: 17, 18, 21, 215, 305, 351.

use std::collections::BTreeMap;

use crate::base::limits::QUEUES_OF_TOPIC_MAX;
use crate::base::topic::{FilterType, PERM_PRIORITY, TopicConfig};
use crate::base::{names, topic};
use crate::wire::Request;
use crate::wire::body::lists::TopicList;
use crate::wire::body::topic::{TopicConfigList, TopicConfigTable};
use crate::wire::body::{from_bytes, to_bytes};
use crate::wire::code::response;
use crate::wire::headers::admin::{CreateTopic, GetAllTopics, GetTopicConfig, TopicOf};

use super::Broker;
use super::attributes::{self, Edit, edits_of, parse_edits};
use super::changes::Pending;
use super::context::{Cause, Context, Outcome, ReplyTo};
use super::effect::MetaChange;
use super::paging::Page;
use super::refusal::Refusal;

type Handled = Result<Outcome, Refusal>;

impl Broker {
    /// 17: a topic as it shall be, on this shard.
    pub(super) fn update_topic(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        request: &Request,
    ) -> Handled {
        let asked = CreateTopic::decode(&request.ext)?;
        let number = |value: i32, field: &str| {
            u32::try_from(value).map_err(|_| Refusal::invalid(format!("{field} is negative")))
        };
        let filter = asked.topic_filter_type.map(|name| name.text());
        let filter_type = match filter.as_deref() {
            None | Some("") => FilterType::SingleTag,
            Some(name) => FilterType::from_name(name)
                .ok_or_else(|| Refusal::invalid(format!("topicFilterType {name} is unknown")))?,
        };
        let wanted = TopicConfig {
            attributes: BTreeMap::new(),
            order: asked.order,
            perm: number(asked.perm, "perm")?,
            read_queues: number(asked.read_queue_nums, "readQueueNums")?,
            filter_type,
            name: asked.topic.text().into_owned(),
            sys_flag: number(asked.topic_sys_flag.unwrap_or(0), "topicSysFlag")?,
            write_queues: number(asked.write_queue_nums, "writeQueueNums")?,
        };
        let edits = asked.attributes.map_or(Ok(Vec::new()), |text| parse_edits(&text.text()))?;
        self.put_topics(cx, to, vec![(wanted, edits)])
    }

    /// 18: several topics; none of them if one is refused.
    pub(super) fn update_topics(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        request: &Request,
    ) -> Handled {
        let list: TopicConfigList = from_bytes(request.body).map_err(unreadable)?;
        let edits = |wanted: TopicConfig| {
            let edits = edits_of(&wanted.attributes);
            (wanted, edits)
        };
        self.put_topics(cx, to, list.topic_config_list.into_iter().map(edits).collect())
    }

    /// Makes topics with their edits durable and known to the name servers, then answers.
    fn put_topics(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        wanted: Vec<(TopicConfig, Vec<Edit>)>,
    ) -> Handled {
        let mut next: BTreeMap<String, TopicConfig> = BTreeMap::new();
        for (wanted, edits) in wanted {
            check_wanted(&wanted)?;
            self.check_not_system(&wanted.name)?;
            if let Some(wait) = self.change_must_wait(Cause::TopicChange(wanted.name.clone())) {
                return Ok(wait);
            }
            let current = next.get(&wanted.name).or(self.config_of(&wanted.name));
            let attributes = current.map(|config| &config.attributes);
            let attributes = attributes::edited(attributes, &edits, attributes::OF_TOPICS)?;
            next.insert(wanted.name.clone(), TopicConfig { attributes, ..wanted });
        }
        next.retain(|name, config| self.config_of(name) != Some(config));
        let changes = next.into_values().map(|config| MetaChange::PutTopic { config });
        self.persist_all(cx, to, changes.collect(), Pending::TopicRequest(to));
        Ok(Outcome::Done)
    }

    fn config_of(&self, name: &str) -> Option<&TopicConfig> {
        self.topics.by_name(name).map(|topic| &topic.config)
    }

    fn check_not_system(&self, name: &str) -> Result<(), Refusal> {
        if names::is_system_topic(name, &self.cluster, &self.name) {
            let remark = format!("the topic[{name}] is the system's own");
            return Err(Refusal::invalid(remark));
        }
        Ok(())
    }

    /// 215: the topic goes, with its queues and consumer offsets. From here on nobody
    /// finds it, since no record of it may come behind the log's end that is kept.
    pub(super) fn delete_topic(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        request: &Request,
    ) -> Handled {
        let name = TopicOf::decode(&request.ext)?.topic.text();
        if name.trim().is_empty() {
            return Err(Refusal::invalid("the topic name is blank"));
        }
        self.check_not_system(&name)?;
        if let Some(wait) = self.change_must_wait(Cause::TopicChange(name.to_string())) {
            return Ok(wait);
        }
        let Some(slot) = self.topics.hide(&name) else {
            // Tools delete on all brokers of a cluster, also where the topic never was.
            cx.ok(to);
            return Ok(Outcome::Done);
        };
        for sender in self.sends.take_to(slot) {
            cx.refuse(sender, &Refusal::no_topic(&name));
        }
        for queue in self.topics.get(slot).opened().collect::<Vec<_>>() {
            self.end_holds(cx, queue, &name);
        }
        let offsets = self.offsets.take_topic(&name);
        let log_end = cx.store.log_range().1;
        let change = MetaChange::DeleteTopic { name: name.into_owned(), log_end };
        self.persist(cx, change, Pending::DeleteTopic { to, slot, offsets });
        Ok(Outcome::Done)
    }

    /// 21: all topics, in pages if the asker wants.
    pub(super) fn all_topics(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        request: &Request,
    ) -> Handled {
        let asked = GetAllTopics::decode(&request.ext)?;
        let version = self.topics_version;
        let page = Page::of(asked.topic_seq, asked.max_topic_num, asked.data_version, version);
        let total = self.topics.len() as i64;
        let rows = Page::cut(page, self.topics.in_order());
        let table = TopicConfigTable {
            data_version: version,
            topic_config_table: rows
                .map(|topic| (topic.config.name.clone(), topic.config.clone()))
                .collect(),
            ..TopicConfigTable::default()
        };
        let fill = |frame: &mut crate::wire::FrameWriter| {
            if page.is_some() {
                frame.field_i64("totalTopicNum", total);
            }
        };
        cx.reply_with_body(to, response::SUCCESS, fill, &to_bytes(&table));
        Ok(Outcome::Done)
    }

    /// 351: one topic.
    pub(super) fn topic_config(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        request: &Request,
    ) -> Handled {
        let name = GetTopicConfig::decode(&request.ext)?.topic.text();
        let topic = self.topics.by_name(&name).ok_or_else(|| Refusal::no_topic(&name))?;
        cx.reply_body(to, &to_bytes(&topic.config));
        Ok(Outcome::Done)
    }

    /// 305: the topics that are the system's own.
    pub(super) fn system_topics(&mut self, cx: &mut Context, to: ReplyTo, _: &Request) -> Handled {
        let is_system = |name: &&str| names::is_system_topic(name, &self.cluster, &self.name);
        let topics = self.topics.in_order().map(|topic| topic.config.name.as_str());
        let list = TopicList {
            broker_addr: None,
            topic_list: topics.filter(is_system).map(str::to_owned).collect(),
        };
        cx.reply_body(to, &to_bytes(&list));
        Ok(Outcome::Done)
    }
}

/// The rules that a topic's numbers and name obey.
fn check_wanted(wanted: &TopicConfig) -> Result<(), Refusal> {
    names::check_topic(&wanted.name).map_err(|wrong| Refusal::invalid(wrong.to_string()))?;
    for (field, queues) in
        [("readQueueNums", wanted.read_queues), ("writeQueueNums", wanted.write_queues)]
    {
        if queues > QUEUES_OF_TOPIC_MAX {
            return Err(Refusal::invalid(format!(
                "{field} is {queues}, at most {QUEUES_OF_TOPIC_MAX} are allowed"
            )));
        }
    }
    let known = topic::PERM_READ | topic::PERM_WRITE | topic::PERM_INHERIT | PERM_PRIORITY;
    if wanted.perm & !known != 0 {
        return Err(Refusal::invalid(format!("perm {} has unknown bits", wanted.perm)));
    }
    Ok(())
}

pub(super) fn unreadable(why: crate::wire::body::BodyError) -> Refusal {
    Refusal::invalid(why.to_string())
}
