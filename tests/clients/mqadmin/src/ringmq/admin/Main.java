package ringmq.admin;

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.regex.Pattern;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;

/**
 * Usage: Main HOST:PORT. The mqadmin commands of the issue, unmodified, with
 * checks of the shape of what they print. With -Djudge.transcript=FILE the
 * whole output is kept as reference.
 */
public final class Main {
    private static final long WAIT_MS = 40_000;
    private static final int QUEUES = 4;
    private static final int MESSAGES = 40;
    private static final String RUN = Long.toString(System.currentTimeMillis(), 36);
    private static final String TOPIC = "admin-topic-" + RUN;
    private static final String GROUP = "admin-group-" + RUN;
    /** At Apache's default of one broker each; ringmq has one per shard. */
    private static final String CLUSTER = "DefaultCluster";

    private final Tool tool;
    private final String namesrv;
    private int passed;
    private int failed;

    private Main(String namesrv) {
        this.namesrv = namesrv;
        this.tool = new Tool(namesrv);
    }

    public static void main(String[] arguments) throws Exception {
        Main main = new Main(arguments[0]);
        try {
            main.run();
        } catch (Throwable why) {
            main.check("the checks run to their end", () -> {
                throw new AssertionError(why.toString());
            });
        }
        String keep = System.getProperty("judge.transcript");
        if (keep != null) {
            Files.writeString(Path.of(keep), main.tool.transcript());
        }
        System.out.println(main.passed + " passed, " + main.failed + " failed");
        System.out.flush();
        Runtime.getRuntime().halt(main.failed == 0 ? 0 : 1);
    }

    private void run() throws Exception {
        Set<String> brokers = new TreeSet<>();
        check("clusterList names each broker with address, version and rates", () -> {
            String output = tool.run("clusterList");
            heading(output, "#Cluster Name", "#Broker Name", "#BID", "#Addr", "#Version", "#InTPS(LOAD)",
                "#OutTPS(LOAD)", "#Timer(Progress)", "#PCWait(ms)", "#Hour", "#SPACE", "#ACTIVATED");
            output.lines().filter(line -> line.startsWith(CLUSTER)).forEach(line -> {
                brokers.add(line.split("\\s+")[1]);
                like(line, CLUSTER + "\\s+\\S+\\s+0\\s+[\\d.]+:\\d+\\s+V\\d\\S+\\s+[\\d.]+\\(\\d+,\\d+ms\\)"
                    + "\\s+[\\d.]+\\(\\d+,\\d+ms\\|\\d+,\\d+ms\\)\\s+\\S+\\([^)]*\\)\\s+\\d+\\s+[\\d.]+\\s+[\\d.]+\\s+true\\s*");
            });
            require(!brokers.isEmpty(), "no broker: " + Tool.firstLines(output));
        });
        check("clusterList -m tells what went in and out", () ->
            heading(tool.run("clusterList", "-m"), "#Cluster Name", "#Broker Name", "#InTotalYest", "#OutTotalYest",
                "#InTotalToday", "#OutTotalToday"));
        check("updateTopic makes a topic on every broker", () -> {
            String output = tool.run("updateTopic", "-c", CLUSTER, "-t", TOPIC, "-r", "" + QUEUES, "-w", "" + QUEUES);
            same("success lines", brokers.size(), count(output, "create topic to \\S+ success\\."));
            has(output, "TopicConfig [topicName=" + TOPIC + ", readQueueNums=4, writeQueueNums=4, perm=RW-");
        });
        check("topicRoute shows queues and address of each broker", () -> {
            await("route", () -> count(tool.run("topicRoute", "-t", TOPIC), "\"brokerName\"") >= 2 * brokers.size());
            String output = tool.run("topicRoute", "-t", TOPIC);
            for (String field : new String[] {"brokerDatas", "brokerAddrs", "cluster", "filterServerTable", "queueDatas",
                "perm", "readQueueNums", "writeQueueNums", "topicSysFlag"}) {
                has(output, "\"" + field + "\"");
            }
            same("entries of 4 queues", brokers.size(), count(output, "\"readQueueNums\":\\s*4"));
        });
        check("topicList has the new topic, and with -c its cluster", () -> {
            has(tool.run("topicList"), TOPIC);
            String output = tool.run("topicList", "-c");
            heading(output, "#Cluster Name", "#Topic", "#Consumer Group");
            like(line(output, TOPIC), CLUSTER + "\\s+" + TOPIC + ".*");
        });
        check("updateSubGroup makes a group on every broker", () -> {
            String output = tool.run("updateSubGroup", "-c", CLUSTER, "-g", GROUP);
            same("success lines", brokers.size(), count(output, "create subscription group to \\S+ success\\."));
            has(output, "SubscriptionGroupConfig{groupName=" + GROUP);
        });

        DefaultMQPushConsumer consumer = consume();
        check("topicStatus shows the offsets of each queue", () -> {
            String output = tool.run("topicStatus", "-t", TOPIC);
            heading(output, "#Broker Name", "#QID", "#Min Offset", "#Max Offset", "#Last Updated");
            long sum = output.lines().filter(line -> !line.startsWith("#") && !line.isBlank())
                .filter(line -> line.split("\\s+").length >= 4 && brokers.contains(line.split("\\s+")[0]))
                .mapToLong(line -> Long.parseLong(line.split("\\s+")[3])).sum();
            same("messages", (long) MESSAGES, sum);
            same("queues", brokers.size() * QUEUES, count(output, "(?m)^(" + String.join("|", brokers) + ")\\s+\\d"));
        });
        check("consumerProgress shows a live group's offsets, differences and client", () -> {
            await("consumed", () -> tool.run("consumerProgress", "-g", GROUP).contains("Consume Diff Total: 0"));
            String output = tool.run("consumerProgress", "-g", GROUP, "-s", "true");
            heading(output, "#Topic", "#Broker Name", "#QID", "#Broker Offset", "#Consumer Offset", "#Client IP",
                "#Diff", "#Inflight", "#LastTime");
            same("rows", brokers.size() * QUEUES, count(output, "(?m)^" + TOPIC + "\\s"));
            has(output, "Consume TPS:");
            has(output, "Consume Diff Total: 0");
            has(output, "Consume Inflight Total: 0");
        });
        check("consumerProgress without a group lists the groups", () -> {
            String output = tool.run("consumerProgress");
            heading(output, "#Group", "#Count", "#Version", "#Type", "#Model", "#TPS", "#Diff Total");
            like(line(output, GROUP), GROUP + "\\s+1\\s+V\\d\\S+\\s+PUSH\\s+CLUSTERING.*");
        });
        check("consumerConnection shows a live consumer and what it subscribed", () -> {
            String output = tool.run("consumerConnection", "-g", GROUP);
            heading(output, "#ClientId", "#ClientAddr", "#Language", "#Version");
            like(output, "(?s).*127\\.0\\.0\\.1:\\d+\\s+JAVA\\s+V\\d.*");
            has(output, "Below is subscription:");
            heading(output, "#Topic", "#SubExpression");
            has(output, TOPIC);
            has(output, "ConsumeType: CONSUME_PASSIVELY");
            has(output, "MessageModel: CLUSTERING");
            has(output, "ConsumeFromWhere: CONSUME_FROM_FIRST_OFFSET");
        });
        consumer.shutdown();
        check("consumerConnection of a group without consumers says so", () -> {
            await("the group is gone", () ->
                tool.runWhateverComes("consumerConnection", "-g", GROUP).contains("CODE: 206"));
        });
        check("brokerStatus has the figures that tools read", this::brokerStatus);
        check("getBrokerConfig shows, updateBrokerConfig changes a setting", this::brokerConfig);
        check("with automatic creation switched off, an unknown topic is refused with 17", this::autoCreationOff);
        check("deleteTopic takes the topic from brokers and name server", () -> {
            String output = tool.run("deleteTopic", "-c", CLUSTER, "-t", TOPIC);
            has(output, "delete topic [" + TOPIC + "] from cluster [" + CLUSTER + "] success.");
            has(output, "delete topic [" + TOPIC + "] from NameServer success.");
            require(!tool.run("topicList").contains(TOPIC + "\n"), "it is still listed");
        });
    }

    private void brokerStatus() throws Exception {
        String output = tool.run("brokerStatus", "-c", CLUSTER);
        for (String key : new String[] {"bootTimestamp", "brokerVersionDesc", "commitLogDirCapacity",
            "commitLogDiskRatio", "commitLogMaxOffset", "commitLogMinOffset", "consumeQueueDiskRatio",
            "dispatchBehindBytes", "earliestMessageTimeStamp", "getFoundTps", "getMessageEntireTimeMax", "getMissTps",
            "getTotalTps", "getTransferredTps", "msgGetTotalTodayNow", "msgPutTotalTodayNow", "pageCacheLockTimeMills",
            "pullThreadPoolQueueSize", "putMessageAverageSize", "putMessageDistributeTime", "putMessageEntireTimeMax",
            "putMessageFailedTimes", "putMessageSizeTotal", "putMessageTimesTotal", "putTps",
            "remainHowManyDataToFlush", "runtime", "sendThreadPoolQueueHeadWaitTimeMills", "sendThreadPoolQueueSize"}) {
            require(Pattern.compile("(?m)^(\\S+ +)?" + key + " *:").matcher(output).find(), "no " + key);
        }
    }

    private void brokerConfig() throws Exception {
        String output = tool.run("getBrokerConfig", "-c", CLUSTER);
        for (String key : new String[] {"brokerClusterName", "brokerName", "brokerId", "listenPort", "namesrvAddr",
            "autoCreateTopicEnable", "defaultTopicQueueNums", "fileReservedTime", "flushDiskType", "maxMessageSize",
            "brokerPermission", "brokerRole", "autoCreateSubscriptionGroup", "longPollingEnable"}) {
            require(Pattern.compile("(?m)^" + key + " *= *\\S+").matcher(output).find(), "no " + key);
        }
        String before = setting(output, "fileReservedTime");
        has(tool.run("updateBrokerConfig", "-c", CLUSTER, "-k", "fileReservedTime", "-v", "71"), "update broker config success");
        same("fileReservedTime", "71", setting(tool.run("getBrokerConfig", "-c", CLUSTER), "fileReservedTime"));
        tool.run("updateBrokerConfig", "-c", CLUSTER, "-k", "fileReservedTime", "-v", before);
        same("fileReservedTime", before, setting(tool.run("getBrokerConfig", "-c", CLUSTER), "fileReservedTime"));
    }

    private void autoCreationOff() throws Exception {
        String unknown = "unknown-topic-" + RUN;
        tool.run("updateBrokerConfig", "-c", CLUSTER, "-k", "autoCreateTopicEnable", "-v", "false");
        DefaultMQProducer producer = producer();
        try {
            producer.send(new Message(unknown, new byte[1]), 15_000);
            require(false, "it was taken");
        } catch (MQBrokerException refused) {
            same("code", 17, refused.getResponseCode());
        } catch (MQClientException refused) {
            require(String.valueOf(refused.getCause()).contains("CODE: 17")
                || refused.getMessage().startsWith("No route info"), refused.toString());
        } finally {
            producer.shutdown();
            tool.run("updateBrokerConfig", "-c", CLUSTER, "-k", "autoCreateTopicEnable", "-v", "true");
        }
        require(!tool.run("topicList").contains(unknown), "the topic was made");
    }

    private DefaultMQProducer producer() throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("admin-producers-" + RUN);
        producer.setNamesrvAddr(namesrv);
        producer.start();
        return producer;
    }

    /** Sends to the topic and leaves a consumer running that has consumed it all. */
    private DefaultMQPushConsumer consume() throws Exception {
        DefaultMQProducer producer = producer();
        for (int i = 0; i < MESSAGES; i++) {
            producer.send(new Message(TOPIC, "T", String.valueOf(i).getBytes(StandardCharsets.UTF_8)), 15_000);
        }
        producer.shutdown();
        AtomicInteger received = new AtomicInteger();
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(GROUP);
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName("admin-consumer");
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setPersistConsumerOffsetInterval(500);
        consumer.subscribe(TOPIC, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            received.addAndGet(messages.size());
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        await("all consumed", () -> received.get() >= MESSAGES);
        return consumer;
    }

    private interface Body {
        void run() throws Exception;
    }

    private void check(String sentence, Body body) {
        try {
            body.run();
            passed++;
            System.out.println("ok mqadmin: " + sentence);
        } catch (Throwable why) {
            failed++;
            System.out.println("FAIL mqadmin: " + sentence + ": " + String.valueOf(why).replace('\n', ' '));
        }
        System.out.flush();
    }

    private static void require(boolean holds, String otherwise) {
        if (!holds) {
            throw new AssertionError(otherwise);
        }
    }

    private static void same(String what, Object expected, Object actual) {
        require(expected.equals(actual), what + " should be " + expected + ", is " + actual);
    }

    private static void has(String output, String text) {
        require(output.contains(text), "no '" + text + "' in: " + Tool.firstLines(output));
    }

    private static void like(String text, String pattern) {
        require(text.matches(pattern), "'" + text.strip() + "' is not like " + pattern);
    }

    /** Some line has these columns in this order. */
    private static void heading(String output, String... columns) {
        StringBuilder pattern = new StringBuilder("(?m)^");
        for (String column : columns) {
            pattern.append(Pattern.quote(column)).append("\\s*");
        }
        require(Pattern.compile(pattern + "$").matcher(output).find(),
            "no heading " + String.join(" ", columns) + " in: " + Tool.firstLines(output));
    }

    private static String line(String output, String word) {
        return output.lines().filter(line -> line.contains(word)).findFirst()
            .orElseThrow(() -> new AssertionError("no line with " + word + " in: " + Tool.firstLines(output)));
    }

    private static String setting(String output, String key) {
        return line(output, key).replaceAll(".*= *", "").strip();
    }

    private static int count(String output, String pattern) {
        return (int) Pattern.compile(pattern).matcher(output).results().count();
    }

    private static void await(String what, Callable<Boolean> condition) throws Exception {
        long deadline = System.currentTimeMillis() + WAIT_MS;
        while (!condition.call()) {
            require(System.currentTimeMillis() < deadline, "not within " + WAIT_MS + " ms: " + what);
            Thread.sleep(50);
        }
    }
}
