from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from pluginhost.isolation.channel import Channel
from pluginhost.isolation.children import Pulse
from pluginhost.isolation.lines import Line


class Dying:
    """A child, as far as its pulse knows it."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.killed: list[str] = []

    def kill(self, why: str) -> None:
        self.killed.append(why)


def pulse_of(child: Any, flag: Callable[[float], object] = int) -> tuple[Pulse, socket.socket]:
    ours, theirs = socket.socketpair()
    return Pulse(child, Channel(Line(ours), None, "the child"), flag), theirs


def test_a_death_that_is_seen_first_by_the_pulse_is_left_to_tell_itself() -> None:
    child = Dying()
    pulse, theirs = pulse_of(child)
    theirs.close()
    assert pulse.look(1.0) < 10.0
    child.ended.set()
    assert pulse.look(2.0) == float("inf")
    assert child.killed == []


def test_a_child_that_closes_its_pulse_and_lives_on_is_killed() -> None:
    child = Dying()
    pulse, theirs = pulse_of(child)
    theirs.close()
    pulse.look(1.0)
    assert pulse.look(2.0) == float("inf")
    assert child.killed == ["it closed a channel and lived on"]


def test_a_child_that_answers_a_ping_with_something_else_is_killed() -> None:
    child = Dying()
    pulse, theirs = pulse_of(child)
    with theirs:
        due = pulse.look(1.0)
        theirs.sendall(b"\xff" * 16)
        pulse.look(due)
    assert child.killed == ["what it answered to a ping was no sign of life"]


def test_a_child_is_told_of_before_it_is_killed_however_late_its_host_looks() -> None:
    """The host may have been stopped as well, by Ctrl-Z or with its machine."""
    child, silent = Dying(), []
    pulse, theirs = pulse_of(child, silent.append)
    with theirs:
        pulse.look(1.0)
        assert pulse.look(1_001.0) == 1_001.5
        assert (silent, child.killed) == ([1_000.0], [])
        assert pulse.look(1_001.5) == float("inf")
    assert child.killed == ["it gave no sign of life for 1000.5 s"]
    pulse.close()


def test_a_look_before_its_time_asks_nothing_and_tells_of_nothing() -> None:
    """As the watchdog looks, which was woken for another."""
    child, silent = Dying(), []
    pulse, theirs = pulse_of(child, silent.append)
    with theirs:
        due = pulse.look(1.0)
        asked = theirs.recv(1_000)
        assert [pulse.look(1.0), pulse.look(due - 0.001)] == [due, due]
        assert silent == []
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1_000)
        assert asked
        pulse.look(due)
    assert silent == [due - 1.0]
    pulse.close()
