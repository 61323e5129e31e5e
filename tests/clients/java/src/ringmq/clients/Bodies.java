package ringmq.clients;

import static ringmq.clients.Checks.check;
import static ringmq.clients.Checks.require;
import static ringmq.clients.Checks.same;

import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** What goes in comes out: bodies of every size, and all that travels beside them. */
final class Bodies {
    /** The client compresses bodies from 4096 bytes on. */
    private static final int[] SIZES = {
        1, 2, 100, 4095, 4096, 4097, 65_536, 300_000, 1 << 20, (4 << 20) - 1, 4 << 20,
    };

    private Bodies() {
    }

    static void run(World world) throws Exception {
        String topic = world.topic("sizes", 2);
        DefaultMQProducer producer = world.producer();
        DefaultMQProducer plain = world.newProducer();
        plain.setProducerGroup(world.name("plain"));
        plain.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        plain.start();
        DefaultMQPullConsumer reader = world.pullConsumer(world.name("readers"));

        for (int size : SIZES) {
            byte[] noise = World.noise(size, size);
            byte[] text = new byte[size];
            Arrays.fill(text, (byte) 'a');
            // Noise grows when compressed, so the largest bodies go plain or as text.
            if (size < (4 << 20) - 2048) {
                check("an incompressible body of " + size + " bytes comes back", () ->
                    returned(reader, producer, topic, noise));
            }
            check("a compressible body of " + size + " bytes comes back", () ->
                returned(reader, producer, topic, text));
            check("an uncompressed body of " + size + " bytes comes back", () ->
                returned(reader, plain, topic, noise));
        }

        check("tag, keys, properties, flag, born time and host come back", () -> everything(world, topic, reader));
    }

    private static void returned(DefaultMQPullConsumer reader, DefaultMQProducer producer, String topic, byte[] body)
        throws Exception {
        SendResult sent = producer.send(new Message(topic, body), 20_000);
        MessageExt message = World.readOne(reader, sent, "*");
        same("queue offset", sent.getQueueOffset(), message.getQueueOffset());
        require(Arrays.equals(body, message.getBody()), "the body differs, length " + message.getBody().length);
    }

    private static void everything(World world, String topic, DefaultMQPullConsumer reader) throws Exception {
        Message message = new Message(topic, "tag-ü", "key1 key2", 42, new byte[] {0, 1, 2, -1}, true);
        Map<String, String> properties = new HashMap<>();
        properties.put("plain", "value");
        properties.put("umlaut", "äöü 漢字 \uD83D\uDE00");
        properties.put("long", "x".repeat(2000));
        properties.forEach(message::putUserProperty);
        message.setBuyerId("buyer");
        long before = System.currentTimeMillis();
        SendResult sent = world.producer().send(message);
        long after = System.currentTimeMillis();

        MessageExt found = World.readOne(reader, sent, "tag-ü");
        same("topic", topic, found.getTopic());
        same("tag", "tag-ü", found.getTags());
        same("keys", "key1 key2", found.getKeys());
        same("flag", 42, found.getFlag());
        same("buyer", "buyer", found.getBuyerId());
        same("wait", true, found.isWaitStoreMsgOK());
        properties.forEach((name, value) -> same("property " + name, value, found.getUserProperty(name)));
        same("unique id", sent.getMsgId(), found.getMsgId());
        same("queue", sent.getMessageQueue().getQueueId(), found.getQueueId());
        same("reconsume times", 0, found.getReconsumeTimes());
        require(found.getBornTimestamp() >= before && found.getBornTimestamp() <= after, "born time");
        require(found.getStoreTimestamp() >= before && found.getStoreTimestamp() <= after + 1000, "store time");
        same("born host", "127.0.0.1", found.getBornHostString());
        same("cluster", "DefaultCluster", found.getProperty("CLUSTER"));
        same("region", "DefaultRegion", found.getProperty("MSG_REGION"));
        same("trace", "true", found.getProperty("TRACE_ON"));
    }
}
