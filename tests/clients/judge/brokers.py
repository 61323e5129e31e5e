"""The brokers the clients are judged against: real Apache, or ringmq.

Both are started on free loopback ports over a fresh temporary directory.
"""

import os
import re

from . import processes, wire
from .processes import Child, Failed

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
BUILT = os.path.join(ROOT, "target", "clients")
APACHE_JARS = os.path.join(BUILT, "apache", "jars", "lib", "*")
START_SECONDS = 90


class Apache:
    """A real Apache name server and, unless told otherwise, one broker."""

    def __init__(self, options=None, namesrv=None, with_broker=True, data=None, port=None):
        self.data = data or processes.temp_dir("apache")
        self.options = dict(options or {})
        self._namesrv = None
        self._broker = None
        if namesrv is None:
            self.namesrv = self._start_namesrv()
        else:
            self.namesrv = namesrv
        if with_broker:
            # The broker serves port and port - 2; HA gets a third.
            self.port = port or processes.free_ports((0, -2, 1))
            self.broker_addresses = [f"127.0.0.1:{self.port}"]
            self.start_broker()

    def _java(self, heap, user_home, *arguments):
        return [
            "java", "-server", *heap, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
            f"-Duser.home={user_home}", "-cp", APACHE_JARS, *arguments,
        ]

    def _start_namesrv(self):
        port = processes.free_ports()
        home = os.path.join(self.data, "namesrv")
        os.makedirs(home, exist_ok=True)
        config = os.path.join(home, "namesrv.conf")
        with open(config, "w") as out:
            out.write(f"listenPort={port}\nbindAddress=127.0.0.1\n")
        self._namesrv = Child(
            "Apache name server",
            self._java(("-Xms128m", "-Xmx128m"), home,
                       "org.apache.rocketmq.namesrv.NamesrvStartup", "-c", config),
            os.path.join(home, "stdout.log"), env={"ROCKETMQ_HOME": home},
        )
        self._namesrv.wait_line(lambda line: "boot success" in line, START_SECONDS)
        return f"127.0.0.1:{port}"

    def start_broker(self):
        """Starts the broker over this directory; also again after a stop."""
        home = os.path.join(self.data, "broker")
        os.makedirs(home, exist_ok=True)
        config = os.path.join(home, "broker.conf")
        options = {
            "brokerClusterName": "DefaultCluster",
            "brokerName": "broker-a",
            "brokerId": 0,
            "brokerIP1": "127.0.0.1",
            "listenPort": self.port,
            "haListenPort": self.port + 1,
            "namesrvAddr": self.namesrv,
            "brokerRole": "ASYNC_MASTER",
            "flushDiskType": "ASYNC_FLUSH",
            "autoCreateTopicEnable": "true",
            "storePathRootDir": os.path.join(home, "store"),
            "storePathCommitLog": os.path.join(home, "store", "commitlog"),
            "mappedFileSizeCommitLog": 64 << 20,
            "mappedFileSizeConsumeQueue": 6000 * 20,
            # A cold broker on a busy machine would refuse with code 2.
            "waitTimeMillsInSendQueue": 5000,
            "osPageCacheBusyTimeOutMills": 5000,
            **self.options,
        }
        with open(config, "w") as out:
            out.writelines(f"{key}={value}\n" for key, value in options.items())
        self._broker = Child(
            "Apache broker",
            self._java(("-Xms512m", "-Xmx1g"), home,
                       "org.apache.rocketmq.broker.BrokerStartup", "-c", config),
            os.path.join(home, "stdout.log"), env={"ROCKETMQ_HOME": home},
        )
        self._broker.wait_line(lambda line: "boot success" in line, START_SECONDS)
        # It registers in the background.
        wire.await_route(self.namesrv, "TBW102")
        self.commitlog = options["storePathCommitLog"]

    def death(self):
        """How the broker ended by itself, or None while it lives."""
        code = self._broker.process.poll()
        return None if code is None else f"the Apache broker ended by itself with code {code}"

    def stop_broker(self):
        """A clean stop: the shutdown hook flushes and removes `abort`."""
        return self._broker.stop(40)

    def stop(self):
        for child in (self._broker, self._namesrv):
            if child is not None:
                child.stop()


class Ringmq:
    """target/release/ringmq over a fresh data directory."""

    def __init__(self, shards, binary=None, namesrv=None, extra=()):
        self.binary = binary or os.path.join(ROOT, "target", "release", "ringmq")
        if not os.access(self.binary, os.X_OK):
            raise Failed(f"{self.binary} is missing: cargo build --release")
        self.data = os.path.join(processes.temp_dir("node"), "data")
        self._log = os.path.join(os.path.dirname(self.data), "ringmq.log")
        command = [self.binary, "--port", "0", "--data-dir", self.data, "--shards", str(shards)]
        command += ["--namesrv", namesrv] if namesrv else ["--namesrv-port", "0"]
        command += list(extra)
        self._child = Child("ringmq", command, self._log)
        ready = self._child.wait_line(lambda line: line.startswith("ready"), 30)
        # ready namesrv=HOST:PORT broker-0=HOST:PORT[,broker-1=HOST:PORT…] data=PATH
        addresses = dict(re.findall(r"(?:^|[ ,])([^\s=,]+)=([\d.]+:\d+)", ready))
        self.namesrv = namesrv or addresses["namesrv"]
        self.broker_addresses = [at for name, at in addresses.items() if name != "namesrv"]

    def death(self):
        """How it ended by itself, or None while it lives."""
        code = self._child.process.poll()
        if code is None:
            return None
        return f"ringmq ended by itself with code {code}:\n{processes.tail(self._log, 60)}"

    def stop(self):
        died = self.death()
        code = self._child.stop(20)
        if died:
            raise Failed(died)
        if code != 0:
            raise Failed(f"ringmq ended with code {code} after SIGTERM:\n{processes.tail(self._log, 60)}")
