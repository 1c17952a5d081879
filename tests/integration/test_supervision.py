"""Who looks after an isolated plugin: what is told, who takes over, and when it is given up."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from pluginhost import PluginCallError, PluginManager, PluginStopped
from pluginhost.events import TOPICS
from pluginhost.isolation import children, restarts
from pluginhost.isolation.mortal import Mortal
from waiting import stop, until

from pluginapi import Event, Greeter

if TYPE_CHECKING:
    from collections.abc import Iterator


GREETING = "Hello, Ada! Nice to meet you."
REFUSED_ON_TIME = ("breaker-open", "call-timeout")


@contextlib.contextmanager
def english(**settings: object) -> Iterator[tuple[PluginManager, Greeter, list[Event]]]:
    """Yields a manager, an isolated plugin of it, and what happens from then on."""
    plugins = {"english": {"isolation": "process", **settings}}
    with PluginManager(plugins=plugins) as manager:
        told: list[Event] = []
        stub = manager.get("english", Greeter)
        manager.subscribe(told.append)
        yield manager, stub, told


def supervisor(manager: PluginManager) -> Any:
    return manager.handle("english").plugin._pluginhost_peer


def child_of(manager: PluginManager) -> int:
    """Returns the process id of the child that serves, once there is one."""
    of = supervisor(manager)
    until(lambda: of._child)
    return int(of._child.pid)


def kill(manager: PluginManager) -> int:
    """Ends the child that serves, and returns its process id."""
    pid = child_of(manager)
    os.kill(pid, signal.SIGKILL)
    return pid


def answers(stub: Greeter) -> bool:
    """Returns whether a call is answered; it may be refused or lost, with an error that says so."""
    said = asked(stub)
    assert said in (GREETING, "channel-lost", "child-restarting", *REFUSED_ON_TIME)
    return said == GREETING


def asked(stub: Greeter) -> str:
    """Returns the answer to a call, or the code with which it failed."""
    try:
        return stub.greet("Ada")
    except PluginCallError as exc:
        return exc.finding.code


def test_a_death_and_its_mend_are_told_with_all_their_fields() -> None:
    with english() as (manager, stub, told):
        kill(manager)
        until(lambda: answers(stub))
        until(lambda: len(told) > 1)
    died, restarted = (
        next(event for event in told if event.topic == f"plugin.{what}") for what in ("died", "restarted")
    )
    for event in (died, restarted):
        assert set(event.fields) == set(TOPICS[event.topic].fields)
    assert "SIGKILL" in str(died.fields["reason"])
    assert died.fields["deaths"] == 1
    assert died.fields["plugin"] == "english"


def test_a_spare_takes_over_and_another_stands_by() -> None:
    with english(critical=True) as (manager, stub, _):
        of = supervisor(manager)
        for _ in range(2):
            until(lambda: of._spare)
            spare = of._spare.pid
            kill(manager)
            until(lambda: answers(stub))
            assert of._child.pid == spare
    assert not _lives(spare)


def test_a_spare_that_died_unseen_does_no_harm() -> None:
    with english(critical=True) as (manager, stub, _):
        of = supervisor(manager)
        until(lambda: of._spare)
        spare = of._spare
        os.kill(spare.pid, signal.SIGKILL)
        spare.ended.wait(60)
        kill(manager)
        until(lambda: answers(stub))
        assert of._child.pid != spare.pid


def test_a_plugin_that_dies_again_and_again_has_failed_until_it_is_started_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(restarts, "FIRST_PAUSE", 0.001)
    with english() as (manager, stub, told):
        for _ in range(restarts.DEATHS):
            died = kill(manager)
            until(lambda died=died: _serving(manager) != died)
        until(lambda: manager.status()["english"].state == "failed")
        with pytest.raises(PluginStopped, match="ended 5 times within 60 s"):
            stub.greet("Ada")
        assert [event.fields["deaths"] for event in told if event.topic == "plugin.died"] == [1, 2, 3, 4, 5]
        manager.start("english")
        assert answers(stub)


def test_a_filter_of_the_log_that_fails_keeps_no_child_from_being_started() -> None:
    def fail(record: logging.LogRecord) -> bool:
        if "started again" in record.getMessage():
            raise RuntimeError("a filter of the application's")
        return True

    log = logging.getLogger("pluginhost")
    with english() as (manager, stub, told):
        log.addFilter(fail)
        try:
            kill(manager)
            until(lambda: "plugin.restarted" in [event.topic for event in told])
        finally:
            log.removeFilter(fail)
        assert answers(stub)


def test_a_listener_of_the_death_may_call_the_plugin() -> None:
    """It is on the thread that starts the next child, and does not wait for itself."""
    with english() as (manager, stub, _):
        said: list[str] = []
        manager.subscribe(lambda event: said.append(asked(stub)), "plugin.died")
        kill(manager)
        until(lambda: said)
        until(lambda: answers(stub))
        assert said == ["child-restarting"]


def test_a_child_that_dies_as_it_begins_to_be_looked_after_is_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its calls have been let go of then, and its end is not known yet."""
    dies, is_attended = threading.Event(), threading.Event()
    end, on_end = children.Pool.end, Mortal.on_end

    def end_late(self: children.Pool, why: str) -> None:
        dies.set()
        is_attended.wait(60)
        end(self, why)

    def on_end_of_one_that_dies(self: Any, *what: Any) -> None:
        if not dies.is_set():
            os.kill(self.pid, signal.SIGKILL)
            dies.wait(60)
        on_end(self, *what)
        is_attended.set()

    monkeypatch.setattr(children.Pool, "end", end_late)
    monkeypatch.setattr(Mortal, "on_end", on_end_of_one_that_dies)
    with english() as (manager, stub, _):
        until(lambda: answers(stub))
        until(lambda: manager.status()["english"].state == "running")


def test_a_child_that_is_stopped_is_told_of_and_killed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(children, "FLAG_SECONDS", 0.3)
    monkeypatch.setattr(
        children, "KILL_SECONDS", 2.5
    )  # a second more than a busy machine may keep one silent that is well
    with english() as (manager, stub, _):
        stop(pid := child_of(manager))
        with pytest.raises(PluginCallError, match="it gave no sign of life") as caught:
            stub.greet("Ada")
        assert caught.value.finding.code == "channel-lost"
        until(lambda: not _lives(pid))
        until(lambda: answers(stub))
    assert "[child-silent]" in caplog.text


def test_a_call_that_is_late_is_so_on_time_and_many_in_a_row_end_the_child() -> None:
    with english(call_timeout=0.25, breaker_failures=3, breaker_seconds=0.05) as (manager, stub, told):
        stop(pid := child_of(manager))
        said = []
        while "plugin.died" not in [event.topic for event in told]:
            said.append(asked(stub))
        assert said[:3] == ["call-timeout"] * 3
        until(lambda: not _lives(pid))
        until(lambda: answers(stub))


def _serving(manager: PluginManager) -> int | None:
    """Returns the process id of the child that serves; `None` when there is none for the moment."""
    serving = manager._runner.registry.named()["english"].serving
    child = serving.loaded.plugin._pluginhost_peer._child if serving else None  # type: ignore[attr-defined]
    return child.pid if child else None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_copy_of_the_host_leaves_its_child_alone() -> None:
    program = """
import os, sys, time
from pluginapi import Greeter
from pluginhost import PluginManager
from pluginhost.isolation import children

children.FLAG_SECONDS = 0.02  # the child is pinged so often
manager = PluginManager(plugins={"english": {"isolation": "process"}})
english = manager.get("english", Greeter)
assert english.greet("Ada")
child = manager.handle("english").plugin._pluginhost_peer._child
if os.fork() == 0:
    try:
        english.greet("Ada")
    except Exception as exc:
        print(exc.finding.code, "forked" in str(exc), flush=True)
    manager.close()
    other = PluginManager(plugins={"spanish": {"isolation": "process"}})
    print(other.get("spanish", Greeter).greet("Bob"), flush=True)
    time.sleep(1)  # for many pings
    sys.exit(0)
os.wait()
print(english.greet("Cleo") + child.reason)
"""
    environment = os.environ | {"PYTHONWARNINGS": "ignore::DeprecationWarning"}  # from 3.12 on: of threads and forks
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env=environment)
    assert done.stdout.splitlines() == [
        "plugin-stopped True",
        "¡Hola, Bob! Mucho gusto.",
        "Hello, Cleo! Nice to meet you.",
    ], done.stderr
