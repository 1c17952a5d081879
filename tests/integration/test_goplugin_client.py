"""A host runs a go-plugin program, in Python or in Go, and ends it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from comparing import same
from goplugin import peer_plugin
from goplugin.peer_plugin import HANDSHAKE, MESSAGES, Data, Empty, Number
from goplugin.peers import COOKIE_KEY, COOKIE_VALUE
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from pluginhost.errors import ConfigurationError, GoPluginError
from pluginhost.goplugin import AsyncGoPluginClient, GoPluginClient
from pluginhost.goplugin import client as client_module
from pluginhost.goplugin.certificates import Certificate
from pluginhost.goplugin.channel import quiet_wire
from pluginhost.isolation.spawning import Nursery
from waiting import is_alive, until, until_async

if TYPE_CHECKING:
    from goplugin.peers import Peers

PLUGIN = [sys.executable, peer_plugin.__file__]
Name = MESSAGES["Name"]


PLAIN = {"auto_mtls": False}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """The temporary folder of this module's hosts and plugins, whose path is short; it is empty in the end."""
    with tempfile.TemporaryDirectory(prefix="gp-") as name, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", name)
        patch.setattr(tempfile, "tempdir", name)
        yield Path(name)
        assert not os.listdir(name)


class Heard:
    """What came of a plugin's output."""

    def __init__(self) -> None:
        self.stdout, self.stderr = b"", b""
        self.records: list[logging.LogRecord] = []
        self.logger = logging.Logger("plugin")
        handler = logging.Handler()
        handler.emit = self.records.append  # type: ignore[method-assign, assignment]
        self.logger.addHandler(handler)

    def out(self, data: bytes) -> None:
        self.stdout += data

    def err(self, data: bytes) -> None:
        self.stderr += data


@pytest.fixture(scope="module")
def heard() -> Heard:
    return Heard()


@pytest.fixture(scope="module")
def plugin(folder: Path, heard: Heard, patience: None) -> Iterator[GoPluginClient]:
    """A plugin in Python, with AutoMTLS."""
    with GoPluginClient(PLUGIN, HANDSHAKE, stdout=heard.out, stderr=heard.err, logger=heard.logger) as client:
        yield client
    assert client.exit_code == 0
    assert not is_alive(client.pid)
    with pytest.raises(ConfigurationError, match="does not run"):
        client.ping()
    client.kill()


def test_a_plugin_is_called_with_and_without_stubs(plugin: GoPluginClient) -> None:
    assert plugin.version == 2
    plugin.ping()
    assert plugin.run(peer_plugin.GREET.call(plugin.channel, Name(name="Ada"))).text == "Hello, Ada!"
    reply = plugin.call("/peer.Peer/Greet", Name(name="Ada").SerializeToString())
    assert peer_plugin.Greeting.FromString(reply).version == 2
    counted = plugin.stream("/peer.Peer/Count", Number(number=5).SerializeToString())
    assert [Number.FromString(each).number for each in counted] == [0, 1, 2, 3, 4]
    sent = (Data(data=bytes(size)).SerializeToString() for size in (1, 2, 3))
    (total,) = plugin.stream("/peer.Peer/Measure", sent)
    assert Number.FromString(total).number == 6


def test_requests_and_replies_of_a_stream_take_turns(plugin: GoPluginClient) -> None:
    """A request may wait for the reply to the one before."""
    came = threading.Semaphore(1)

    def requests() -> Iterator[bytes]:
        for size in range(5):
            assert came.acquire(timeout=60)
            yield Data(data=bytes(size)).SerializeToString()

    sizes = []
    for reply in plugin.stream("/peer.Peer/Chat", requests()):
        sizes.append(len(Data.FromString(reply).data))
        came.release()
    assert sizes == [0, 1, 2, 3, 4]


def test_a_stream_that_is_left_ends(plugin: GoPluginClient) -> None:
    replies = plugin.stream("/peer.Peer/Count", Number(number=1_000_000).SerializeToString())
    next(replies)
    replies.close()  # type: ignore[attr-defined]
    plugin.ping()


def test_what_the_application_raises_is_raised(plugin: GoPluginClient) -> None:
    def requests() -> Iterator[bytes]:
        yield b""
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        list(plugin.stream("/peer.Peer/Chat", requests()))
    plugin.ping()


def test_what_the_plugin_says_of_a_failure_is_raised_as_by_a_stub(plugin: GoPluginClient) -> None:
    failure = MESSAGES["Failure"](code=5, message="no such thing")
    with pytest.raises(GRPCError, match="no such thing") as caught:
        plugin.call("/peer.Peer/Fail", failure.SerializeToString())
    assert caught.value.status is Status.NOT_FOUND


def test_a_call_that_takes_too_long_is_told_with_the_program(plugin: GoPluginClient) -> None:
    pause = MESSAGES["Pause"](milliseconds=60_000)
    with pytest.raises(
        GoPluginError, match=r"peer_plugin.*/peer.Peer/Sleep: there was no answer within 0.1 s"
    ) as caught:
        plugin.call("/peer.Peer/Sleep", pause.SerializeToString(), timeout=0.1)
    assert caught.value.finding.code == "peer-failed"


def test_messages_have_no_cap(plugin: GoPluginClient) -> None:
    data = os.urandom(6_000_000)
    reply = plugin.call("/peer.Peer/Echo", Data(data=data).SerializeToString())
    same(Data.FromString(reply).data, data)


def test_both_call_each_other_back_through_the_broker(plugin: GoPluginClient) -> None:
    async def called_back() -> Any:
        service_id = plugin.broker.next_id()
        await plugin.broker.serve(service_id, [peer_plugin.aside("Welcome back, {}!")])
        visit = MESSAGES["Visit"](service_id=service_id, name="Ada")
        return await peer_plugin.CALL_BACK.call(plugin.channel, visit)

    async def called() -> Any:
        opened = await peer_plugin.OPEN.call(plugin.channel, Empty())
        channel = await plugin.broker.dial(opened.number)
        try:
            return await peer_plugin.ASIDE.call(channel, Name(name="Ada"))
        finally:
            channel.close()

    assert plugin.run(called_back()).text == "Welcome back, Ada!"
    assert plugin.run(called()).text == "Welcome, Ada!"


def test_the_plugins_log_is_logged_with_its_levels(plugin: GoPluginClient, heard: Heard) -> None:
    plugin.call("/peer.Peer/Log", MESSAGES["Record"](level="warning", message="low on \x1b[2J").SerializeToString())
    until(lambda: any("low on" in each.getMessage() for each in heard.records))
    record = next(each for each in heard.records if "low on" in each.getMessage())
    assert record.levelno == logging.WARNING
    assert record.getMessage() == "low on \\x1b[2J: @module=greeter"
    assert vars(record)["fields"] == {"@module": "greeter"}


@pytest.mark.usefixtures("patience")  # a busy machine may read little of it in the usual 2 s
def test_all_that_the_plugin_prints_comes_though_it_is_ended_at_once(folder: Path) -> None:
    """10 MB to each of the two, while it is called, to a host that is held up for a while as it ends the plugin."""
    heard, size = {"stdout": bytearray(), "stderr": bytearray()}, 10 << 20
    left = None  # bytes to come, once the plugin is being ended, until the host is held up

    def hear(name: str, data: bytes) -> None:
        nonlocal left
        heard[name].extend(data)
        if left is not None and left > 0:
            left -= len(data)
            if left <= 0:
                time.sleep(1)

    async def run() -> int | None:
        nonlocal left
        client = AsyncGoPluginClient(
            [*PLUGIN, "patient"],
            HANDSHAKE,
            stdout=partial(hear, "stdout"),
            stderr=partial(hear, "stderr"),
            logger=logging.Logger("quiet", logging.CRITICAL),
        )
        async with client:
            printing = asyncio.gather(
                *(peer_plugin.PRINT.call(client.channel, MESSAGES["Output"](stream=name, bytes=size)) for name in heard)
            )
            while not printing.done():
                assert (await peer_plugin.GREET.call(client.channel, Name(name="Ada"))).text == "Hello, Ada!"
            await printing
            left = 2 << 20
        return client.exit_code

    assert asyncio.run(run()) == 0
    assert left is not None
    assert left <= 0
    lines = numbered(size)
    same(heard["stdout"], lines)
    said = heard["stderr"].splitlines(keepends=True)
    same(b"".join(line for line in said if line[:1] == b"0"), lines)


def numbered(size: int) -> bytes:
    """Returns what a plugin prints, in so many bytes: lines of 64."""
    return b"".join(b"%063d\n" % number for number in range(size // 64))


def test_a_client_does_not_wait_for_itself(plugin: GoPluginClient) -> None:
    async def inside() -> None:
        plugin.ping()

    with pytest.raises(ConfigurationError, match="in its own event loop"):
        plugin.run(inside())
    with pytest.raises(ConfigurationError, match="was started before"):
        plugin.start()
    plugin.ping()


def test_a_plugin_that_crashes_is_told_and_nothing_is_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is started in the clear, with variables of another host's about."""
    monkeypatch.setenv("PLUGIN_CLIENT_CERT", "no certificate")
    monkeypatch.setenv("PLUGIN_MULTIPLEX_GRPC", "true")
    monkeypatch.setenv("PLUGIN_PROTOCOL_VERSIONS", "9")

    async def run() -> None:
        client = AsyncGoPluginClient(PLUGIN, HANDSHAKE, auto_mtls=False)
        async with client:
            pause = client.call("/peer.Peer/Sleep", MESSAGES["Pause"](milliseconds=60_000).SerializeToString())
            sleeping = asyncio.create_task(pause)
            await client.ping()
            with pytest.raises(GoPluginError, match="exit status 7") as caught:
                await client.call("/peer.Peer/Crash", MESSAGES["End"](exit_code=7).SerializeToString())
            assert caught.value.finding.code == "program-died"
            with pytest.raises(GoPluginError, match="exit status 7"):
                await sleeping
            assert await client.wait() == client.exit_code == 7
            assert set(os.listdir(folder)) == before
            with pytest.raises(GoPluginError, match="exit status 7"):
                await client.ping()
            assert not is_alive(client.pid)
        with pytest.raises(GoPluginError, match="does not run any more"):
            await client.ping()

    before = set(os.listdir(folder))
    asyncio.run(run())


def test_a_plugin_that_hangs_is_killed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "END_SECONDS", 0.2)
    before = set(os.listdir(folder))
    with GoPluginClient([*PLUGIN, "hangs"], HANDSHAKE, auto_mtls=False) as client:
        with pytest.raises(GoPluginError, match=r"/peer.Peer/Greet: there was no answer within 0.1 s"):
            client.call("/peer.Peer/Greet", b"", timeout=0.1)
        with pytest.raises(GoPluginError, match="does not say whether it serves"):
            client.ping(0.1)
    assert client.exit_code == -9
    assert set(os.listdir(folder)) == before


def test_a_start_that_is_cancelled_leaves_nothing(folder: Path) -> None:
    async def run() -> None:
        client = AsyncGoPluginClient(["sleep", "1000"], HANDSHAKE)
        starting = asyncio.create_task(client.start())
        await until_async(lambda: client.pid is not None)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert not is_alive(client.pid)
        assert client.exit_code == -9

    before = set(os.listdir(folder))
    asyncio.run(run())
    assert set(os.listdir(folder)) == before


def test_a_plugin_that_is_killed_while_its_process_is_made_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: Future[Any] = Future()

    def run(nursery: Nursery, *args: Any, **named: Any) -> Future[Any]:
        made.set_result(real(nursery, *args, **named).result())
        return told

    async def main() -> None:
        client = AsyncGoPluginClient(["sleep", "1000"], HANDSHAKE)
        starting = asyncio.create_task(client.start())
        await until_async(made.done)
        killing = asyncio.create_task(client.kill())
        await asyncio.sleep(0.05)
        assert not killing.done()
        told.set_result(made.result())
        await killing
        assert not is_alive(made.result().pid)
        with pytest.raises(GoPluginError):
            await starting

    before = set(os.listdir(folder))
    real, told = Nursery.run, Future[Any]()
    monkeypatch.setattr(Nursery, "run", run)
    asyncio.run(main())
    assert set(os.listdir(folder)) == before


def test_a_program_with_the_right_checksum_is_started(folder: Path) -> None:
    """Where it is an interpreter, what it runs has a checksum too."""
    script = folder / "script.py"
    script.write_text("print('hello')")
    digests = {path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in (sys.executable, str(script))}
    try:
        for wrong in (False, True):
            if wrong:
                script.write_text("print('changed')")
            client = AsyncGoPluginClient([sys.executable, str(script)], HANDSHAKE, checksum=digests)
            with pytest.raises(GoPluginError) as caught:
                asyncio.run(client.start())
            assert caught.value.finding.code == ("program-changed" if wrong else "handshake-malformed")
    finally:
        script.unlink()


def test_an_application_that_ends_takes_its_plugins_along(folder: Path) -> None:
    code = (
        "import sys, threading, time\n"
        "from pluginhost.goplugin import GoPluginClient, HandshakeConfig\n"
        "client = GoPluginClient([sys.executable, '-ISc', 'import time; time.sleep(1000)'], HandshakeConfig('K', 'v'))\n"
        "threading.Thread(target=client.start, daemon=True).start()\n"
        "while client.pid is None: time.sleep(0.01)\n"
        "print(client.pid)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    until(lambda: not is_alive(int(done.stdout)))


def test_a_command_is_a_list() -> None:
    with pytest.raises(ConfigurationError, match="no list"):
        AsyncGoPluginClient("greeter --flag", HANDSHAKE)


def test_what_encodes_headers_logs_nothing_unless_it_is_told_to(
    plugin: GoPluginClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each call is two dozen lines where all is logged."""
    wire = logging.getLogger("hpack")
    assert wire.level == logging.INFO
    monkeypatch.setattr(wire, "level", logging.DEBUG)
    quiet_wire()
    assert wire.level == logging.DEBUG


def test_plugins_in_go_do_the_same(peers: Peers, folder: Path) -> None:
    async def run(options: dict[str, Any]) -> int | None:
        records = Heard()
        client = AsyncGoPluginClient([peers.plugin], HANDSHAKE, logger=records.logger, **options)
        async with client:
            assert client.version == 2
            await client.ping()
            assert (await peer_plugin.GREET.call(client.channel, Name(name="Ada"))).text == "Hello, Ada!"
            data = Data(data=bytes(5_000_000)).SerializeToString()
            assert await client.call("/peer.Peer/Echo", data) == data
            numbers = client.stream("/peer.Peer/Count", Number(number=50).SerializeToString())
            assert [Number.FromString(each).number async for each in numbers] == list(range(50))
            opened = await peer_plugin.OPEN.call(client.channel, Empty())
            channel = await client.broker.dial(opened.number)
            assert (await peer_plugin.ASIDE.call(channel, Name(name="Ada"))).text == "Welcome, Ada!"
            channel.close()
            if options:  # with AutoMTLS, go-plugin 1.0.1 as a plugin cannot call back
                service_id = client.broker.next_id()
                await client.broker.serve(service_id, [peer_plugin.aside("Welcome back, {}!")])
                visit = MESSAGES["Visit"](service_id=service_id, name="Ada")
                assert (await peer_plugin.CALL_BACK.call(client.channel, visit)).text == "Welcome back, Ada!"
            await peer_plugin.LOG.call(client.channel, MESSAGES["Record"](level="warn", message="low"))
            await until_async(
                lambda: any(each.levelno == logging.WARNING and "low" in each.getMessage() for each in records.records)
            )
        return client.exit_code

    before = set(os.listdir(folder))
    assert asyncio.run(run({})) == 0
    assert asyncio.run(run(PLAIN)) == 0
    assert set(os.listdir(folder)) == before


def test_a_plugin_in_go_that_crashes_or_speaks_net_rpc_is_told(peers: Peers, folder: Path) -> None:
    async def run() -> None:
        async with AsyncGoPluginClient([peers.plugin], HANDSHAKE) as client:
            with pytest.raises(GoPluginError, match="boom") as caught:
                await client.call("/peer.Peer/Crash", MESSAGES["End"](panic="boom").SerializeToString())
            assert caught.value.finding.code == "program-died"
            assert client.exit_code == 2
        for flag, code in ((["-net-rpc"], "protocol-unsupported"), (["-stray", "hello"], "handshake-malformed")):
            with pytest.raises(GoPluginError) as caught:
                await AsyncGoPluginClient([peers.plugin, *flag], HANDSHAKE).start()
            assert caught.value.finding.code == code

    before = set(os.listdir(folder))
    asyncio.run(run())
    assert set(os.listdir(folder)) == before


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("setpriv"), reason="needs setpriv of util-linux")
def test_a_plugin_in_go_ends_when_its_host_is_killed(peers: Peers) -> None:
    """Though it does nothing about that itself."""
    code = (
        "import signal, sys\nfrom pluginhost.goplugin import GoPluginClient, HandshakeConfig\n"
        "client = GoPluginClient(sys.argv[1:2], HandshakeConfig(*sys.argv[2:]))\n"
        "client.start()\nprint(client.pid, flush=True)\nsignal.pause()"
    )
    with tempfile.TemporaryDirectory(prefix="gp-") as left:
        host = subprocess.Popen(
            [sys.executable, "-c", code, peers.plugin, COOKIE_KEY, COOKIE_VALUE],
            env=os.environ | {"TMPDIR": left}, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        with host:
            assert host.stdout
            pid = int(host.stdout.readline())
            assert Path(f"/proc/{pid}/cmdline").read_bytes() == os.fsencode(peers.plugin) + b"\0"
            host.kill()
        until(lambda: not is_alive(pid))


def test_a_plugin_in_go_takes_ten_thousand_calls_and_writes_10_mb(peers: Peers, folder: Path) -> None:
    """Variables of another host's are about meanwhile."""
    said = bytearray()

    async def some(client: AsyncGoPluginClient) -> None:
        for _ in range(1_000):
            assert (await peer_plugin.GREET.call(client.channel, Name(name="Ada"))).text == "Hello, Ada!"

    async def run() -> int | None:
        client = AsyncGoPluginClient(
            [peers.plugin], HANDSHAKE, stderr=said.extend, logger=logging.Logger("quiet", logging.CRITICAL)
        )
        async with client:
            output = MESSAGES["Output"](stream="stderr", bytes=10 << 20)
            await asyncio.gather(peer_plugin.PRINT.call(client.channel, output), *(some(client) for _ in range(10)))
        return client.exit_code

    with pytest.MonkeyPatch.context() as patch:
        for name in ("PLUGIN_CLIENT_CERT", "PLUGIN_MULTIPLEX_GRPC", "PLUGIN_PROTOCOL_VERSIONS"):
            patch.setenv(name, "another's")
        assert asyncio.run(run()) == 0
    lines = [line for line in said.splitlines(keepends=True) if line[:1] == b"0"]
    same(b"".join(lines), numbered(10 << 20))


def test_a_plugin_in_go_and_its_host_refuse_each_other(peers: Peers, folder: Path) -> None:
    """Where it was given the certificate of another host, or none, or another cookie; and nothing is left."""
    given = f"PLUGIN_CLIENT_CERT={Certificate.make().pem}"
    for command, code, told in (
        (["env", given, peers.plugin], "certificate-wrong", "certificate"),
        (["env", "-u", "PLUGIN_CLIENT_CERT", peers.plugin], "certificate-wrong", "without a certificate"),
        (["env", f"{COOKIE_KEY}=another", peers.plugin], "program-died", "This binary is a plugin"),
    ):
        with pytest.raises(GoPluginError) as caught:
            asyncio.run(AsyncGoPluginClient(command, HANDSHAKE).start())
        assert caught.value.finding.code == code
        assert told in caught.value.finding.message


def test_32_plugins_run_at_once(peers: Peers, folder: Path) -> None:
    async def one() -> str:
        async with AsyncGoPluginClient([peers.plugin], HANDSHAKE) as client:
            running.release()
            await all_run.wait()
            return str((await peer_plugin.GREET.call(client.channel, Name(name="Ada"))).text)

    async def run() -> list[str]:
        tasks = [asyncio.create_task(one()) for _ in range(32)]
        for _ in tasks:
            await running.acquire()
        all_run.set()
        return await asyncio.gather(*tasks)

    def held() -> list[int]:
        return [threading.active_count(), len(os.listdir("/proc/self/fd")), len(os.listdir(folder))]

    running, all_run = asyncio.Semaphore(0), asyncio.Event()
    before = held()
    assert asyncio.run(run()) == ["Hello, Ada!"] * 32
    until(lambda: all(now <= was for now, was in zip(held(), before, strict=True)))
