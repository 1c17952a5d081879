"""Who lets others load meanwhile holds the lock of imports afterwards as before, come what may."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pluginhost import loading


class Lock:
    """A lock that its thread has taken some times, and at which Ctrl-C comes when it is taken again."""

    def __init__(self, times: int, interrupts: int) -> None:
        self.times, self._interrupts = times, interrupts

    def acquire(self) -> None:
        if self._interrupts:
            self._interrupts -= 1
            raise KeyboardInterrupt
        self.times += 1

    def release(self) -> None:
        if not self.times:
            raise RuntimeError("cannot release un-acquired lock")
        self.times -= 1


@contextmanager
def lock(patch: pytest.MonkeyPatch, times: int, interrupts: int = 0) -> Iterator[None]:
    held = Lock(times, interrupts)
    patch.setattr(loading, "SERIAL", held)
    yield
    assert held.times == times


def wait(fault: Exception | None) -> None:
    if fault:
        raise fault


@pytest.mark.parametrize("times", [0, 1, 3])
def test_the_lock_is_given_up_and_taken_back_as_often_as_it_was_held(
    monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    with lock(monkeypatch, times), loading.aside():
        assert loading.SERIAL.times == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("fault", [None, ValueError("the wait failed")])
@pytest.mark.parametrize("interrupts", [1, 4])
def test_ctrl_c_while_it_is_taken_back_passes_once_it_is(
    monkeypatch: pytest.MonkeyPatch, interrupts: int, fault: Exception | None
) -> None:
    with lock(monkeypatch, 2, interrupts), pytest.raises(KeyboardInterrupt), loading.aside():
        wait(fault)
