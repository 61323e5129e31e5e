package ringmq.clients;

import static ringmq.clients.Checks.check;
import static ringmq.clients.Checks.require;
import static ringmq.clients.Checks.same;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Questions about a queue: its ends, its times, and single messages by offset id. */
final class Offsets {
    private static final int COUNT = 20;

    private Offsets() {
    }

    static void run(World world) throws Exception {
        DefaultMQProducer producer = world.producer();
        String topic = world.topic("main", 1);
        MessageQueue queue = world.queuesOf(topic).get(0);
        check("an empty queue begins and ends at 0", () -> {
            same("min", 0L, producer.minOffset(queue));
            same("max", 0L, producer.maxOffset(queue));
        });

        List<SendResult> sent = new ArrayList<>();
        for (int i = 0; i < COUNT; i++) {
            sent.add(producer.send(new Message(topic, "T", String.valueOf(i).getBytes(StandardCharsets.UTF_8)), queue));
            long now = System.currentTimeMillis();
            // Every third message shares its millisecond with none.
            while (i % 3 == 0 && System.currentTimeMillis() < now + 5) {
                Thread.onSpinWait();
            }
        }
        DefaultMQPullConsumer reader = world.pullConsumer(world.name("readers"));
        world.awaitStored(queue, COUNT);
        List<MessageExt> messages = World.readAll(reader, queue);

        check("minimum and maximum offset frame the messages", () -> {
            same("min", 0L, producer.minOffset(queue));
            same("max", (long) COUNT, producer.maxOffset(queue));
            same("max told to a consumer", (long) COUNT, reader.maxOffset(queue));
            same("read", COUNT, messages.size());
        });
        check("store times never go back, and the earliest is the first message's", () -> {
            for (int i = 1; i < COUNT; i++) {
                require(messages.get(i).getStoreTimestamp() >= messages.get(i - 1).getStoreTimestamp(), "at " + i);
            }
            same("earliest", messages.get(0).getStoreTimestamp(), producer.earliestMsgStoreTime(queue));
        });
        check("search by time finds the leftmost message at or after it", () -> {
            for (int i = 0; i < COUNT; i++) {
                long time = messages.get(i).getStoreTimestamp();
                int leftmost = i;
                while (leftmost > 0 && messages.get(leftmost - 1).getStoreTimestamp() == time) {
                    leftmost--;
                }
                same("offset of message " + i + "'s time", (long) leftmost, producer.searchOffset(queue, time));
            }
        });
        check("search before the first message finds the first, after the last the end", () -> {
            same("before", 0L, producer.searchOffset(queue, messages.get(0).getStoreTimestamp() - 10_000));
            same("after", (long) COUNT,
                producer.searchOffset(queue, messages.get(COUNT - 1).getStoreTimestamp() + 10_000));
        });
        check("a message can be viewed by its offset id", () -> {
            for (int i = 0; i < COUNT; i++) {
                MessageExt viewed = producer.viewMessage(topic, sent.get(i).getOffsetMsgId());
                same("body", String.valueOf(i), new String(viewed.getBody(), StandardCharsets.UTF_8));
                same("queue offset", (long) i, viewed.getQueueOffset());
                same("topic", topic, viewed.getTopic());
            }
        });
        check("physical offsets grow with queue offsets", () -> {
            for (int i = 1; i < COUNT; i++) {
                require(messages.get(i).getCommitLogOffset() > messages.get(i - 1).getCommitLogOffset(), "at " + i);
            }
        });
    }
}
