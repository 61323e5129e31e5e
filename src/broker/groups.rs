//! Subscription groups: their settings, and how one comes into being.

use crate::base::group::GroupConfig;
use crate::base::names;

use super::Broker;
use super::changes::Pending;
use super::context::Context;
use super::effect::MetaChange;
use super::refusal::Refusal;

impl Broker {
    /// The group's settings; a group that is not there is made, where that is allowed.
    /// It counts at once: it holds nothing yet that a crash could take back.
    pub(super) fn group_or_new(
        &mut self,
        cx: &mut Context,
        name: &str,
    ) -> Result<&GroupConfig, Refusal> {
        if !self.groups.contains_key(name) {
            names::check_group(name).map_err(|wrong| Refusal::invalid(wrong.to_string()))?;
            if !self.may_create_group(name) {
                return Err(Refusal::no_group(name));
            }
            let config = GroupConfig::new(name);
            self.groups.insert(name.to_owned(), config.clone());
            self.persist(cx, MetaChange::PutGroup { config }, Pending::Unasked);
        }
        Ok(&self.groups[name])
    }

    pub(super) fn may_create_group(&self, name: &str) -> bool {
        self.options.auto_create_subscription_group || names::is_system_group(name)
    }
}
