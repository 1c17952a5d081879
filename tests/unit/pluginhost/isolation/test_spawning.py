from __future__ import annotations

import os
import sys
import threading

import pytest
from pluginhost.isolation.spawning import Nursery

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
