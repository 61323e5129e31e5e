//! Broker options while running: 25 and 26, and what a change of them brings about.

use tracing::info;

use crate::base::metadata::DataVersion;
use crate::base::options::OptionError;
use crate::base::topic::{PERM_WRITE, TopicConfig};
use crate::base::{Now, names};
use crate::log::retention::DiskUse;
use crate::store::Store;
use crate::wire::Request;
use crate::wire::code::response;

use super::changes::Pending;
use super::context::{Context, Outcome, ReplyTo};
use super::effect::MetaChange;
use super::refusal::Refusal;
use super::{Broker, REGION};

type Handled = Result<Outcome, Refusal>;

/// Options that change what name servers are told.
const SHOWN_IN_ROUTES: [&str; 3] =
    ["autoCreateTopicEnable", "defaultTopicQueueNums", "brokerPermission"];

impl Broker {
    /// 25: sets options, all or none; they act once they are durable.
    pub(super) fn update_options(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        request: &Request,
    ) -> Handled {
        let text = str::from_utf8(request.body)
            .map_err(|_| Refusal::invalid("the properties are not UTF-8"))?;
        let report = self.options.clone().update(text).map_err(refused)?;
        let remark = without_effect(&report.ignored);
        if report.applied.is_empty() {
            cx.ok_with_remark(to, &remark);
            return Ok(Outcome::Done);
        }
        let options = report.applied;
        let pending = Pending::Options { to, options: options.clone(), remark };
        self.persist(cx, MetaChange::PutOptions { options }, pending);
        Ok(Outcome::Done)
    }

    /// 26: all options as properties.
    pub(super) fn options_text(&mut self, cx: &mut Context, to: ReplyTo, _: &Request) -> Handled {
        let version = serde_json::to_string(&self.options_version).expect("plain fields");
        let text = self.options.to_properties();
        let fill = |frame: &mut crate::wire::FrameWriter| {
            frame.field("version", &version);
        };
        cx.reply_with_body(to, response::SUCCESS, fill, text.as_bytes());
        Ok(Outcome::Done)
    }

    /// Options that a tool has set act from now on.
    pub(super) fn on_options_stored(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        options: &[(String, String)],
        remark: String,
    ) {
        self.apply_options(options, cx.store);
        self.options_version = next(self.options_version, cx.now);
        if options.iter().any(|(name, _)| SHOWN_IN_ROUTES.contains(&name.as_str())) {
            self.publish_anew(cx);
            self.answer_when_published(cx, to, remark);
        } else {
            cx.ok_with_remark(to, &remark);
        }
    }

    /// Nothing is stored any more in this life: clients shall send elsewhere.
    pub(super) fn on_log_failed(&mut self, cx: &mut Context) {
        self.write_lost = true;
        self.publish_anew(cx);
    }

    /// No topic has changed, but what is shown of them.
    fn publish_anew(&mut self, cx: &mut Context) {
        self.shown_changes += 1;
        self.topics_version = next(self.topics_version, cx.now);
        self.publish(cx);
    }

    /// Sets options that are durable.
    pub(super) fn apply_options(&mut self, options: &[(String, String)], store: &mut Store) {
        for (name, value) in options {
            match self.options.set(name, value) {
                Ok(_) => info!(name, value, "a broker option is set"),
                Err(why) => tracing::error!(name, value, %why, "a stored option is refused"),
            }
        }
        self.own_properties = self.properties_of_all();
        let set = |wanted: &str| options.iter().any(|(name, _)| name == wanted);
        let mut rules = store.disk().rules;
        if set("fileReservedTime") {
            rules.age_ms_max = i64::from(self.options.file_reserved_time) * 3_600_000;
        }
        if set("diskMaxUsedSpaceRatio") {
            rules.hurry_at = DiskUse(self.options.disk_max_used_space_ratio * 10);
        }
        store.set_retention(rules);
    }

    /// What the broker adds to each message's properties.
    pub(super) fn properties_of_all(&self) -> Vec<u8> {
        let (trace_on, cluster) = (self.options.trace_on, &self.cluster);
        format!(
            "MSG_REGION\u{1}{REGION}\u{2}TRACE_ON\u{1}{trace_on}\u{2}CLUSTER\u{1}{cluster}\u{2}"
        )
        .into_bytes()
    }

    /// The topics as name servers shall know them: as far as the broker's own
    /// permission and its log go, and the model of automatic creation only where that is on.
    pub(super) fn registered_topics(&self) -> Vec<TopicConfig> {
        // Bits that the broker's permission does not speak of stay.
        let lost = if self.write_lost { PERM_WRITE } else { 0 };
        let permission = (self.options.broker_permission | !6) & !lost;
        let shown = self.topics.in_order().filter_map(|topic| {
            let mut config = topic.config.clone();
            if config.name == names::AUTO_CREATE_MODEL {
                if !self.options.auto_create_topic_enable {
                    return None;
                }
                config.read_queues = self.options.default_topic_queue_nums;
                config.write_queues = self.options.default_topic_queue_nums;
            }
            config.perm &= permission;
            Some(config)
        });
        shown.collect()
    }
}

fn next(version: DataVersion, now: Now) -> DataVersion {
    DataVersion { counter: version.counter + 1, timestamp: now.unix_ms, ..version }
}

fn without_effect(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => {
            info!(?names, "options without effect here are not kept");
            format!("without effect here, and not kept: {}", names.join(", "))
        }
    }
}

fn refused(why: OptionError) -> Refusal {
    let code = match why {
        OptionError::Forbidden(_) => response::NO_PERMISSION,
        _ => response::INVALID_PARAMETER,
    };
    Refusal::new(code, why.to_string())
}
