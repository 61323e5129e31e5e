package ringmq.clients;

import static ringmq.clients.Checks.check;
import static ringmq.clients.Checks.require;
import static ringmq.clients.Checks.same;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Every way a producer sends, and what its results say. */
final class Sending {
    private Sending() {
    }

    static void run(World world) throws Exception {
        DefaultMQProducer producer = world.producer();
        String topic = world.topic("main", 4);

        check("sync sends are numbered per queue from 0 without gaps", () -> {
            Map<MessageQueue, Long> next = new HashMap<>();
            for (int i = 0; i < 60; i++) {
                SendResult result = producer.send(message(topic, "sync" + i));
                same("status", SendStatus.SEND_OK, result.getSendStatus());
                long expected = next.merge(result.getMessageQueue(), 1L, Long::sum) - 1;
                same("queue offset", expected, result.getQueueOffset());
                require(result.getOffsetMsgId().matches("[0-9A-F]{32}"), "offset id " + result.getOffsetMsgId());
                same("region", "DefaultRegion", result.getRegionId());
            }
            require(next.size() == world.queuesOf(topic).size(), "not all queues were used: " + next);
        });

        check("async sends call back with success, each once", () -> asyncSends(world, topic, 300));

        check("one-way sends arrive", () -> {
            world.awaitStored(topic, 60 + 300);
            long before = world.stored(topic);
            for (int i = 0; i < 100; i++) {
                producer.sendOneway(message(topic, "oneway" + i));
            }
            world.awaitStored(topic, before + 100);
        });

        check("a batch takes consecutive offsets of one queue and one id per message", () -> batch(world, topic));
        check("a selector keeps what belongs together in one queue and in order", () -> selector(world));
        check("a message sent to a chosen queue lies there", () -> {
            for (MessageQueue queue : world.queuesOf(topic)) {
                SendResult result = producer.send(message(topic, "chosen"), queue);
                same("queue", queue, result.getMessageQueue());
            }
        });
        check("async sends to a chosen queue and by selector succeed", () -> {
            MessageQueue queue = world.queuesOf(topic).get(0);
            Callback first = new Callback(1);
            producer.send(message(topic, "a"), queue, first);
            same("queue", queue, first.result().getMessageQueue());
            Callback second = new Callback(1);
            producer.send(message(topic, "b"), (queues, body, at) -> queues.get((Integer) at), 1, second);
            second.result();
        });
        check("an unknown topic is created by its first send and takes the following ones", () -> {
            String fresh = world.name("automatic");
            for (int i = 0; i < 40; i++) {
                same("status", SendStatus.SEND_OK, producer.send(message(fresh, "auto" + i)).getSendStatus());
            }
            world.awaitStored(fresh, 40);
            Map<String, Integer> queues = new HashMap<>();
            world.queuesOf(fresh).forEach(queue -> queues.merge(queue.getBrokerName(), 1, Integer::sum));
            queues.forEach((broker, count) -> same("queues on " + broker, 4, count));
        });
    }

    private static Message message(String topic, String body) {
        return new Message(topic, "TagA", body, body.getBytes(StandardCharsets.UTF_8));
    }

    private static void asyncSends(World world, String topic, int count) throws Exception {
        Callback callback = new Callback(count);
        for (int i = 0; i < count; i++) {
            world.producer().send(message(topic, "async" + i), callback);
        }
        callback.result();
        world.awaitStored(topic, 60 + count);
    }

    private static void batch(World world, String topic) throws Exception {
        List<Message> messages = new ArrayList<>();
        for (int i = 0; i < 32; i++) {
            Message message = message(topic, "batch" + i);
            message.putUserProperty("index", String.valueOf(i));
            messages.add(message);
        }
        SendResult result = world.producer().send(messages);
        same("status", SendStatus.SEND_OK, result.getSendStatus());
        same("offset ids", 32, result.getOffsetMsgId().split(",").length);
        same("unique ids", 32, result.getMsgId().split(",").length);
        DefaultMQPullConsumer reader = world.pullConsumer(world.name("batch-readers"));
        world.awaitStored(result.getMessageQueue(), result.getQueueOffset() + 32);
        List<MessageExt> found = World.readAll(reader, result.getMessageQueue());
        String[] offsetIds = result.getOffsetMsgId().split(",");
        for (int i = 0; i < 32; i++) {
            MessageExt message = found.get((int) result.getQueueOffset() + i);
            same("queue offset", result.getQueueOffset() + i, message.getQueueOffset());
            same("body", "batch" + i, new String(message.getBody(), StandardCharsets.UTF_8));
            same("property", String.valueOf(i), message.getUserProperty("index"));
            same("keys", "batch" + i, message.getKeys());
            same("tag", "TagA", message.getTags());
            MessageExt viewed = world.producer().viewMessage(topic, offsetIds[i]);
            same("body behind the offset id", "batch" + i, new String(viewed.getBody(), StandardCharsets.UTF_8));
        }
    }

    private static void selector(World world) throws Exception {
        String topic = world.topic("orders", 4);
        Map<Integer, MessageQueue> queueOf = new HashMap<>();
        for (int i = 0; i < 60; i++) {
            SendResult result = world.producer().send(message(topic, String.valueOf(i)),
                (queues, body, order) -> queues.get((Integer) order % queues.size()), i % 6);
            MessageQueue before = queueOf.put(i % 6, result.getMessageQueue());
            require(before == null || before.equals(result.getMessageQueue()), "order " + i % 6 + " changed queues");
        }
        DefaultMQPullConsumer reader = world.pullConsumer(world.name("order-readers"));
        world.awaitStored(topic, 60);
        for (MessageQueue queue : world.queuesOf(topic)) {
            int last = -1;
            for (MessageExt message : World.readAll(reader, queue)) {
                int number = Integer.parseInt(new String(message.getBody(), StandardCharsets.UTF_8));
                require(number > last, number + " behind " + last);
                last = number;
            }
        }
    }

    /** Counts successes; keeps the first failure and the last result. */
    private static final class Callback implements SendCallback {
        private final CountDownLatch left;
        private final AtomicReference<Throwable> failure = new AtomicReference<>();
        private volatile SendResult last;

        Callback(int count) {
            left = new CountDownLatch(count);
        }

        @Override
        public void onSuccess(SendResult result) {
            last = result;
            if (result.getSendStatus() != SendStatus.SEND_OK) {
                failure.compareAndSet(null, new AssertionError(result.toString()));
            }
            left.countDown();
        }

        @Override
        public void onException(Throwable why) {
            failure.compareAndSet(null, why);
            left.countDown();
        }

        SendResult result() throws Exception {
            require(left.await(30, TimeUnit.SECONDS), left.getCount() + " callbacks missing");
            if (failure.get() != null) {
                throw new AssertionError("a send failed: " + failure.get());
            }
            return last;
        }
    }
}
