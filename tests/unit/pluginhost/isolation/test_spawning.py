from __future__ import annotations

import os
import sys
import threading

import pytest
from pluginhost.isolation import spawning
from pluginhost.isolation.spawning import Nursery
from pluginhost.watched import HostThread

NOTHING = [sys.executable, "-c", ""]
SECONDS = 60


def test_what_nobody_wants_any_more_is_not_started_and_holds_up_nobody() -> None:
    told: list[int] = []
    has_come, may_go = threading.Event(), threading.Event()

    def born(process: int) -> None:
        told.append(process)
        has_come.set()
        may_go.wait(SECONDS)

    nursery = Nursery(born)
    made = [nursery.run(NOTHING, dict(os.environ)) for _ in range(3)]
    has_come.wait(SECONDS)
    assert not made[0].cancel()  # who made it is to end it
    assert made[1].cancel()
    may_go.set()
    for each in (made[0], made[2]):
        each.result(SECONDS).communicate()
    assert len(told) == 2
    nursery.close()


def test_one_of_which_its_birth_could_not_be_told_is_ended() -> None:
    def born(process: int) -> None:
        raise PermissionError("no limits")

    nursery = Nursery(born)
    with pytest.raises(PermissionError, match="no limits"):
        nursery.run(NOTHING, dict(os.environ)).result(SECONDS)
    nursery.close()


def test_where_no_thread_can_be_started_it_is_told_and_the_next_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(HostThread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    nursery = Nursery()
    with monkeypatch.context() as patch:
        patch.setattr(spawning, "HostThread", Full)
        with pytest.raises(OSError, match="can't start new thread"):
            nursery.run(NOTHING, dict(os.environ))
    nursery.run(NOTHING, dict(os.environ)).result(SECONDS).communicate()
    nursery.close()


class Closing:
    """A lock of a nursery's, which closes the nursery as soon as it is given back."""

    def __init__(self, nursery: Nursery) -> None:
        self._nursery, self._lock = nursery, threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *raised: object) -> None:
        self._lock.release()
        self._nursery._lock = self._lock
        self._nursery.close()


def test_what_comes_as_it_is_closed_is_started() -> None:
    """Who starts it would wait for ever."""
    nursery = Nursery()
    nursery._lock = Closing(nursery)  # type: ignore[assignment]
    nursery.run(NOTHING, dict(os.environ)).result(SECONDS).communicate()
