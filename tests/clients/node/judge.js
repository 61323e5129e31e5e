'use strict';

// The Node client of the foreign-client judge: unmodified ali-ons against the
// name server given as the only argument.

const { Producer, Consumer, Message } = require('ali-ons');
const { check, report, awaitExactly, eventually, same } = require('./checks');

const namesrv = process.argv[2];
const run = Date.now().toString(36);
const silent = { info() {}, debug() {}, warn() {}, error() {} };

// ali-ons insists on an HTTP client to ask Aliyun for name servers; with
// `nameSrv` given it must never be used.
const httpclient = {
  async request(url) {
    throw new Error(`asked ${url} although nameSrv is set`);
  },
};

function options(instanceName, more) {
  return { httpclient, nameSrv: namesrv, instanceName, logger: silent, ...more };
}

function name(part) {
  return `node-${part}-${run}`;
}

/** Clients print transient errors (a route not there yet) as events. */
function ignoreErrors(client) {
  client.on('error', () => {});
  return client;
}

async function producer(scenario) {
  const created = ignoreErrors(new Producer(options(name(`${scenario}-p`), { producerGroup: name('producers') })));
  await created.ready();
  return created;
}

/**
 * A topic of four queues on each broker. ali-ons refuses to send to a topic
 * without a route, so it is made first, by the client's own request.
 */
async function createTopic(sender, topic) {
  const client = sender._mqClient;
  const route = await client.getTopicRouteInfoFromNameServer('TBW102', 3000);
  for (const broker of route.brokerDatas) {
    await client.createTopic(broker.brokerAddrs[0], 'TBW102', {
      topicName: topic, readQueueNums: 4, writeQueueNums: 4, perm: 6,
      topicFilterType: 'SINGLE_TAG', topicSysFlag: 0, order: false,
    }, 3000);
  }
  await eventually(`the route of ${topic} shows all brokers`, async () => {
    const found = await client.getTopicRouteInfoFromNameServer(topic, 3000).catch(() => null);
    return found !== null && found.queueDatas.length === route.brokerDatas.length;
  });
}

/** A push consumer whose bodies go into `inbox`. */
async function consumer(scenario, member, topic, tags, inbox) {
  const created = ignoreErrors(new Consumer(options(name(`${scenario}-c${member}`), {
    consumerGroup: name(`${scenario}-consumers`),
    consumeFromWhere: 'CONSUME_FROM_FIRST_OFFSET',
    rebalanceInterval: 2000,
    persistConsumerOffsetInterval: 500,
  })));
  created.subscribe(topic, tags, async message => {
    inbox.push({ body: message.body.toString(), tags: message.tags, keys: message.keys, message });
  });
  await created.ready();
  return created;
}

async function send(sender, topic, tags, prefix, count) {
  const bodies = [];
  for (let i = 0; i < count; i++) {
    const message = new Message(topic, tags, `${prefix}${i}`);
    message.keys = [ `key-${prefix}${i}` ];
    const result = await sender.send(message);
    same('send status', 'SEND_OK', result.sendStatus);
    bodies.push(`${prefix}${i}`);
  }
  return bodies;
}

async function sending() {
  const topic = name('sending');
  const sender = await producer('sending');
  await check('a topic can be created and its route read', () => createTopic(sender, topic));
  const expected = [];
  await check('sends to a new topic are taken and named', async () => {
    expected.push(...await send(sender, topic, 'A', 'a', 40));
    const result = await sender.send(new Message(topic, 'A', 'named'));
    expected.push('named');
    same('message id is 32 or more hex digits', true, /^[0-9A-F]{32,}$/.test(result.msgId));
  });
  await check('bodies of many sizes are taken, the large ones compressed', async () => {
    for (const size of [ 1, 100, 4095, 4096, 100000, 1000000 ]) {
      const body = String(size % 10).repeat(size);
      await sender.send(new Message(topic, 'B', body));
      expected.push(body);
    }
  });
  const inbox = [];
  const everything = await consumer('everything', 1, topic, '*', inbox);
  await check('a push consumer of * gets each message exactly once', () => awaitExactly(inbox, expected));
  await check('tags and keys come back', async () => {
    const first = inbox.find(got => got.body === 'a0');
    same('tag', 'A', first.tags);
    same('keys', 'key-a0', first.keys);
  });
  const some = [];
  const filtered = await consumer('filtered', 1, topic, 'A || C', some);
  await check('a push consumer of A || C gets those and no others', () =>
    awaitExactly(some, expected.filter(body => body.startsWith('a') || body === 'named')));
  await check('what is sent while consumers wait reaches them promptly', async () => {
    const late = await send(sender, topic, 'C', 'aLate', 5);
    expected.push(...late);
    const begun = Date.now();
    await awaitExactly(inbox, expected);
    await awaitExactly(some, expected.filter(body => body.startsWith('a') || body === 'named'));
    same('within 4 s', true, Date.now() - begun < 4000);
  });
  await check('a group that stopped goes on where it was', async () => {
    await everything.close();
    const missed = await send(sender, topic, 'C', 'missed', 10);
    const fresh = [];
    const again = await consumer('everything', 2, topic, '*', fresh);
    await awaitExactly(fresh, missed);
    await again.close();
  });
  await filtered.close();
}

async function rebalancing() {
  const topic = name('rebalancing');
  const sender = await producer('rebalancing');
  await createTopic(sender, topic);
  const one = [];
  const two = [];
  await consumer('shared', 1, topic, '*', one);
  const second = await consumer('shared', 2, topic, '*', two);
  let round = 0;
  await check('two consumers of a group share the queues and every message is consumed once', async () => {
    await eventually('a round consumed once and by both', async () => {
      const bodies = new Set(await send(sender, topic, 'T', `round${round++}-`, 24));
      const count = inbox => inbox.filter(got => bodies.has(got.body)).length;
      await eventually('the round consumed', async () => count(one) + count(two) >= 24);
      return count(one) > 0 && count(two) > 0 && count(one) + count(two) === 24;
    });
  });
  await check('when one leaves, the other gets everything', async () => {
    await second.close();
    await eventually('a round consumed by the one that stayed', async () => {
      const bodies = new Set(await send(sender, topic, 'T', `left${round++}-`, 24));
      const count = () => one.filter(got => bodies.has(got.body)).length;
      await eventually('the round consumed', async () => count() === 24, 15000);
      return true;
    });
  });
}

async function main() {
  await Promise.all([ sending(), rebalancing() ]);
  report();
}

if (!namesrv) {
  console.log('usage: node judge.js HOST:PORT');
  process.exit(2);
}
// Late errors of closed clients are the clients' own affair.
process.on('unhandledRejection', () => {});
main().catch(err => {
  console.log(`FAIL node: the scenarios run to their end: ${err.stack}`);
  process.exit(1);
});
