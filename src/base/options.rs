//! Broker options under the names that RocketMQ's operators know.
//!
//! Three kinds: *live* ones act and can be set while running; *fixed* ones are decided
//! at start and only shown; *ignored* ones belong to RocketMQ, have no effect here and
//! are therefore neither kept nor shown as if they had.

use std::fmt::{self, Write};

use super::limits::{
    BODY_BYTES_MAX, PULL_BYTES, PULL_BYTES_MAX, PULL_MESSAGES_MAX, QUEUES_OF_TOPIC_MAX,
};
use super::transfer::TransferChoice;

macro_rules! live_options {
    ($($(#[$doc:meta])* $name:literal $field:ident: $kind:ty = $default:expr, $range:expr;)*) => {
        /// The options that act, each with its value of now.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct BrokerOptions {
            $($(#[$doc])* pub $field: $kind,)*
            fixed: Vec<(String, String)>,
        }

        impl Default for BrokerOptions {
            fn default() -> Self {
                Self { $($field: $default,)* fixed: Vec::new() }
            }
        }

        impl BrokerOptions {
            /// The live options with their values.
            pub fn live(&self) -> Vec<(&'static str, String)> {
                vec![$(($name, self.$field.to_string())),*]
            }

            fn set_live(&mut self, name: &str, value: &str) -> Option<Result<Changed, String>> {
                match name {
                    $($name => Some(assign(&mut self.$field, value, $range)),)*
                    _ => None,
                }
            }
        }
    };
}

live_options! {
    /// Whether a send may make the topic it names.
    "autoCreateTopicEnable" auto_create_topic_enable: bool = true, Anything;
    /// Whether a heartbeat or pull may make the group it names.
    "autoCreateSubscriptionGroup" auto_create_subscription_group: bool = true, Anything;
    /// Most queues that a topic gets when a send makes it.
    "defaultTopicQueueNums" default_topic_queue_nums: u32 = 8, Between(1, QUEUES_OF_TOPIC_MAX as u64);
    /// Largest body in bytes.
    "maxMessageSize" max_message_size: u32 = BODY_BYTES_MAX as u32, Between(1, BODY_BYTES_MAX as u64);
    /// Permission bits of the whole broker: 4 read, 2 write.
    "brokerPermission" broker_permission: u32 = 6, OneOf(&[0, 2, 4, 6]);
    /// Whether a pull may be held for as long as it asks; else `short_polling_time_mills`.
    "longPollingEnable" long_polling_enable: bool = true, Anything;
    "shortPollingTimeMills" short_polling_time_mills: u64 = 1000, Between(1, 60_000);
    /// Whether members hear at once of others that come and go.
    "notifyConsumerIdsChangedEnable" notify_consumer_ids_changed_enable: bool = true, Anything;
    /// Percent of the memory that the process may use: a message no further from the log's
    /// end counts as one in memory, wherever its bytes come from.
    "accessMessageInMemoryMaxRatio" access_in_memory_max_ratio: u32 = 40, Between(0, 100);
    /// Bounds of one pull's reply while its messages are in memory.
    "maxTransferBytesOnMessageInMemory" max_transfer_bytes_in_memory: u64 = PULL_BYTES, Between(1, PULL_BYTES_MAX);
    "maxTransferCountOnMessageInMemory" max_transfer_count_in_memory: u32 = PULL_MESSAGES_MAX, Between(1, PULL_MESSAGES_MAX as u64);
    /// Bounds of one pull's reply while its messages are on disk.
    "maxTransferBytesOnMessageInDisk" max_transfer_bytes_in_disk: u64 = PULL_BYTES, Between(1, PULL_BYTES_MAX);
    "maxTransferCountOnMessageInDisk" max_transfer_count_in_disk: u32 = PULL_MESSAGES_MAX, Between(1, PULL_MESSAGES_MAX as u64);
    /// Hours after which a segment may go.
    "fileReservedTime" file_reserved_time: u32 = 72, Between(1, 876_000);
    /// Percent of disk use from which segments go by age.
    "diskMaxUsedSpaceRatio" disk_max_used_space_ratio: u32 = 75, Between(10, 95);
    /// How messages are moved to consumers, where neither topic nor request says it.
    "ringmqTransfer" transfer: TransferChoice = TransferChoice::Auto, Anything;
    /// Whether replies tell clients to write traces.
    "traceOn" trace_on: bool = true, Anything;
}

/// Options of RocketMQ that have no effect here, parted by blanks.
const IGNORED: &str = "\
     adminBrokerThreadPoolNums aliveReplicaMin \
     allAckInSyncStateSet asyncSendEnable authenticationEnabled authorizationEnabled brokerRole \
     brokerTopicEnable channelExpiredTimeout checkCRCOnRecover cleanFileForciblyEnable \
     cleanResourceInterval clusterTopicEnable coldDataFlowControlEnable commitIntervalCommitLog \
     compressedRegister consumerFallbehindThreshold consumerManagerThreadPoolNums \
     debugLockEnable defaultMessageRequestMode defaultPopShareQueueNum defaultQueryMaxNum \
     deleteCommitLogFilesInterval deleteConsumeQueueFilesInterval deleteWhen \
     destroyMapedFileIntervalForcibly disableConsumeIfConsumerReadSlowly diskFallRecorded \
     duplicationEnable enableBatchPush enableCalcFilterBitMap enableConsumeQueueExt \
     enableControllerMode enableDetailStat enableMixedMessageType enablePopBufferMerge \
     enablePopLog enablePopMessageThreshold enablePropertyFilter enableRetryTopicV2 \
     enableScheduleMessageStats enableSlaveActingMaster endTransactionPoolQueueCapacity \
     endTransactionThreadPoolNums fastFailIfNoBufferInStorePool fetchNamesrvAddrByAddressServer \
     fetchNameSrvAddrByDnsLookup filterDataCleanTimeSpan filterSupportRetry \
     flushCommitLogLeastPages flushCommitLogThoroughInterval flushCommitLogTimed \
     flushConsumeQueueLeastPages flushConsumerOffsetHistoryInterval flushConsumerOffsetInterval \
     flushIntervalCommitLog flushIntervalConsumeQueue forceRegister haHousekeepingInterval \
     haListenPort haMaxGapNotInSync haSendHeartbeatInterval haTransferBatchSize highSpeedMode \
     inSyncReplicas litePullMessageThreadPoolNums mappedFileSizeConsumeQueue maxDelayTime \
     maxHashSlotNum maxIndexNum messageDelayLevel messageIndexEnable messageIndexSafe \
     metricsExporterType metricsPromExporterPort minInSyncReplicas msgTraceTopicName \
     offsetCheckInSlave osPageCacheBusyTimeOutMills popConsumerKVServiceEnable \
     popInflightMessageThreshold popPollingSize pullMessageThreadPoolNums \
     pullThreadPoolQueueCapacity putMessageTimeout putMsgIndexHightWater \
     queryThreadPoolQueueCapacity recallMessageEnable redeleteHangedFileInterval regionId \
     registerBrokerTimeoutMills registerNameServerPeriod rejectTransactionMessage \
     replyThreadPoolQueueCapacity retrieveMessageFromPopRetryTopicV1 sendMessageThreadPoolNums \
     sendThreadPoolQueueCapacity serverLoadBalancerEnable slaveReadEnable slaveTimeout \
     startAcceptSendRequestTimeStamp startRealTimeStatJobTime storeReplyMessageEnable storeType \
     syncFlushTimeout timerMaxDelaySec timerPrecisionMs timerRollWindowSlot timerWheelEnable \
     totalReplicas traceTopicEnable transactionCheckInterval transactionCheckMax \
     transactionTimeOut transferMsgByHeap transientStorePoolEnable transientStorePoolSize \
     useEpollNativeSelector useReentrantLockWhenPutMessage useServerSideResetOffset useTLS \
     waitTimeMillsInPullQueue waitTimeMillsInSendQueue waitTimeMillsInTransactionQueue \
     warmMapedFileEnable";

/// Options that RocketMQ lets nobody change over the network.
const FORBIDDEN: [&str; 3] = ["brokerConfigPath", "configBlackList", "rocketmqHome"];

fn is_ignored(name: &str) -> bool {
    IGNORED.split_whitespace().any(|ignored| ignored == name)
}

/// What became of one setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    Applied,
    Unchanged,
    /// Known to RocketMQ, without effect here; not kept.
    Ignored,
}

/// Why a setting is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionError {
    Unknown(String),
    Fixed { name: String, value: String },
    Forbidden(String),
    Value { name: String, given: String, rule: String },
    Line(String),
}

/// What a text of several settings did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// To be made durable, in the order given.
    pub applied: Vec<(String, String)>,
    /// To be named in the reply and the log.
    pub ignored: Vec<String>,
}

impl BrokerOptions {
    /// Options with what was decided at start and is only shown.
    pub fn with_fixed(fixed: Vec<(String, String)>) -> Self {
        Self { fixed, ..Self::default() }
    }

    /// The value of an option that was decided at start.
    pub fn fixed(&self, name: &str) -> Option<&str> {
        let found = self.fixed.iter().find(|(fixed, _)| fixed == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Sets one option.
    pub fn set(&mut self, name: &str, value: &str) -> Result<Changed, OptionError> {
        let owned = || name.to_owned();
        if FORBIDDEN.contains(&name) {
            return Err(OptionError::Forbidden(owned()));
        }
        if let Some((_, value)) = self.fixed.iter().find(|(fixed, _)| fixed == name) {
            return Err(OptionError::Fixed { name: owned(), value: value.clone() });
        }
        match self.set_live(name, value.trim()) {
            Some(Ok(changed)) => Ok(changed),
            Some(Err(rule)) => {
                Err(OptionError::Value { name: owned(), given: value.to_owned(), rule })
            }
            None if is_ignored(name) => Ok(Changed::Ignored),
            None => Err(OptionError::Unknown(owned())),
        }
    }

    /// Sets all options of a properties text, or none if one of them is refused.
    pub fn update(&mut self, properties: &str) -> Result<Report, OptionError> {
        let mut next = self.clone();
        let mut report = Report::default();
        for line in properties.lines().map(str::trim) {
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            let (name, value) =
                line.split_once('=').ok_or_else(|| OptionError::Line(line.to_owned()))?;
            let (name, value) = (name.trim(), value.trim());
            match next.set(name, value)? {
                Changed::Applied => report.applied.push((name.to_owned(), value.to_owned())),
                Changed::Unchanged => {}
                Changed::Ignored => report.ignored.push(name.to_owned()),
            }
        }
        *self = next;
        Ok(report)
    }

    /// The text that `mqadmin getBrokerConfig` parses: one `name=value` per line.
    pub fn to_properties(&self) -> String {
        let mut text = String::new();
        let live = self.live();
        let live = live.iter().map(|(name, value)| (*name, value.as_str()));
        let fixed = self.fixed.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in fixed.chain(live) {
            let _ = writeln!(text, "{name}={value}");
        }
        text
    }
}

/// Which values an option takes.
enum Range {
    Anything,
    Between(u64, u64),
    OneOf(&'static [u64]),
}
use Range::{Anything, Between, OneOf};

/// A type that an option can have.
trait Value: Sized + PartialEq {
    fn read(text: &str, range: &Range) -> Option<Self>;
    const KIND: &'static str;
}

impl Value for bool {
    const KIND: &'static str = "true or false";
    fn read(text: &str, _: &Range) -> Option<Self> {
        text.parse().ok()
    }
}

impl Value for TransferChoice {
    const KIND: &'static str = Self::NAMES;
    fn read(text: &str, _: &Range) -> Option<Self> {
        text.parse().ok()
    }
}

impl Value for u64 {
    const KIND: &'static str = "a whole number";
    fn read(text: &str, range: &Range) -> Option<Self> {
        text.parse().ok().filter(|value| match range {
            Anything => true,
            Between(low, high) => (low..=high).contains(&value),
            OneOf(values) => values.contains(value),
        })
    }
}

impl Value for u32 {
    const KIND: &'static str = <u64 as Value>::KIND;
    fn read(text: &str, range: &Range) -> Option<Self> {
        <u64 as Value>::read(text, range).and_then(|value| value.try_into().ok())
    }
}

fn assign<T: Value>(field: &mut T, text: &str, range: Range) -> Result<Changed, String> {
    let value = T::read(text, &range).ok_or_else(|| match range {
        Anything => T::KIND.to_owned(),
        Between(low, high) => format!("{} from {low} to {high}", T::KIND),
        OneOf(values) => format!("one of {values:?}"),
    })?;
    if *field == value {
        return Ok(Changed::Unchanged);
    }
    *field = value;
    Ok(Changed::Applied)
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => {
                write!(f, "{name} is no broker option that ringmq knows; see getBrokerConfig")
            }
            Self::Fixed { name, value } => {
                write!(f, "{name} is {value} since the start; change it by a flag and a restart")
            }
            Self::Forbidden(name) => write!(f, "{name} may not be changed over the network"),
            Self::Value { name, given, rule } => write!(f, "{name}={given}: it takes {rule}"),
            Self::Line(line) => write!(f, "{line:?} is no name=value line"),
        }
    }
}

impl std::error::Error for OptionError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_all_options_sets_them_again() {
        let mut options = BrokerOptions::default();
        options.set("autoCreateTopicEnable", "false").unwrap();
        options.set("defaultTopicQueueNums", "4").unwrap();
        let mut again = BrokerOptions::default();
        let report = again.update(&options.to_properties()).unwrap();
        assert_eq!(again, options);
        assert_eq!(report.applied.len(), 2);
        assert!(report.ignored.is_empty());
    }

    #[test]
    fn values_outside_their_rule_are_refused_with_the_rule() {
        let mut options = BrokerOptions::default();
        for (name, given) in [
            ("autoCreateTopicEnable", "yes"),
            ("defaultTopicQueueNums", "0"),
            ("maxMessageSize", "4194305"),
            ("brokerPermission", "5"),
            ("shortPollingTimeMills", "-1"),
        ] {
            let error = options.set(name, given).unwrap_err();
            assert!(matches!(error, OptionError::Value { .. }), "{name}={given}: {error}");
        }
        assert_eq!(options, BrokerOptions::default());
        let error = options.set("brokerPermission", "5").unwrap_err();
        assert_eq!(error.to_string(), "brokerPermission=5: it takes one of [0, 2, 4, 6]");
    }

    #[test]
    fn an_option_without_effect_is_reported_and_never_shown() {
        let mut options = BrokerOptions::default();
        let report = options.update("deleteWhen=05\nlongPollingEnable=false\n").unwrap();
        assert_eq!(report.ignored, ["deleteWhen"]);
        assert_eq!(report.applied, [("longPollingEnable".to_owned(), "false".to_owned())]);
        assert!(!options.to_properties().contains("deleteWhen"));
    }

    #[test]
    fn one_refused_line_leaves_all_others_unset() {
        let mut options = BrokerOptions::with_fixed(vec![("brokerId".into(), "0".into())]);
        let before = options.clone();
        for line in ["noSuchOption=1", "brokerId=1", "rocketmqHome=/", "justText"] {
            let text = format!("longPollingEnable=false\n{line}\n");
            assert!(options.update(&text).is_err(), "{line}");
            assert_eq!(options, before, "{line}");
        }
        assert!(options.to_properties().starts_with("brokerId=0\n"));
    }

    #[test]
    fn no_name_has_two_meanings() {
        let live: Vec<_> = BrokerOptions::default().live().into_iter().map(|(n, _)| n).collect();
        for name in IGNORED.split_whitespace() {
            assert!(!live.contains(&name) && !FORBIDDEN.contains(&name), "{name}");
        }
    }
}
