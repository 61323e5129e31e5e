//! What `mqadmin getBrokerConfig` shows of a shard: settings of this start under their
//! RocketMQ names, and the options that were set while running.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use tracing::warn;

use super::{BrokerOptions, Config};
use crate::base::{AckLevel, WriteMode};

/// What a shard is called and where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardIdentity {
    pub cluster: String,
    /// With the shard's number, such as `broker-0`.
    pub broker_name: String,
    pub address: Ipv4Addr,
    pub port: u16,
    /// `HOST:PORT;…`
    pub name_servers: String,
    pub segment_bytes: u64,
    /// How the log is written.
    pub write: WriteMode,
}

impl Config {
    /// The options of one shard. `kept` was set while running and lasts, unless a flag
    /// of this start says otherwise.
    pub fn broker_options(
        &self,
        shard: &ShardIdentity,
        kept: &BTreeMap<String, String>,
    ) -> BrokerOptions {
        let flush = if self.ack == AckLevel::Flushed { "SYNC_FLUSH" } else { "ASYNC_FLUSH" };
        let fixed = [
            ("brokerClusterName", shard.cluster.clone()),
            ("brokerName", shard.broker_name.clone()),
            ("brokerId", "0".to_owned()),
            ("brokerIP1", shard.address.to_string()),
            ("listenPort", shard.port.to_string()),
            ("namesrvAddr", shard.name_servers.clone()),
            ("brokerRole", "ASYNC_MASTER".to_owned()),
            ("flushDiskType", flush.to_owned()),
            ("storePathRootDir", self.data_dir.display().to_string()),
            ("mappedFileSizeCommitLog", shard.segment_bytes.to_string()),
            ("ringmqWriteMode", shard.write.to_string()),
        ];
        let fixed = fixed.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let mut options = BrokerOptions::with_fixed(fixed);
        options.file_reserved_time = *self.retention.hours.value();
        options.disk_max_used_space_ratio = *self.retention.expire_at.value();
        options.transfer = *self.transfer.value();
        options.max_transfer_bytes_in_memory = *self.pull_bytes.value();
        options.max_transfer_bytes_in_disk = *self.pull_bytes.value();
        for (name, value) in kept {
            if self.is_given(name) {
                continue;
            }
            if let Err(error) = options.set(name, value) {
                warn!("an option that was kept is passed over: {error}");
            }
        }
        options
    }

    fn is_given(&self, option: &str) -> bool {
        match option {
            "fileReservedTime" => self.retention.hours.is_given(),
            "diskMaxUsedSpaceRatio" => self.retention.expire_at.is_given(),
            "ringmqTransfer" => self.transfer.is_given(),
            "maxTransferBytesOnMessageInMemory" | "maxTransferBytesOnMessageInDisk" => {
                self.pull_bytes.is_given()
            }
            _ => false,
        }
    }
}
