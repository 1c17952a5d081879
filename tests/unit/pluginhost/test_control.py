from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import socket
import stat
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pluginhost import (
    ConfigurationError,
    Finding,
    PluginHostError,
    PluginManager,
    PluginNotFound,
    RouteStatus,
    Status,
    control,
)
from pluginhost.cli import hosts
from pluginhost.cli.route import _complete_route
from pluginhost.cli.route import route as route_command
from pluginhost.control import Control, parse, serve
from pluginhost.reload import Reloaded
from pluginhost.settings import CanarySettings, PluginSettings
from pluginhost.status import CanaryStatus, SideStatus
from waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator


class StandIn:
    """A manager of plugins that are nothing but names, of which some use others."""

    group = "some.plugins"

    def __init__(self, **uses: str) -> None:
        self.done: list[str] = []
        self.told: list[Finding] = []
        self.fails: set[str] = set()
        self.off: list[str] = []
        self._known = {name: self._handle(name) for name in uses}
        for name, used in uses.items():
            self._known[name].needs = [self._known[each] for each in used.split()]
        self._runs = list(uses)

    def _handle(self, name: str) -> Any:
        candidate = SimpleNamespace(distribution=SimpleNamespace(name=f"zoo-{name}"))
        return SimpleNamespace(name=name, candidate=candidate, settings=PluginSettings(isolation="none"), needs=[])

    def status(self) -> dict[str, Status]:
        return {name: self._status(name) for name in self._known}

    def _status(self, name: str) -> Status:
        return Status(
            plugin=name, distribution=f"zoo-{name}", version="1.0", generation=1, calls=0, failures=0, max=None,
            state="running" if name in self._runs else "stopped", p50=None, p99=None, breaker="closed", abandoned=0,
            error=None, reload_seconds=None, reload_error=None,
        )  # fmt: skip

    def loaded(self) -> dict[str, Any]:
        return {name: self._known[name] for name in self._runs}

    def start(self, name: str) -> None:
        self._do("start", name)
        self._runs.append(name)

    def stop(self, name: str) -> None:
        self._do("stop", name)
        for user in [other for other in self._runs if self._known[name] in self._known[other].needs]:
            self.stop(user)
        self._runs = [other for other in self._runs if other != name]
        if "/" in name:
            del self._known[name]  # a guest, of which its owner makes another

    def reload(self, *names: str) -> Reloaded:
        for name in names:
            self._do("reload", name)
        return Reloaded([*names], 0.25, [Finding("drain-timeout", "some", "none")])

    def rollback(self, name: str) -> Reloaded:
        self._do("rollback", name)
        return Reloaded([name], 0.25, [])

    def entry(self, name: str) -> Any:
        self._do("find", name)
        return SimpleNamespace(require_ready=lambda: self._do("admit", name))

    def routes(self) -> dict[str, RouteStatus]:
        side = SideStatus(calls=0, failures=0, p50=None, p95=None)
        canary = CanaryStatus(settings=CanarySettings(plugin="b"), tried=side, baseline=side)
        route = RouteStatus(
            route="some", contract="some.Contract", default="a", order=[], capabilities=[], key="key", rules=[], weights={},
            off=self.off, flag="", canary=canary, verdict="", fallbacks=0, plugins=[],
        )  # fmt: skip
        return {"some": route}

    def reroute(self, name: str, changes: Any) -> None:
        self._at_route(f"reroute {dict(changes)}", name)
        self.off = changes.get("off", self.off)

    def settle(self, name: str, *, is_good: bool) -> None:
        self._at_route("promote" if is_good else "roll back", name)

    def _at_route(self, what: str, name: str) -> None:
        if name != "some":
            raise ConfigurationError(Finding("configuration-wrong", f"no route {name}", "none"))
        self.done.append(what)

    def tell(self, finding: Finding) -> None:
        self.told.append(finding)

    def _do(self, what: str, name: str) -> None:
        self.done.append(f"{what} {name}")
        if name in self.fails:
            raise PluginHostError(Finding("init-failed", f"{name} fails", "none"))
        if name not in self._known:
            raise PluginNotFound(Finding("plugin-unknown", f"no {name}", "none"))


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The user's runtime folder, whose path is short enough for a socket."""
    folder = tempfile.mkdtemp()
    monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
    yield Path(folder)
    shutil.rmtree(folder)


@contextlib.contextmanager
def serving(manager: StandIn) -> Iterator[Control]:
    served = serve(manager)
    assert served, manager.told
    try:
        yield served
    finally:
        served.close()


def connected(served: Control) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(60)
    connection.connect(str(served.path))
    return connection


def answer(served: Control, request: bytes, *, ends: bool = False) -> Any:
    """Returns the reply to bytes; they may be more than is read."""
    with connected(served) as connection:
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(request)
        if ends:
            connection.shutdown(socket.SHUT_WR)
        return json.loads(connection.makefile("rb").readline())


def ask(served: Control, do: str, *names: str, **values: object) -> Any:
    wanted = {"do": do, "names": names, **({"set": values} if values else {})}
    return answer(served, json.dumps(wanted).encode() + b"\n")


def code(reply: Any) -> str:
    assert reply.keys() == {"findings"}
    return str(reply["findings"][0]["code"])


# What is asked


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["do", "names", "set"]) | st.text(), inner),
    max_leaves=5,
)


SETS: Any = st.fixed_dictionaries(
    {"do": st.just("route"), "names": st.just(["some"]), "set": st.dictionaries(st.sampled_from([*control._SET]), JSON)}
)


@given(st.binary() | st.builds(lambda value: json.dumps(value).encode(), JSON | SETS))
def test_whatever_a_line_is_it_is_a_request_or_malformed(line: bytes) -> None:
    try:
        asked = parse(line).do
    except PluginHostError as exc:
        asked = exc.finding.code
    assert asked in ("control-malformed", *control._NAMES)


@given(st.lists(st.text(), min_size=1))
def test_names_come_as_they_were_sent(names: list[str]) -> None:
    assert parse(json.dumps({"do": "reload", "names": names}).encode()) == ("reload", names, {})


@pytest.mark.parametrize(
    "line",
    [
        b"", b"ps", b"[]", b"{}", b'"ps"', b"\xff", b"[" * 50_000, b'{"do": "reload", "names": ["a"]',
        b'{"do": "shutdown"}', b'{"do": ["ps"]}', b'{"do": {}}', b'{"do": "reload"}', b'{"do": "ps", "names": ["a"]}',
        b'{"do": "stop", "names": ["a", "b"]}', b'{"do": "stop", "names": "a"}', b'{"do": "stop", "names": [1]}',
        b'{"do": "stop", "names": null}', b'{"do": "ps", "config": 1}', b'{"do": 1' + b"0" * 5_000 + b"}",
        b'{"do": "route", "names": ["a"]}', b'{"do": "route", "names": ["a", "b"], "set": {"default": "c"}}',
        b'{"do": "stop", "names": ["a"], "set": {"default": "c"}}', b'{"do": "promote", "names": []}',
        *(
            b'{"do": "route", "names": ["a"], "set": %s}' % values
            for values in (
                b"{}", b"null", b'["off"]', b'{"static": {}}', b'{"canary": {}}', b'{"default": null}', b'{"off": "c"}',
                b'{"off": [1]}', b'{"on": [["c"]]}', b'{"weights": ["c"]}', b'{"weights": {"c": true}}',
                b'{"weights": {"c": "5"}}',
            )
        ),
    ],
)  # fmt: skip
def test_what_is_no_request_is_told_with_a_code(line: bytes) -> None:
    with pytest.raises(PluginHostError) as caught:
        parse(line)
    assert caught.value.finding.code == "control-malformed"


# The socket


def test_what_is_malformed_has_a_coded_answer_and_the_next_is_served(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(StandIn(a="")) as served:
        assert code(answer(served, b"\x00\xff\n")) == "control-malformed"
        assert code(answer(served, b'{"do": "ps"}', ends=True)) == "control-malformed"
        assert code(answer(served, b'{"do": "ps"}' + b" " * control.LONGEST + b"\n")) == "control-malformed"
        monkeypatch.setattr(control, "PATIENCE", 0.05)
        assert code(answer(served, b'{"do": ')) == "control-malformed", "it is not waited for"
        with connected(served) as trickling, contextlib.suppress(ConnectionError):
            end = time.monotonic() + 60
            while trickling.sendall(b" ") is None:  # as if each byte began the wait anew
                assert time.monotonic() < end
                time.sleep(0.01)
        connected(served).close()
        monkeypatch.undo()
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
        assert ask(served, "ps")["ok"]["pid"] == os.getpid()


def test_silent_clients_hold_up_nobody_and_too_many_are_told_so(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "PATIENCE", 60.0)  # none is dropped, which would make room for another
    with serving(StandIn(a="")) as served, contextlib.ExitStack() as silent:
        for _ in range(control.MOST - 1):
            silent.enter_context(connected(served))
        assert ask(served, "ps")["ok"]["group"] == "some.plugins"
        assert any(code_of_one_more(served, silent) == "host-silent" for _ in range(20))


def code_of_one_more(served: Control, silent: contextlib.ExitStack) -> str:
    """Returns the code with which one more is refused; nothing when it is taken, and stays."""
    more = silent.enter_context(connected(served))
    more.settimeout(0.2)
    try:
        return code(json.loads(more.makefile("rb").readline()))
    except TimeoutError:
        return ""


def test_a_slow_act_holds_up_nobody(runtime: Path) -> None:
    begun, may_end = threading.Event(), threading.Event()

    class Slow(StandIn):
        def reload(self, *names: str) -> Reloaded:
            begun.set()
            assert may_end.wait(60)
            return super().reload(*names)

    with serving(Slow(a="")) as served, connected(served) as reloading:
        reloading.sendall(b'{"do": "reload", "names": ["a"]}\n')
        assert begun.wait(60)
        assert ask(served, "ps")["ok"]
        may_end.set()
        assert json.loads(reloading.makefile("rb").readline())["ok"]["seconds"] == 0.25


def test_a_client_that_goes_before_the_answer_is_no_harm(runtime: Path) -> None:
    manager = StandIn(a="")
    with serving(manager) as served:
        with connected(served) as leaving:
            leaving.sendall(b'{"do": "stop", "names": ["a"]}\n')
        assert ask(served, "ps")["ok"]


def test_the_socket_is_this_users_alone(runtime: Path) -> None:
    before = os.umask(0)
    try:
        with serving(StandIn(a="")) as served:
            assert stat.S_IMODE(served.path.stat().st_mode) == 0o600
            assert stat.S_IMODE(served.path.parent.stat().st_mode) == 0o700
            assert served.path.parent.parent == runtime
    finally:
        os.umask(before)


def test_whoever_is_another_user_gets_nothing(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        assert control.is_own(one)
        with monkeypatch.context() as patch:
            patch.setattr(os, "geteuid", lambda: 4_711)
            assert not control.is_own(one)
    manager = StandIn(a="")
    with serving(manager) as served:
        [host] = hosts.hosts()
        monkeypatch.setattr(control, "is_own", lambda connection: False)
        with connected(served) as connection, contextlib.suppress(ConnectionError):
            connection.sendall(b'{"do": "stop", "names": ["a"]}\n')
            assert connection.recv(1) == b""
        with pytest.raises(PluginHostError, match="another user"):
            host.state()
    assert manager.done == []


@pytest.mark.parametrize("how", ["link", "writable", "file", "long"])
def test_a_host_that_cannot_have_a_socket_goes_on_and_tells(
    how: str, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = runtime / "pluginhost"
    match how:
        case "link":
            runtime.joinpath("elsewhere").mkdir()
            folder.symlink_to("elsewhere")
        case "writable":
            folder.mkdir()
            folder.chmod(0o770)
        case "file":
            folder.touch()
        case "long":
            long = runtime / ("x" * 100)
            long.mkdir(0o700)
            monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    manager = StandIn(a="")
    assert serve(manager) is None
    assert [finding.code for finding in manager.told] == ["control-unavailable"]
    if how not in ("long", "file"):
        with pytest.raises(PluginHostError, match="only its user may write"):
            hosts.hosts()


def test_no_folder_of_sockets_is_no_host(runtime: Path) -> None:
    assert hosts.hosts() == []
    assert list(runtime.iterdir()) == [], "and none is made"


def test_what_a_killed_host_left_is_removed_by_who_looks(runtime: Path) -> None:
    with serving(StandIn(a="")) as served:
        left = served.path.with_name("1-1.sock")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(left))
        foreign = served.path.with_name("notes.txt")
        foreign.touch()
        known, silent = hosts.states(hosts.hosts())
        assert ([host.name for host in known], silent) == ([f"{os.getpid()}-1"], {})
        assert (left.exists(), foreign.exists(), served.path.exists()) == (False, True, True)


def test_it_ends_with_close_and_leaves_nothing(runtime: Path) -> None:
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    manager = StandIn(a="")
    for _ in range(3):
        with serving(manager) as served:
            ask(served, "ps")
        served.close()
        assert not served.path.exists()
        assert not any(thread.name == "pluginhost: control" for thread in threading.enumerate())
    until(lambda: threading.active_count() <= threads, "the end of who answered")  # it may still say good-bye
    assert len(os.listdir("/proc/self/fd")) <= descriptors


def test_an_answer_on_its_way_comes_although_what_it_did_made_the_application_end(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_ANSWERING_SECONDS", 60.0)  # on a busy machine an answer may take a second
    stopped = threading.Event()

    class Ends(StandIn):
        def stop(self, name: str) -> None:
            super().stop(name)
            stopped.set()
            until(lambda: not served.path.exists(), "the application's end")

    manager = Ends(a="")
    answers: list[Any] = []
    with serving(manager) as served:
        asking = threading.Thread(target=lambda: answers.append(ask(served, "stop", "a")))
        asking.start()
        assert stopped.wait(60)
        served.close()
        assert "pluginhost: an operator" not in [thread.name for thread in threading.enumerate()]
        asking.join()
    assert "ok" in answers[0]


def test_it_does_not_hold_its_manager_and_ends_with_it(runtime: Path) -> None:
    manager = StandIn(a="")
    served = serve(manager)
    assert served
    del manager
    gc.collect()
    assert not served.path.exists()


def test_each_manager_of_a_process_has_its_own(runtime: Path) -> None:
    with serving(StandIn(a="")) as one, serving(StandIn(b="")) as other:
        assert [ask(served, "ps")["ok"]["plugins"][0]["plugin"] for served in (one, other)] == ["a", "b"]
        assert [host.name for host in hosts.hosts(str(os.getpid()))] == [one.path.stem, other.path.stem]
        assert [host.name for host in hosts.hosts(other.path.stem)] == [other.path.stem]
        one.close()
        assert ask(other, "ps")["ok"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # that fork is not for processes with threads
def test_a_copy_of_the_process_neither_serves_nor_removes_it(runtime: Path) -> None:
    manager = StandIn(a="")
    with serving(manager) as served:
        stays, may_end = os.pipe()
        child = os.fork()
        if not child:
            with contextlib.suppress(BaseException):
                os.close(may_end)
                served.close()
                del manager
                os.read(stays, 1)
            os._exit(0)
        os.close(stays)
        assert ask(served, "ps")["ok"]["pid"] == os.getpid()
        path = served.path
        os.link(path, path.with_name("1-1.sock"))  # as if the host were killed: its socket stays
    assert hosts.states(hosts.hosts()) == ({}, {}), "the copy holds it open, and nobody would answer"
    os.close(may_end)
    os.waitpid(child, 0)


# What is done


def test_ps_tells_who_the_host_is_and_how_its_plugins_are(runtime: Path) -> None:
    manager = StandIn(a="", b="a")
    with serving(manager) as served:
        manager.stop("b")
        found = ask(served, "ps")["ok"]
    assert found.keys() == {"pid", "title", "group", "since", "plugins", "routes"}
    assert time.time() - 60 < found["since"] <= time.time()
    assert [(each["plugin"], each["state"], each["isolation"]) for each in found["plugins"]] == [
        ("a", "running", "none"),
        ("b", "stopped", None),
    ]
    assert "config" not in json.dumps(found)


def test_what_was_done_is_told_for_each_plugin(runtime: Path) -> None:
    manager = StandIn(a="", b="")
    with serving(manager) as served:
        found = ask(served, "reload", "a", "b")["ok"]
        assert [each["plugin"] for each in found["plugins"]] == ["a", "b"]
        assert found["plugins"][0] == {
            "plugin": "a", "before": "1.0", "version": "1.0", "generation": 1, "state": "running",
        }  # fmt: skip
        assert [finding["code"] for finding in found["findings"]] == ["drain-timeout"]
        assert ask(served, "rollback", "a")["ok"]["seconds"] == 0.25
        assert ask(served, "stop", "a")["ok"]["plugins"][0]["state"] == "stopped"
        assert ask(served, "stop", "a")["ok"]["plugins"] == [], "it did not run"
        assert ask(served, "start", "a")["ok"]["plugins"][0]["state"] == "running"
        assert code(ask(served, "stop", "c")) == "plugin-unknown"
        manager.fails = {"b"}
        assert code(ask(served, "reload", "b")) == "init-failed"


@pytest.mark.parametrize("name", ["a", "a@zoo-a"])
def test_a_restart_ends_and_starts_those_that_use_it_too(name: str, runtime: Path) -> None:
    manager = StandIn(**{"a": "", "other": "", "b": "a", "c": "b", "c/guest": "a"})
    with serving(manager) as served:
        stop = manager.stop
        manager.stop = lambda name: stop(name.partition("@")[0])  # type: ignore[method-assign]
        found = ask(served, "restart", name)["ok"]
    assert manager.done == ["stop a", "stop b", "stop c", "stop c/guest", "start a", "start b", "start c"]
    assert {each["plugin"] for each in found["plugins"]} == {"a", "b", "c"}


def test_a_restart_starts_what_was_stopped_and_tells_all_that_does_not_start(runtime: Path) -> None:
    manager = StandIn(a="", b="a", c="a")
    with serving(manager) as served:
        manager.stop("c")
        assert [each["plugin"] for each in ask(served, "restart", "c")["ok"]["plugins"]] == ["c"]
        manager.fails = {"b", "c"}
        manager.stop = lambda name: manager._runs.clear()  # type: ignore[method-assign]
        found = ask(served, "restart", "a")
    assert [finding["message"] for finding in found["findings"]] == ["b fails", "c fails"]


def test_a_route_is_changed_and_told_as_it_is_then(runtime: Path) -> None:
    manager = StandIn(a="", b="")
    with serving(manager) as served:
        [found] = ask(served, "ps")["ok"]["routes"]
        assert (found["route"], found["off"]) == ("some", [])
        assert ask(served, "route", "some", weights={"b": 5, "a": 0.5}, off=["b"])["ok"] == {**found, "off": ["b"]}
        assert ask(served, "route", "some", off=["a"], on=["b"])["ok"]["off"] == ["a"]
        ask(served, "promote", "some")
        ask(served, "roll-back", "some")
        assert code(ask(served, "route", "other", default="a")) == "configuration-wrong"
        assert code(ask(served, "promote", "other")) == "configuration-wrong"
    assert manager.done == [
        "reroute {'weights': {'b': 5, 'a': 0.5}, 'off': ['b']}", "reroute {'off': ['a']}", "promote", "roll back",
    ]  # fmt: skip


def test_what_two_operators_switch_off_at_once_is_off(runtime: Path) -> None:
    is_changing, is_read = threading.Event(), threading.Event()

    class Slow(StandIn):
        def routes(self) -> dict[str, RouteStatus]:
            found = super().routes()
            if is_changing.is_set():
                is_read.set()
            return found

        def reroute(self, name: str, changes: Any) -> None:
            if not is_changing.is_set():
                is_changing.set()
                assert not is_read.wait(0.2), "what the other operator adds to is about to change"
            super().reroute(name, changes)

    with serving(Slow(a="", b="")) as served, connected(served) as one, connected(served) as other:
        one.sendall(b'{"do": "route", "names": ["some"], "set": {"off": ["a"]}}\n')
        assert is_changing.wait(60)
        other.sendall(b'{"do": "route", "names": ["some"], "set": {"off": ["b"]}}\n')
        answers = [json.loads(each.makefile("rb").readline())["ok"]["off"] for each in (one, other)]
    assert answers == [["a"], ["a", "b"]]


@pytest.mark.parametrize("values", [{"default": "c"}, {"weights": {"c": 5}}, {"off": ["c"]}, {"on": ["c"]}])
def test_a_plugin_that_is_not_there_is_told_and_nothing_is_changed(values: dict[str, object], runtime: Path) -> None:
    manager = StandIn(a="", b="")
    with serving(manager) as served:
        assert code(ask(served, "route", "some", **values)) == "plugin-unknown"
    assert manager.done == ["find c"]


def test_a_plugin_that_does_not_run_must_be_one_that_may_if_it_is_to_serve(runtime: Path) -> None:
    manager = StandIn(a="", b="")
    with serving(manager) as served:
        manager.stop("b")
        manager.done.clear()
        assert ask(served, "route", "some", off=["b"], weights={"b": 0})["ok"]["off"] == ["b"]
        ask(served, "route", "some", default="b")
        assert manager.done[1:] == ["find b", "admit b", "reroute {'default': 'b'}"]
        manager.fails = {"b"}
        assert code(ask(served, "route", "some", weights={"b": 5})) == "init-failed"
        assert ask(served, "route", "some", default="")["ok"], "nobody is named"


def test_a_route_is_found_in_the_one_host_that_has_it(runtime: Path) -> None:
    with pytest.raises(PluginHostError, match="no host runs that can be asked"):
        hosts.routing("some")
    with serving(StandIn(a="")) as one:
        host, route = hosts.routing("some")
        assert (host.name, route.route) == (one.path.stem, "some")
        with pytest.raises(PluginHostError, match="no host has a route called sone") as caught:
            hosts.routing("sone")
        assert (caught.value.finding.code, "did you mean some?" in str(caught.value)) == ("host-unknown", True)
        context = click.Context(route_command)
        assert [_complete_route(context, route_command.params[0], typed) for typed in ("so", "x")] == [["some"], []]
        with serving(StandIn(b="")) as other:
            assert hosts.routing("some", other.path.stem)[0].name == other.path.stem
            with pytest.raises(PluginHostError, match="several hosts have the route some: ") as caught:
                hosts.routing("some")
            assert caught.value.finding.code == "host-several"


def test_it_is_refused_where_there_are_no_sockets_of_one_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "getuid")
    with pytest.raises(ConfigurationError, match="control is not possible on Windows"):
        PluginManager(control=True)
    assert PluginManager(control=False).configuration.control is False
