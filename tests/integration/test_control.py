"""A host that serves, and the command that acts on it from another process."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from forge import BIN, GREETER, Command, obey_signals
from pluginhost import PluginHostError, control
from pluginhost.cli import hosts
from waiting import stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from forge import Forge

HOST = """
import sys
from pluginhost import PluginHostError, PluginManager
from pluginapi import Greeter, Plugin

with PluginManager(configuration="pluginhost.toml", probe="never") as manager:
    plugins = [manager.get(name, Plugin) for name in sys.argv[1:]]
    print("up", flush=True)
    for line in sys.stdin:
        name = line.strip()
        try:
            greeter = manager.route(Greeter) if name == "Greeter" else manager.get(name, Greeter)
            print(greeter.greet("Ada"), flush=True)
        except PluginHostError as exc:
            print(exc.finding.code, flush=True)
"""
SETTINGS = 'control = true\n[plugins.some.config]\ntoken = "s3cret"\n'


class Serving:
    """A host process, and what it serves."""

    def __init__(self, command: Command, *names: str) -> None:
        environment = {**os.environ, **command._environment}
        self.process = subprocess.Popen(
            [sys.executable, "host.py", *names],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=command._folder, env=environment,
        )  # fmt: skip

    @property
    def name(self) -> str:
        return f"{self.process.pid}-1"

    def greet(self, plugin: str = "some") -> str:
        assert self.process.stdin
        self.process.stdin.write(f"{plugin}\n")
        self.process.stdin.flush()
        return self.said()

    def said(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.communicate()


@pytest.fixture
def command(forge: Forge, tmp_path: Path) -> Iterator[Command]:
    """The command, with a runtime folder of its own, and what a host needs."""
    tmp_path.joinpath("host.py").write_text(HOST)
    tmp_path.joinpath("pluginhost.toml").write_text(SETTINGS)
    made = Command(forge.site, tmp_path)
    runtime = tempfile.mkdtemp()  # a path that is short enough for a socket
    made._environment["XDG_RUNTIME_DIR"] = runtime
    yield made
    shutil.rmtree(runtime)


@pytest.fixture
def serve(command: Command) -> Iterator[Callable[..., Serving]]:
    """Starts hosts, which end with the test."""
    with contextlib.ExitStack() as hosts:

        def start(*names: str) -> Serving:
            host = Serving(command, *names)
            hosts.callback(host.end)
            assert host.said() == "up"
            return host

        yield start


def upgrade(forge: Forge, version: str, source: str = GREETER) -> None:
    for left in forge.site.glob("zoo_some*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    forge.plugin("some", source.replace('f"some', f'f"{version}'), version=version)


def lines(done: subprocess.CompletedProcess[bytes]) -> tuple[int, list[str], list[str]]:
    return done.returncode, done.stdout.decode().splitlines(), done.stderr.decode().splitlines()


def test_an_operator_acts_on_a_host_that_serves(forge: Forge, command: Command, serve: Callable[..., Serving]) -> None:
    upgrade(forge, "1.0.0")
    host = serve("some")

    listed = command("ps")
    _, [header, row], _ = lines(listed)
    assert header.split() == [
        "HOST", "PLUGIN", "VERSION", "STATE", "GENERATION", "ISOLATION", "SINCE", "APPLICATION",
    ]  # fmt: skip
    cells = row.split()
    assert cells[:6] + cells[7:] == [host.name, "some", "1.0.0", "running", "1", "none", "host.py"]

    status, out, err = lines(command("rollback", "some"))
    assert (status, out) == (1, [])
    assert err[0] == "some 1.0.0, generation 1, goes on serving"
    assert err[1].startswith("error: [rollback-unknown] ")

    upgrade(forge, "1.1.0")
    status, [out], err = lines(command("reload", "some"))
    assert (status, err) == (0, [])
    assert out.startswith("some 1.0.0 → 1.1.0, generation 2, in ")
    assert out.endswith(" ms")
    assert host.greet() == "1.1.0 Ada"

    upgrade(forge, "1.2.0", "1 / 0\n" + GREETER)
    status, out, err = lines(command("reload", "some"))
    assert (status, out) == (1, [])
    assert err[0] == "some 1.1.0, generation 2, goes on serving"
    assert err[1].startswith("error: [import-failed] ")
    assert err[2].startswith("hint: ")
    assert host.greet() == "1.1.0 Ada"
    listed = command("ps", "--json")
    [known] = json.loads(listed.stdout)["hosts"]
    [plugin] = known["plugins"]
    assert (known["host"], known["pid"], known["title"]) == (host.name, host.process.pid, "host.py")
    assert plugin["reload_error"].startswith("[import-failed] ")
    assert plugin["calls"] == 2
    assert b"s3cret" not in listed.stdout, "what is configured is nobody's business"

    _, [out], _ = lines(command("rollback", "some"))
    assert out.startswith("some 1.1.0 → 1.0.0, generation 3, in ")
    assert host.greet() == "1.0.0 Ada"

    upgrade(forge, "1.0.0")
    assert command.json("stop", "some")["plugins"] == [
        {"plugin": "some", "before": "1.0.0", "version": "1.0.0", "generation": 3, "state": "stopped"}
    ]
    assert host.greet() == "plugin-stopped"
    _, [out], _ = lines(command("restart", "some"))
    assert out.startswith("some 1.0.0, generation 4, in ")
    assert host.greet() == "1.0.0 Ada"


def test_one_of_several_hosts_is_named(command: Command, serve: Callable[..., Serving]) -> None:
    one, other = serve("english"), serve("english")

    status, _, err = lines(command("stop", "english"))
    assert status == 2
    assert err[0].startswith("error: [host-several] several hosts have english: ")
    assert one.name in err[0]
    assert other.name in err[0]
    done = command("stop", "english", "--host", str(other.process.pid))
    assert lines(done)[:2] == (0, ["english 1.0.0: stopped"])
    assert (one.greet("english"), other.greet("english")) == ("Hello, Ada! Nice to meet you.", "plugin-stopped")

    status, _, err = lines(command("stop", "englsh"))
    assert (status, err[0]) == (2, "error: [host-unknown] no host has been asked for englsh")


def test_a_host_that_was_killed_is_gone_and_one_that_is_stopped_is_silent(
    command: Command, serve: Callable[..., Serving], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed, stopped = serve("english"), serve("english")
    killed.process.kill()
    killed.process.wait()
    stop(stopped.process.pid)
    monkeypatch.setenv("XDG_RUNTIME_DIR", command._environment["XDG_RUNTIME_DIR"])
    monkeypatch.setattr(control, "PATIENCE", 0.2)
    try:
        assert {host.name for host in hosts.hosts()} == {killed.name, stopped.name}
        known, silent = hosts.states(hosts.hosts())
        assert (known, [finding.code for finding in silent.values()]) == ({}, ["host-silent"])
        assert [host.name for host in hosts.hosts()] == [stopped.name], "what the other left is removed"
        with pytest.raises(PluginHostError, match="host-silent"):
            hosts.host_of(["english"])
    finally:
        stopped.process.send_signal(signal.SIGCONT)


def test_a_command_is_no_host_whatever_is_set(command: Command) -> None:
    assert command("call", "english", "greet", "Ada").returncode == 0
    assert list(Path(command._environment["XDG_RUNTIME_DIR"]).iterdir()) == []


# Routes

ROUTE = """
[routes.Greeter]
default = "english"
canary = { plugin = "spanish", share = 0 }
"""
ENGLISH, SPANISH = "Hello, Ada! Nice to meet you.", "¡Hola, Ada! Mucho gusto."


def test_an_operator_sees_and_changes_a_route(command: Command, serve: Callable[..., Serving], tmp_path: Path) -> None:
    tmp_path.joinpath("pluginhost.toml").write_text(SETTINGS + ROUTE)
    host = serve()
    assert host.greet("Greeter") == ENGLISH

    _, [header, row], err = lines(command("route"))
    assert header.split() == [
        "HOST", "ROUTE", "CONTRACT", "DEFAULT", "SHARES", "OFF", "CANARY", "TRIED", "BASELINE", "FALLBACKS", "VERDICT",
    ]  # fmt: skip
    assert row.split()[:8] == [host.name, "Greeter", "Greeter", "english", "-", "-", "spanish=0", "0/0"]
    assert (row.split()[9:], err) == (["0", "-"], [])

    changed = command.json("route", "Greeter", "--share", "persian=100")
    assert (changed["host"], changed["route"], changed["weights"]) == (host.name, "Greeter", {"persian": 100})
    assert host.greet("Greeter").startswith("سلام")
    status, out, _ = lines(command("route", "Greeter", "--off", "persian"))
    said = dict(filter(lambda words: len(words) == 2, map(str.split, out)))
    assert (status, said["shares"], said["off"]) == (0, "persian=100", "persian")
    assert host.greet("Greeter") == ENGLISH
    assert [line.split()[:3] for line in lines(command("route", "Greeter"))[1][-3:]] == [
        ["PLUGIN", "CALLS", "FAILED"], ["english", "2", "0"], ["persian", "1", "0"],
    ]  # fmt: skip

    status, out, err = lines(command("route", "Greeter", "--default", "spanish", "--share", "persian=101"))
    assert (status, out) == (2, [])
    assert err[0] == "error: [configuration-wrong] routes.Greeter.weights.persian is 101.0"
    status, _, err = lines(command("route", "Greeter", "--on", "persian", "--default", "spansh"))
    assert (status, err[1]) == (2, "hint: did you mean spanish?")
    assert host.greet("Greeter") == ENGLISH, "all is changed or nothing"

    assert lines(command("route", "Greeter", "--promote"))[0] == 0
    assert host.greet("Greeter") == SPANISH
    status, _, err = lines(command("route", "Greeter", "--roll-back"))
    assert (status, err[0]) == (
        2, "error: [configuration-wrong] the route 'Greeter' tries nobody: spanish was promoted: by its operator",
    )  # fmt: skip
    assert lines(command("route"))[1][1].endswith("  spanish was promoted: by its operator")


# Watching


def test_watch_shows_what_changes_until_ctrl_c_on_a_terminal_and_in_a_pipe(
    forge: Forge, command: Command, serve: Callable[..., Serving]
) -> None:
    upgrade(forge, "1.0.0")
    host = serve("some")
    with watching(command, *pty.openpty()) as one, watching(command, *os.pipe()) as other:
        for watch in (one, other):
            watch.until(host.name, "some", "1.0.0", "running", "1")
        host.greet("Greeter")
        one.until(host.name, "Greeter", "english")
        other.until(host.name, "Greeter", "Greeter", "english")
        upgrade(forge, "1.1.0")
        assert command("reload", "some").returncode == 0
        for watch in (one, other):
            watch.until(host.name, "some", "1.1.0", "running", "2")
        host.end()
        for watch in (one, other):
            watch.until(host.name, "some", "1.1.0", "gone", "2")
        again = serve("some")
        for watch in (one, other):
            rows = watch.until(again.name, "some", "1.1.0", "running", "1")
            assert len(rows) == 1, "what is gone makes room for what comes"
            watch.process.send_signal(signal.SIGINT)
            assert watch.process.wait(60) == 0


class Watch(NamedTuple):
    """A `pluginhost watch`, and the end from which its output is read."""

    process: subprocess.Popen[bytes]
    output: int

    def until(self, *cells: str) -> list[list[str]]:
        """Returns the rows of the first table that has one that begins so."""
        shown, end = "", time.monotonic() + 60
        while True:
            assert select.select([self.output], [], [], 60)[0], shown
            assert time.monotonic() < end, shown
            shown += os.read(self.output, 1 << 16).decode()
            for table in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).split("HOST ")[1:]:
                rows = [line.split() for line in table.splitlines()[1:] if line[:1].isdigit()]
                if any(tuple(row[: len(cells)]) == cells for row in rows):
                    return rows


@contextlib.contextmanager
def watching(command: Command, output: int, its: int) -> Iterator[Watch]:
    """Yields a `pluginhost watch`."""
    environment = {"LC_ALL": "C.UTF-8", "TERM": "xterm", "COLUMNS": "80", **command._environment}
    process = subprocess.Popen(
        [BIN / "pluginhost", "watch"],
        stdout=its, stderr=its, cwd=command._folder, env=environment, preexec_fn=obey_signals,
    )  # fmt: skip
    os.close(its)
    try:
        yield Watch(process, output)
    finally:
        process.kill()
        process.wait()
        os.close(output)


def test_watch_needs_a_host(command: Command) -> None:
    status, _, err = lines(command("watch"))
    assert (status, err[0]) == (2, "error: [host-unknown] no host runs that can be asked")
    assert "`control = true`" in err[1]
