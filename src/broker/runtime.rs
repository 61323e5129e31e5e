//! 28: what a broker tells of itself. Tools of every age read other keys of it, and the
//! older ones stop at one that is missing; so all are there, and those without a
//! meaning here carry the value that says "nothing".

use std::collections::BTreeMap;
use std::fmt::Display;

use crate::base::WriteMode;
use crate::base::topic::PERM_WRITE;
use crate::base::transfer::{Fallback, Transfer};
use crate::queue::QueueKey;
use crate::wire::Request;
use crate::wire::body::lists::KvTable;
use crate::wire::reply::OUR_VERSION;

use super::Broker;
use super::context::{Context, Outcome, ReplyTo};
use super::refusal::Refusal;
use super::stats::Sample;

/// Work queues of threads that Apache's broker has and this one has not.
const POOLS: [&str; 6] = ["send", "pull", "litePull", "query", "ack", "endTransaction"];

/// Levels of RocketMQ's default `messageDelayLevel`.
const DELAY_LEVELS: u32 = 18;

/// Keys that stand for machinery which this broker does without.
const NOTHING: [(&str, &str); 19] = [
    ("pageCacheLockTimeMills", "0"),
    ("osPageCacheBusy", "false"),
    ("timerReadBehind", "0"),
    ("timerOffsetBehind", "0"),
    ("timerCongestNum", "0"),
    ("timerEnqueueTps", "0.0"),
    ("timerDequeueTps", "0.0"),
    ("putMessageEntireTimeMax", "0"),
    ("getMessageEntireTimeMax", "0"),
    ("putLatency99", "0"),
    ("putLatency999", "0"),
    // An append is indexed in the same turn.
    ("dispatchMaxBuffer", "0"),
    ("dispatchBehindBytes", "0"),
    ("startAcceptSendRequestTimeStamp", "0"),
    ("remainTransientStoreBufferNumbs", "0"),
    ("EndTransactionQueueSize", "0"),
    ("EndTransactionThreadPoolQueueCapacity", "0"),
    ("commitLogDirCapacity", "Total : 0 B, Free : 0 B."),
    (
        "putMessageDistributeTime",
        "[<=0ms]:0 [0~10ms]:0 [10~50ms]:0 [50~100ms]:0 [100~200ms]:0 [200~500ms]:0 \
         [500ms~1s]:0 [1~2s]:0 [2~3s]:0 [3~4s]:0 [4~5s]:0 [5~10s]:0 [10s~]:0 ",
    ),
];

/// Begins the keys that no other broker has.
const OUR_PREFIX: &str = "ringmq.";

/// The release whose protocol we speak, as `OUR_VERSION` is its ordinal.
const VERSION_NAME: &str = "V5_3_3";

#[derive(Default)]
struct Table(BTreeMap<String, String>);

impl Table {
    fn put(&mut self, key: &str, value: impl Display) {
        self.0.insert(key.to_owned(), value.to_string());
    }
}

impl Broker {
    pub(super) fn runtime_info(&mut self, cx: &mut Context, to: ReplyTo, _: &Request) -> Handled {
        let mut table = Table::default();
        NOTHING.iter().for_each(|(key, value)| table.put(key, value));
        for level in 1..=DELAY_LEVELS {
            table.put(&format!("scheduleMessageOffset_{level}"), "0,0");
        }
        for pool in POOLS {
            for what in ["Size", "Capacity", "HeadWaitTimeMills"] {
                table.put(&format!("{pool}ThreadPoolQueue{what}"), 0);
            }
        }
        self.tell_of_itself(cx, &mut table);
        self.tell_totals(&mut table);
        self.tell_rates(cx, &mut table);
        self.tell_of_log(cx, &mut table);
        tell_of_bytes(cx, &mut table);
        cx.reply_body(to, &KvTable { table: table.0 }.to_bytes());
        Ok(Outcome::Done)
    }

    fn tell_of_itself(&self, cx: &Context, table: &mut Table) {
        let accepts = cx.store.accepts_writes();
        let writable = self.options.broker_permission & PERM_WRITE != 0;
        table.put("brokerVersionDesc", VERSION_NAME);
        table.put("brokerVersion", OUR_VERSION);
        table.put("brokerActive", cx.store.failure().is_none());
        table.put("brokerWritable", writable && accepts.is_ok());
        table.put("bootTimestamp", self.stats.start_ms);
        table.put("runtime", age(cx.now.unix_ms - self.stats.start_ms));
        table.put("topicNumber", self.topics.len());
        table.put("consumerGroupNumber", self.groups.len());
        table.put("heldPulls", self.holds.len());
        if let Err(why) = accepts {
            table.put("writesRefused", why);
        }
    }

    fn tell_totals(&self, table: &mut Table) {
        let stats = &self.stats;
        let average = stats.put_bytes as f64 / stats.puts.max(1) as f64;
        table.put("putMessageTimesTotal", stats.puts);
        table.put("putMessageFailedTimes", stats.puts_failed);
        table.put("putMessageSizeTotal", stats.put_bytes);
        table.put("putMessageAverageSize", format_args!("{average:.2}"));
        table.put("getMessageTimesTotal", stats.gets);
        table.put("getMessageSizeTotal", stats.get_bytes);
        let [yesterday, today] = stats.mornings();
        table.put("msgPutTotalYesterdayMorning", yesterday.puts);
        table.put("msgPutTotalTodayMorning", today.puts);
        table.put("msgPutTotalTodayNow", stats.puts);
        table.put("msgGetTotalYesterdayMorning", yesterday.gets);
        table.put("msgGetTotalTodayMorning", today.gets);
        table.put("msgGetTotalTodayNow", stats.gets);
    }

    fn tell_rates(&self, cx: &Context, table: &mut Table) {
        let rates = |of: fn(&Sample) -> u64| {
            let [short, middle, long] = self.stats.rates(cx.now.unix_ms, of);
            format!("{short:.2} {middle:.2} {long:.2}")
        };
        let transferred = rates(|sample| sample.gets);
        table.put("putTps", rates(|sample| sample.puts));
        table.put("getFoundTps", rates(|sample| sample.gets_found));
        table.put("getMissTps", rates(|sample| sample.gets_missed));
        table.put("getTotalTps", rates(|sample| sample.gets_found + sample.gets_missed));
        // 4.x tools know the name with one r.
        table.put("getTransferedTps", &transferred);
        table.put("getTransferredTps", &transferred);
    }

    fn tell_of_log(&mut self, cx: &mut Context, table: &mut Table) {
        let (min, end) = cx.store.log_range();
        let marks = cx.store.watermarks();
        table.put("commitLogMinOffset", min);
        table.put("commitLogMaxOffset", end);
        table.put("remainHowManyDataToCommit", bytes(end - marks.written()));
        table.put("remainHowManyDataToFlush", bytes(end - marks.flushed()));
        let used = f64::from(cx.store.disk().disk().0) / 1000.0;
        table.put("commitLogDiskRatio", used);
        table.put("consumeQueueDiskRatio", used);
        if let Some(path) = self.options.fixed("storePathRootDir") {
            table.put(&format!("commitLogDiskRatio_{path}"), used);
        }
        table.put("earliestMessageTimeStamp", self.earliest_ms(cx).unwrap_or(-1));
    }

    /// The store time of the oldest message. Looked up again only when the log's
    /// beginning has moved, since it takes a look at every queue.
    fn earliest_ms(&mut self, cx: &Context) -> Option<i64> {
        let start = cx.store.log_range().0;
        if let Some((_, ms)) = self.earliest.filter(|(at, _)| *at == start) {
            return Some(ms);
        }
        let queues = self.topics.in_order().flat_map(|topic| {
            (0..topic.queue_count()).map(|queue| QueueKey { topic: topic.id, queue })
        });
        let slots = queues.filter_map(|key| cx.store.find_queue(key));
        let earliest = slots.filter_map(|slot| cx.store.earliest_ms(slot)).min()?;
        self.earliest = Some((start, earliest));
        Some(earliest)
    }
}

/// What moved bytes here, and how: counters of our own, and only of what was used. Writes,
/// calls and faults are those of the data thread, and so of all its shards together.
fn tell_of_bytes(cx: &Context, table: &mut Table) {
    let thread = cx.thread.counters();
    let mut transfers = *cx.store.transfers();
    transfers.add(&thread.transfers);
    let mut put = |key: String, value: u64| {
        if value > 0 {
            table.put(&format!("{OUR_PREFIX}{key}"), value);
        }
    };
    for transfer in Transfer::ALL {
        let (name, moved) = (transfer.name(), transfers.of(transfer));
        put(format!("transfer.{name}.bytes"), moved.bytes);
        put(format!("transfer.{name}.calls"), moved.calls);
        put(format!("transfer.{name}.copiedInUserSpace"), moved.user_copied);
        put(format!("transfer.{name}.copiedInKernel"), moved.kernel_copied);
    }
    put("transfer.send-zc.copiedAfterAll".to_owned(), thread.zero_copy_copied);
    put("transfer.residencyMisses".to_owned(), transfers.residency_misses);
    for reason in Fallback::ALL {
        put(format!("transfer.fallback.{}", reason.name()), transfers.fallbacks(reason));
    }
    for mode in WriteMode::ALL {
        let (name, written) = (mode.name(), thread.writes[mode as usize]);
        put(format!("write.{name}.bytes"), written.bytes);
        put(format!("write.{name}.calls"), written.calls);
        put(format!("write.{name}.copiedInUserSpace"), written.user_copied_bytes);
        put(format!("write.{name}.copiedInKernel"), written.kernel_copied_bytes);
        put(format!("write.{name}.punted"), written.punted);
    }
    put("write.uncachedFallbacks".to_owned(), thread.uncached_fallbacks);
    put("thread.minorFaults".to_owned(), thread.minor_faults);
    put("thread.majorFaults".to_owned(), thread.major_faults);
    put("thread.enters".to_owned(), thread.enters);
    put("thread.parks".to_owned(), thread.parks);
    put("thread.completions".to_owned(), thread.completions);
    put("thread.shortSends".to_owned(), thread.short_sends);
    put("thread.copiedSends".to_owned(), thread.copied_sends);
    put("thread.starvedReceives".to_owned(), thread.starved);
}

type Handled = Result<Outcome, Refusal>;

/// A time span as Apache writes it.
fn age(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    format!(
        "[ {days} days, {} hours, {} minutes, {} seconds ]",
        hours % 24,
        minutes % 60,
        seconds % 60
    )
}

/// A size for humans, in the units that exporters know.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_are_written_for_humans() {
        assert_eq!(age(93_784_000), "[ 1 days, 2 hours, 3 minutes, 4 seconds ]");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(5 << 40), "5.0 TiB");
    }
}
