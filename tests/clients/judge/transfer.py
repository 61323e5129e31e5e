"""Every way of moving bytes, asked for by our load tool, brings every message as it was sent.

Brokers of its own: the log is longer than segments and arena, so that there are bytes in
the ring, in the page cache and on the disk alone.
"""

import json
import os
import subprocess

from . import brokers, processes, wire
from .processes import Failed

BENCH = os.path.join(brokers.ROOT, "target", "release", "ringmq-bench")
WRITES = ("direct", "mmap", "buffered")
STRATEGIES = ("auto", "copy", "mmap", "gather", "sendfile", "splice", "send-zc", "direct")
TOPIC = "moved"
QUEUES = 4
MESSAGES = 32_768
SIZE = 4096
SECONDS_MAX = 60


def run(shards, binary, tally):
    if not os.access(BENCH, os.X_OK):
        raise Failed(f"{BENCH} is missing: cargo build --release --workspace")
    for write in WRITES:
        extra = ("--write", write, "--segment-size", "16MiB", "--arena", "16MiB")
        broker = brokers.Ringmq(shards, binary, extra=extra)
        try:
            wire.await_brokers(broker.namesrv, broker.broker_addresses)
            _write_mode(broker, write, tally)
        except Failed as why:
            tally.fail(f"transfer, written {write}: {why}")
        finally:
            broker.stop()


def _write_mode(broker, write, tally):
    home = processes.temp_dir("transfer")
    ledger = os.path.join(home, "ledger")
    sent, said = _bench(home, "send", broker, "--create-topic", QUEUES, "--size", SIZE, "--batch", 8,
                        "--count", MESSAGES, "--connections", 6, "--window", 4, "--tags", "a,b", "--ledger", ledger)
    if sent is None:
        raise Failed(f"send:\n{said}")
    for strategy in STRATEGIES:
        who = f"{strategy}, written {write}"
        whole, said = _bench(home, "drain", broker, "--transfer", strategy, "--ledger", ledger, *_pulls())
        _judge(tally, f"{who}: every message", whole, said, strategy, MESSAGES)
        half, said = _bench(home, "drain", broker, "--transfer", strategy, "--subscription", "a", *_pulls())
        _judge(tally, f"{who}: one message in two", half, said, strategy, MESSAGES // 2)
    refused, said = _bench(home, "drain", broker, "--transfer", "teleport", *_pulls())
    if refused is None and "a transfer strategy is one of" in said:
        tally.ok(f"an unknown strategy is refused, written {write}")
    else:
        tally.fail(f"an unknown strategy was not refused, written {write}:\n{said}")


def _pulls():
    return ("--connections", 3, "--window", 2, "--max-messages", 100, "--settle", 0)


def _bench(home, what, broker, *more):
    """The result and what was said; no result if anything was not as sent."""
    result = os.path.join(home, f"{what}.json")
    command = [BENCH, what, "--namesrv", broker.namesrv, "--topic", TOPIC, "--json", result, *map(str, more)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(command)}: not done after {SECONDS_MAX} s") from None
    said = done.stdout + done.stderr
    if done.returncode != 0:
        return None, said
    with open(result) as file:
        return json.load(file), said


def _judge(tally, who, result, said, strategy, messages):
    if result is None:
        return tally.fail(f"{who}: not as sent:\n{said}")
    found = (result["throughput"]["messages"], result["details"]["findings"]["verified"], result["details"]["scanned"])
    moved = sum(of["counted"].get(f"transfer.{strategy}.bytes", 0) for of in result["counters"])
    if found != (messages, messages, MESSAGES):
        tally.fail(f"{who}: delivered, verified and scanned are {found}")
    elif strategy != "auto" and moved == 0:
        tally.fail(f"{who}: not a byte went by it: {result['counters']}")
    else:
        tally.ok(f"{who}")
