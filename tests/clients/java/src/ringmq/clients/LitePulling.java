package ringmq.clients;

import static ringmq.clients.Checks.await;
import static ringmq.clients.Checks.check;
import static ringmq.clients.Checks.require;
import static ringmq.clients.Checks.same;

import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** DefaultLitePullConsumer: subscribed and assigned. */
final class LitePulling {
    private static final long POLL_MS = 200;

    private LitePulling() {
    }

    static void run(World world) throws Exception {
        String topic = world.topic("main", 3);
        subscribed(world, topic);
        assigned(world);
    }

    private static void subscribed(World world, String topic) throws Exception {
        String group = world.name("subscribed");
        Set<String> expected = new HashSet<>(world.send(topic, "A", "a", 60));
        DefaultLitePullConsumer consumer = world.litePullConsumer(group);
        consumer.subscribe(topic, "*");
        consumer.start();
        Inbox inbox = new Inbox();
        check("a subscribed lite pull consumer polls each message exactly once", () ->
            pollExactly(consumer, inbox, expected));
        check("it gets what is sent later", () -> {
            expected.addAll(world.send(topic, "B", "b", 30));
            pollExactly(consumer, inbox, expected);
        });
        check("it commits by itself, and after a restart the group goes on there", () -> {
            await("offsets committed", () -> {
                consumer.poll(POLL_MS);
                long sum = 0;
                for (MessageQueue queue : world.queuesOf(topic)) {
                    sum += world.committed(group, queue);
                }
                return sum == expected.size();
            }, () -> "less");
            consumer.shutdown();
            DefaultLitePullConsumer successor = world.litePullConsumer(group);
            successor.subscribe(topic, "*");
            successor.start();
            Set<String> fresh = world.send(topic, "A", "restarted", 20);
            pollExactly(successor, new Inbox(), fresh);
            successor.shutdown();
        });
        check("a lite pull consumer of one tag gets only that", () -> {
            DefaultLitePullConsumer tagged = world.litePullConsumer(world.name("tagged"));
            tagged.subscribe(topic, "B");
            tagged.start();
            Set<String> tagB = new HashSet<>();
            for (int i = 0; i < 30; i++) {
                tagB.add("b" + i);
            }
            pollExactly(tagged, new Inbox(), tagB);
            tagged.shutdown();
        });
    }

    private static void assigned(World world) throws Exception {
        String topic = world.topic("assigned", 1);
        MessageQueue first = world.queuesOf(topic).get(0);
        List<Long> storeTimes = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            world.producer().send(new Message(topic, "T",
                String.valueOf(i).getBytes()), first);
        }
        world.awaitStored(first, 20);
        DefaultLitePullConsumer consumer = world.litePullConsumer(world.name("assigned"));
        consumer.setAutoCommit(false);
        consumer.start();
        Collection<MessageQueue> queues = consumer.fetchMessageQueues(topic);
        same("queues", new HashSet<>(world.queuesOf(topic)), new HashSet<>(queues));
        consumer.assign(Collections.singletonList(first));
        // Until a pull is held at the end: one that is under way may deliver after a seek.
        check("an assigned consumer polls its queue from the first message", () ->
            same("first", 0L, pollCount(consumer, 20).get(0).getQueueOffset()));
        check("seek to the beginning polls the queue anew from its first message", () -> {
            consumer.seekToBegin(first);
            List<MessageExt> found = pollCount(consumer, 20);
            for (int i = 0; i < 20; i++) {
                same("queue offset", (long) i, found.get(i).getQueueOffset());
                storeTimes.add(found.get(i).getStoreTimestamp());
            }
        });
        check("seek to an offset goes on there", () -> {
            consumer.seek(first, 13);
            List<MessageExt> found = pollCount(consumer, 7);
            same("first", 13L, found.get(0).getQueueOffset());
        });
        check("commit keeps the position for the group", () -> {
            consumer.commitSync();
            world.awaitCommitted(world.name("assigned"), topic, 20);
            same("what the consumer is told", 20L, (long) consumer.committed(first));
        });
        check("the offset of a timestamp is its first message", () -> {
            long time = storeTimes.get(10);
            same("offset", (long) storeTimes.indexOf(time), consumer.offsetForTimestamp(first, time));
        });
        check("seek to the end polls only what comes after", () -> {
            consumer.seekToEnd(first);
            require(consumer.poll(POLL_MS).isEmpty(), "polled something old");
            world.producer().send(new Message(topic, "T", "late".getBytes()), first);
            same("queue offset", 20L, pollCount(consumer, 1).get(0).getQueueOffset());
        });
        check("a queue that is paused and resumed goes on where it was", () -> {
            // A pull that was under way when the queue paused may still deliver.
            consumer.pause(Collections.singletonList(first));
            world.producer().send(new Message(topic, "T", "held".getBytes()), first);
            consumer.resume(Collections.singletonList(first));
            same("queue offset", 21L, pollCount(consumer, 1).get(0).getQueueOffset());
        });
        consumer.shutdown();
    }

    private static void pollExactly(DefaultLitePullConsumer consumer, Inbox inbox, Set<String> expected)
        throws Exception {
        await("polled " + expected.size(), () -> {
            consumer.poll(POLL_MS).forEach(inbox::add);
            return inbox.size() >= expected.size();
        }, inbox::size);
        consumer.poll(POLL_MS).forEach(inbox::add);
        inbox.awaitExactly(expected);
    }

    private static List<MessageExt> pollCount(DefaultLitePullConsumer consumer, int count) throws Exception {
        List<MessageExt> found = new ArrayList<>();
        await(count + " messages polled", () -> {
            found.addAll(consumer.poll(POLL_MS));
            return found.size() >= count;
        }, found::size);
        same("polled", count, found.size());
        return found;
    }
}
