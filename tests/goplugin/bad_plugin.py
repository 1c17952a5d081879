"""A go-plugin program that does one thing wrong, in the clear: `python -I bad_plugin.py WHAT`.

Its HTTP/2 is h2's, so that it starts fast and can say what no gRPC library says.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from typing import TYPE_CHECKING

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived, StreamReset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REASON = "this is the reason"
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"
HEALTH, SHUTDOWN, STDIO, BROKER = "Check", "Shutdown", "StreamStdio", "StartStream"
HEADERS = [(":status", "200"), ("content-type", "application/grpc")]


def message(data: bytes) -> bytes:
    return b"\0" + len(data).to_bytes(4, "big") + data


def frame(kind: int, flags: int, stream: int, data: bytes) -> bytes:
    return len(data).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + data


class Plugin:
    """One connection of it, to its end."""

    def __init__(self, sock: socket.socket, what: str) -> None:
        self.sock = sock
        self.http = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.http.initiate_connection()
        self.wrong: dict[str, Callable[[int], object]] = WRONG[what](self)
        self.floods: dict[int, Iterator[bytes]] = {}

    def run(self) -> None:
        while True:
            self.flush()
            if not self.floods or select.select([self.sock], [], [], 0)[0]:
                data = self.sock.recv(1 << 16)
                if not data:
                    return
                for event in self.http.receive_data(data):
                    if isinstance(event, RequestReceived):
                        path = dict(event.headers or ())[":path"]
                        self.wrong.get(path.rpartition("/")[2], self.right(path))(event.stream_id or 0)
                    elif isinstance(event, StreamReset):
                        self.floods.pop(event.stream_id, None)
            for stream, pieces in self.floods.items():
                piece = next(pieces)
                while self.http.local_flow_control_window(stream) < len(piece):
                    self.flush()
                    self.http.receive_data(self.sock.recv(1 << 16))
                self.http.send_data(stream, piece)

    def flush(self) -> None:
        if data := self.http.data_to_send():
            self.sock.sendall(data)

    def right(self, path: str) -> Callable[[int], object]:
        """Returns what answers a call as it should be."""
        if path.endswith(HEALTH):
            return lambda stream: self.answer(stream, message(SERVING))
        if path.endswith(SHUTDOWN):
            return lambda stream: (self.answer(stream, message(b"")), self.flush(), os._exit(0))
        if path.endswith(BROKER):
            return lambda stream: self.http.send_headers(stream, HEADERS)
        return lambda stream: self.answer(stream, b"", status=12)

    def answer(self, stream: int, data: bytes, status: int = 0, note: str = "") -> None:
        self.http.send_headers(stream, HEADERS)
        self.http.send_data(stream, data)
        self.http.send_headers(stream, [("grpc-status", str(status)), ("grpc-message", note)], end_stream=True)

    def raw(self, stream: int, data: bytes) -> None:
        """Says what h2 would not."""
        self.flush()
        self.sock.sendall(data)

    def flood(self, stream: int, pieces: Iterator[bytes]) -> None:
        self.http.send_headers(stream, HEADERS)
        self.floods[stream] = pieces

    def die(self, stream: int) -> None:
        self.flush()
        print(REASON, file=sys.stderr, flush=True)
        os._exit(6)

    def begin_and_die(self, stream: int) -> None:
        self.http.send_headers(stream, HEADERS)
        self.http.send_data(stream, message(b"first"))
        self.die(stream)


def _forever(data: bytes) -> Iterator[bytes]:
    while True:
        yield data


def _slowly(data: bytes) -> Iterator[bytes]:
    while True:
        time.sleep(0.05)
        yield data


def _infos() -> Iterator[bytes]:
    """Yields places at which something is served, each under another number."""
    number = 0
    while True:
        number = number % 0x1F_FFFF + 1
        digits = bytes((number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, number >> 14))
        yield message(b"\x08" + digits + b"\x12\x04unix" + b"\x1a\x09/no/such/")


def _headers(self: Plugin) -> Callable[[int], object]:
    """Returns what sends headers without end."""

    def send(stream: int) -> None:
        self.raw(stream, frame(1, 0, stream, b"\x88"))
        while True:
            self.sock.sendall(frame(9, 0, stream, b"\x00\x01a\x7f\x81\x7e" + b"b" * 16_000))

    return send


def _nothing(stream: int) -> None:
    """Does not answer."""


Actions = dict[str, "Callable[[int], object]"]

WRONG: dict[str, Callable[[Plugin], Actions]] = {
    "": lambda self: {},
    "is-silent": lambda self: {HEALTH: _nothing},
    "dies": lambda self: {HEALTH: self.die},
    "serves-not": lambda self: {HEALTH: lambda stream: self.answer(stream, message(NOT_SERVING))},
    "refuses": lambda self: {HEALTH: lambda stream: self.answer(stream, b"", 16, "go away\x1b[2J" + "!" * 9_999)},
    "answers-nothing": lambda self: {HEALTH: lambda stream: self.answer(stream, b"")},
    "answers-nonsense": lambda self: {HEALTH: lambda stream: self.answer(stream, message(b"\xff" * 20))},
    "answers-text": lambda self: {
        HEALTH: lambda stream: self.http.send_headers(stream, [(":status", "200"), ("content-type", "text/html")])
    },
    "compresses": lambda self: {HEALTH: lambda stream: self.answer(stream, b"\1\0\0\0\2\x08\x01")},
    "promises-4-GB": lambda self: {
        HEALTH: lambda stream: (
            self.http.send_headers(stream, HEADERS),
            self.http.send_data(stream, b"\0\xff\xff\xff\xff"),
        )
    },
    "ends-within": lambda self: {HEALTH: lambda stream: self.answer(stream, b"\0\0\0\0\x09half")},
    "resets": lambda self: {HEALTH: lambda stream: self.http.reset_stream(stream, 2)},
    "goes-away": lambda self: {HEALTH: lambda stream: self.http.close_connection(2)},
    "floods-headers": lambda self: {HEALTH: _headers(self)},
    "floods-messages": lambda self: {HEALTH: lambda stream: self.flood(stream, _forever(message(SERVING) * 999))},
    "says-garbage": lambda self: {HEALTH: lambda stream: self.raw(stream, bytes(range(256)) * 999)},
    "frames-too-large": lambda self: {HEALTH: lambda stream: self.raw(stream, frame(0, 0, stream, bytes(1 << 20)))},
    "pushes": lambda self: {HEALTH: lambda stream: self.raw(stream, frame(5, 4, stream, b"\0\0\0\2\x82"))},
    # These have begun to serve.
    "speaks-a-later-http": lambda self: {STDIO: lambda stream: self.raw(stream, frame(0x42, 0, 0, b"what is new"))},
    "dies-in-a-call": lambda self: {"Call": self.die},
    "dies-in-a-stream": lambda self: {"Call": self.begin_and_die},
    "dies-at-shutdown": lambda self: {SHUTDOWN: self.die},
    "answers-no-call": lambda self: dict.fromkeys(("Call", STDIO, BROKER), _nothing),
    "stays": lambda self: {SHUTDOWN: _nothing},
    "floods-a-call": lambda self: {"Call": lambda stream: self.flood(stream, _forever(message(bytes(9_999))))},
    "floods-headers-in-a-call": lambda self: {"Call": _headers(self)},
    "floods-stdio": lambda self: {
        STDIO: lambda stream: self.flood(stream, _forever(message(b"\x08\x01\x12\x90\x4e" + b"%09999d\n" % 0))),
        SHUTDOWN: _nothing,
    },
    "prints-on-and-on": lambda self: {
        STDIO: lambda stream: self.flood(stream, _slowly(message(b"\x08\x01\x12\x02x\n"))),
        SHUTDOWN: _nothing,
    },
    "prints-nonsense": lambda self: {STDIO: lambda stream: self.answer(stream, message(b"\xff" * 20))},
    "floods-the-broker": lambda self: {BROKER: lambda stream: self.flood(stream, _infos())},
    "tells-nonsense": lambda self: {BROKER: lambda stream: self.answer(stream, message(b"\xff" * 20))},
}


def main(what: str) -> None:
    path = os.environ["PLUGIN_UNIX_SOCKET_DIR"] + "/s"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    print(f"1|1|unix|{path}|grpc|", flush=True)
    sock, _ = listener.accept()
    try:
        Plugin(sock, what).run()
    except Exception as exc:
        print(f"{type(exc).__name__}: {exc}", file=sys.stderr, flush=True)
    time.sleep(1000)


if __name__ == "__main__":
    main(sys.argv[1])
