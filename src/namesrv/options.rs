//! The name server's options, under the names that RocketMQ's operators know. Only
//! those that act are here; others are accepted and have no effect, as in Apache's.

use super::answer::Refusal;
use crate::wire::body::properties;
use crate::wire::code::response;

/// The namespace under which `take_changes` tells of options.
pub(super) const NAMESPACE: &str = "ringmq.namesrv.options";

/// Options of Apache's that tools may not touch.
const FORBIDDEN: [&str; 4] = ["configBlackList", "configStorePath", "kvConfigPath", "rocketmqHome"];

macro_rules! options {
    ($($(#[$doc:meta])* $name:literal $field:ident: $kind:ty = $default:expr;)*) => {
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Options {
            $($(#[$doc])* pub $field: $kind,)*
        }

        impl Default for Options {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl Options {
            /// Sets one option; `None` if it is not known, an error if the value does not parse.
            pub(super) fn set(&mut self, name: &str, value: &str) -> Option<Result<(), Refusal>> {
                match name {
                    $($name => Some(match value.parse() {
                        Ok(parsed) => {
                            self.$field = parsed;
                            Ok(())
                        }
                        Err(_) => Err(Refusal::malformed(format_args!(
                            "{name} takes a {}, not {value:?}", stringify!($kind)
                        ))),
                    }),)*
                    _ => None,
                }
            }

            /// All options as a properties text.
            pub(super) fn text(&self) -> String {
                let values = [$(($name, self.$field.to_string())),*];
                properties::format(values.iter().map(|(name, value)| (*name, value.as_str())))
            }
        }
    };
}

options! {
    /// Topics absent from a broker's newer table lose that broker's queues.
    "deleteTopicWithBrokerRegistration" delete_topic_with_broker_registration: bool = false;
    "enableAllTopicList" enable_all_topic_list: bool = true;
    "enableTopicList" enable_topic_list: bool = true;
    /// No routes until `waitSecondsForService` after the start.
    "needWaitForService" need_wait_for_service: bool = false;
    /// Routes tell the order value of their topic.
    "orderMessageEnable" order_message_enable: bool = false;
    "returnOrderTopicConfigToBroker" return_order_topic_config_to_broker: bool = true;
    /// Where a broker has no primary, its first replica is shown as one.
    "supportActingMaster" support_acting_master: bool = false;
    "waitSecondsForService" wait_seconds_for_service: u64 = 45;
}

impl Options {
    /// Applies a properties text, whole or not at all, and returns what it set.
    pub(super) fn update(&mut self, body: &[u8]) -> Result<Vec<(String, String)>, Refusal> {
        let text =
            str::from_utf8(body).map_err(|_| Refusal::malformed("the properties are not UTF-8"))?;
        let pairs = properties::parse(text);
        if let Some((name, _)) = pairs.iter().find(|(name, _)| FORBIDDEN.contains(&name.as_str())) {
            let remark = format!("{name} cannot be changed while running");
            return Err(Refusal::new(response::NO_PERMISSION, remark));
        }
        let mut next = self.clone();
        let mut set = Vec::new();
        for (name, value) in pairs {
            if let Some(outcome) = next.set(&name, &value) {
                outcome?;
                set.push((name, value));
            }
        }
        *self = next;
        Ok(set)
    }

    pub(super) fn check_enabled(&self, enabled: bool, name: &str) -> Result<(), Refusal> {
        match enabled {
            true => Ok(()),
            false => Err(Refusal::malformed(format_args!("disabled by {name}=false"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_applied_whole_or_not_at_all() {
        let mut options = Options::default();
        let set = options.update(b"# c\norderMessageEnable = true\nunknown=1\n").unwrap();
        assert_eq!(set, [("orderMessageEnable".to_owned(), "true".to_owned())]);
        assert!(options.order_message_enable);
        assert!(options.update(b"enableTopicList=false\nwaitSecondsForService=soon").is_err());
        assert!(options.update(b"enableTopicList=false\nkvConfigPath=/x").is_err());
        assert!(options.enable_topic_list);
    }

    #[test]
    fn the_text_of_all_options_is_read_back() {
        let options = Options { wait_seconds_for_service: 7, ..Options::default() };
        let mut read = Options::default();
        assert_eq!(read.update(options.text().as_bytes()).unwrap().len(), 8);
        assert_eq!(read, options);
    }
}
