package ringmq.clients;

import static ringmq.clients.Checks.check;
import static ringmq.clients.Checks.require;
import static ringmq.clients.Checks.same;

import java.util.HashSet;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.common.message.MessageExt;

/** Concurrent push consumers: everything, by tag, and promptly. */
final class PushConsuming {
    private PushConsuming() {
    }

    static void run(World world) throws Exception {
        String topic = world.topic("main", 4);
        Set<String> expected = new HashSet<>();
        Set<String> chosen = new HashSet<>();
        chosen.addAll(world.send(topic, "A", "a", 40));
        chosen.addAll(world.send(topic, "B", "b", 40));
        expected.addAll(chosen);
        expected.addAll(world.send(topic, "C", "c", 40));

        Inbox all = new Inbox();
        DefaultMQPushConsumer everything = world.pushConsumer(world.name("everything"));
        everything.subscribe(topic, "*");
        all.listen(everything);
        everything.start();
        check("a push consumer of * gets each message exactly once", () -> all.awaitExactly(expected));

        Inbox some = new Inbox();
        DefaultMQPushConsumer filtered = world.pushConsumer(world.name("filtered"));
        filtered.subscribe(topic, "A || B");
        some.listen(filtered);
        filtered.start();
        check("a push consumer of A || B gets those and no others", () -> {
            some.awaitExactly(chosen);
            for (MessageExt message : some.messages) {
                require(!"C".equals(message.getTags()), "got tag C");
            }
        });

        check("messages sent while consumers wait reach them, each once, promptly", () -> {
            // Consumers hold their pulls now; each send must wake them.
            for (int round = 0; round < 5; round++) {
                Set<String> fresh = world.send(topic, "A", "round" + round + "-", 1);
                expected.addAll(fresh);
                chosen.addAll(fresh);
                long sent = System.currentTimeMillis();
                all.awaitExactly(expected);
                some.awaitExactly(chosen);
                require(System.currentTimeMillis() - sent < 4_000, "it took longer than a wake-up");
            }
        });
        check("a held pull is not answered with a tag it did not ask for", () -> {
            Set<String> unasked = world.send(topic, "C", "unasked", 8);
            expected.addAll(unasked);
            all.awaitExactly(expected);
            some.awaitExactly(chosen);
            same("received by the filtered consumer", chosen.size(), some.size());
        });
        check("the group's offsets reach the end of all queues", () ->
            world.awaitCommitted(world.name("everything"), topic, expected.size()));
        check("a batch listener gets several messages at once", () -> {
            DefaultMQPushConsumer batches = world.pushConsumer(world.name("batches"));
            batches.setConsumeMessageBatchMaxSize(16);
            batches.subscribe(topic, "*");
            Inbox inbox = new Inbox();
            inbox.listen(batches);
            batches.start();
            inbox.awaitExactly(expected);
        });
    }
}
