package ringmq.clients;

import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Queue;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.message.MessageExt;

/** What one or more consumers received, counted by message body. */
final class Inbox {
    final Queue<MessageExt> messages = new ConcurrentLinkedQueue<>();
    private final Map<String, Integer> counts = new ConcurrentHashMap<>();

    void add(MessageExt message) {
        messages.add(message);
        counts.merge(new String(message.getBody(), StandardCharsets.UTF_8), 1, Integer::sum);
    }

    /** Registers a concurrent listener that puts everything here. */
    void listen(DefaultMQPushConsumer consumer) {
        consumer.registerMessageListener((MessageListenerConcurrently) (received, context) -> {
            received.forEach(this::add);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
    }

    /** Waits until all of `expected` are here, then requires that nothing came twice or unasked. */
    void awaitExactly(Set<String> expected) throws Exception {
        Checks.await(expected.size() + " messages consumed",
            () -> counts.keySet().containsAll(expected), () -> counts.size() + " of them");
        Map<String, Integer> wrong = new TreeMap<>();
        counts.forEach((name, count) -> {
            if (count != 1 || !expected.contains(name)) {
                wrong.put(name, count);
            }
        });
        Checks.require(wrong.isEmpty(), "consumed more than once or unasked: " + wrong);
    }

    int size() {
        return messages.size();
    }
}
