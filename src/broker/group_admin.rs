//! Operators' requests about subscription groups: 200, 201, 207, 225, 352.

use std::collections::BTreeMap;

use crate::base::group::GroupConfig;
use crate::base::limits::QUEUES_OF_TOPIC_MAX;
use crate::base::names;
use crate::wire::body::group::{SubscriptionGroupList, SubscriptionGroupTable};
use crate::wire::body::{from_bytes, to_bytes};
use crate::wire::code::response;
use crate::wire::headers::admin::{DeleteGroup, GetAllGroups, GroupOf};
use crate::wire::{FrameWriter, Request};

use super::Broker;
use super::attributes::{self, edits_of};
use super::changes::Pending;
use super::context::{Cause, Context, Outcome, ReplyTo};
use super::effect::MetaChange;
use super::offset_journal::JournalEntry;
use super::offsets::Taken;
use super::paging::Page;
use super::refusal::Refusal;
use super::topic_admin::unreadable;

type Handled = Result<Outcome, Refusal>;

impl Broker {
    /// 200: a group as it shall be.
    pub(super) fn update_group(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        request: &Request,
    ) -> Handled {
        let group: GroupConfig = from_bytes(request.body).map_err(unreadable)?;
        self.put_groups(cx, to, vec![group])
    }

    /// 225: several groups; none of them if one is refused.
    pub(super) fn update_groups(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        request: &Request,
    ) -> Handled {
        let list: SubscriptionGroupList = from_bytes(request.body).map_err(unreadable)?;
        self.put_groups(cx, to, list.group_config_list)
    }

    fn put_groups(&mut self, cx: &mut Context, to: ReplyTo, groups: Vec<GroupConfig>) -> Handled {
        let mut next: BTreeMap<String, GroupConfig> = BTreeMap::new();
        for wanted in groups {
            check_wanted(&wanted)?;
            if let Some(wait) = self.change_must_wait(Cause::GroupChange(wanted.name.clone())) {
                return Ok(wait);
            }
            let current = next.get(&wanted.name).or(self.groups.get(&wanted.name));
            let edits = edits_of(&wanted.attributes);
            let attributes = current.map(|group| &group.attributes);
            let attributes = attributes::edited(attributes, &edits, attributes::OF_GROUPS)?;
            next.insert(wanted.name.clone(), GroupConfig { attributes, ..wanted });
        }
        next.retain(|name, config| self.groups.get(name) != Some(config));
        let changes = next.into_values().map(|config| MetaChange::PutGroup { config });
        self.persist_all(cx, to, changes.collect(), Pending::Request(to));
        Ok(Outcome::Done)
    }

    /// 207: the group goes, and where it stood if that is asked for.
    pub(super) fn delete_group(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        request: &Request,
    ) -> Handled {
        let asked = DeleteGroup::decode(&request.ext)?;
        let name = asked.group_name.text().into_owned();
        let with_offsets = asked.clean_offset;
        if let Some(wait) = self.change_must_wait(Cause::GroupChange(name.clone())) {
            return Ok(wait);
        }
        if !self.groups.contains_key(&name) && !with_offsets {
            // Tools delete on all brokers of a cluster, also where the group never was.
            cx.ok(to);
            return Ok(Outcome::Done);
        }
        let mut offsets = Taken::default();
        if with_offsets {
            self.note_in_journal(cx, JournalEntry::GroupLeaves(&name))?;
            offsets = self.offsets.take_group(&name);
        }
        let change = MetaChange::DeleteGroup { name: name.clone(), with_offsets };
        self.persist(cx, change, Pending::DeleteGroup { to, name, with_offsets, offsets });
        Ok(Outcome::Done)
    }

    /// 201: all groups, in pages if the asker wants.
    pub(super) fn all_groups(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        request: &Request,
    ) -> Handled {
        let asked = GetAllGroups::decode(&request.ext)?;
        let version = self.groups_version;
        let page = Page::of(asked.group_seq, asked.max_group_num, asked.data_version, version);
        let total = self.groups.len() as i64;
        let rows: BTreeMap<&String, &GroupConfig> = self.groups.iter().collect();
        let rows = Page::cut(page, rows.into_iter());
        let table = SubscriptionGroupTable {
            data_version: version,
            forbidden_table: BTreeMap::new(),
            subscription_group_table: rows
                .map(|(name, group)| (name.clone(), group.clone()))
                .collect(),
        };
        let fill = |frame: &mut FrameWriter| {
            if page.is_some() {
                frame.field_i64("totalGroupNum", total);
            }
        };
        cx.reply_with_body(to, response::SUCCESS, fill, &to_bytes(&table));
        Ok(Outcome::Done)
    }

    /// 352: one group.
    pub(super) fn group_config(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        request: &Request,
    ) -> Handled {
        let name = GroupOf::decode(&request.ext)?.group.text();
        let group = self.groups.get(&*name).ok_or_else(|| Refusal::no_group(&name))?;
        cx.reply_body(to, &to_bytes(group));
        Ok(Outcome::Done)
    }
}

fn check_wanted(wanted: &GroupConfig) -> Result<(), Refusal> {
    names::check_group(&wanted.name).map_err(|wrong| Refusal::invalid(wrong.to_string()))?;
    let queues = wanted.retry_queue_nums;
    if !(0..=QUEUES_OF_TOPIC_MAX as i32).contains(&queues) {
        return Err(Refusal::invalid(format!(
            "retryQueueNums is {queues}, 0 to {QUEUES_OF_TOPIC_MAX} are allowed"
        )));
    }
    Ok(())
}
