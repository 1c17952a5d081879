"""A plugin in a real child uses its host, over channels by which it is the child that calls."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator

import pytest
from isolated import holdings, threads
from isolated_services import ABOUT, Deeds, Host, running
from pluginhost.errors import PluginStopped
from pluginhost.isolation.pool import MOST_BACK
from pluginhost.isolation.system import LINUX, PORTABLE
from waiting import until

from pluginapi import Event


@pytest.fixture(scope="module", params=[LINUX, PORTABLE], ids=lambda system: system.name)
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with running(request.param, tmp_path_factory.mktemp("folder")) as made:
        yield made


def test_what_the_plugin_logs_is_a_record_of_its_logger_here(host: Host) -> None:
    host.logged.clear()
    host.deeds.log("100 %", logging.WARNING)
    host.deeds.log("not so important", logging.DEBUG)
    (record,) = host.logged
    assert (record.name, record.levelno, record.getMessage()) == ("wire.child.sub", logging.WARNING, "100 %")
    assert (record.filename, record.funcName) == ("isolated_services.py", "log")
    assert record.threadName == "pluginhost: calls"
    assert {name: getattr(record, name) for name in ABOUT.fields} == ABOUT.fields


def test_what_the_plugin_emits_reaches_who_listens_here(host: Host) -> None:
    seen: list[Event] = []
    undo = host.events.subscribe(seen.append, "child.")
    host.deeds.emit("child.saved", 7)
    undo()
    assert seen == [Event("child.saved", "child", {"number": 7})]


def test_an_event_reaches_the_plugins_listener(host: Host) -> None:
    host.deeds.subscribe("host.")
    for number in range(3):
        host.events.emit("host.saved", "who", {"number": number})
    host.events.emit("other", "who", {"number": 9})
    until(lambda: len(host.deeds.seen()) == 3)
    assert host.deeds.seen() == [("host.saved", "who", {"number": number}) for number in range(3)]


def test_the_plugin_calls_others_by_their_contracts(host: Host) -> None:
    assert host.deeds.greet("Ada") == "Hello Ada"
    assert host.deeds.counted(5) == [0, 1, 2, 3, 4]
    assert host.deeds.refusal() == "PluginError: nobody to greet"
    assert host.deeds.error("none") == ["PluginNotFound", "plugin-unknown"]
    base = host.offered._next
    for _ in range(20):
        host.deeds.greet("Ada")
    assert host.offered._next == base


def test_calls_there_and_back_may_nest(host: Host) -> None:
    assert host.deeds.nest("me", 10) == 10


def test_a_plugin_that_takes_one_call_at_a_time_does_not_wait_for_itself(host: Host) -> None:
    """Each call of the child's is part of the call that it answers, on whatever thread; others wait their turn."""
    got: list[int] = []
    threads = [threading.Thread(target=lambda: got.append(host.one.nest("one", 5)), daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert got == [5] * 4


def test_eight_threads_of_the_plugins_call_at_once(host: Host) -> None:
    assert host.deeds.greet_at_once(8) == ["Hello all"] * 8


def test_a_child_gets_only_so_many_channels(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pluginhost.isolation.pool.MOST_BACK", len(host.control._back))
    with pytest.raises(Exception, match="channels to its host are in use"):
        host.offered.begin(60.0)
    assert len(host.control._back) < MOST_BACK


@pytest.mark.parametrize("system", [LINUX, PORTABLE], ids=lambda system: system.name)
def test_what_a_child_took_to_call_is_given_back(system: object, tmp_path: object) -> None:
    """Its plugin's host ends first: it refuses then, and tells whom."""
    before, started = holdings(), threads()
    with running(system, tmp_path) as host:  # type: ignore[arg-type]
        assert isinstance(host.deeds, Deeds)
        host.deeds.subscribe("")
        assert host.deeds.nest("me", 3) == 3
        host.host.revoke()
        assert host.deeds.error("english") == [PluginStopped.__name__, "host-revoked"]
        # Nobody waits for a child that does not end.
        host.process.send_signal(signal.SIGSTOP)
        host.control.close()
        until(lambda: threads() <= started)
        host.process.send_signal(signal.SIGCONT)
    until(lambda: holdings() <= before)
