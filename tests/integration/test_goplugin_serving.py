"""A plugin in Python, in a process of its own, started and called as go-plugin's hosts do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from goplugin.ends import PLUGIN, SECONDS, Started, channel_to, close
from goplugin.peer_plugin import (
    ASIDE,
    CALL_BACK,
    CHAT,
    COOKIE,
    COUNT,
    CRASH,
    ECHO,
    FAIL,
    GREET,
    LOG,
    MEASURE,
    MESSAGES,
    OPEN,
    PRINT,
    SLEEP,
    aside,
)
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from pluginhost.goplugin import listening, services
from pluginhost.goplugin.broker import Broker, Security
from pluginhost.goplugin.certificates import Certificate, client_context, server_context
from pluginhost.goplugin.services import SHUTDOWN, STREAM_STDIO, Empty, Nothing, StdioData
from waiting import is_alive, until

if TYPE_CHECKING:
    from goplugin.peers import Peers
    from pluginhost.goplugin.channel import Channel


@contextlib.asynccontextmanager
async def open_to(plugin: Started) -> AsyncIterator[Channel]:
    """Yields a channel to a plugin."""
    channel = plugin.channel()
    try:
        yield channel
    finally:
        await close(channel)


async def printed(channel: Channel, found: dict[int, bytearray], longest: list[int]) -> None:
    """Reads what a plugin prints, to the end."""
    async with STREAM_STDIO.open(channel) as stream:
        await stream.send_message(Nothing())
        async for message in stream:
            found[message.channel] += message.data
            longest[0] = max(longest[0], len(message.data))


def lines(count: int) -> bytes:
    return b"".join(b"%063d\n" % number for number in range(count))


@pytest.mark.parametrize("secure", [True, False], ids=["AutoMTLS", "plain"])
def test_a_host_calls_it_and_is_called_back_and_nothing_is_left_at_the_end(secure: bool) -> None:
    async def host(plugin: Started) -> None:
        async with open_to(plugin) as channel:
            assert await services.is_serving(channel)
            greeting = await GREET.call(channel, MESSAGES["Name"](name="Ada"))
            assert (greeting.text, greeting.version) == ("Hello, Ada!", 2)
            large = os.urandom(6_000_000)
            assert (await ECHO.call(channel, MESSAGES["Data"](data=large))).data == large
            async with COUNT.open(channel) as stream:
                await stream.send_message(MESSAGES["Number"](number=100))
                assert [each.number async for each in stream] == list(range(100))
            async with MEASURE.open(channel) as stream:
                for _ in range(3):
                    await stream.send_message(MESSAGES["Data"](data=b"12345"))
                await stream.end()
                assert (await stream.recv_message()).number == 15
            async with CHAT.open(channel) as stream:
                for said in (b"one", b"two"):
                    await stream.send_message(MESSAGES["Data"](data=said))
                    assert (await stream.recv_message()).data == said
                await stream.end()
            with pytest.raises(GRPCError, match=r"NOT_FOUND.*not here"):
                await FAIL.call(channel, MESSAGES["Failure"](code=5, message="not here"))
            with pytest.raises(GRPCError, match="UNIMPLEMENTED"):
                await GREET._replace(path="/peer.Peer/Unheard").call(channel, MESSAGES["Name"]())
            with pytest.raises((asyncio.TimeoutError, GRPCError)) as late:  # the plugin looks at its clock, too
                await SLEEP.call(channel, MESSAGES["Pause"](milliseconds=60_000), timeout=0.05)
            assert getattr(late.value, "status", Status.DEADLINE_EXCEEDED) is Status.DEADLINE_EXCEEDED

            security = (
                Security(
                    server_context(plugin.own, ssl.DER_cert_to_PEM_cert(plugin.line.certificate)),
                    client_context(plugin.own, plugin.line.certificate),
                )
                if plugin.own
                else None
            )
            broker = Broker(lambda: listening.listen(str(plugin.folder)), security)
            running = asyncio.create_task(broker.run(channel))
            await broker.serve(broker.next_id(), [aside("Welcome back, {}!")])
            greeting = await CALL_BACK.call(channel, MESSAGES["Visit"](service_id=1, name="Ada"))
            assert greeting.text == "Welcome back, Ada!"
            opened = await OPEN.call(channel, MESSAGES["Empty"]())
            beside = await broker.dial(opened.number)
            assert (await ASIDE.call(beside, MESSAGES["Name"](name="Ada"))).text == "Welcome, Ada!"
            broker.close()
            await SHUTDOWN.call(channel, Empty(), timeout=SECONDS)
            await asyncio.wait([running])

    with Started(secure=secure) as plugin:
        assert bool(plugin.line.certificate) is secure
        assert (plugin.line.version, plugin.line.network, plugin.line.multiplexed) == (2, "unix", None)
        assert Path(plugin.line.address).parent == plugin.folder
        asyncio.run(host(plugin))
        code, stderr = plugin.wait()
        assert code == 0
        assert stderr.endswith("\nserved\n")  # what is printed afterwards is for the log
        assert "hpack" not in stderr  # it logs everything, but for what each line of the log would make anew
        assert not list(plugin.folder.iterdir())


@pytest.fixture(scope="module")
def plugin() -> Iterator[Started]:
    """One that is only looked at."""
    with Started() as started:
        yield started


def test_who_has_no_certificate_or_a_wrong_one_is_refused(plugin: Started) -> None:
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.check_hostname, bare.verify_mode = False, ssl.CERT_NONE
    bare.set_alpn_protocols(["h2"])

    async def ask(tls: ssl.SSLContext | None) -> bool:
        channel = channel_to(plugin.line.network, plugin.line.address, tls)
        try:
            return await services.is_serving(channel, SECONDS)
        finally:
            await close(channel)

    for tls in (None, bare, plugin.tls(Certificate.make())):
        with pytest.raises(Exception, match=r"[Cc]onnection|alert|ALERT|closed") as caught:
            asyncio.run(ask(tls))
        assert not isinstance(caught.value, asyncio.TimeoutError)
    assert asyncio.run(ask(plugin.tls()))


def test_sigint_is_the_hosts_alone(plugin: Started) -> None:
    """A terminal sends it to the host's plugins too."""

    async def ask() -> bool:
        async with open_to(plugin) as channel:
            for _ in range(3):
                plugin.process.send_signal(signal.SIGINT)
                await GREET.call(channel, MESSAGES["Name"](name="Ada"))
            return await services.is_serving(channel)

    assert asyncio.run(ask())


def test_what_is_printed_while_it_serves_reaches_the_host_whole() -> None:
    """By a call that holds up the event loop meanwhile; and what C and other programs print."""
    count = (1 << 20) // 64
    found, longest = {StdioData.STDOUT: bytearray(), StdioData.STDERR: bytearray()}, [0]

    async def host(plugin: Started) -> None:
        async with open_to(plugin) as channel:
            reading = asyncio.create_task(printed(channel, found, longest))
            for name in ("stdout", "stderr"):
                await PRINT.call(channel, MESSAGES["Output"](stream=name, bytes=count * 64), SECONDS)
            await PRINT.call(channel, MESSAGES["Output"](stream="native"), SECONDS)
            await SHUTDOWN.call(channel, Empty(), SECONDS)
            await asyncio.wait_for(reading, SECONDS)

    with Started("prints-first", env={"PYTHONUNBUFFERED": ""}) as plugin:  # which is not in the handshake
        asyncio.run(host(plugin))
        assert plugin.wait()[0] == 0
    ours = b"printed before it serves\n" + lines(count) + b"from C\nfrom a program\n"
    assert bytes(found[StdioData.STDOUT]) == ours
    assert bytes(found[StdioData.STDERR]) == lines(count)
    assert longest[0] <= 1 << 10


def test_a_host_that_never_reads_does_not_hold_it_up_for_ever() -> None:
    async def host(plugin: Started) -> None:
        async with open_to(plugin) as channel:
            await PRINT.call(channel, MESSAGES["Output"](stream="stdout", bytes=3 << 20), SECONDS)
            assert await services.is_serving(channel)
            await SHUTDOWN.call(channel, Empty(), SECONDS)

    with Started("little-patience") as plugin:
        asyncio.run(host(plugin))
        assert plugin.wait()[0] == 0


def test_log_records_reach_the_host_as_hclog_writes_them() -> None:
    async def host(plugin: Started) -> None:
        async with open_to(plugin) as channel:
            await LOG.call(channel, MESSAGES["Record"](level="warning", message="it is late"))
            with pytest.raises(Exception, match=r"[Cc]onnection"):
                await CRASH.call(channel, MESSAGES["End"](panic="now"))

    with Started(env={"PYTHONFAULTHANDLER": "1"}) as plugin:
        asyncio.run(host(plugin))
        code, stderr = plugin.wait()
    assert code == -signal.SIGSEGV
    assert '"@level":"warn"' in stderr
    assert '"@message":"it is late"' in stderr
    assert "Fatal Python error: Segmentation fault" in stderr  # its last words are not for a pipe that dies with it


def test_sigterm_ends_it_and_its_socket(plugin: Started) -> None:
    """Last of those that have one plugin together."""
    plugin.process.send_signal(signal.SIGTERM)
    assert plugin.wait()[0] == 0
    assert not list(plugin.folder.iterdir())


def test_a_person_who_starts_it_is_told_what_it_is() -> None:
    env = os.environ | dict.fromkeys(COOKIE, "another")
    done = subprocess.run([sys.executable, PLUGIN], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "peer_plugin.py is a plugin, and not meant to be executed directly.\n"
        "Start the program that uses it: that loads its plugins by itself.\n"
    )


def test_a_plugin_that_breaks_before_it_serves_says_why_in_the_log() -> None:
    """And what it printed, which no host could read yet."""
    done = subprocess.run([sys.executable, PLUGIN, "breaks"], env=os.environ | COOKIE, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"\nprinted before it breaks\n" in done.stderr
    assert b"RuntimeError: it is broken\n" in done.stderr


def test_a_host_whose_certificate_is_none_is_told() -> None:
    env = os.environ | COOKIE | {"PLUGIN_CLIENT_CERT": "nonsense"}
    done = subprocess.run([sys.executable, PLUGIN], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "[certificate-wrong] the other side's certificate cannot be read" in done.stderr


_HOST = """
import subprocess, sys
plugin = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(plugin.stdout.readline().decode(), end="", flush=True)
print(plugin.pid, file=sys.stderr, flush=True)
plugin.wait()
"""


@pytest.mark.parametrize("what", ["serves", "hangs"])
def test_it_ends_when_its_host_is_killed(what: str) -> None:
    """Before it has connected, and while the plugin hangs in a call."""

    async def hang(host: Started) -> None:
        async with open_to(host) as channel:
            with pytest.raises(asyncio.TimeoutError):
                await GREET.call(channel, MESSAGES["Name"](name="Ada"), 0.1)

    with Started(what, secure=False, command=(sys.executable, "-c", _HOST, sys.executable, str(PLUGIN))) as host:
        assert host.process.stderr
        pid = int(host.process.stderr.readline())
        if what == "hangs":
            asyncio.run(hang(host))
        host.process.kill()
        until(lambda: not is_alive(pid))
        assert not list(host.folder.iterdir())


def test_it_ends_when_nobody_can_read_its_log_any_more() -> None:
    """Its parent may be a launcher that outlives the host. This host takes no version of it, and wants multiplexing."""
    asked = {"PLUGIN_MULTIPLEX_GRPC": "true"}
    with Started(secure=False, versions=(7, 9), env=asked) as plugin:
        assert (plugin.line.version, plugin.line.multiplexed) == (1, False)  # its lowest; and it says that it cannot
        assert plugin.process.stderr
        plugin.process.stderr.close()
        plugin.process.wait(SECONDS)
        assert not list(plugin.folder.iterdir())


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where plugins of hosts in Go put their sockets. Not pytest's, whose path may be too long for one."""
    with tempfile.TemporaryDirectory(prefix="peers-") as name:
        yield Path(name)


@pytest.mark.parametrize(("flags", "version"), [("", 2), ("-plain -versions 1 ", 1)], ids=["AutoMTLS", "plain"])
def test_a_host_in_go_gets_what_it_gets_from_a_plugin_in_go(
    peers: Peers, flags: str, version: int, folder: Path
) -> None:
    words = (
        "ping greet:Ada echo:5000000 count:100 measure:20:5000 chat:20:5000 callback:Ada open:Ada "
        "log:warning:late sleep:60000:50 fail:5:missing print:stderr:640 ping"
    )
    done = peers.ask(flags + words, [sys.executable, str(PLUGIN)], {"TMPDIR": str(folder)})
    told = {line.pop("op"): line for line in done if line["op"] != "record"}
    assert told["start"]["version"] == told["greet"]["version"] == version
    assert told["greet"]["text"] == "Hello, Ada!"
    assert (told["echo"]["same"], told["count"]["numbers"], told["measure"]["bytes"]) == (True, 100, 100_000)
    assert told["chat"]["turns"] == 20
    assert (told["callback"]["text"], told["open"]["text"]) == ("Welcome back, Ada!", "Welcome, Ada!")
    assert told["sleep"]["error"]["code"] == "DeadlineExceeded"
    assert told["fail"]["error"] == {"code": "NotFound", "message": "missing"}
    assert {name for name, line in told.items() if "error" in line} == {"sleep", "fail"}
    record = next(line["record"] for line in done if line.get("record", {}).get("@module") == "greeter")
    assert (record["@level"], record["@message"]) == ("warn", "late")
    assert told["end"]["exit"] == "exit status 0"
    assert not list(folder.iterdir())


def test_a_host_in_go_refuses_a_version_and_sees_it_crash(peers: Peers, folder: Path) -> None:
    def asked(words: str) -> dict[str, dict[str, Any]]:
        done = peers.ask(words, [sys.executable, str(PLUGIN)], {"TMPDIR": str(folder)})
        return {line.pop("op"): line for line in done if line["op"] != "record"}

    refused = asked("-versions 7 greet:Ada")["start"]["error"]["message"]
    assert "Plugin version: 1, Client versions: [7]" in refused
    crashed = asked("crash:3: greet:Ada")  # and it goes on
    assert crashed["crash"]["error"]["code"] == crashed["greet"]["error"]["code"] == "Unavailable"
    assert crashed["end"]["exit"] == "exit status 3"


def test_a_host_in_go_makes_ten_thousand_calls_and_reads_nothing_that_is_printed(peers: Peers, folder: Path) -> None:
    """go-plugin 1.0.1 has no GRPCStdio; what is printed, 10 MB to each of the two, holds up nobody."""
    words = "print:stdout:10485760 print:stderr:10485760 calls:10000 kill"
    done = peers.ask(words, [sys.executable, str(PLUGIN)], {"TMPDIR": str(folder)})
    told = {line.pop("op"): line for line in done if line["op"] != "record"}
    assert not [name for name, line in told.items() if "error" in line]
    assert told["calls"]["calls"] == 10_000
    assert told["kill"] == told["kill"] | {"exited": True, "exit": "exit status 0"}
    assert not list(folder.iterdir())


def test_a_host_in_go_and_a_plugin_that_was_told_another_certificate_refuse_each_other(
    peers: Peers, folder: Path
) -> None:
    """Or none. Such a plugin is killed by its host, and so leaves its socket, as those in Go do."""
    changes = ["-u", "PLUGIN_CLIENT_CERT"], [f"PLUGIN_CLIENT_CERT={Certificate.make().pem}"]

    def asked(change: list[str]) -> list[dict[str, Any]]:
        return peers.ask("greet:Ada", ["env", *change, sys.executable, str(PLUGIN)], {"TMPDIR": str(folder)})

    with ThreadPoolExecutor() as threads:
        for done in threads.map(asked, changes):
            told = {line["op"]: line for line in done if line["op"] != "record"}
            assert told["start"]["error"]["message"]
            assert told.keys() == {"start", "end"}
            assert told["end"]["exit"] == "signal: killed"


def test_it_ends_when_its_host_in_go_is_killed(peers: Peers, folder: Path) -> None:
    command = [peers.host, "greet:Ada", "wait", "--", sys.executable, str(PLUGIN)]
    env = os.environ | {"TMPDIR": str(folder)}
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as host:
        assert host.stdout
        lines = (json.loads(line) for line in host.stdout)
        pid = next(line["pid"] for line in lines if line["op"] == "start")
        assert next(line["text"] for line in lines if line["op"] == "greet") == "Hello, Ada!"
        host.kill()
        until(lambda: not is_alive(pid))
    assert not list(folder.iterdir())
