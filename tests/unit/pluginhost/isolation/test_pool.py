from __future__ import annotations

import gc
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from answering import ECHO, RAISE, STREAM, WAIT, Answering
from pluginhost.errors import PluginCallError
from pluginhost.isolation.channel import Channel
from pluginhost.isolation.frames import EMPTY, FAILED, NEXT, PING, Message
from pluginhost.isolation.lines import LinuxLine
from pluginhost.isolation.pool import Pool
from pluginhost.isolation.serving import answer_all
from waiting import until


class Child(Answering):
    """What a child does, on threads of this process.

    Attributes:
        channels: How many were opened.
    """

    def __init__(self) -> None:
        super().__init__()
        self.channels = 0

    def open(self, timeout: float | None) -> Channel:
        ours, theirs = socket.socketpair()
        self.channels += 1
        served = Channel(LinuxLine(theirs), None, "the host")
        threading.Thread(target=answer_all, args=(served, self.answer), daemon=True).start()
        return Channel(LinuxLine(ours), None, "the child")


@pytest.fixture
def child() -> Iterator[Child]:
    child = Child()
    yield child
    child.may_go_on.set()


@pytest.fixture
def pool(child: Child) -> Iterator[Pool]:
    pool = Pool(child.open, "the child", most=3)
    yield pool
    pool.end("the test is over")
    assert not pool._all
    assert not pool._number


def said(text: str) -> Message:
    return Message(0, text.encode(), b"")


def refusal(call: Callable[[], object]) -> PluginCallError:
    with pytest.raises(PluginCallError) as raised:
        call()
    return raised.value


def side_by_side(*calls: Callable[[], object]) -> list[object]:
    """Returns what calls at the same time returned or raised."""
    results: list[object] = [None] * len(calls)

    def run(number: int) -> None:
        try:
            results[number] = calls[number]()
        except BaseException as exc:
            results[number] = exc

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def test_one_channel_serves_one_call_after_the_other(child: Child, pool: Pool) -> None:
    for number in range(50):
        assert pool.call(ECHO, said(str(number)), 60.0).meta == str(number).encode()
    assert pool.call(PING, EMPTY, 60.0).flags == 0
    assert child.channels == 1


def test_each_of_many_callers_gets_its_own_reply(child: Child, pool: Pool) -> None:
    def call(name: int) -> bool:
        texts = [f"{name} {number}" for number in range(100)]
        return all(pool.call(ECHO, said(text), 60.0).meta == text.encode() for text in texts)

    assert side_by_side(*[lambda name=name: call(name) for name in range(8)]) == [True] * 8
    assert 1 <= child.channels <= 3


def test_whoever_finds_no_channel_free_waits_for_one(child: Child, pool: Pool) -> None:
    calls = [lambda: pool.call(WAIT, said("x"), 60.0).meta] * 5

    def let_go() -> None:
        until(lambda: pool._waiting == 2)
        child.may_go_on.set()

    assert side_by_side(let_go, *calls)[1:] == [b"x"] * 5
    assert child.channels == 3


def test_whoever_waits_in_vain_is_told_when_its_time_is_over(child: Child, pool: Pool) -> None:
    def too_many() -> object:
        until(lambda: child.channels == 3)
        exc = refusal(lambda: pool.call(ECHO, said("x"), 0.02))
        child.may_go_on.set()
        return exc.finding.message

    results = side_by_side(too_many, *[lambda: pool.call(WAIT, said("x"), 60.0).meta] * 3)
    assert results == ["the child: all 3 channels were in use for 0.02 s", b"x", b"x", b"x"]


class TooLate(threading.Condition):
    """Of whose waiters the first finds its time over in the moment in which it is woken."""

    has_been = False

    def wait(self, timeout: float | None = None) -> bool:
        is_first, self.has_been = not self.has_been, True
        return super().wait(timeout) and not is_first


def test_a_channel_that_comes_as_the_time_of_one_is_over_is_the_nexts(child: Child, pool: Pool) -> None:
    pool._changed = TooLate()

    def too_late() -> object:
        until(lambda: child.channels == 3)
        return refusal(lambda: pool.call(ECHO, said("x"), 60.0)).finding.code

    def next_one() -> object:
        until(lambda: pool._waiting == 1)
        reply = pool.call(ECHO, said("y")).meta
        child.may_go_on.set()
        return reply

    def let_one_go() -> None:
        until(lambda: pool._waiting == 2)
        stream.close()

    stream = pool.stream(STREAM, EMPTY, 60.0)
    held = [lambda: pool.call(WAIT, said("x"), 60.0)] * 2
    assert side_by_side(too_late, next_one, let_one_go, *held)[:2] == ["call-timeout", b"y"]


def test_a_late_reply_is_not_taken_for_the_next(child: Child, pool: Pool) -> None:
    for number in range(5):
        assert refusal(lambda: pool.call(WAIT, said("late"), 0.005)).finding.code == "call-timeout"
        assert pool.call(ECHO, said(str(number)), 60.0).meta == str(number).encode()
    child.may_go_on.set()
    assert pool.call(ECHO, said("x"), 60.0).meta == b"x"
    assert pool._number == 1


def test_what_was_raised_is_a_reply(pool: Pool) -> None:
    frame = pool.call(RAISE, said("no"), 60.0)
    assert frame.flags & FAILED
    assert b"ValueError: no" in frame.meta


def test_when_the_child_ends_all_calls_fail_with_why(child: Child, pool: Pool) -> None:
    def end() -> None:
        until(lambda: child.channels == 3 and pool._waiting == 2)
        pool.end("killed by SIGSEGV after 3 s")

    results = side_by_side(end, *[lambda: refusal(lambda: pool.call(WAIT, said("x"), 60.0)).finding.message] * 5)
    assert results[1:] == ["the child is gone: killed by SIGSEGV after 3 s"] * 5
    pool.end("of something else")
    assert "SIGSEGV" in refusal(lambda: pool.call(ECHO, EMPTY)).finding.message
    assert "SIGSEGV" in refusal(lambda: pool.stream(STREAM, EMPTY)).finding.message
    assert refusal(lambda: pool.call(ECHO, EMPTY)).finding.code == "channel-lost"


def test_a_channel_that_cannot_be_opened_leaves_room_for_another(child: Child) -> None:
    def failing(timeout: float | None) -> Channel:
        raise OSError("no descriptors")

    pool = Pool(failing, "the child", most=1)
    for _ in range(3):
        with pytest.raises(OSError, match="no descriptors"):
            pool.call(ECHO, EMPTY)
    pool._open = child.open
    assert pool.call(ECHO, said("x"), 60.0).meta == b"x"
    pool.end("")


def test_a_stream_has_its_items_when_they_are_asked_for(child: Child, pool: Pool) -> None:
    stream = pool.stream(STREAM, EMPTY, 60.0)
    assert [next(stream).meta for _ in range(2)] == [b"\0", b"\1"]
    assert pool.call(ECHO, said("x"), 60.0).meta == b"x"
    *items, failure = stream
    assert [item.meta for item in items] == [b"\2", b"\3"]
    assert failure.flags & FAILED
    assert list(stream) == []
    assert (child.channels, child.ended, len(pool._free)) == (2, 1, 2)


@pytest.mark.parametrize("how", ["closed", "dropped"])
def test_a_stream_that_is_left_is_ended_in_the_child(how: str, child: Child, pool: Pool) -> None:
    stream = pool.stream(STREAM, EMPTY, 60.0)
    next(stream)
    if how == "closed":
        stream.close()
        stream.close()
    else:
        del stream
        gc.collect()
    until(lambda: child.ended == 1)
    assert pool.call(ECHO, said("x"), 60.0).meta == b"x"
    assert child.channels == (1 if how == "closed" else 2)


def test_a_call_that_returns_no_stream_ends_it_at_once(pool: Pool) -> None:
    stream = pool.stream(RAISE, said("no"), 60.0)
    assert stream.first.flags & FAILED
    assert list(stream) == []
    assert len(pool._free) == 1


def test_a_stream_fails_when_its_child_ends(child: Child, pool: Pool) -> None:
    stream = pool.stream(STREAM, EMPTY, 60.0)
    next(stream)
    pool.end("killed")
    assert "killed" in refusal(lambda: next(stream)).finding.message
    assert list(stream) == []
    until(lambda: child.ended == 1)


def test_a_call_within_a_stream_ends_the_channel(child: Child, capsys: pytest.CaptureFixture[str]) -> None:
    channel = child.open(None)
    channel.call(STREAM, EMPTY, 60.0)
    channel.call(NEXT, EMPTY, 60.0)
    assert refusal(lambda: channel.call(ECHO, EMPTY, 60.0)).finding.code == "channel-lost"
    until(lambda: child.ended == 1)
    assert "operation 16 within a stream" in capsys.readouterr().err
