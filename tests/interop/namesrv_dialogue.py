#!/usr/bin/env python3
"""Plays the dialogue of tests/fixtures/namesrv-dialogue.jsonl with a name server.

    namesrv_dialogue.py ours HOST:PORT       report where ringmq's replies differ
    namesrv_dialogue.py apache HOST:PORT     report where another Apache's replies differ
    namesrv_dialogue.py capture HOST:PORT    keep its replies in the fixture

Capture from a freshly started Apache name server. A line is one step: a request on
the connection `conn`, or `"close": CONN`. Remarks are for humans and not kept. The
names are chosen so that the order of Java's hash tables is that of the alphabet.
Where `ours` stands, ringmq answers that code instead, on purpose.
"""

import base64
import json
import os
import re
import socket
import struct
import sys
import time

FIXTURE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../fixtures/namesrv-dialogue.jsonl")


TOPIC_LISTS = (206, 224, 304, 311, 312, 313)


class Connection:
    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=5)
        self.opaque = 0

    def exchange(self, step):
        self.opaque += 1
        header = json.dumps({
            "code": step["code"], "extFields": step.get("ext", {}), "flag": 0, "language": "JAVA",
            "opaque": self.opaque, "serializeTypeCurrentRPC": "JSON", "version": step.get("version", 479),
        }).encode()
        body = base64.b64decode(step["body64"]) if "body64" in step else step.get("body", "").encode()
        self.socket.sendall(struct.pack(">II", 4 + len(header) + len(body), len(header)) + header + body)
        return self.reply()

    def reply(self):
        length, header_length = struct.unpack(">II", self.read(8))
        frame = self.read(length - 4)
        header = json.loads(frame[:header_length & 0xFFFFFF])
        assert header["opaque"] == self.opaque, header
        reply = {"code": header["code"], "ext": header.get("extFields", {})}
        if len(frame) > header_length:
            reply["body"] = frame[header_length:].decode()
        return reply

    def read(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise ConnectionError("the name server closed the connection")
            data += more
        return data

    def close(self):
        self.socket.close()


def play(address, steps):
    connections = {}
    for step in steps:
        if "close" in step:
            connections.pop(step["close"]).close()
            time.sleep(0.5)
            continue
        name = step.get("conn", "client")
        if name not in connections:
            connections[name] = Connection(address)
        yield step, connections[name].exchange(step)
        # Apache's unregistration runs behind its reply.
        if step["code"] == 104:
            time.sleep(0.5)


def comparable(step, reply):
    """Lists of topics are sets, and come in any order. Characters beyond ASCII are
    escapes in some versions of Apache and stand as they are in others."""
    if "body" in reply:
        reply = dict(reply, body=re.sub(r"\\u([0-9A-F]{4})", lambda found: chr(int(found[1], 16)), reply["body"]))
    if step["code"] not in TOPIC_LISTS or "body" not in reply:
        return reply
    body = json.loads(reply["body"])
    body["topicList"].sort()
    return dict(reply, body=body)


def main():
    what, address = sys.argv[1:]
    with open(FIXTURE) as fixture:
        steps = [json.loads(line) for line in fixture]
    if what == "capture":
        for step, reply in play(address, steps):
            step["reply"] = reply
        with open(FIXTURE, "w") as fixture:
            for step in steps:
                fixture.write(json.dumps(step, separators=(",", ":")) + "\n")
        return 0
    differences = 0
    for step, reply in play(address, steps):
        expected, found = comparable(step, step["reply"]), comparable(step, reply)
        if what == "ours" and "ours" in step:
            expected, found = step["ours"], reply["code"]
        if expected != found:
            differences += 1
            print(f"differs: {step['name']}\n  expected {expected}\n  found    {found}")
    print(f"{len(steps)} steps, {differences} differ")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
