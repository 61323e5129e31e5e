package ringmq.clients;

import static ringmq.clients.Checks.check;
import static ringmq.clients.Checks.require;
import static ringmq.clients.Checks.same;

import java.nio.charset.StandardCharsets;
import java.util.HashSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullCallback;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;

/** DefaultMQPullConsumer: each outcome of a pull, and offsets kept by hand. */
final class ClassicPulling {
    private ClassicPulling() {
    }

    static void run(World world) throws Exception {
        String topic = world.topic("main", 2);
        MessageQueue queue = world.queuesOf(topic).get(0);
        MessageQueue empty = world.queuesOf(topic).get(1);
        DefaultMQPullConsumer consumer = world.pullConsumer(world.name("pullers"));
        for (int i = 0; i < 50; i++) {
            send(world, queue, i % 5 == 0 ? "Five" : "Other", String.valueOf(i));
        }
        world.awaitStored(queue, 50);

        check("the subscribable queues are those of the route", () ->
            same("queues", new HashSet<>(world.queuesOf(topic)),
                new HashSet<>(consumer.fetchSubscribeMessageQueues(topic))));
        check("a pull returns at most what was asked, in order, and where to go on", () -> {
            PullResult result = consumer.pull(queue, "*", 10, 8);
            same("status", PullStatus.FOUND, result.getPullStatus());
            same("count", 8, result.getMsgFoundList().size());
            for (int i = 0; i < 8; i++) {
                same("queue offset", 10L + i, result.getMsgFoundList().get(i).getQueueOffset());
            }
            same("next", 18L, result.getNextBeginOffset());
            same("min", 0L, result.getMinOffset());
            same("max", 50L, result.getMaxOffset());
        });
        check("a pull by tag returns only matching messages and skips the others", () -> {
            PullResult result = consumer.pull(queue, "Five", 0, 32);
            same("status", PullStatus.FOUND, result.getPullStatus());
            result.getMsgFoundList().forEach(message -> same("tag", "Five", message.getTags()));
            same("first", 0L, result.getMsgFoundList().get(0).getQueueOffset());
            same("second", 5L, result.getMsgFoundList().get(1).getQueueOffset());
            same("count", 10, result.getMsgFoundList().size());
        });
        check("a pull by a tag that nobody used finds no match and moves on", () -> {
            PullResult result = consumer.pull(queue, "Nobody", 0, 32);
            same("status", PullStatus.NO_MATCHED_MSG, result.getPullStatus());
            require(result.getNextBeginOffset() > 0, "next is " + result.getNextBeginOffset());
        });
        check("a pull at the end finds nothing new", () -> {
            PullResult result = consumer.pull(queue, "*", 50, 32);
            same("status", PullStatus.NO_NEW_MSG, result.getPullStatus());
            same("next", 50L, result.getNextBeginOffset());
        });
        check("a pull beyond the end is led back", () -> {
            PullResult result = consumer.pull(queue, "*", 5000, 32);
            same("status", PullStatus.OFFSET_ILLEGAL, result.getPullStatus());
            same("next", 50L, result.getNextBeginOffset());
        });
        check("a pull from an empty queue finds nothing", () -> {
            PullResult result = consumer.pull(empty, "*", 0, 32);
            same("status", PullStatus.NO_NEW_MSG, result.getPullStatus());
            same("next", 0L, result.getNextBeginOffset());
        });
        check("an asynchronous pull calls back", () -> {
            CompletableFuture<PullResult> answer = new CompletableFuture<>();
            consumer.pull(queue, "*", 40, 32, callback(answer));
            same("count", 10, answer.get(20, TimeUnit.SECONDS).getMsgFoundList().size());
        });
        check("a held pull is answered by the message it waited for", () -> {
            CompletableFuture<PullResult> answer = new CompletableFuture<>();
            consumer.pullBlockIfNotFound(empty, "Wanted", 0, 32, callback(answer));
            send(world, empty, "Unwanted", "no");
            send(world, empty, "Wanted", "yes");
            PullResult result = answer.get(25, TimeUnit.SECONDS);
            if (result.getPullStatus() == PullStatus.NO_MATCHED_MSG) {
                // The pull came after the first send; going on is what the client does.
                result = consumer.pullBlockIfNotFound(empty, "Wanted", result.getNextBeginOffset(), 32);
            }
            same("status", PullStatus.FOUND, result.getPullStatus());
            same("body", "yes", new String(result.getMsgFoundList().get(0).getBody(), StandardCharsets.UTF_8));
        });
        check("an offset that was updated is what the broker tells", () -> {
            consumer.updateConsumeOffset(queue, 33);
            consumer.getDefaultMQPullConsumerImpl().getOffsetStore().persist(queue);
            Checks.await("33", () -> consumer.fetchConsumeOffset(queue, true) == 33,
                () -> consumer.fetchConsumeOffset(queue, true));
        });
        check("64 KiB messages come within the reply's limits, all in the end", () -> large(world, consumer));
    }

    /** Replies are cut at 256 KiB: several pulls, nothing skipped. */
    private static void large(World world, DefaultMQPullConsumer consumer) throws Exception {
        String topic = world.topic("large", 1);
        MessageQueue queue = world.queuesOf(topic).get(0);
        for (int i = 0; i < 40; i++) {
            Message message = new Message(topic, World.noise(65_000, i));
            world.producer().send(message, queue);
        }
        world.awaitStored(queue, 40);
        PullResult one = consumer.pull(queue, "*", 0, 32);
        require(one.getMsgFoundList().size() < 8, "one pull brought " + one.getMsgFoundList().size());
        same("messages read", 40, World.readAll(consumer, queue).size());
    }

    private static void send(World world, MessageQueue queue, String tag, String body) throws Exception {
        world.producer().send(new Message(queue.getTopic(), tag, body.getBytes(StandardCharsets.UTF_8)), queue);
    }

    private static PullCallback callback(CompletableFuture<PullResult> answer) {
        return new PullCallback() {
            @Override
            public void onSuccess(PullResult result) {
                answer.complete(result);
            }

            @Override
            public void onException(Throwable why) {
                answer.completeExceptionally(why);
            }
        };
    }
}
