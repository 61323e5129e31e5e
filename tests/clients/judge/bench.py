"""Apache's own benchmark mains, as applications that must simply work."""

import os
import re

from . import builds, processes
from .processes import Child, Failed

MAINS = "org.apache.rocketmq.example.benchmark."
TOPIC = "BenchmarkTest"
REPORT_MS = 2000
REPORTS = 5
SECONDS_MAX = 60
FILL_SECONDS_MAX = 240


def run(namesrv, tally):
    """Producer and Consumer side by side for about ten seconds."""
    home = processes.temp_dir("bench")
    try:
        consumer = _start("Consumer", namesrv, home, "-g", "benchmark_of_the_judge")
        consumer.wait_line(lambda line: "Consumer Started" in line, SECONDS_MAX)
        producer = _start("Producer", namesrv, home, "-s", "1024", "-w", "4")
        sent = _reports(producer, r"Send TPS: (\d+).*Send Failed: (\d+) \| Response Failed: (\d+)")
        consumed = _reports(consumer, r"Consume TPS: (\d+).*Consume Fail: (\d+)")
        producer.stop()
        consumer.stop()
    except Failed as why:
        tally.fail(f"bench: {why}")
        return
    _judge(tally, "benchmark Producer", sent)
    _judge(tally, "benchmark Consumer", consumed)


def fill(namesrv, count, size=4096):
    """Lets the producer send exactly so many messages."""
    home = processes.temp_dir("fill")
    producer = _start("Producer", namesrv, home, "-s", str(size), "-w", "8", "-q", str(count))
    log = list(producer.lines(FILL_SECONDS_MAX))
    producer.stop()
    failures = [line for line in log if re.search(r"Failed: [1-9]", line)]
    if failures:
        raise Failed(f"the benchmark producer met failures: {failures[-1]}")


def _start(main, namesrv, home, *more):
    class_path = f"{os.path.join(builds.HERE, 'baseline', 'quiet')}:{builds.apache_jars()}"
    command = ["java", "-Xmx512m", "-XX:+UseSerialGC", f"-Duser.home={home}", f"-Drocketmq.client.logRoot={home}",
               "-cp", class_path, MAINS + main, "-n", namesrv, "-t", TOPIC, "-ri", str(REPORT_MS), *more]
    return Child(f"benchmark {main}", command, os.path.join(home, f"{main}.log"))


def _reports(child, pattern):
    """The numbers of the first reports, each (messages per second, failures…)."""
    found = []
    for line in child.lines(SECONDS_MAX):
        match = re.search(pattern, line)
        if match:
            found.append([int(number) for number in match.groups()])
            if len(found) == REPORTS:
                return found
    raise Failed(f"{child.name} ended after {len(found)} reports:\n{processes.tail(child.log_path)}")


def _judge(tally, who, reports):
    rates = [report[0] for report in reports]
    failures = sum(sum(report[1:]) for report in reports)
    # The consumer's first report may come before its first message.
    if failures == 0 and min(rates[1:]) > 0:
        tally.ok(f"{who}: {min(rates[1:])} to {max(rates)} messages/s, none failed")
    else:
        tally.fail(f"{who}: messages/s {rates}, failures {failures}")
