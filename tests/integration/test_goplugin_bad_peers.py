"""Programs and hosts that do wrong: each is told with a code, in bounded time, and nothing of it is left."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import shlex
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from goplugin import bad_plugin, peer_plugin
from goplugin.bad_plugin import REASON
from goplugin.ends import SECONDS, Started, close
from goplugin.peer_plugin import CHAT, COUNT, HANDSHAKE, MEASURE, MESSAGES, SLEEP
from pluginhost.errors import GoPluginError
from pluginhost.goplugin import AsyncGoPluginClient, HandshakeConfig, services
from pluginhost.goplugin import client as client_module
from pluginhost.goplugin.certificates import Certificate
from pluginhost.goplugin.services import SHUTDOWN, Empty
from waiting import is_alive, until

SAYS_WHY = f"print({REASON!r}, file=sys.stderr, flush=True)"
WAITS = f"{SAYS_WHY}\ntime.sleep(1000)"
PLAIN = {"auto_mtls": False}
SHORT = 6.0
"""Seconds for what does not come. A program needs some of them to start, on a machine with other things to do."""


def program(code: str) -> list[str]:
    """Returns the command of a small program that is no real plugin."""
    return [sys.executable, "-ISc", f"import os, socket, sys, time\n{code}"]


def says(line: str, then: str = WAITS, end: str = "\n") -> list[str]:
    return program(f"print({line!r}, end={end!r}, flush=True)\n{then}")


def listens(then: str, certificate: bytes = b"") -> list[str]:
    """Returns a program that listens, says so, and does something with `connection`."""
    encoded = base64.b64encode(certificate).decode().rstrip("=")
    return program(
        "path = os.environ['PLUGIN_UNIX_SOCKET_DIR'] + '/s'\n"
        "listener = socket.socket(socket.AF_UNIX)\nlistener.bind(path)\nlistener.listen()\n"
        f"print(f'1|1|unix|{{path}}|grpc|{encoded}', flush=True)\n"
        f"connection, _ = listener.accept()\n{then}\ntime.sleep(1000)"
    )


def with_tls(secret: str, trusted: str, shown: bytes) -> list[str]:
    """Returns a program that does mutual TLS with whom it trusts, and says that its certificate is another."""
    then = (
        "import ssl\ncontext = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
        f"context.load_cert_chain({secret!r})\ncontext.verify_mode = ssl.CERT_REQUIRED\n"
        f"context.load_verify_locations({trusted!r})\n"
        "try:\n  tls = context.wrap_socket(connection, server_side=True)\n  tls.recv(1)\n"
        "except ssl.SSLError as exc:\n  print(exc, file=sys.stderr)"
    )
    return listens(then, shown)


def bad(what: str) -> list[str]:
    return [sys.executable, "-I", bad_plugin.__file__, what]


GRANDCHILD = (
    "import subprocess\n"
    "child = subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
    "print('I started', child.pid, file=sys.stderr)\nsys.exit(4)"
)
CERTIFICATE = Certificate.make().der
OF_OTHERS = {"PLUGIN_CLIENT_CERT": "another's", "PLUGIN_MULTIPLEX_GRPC": "true", "PLUGIN_UNIX_SOCKET_GROUP": "nobody"}
TELLS = "print({name: value for name, value in os.environ.items() if name.startswith('PLUGIN_')}, flush=True)\n"
CASES: dict[str, tuple[list[str], dict[str, Any], str, str]] = {
    # Those that wait come first, so that the others run meanwhile.
    "is-silent": (program(WAITS), {"start_timeout": SHORT}, "handshake-late", "within 6 s"),
    "ends-no-line": (says("1|1|unix|/tmp/x|grpc|", end=""), {"start_timeout": SHORT}, "handshake-late", "within 6 s"),
    "floods-stderr": (program(f"while True: {SAYS_WHY}"), {"start_timeout": SHORT}, "handshake-late", REASON),
    "answers-nothing": (listens(SAYS_WHY), PLAIN | {"start_timeout": SHORT}, "peer-failed", "within 6 s"),
    "shakes-no-hands": (listens(SAYS_WHY, CERTIFICATE), {"start_timeout": SHORT}, "peer-failed", "within 6 s"),
    "says-no-health": (bad("is-silent"), PLAIN | {"start_timeout": SHORT}, "peer-failed", "within 6 s"),
    "promises-4-GB": (bad("promises-4-GB"), PLAIN | {"start_timeout": SHORT}, "peer-failed", "within 6 s"),
    "floods-messages": (bad("floods-messages"), PLAIN | {"start_timeout": SHORT}, "peer-failed", "within 6 s"),
    "pushes": (bad("pushes"), PLAIN | {"start_timeout": SHORT}, "peer-failed", "within 6 s"),
    # No handshake, or none that is taken.
    "ends": (program(f"{SAYS_WHY}\nsys.exit(3)"), {}, "program-died", "exit status 3"),
    "is-killed": (program(f"{SAYS_WHY}\nos.kill(os.getpid(), 9)"), {}, "program-died", "SIGKILL"),
    "wants-another-cookie": ([sys.executable, peer_plugin.__file__], {}, "program-died", "not meant to be executed"),
    "floods-stdout": (program("while True: print(end='x' * 9999)"), {}, "handshake-malformed", "xxxx"),
    "closes-stdout": (program(f"{SAYS_WHY}\nos.close(1)\ntime.sleep(1000)"), {}, "handshake-malformed", "closed"),
    "says-hello-first": (says("hello\n1|1|unix|/tmp/x|grpc|"), {}, "handshake-malformed", "'hello'"),
    "says-bytes": (program(f"os.write(1, b'\\xff\\x00\\x1b[2J\\n')\n{WAITS}"), {}, "handshake-malformed", "\\x1b[2J"),
    "is-net-rpc": (says("1|1|unix|/tmp/x|netrpc|"), {}, "protocol-unsupported", "net/rpc"),
    "is-another-protocol": (says("1|1|unix|/tmp/x|smoke|"), {}, "protocol-unsupported", "smoke"),
    "is-of-the-future": (says("2|1|unix|/tmp/x|grpc|"), {}, "protocol-unsupported", "version 2"),
    "is-old": (says("1|9|unix|/tmp/x|grpc|"), {}, "version-unsupported", "takes 2, 1"),
    "is-told-of-others": (program(TELLS + WAITS), PLAIN, "handshake-malformed", "{'PLUGIN_PROTOCOL_VERSIONS': '2,1'"),
    # Addresses.
    "is-not-there": (says("1|1|unix|/tmp/no/such|grpc|"), PLAIN, "peer-failed", "/tmp/no/such"),
    "is-no-socket": (says(f"1|1|unix|{sys.executable}|grpc|"), PLAIN, "peer-failed", sys.executable),
    "is-nearby": (says("1|1|unix|plugin.sock|grpc|"), PLAIN, "handshake-malformed", "no address of this machine"),
    "is-too-far": (says(f"1|1|unix|/{'x' * 107}|grpc|"), PLAIN, "handshake-malformed", "no address of this machine"),
    "has-a-closed-port": (says("1|1|tcp|127.0.0.1:1|grpc|"), PLAIN, "peer-failed", "127.0.0.1:1"),
    "is-elsewhere": (says("1|1|tcp|192.0.2.1:80|grpc|"), PLAIN, "handshake-malformed", "no address of this machine"),
    # Certificates.
    "has-no-certificate": (says("1|1|unix|/tmp/x|grpc|"), {}, "certificate-wrong", "without a certificate"),
    "has-one-unasked": (says("1|1|unix|/tmp/x|grpc|YWJj"), PLAIN, "certificate-wrong", "was sent none"),
    "has-no-real-one": (says("1|1|unix|/tmp/x|grpc|YWJj"), {}, "certificate-wrong", "cannot be read"),
    "has-no-base64": (says("1|1|unix|/tmp/x|grpc|Y*Jj"), {}, "certificate-wrong", "cannot be read"),
    "does-no-tls": (listens(f"connection.send(bytes(99))\n{SAYS_WHY}", CERTIFICATE), {}, "certificate-wrong", "AutoMTLS"),
    "dies-in-tls": (listens(f"{SAYS_WHY}\nconnection.recv(1)\nos._exit(7)", CERTIFICATE), {}, "program-died", "status 7"),
    # From the connection to health.
    "dies-after-its-line": (program(f"{SAYS_WHY}\nos.write(1, b'1|1|unix|/tmp/x|grpc|\\n')\nos._exit(5)"), PLAIN, "program-died", "status 5"),
    "dies-when-connected": (listens(f"{SAYS_WHY}\nos._exit(6)"), PLAIN, "program-died", "exit status 6"),
    "hangs-up": (listens(f"{SAYS_WHY}\nconnection.close()"), PLAIN, "peer-failed", "does not answer"),
    "speaks-http-1": (listens("connection.send(b'HTTP/1.1 400 Bad Request\\r\\n\\r\\n' * 99)"), PLAIN, "peer-failed", ""),
    "dies-at-health": (bad("dies"), PLAIN, "program-died", "exit status 6 after"),
    "serves-not": (bad("serves-not"), PLAIN, "peer-failed", "it says that it does not serve"),
    "refuses": (bad("refuses"), PLAIN, "peer-failed", "UNAUTHENTICATED go away\\x1b[2J!"),
    "answers-no-message": (bad("answers-nothing"), PLAIN, "peer-failed", "answered by nothing"),
    "answers-nonsense": (bad("answers-nonsense"), PLAIN, "peer-failed", "a message came that cannot be read"),
    "answers-text": (bad("answers-text"), PLAIN, "peer-failed", "text/html"),
    "compresses": (bad("compresses"), PLAIN, "peer-failed", "Compression"),
    "ends-within": (bad("ends-within"), PLAIN, "peer-failed", "does not answer"),
    "resets": (bad("resets"), PLAIN, "peer-failed", "reset"),
    "goes-away": (bad("goes-away"), PLAIN, "peer-failed", "does not answer"),
    "floods-headers": (bad("floods-headers"), PLAIN, "peer-failed", "does not answer"),
    "says-garbage": (bad("says-garbage"), PLAIN, "peer-failed", "does not answer"),
    "frames-too-large": (bad("frames-too-large"), PLAIN, "peer-failed", "does not answer"),
    # What is no program.
    "leaves-a-grandchild": (program(GRANDCHILD), {}, "program-died", "I started"),
    "is-not-a-program": (["/no/such/program"], {}, "program-unstartable", "/no/such/program"),
    "is-a-folder": (["/"], {}, "program-unstartable", "Permission"),
    "is-a-text": ([__file__], {}, "program-unstartable", "Permission"),
    "has-no-folder": (["sleep", "60"], {"cwd": "/no/such/folder"}, "program-unstartable", "/no/such/folder"),
    "has-changed": (["sleep", "60"], {"checksum": "ab" * 32}, "program-changed", "sleep has the SHA-256"),
}  # fmt: skip
COOKIES = {"wants-another-cookie": HandshakeConfig("GREETER_PLUGIN", "another")}


class Ran:
    """What came of all that a test ran at once.

    Attributes:
        errors: What was raised, by case; `None` if nothing was.
        seconds: How long each took, with its end.
        codes: How each process ended.
    """

    def __init__(self) -> None:
        self.errors: dict[str, GoPluginError | None] = {}
        self.seconds: dict[str, float] = {}
        self.codes: dict[str, int | None] = {}
        self._few = asyncio.Semaphore(4)

    async def one(self, case: str, client: AsyncGoPluginClient, then: Callable[[AsyncGoPluginClient], Any]) -> None:
        began = time.monotonic()
        try:
            await then(client)
            self.errors[case] = None
        except GoPluginError as exc:
            self.errors[case] = exc
        await client.kill()
        self.seconds[case], self.codes[case] = time.monotonic() - began, client.exit_code

    async def one_of_few(self, *args: Any) -> None:
        async with self._few:
            await self.one(*args)


def ran(folder: Path, all_of_them: Callable[[Ran], list[Any]], result: Ran | None = None) -> Ran:
    """Returns what came of coroutines, of which nothing is left: no process, thread, descriptor, file or complaint."""
    complaints: list[Any] = []

    result = result or Ran()

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        await asyncio.gather(*all_of_them(result))

    before = held()
    asyncio.run(run())
    # What earlier tests left may have ended meanwhile.
    until(lambda: all(now <= was for now, was in zip(held(), before, strict=True)))
    assert not list(folder.iterdir())
    assert not complaints
    return result


def held() -> tuple[int, int, int]:
    """Returns how many threads, descriptors and children this process has."""
    children = [file.read_text() for file in Path("/proc/self/task").glob("*/children")]
    return threading.active_count(), len(os.listdir("/proc/self/fd")), len(" ".join(children).split())


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """The temporary folder of this module's hosts and plugins, whose path is short."""
    with tempfile.TemporaryDirectory(prefix="gp-") as name, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", name)
        patch.setattr(tempfile, "tempdir", name)
        yield Path(name)


@pytest.fixture(scope="module")
def outcomes(folder: Path) -> Ran:
    """What came of each case; all at once."""
    own, other = Certificate.make(), Certificate.make()
    with tempfile.TemporaryDirectory(dir="/tmp") as kept, pytest.MonkeyPatch.context() as patch:
        secret, trusted = Path(kept, "secret"), Path(kept, "trusted")
        secret.write_bytes(own.secret)
        trusted.write_text(other.pem)
        for name, value in OF_OTHERS.items():
            patch.setenv(name, value)
        cases = CASES | {
            "is-somebody-else": (with_tls(str(secret), str(trusted), other.der), {}, "", ""),
            "trusts-another-host": (with_tls(str(secret), str(trusted), own.der), {}, "", ""),
        }

        def all_of_them(result: Ran) -> list[Any]:
            return [
                (result.one if "start_timeout" in options else result.one_of_few)(
                    case,
                    AsyncGoPluginClient(command, COOKIES.get(case, HANDSHAKE), **{"start_timeout": 30, **options}),
                    AsyncGoPluginClient.start,
                )
                for case, (command, options, *_) in cases.items()
            ]

        return ran(folder, all_of_them)


@pytest.mark.parametrize("case", CASES)
def test_a_bad_program_is_told_with_its_code_and_its_last_words(outcomes: Ran, case: str) -> None:
    command, _, code, told = CASES[case]
    error = outcomes.errors[case]
    assert error is not None
    assert error.finding.code == code
    assert told in f"{error.finding.message} {error.finding.hint}"
    assert error.finding.message.startswith(shlex.quote(command[0]))
    assert len(error.finding.message) < 2_000
    assert error.finding.hint
    assert outcomes.seconds[case] < 60
    if SAYS_WHY in command[-1] or command[-1] == "dies":
        assert f"it last wrote: {REASON}" in error.finding.message


@pytest.mark.parametrize("case", ["is-somebody-else", "trusts-another-host"])
def test_who_has_another_certificate_or_wants_one_is_refused(outcomes: Ran, case: str) -> None:
    error = outcomes.errors[case]
    assert error is not None
    assert error.finding.code == "certificate-wrong"


def test_what_a_program_started_ends_with_it(outcomes: Ran) -> None:
    message = str(outcomes.errors["leaves-a-grandchild"]).partition("\n")[0]
    grandchild = int(message.partition("I started ")[2])
    until(lambda: not is_alive(grandchild), "the end of the grandchild")


async def calls(client: AsyncGoPluginClient) -> None:
    await client.call("/a.Service/Call", b"", timeout=SECONDS)


async def calls_in_haste(client: AsyncGoPluginClient) -> None:
    with pytest.raises(GoPluginError, match=r"\[peer-failed\].* there was no answer within 0.2 s"):
        await client.call("/a.Service/Call", b"", timeout=0.2)


async def streams(client: AsyncGoPluginClient) -> None:
    replies = client.stream("/a.Service/Call", b"", timeout=SECONDS)
    assert await anext(replies) == b"first"
    await anext(replies)


async def streams_for_a_while(client: AsyncGoPluginClient) -> None:
    replies = client.stream("/a.Service/Call", b"")
    for _ in range(1_000):
        assert await anext(replies) == bytes(9_999)
    await replies.aclose()  # type: ignore[attr-defined]


async def dials(client: AsyncGoPluginClient) -> None:
    with pytest.raises(GoPluginError, match="cannot be reached"):
        await client.broker.dial(7)


async def does_nothing(client: AsyncGoPluginClient) -> None:
    """Looks only whether it answers."""


SERVING: dict[str, tuple[Callable[[AsyncGoPluginClient], Any], str, int]] = {
    "dies-in-a-call": (calls, "program-died", 6),
    "dies-in-a-stream": (streams, "program-died", 6),
    "floods-headers-in-a-call": (calls, "peer-failed", -9),
    "answers-no-call": (calls_in_haste, "", 0),
    "floods-a-call": (streams_for_a_while, "", 0),
    "floods-stdio": (does_nothing, "", -9),
    "prints-on-and-on": (does_nothing, "", -9),
    "floods-the-broker": (dials, "", 0),
    "prints-nonsense": (does_nothing, "", 0),
    "tells-nonsense": (does_nothing, "", 0),
    "speaks-a-later-http": (does_nothing, "", 0),
    "dies-at-shutdown": (does_nothing, "", 6),
    "stays": (does_nothing, "", -9),
}
"""What is done with each, with which code that fails, and how the process ends."""


@pytest.fixture(scope="module")
def served(folder: Path) -> Ran:
    """What came of programs that begin to serve: of all at once that end by themselves, and then of the others."""

    async def used(client: AsyncGoPluginClient, then: Callable[[AsyncGoPluginClient], Any]) -> None:
        await client.start()
        await client.ping(SECONDS)
        await then(client)
        await client.ping(SECONDS)  # and still it answers

    def those(result: Ran, end: bool) -> list[Any]:
        return [
            result.one(
                case,
                AsyncGoPluginClient(bad(case), HANDSHAKE, auto_mtls=False, stdout=lambda _: None),
                lambda client, then=then: used(client, then),
            )
            for case, (then, _, status) in SERVING.items()
            if end == (status >= 0)
        ]

    result = Ran()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client_module, "_LAST_OUTPUT", 1 << 20)
        # Those that end by themselves have time for it, on a busy machine; those that do not are killed soon.
        for end, seconds in ((True, 30.0), (False, 0.5)):
            patch.setattr(client_module, "END_SECONDS", seconds)
            ran(folder, lambda result, end=end: those(result, end), result)  # type: ignore[misc]
    return result


@pytest.mark.parametrize("case", SERVING)
def test_one_that_does_wrong_once_it_serves_holds_up_nobody(served: Ran, case: str) -> None:
    _, code, status = SERVING[case]
    error = served.errors[case]
    assert (error.finding.code if error else "") == code, error
    assert served.codes[case] == status
    assert served.seconds[case] < 60
    if code == "program-died":
        assert error
        assert "exit status 6 after" in error.finding.message
        assert f"it last wrote: {REASON}" in error.finding.message


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bad_plugin.frame(4, 0, 0, b"")
WORDS = {
    "says nothing": b"",
    "speaks HTTP/1": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "says garbage": bytes(range(256)) * 999,
    "begins TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    "begins HTTP/2": PREFACE,
    "goes on with garbage": PREFACE + bytes(range(256)) * 999,
    "says what is new": PREFACE + bad_plugin.frame(0x42, 0, 0, b"new"),
    "floods with headers": PREFACE + bad_plugin.frame(1, 0, 1, b"\x83") + bad_plugin.frame(9, 0, 1, bytes(9_999)) * 99,
    "calls nonsense": PREFACE + bad_plugin.frame(1, 5, 1, b"\x82\x86\x84"),
    "sends too much": PREFACE + bad_plugin.frame(0, 0, 1, bytes(1 << 20)),
}


@pytest.mark.parametrize("secure", [True, False], ids=["AutoMTLS", "plain"])
def test_hosts_that_do_wrong_leave_a_plugin_to_serve_others(secure: bool) -> None:
    """As do those that go in the middle of a call."""

    async def leave(plugin: Started, method: services.Method, *sent: Any) -> None:
        channel = plugin.channel()
        try:
            async with method.open(channel) as stream:
                for each in sent:
                    await stream.send_message(each)
                await asyncio.sleep(0)
                assert channel._protocol
                channel._protocol.connection._transport.abort()
                with contextlib.suppress(Exception):
                    await stream.recv_message()
        finally:
            await close(channel)  # also where the call fails before it is left

    async def host(plugin: Started) -> None:
        for method, sent in (
            (SLEEP, [MESSAGES["Pause"](milliseconds=60_000)]),
            (COUNT, [MESSAGES["Number"](number=1_000_000)]),
            (MEASURE, [MESSAGES["Data"](data=bytes(100_000))] * 3),
            (CHAT, []),
        ):
            with contextlib.suppress(Exception):
                await leave(plugin, method, *sent)
        channel = plugin.channel()
        assert await services.is_serving(channel, SECONDS)
        for sock in connections[:5]:
            sock.close()
        await asyncio.to_thread(until, lambda: len(list(descriptors.iterdir())) <= before + 6)
        await SHUTDOWN.call(channel, Empty(), SECONDS)
        await close(channel)

    with Started(secure=secure) as plugin, contextlib.ExitStack() as undo:
        descriptors = Path(f"/proc/{plugin.process.pid}/fd")
        before = len(list(descriptors.iterdir()))
        connections = [undo.enter_context(socket.socket(socket.AF_UNIX)) for _ in WORDS]
        for sock, words in zip(connections, WORDS.values(), strict=True):
            sock.connect(plugin.line.address)
            with contextlib.suppress(OSError):  # it has hung up
                sock.sendall(words)
        asyncio.run(host(plugin))
        code, stderr = plugin.wait()
        assert code == 0
        assert '"@level":"error"' not in stderr
        assert not list(plugin.folder.iterdir())
