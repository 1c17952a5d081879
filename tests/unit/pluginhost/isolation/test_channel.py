from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from comparing import same
from pluginhost.errors import PluginCallError
from pluginhost.isolation import frames
from pluginhost.isolation.arena import Arena
from pluginhost.isolation.channel import Channel
from pluginhost.isolation.frames import CALLS, EMPTY, HEAD, IN_ARENA, LARGE, LIMIT, META_LIMIT, Frame, Message
from pluginhost.isolation.lines import Line, LinuxLine
from waiting import until

LINES = {
    "linux": (LinuxLine, socket.SOCK_STREAM),
    "linux, packets": (LinuxLine, socket.SOCK_SEQPACKET),
    "portable": (Line, socket.SOCK_STREAM),
}
STREAMS = pytest.mark.parametrize("line", ["linux", "portable"], indirect=True)
OPERATION = CALLS + 3
REPLY = frames.encode(OPERATION, 1, 0, b"a reply", b"its body")


@pytest.fixture(params=LINES)
def line(request: pytest.FixtureRequest) -> tuple[type[Line], socket.SocketKind]:
    return LINES[request.param]


@pytest.fixture
def kind(line: tuple[type[Line], socket.SocketKind]) -> type[Line]:
    return line[0]


@pytest.fixture
def pair(line: tuple[type[Line], socket.SocketKind]) -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, line[1])
    with ours, theirs:
        yield ours, theirs


Pair = tuple[socket.socket, socket.socket]


@contextmanager
def doing(deed: Callable[[], object]) -> Iterator[None]:
    """Has something done beside the test; it must be done then, and not have failed."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            deed()
        except BaseException as exc:
            failed.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join(60)
    assert not thread.is_alive()
    assert not failed, failed


def unread(sock: socket.socket) -> int:
    """Returns how many bytes wait at an end of a socket."""
    return int(struct.unpack("i", fcntl.ioctl(sock, termios.FIONREAD, bytes(4)))[0])


def filled(sock: socket.socket) -> int:
    """Sends as many bytes as a socket takes, and returns how many these are."""
    sock.setblocking(False)
    number = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            number += sock.send(bytes(1000))
    sock.setblocking(True)
    return number


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(PluginCallError) as raised:
        call()
    return raised.value.finding.code


def test_a_frame_in_two_parts_arrives_whole_wherever_it_is_parted(kind: type[Line], pair: Pair) -> None:
    ours, theirs = pair
    channel = Channel(kind(ours), None, "the child")
    replies = [frames.encode(OPERATION, number, 0, b"a reply", b"its body") for number in range(1, len(REPLY))]

    def answer() -> None:
        for cut, reply in enumerate(replies, 1):
            theirs.recv(100)
            theirs.sendall(reply[:cut])
            until(lambda: unread(ours) == 0)
            theirs.sendall(reply[cut:])

    with doing(answer):
        for _ in replies:
            frame = channel.call(OPERATION, EMPTY, 60.0)
            assert (frame.meta, frame.body) == (b"a reply", b"its body")


@pytest.mark.parametrize("cut", range(len(REPLY)))
def test_a_channel_that_is_closed_within_a_frame_is_lost(cut: int, kind: type[Line], pair: Pair) -> None:
    ours, theirs = pair
    theirs.sendall(REPLY[:cut])
    theirs.shutdown(socket.SHUT_WR)
    channel = Channel(kind(ours), None, "the child")
    assert code_of(lambda: channel.call(OPERATION, EMPTY, 60.0)) == "channel-lost"
    assert not channel.is_open


@pytest.mark.parametrize("cut", range(len(REPLY)))
def test_a_child_sees_the_end_of_a_channel_closed_within_a_frame(cut: int, kind: type[Line], pair: Pair) -> None:
    ours, theirs = pair
    theirs.sendall(REPLY[:cut])
    theirs.close()
    channel = Channel(kind(ours), None, "the host")
    assert channel.listen() is None
    assert not channel.is_open


def test_a_peer_that_resets_the_channel_is_lost(kind: type[Line], pair: Pair) -> None:
    ours, theirs = pair
    ours.send(b"unread")
    theirs.close()
    channel = Channel(kind(ours), None, "the child")
    assert code_of(lambda: channel.call(OPERATION, EMPTY)) == "channel-lost"


def test_a_peer_that_is_gone_is_lost_and_sends_no_signal(kind: type[Line], pair: Pair) -> None:
    ours, theirs = pair
    theirs.close()
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        assert code_of(lambda: Channel(kind(ours), None, "the child").call(OPERATION, EMPTY)) == "channel-lost"
    finally:
        signal.signal(signal.SIGPIPE, before)


@pytest.mark.parametrize(
    "reply",
    [
        frames.encode(OPERATION, 0, 0, b"", b""),
        frames.encode(OPERATION, 2, 0, b"", b""),
        frames.encode(OPERATION + 1, 1, 0, b"", b""),
        REPLY * 2,
        REPLY + b"\0",
        frames.encode(OPERATION, 1, 64, b"", b""),
        frames.encode(OPERATION, 1, IN_ARENA, b"", b"body"),
    ],
    ids=["stale", "ahead", "of another operation", "doubled", "a byte more", "unknown flags", "no arena"],
)
def test_a_reply_that_is_not_the_calls_is_malformed(reply: bytes, kind: type[Line], pair: Pair) -> None:
    ours, theirs = pair
    theirs.sendall(reply)
    channel = Channel(kind(ours), None, "the child")
    assert code_of(lambda: channel.call(OPERATION, EMPTY, 60.0)) == "frame-malformed"
    assert not channel.is_open


def test_a_reply_that_comes_again_is_not_taken_for_the_next(kind: type[Line], pair: Pair) -> None:
    ours, theirs = pair
    channel = Channel(kind(ours), None, "the child")
    theirs.sendall(REPLY)
    channel.call(OPERATION, EMPTY, 60.0)
    theirs.sendall(REPLY)
    assert code_of(lambda: channel.call(OPERATION, EMPTY, 60.0)) == "frame-malformed"


def test_a_call_that_comes_again_is_not_answered(kind: type[Line], pair: Pair) -> None:
    ours, theirs = pair
    channel = Channel(kind(ours), None, "the host")
    theirs.sendall(REPLY)
    assert channel.listen()
    theirs.sendall(REPLY)
    assert code_of(channel.listen) == "frame-malformed"


@pytest.mark.parametrize("lengths", [(0xFFFFFFFF, 0), (0, 0xFFFFFFFF), (META_LIMIT + 1, 0), (0, LIMIT + 1)])
def test_an_announced_length_beyond_the_bounds_ends_the_channel_at_once(
    lengths: tuple[int, int], kind: type[Line], pair: Pair
) -> None:
    ours, theirs = pair
    theirs.sendall(struct.pack("<IIIHH", *lengths, 1, OPERATION, 0))
    channel = Channel(kind(ours), None, "the child")
    assert code_of(lambda: channel.call(OPERATION, EMPTY)) == "frame-too-large"
    assert not channel.is_open


def test_what_is_too_large_is_not_sent_and_the_channel_goes_on(kind: type[Line], pair: Pair) -> None:
    ours, theirs = pair
    channel = Channel(kind(ours), None, "the child")
    theirs.sendall(REPLY)
    assert code_of(lambda: channel.call(OPERATION, Message(0, b"", bytes(LIMIT + 1)))) == "frame-too-large"
    assert channel.call(OPERATION, EMPTY).meta == b"a reply"


def test_a_call_is_given_up_when_its_time_is_over(kind: type[Line], pair: Pair) -> None:
    ours, theirs = pair
    channel = Channel(kind(ours), None, "the child")
    assert code_of(lambda: channel.call(OPERATION, EMPTY, 0.01)) == "call-timeout"
    assert not channel.is_open
    theirs.recv(HEAD)
    with pytest.raises(BrokenPipeError):
        theirs.sendall(REPLY)
    assert code_of(lambda: channel.call(OPERATION, EMPTY, 0.01)) == "channel-lost"


@pytest.mark.parametrize("timeout", [0.0, -1.0])
def test_no_time_is_not_for_ever(timeout: float, kind: type[Line], pair: Pair) -> None:
    channel = Channel(kind(pair[0]), None, "the child")
    assert code_of(lambda: channel.call(OPERATION, EMPTY, timeout)) == "call-timeout"


@STREAMS
def test_a_peer_that_takes_nothing_costs_no_more_than_the_calls_time(kind: type[Line], pair: Pair) -> None:
    channel = Channel(kind(pair[0]), None, "the child")
    assert code_of(lambda: channel.call(OPERATION, Message(0, b"", bytes(LIMIT)), 0.05)) == "call-timeout"


def test_a_call_waits_until_its_peer_takes_it_and_no_longer_than_its_time(kind: type[Line], pair: Pair) -> None:
    ours, theirs = pair
    channel, missing = Channel(kind(ours), None, "the child"), filled(ours)

    def answer() -> None:
        nonlocal missing
        while missing:
            missing -= len(theirs.recv(missing))
        assert theirs.recv(HEAD) == frames.encode(OPERATION, 1, 0, b"", b"")
        theirs.sendall(frames.encode(OPERATION, 1, 0, b"a reply", b""))

    with doing(answer):
        assert channel.call(OPERATION, EMPTY, 60.0).meta == b"a reply"
    filled(ours)
    assert code_of(lambda: channel.call(OPERATION, EMPTY, 0.05)) == "call-timeout"


def test_a_reply_that_drips_costs_no_more_than_the_calls_time(kind: type[Line], pair: Pair) -> None:
    ours, theirs = pair
    channel = Channel(kind(ours), None, "the child")
    reply = frames.encode(OPERATION, 1, 0, bytes(META_LIMIT), b"")
    is_over = threading.Event()

    def drip() -> None:
        for byte in reply:
            if is_over.wait(0.002):
                return
            with contextlib.suppress(BrokenPipeError):  # it is over
                theirs.send(bytes([byte]))

    with doing(drip):
        assert code_of(lambda: channel.call(OPERATION, EMPTY, 0.1)) == "call-timeout"
        is_over.set()


@STREAMS
def test_a_large_body_goes_in_as_many_parts_as_it_takes(kind: type[Line], pair: Pair) -> None:
    ours, theirs = pair
    host, child = Channel(kind(ours), None, "the child"), Channel(kind(theirs), None, "the host")
    body = bytes(range(256)) * (LIMIT // 256)

    def echo() -> None:
        frame = child.listen()
        assert frame
        child.answer(frame, Message(0, frame.meta, frame.body))

    with doing(echo):
        same(host.call(OPERATION, Message(0, b"meta", body), 60.0).body, body)


def test_signals_do_not_disturb_a_call(kind: type[Line], pair: Pair) -> None:
    ours, theirs = pair
    channel = Channel(kind(ours), None, "the child")
    seen = []
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(None))

    def answer() -> None:
        until(lambda: len(seen) > 3)
        theirs.sendall(REPLY[:20])
        until(lambda: len(seen) > 6)
        theirs.sendall(REPLY[20:])

    try:
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
        with doing(answer):
            assert channel.call(OPERATION, EMPTY, 60.0).meta == b"a reply"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_an_interrupted_call_ends_its_channel(kind: type[Line], pair: Pair) -> None:
    class Interrupted(BaseException):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    def strike() -> None:
        pair[1].recv(HEAD)  # from here on whoever calls is within the call, which nobody answers
        time.sleep(0.01)  # so that it mostly waits by then
        os.kill(os.getpid(), signal.SIGALRM)

    channel = Channel(kind(pair[0]), None, "the child")
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with doing(strike), pytest.raises(Interrupted):
            channel.call(OPERATION, EMPTY, 60.0)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not channel.is_open


def test_another_thread_may_cut_a_call_off(kind: type[Line], pair: Pair) -> None:
    ours, theirs = pair
    channel = Channel(kind(ours), None, "the child")

    def cut() -> None:
        theirs.recv(100)
        channel.cut()

    with doing(cut):
        assert code_of(lambda: channel.call(OPERATION, EMPTY)) == "channel-lost"


def test_the_kernel_is_told_a_timeout_only_when_it_changes(pair: Pair) -> None:
    told = []

    class Counting(socket.socket):
        def setsockopt(self, *arguments: object) -> None:  # type: ignore[override]
            told.append(arguments[1])
            super().setsockopt(*arguments)  # type: ignore[call-overload]

    ours, theirs = pair
    channel = Channel(LinuxLine(Counting(fileno=os.dup(ours.fileno()))), None, "the child")
    for number, timeout in enumerate([None, None, 5.0, 5.0, 5.0, 6.0, None, None], 1):
        theirs.sendall(frames.encode(OPERATION, number, 0, b"", b""))
        channel.call(OPERATION, EMPTY, timeout)
    channel.close()
    assert told == [socket.SO_RCVTIMEO] * 3


def test_descriptors_that_a_child_sends_are_dropped(kind: type[Line], pair: Pair) -> None:
    ours, theirs = pair
    channel = Channel(kind(ours), None, "the child")
    number = len(os.listdir("/proc/self/fd"))
    socket.send_fds(theirs, [REPLY], [0] * 200)
    assert channel.call(OPERATION, EMPTY, 60.0).meta == b"a reply"
    assert len(os.listdir("/proc/self/fd")) < number + 100  # other tests run beside


def test_a_body_goes_through_the_arena(pair: Pair) -> None:
    ours, theirs = pair
    arena = Arena.make(LIMIT)
    host = Channel(LinuxLine(ours), arena, "the child")
    child = Channel(LinuxLine(theirs), Arena(os.dup(arena.fd), LIMIT), "the host")

    def echo() -> None:
        for size in (LARGE, LIMIT, 1):
            until(lambda: unread(theirs) > 0)
            assert unread(theirs) == HEAD + 4
            frame = child.listen()
            assert frame
            assert len(frame.body) == size
            child.answer(frame, Message(0, frame.meta, frame.body[::-1]))

    with doing(echo):
        for size in (LARGE, LIMIT, 1):
            body = b"x" + bytes(size - 1)
            frame = host.call(OPERATION, Message(0, b"meta", body), 60.0)
            assert (frame.flags, frame.body[-1:], len(frame.body)) == (0, b"x", size)
    host.close()
    host.close()
    child.close()


def test_an_arena_cannot_be_made_smaller() -> None:
    arena = Arena.make(LIMIT)
    for size in (0, LIMIT * 2):
        with pytest.raises(PermissionError):
            os.ftruncate(arena.fd, size)
    arena.close()


def test_a_body_said_to_be_in_a_smaller_arena_is_malformed(pair: Pair) -> None:
    ours, theirs = pair
    theirs.sendall(struct.pack("<IIIHH", 0, 4097, 1, OPERATION, IN_ARENA))
    channel = Channel(LinuxLine(ours), Arena.make(4096), "the child")
    assert code_of(lambda: channel.call(OPERATION, EMPTY, 60.0)) == "frame-malformed"


@STREAMS
def test_what_is_told_may_queue(kind: type[Line], pair: Pair) -> None:
    ours, theirs = pair
    host, child = Channel(kind(ours), None, "the child"), Channel(kind(theirs), None, "the host", HEAD)
    for number in range(5):
        host.tell(OPERATION, Message(0, bytes(number), b""))
    for number in range(5):
        frame = child.listen()
        assert frame
        assert frame.meta == bytes(number)


def test_sequence_numbers_begin_again(kind: type[Line], pair: Pair) -> None:
    ours, theirs = pair
    host, child = Channel(kind(ours), None, "the child"), Channel(kind(theirs), None, "the host")
    host._sequence = child._sequence = 2**32 - 2

    def echo() -> None:
        for _ in range(3):
            frame = child.listen()
            assert frame
            child.answer(frame, EMPTY)

    with doing(echo):
        sequences = [host.call(OPERATION, EMPTY, 60.0).sequence for _ in range(3)]
    assert sequences == [2**32 - 1, 0, 1]


def test_a_frame_is_plain() -> None:
    assert repr(Frame(1, 2, 3, b"", b"")).startswith("Frame(operation=1")


def test_nothing_is_told_over_a_channel_that_is_closed(kind: type[Line], pair: Pair) -> None:
    """Once the other side is gone, it is gone each time."""
    channel = Channel(kind(pair[0]), None, "the child")
    channel.close()
    for _ in range(2):
        with pytest.raises(PluginCallError) as raised:
            channel.tell(OPERATION, EMPTY)
        assert raised.value.finding.code == "channel-lost"
