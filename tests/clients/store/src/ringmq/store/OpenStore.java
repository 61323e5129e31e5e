package ringmq.store;

import java.nio.ByteBuffer;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import org.apache.rocketmq.common.BrokerConfig;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.UtilAll;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.store.DefaultMessageStore;
import org.apache.rocketmq.store.GetMessageResult;
import org.apache.rocketmq.store.GetMessageStatus;
import org.apache.rocketmq.store.SelectMappedBufferResult;
import org.apache.rocketmq.store.config.MessageStoreConfig;
import org.apache.rocketmq.store.queue.ConsumeQueueInterface;
import org.apache.rocketmq.store.stats.BrokerStatsManager;

/**
 * Usage: OpenStore COMMITLOG-DIRECTORY WORK-DIRECTORY. Apache's own store opens
 * a copy of a cleanly stopped CommitLog, rebuilds its queues from it, and gives
 * every message back. Prints a JSON summary; exits 0 when nothing was amiss.
 */
public final class OpenStore {
    private static final long DISPATCH_MS_MAX = 120_000;
    private static final int COUNT_PER_READ = 32;

    private final DefaultMessageStore store;
    private final List<String> faults = new ArrayList<>();
    private final Map<String, long[]> queues = new TreeMap<>();
    private long messages;
    private long bodyBytes;

    private OpenStore(Path commitLog, Path work) throws Exception {
        Path copy = work.resolve("store").resolve("commitlog");
        long segmentBytes = copy(commitLog, copy);
        MessageStoreConfig config = new MessageStoreConfig();
        config.setStorePathRootDir(work.resolve("store").toString());
        config.setStorePathCommitLog(copy.toString());
        config.setMappedFileSizeCommitLog((int) segmentBytes);
        config.setCheckCRCOnRecover(true);
        config.setTimerWheelEnable(false);
        config.setMessageIndexEnable(false);
        config.setHaListenPort(0);
        // Old messages are here to be read, not to expire.
        config.setFileReservedTime(24 * 365 * 10);
        config.setDiskMaxUsedSpaceRatio(99);
        BrokerConfig broker = new BrokerConfig();
        ConcurrentMap<String, TopicConfig> topics = new ConcurrentHashMap<>();
        store = new DefaultMessageStore(config, new BrokerStatsManager("store", false),
            (topic, queueId, offset, tags, time, bitmap, properties) -> { }, broker, topics);
    }

    public static void main(String[] arguments) throws Exception {
        Path commitLog = Path.of(arguments[0]);
        OpenStore opened = new OpenStore(commitLog, Path.of(arguments[1]));
        opened.open();
        opened.readAll();
        long records = Scan.indexedRecords(commitLog);
        if (records != opened.messages) {
            opened.faults.add("the log holds " + records + " records, the queues give " + opened.messages);
        }
        System.out.println(opened.summary(records));
        System.out.flush();
        Runtime.getRuntime().halt(opened.faults.isEmpty() ? 0 : 1);
    }

    /** Copies the segments (20-digit names); returns their size. */
    private static long copy(Path from, Path to) throws Exception {
        Files.createDirectories(to);
        long size = 0;
        try (DirectoryStream<Path> segments = Files.newDirectoryStream(from, "[0-9]*")) {
            for (Path segment : segments) {
                if (segment.getFileName().toString().matches("\\d{20}")) {
                    Files.copy(segment, to.resolve(segment.getFileName()));
                    size = Math.max(size, Files.size(segment));
                }
            }
        }
        if (size == 0) {
            throw new IllegalArgumentException("no segments in " + from);
        }
        return size;
    }

    private void open() throws Exception {
        if (!store.load()) {
            throw new IllegalStateException("Apache's store did not load");
        }
        store.start();
        long deadline = System.currentTimeMillis() + DISPATCH_MS_MAX;
        while (store.dispatchBehindBytes() > 0) {
            if (System.currentTimeMillis() > deadline) {
                throw new IllegalStateException("still " + store.dispatchBehindBytes() + " bytes to dispatch");
            }
            Thread.sleep(10);
        }
    }

    private void readAll() throws Exception {
        Map<String, ConcurrentMap<Integer, ConsumeQueueInterface>> topics = new TreeMap<>(store.getConsumeQueueTable());
        for (Map.Entry<String, ConcurrentMap<Integer, ConsumeQueueInterface>> topic : topics.entrySet()) {
            for (Integer queueId : new TreeMap<>(topic.getValue()).keySet()) {
                readQueue(topic.getKey(), queueId);
            }
        }
    }

    private void readQueue(String topic, int queueId) throws Exception {
        long min = store.getMinOffsetInQueue(topic, queueId);
        long max = store.getMaxOffsetInQueue(topic, queueId);
        queues.put(topic + "/" + queueId, new long[] {min, max});
        long physical = -1;
        for (long next = min; next < max; ) {
            GetMessageResult result = store.getMessage("reader", topic, queueId, next, COUNT_PER_READ, null);
            if (result == null || result.getStatus() != GetMessageStatus.FOUND) {
                faults.add(topic + "/" + queueId + " at " + next + ": "
                    + (result == null ? "nothing" : result.getStatus()));
                return;
            }
            for (SelectMappedBufferResult found : result.getMessageMapedList()) {
                MessageExt message = decode(found.getByteBuffer(), topic, queueId, next);
                if (message == null || message.getCommitLogOffset() <= physical) {
                    faults.add(topic + "/" + queueId + " at " + next + ": " + (message == null ? "it does not decode"
                        : "physical offset " + message.getCommitLogOffset() + " after " + physical));
                    result.release();
                    return;
                }
                physical = message.getCommitLogOffset();
                messages++;
                next++;
            }
            result.release();
        }
    }

    /** The message, or null with a fault noted when it is not what the queue says. */
    private MessageExt decode(ByteBuffer bytes, String topic, int queueId, long offset) {
        int bodyCrc = bytes.getInt(bytes.position() + 8);
        MessageExt message = MessageDecoder.decode(bytes.slice(), true, false, false, false);
        if (message == null) {
            return null;
        }
        byte[] body = message.getBody() == null ? new byte[0] : message.getBody();
        bodyBytes += body.length;
        if (body.length > 0 && UtilAll.crc32(body) != bodyCrc) {
            faults.add(topic + "/" + queueId + " at " + offset + ": the body's checksum differs");
        }
        if (!message.getTopic().equals(topic) || message.getQueueId() != queueId || message.getQueueOffset() != offset) {
            faults.add(topic + "/" + queueId + " at " + offset + ": record says " + message.getTopic() + "/"
                + message.getQueueId() + " at " + message.getQueueOffset());
        }
        return message;
    }

    private String summary(long records) {
        List<String> parts = new ArrayList<>();
        Collections.addAll(parts, "\"messages\":" + messages, "\"records\":" + records, "\"bodyBytes\":" + bodyBytes,
            "\"logStart\":" + store.getCommitLog().getMinOffset(), "\"logEnd\":" + store.getMaxPhyOffset());
        List<String> each = new ArrayList<>();
        queues.forEach((name, range) -> each.add("\"" + name + "\":[" + range[0] + "," + range[1] + "]"));
        parts.add("\"queues\":{" + String.join(",", each) + "}");
        List<String> quoted = new ArrayList<>();
        faults.stream().limit(20).forEach(fault -> quoted.add("\"" + fault.replace('"', '\'') + "\""));
        parts.add("\"faults\":[" + String.join(",", quoted) + "]");
        return "{" + String.join(",", parts) + "}";
    }
}
