'use strict';

// One line per check on stdout; every wait is on a condition and bounded.

const WAIT_MS = 60000;
const LOOK_EVERY_MS = 20;
const WHOLE_RUN_MS = 5 * 60000;

let passed = 0;
let failed = 0;

setTimeout(() => {
  console.log(`FAIL node: all scenarios end within ${WHOLE_RUN_MS} ms: some did not`);
  process.exit(1);
}, WHOLE_RUN_MS).unref();

async function check(sentence, body) {
  const begun = Date.now();
  try {
    await body();
    passed++;
    const seconds = Math.round((Date.now() - begun) / 1000);
    console.log(`ok node: ${sentence}${seconds >= 3 ? ` (${seconds} s)` : ''}`);
  } catch (err) {
    failed++;
    console.log(`FAIL node: ${sentence}: ${String(err.message).replace(/\n/g, ' ')}`);
  }
}

function report() {
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed === 0 && passed > 0 ? 0 : 1);
}

function same(what, expected, actual) {
  if (expected !== actual) {
    throw new Error(`${what} should be ${expected}, is ${actual}`);
  }
}

async function eventually(what, condition, waitMs = WAIT_MS) {
  const deadline = Date.now() + waitMs;
  while (!await condition()) {
    if (Date.now() > deadline) {
      throw new Error(`not within ${waitMs} ms: ${what}`);
    }
    await new Promise(resolve => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

/** Waits for all of these bodies; nothing else and nothing twice may come. */
async function awaitExactly(inbox, expected) {
  await eventually(`${expected.length} messages consumed`, () => {
    const got = new Set(inbox.map(each => each.body));
    return expected.every(body => got.has(body));
  }).catch(err => {
    throw new Error(`${err.message}; seen ${inbox.length}`);
  });
  same('consumed', expected.length, inbox.length);
}

module.exports = { check, report, same, eventually, awaitExactly };
