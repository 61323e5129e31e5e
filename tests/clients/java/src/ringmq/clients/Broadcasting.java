package ringmq.clients;

import static ringmq.clients.Checks.check;

import java.util.HashSet;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;

/** In a broadcasting group each consumer gets every message. */
final class Broadcasting {
    private Broadcasting() {
    }

    static void run(World world) throws Exception {
        String topic = world.topic("main", 4);
        String group = world.name("listeners");
        Inbox[] inboxes = {new Inbox(), new Inbox()};
        for (Inbox inbox : inboxes) {
            DefaultMQPushConsumer consumer = world.pushConsumer(group);
            Generation.broadcast(consumer);
            consumer.subscribe(topic, "*");
            inbox.listen(consumer);
            consumer.start();
        }
        Set<String> expected = new HashSet<>(world.send(topic, "T", "news", 50));
        check("each of two broadcasting consumers gets every message once", () -> {
            for (Inbox inbox : inboxes) {
                inbox.awaitExactly(expected);
            }
        });
    }
}
