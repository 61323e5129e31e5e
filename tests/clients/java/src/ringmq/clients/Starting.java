package ringmq.clients;

import static ringmq.clients.Checks.check;

import java.time.LocalDateTime;
import java.time.format.DateTimeFormatter;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;

/** Where a group begins, and that it goes on where it was. */
final class Starting {
    private Starting() {
    }

    static void run(World world) throws Exception {
        String topic = world.topic("main", 3);
        Set<String> old = world.send(topic, "T", "old", 30);

        check("a new group told to start FIRST gets what lies there", () -> {
            Inbox inbox = new Inbox();
            DefaultMQPushConsumer consumer = start(world, topic, "first", ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET, inbox);
            inbox.awaitExactly(old);
            consumer.shutdown();
        });
        // The broker answers 0 for an unknown group of a queue whose first
        // message is at hand, so that a client's LAST and TIMESTAMP never lose
        // the first messages of a young topic. So does Apache's.
        check("a new group told to start LAST still gets all of a young queue", () -> {
            Inbox inbox = new Inbox();
            DefaultMQPushConsumer consumer = start(world, topic, "last", ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET, inbox);
            inbox.awaitExactly(old);
            consumer.shutdown();
        });
        check("a new group told to start at a TIMESTAMP still gets all of a young queue", () -> {
            Inbox inbox = new Inbox();
            DefaultMQPushConsumer consumer = start(world, topic, "time", ConsumeFromWhere.CONSUME_FROM_TIMESTAMP, inbox);
            inbox.awaitExactly(old);
            consumer.shutdown();
        });
        check("a group goes on where it was, whatever it is told on restart", () -> restart(world, topic, old));
    }

    private static void restart(World world, String topic, Set<String> old) throws Exception {
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer before = start(world, topic, "again", ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET, inbox);
        inbox.awaitExactly(old);
        world.awaitCommitted(world.name("again"), topic, old.size());
        before.shutdown();
        Set<String> missed = world.send(topic, "T", "while-away", 12);
        Inbox fresh = new Inbox();
        DefaultMQPushConsumer after = start(world, topic, "again", ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET, fresh);
        fresh.awaitExactly(missed);
        after.shutdown();
    }

    private static DefaultMQPushConsumer start(World world, String topic, String group, ConsumeFromWhere where,
        Inbox inbox) throws Exception {
        DefaultMQPushConsumer consumer = world.pushConsumer(world.name(group));
        consumer.setConsumeFromWhere(where);
        consumer.setConsumeTimestamp(
            LocalDateTime.now().minusMinutes(30).format(DateTimeFormatter.ofPattern("yyyyMMddHHmmss")));
        consumer.subscribe(topic, "*");
        inbox.listen(consumer);
        consumer.start();
        return consumer;
    }
}
