package ringmq.clients;

import static ringmq.clients.Checks.await;
import static ringmq.clients.Checks.check;
import static ringmq.clients.Checks.require;
import static ringmq.clients.Checks.same;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.common.message.MessageQueue;

/** A group that grows and shrinks: all queues always owned, nothing lost, nothing twice. */
final class Rebalancing {
    private static final long NOTICED_MS_MAX = 10_000;

    private final World world;
    private final String topic;
    private final String group;
    private final Inbox inbox = new Inbox();
    private final Set<String> sent = new HashSet<>();
    private final List<DefaultMQPushConsumer> members = new ArrayList<>();

    private Rebalancing(World world) throws Exception {
        this.world = world;
        this.topic = world.topic("main", 6);
        this.group = world.name("members");
    }

    static void run(World world) throws Exception {
        Rebalancing scenario = new Rebalancing(world);
        check("one consumer owns all queues and gets everything", () -> {
            scenario.join();
            scenario.settleAndSend("one");
        });
        check("two more share the queues and every message is consumed exactly once", () -> {
            scenario.join();
            scenario.join();
            scenario.settleAndSend("three");
        });
        check("when one of three leaves, the others take its queues over", () -> {
            scenario.members.remove(1).shutdown();
            scenario.settleAndSend("two");
        });
        check("when it comes back, the queues are shared anew", () -> {
            scenario.join();
            scenario.settleAndSend("again");
        });
    }

    private void join() throws Exception {
        DefaultMQPushConsumer member = world.pushConsumer(group);
        member.subscribe(topic, "*");
        inbox.listen(member);
        member.start();
        members.add(member);
    }

    /** Waits until every queue has one owner, then sends and requires each message once. */
    private void settleAndSend(String name) throws Exception {
        int queues = world.queuesOf(topic).size();
        long begun = System.currentTimeMillis();
        await("each queue owned by one of " + members.size(), () -> {
            Set<MessageQueue> union = new HashSet<>();
            int sum = 0;
            for (DefaultMQPushConsumer member : members) {
                Set<MessageQueue> owned = owned(member);
                if (Math.abs(owned.size() - (double) queues / members.size()) >= 1) {
                    return false;
                }
                union.addAll(owned);
                sum += owned.size();
            }
            return union.size() == queues && sum == queues;
        }, this::shares);
        // By themselves the members look every 20 s; the broker's notice makes it prompt.
        long took = System.currentTimeMillis() - begun;
        require(took < NOTICED_MS_MAX, "the members took " + took + " ms to share the queues");
        sent.addAll(world.send(topic, "T", name, 120));
        inbox.awaitExactly(sent);
        // A queue that changes hands starts where the broker's offset stands,
        // so the next change waits for the offsets of what was consumed.
        world.awaitCommitted(group, topic, sent.size());
        same("consumed", sent.size(), inbox.size());
        require(members.stream().noneMatch(member -> owned(member).isEmpty()), "a member owns no queue");
    }

    private Set<MessageQueue> owned(DefaultMQPushConsumer member) {
        Set<MessageQueue> queues = new HashSet<>(
            member.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet());
        queues.removeIf(queue -> !queue.getTopic().equals(topic));
        return queues;
    }

    private Object shares() {
        List<Integer> sizes = new ArrayList<>();
        members.forEach(member -> sizes.add(owned(member).size()));
        return sizes;
    }
}
