"""Child processes of the judge: bounded, in their own group, ended by pid.

Every program we start goes through here, so that whatever ends the judge
(success, a failed check, Ctrl-C) also ends what it started and nothing else.
"""

import atexit
import os
import queue
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

ALIVE = []
TEMP_DIRS = []


class Failed(Exception):
    """The world did not do what the judge needed; says what was tried."""


class Child:
    """One process whose output goes to a log file and, line by line, to us."""

    def __init__(self, name, command, log_path, env=None, cwd=None):
        self.name = name
        self.log_path = log_path
        self._log = open(log_path, "ab")
        self._lines = queue.Queue()
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
        ALIVE.append(self)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self._log.write(line)
            self._log.flush()
            self._lines.put(line.decode("utf-8", "replace").rstrip("\n"))
        self._lines.put(None)

    def lines(self, seconds):
        """Yields output lines until the process ends or time is up."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise Failed(f"{self.name}: not done after {seconds} s, see {self.log_path}") from None
            if line is None:
                return
            yield line

    def wait_line(self, wanted, seconds):
        """The first line for which `wanted(line)` is true."""
        for line in self.lines(seconds):
            if wanted(line):
                return line
        raise Failed(f"{self.name}: ended (code {self.process.wait()}) before it was ready:\n{tail(self.log_path)}")

    def stop(self, seconds=20):
        """SIGTERM, then SIGKILL when `seconds` pass; returns the exit code."""
        if self in ALIVE:
            ALIVE.remove(self)
        if self.process.poll() is None:
            self._signal(signal.SIGTERM)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
        code = self.process.wait()
        self._reader.join(5)
        self._log.close()
        return code

    def _signal(self, number):
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass


def tail(path, lines=15):
    with open(path, "rb") as log:
        return b"\n".join(log.read().splitlines()[-lines:]).decode("utf-8", "replace")


def temp_dir(name):
    """A directory that goes when the judge ends."""
    path = tempfile.mkdtemp(prefix=f"ringmq-{name}-")
    TEMP_DIRS.append(path)
    return path


def free_ports(offsets=(0,)):
    """A base port with base + each offset free on loopback right now."""
    for _ in range(200):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            base = probe.getsockname()[1]
        if all(_is_free(base + offset) for offset in offsets):
            return base
    raise Failed(f"no free ports with offsets {offsets}")


def _is_free(port):
    if not 1024 < port < 65536:
        return False
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def stop_all():
    for child in reversed(list(ALIVE)):
        child.stop(5)
    if not os.environ.get("JUDGE_KEEP"):
        for path in TEMP_DIRS:
            shutil.rmtree(path, ignore_errors=True)


atexit.register(stop_all)
signal.signal(signal.SIGTERM, lambda *_: exit(143))
