package ringmq.clients;

import static ringmq.clients.Checks.check;
import static ringmq.clients.Checks.require;
import static ringmq.clients.Checks.same;

import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

/** What a broker must refuse, with which code; and that nothing of it is stored. */
final class Refusals {
    private static final long ANSWER_MS = 10_000;

    private Refusals() {
    }

    static void run(World world) throws Exception {
        String topic = world.topic("main", 2);
        MessageQueue queue = world.queuesOf(topic).get(0);
        DefaultMQProducer careless = world.newProducer();
        careless.setProducerGroup(world.name("careless"));
        careless.setMaxMessageSize(12 << 20);
        careless.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        careless.start();
        Wire wire = new Wire(careless, queue);

        check("a body one byte beyond 4 MiB is refused with 13", () ->
            sameCode(13, () -> careless.send(new Message(topic, World.noise((4 << 20) + 1, 1)), 20_000)));
        check("properties beyond 32767 bytes are refused with 13", () -> {
            Message message = new Message(topic, new byte[10]);
            message.putUserProperty("big", "x".repeat(33_000));
            sameCode(13, () -> careless.send(message));
        });
        check("the client itself refuses illegal topic names", () -> {
            for (String illegal : new String[] {"white space", "slash/es", "", "t".repeat(128)}) {
                try {
                    careless.send(new Message(illegal, new byte[1]));
                } catch (MQClientException asItShould) {
                    continue;
                }
                require(false, "sent to '" + illegal + "'");
            }
        });
        check("illegal topic names on the wire are refused and make no topic", () -> {
            for (String illegal : new String[] {"white space", "slash/es", "t".repeat(128)}) {
                int code = wire.send(illegal, 0, new byte[1]);
                same("code for '" + illegal + "'", 29, code);
                same("queues of it", 0, world.queuesOf(illegal).size());
            }
        });
        check("a queue id beyond the topic's queues is refused", () -> {
            same("code", 29, wire.send(topic, 99, new byte[1]));
        });
        check("sends to internal topics are refused with 16", () -> {
            for (String internal : new String[] {"SCHEDULE_TOPIC_XXXX", "RMQ_SYS_TRANS_HALF_TOPIC"}) {
                int code = wire.send(internal, 0, new byte[1]);
                require(code == 16, internal + ": code " + code);
            }
        });
        check("an unknown request code is answered with 3", () -> same("code", 3, wire.ask(9999, new HashMap<>())));
        check("a pull of an unknown topic is answered with 17", () ->
            same("code", 17, wire.pull(world.name("no-such-topic"), 0)));
        check("a pull of a queue id beyond the topic's is refused", () -> {
            same("code", 29, wire.pull(topic, 99));
        });
        check("a route of an unknown topic is answered with 17", () -> {
            Map<String, String> fields = new HashMap<>();
            fields.put("topic", world.name("no-such-topic"));
            same("code", 17, wire.askNameServer(105, fields));
        });
        check("nothing refused was stored, and the broker goes on", () -> {
            same("stored", 0L, world.stored(topic));
            careless.send(new Message(topic, "still there".getBytes(StandardCharsets.UTF_8)));
            world.awaitStored(topic, 1);
        });
    }

    private interface Sending {
        void run() throws Exception;
    }

    private static void sameCode(int code, Sending sending) throws Exception {
        try {
            sending.run();
        } catch (MQBrokerException refused) {
            same("code", code, refused.getResponseCode());
            return;
        } catch (MQClientException refused) {
            require(String.valueOf(refused.getCause()).contains("CODE: " + code), refused.toString());
            return;
        }
        require(false, "it was accepted");
    }

    /** Requests that the client's own checks would not let out, over its own remoting. */
    private static final class Wire {
        private final MQClientInstance client;
        private final String broker;

        Wire(DefaultMQProducer producer, MessageQueue queue) throws Exception {
            producer.fetchPublishMessageQueues(queue.getTopic());
            producer.maxOffset(queue);
            client = producer.getDefaultMQProducerImpl().getmQClientFactory();
            broker = client.findBrokerAddressInPublish(queue.getBrokerName());
            require(broker != null, "no address of " + queue.getBrokerName());
        }

        int ask(int code, Map<String, String> fields) throws Exception {
            return invoke(broker, code, fields, null);
        }

        int askNameServer(int code, Map<String, String> fields) throws Exception {
            return invoke(null, code, fields, null);
        }

        int send(String topic, int queueId, byte[] body) throws Exception {
            Map<String, String> fields = new HashMap<>();
            fields.put("producerGroup", "wire");
            fields.put("topic", topic);
            fields.put("defaultTopic", "TBW102");
            fields.put("defaultTopicQueueNums", "4");
            fields.put("queueId", String.valueOf(queueId));
            fields.put("sysFlag", "0");
            fields.put("bornTimestamp", String.valueOf(System.currentTimeMillis()));
            fields.put("flag", "0");
            fields.put("properties", "");
            fields.put("reconsumeTimes", "0");
            fields.put("unitMode", "false");
            fields.put("batch", "false");
            return invoke(broker, 10, fields, body);
        }

        int pull(String topic, int queueId) throws Exception {
            Map<String, String> fields = new HashMap<>();
            fields.put("consumerGroup", "wire");
            fields.put("topic", topic);
            fields.put("queueId", String.valueOf(queueId));
            fields.put("queueOffset", "0");
            fields.put("maxMsgNums", "32");
            fields.put("sysFlag", "4");
            fields.put("commitOffset", "0");
            fields.put("suspendTimeoutMillis", "0");
            fields.put("subscription", "*");
            fields.put("subVersion", "0");
            return invoke(broker, 11, fields, null);
        }

        private int invoke(String address, int code, Map<String, String> fields, byte[] body) throws Exception {
            RemotingCommand request = RemotingCommand.createRequestCommand(code, null);
            request.setExtFields(new HashMap<>(fields));
            request.setBody(body);
            return client.getMQClientAPIImpl().getRemotingClient()
                .invokeSync(address, request, ANSWER_MS).getCode();
        }
    }
}
