package ringmq.clients;

import static ringmq.clients.Checks.await;
import static ringmq.clients.Checks.check;
import static ringmq.clients.Checks.same;

import java.nio.charset.StandardCharsets;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;

/** Old clients speak to port - 2 for all but pulls: so with the VIP channel on. */
final class VipChannel {
    private VipChannel() {
    }

    static void run(World world) throws Exception {
        String topic = world.topic("main", 2);
        DefaultMQProducer vip = world.newProducer();
        vip.setProducerGroup(world.name("vips"));
        vip.setVipChannelEnabled(true);
        vip.start();
        check("a producer with the VIP channel on sends and asks at port - 2", () -> {
            SendResult result = vip.send(new Message(topic, "T", "vip".getBytes(StandardCharsets.UTF_8)));
            same("status", SendStatus.SEND_OK, result.getSendStatus());
            long end = result.getQueueOffset() + 1;
            await("maximum offset " + end, () -> vip.maxOffset(result.getMessageQueue()) == end, () -> "another");
        });
        check("a push consumer with the VIP channel on consumes", () -> {
            String fresh = world.topic("pushed", 2);
            Inbox inbox = new Inbox();
            DefaultMQPushConsumer consumer = world.pushConsumer(world.name("consumers"));
            consumer.setVipChannelEnabled(true);
            consumer.subscribe(fresh, "*");
            inbox.listen(consumer);
            consumer.start();
            Set<String> expected = world.send(fresh, "T", "v", 20);
            inbox.awaitExactly(expected);
        });
    }
}
