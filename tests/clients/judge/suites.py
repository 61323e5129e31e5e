"""Each suite: an unmodified foreign program, how to build it, how to run it.

A suite prints `ok …` and `FAIL …` lines and exits 0 when nothing failed.
"""

import os
import re

from . import builds, processes
from .processes import Child, Failed

SUITE_SECONDS = 360


class Tally:
    """Counts and shows what the programs say."""

    def __init__(self, quiet=False):
        self.passed = 0
        self.failed = 0
        self._quiet = quiet

    def ok(self, sentence):
        self.passed += 1
        if not self._quiet:
            print(f"ok {sentence}", flush=True)

    def fail(self, sentence):
        self.failed += 1
        print(f"FAIL {sentence}", flush=True)


def _java(label, class_path, main, namesrv, *more, properties=()):
    home = processes.temp_dir("home")
    return ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            f"-Duser.home={home}", f"-Drocketmq.client.logRoot={home}",
            f"-Drocketmq.client.localOffsetStoreDir={home}/offsets",
            f"-Djudge.label={label}", *properties, "-cp", class_path, main, namesrv, *more]


BINARY = ("-Drocketmq.serialize.type=ROCKETMQ",)
# Sends with the long field names of request code 10 instead of 310's short ones.
LONG_SENDS = ("-Dorg.apache.rocketmq.client.sendSmartMsg=false",)


def java(generation, label, properties=(), scenarios=()):
    return lambda namesrv: _java(label, builds.java_client(generation), "ringmq.clients.Main", namesrv,
                                 *scenarios, properties=properties)


def mqadmin(namesrv):
    return _java("mqadmin", builds.apache_program("mqadmin"), "ringmq.admin.Main", namesrv)


# In the order of starting: the longest first. `--only` takes the key's
# beginning up to the dash, so that java49 means both header codecs.
CLIENTS = {
    "java49": java("client49", "java 4.9"),
    "java5": java("client5", "java 5"),
    "java49-binary": java("client49", "java 4.9 binary, long sends", BINARY + LONG_SENDS),
    "java5-binary": java("client5", "java 5 binary", BINARY),
    "go": lambda namesrv: [builds.go_client(), namesrv],
    "node": lambda namesrv: ["node", builds.node_client(), namesrv],
}
# Alone, one after the other: the first changes the broker's settings, the
# second wants the machine for itself, the third has brokers of its own.
LAST = ("mqadmin", "bench", "transfer")


def run(name, command, tally, seconds=SUITE_SECONDS):
    """Runs one program, counting its lines; a silent death is a failure too."""
    log = os.path.join(processes.temp_dir("suite"), f"{name}.log")
    child = Child(name, command, log)
    failed = 0
    lines = 0
    try:
        for line in child.lines(seconds):
            if line.startswith("ok "):
                lines += 1
                tally.ok(line[3:])
            elif line.startswith("FAIL "):
                failed += 1
                tally.fail(line[5:])
            elif not re.match(r"\d+ passed, \d+ failed$", line):
                print(f"# {name}: {line}", flush=True)
    except Failed as why:
        tally.fail(str(why))
    finally:
        code = child.stop(5)
    if failed == 0 and (code != 0 or lines == 0):
        tally.fail(f"{name}: exit code {code} after {lines} checks:\n{processes.tail(log)}")
