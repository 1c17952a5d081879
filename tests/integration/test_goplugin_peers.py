"""The peers in Go of `tests/goplugin/` do with each other what our own ends are held to do with them.

So what fails between one of them and one of ours is ours. What go-plugin 1.0.1 cannot do is held here too.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from goplugin.peers import COOKIE_KEY, COOKIE_VALUE, Peers


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the plugins put their sockets. Not pytest's, whose path may be too long for one."""
    with tempfile.TemporaryDirectory(prefix="peers-") as name:
        yield Path(name)


def asked(peers: Peers, folder: Path, words: str, *flags: str) -> list[dict[str, Any]]:
    """Returns what the host tells of the plugin in Go, which these flags start."""
    return peers.ask(words, [peers.plugin, *flags], {"TMPDIR": str(folder)})


def answers(lines: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns by operation what came of it, without the time it took."""
    return {
        line["op"]: {key: value for key, value in line.items() if key not in ("op", "seconds")}
        for line in lines
        if line["op"] != "record"
    }


def records(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the plugin's log records; the host's own are of no module."""
    return [line["record"] for line in lines if line["op"] == "record" and "@module" in line["record"]]


@pytest.mark.parametrize("security", ["", "-plain "], ids=["AutoMTLS", "plain"])
def test_each_kind_of_call_is_answered_and_nothing_is_left(peers: Peers, folder: Path, security: str) -> None:
    words = "greet:Ada ping echo:0 echo:6000000 count:1000 measure:20:5000 chat:20:5000 calls:1000"
    lines = asked(peers, folder, security + words)
    assert [line["bytes"] for line in lines if line["op"] == "echo" and line["same"]] == [0, 6_000_000]
    told = answers(lines)
    start, end, calls = (told.pop(each) for each in ("start", "end", "calls"))
    assert (start["version"], start["address"][0], Path(start["address"][1]).parent) == (2, "unix", folder)
    assert calls["calls"] == 1_000
    assert calls["p50"] <= calls["p99"] <= calls["max"]
    assert told == {
        "greet": {"text": "Hello, Ada!", "version": 2},
        "ping": {},
        "echo": {"bytes": 6_000_000, "same": True},
        "count": {"numbers": 1_000},
        "measure": {"bytes": 100_000},
        "chat": {"turns": 20},
    }
    assert end["exit"] == "exit status 0"
    assert not Path(f"/proc/{start['pid']}").exists()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("security", ["", "-plain "], ids=["AutoMTLS", "plain"])
def test_the_host_calls_a_second_service_through_the_broker(peers: Peers, folder: Path, security: str) -> None:
    """The plugin ends without a look at it, so the socket of that one is left."""
    told = answers(asked(peers, folder, f"{security}open:Eve open:Bob"))
    assert told["open"] == {"text": "Welcome, Bob!", "version": 2}
    assert len(list(folder.iterdir())) == 2


def test_the_plugin_calls_back_through_the_broker(peers: Peers, folder: Path) -> None:
    told = answers(asked(peers, folder, "-plain callback:Eve callback:Bob"))
    assert told["callback"] == {"text": "Welcome back, Bob!", "version": 2}
    assert list(folder.iterdir()) == []


def test_with_auto_mtls_a_plugin_of_this_version_cannot_call_back(peers: Peers, folder: Path) -> None:
    """It dials without a server name and without the host's certificate: mended in go-plugin 1.4.4."""
    error = answers(asked(peers, folder, "callback:Bob"))["callback"]["error"]
    assert error["code"] == "Unavailable"
    assert "certificate is valid for localhost, not unused" in error["message"]


def test_the_highest_version_that_both_have_is_taken(peers: Peers, folder: Path) -> None:
    for offered, served, version in [("1,2", "1,2", 2), ("1", "1,2", 1), ("1,2,7", "1", 1)]:
        told = answers(asked(peers, folder, f"-versions {offered} greet", "-versions", served))
        assert told["start"]["version"] == told["greet"]["version"] == version


def test_log_records_come_with_their_level_and_fields(peers: Peers, folder: Path) -> None:
    lines = asked(peers, folder, "-level trace log:trace:low log:warn:high:who=Ada:what= log:raw:[ERROR]_bare ping")
    assert [answers(lines)[each] for each in ("log", "ping")] == [{}, {}]
    told = {record["@message"]: record for record in records(lines)}
    assert told["low"]["@level"] == "trace"
    assert {"@level": "warn", "@module": "greeter-plugin", "who": "Ada", "what": ""}.items() <= told["high"].items()
    assert told["[ERROR]_bare"]["@level"] == "error"


def test_what_is_printed_arrives_whole(peers: Peers, folder: Path) -> None:
    """What comes on stderr is kept by the host, what comes on stdout is dropped."""
    lines = asked(peers, folder, "print:stdout:1048576 print:stderr:1048576 greet")
    end = answers(lines)["end"]["stderr"]
    assert end["lines"] == 1_048_576 // 64 + 2  # of go-plugin's own: AutoMTLS, and the address
    lines = asked(peers, folder, "-plain -level debug print:stderr:6400")
    printed = "".join(f"{record['@message']}\n" for record in records(lines) if record["@message"].isdigit())
    assert printed == "".join(f"{number:063}\n" for number in range(100))


def test_a_status_and_a_deadline_come_as_those(peers: Peers, folder: Path) -> None:
    told = answers(asked(peers, folder, "-plain fail:5:nobody sleep:60000:20 greet"))
    assert told["fail"]["error"] == {"code": "NotFound", "message": "nobody"}
    assert told["sleep"]["error"]["code"] == "DeadlineExceeded"
    assert told["greet"]["text"] == "Hello, World!"


@pytest.mark.parametrize(
    ("end", "status"),
    [("crash:3", "exit status 3"), ("crash:0:oops", "exit status 2"), ("signal:9", "signal: killed")],
)
def test_a_plugin_that_ends_is_noticed(peers: Peers, folder: Path, end: str, status: str) -> None:
    lines = asked(peers, folder, f"-plain -level debug {end} greet")
    told = answers(lines)
    assert told[end.partition(":")[0]]["exited"]
    assert told["greet"]["error"]["code"] == "Unavailable"
    assert told["end"]["exit"] == status
    assert ("panic: oops" in str(records(lines))) == ("oops" in end)


def test_an_interrupt_is_ignored_and_a_kill_ends_it(peers: Peers, folder: Path) -> None:
    told = answers(asked(peers, folder, "-plain signal:2 greet kill"))
    assert told["greet"]["text"] == "Hello, World!"
    assert told["kill"] == {"exited": True, "exit": "exit status 0"}


@pytest.mark.parametrize(
    ("words", "flags", "message"),
    [
        ("-cookie wrong", "", "Unrecognized remote plugin message: |plugin exited before we could connect"),
        ("-versions 3", "", "Incompatible API version with plugin. Plugin version: 1, Client versions: [3]"),
        ("", "-net-rpc", 'Unsupported plugin protocol "netrpc". Supported: [grpc]'),
        ("", "-stray hello", "Unrecognized remote plugin message: hello"),
    ],
    ids=["cookie", "version", "net/rpc", "stray output"],
)
def test_a_handshake_that_fails_is_told(peers: Peers, folder: Path, words: str, flags: str, message: str) -> None:
    told = answers(asked(peers, folder, f"{words} greet", *flags.split()))
    assert any(told["start"]["error"]["message"].startswith(each) for each in message.split("|"))
    assert told.keys() == {"start", "end"}


def test_a_handshake_that_does_not_come_is_not_waited_for(peers: Peers) -> None:
    told = answers(peers.ask("-timeout 50ms", ["sleep", "3600"]))
    assert told["start"]["error"]["message"] == "timeout while waiting for plugin to start"
    assert told["end"]["exit"] == "signal: killed"


def test_a_person_who_starts_the_plugin_is_told_what_it_is(peers: Peers) -> None:
    done = subprocess.run([peers.plugin], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("This binary is a plugin.")


def test_this_cookie_is_the_one_in_the_sources(peers: Peers, folder: Path) -> None:
    env = os.environ | {COOKIE_KEY: COOKIE_VALUE, "TMPDIR": str(folder)}
    with subprocess.Popen([peers.plugin], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as plugin:
        line = plugin.stdout.readline() if plugin.stdout else b""
        plugin.kill()
    assert line.startswith(b"1|1|unix|" + os.fsencode(folder))
    assert line.endswith(b"|grpc|\n")
