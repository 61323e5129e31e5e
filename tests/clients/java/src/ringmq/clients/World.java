package ringmq.clients;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

/**
 * The clients and topics of one scenario, each client an application of its
 * own (own instance name, hence own connections). Closing it stops them all.
 */
final class World implements AutoCloseable {
    private static final String RUN = Long.toString(System.currentTimeMillis(), 36)
        + ProcessHandle.current().pid();
    private static final AtomicInteger INSTANCES = new AtomicInteger();
    /** Route polling and rebalancing on the client, whose defaults are 20 to 30 s. */
    private static final int REFRESH_MS = 500;
    private static final int QUERY_CONSUMER_OFFSET = 14;

    private final String namesrv;
    private final String scenario;
    private final List<Runnable> stops = Collections.synchronizedList(new ArrayList<>());
    private DefaultMQProducer producer;

    World(String namesrv, String scenario) {
        this.namesrv = namesrv;
        this.scenario = scenario;
    }

    /** The scenario's plain producer. */
    synchronized DefaultMQProducer producer() throws MQClientException {
        if (producer == null) {
            producer = newProducer();
            producer.start();
        }
        return producer;
    }

    DefaultMQProducer newProducer() {
        DefaultMQProducer fresh = new DefaultMQProducer(name("producers"));
        configure(fresh);
        // Cold brokers on busy machines: the checks are about answers, not speed.
        fresh.setSendMsgTimeout(15_000);
        stops.add(fresh::shutdown);
        return fresh;
    }

    DefaultMQPushConsumer pushConsumer(String group) {
        DefaultMQPushConsumer fresh = new DefaultMQPushConsumer(group);
        configure(fresh);
        fresh.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        fresh.setPersistConsumerOffsetInterval(REFRESH_MS);
        fresh.setConsumeThreadMin(2);
        fresh.setConsumeThreadMax(2);
        stops.add(fresh::shutdown);
        return fresh;
    }

    DefaultLitePullConsumer litePullConsumer(String group) {
        DefaultLitePullConsumer fresh = new DefaultLitePullConsumer(group);
        configure(fresh);
        fresh.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        fresh.setPersistConsumerOffsetInterval(REFRESH_MS);
        fresh.setAutoCommitIntervalMillis(1000);
        stops.add(fresh::shutdown);
        return fresh;
    }

    DefaultMQPullConsumer pullConsumer(String group) throws MQClientException {
        DefaultMQPullConsumer fresh = new DefaultMQPullConsumer(group);
        configure(fresh);
        stops.add(fresh::shutdown);
        fresh.start();
        return fresh;
    }

    private void configure(ClientConfig client) {
        client.setNamesrvAddr(namesrv);
        client.setInstanceName(scenario + "-" + INSTANCES.incrementAndGet());
        client.setPollNameServerInterval(REFRESH_MS);
        client.setHeartbeatBrokerInterval(5_000);
    }

    /** A name no other run and no other scenario uses. */
    String name(String part) {
        return scenario + "-" + part + "-" + Generation.NAME.replaceAll("[^0-9]", "") + "-" + RUN;
    }

    /** A new topic with that many queues on each broker; returns when its route says so. */
    String topic(String part, int queues) throws Exception {
        String topic = name(part);
        Generation.createTopic(producer(), topic, queues);
        int expected = queues * brokers().size();
        Checks.await("the route of " + topic + " shows " + expected + " queues",
            () -> queuesOf(topic).size() == expected, () -> queuesOf(topic));
        return topic;
    }

    Set<String> brokers() throws Exception {
        Set<String> names = new HashSet<>();
        for (MessageQueue queue : producer().fetchPublishMessageQueues("TBW102")) {
            names.add(queue.getBrokerName());
        }
        return names;
    }

    /** The topic's writable queues as the name server tells now; empty while it knows none. */
    List<MessageQueue> queuesOf(String topic) throws Exception {
        try {
            List<MessageQueue> queues = new ArrayList<>(producer().fetchPublishMessageQueues(topic));
            Collections.sort(queues);
            return queues;
        } catch (MQClientException unknown) {
            return Collections.emptyList();
        }
    }

    /** The sum of the queues' maximum offsets: how many messages the topic took. */
    long stored(String topic) throws Exception {
        long sum = 0;
        for (MessageQueue queue : queuesOf(topic)) {
            sum += producer().maxOffset(queue);
        }
        return sum;
    }

    /** Sends `count` messages named `prefix`0… spread over the queues; returns the names. */
    Set<String> send(String topic, String tag, String prefix, int count) throws Exception {
        Set<String> names = new HashSet<>();
        for (int i = 0; i < count; i++) {
            String name = prefix + i;
            producer().send(new Message(topic, tag, name, name.getBytes(StandardCharsets.UTF_8)));
            names.add(name);
        }
        return names;
    }

    /**
     * The message behind a send's result. An acknowledged message may become
     * readable a moment later (Apache indexes in the background).
     */
    static MessageExt readOne(DefaultMQPullConsumer consumer, SendResult sent, String tags) throws Exception {
        PullResult[] last = new PullResult[1];
        Checks.await("message " + sent.getQueueOffset() + " readable", () -> {
            last[0] = consumer.pull(sent.getMessageQueue(), tags, sent.getQueueOffset(), 1, 20_000);
            return last[0].getPullStatus() == PullStatus.FOUND;
        }, () -> last[0]);
        return last[0].getMsgFoundList().get(0);
    }

    /** Waits until a queue holds `count` messages to read. */
    void awaitStored(MessageQueue queue, long count) throws Exception {
        Checks.await(count + " messages in " + queue, () -> producer().maxOffset(queue) == count,
            () -> producer().maxOffset(queue));
    }

    void awaitStored(String topic, long count) throws Exception {
        Checks.await(count + " messages in " + topic, () -> stored(topic) == count, () -> stored(topic));
    }

    /** Every message of a queue, pulled with the classic pull consumer. */
    static List<MessageExt> readAll(DefaultMQPullConsumer consumer, MessageQueue queue) throws Exception {
        List<MessageExt> found = new ArrayList<>();
        long next = consumer.minOffset(queue);
        while (true) {
            PullResult result = consumer.pull(queue, "*", next, 32);
            if (result.getPullStatus() != PullStatus.FOUND) {
                return found;
            }
            found.addAll(result.getMsgFoundList());
            Checks.require(result.getNextBeginOffset() > next, "a pull that finds something moves on");
            next = result.getNextBeginOffset();
        }
    }

    /**
     * The offset the broker keeps for a group's queue, 0 when it keeps none.
     * Asked over the producer's connection: a consumer that reads its own
     * stored offset would also take it for its position.
     */
    long committed(String group, MessageQueue queue) throws Exception {
        MQClientInstance client = producer().getDefaultMQProducerImpl().getmQClientFactory();
        RemotingCommand question = RemotingCommand.createRequestCommand(QUERY_CONSUMER_OFFSET, null);
        question.addExtField("consumerGroup", group);
        question.addExtField("topic", queue.getTopic());
        question.addExtField("queueId", String.valueOf(queue.getQueueId()));
        RemotingCommand answer = client.getMQClientAPIImpl().getRemotingClient()
            .invokeSync(client.findBrokerAddressInPublish(queue.getBrokerName()), question, 10_000);
        return answer.getCode() == 0 ? Long.parseLong(answer.getExtFields().get("offset")) : 0;
    }

    /** Waits until a group's offsets on the broker add up to `count` consumed messages. */
    void awaitCommitted(String group, String topic, long count) throws Exception {
        long[] sum = new long[1];
        Checks.await(count + " committed", () -> {
            sum[0] = 0;
            for (MessageQueue queue : queuesOf(topic)) {
                sum[0] += committed(group, queue);
            }
            return sum[0] == count;
        }, () -> sum[0]);
    }

    /** Bytes that do not compress, the same for the same seed. */
    static byte[] noise(int length, long seed) {
        byte[] bytes = new byte[length];
        new Random(seed).nextBytes(bytes);
        return bytes;
    }

    @Override
    public void close() {
        List<Runnable> reversed = new ArrayList<>(stops);
        Collections.reverse(reversed);
        for (Runnable stop : reversed) {
            try {
                stop.run();
            } catch (RuntimeException alreadyStopped) {
                // A consumer the scenario itself stopped, or one that never started.
            }
        }
    }
}
