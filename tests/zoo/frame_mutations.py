"""Frames of real calls and replies, mutated by a seeded chance, against what reads frames on both sides.

Run as `python frame_mutations.py COUNT`, in a process of its own, whose memory is looked at. It prints as JSON what came
out that has no code, and by how many MB the process grew.
"""

from __future__ import annotations

import asyncio
import datetime
import enum
import json
import random
import socket
import struct
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pluginhost.catalogue import CODES
from pluginhost.errors import PluginCallError
from pluginhost.isolation import frames
from pluginhost.isolation.arena import Arena
from pluginhost.isolation.awaiting import AsyncPool
from pluginhost.isolation.channel import Channel
from pluginhost.isolation.codec import Codec
from pluginhost.isolation.failures import Failure
from pluginhost.isolation.lines import Line, LinuxLine
from pluginhost.isolation.serving import answer_all
from pluginhost.isolation.system import Ends

from pluginapi import Plugin, Request, Response

if TYPE_CHECKING:
    from collections.abc import Generator

    from pluginhost.isolation.codec import Method
    from pluginhost.isolation.frames import Frame, Message

WARM = 2_000
"""After so many the process has what it needs."""
LIVE = 10
"""Of so many one goes over a channel, too."""
LARGEST = 150_000
"""Bytes of what goes over a channel: what a socket takes at once."""
LINES = ((Line, socket.SOCK_STREAM), (LinuxLine, socket.SOCK_STREAM), (LinuxLine, socket.SOCK_SEQPACKET))


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Tree:
    name: str
    size: float = 0.0
    born: datetime.datetime | None = None
    parts: list[Tree] = field(default_factory=list)


class Mixed(Plugin):
    @abstractmethod
    def greet(self, name: str) -> str: ...

    @abstractmethod
    def handle(self, request: Request) -> Response: ...

    @abstractmethod
    def grow(self, tree: Tree, *more: Tree, deep: bool = True) -> list[Tree]: ...

    @abstractmethod
    def count(self, to: int) -> Iterator[int]: ...

    @abstractmethod
    def anything(self, value: object) -> object: ...

    @abstractmethod
    def pick(self, colours: dict[Colour, set[int]], path: Path | None) -> tuple[complex, int | str, bytes]: ...


TREE = Tree("oak", 2.5, datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC), [Tree("leaf"), Tree("leaf", -1e300)])
CALLS = {
    "greet": [(("Ada ü",), "Hello " * 200), (("x" * 9000,), "")],
    "handle": [((Request("1", b"x" * 70_000),), Response(200, b"y" * 70_000)), ((Request("", b""),), Response(404, b"z"))],
    "grow": [((TREE, TREE), [TREE] * 3)],
    "count": [((5,), 7)],
    "anything": [(({"a": [1, [2, [3.5, None]], b"bytes", -(2**63)]},), [[[["deep"]]]] * 20)],
    "pick": [(({Colour.RED: {1, 2}, Colour.BLUE: set()}, Path("/tmp")), (1 + 2j, "text", b"w" * 100))],
}  # fmt: skip
PIECES = [
    *(b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdc\xff\xff"),
    *(b"\x91" * 70, b"\x81" * 70, b"\x91" * 60_000, b"\x81\xa1a" * 20_000, b"\xc1", b"\xa2\xff\xfe", b"\xca\x7f\xc0\0\0"),
    *(b"\xcf" + b"\xff" * 8, b"\xc7\x0c\xff" + b"\xff" * 12, b"\xd6\xff\0\0\0\0", b"\0" * 16, b"\xc0", b"\x80\x04N."),
    *(b"\xa3red", b"\xc9\xff\xff\xff\xff\xff", b"\xc4\xff", b"\xda\xff\xff"),
]  # fmt: skip
LENGTHS = (
    0,
    1,
    7,
    15,
    16,
    255,
    4096,
    65_535,
    65_536,
    65_537,
    1 << 20,
    16 << 20,
    (16 << 20) + 1,
    (1 << 31) - 1,
    (1 << 32) - 1,
)
HEAD = struct.Struct("<IIIHH")


def messages(codec: Codec) -> Iterator[tuple[Method, Message]]:
    """Yields what crosses of real calls: there, and back."""
    for name, calls in CALLS.items():
        method = codec.methods[name]
        for arguments, returned in calls:
            yield method, method.pack_call(arguments, {})
            yield method, method.result.pack(returned)
        yield method, Failure.of(ValueError(f"of {name}", 7)).pack()
        yield method, frames.EMPTY


def changed(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """Returns bytes after one change: flipped, cut, doubled, put in, or spliced with others."""
    start = chance.randrange(len(data) + 1)
    end = min(len(data), start + int(chance.paretovariate(0.7)))
    head, part, tail = data[:start], data[start:end], data[end:]
    changes: list[Callable[[], bytes]] = [
        lambda: head + bytes(byte ^ 1 << chance.randrange(8) for byte in part[:64]) + part[64:] + tail,
        lambda: head + tail,
        lambda: head + part * chance.choice((2, 3, 50)) + tail,
        lambda: head + chance.choice(PIECES) + part + tail,
        lambda: head + chance.choice(PIECES) + tail,
        lambda: head,
        lambda: head + other[chance.randrange(len(other) + 1) :],
        lambda: head + chance.randbytes(min(len(part), 64)) + tail,
    ]
    return chance.choice(changes)()[: 1 << 20]


def mutated(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """Returns a frame's bytes after a few changes: of all of it, of what is behind a head that stays true, or of its head."""
    way = chance.randrange(4)
    if way == 0:
        for _ in range(chance.choice((1, 1, 2, 8))):
            data = changed(data, other, chance)
        return data
    lengths = list(HEAD.unpack_from(data))
    meta, body = data[HEAD.size : HEAD.size + lengths[0]], data[HEAD.size + lengths[0] :]
    if way == 1:
        at = chance.randrange(5)
        lengths[at] = chance.choice(LENGTHS) & (0xFFFF if at > 2 else 0xFFFFFFFF)
        return HEAD.pack(*lengths) + meta + body
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        if meta or not body:
            meta = changed(meta, other, chance)[: frames.META_LIMIT]
        else:
            body = changed(body, other, chance)
    flags = lengths[4] if way == 2 else chance.randrange(32)
    return HEAD.pack(len(meta), len(body), lengths[2], lengths[3], flags) + meta + body


class Fuzz:
    """What is fuzzed.

    Attributes:
        uncoded: What came out that has no code.
        codes: How often each code was told; the empty one, that it was taken for a message.
    """

    def __init__(self) -> None:
        self.codec = Codec(Mixed)
        self.frames = [
            frames.encode(method.operation, 1, message.flags, message.meta, message.body)
            for method, message in messages(self.codec)
        ]
        self.loop = asyncio.new_event_loop()
        self.uncoded: list[str] = []
        self.codes: dict[str, int] = {}

    def run(self, numbers: range) -> None:
        for number in numbers:
            data = self.mutation(number)
            self.look(number, lambda data=data: self.read(data))
            if number % LIVE == 0 and len(data) < LARGEST:
                for line, kind in LINES:
                    self.look(number, lambda data=data, line=line, kind=kind: self.call(data, line, kind))
                    self.look(number, lambda data=data, line=line, kind=kind: self.serve(data, line, kind))
        # Apart: asyncio's objects have a `__del__`, which fails in a collection within what is nested too deeply.
        for number in numbers[::LIVE]:
            if len(data := self.mutation(number)) < LARGEST:
                self.look(number, lambda data=data: self.call_async(data))

    def mutation(self, number: int) -> bytes:
        chance = random.Random(number)
        return mutated(chance.choice(self.frames), chance.choice(self.frames), chance)

    def look(self, number: int, act: Callable[[], object]) -> None:
        code = ""
        try:
            act()
        except PluginCallError as exc:
            code = exc.finding.code
            if code not in CODES or "MemoryError" in exc.finding.message:
                self.uncoded.append(f"{number}: {exc}"[:500])
        except BaseException as exc:
            self.uncoded.append(f"{number}: {type(exc).__name__}: {exc}"[:500])
        self.codes[code] = self.codes.get(code, 0) + 1

    def read(self, data: bytes) -> None:
        """Reads what is a whole frame as either side does."""
        frame = frames.decode(data)
        if isinstance(frame, int):
            return
        if frame.flags & frames.FAILED:
            Failure.unpack(frame)
            return
        method = self.codec.operations.get(frame.operation) or self.codec.methods["anything"]
        try:
            method.unpack_call(frame)
        except PluginCallError:
            method.result.unpack(frame)
            raise
        method.result.unpack(frame)

    def call(self, data: bytes, line: type[Line], kind: socket.SocketKind) -> None:
        """Has a call answered by it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
        arena = Arena.make(frames.LIMIT) if line is LinuxLine else None
        channel = Channel(line(ours), arena, "the child")
        with theirs:
            theirs.sendall(data)
            theirs.shutdown(socket.SHUT_WR)
            method = self.codec.operations.get(HEAD.unpack_from(data)[3] if len(data) >= HEAD.size else 0)
            method = method or self.codec.methods["greet"]
            try:
                frame = channel.call(method.operation, frames.EMPTY, 10.0)
                (Failure if frame.flags & frames.FAILED else method.result).unpack(frame)
            finally:
                channel.close()

    def call_async(self, data: bytes) -> None:
        """Has an awaited call answered by it."""
        ours, theirs = socket.socketpair()
        pool = AsyncPool(lambda timeout: Ends(LinuxLine(ours), Arena.make(frames.LIMIT)), "the child")
        with theirs:
            theirs.sendall(data)
            theirs.shutdown(socket.SHUT_WR)
            method = self.codec.methods["greet"]
            try:
                frame = self.loop.run_until_complete(pool.call(method.operation, frames.EMPTY, 10.0))
                (Failure if frame.flags & frames.FAILED else method.result).unpack(frame)
            finally:
                pool.end("it was ended")

    def serve(self, data: bytes, line: type[Line], kind: socket.SocketKind) -> None:
        """Has it answered, twice over."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
        arena = Arena.make(frames.LIMIT) if line is LinuxLine else None
        told: list[PluginCallError] = []
        with theirs:
            theirs.sendall(data)
            theirs.shutdown(socket.SHUT_WR)
            answer_all(Channel(line(ours), arena, "the host"), self.answer, tell=told.append)
        if told:
            raise told[0]

    def answer(self, frame: Frame, channel: Channel) -> Message | Generator[Message, None, None]:
        method = self.codec.operations.get(frame.operation)
        if method is None:
            raise frames.malformed("no such operation")
        method.unpack_call(frame)
        return method.packed(range(3)) if method.is_stream else frames.EMPTY


def memory(what: str) -> int:
    """Returns the bytes of memory that this process has (`VmRSS`), or had at most (`VmHWM`)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:")) * 1024


def main(count: str) -> None:
    fuzz = Fuzz()
    fuzz.run(range(-WARM, 0))
    before = memory("VmRSS")
    fuzz.run(range(int(count)))
    fuzz.loop.run_until_complete(fuzz.loop.shutdown_default_executor())
    fuzz.loop.close()
    print(json.dumps({"uncoded": fuzz.uncoded[:10], "codes": fuzz.codes, "grown": (memory("VmHWM") - before) / 1e6}))


if __name__ == "__main__":
    main(*sys.argv[1:])
