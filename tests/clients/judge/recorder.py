"""A TCP proxy that keeps what clients and the real broker say to each other.

The broker binds 127.0.0.1 and advertises 127.0.0.2; the proxy listens there
on the same ports. So routes and message ids lead to the proxy, and no byte is
rewritten.
"""

import json
import socket
import struct
import threading

from . import wire

RESPONSE = 1
FRAME_BYTES_MAX = 5_000
REPLY_BYTES_MAX = 20_000
ALIKE_MAX = 2
# Of larger frames one is enough.
LARGE_BYTES = 600

# File name part → request codes. What is in none of them goes to "other".
KINDS = {
    "send": {10, 310, 320},
    "pull": {11, 361},
    "offsets": {14, 15, 29, 30, 31, 32, 33},
    "group": {34, 35, 38, 40},
}


class Header:
    """What recording needs of a header, of either codec."""

    def __init__(self, frame):
        codec, data = wire.header_of(frame)
        self.codec = codec
        if codec == 0:
            fields = json.loads(data)
            self.code = fields["code"]
            self.opaque = fields["opaque"]
            self.flag = fields.get("flag", 0)
            self.ext = {key: str(value) for key, value in (fields.get("extFields") or {}).items()}
        else:
            self.code, _, _, self.opaque, self.flag, remark = struct.unpack_from(">hbhiii", data)
            self.ext = dict(_binary_map(data[21 + remark:]))


def _binary_map(data):
    at = 0
    while at < len(data):
        key_len = struct.unpack_from(">h", data, at)[0]
        key = data[at + 2:at + 2 + key_len].decode()
        at += 2 + key_len
        value_len = struct.unpack_from(">i", data, at)[0]
        yield key, data[at + 4:at + 4 + value_len].decode()
        at += 4 + value_len


class Recording:
    """Requests per kind, at most two of a shape, and the replies to them.

    A further request is kept when its reply has a shape not seen so far, and a
    large reply is left out when there is one of its shape already.
    """

    def __init__(self, codes=None):
        self.requests = {}
        self.replies = {}
        self._codes = codes
        self._alike = {}
        self._unanswered = {}
        self._lock = threading.Lock()

    def sent(self, connection, at_namesrv, frame):
        """A frame from the client."""
        header = Header(frame)
        if header.flag & RESPONSE or len(frame) > FRAME_BYTES_MAX:
            return
        if self._codes and header.code not in self._codes:
            return
        kind = "namesrv" if at_namesrv else _kind(header.code)
        # One shape: the same fields, the same flags, with or without a body.
        shape = (header.codec, header.code, header.flag, at_namesrv, tuple(sorted(header.ext)),
                 header.ext.get("sysFlag", header.ext.get("f")), bool(wire.body_of(frame)))
        with self._lock:
            kept = self._is_new(shape, frame)
            if kept:
                self.requests.setdefault(kind, []).append(frame)
            self._unanswered[(connection, header.opaque)] = (header.code, kind, frame, kept)

    def answered(self, connection, frame):
        """A frame from the server."""
        header = Header(frame)
        if len(frame) > REPLY_BYTES_MAX:
            return
        with self._lock:
            if not header.flag & RESPONSE:
                if self._codes is None and self._is_new((header.code, "from the broker"), frame):
                    self.replies.setdefault(_kind(header.code), []).append(frame)
                return
            code, kind, request, kept = self._unanswered.pop((connection, header.opaque), (0, None, b"", False))
            if kind is None:
                return
            shape = (code, header.code, tuple(sorted(header.ext)), bool(wire.body_of(frame)))
            if self._is_new(shape, frame) or kept and len(frame) <= LARGE_BYTES:
                self.replies.setdefault(kind, []).append(frame)
                if not kept:
                    self.requests.setdefault(kind, []).append(request)

    def _is_new(self, shape, frame):
        count = self._alike.get(shape, 0)
        self._alike[shape] = count + 1
        return count < (1 if len(frame) > LARGE_BYTES else ALIKE_MAX)


def _kind(code):
    return next((kind for kind, codes in KINDS.items() if code in codes), "other")


class Proxy:
    """Listens on 127.0.0.2:PORT, forwards to 127.0.0.1:PORT, tells the recording."""

    def __init__(self, port, at_namesrv):
        self.recording = None
        self._port = port
        self._at_namesrv = at_namesrv
        self._listener = socket.create_server(("127.0.0.2", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._port))
            except OSError:
                client.close()
                continue
            # The pair's identity, whichever of its sockets closes first.
            connection = object()
            threading.Thread(target=self._forward, args=(client, server, connection, True), daemon=True).start()
            threading.Thread(target=self._forward, args=(server, client, connection, False), daemon=True).start()

    def _forward(self, source, target, connection, from_client):
        rest = b""
        try:
            while piece := source.recv(1 << 20):
                got, rest = wire.frames(rest + piece)
                for frame in got:
                    recording = self.recording
                    if recording and from_client:
                        recording.sent(connection, self._at_namesrv, frame)
                    elif recording:
                        recording.answered(connection, frame)
                target.sendall(piece)
        except OSError:
            pass
        for each in (source, target):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self._listener.close()
