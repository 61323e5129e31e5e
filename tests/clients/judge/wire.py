"""The remoting protocol as far as the judge itself needs it: frames and JSON headers."""

import json
import socket
import struct
import time

from .processes import Failed

ROUTE_OF_TOPIC = 105
CLUSTER_INFO = 106
ROUTE_SECONDS = 30


def frames(data):
    """Splits bytes into whole frames; returns them and the rest."""
    found = []
    at = 0
    while len(data) - at >= 4:
        end = at + 4 + struct.unpack_from(">i", data, at)[0]
        if end > len(data):
            break
        found.append(bytes(data[at:end]))
        at = end
    return found, bytes(data[at:])


def header_of(frame):
    """(codec, header bytes) of a whole frame."""
    word = struct.unpack_from(">I", frame, 4)[0]
    return word >> 24, frame[8:8 + (word & 0xFFFFFF)]


def body_of(frame):
    word = struct.unpack_from(">I", frame, 4)[0]
    return frame[8 + (word & 0xFFFFFF):]


def encode(header, body=b""):
    text = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack(">ii", 4 + len(text) + len(body), len(text)) + text + body


def ask(address, code, fields, body=b"", seconds=5):
    """One request over a connection of its own; returns (reply header, reply body)."""
    host, port = address.split(":")
    request = {"code": code, "language": "JAVA", "version": 479, "opaque": 1, "flag": 0, "extFields": fields}
    with socket.create_connection((host, int(port)), seconds) as connection:
        connection.sendall(encode(request, body))
        data = b""
        while True:
            got, _ = frames(data)
            if got:
                return json.loads(header_of(got[0])[1]), body_of(got[0])
            piece = connection.recv(65536)
            if not piece:
                raise Failed(f"{address} closed the connection on request {code}")
            data += piece


def await_brokers(namesrv, addresses):
    """Waits until brokers at all of these have registered."""
    deadline = time.monotonic() + ROUTE_SECONDS
    while True:
        _, body = ask(namesrv, CLUSTER_INFO, {})
        missing = [at for at in addresses if f'"{at}"'.encode() not in body]
        if not missing:
            return
        if time.monotonic() > deadline:
            raise Failed(f"name server {namesrv}: no brokers at {', '.join(missing)} within {ROUTE_SECONDS} s")
        time.sleep(0.05)


def await_route(namesrv, topic, brokers=1, address=None):
    """Waits until a topic is on so many brokers, one of them at `address`; returns the route."""
    deadline = time.monotonic() + ROUTE_SECONDS
    while True:
        reply, body = ask(namesrv, ROUTE_OF_TOPIC, {"topic": topic, "acceptStandardJsonOnly": "true"})
        if reply["code"] == 0:
            route = json.loads(body)
            found = [at for each in route["brokerDatas"] for at in each["brokerAddrs"].values()]
            if len(route["brokerDatas"]) >= brokers and (address is None or address in found):
                return route
        if time.monotonic() > deadline:
            at = f", one of them at {address}," if address else ""
            raise Failed(f"name server {namesrv}: no route of {topic} on {brokers} brokers{at} within {ROUTE_SECONDS} s")
        time.sleep(0.05)
