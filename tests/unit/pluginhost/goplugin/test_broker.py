"""Both ends of the broker, in one event loop, over a connection as a host and its plugin have it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from goplugin.ends import SECONDS, connected, securities
from goplugin.peer_plugin import ASIDE, MESSAGES, aside
from hypothesis import given, settings
from hypothesis import strategies as st
from pluginhost.errors import ConfigurationError, GoPluginError
from pluginhost.goplugin import broker as module
from pluginhost.goplugin import listening
from pluginhost.goplugin.broker import Broker, Security
from pluginhost.goplugin.services import START_STREAM, ConnInfo
from waiting import until_async

if TYPE_CHECKING:
    from grpclib import client

Test = Callable[[Broker, Broker], Coroutine[Any, Any, None]]


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s")


async def greeted(channel: client.Channel) -> str:
    reply = await ASIDE.call(channel, MESSAGES["Name"](name="Ada"), timeout=SECONDS)
    return str(reply.text)


@contextlib.asynccontextmanager
async def ends(
    folder: Path, secure: bool = False, theirs: Security | None = None
) -> AsyncIterator[tuple[Broker, Broker]]:
    """Yields the host's end and the plugin's."""
    securities_ = securities() if secure else (None, None)
    host = Broker(lambda: listening.listen(str(folder)), securities_[0])
    plugin = Broker(lambda: listening.listen(str(folder)), theirs or securities_[1])
    async with connected(plugin.service()) as channel:
        running = asyncio.create_task(host.run(channel))
        try:
            yield host, plugin
        finally:
            host.close()
            plugin.close()
            running.cancel()
            await asyncio.wait([running])


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "AutoMTLS"])
def test_each_side_calls_what_the_other_serves_and_nothing_is_left(folder: Path, secure: bool) -> None:
    async def test() -> None:
        async with ends(folder, secure) as (host, plugin):
            for serving, dialing in ((host, plugin), (plugin, host)):
                first, second = serving.next_id(), serving.next_id()
                assert (first, second) == (1, 2)
                await serving.serve(second, [aside("Welcome, {}!")])
                await serving.serve(first, [aside("Hello, {}!")])
                assert await greeted(await dialing.dial(first)) == "Hello, Ada!"
                assert await greeted(await dialing.dial(second)) == "Welcome, Ada!"
        assert not list(folder.iterdir())

    asyncio.run(test())


def test_who_dials_first_waits_until_it_is_told_where(folder: Path) -> None:
    async def test() -> None:
        async with ends(folder) as (host, plugin):
            dialed = asyncio.create_task(plugin.dial(7))
            await asyncio.sleep(0)
            await host.serve(7, [aside("{}")])
            assert await greeted(await dialed) == "Ada"

    asyncio.run(test())


def test_what_is_stopped_answers_no_more_not_even_who_is_connected(folder: Path) -> None:
    async def test() -> None:
        async with ends(folder) as (host, plugin):
            await host.serve(1, [aside("{}")])
            channel = await plugin.dial(1)
            await greeted(channel)
            host.stop(1)
            assert not list(folder.iterdir())
            with pytest.raises(Exception, match=r"[Cc]onnection|No such file|terminated"):
                await greeted(channel)
            await host.serve(1, [aside("{} again")])  # the number is free
            assert await greeted(await plugin.dial(1)) == "Ada again"

    asyncio.run(test())


def test_a_number_serves_one_thing(folder: Path) -> None:
    async def test() -> None:
        async with ends(folder) as (host, _):
            await host.serve(1, [aside("{}")])
            with pytest.raises(ConfigurationError, match="serves 1 already"):
                await host.serve(1, [aside("{}")])
            assert len(list(folder.iterdir())) == 1

    asyncio.run(test())


@pytest.mark.parametrize(
    ("info", "what"),
    [
        (None, "did not say for 0.05 seconds where it is"),
        (ConnInfo(service_id=9, network="unix", address="/nowhere/at/all"), "cannot be reached"),
        (ConnInfo(service_id=9, network="unix", address=""), "cannot be reached"),
        (ConnInfo(service_id=9, network="unix", address="/x" * 999), "cannot be reached"),
        (ConnInfo(service_id=9, network="unix", address="a\0b"), "cannot be reached"),
        (ConnInfo(service_id=9, network="tcp", address="127.0.0.1:1"), "cannot be reached"),
        (ConnInfo(service_id=9, network="tcp", address="127.0.0.1:x\x1b[0m"), "cannot be reached"),
        (ConnInfo(service_id=9, network="tcp", address="127.0.0.1:99999"), "cannot be reached"),
        (ConnInfo(service_id=9, network="pipe", address="x"), "cannot be reached"),
        (ConnInfo(service_id=9, network="unix", address="x"), "no address of this machine"),
        (ConnInfo(service_id=9, network="tcp", address="192.0.2.1:80"), "no address of this machine"),
        # Of multiplexing, which was not agreed upon.
        (ConnInfo(service_id=9, knock=ConnInfo.Knock(knock=True)), "did not say for 0.05 seconds where it is"),
    ],
)
def test_who_cannot_be_reached_is_told_in_bounded_time(
    monkeypatch: pytest.MonkeyPatch, folder: Path, info: Any, what: str
) -> None:
    # Only where nothing is said is it short: what is said may be long on its way on a busy machine.
    monkeypatch.setattr(module, "PATIENCE", 0.05 if "did not say" in what else SECONDS)

    async def test() -> None:
        async with ends(folder) as (host, plugin):
            if info is not None:
                host._told.put_nowait(info)
            with pytest.raises(GoPluginError) as caught:
                await plugin.dial(9)
            assert what in str(caught.value)
            assert caught.value.finding.code == "peer-failed"
            assert "\x1b" not in str(caught.value)

    asyncio.run(test())


def test_what_nobody_asked_for_is_forgotten(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    monkeypatch.setattr(module, "_MOST", 3)

    async def test() -> None:
        async with ends(folder) as (host, plugin):
            for service_id in range(5):
                host._told.put_nowait(ConnInfo(service_id=service_id, network="unix", address="x"))
            async with asyncio.timeout(SECONDS):
                while not plugin._places:
                    await asyncio.sleep(0)
                assert set(plugin._places) <= {0, 1, 2}
                await until_async(lambda: not plugin._places)

    asyncio.run(test())


@pytest.mark.parametrize("is_hosts", [True, False], ids=["host", "plugin"])
def test_neither_side_takes_a_certificate_that_is_not_the_others(folder: Path, is_hosts: bool) -> None:
    """Be it who listens that has a wrong one or who connects."""

    async def test() -> None:
        _, stranger = securities()
        async with ends(folder, secure=True, theirs=stranger) as (host, plugin):
            serving, dialing = (host, plugin) if is_hosts else (plugin, host)
            await serving.serve(1, [aside("{}")])
            with pytest.raises(GoPluginError, match="certificate verify failed"):
                await dialing.dial(1)

    asyncio.run(test())


def test_who_has_no_certificate_is_not_served(folder: Path) -> None:
    async def test() -> None:
        async with ends(folder, secure=True) as (host, plugin):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_alpn_protocols(["h2"])
            assert plugin._security
            plugin._security = plugin._security._replace(dialing=context)
            await host.serve(1, [aside("{}")])
            with pytest.raises(Exception, match=r"[Cc]onnection|TLSV13_ALERT|alert"):
                await greeted(await plugin.dial(1))

    asyncio.run(test())


def test_who_dials_no_more_leaves_no_place(folder: Path) -> None:
    async def test() -> None:
        async with ends(folder) as (_, plugin):
            dialed = asyncio.create_task(plugin.dial(7))
            await until_async(lambda: plugin._places)
            dialed.cancel()
            await asyncio.wait([dialed])
            assert dialed.cancelled()
            assert not plugin._places

    asyncio.run(test())


def test_who_dials_when_the_connection_ends_is_told_at_once(folder: Path) -> None:
    async def test() -> None:
        host = Broker(lambda: listening.listen(str(folder)))
        plugin = Broker(lambda: listening.listen(str(folder)))
        async with connected(plugin.service()) as channel:
            running = asyncio.create_task(host.run(channel))
            dialed = asyncio.create_task(host.dial(1))
            # Both ends of the stream are there, and who dials waits.
            await until_async(lambda: host._told._getters and plugin._told._getters and host._places)  # type: ignore[attr-defined]
        await running
        for late in (dialed, host.dial(2)):
            with pytest.raises(GoPluginError, match="the connection has ended"):
                await late

    asyncio.run(test())


@settings(max_examples=20)
@given(st.lists(st.tuples(st.sampled_from(["serve", "dial"]), st.booleans()), max_size=12))
def test_whatever_the_order_who_was_told_a_number_reaches_what_goes_by_it(orders: list[tuple[str, bool]]) -> None:
    import tempfile

    async def test(folder: Path) -> None:
        async with ends(folder) as both:
            work = []
            for number, (first, is_host) in enumerate(orders):
                serving, dialing = both if is_host else both[::-1]
                jobs = [serving.serve(number, [aside(f"{number}")]), dialing.dial(number)]
                work += [asyncio.ensure_future(each) for each in (jobs if first == "serve" else jobs[::-1])]
                await asyncio.sleep(0)
            done = await asyncio.gather(*work)
            channels = [each for each in done if each is not None]
            assert [await greeted(each) for each in channels] == [str(number) for number in range(len(orders))]

    with tempfile.TemporaryDirectory(prefix="b-") as name:
        asyncio.run(test(Path(name)))


def test_the_stream_is_go_plugins() -> None:
    assert START_STREAM.path == "/plugin.GRPCBroker/StartStream"
