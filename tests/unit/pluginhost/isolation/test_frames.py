from __future__ import annotations

import os
import random
import socket
import struct
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pluginhost.catalogue import CODES
from pluginhost.errors import PluginCallError
from pluginhost.isolation import frames
from pluginhost.isolation.arena import Arena
from pluginhost.isolation.channel import Channel
from pluginhost.isolation.codec import Codec
from pluginhost.isolation.failures import Failure
from pluginhost.isolation.frames import APART, CALLS, FAILED, HEAD, IN_ARENA, LARGE, LIMIT, META_LIMIT, Frame, Message
from pluginhost.isolation.lines import Line, LinuxLine

from pluginapi import Plugin, Request, Response

FRAMES = int(os.environ.get("PLUGINHOST_FRAMES", "20000"))
"""How many mutated frames are read; each is read by a host, a child and one without an arena in turn."""
GROWTH = 64 << 20

numbers = st.integers(0, 0xFFFF)


@given(numbers, st.integers(0, 2**32 - 1), st.integers(0, 15), st.binary(max_size=200), st.binary(max_size=200))
def test_a_frame_arrives_as_it_was(operation: int, sequence: int, flags: int, meta: bytes, body: bytes) -> None:
    data = frames.encode(operation, sequence, flags, meta, body)
    frame = frames.decode(data)
    assert isinstance(frame, Frame)
    assert (frame.operation, frame.sequence, frame.flags) == (operation, sequence, flags)
    assert (frame.meta, frame.body) == (meta, body)


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_a_part_of_a_frame_says_how_much_is_missing_or_less(meta: bytes, body: bytes) -> None:
    data = frames.encode(CALLS, 1, 0, meta, body)
    for end in range(len(data)):
        missing = frames.decode(data[:end])
        assert isinstance(missing, int)
        assert 0 < missing <= len(data) - end


def test_a_body_in_an_arena_is_left_out() -> None:
    data = frames.encode(CALLS, 1, IN_ARENA, b"meta", b"x" * 100_000)
    assert len(data) == HEAD + 4
    assert frames.body_length(data) == 100_000
    frame = frames.decode(data)
    assert isinstance(frame, Frame)
    assert (frame.meta, frame.body) == (b"meta", b"")


@pytest.mark.parametrize("lengths", [(0xFFFFFFFF, 0), (0, 0xFFFFFFFF), (META_LIMIT + 1, 0), (0, LIMIT + 1)])
@pytest.mark.parametrize("flags", [0, IN_ARENA])
def test_a_length_beyond_the_bounds_is_refused_from_the_head(lengths: tuple[int, int], flags: int) -> None:
    with pytest.raises(PluginCallError) as raised:
        frames.decode(struct.pack("<IIIHH", *lengths, 1, CALLS, flags))
    assert raised.value.finding.code == "frame-too-large"


def test_what_is_too_large_is_not_encoded() -> None:
    with pytest.raises(PluginCallError, match="16,777,217 bytes"):
        frames.encode(CALLS, 1, 0, b"", bytes(LIMIT + 1))


def test_a_frame_whose_whole_meta_is_beyond_the_bounds_is_refused() -> None:
    meta = bytes(META_LIMIT + 1)
    with pytest.raises(PluginCallError) as raised:
        frames.decode(struct.pack("<IIIHH", len(meta), 0, 1, CALLS, 0) + meta)
    assert raised.value.finding.code == "frame-too-large"


@pytest.mark.parametrize("change", ["doubled", "flags"])
def test_what_is_no_frame_is_malformed(change: str) -> None:
    data = frames.encode(CALLS, 1, 0, b"meta", b"body")
    data = data * 2 if change == "doubled" else frames.encode(CALLS, 1, 32, b"meta", b"body")
    with pytest.raises(PluginCallError) as raised:
        frames.decode(data)
    assert raised.value.finding.code == "frame-malformed"


class Many(Plugin):
    """Has a method for each way in which something is decoded."""

    @abstractmethod
    def text(self, text: str) -> str: ...

    @abstractmethod
    def handle(self, request: Request) -> Response: ...

    @abstractmethod
    def anything(self, value: Any) -> Any: ...

    @abstractmethod
    def numbers(self, values: list[float], names: dict[str, int] | None = None) -> dict[str, list[float]]: ...

    @abstractmethod
    def either(self, value: Request | Response) -> Request | Response: ...


CODEC = Codec(Many)


def samples() -> list[tuple[int, Message]]:
    """Returns messages of all kinds, calls and replies, with their operations."""
    methods = CODEC.methods
    calls: list[tuple[str, tuple[object, ...]]] = [
        ("text", ("Ada",)),
        ("text", ("ü" * 300,)),
        ("text", ("x" * LARGE,)),
        ("handle", (Request("1", b"body"),)),
        ("handle", (Request("1", b"x" * APART),)),
        ("anything", ([1, [2.5, {"a": [None, True]}], "x" * 40, b"y"],)),
        ("numbers", ([1.5, 2, 3.25e300] * 30, {"a": 2**60})),
        ("either", (Response(200, b"z"),)),
    ]
    made = [(methods[name].operation, methods[name].pack_call(arguments, {})) for name, arguments in calls]
    made += [(methods["numbers"].operation, methods["numbers"].result.pack({"a": [1.0, 2.0]}))]
    made += [(methods["handle"].operation, methods["handle"].result.pack(Response(200, b"x" * APART)))]
    made += [(methods["text"].operation, Failure.of(ValueError("no", 3)).pack())]
    return made


PIECES = [
    *(bytes([byte]) for byte in (0, 1, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xC0, 0xC1, 0xC4, 0xC6, 0xC7, 0xD9, 0xDB, 0xFF)),
    *(b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"),
    *(b"\xdd\x00\xff\xff\xff", b"\xc9\x7f\xff\xff\xff\x01", b"\xd6\xff\x00\x00\x00\x00", b"\xcb\x7f\xf8" + bytes(6)),
    *(b"\x91" * 63, b"\x91" * 65, b"\x91" * 5000, b"\x81\xa1a" * 2000, b"\xed\xa0\x80", b"\xdd\x00\x0f\xff\xff" * 9),
]


def mutated(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """Returns a frame's bytes after a few changes."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        # Half of the changes are where lengths and numbers are.
        start = chance.randrange(HEAD + 4) if chance.random() < 0.5 else chance.randrange(len(data) + 1)
        end = min(len(data), start + int(chance.paretovariate(0.7)))
        head, part, tail = data[:start], data[start:end], data[end:]
        changes: list[Callable[[], bytes]] = [
            lambda head=head, part=part, tail=tail: (
                head + bytes(byte ^ 1 << chance.randrange(8) for byte in part) + tail
            ),
            lambda head=head, tail=tail: head + tail,
            lambda head=head, part=part, tail=tail: head + part * chance.choice((2, 3, 50)) + tail,
            lambda head=head, part=part, tail=tail: head + chance.choice(PIECES) + part + tail,
            lambda head=head, tail=tail: head + chance.choice(PIECES) + tail,
            lambda head=head: head,
            lambda head=head: head + other[chance.randrange(len(other) + 1) :],
            lambda head=head, part=part, tail=tail: head + chance.randbytes(len(part)) + tail,
            lambda data=data: data + other,
            lambda data=data: relabelled(data, chance),
        ]
        data = chance.choice(changes)()[: 1 << 17]
    return data


def relabelled(data: bytes, chance: random.Random) -> bytes:
    """Returns a frame whose lengths are right, with another meta, so that it is the decoders who must refuse it."""
    meta = bytearray(data[HEAD:] or b"\xc0")
    for _ in range(chance.choice((1, 2, 5))):
        start = chance.randrange(len(meta) + 1)
        meta[start : start + chance.randrange(3)] = chance.choice(PIECES)
    operation, flags = chance.choice((*CODEC.operations, 1, 2, 3)), chance.choice((0, 0, 0, 0, 1, 2, 3, 4, 8))
    parts = (b"", bytes(meta)) if flags & 2 else (bytes(meta), b"b" if flags & 1 else b"")
    return frames.encode(operation, 1, flags, parts[0][:META_LIMIT], parts[1])


class Kept(Arena):
    """An arena that outlives its channels."""

    def close(self) -> None:
        pass


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Returns the most memory that this process has had since the peak was forgotten."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) << 10


def test_mutated_frames_end_in_a_code_and_take_no_memory() -> None:
    sound = [frames.encode(operation, 1, each.flags, each.meta, each.body) for operation, each in samples()]
    arena = Kept.make(LIMIT)
    told: dict[str, int] = {}
    forget_peak()
    before = peak()
    for seed in range(FRAMES):
        chance = random.Random(seed)
        data = mutated(chance.choice(sound), chance.choice(sound), chance)
        try:
            read(data, seed % 3, arena)
            code = "sound"
        except PluginCallError as exc:
            code = exc.finding.code
            assert code in CODES, seed
        except BaseException as exc:
            raise AssertionError(f"mutation {seed}") from exc
        told[code] = told.get(code, 0) + 1
    Arena.close(arena)
    assert {"frame-malformed", "frame-too-large", "channel-lost", "arguments-wrong", "reply-wrong"} <= set(told), told
    assert peak() - before < GROWTH


def read(data: bytes, who: int, arena: Arena) -> None:
    """Reads a frame as a child does, or as a host does, with an arena or without."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        channel = Channel(Line(ours) if who == 2 else LinuxLine(ours), None if who == 2 else arena, "the other side")
        if who == 0:
            frame = channel.listen()
            if frame and frame.operation in CODEC.operations:
                CODEC.operations[frame.operation].unpack_call(frame)
            return
        operation = int.from_bytes(data[12:14], "little")
        frame = channel.call(operation, Message(0, b"\xc0", b""), 60.0)
        if frame.flags & FAILED:
            Failure.unpack(frame)
        elif frame.operation in CODEC.operations:
            CODEC.operations[frame.operation].result.unpack(frame)
