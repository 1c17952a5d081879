"""Contracts over go-plugin: `pluginhost serve` and what serves a contract, called by objects of the contract's type."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from goplugin import adapted, peer_plugin
from goplugin.adapted import Adapted, Other
from goplugin.peers import COOKIE_KEY, COOKIE_VALUE
from pluginhost.cli.serve import serve
from pluginhost.errors import ConfigurationError, GoPluginError, PluginCallError
from pluginhost.goplugin import AsyncGoPluginClient, GoPluginClient, HandshakeConfig, dispense, far
from pluginhost.goplugin.proto import contract_of, file_of
from waiting import until

from pluginapi import Greeter, Handler, Operation, PluginError, Request, Response, Transformer

if TYPE_CHECKING:
    from forge import Forge
    from goplugin.peers import Peers

ADAPTED = [sys.executable, "-c", "from goplugin import adapted; adapted.main()"]


def command(*words: str) -> list[str]:
    """Returns what serves plugins."""
    cookie = ("--cookie-key", COOKIE_KEY, "--cookie-value", COOKIE_VALUE)
    return [sys.executable, "-m", "pluginhost", "serve", *words, *cookie]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A configuration file, with which no plugin is probed."""
    file = tmp_path_factory.mktemp("config") / "pluginhost.toml"
    file.write_text('probe = "never"\n[plugins.filter.config]\nblocked = ["mine"]\n', "utf-8")
    return str(file)


def client_of(*words: str, **env: str) -> GoPluginClient:
    return GoPluginClient(command(*words), HandshakeConfig(COOKIE_KEY, COOKIE_VALUE), env=os.environ | env)


@pytest.fixture(scope="module")
def client(config: str) -> Iterator[GoPluginClient]:
    """One that runs several plugins."""
    with client_of("english", "spanish", "filter", "divide", "reverse", "--config", config) as client:
        yield client


def test_each_contract_of_the_examples_is_called(client: GoPluginClient) -> None:
    english = dispense(client, Greeter, "english")
    assert isinstance(english, Greeter)
    assert (english.name, english.lang, english.greet("Ada")) == ("english", "English", "Hello, Ada! Nice to meet you.")
    assert dispense(client, Transformer, "reverse").transform("Grüße") == "eßürG"
    divide = dispense(client, Operation, "divide")
    assert (divide.symbol, divide.execute(1, 8)) == ("/", 0.125)
    with pytest.raises(PluginError, match=r"^division by zero$"):
        divide.execute(1, 0)
    with pytest.raises(PluginCallError, match=r"\[arguments-wrong\]"):
        divide.execute("one", 2)  # type: ignore[arg-type]


def test_init_brings_a_configuration_that_goes_before_the_files(client: GoPluginClient) -> None:
    handler = dispense(client, Handler, "filter")
    assert handler.handle(Request("1", b"mine")) == Response(403, b"blocked")
    handler = dispense(client, Handler, "filter", config={"blocked": ["yours"]})
    assert handler.handle(Request("2", b"yours")) == Response(403, b"blocked")
    assert handler.handle(Request("3", b"mine")) == Response(200, b"mine")
    with pytest.raises(ConfigurationError, match="does not cross to its program"):
        dispense(client, Handler, "filter", config={"blocked": [object()]})


def test_a_call_without_a_name_goes_to_the_first_plugin_of_the_contract(client: GoPluginClient) -> None:
    greet = file_of(Greeter).methods["greet"]
    request = greet.pack_call(("Ada",), {})
    assert greet.unpack_result(client.call(greet.path, request)) == "Hello, Ada! Nice to meet you."
    picked = client.call(greet.path, request, metadata={"pluginhost-plugin": "spanish"})
    assert greet.unpack_result(picked) == "¡Hola, Ada! Mucho gusto."


@pytest.mark.parametrize(
    ("contract", "name", "told"),
    [
        (Handler, "english", "it does not serve Handler of pluginapi; it serves Greeter of pluginapi"),
        (Greeter, "nobody", "no plugin 'nobody' is served, only: english, spanish, filter, divide, reverse"),
    ],
)
def test_what_is_not_served_is_told(client: GoPluginClient, contract: Any, name: str, told: str) -> None:
    with pytest.raises(GoPluginError, match="contract-unserved") as caught:
        dispense(client, contract, name)
    assert told in str(caught.value)
    with pytest.raises(ConfigurationError, match="no plugin's name"):
        dispense(client, contract, "é")


@pytest.mark.parametrize(
    ("version", "fingerprint", "code"),
    [
        ("1.0.0", "0123456789abcdef", "api-forked"),
        ("2.0.0", "", "api-version"),
        ("0.9.0", "", "api-version"),
        ("1.1.0", "0123456789abcdef", ""),  # it was made for an earlier one
    ],
)
def test_a_program_that_was_made_for_another_api_is_refused(
    client: GoPluginClient, monkeypatch: pytest.MonkeyPatch, version: str, fingerprint: str, code: str
) -> None:
    real = contract_of(Greeter)
    own = dataclasses.replace(real, version=version, fingerprint=fingerprint)
    monkeypatch.setattr(far, "contract_of", lambda contract: own)
    if not code:
        assert dispense(client, Greeter, "english").lang == "English"
        return
    with pytest.raises(GoPluginError, match=code) as caught:
        dispense(client, Greeter, "english")
    assert f"pluginapi {real.version} (fingerprint {real.fingerprint})" in str(caught.value)
    assert f"pluginapi {version} (fingerprint {fingerprint or 'none'})" in str(caught.value)


def test_many_threads_call_it_at_once(client: GoPluginClient) -> None:
    english = dispense(client, Greeter, "english")
    with ThreadPoolExecutor(8) as threads:
        greeted = list(threads.map(lambda number: english.greet(str(number)), range(200)))
    assert greeted == [f"Hello, {number}! Nice to meet you." for number in range(200)]


def test_who_starts_it_by_hand_is_told_before_anything_else_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        serve.main(command("nobody")[4:])
    told = capsys.readouterr()
    assert (caught.value.code, told.out) == (1, "")
    assert told.err.startswith("pluginhost serve nobody is a plugin, and not meant to be executed directly.\n")


def test_one_that_does_not_start_says_why() -> None:
    with pytest.raises(GoPluginError, match="program-died") as caught, client_of("nobody"):
        pass
    assert "[plugin-unknown]" in str(caught.value)


LOUD = """
import os
from pathlib import Path
from pluginapi import Greeter

print("imported")

class Loud(Greeter):
    lang = "Loud"

    def init(self, host):
        os.write(1, b"begun\\n")
        print("and", end="")
        self._file, self._word = Path(os.environ["LOUD"]), host.config.get("word", "nothing")
        self._tell("begun")

    def greet(self, name):
        return self._word

    def shutdown(self):
        self._tell("ended")

    def _tell(self, what):
        with self._file.open("a") as file:
            file.write(f"{what} with {self._word}\\n")

New = Loud
"""


@pytest.mark.usefixtures("patience")
def test_what_a_plugin_prints_while_it_starts_is_no_handshake_and_it_is_shut_down_once(
    forge: Forge, tmp_path: Path, config: str
) -> None:
    site, told = forge.plugin("loud", LOUD), tmp_path / "told"
    with client_of("loud", "--config", config, PYTHONPATH=str(site), LOUD=str(told)) as client:
        loud = dispense(client, Greeter, "whatever", config={"word": "hear"})
        assert loud.greet("Ada") == "hear"
        begun = "begun with nothing\nbegun with hear\nended with nothing\n"
        assert told.read_text() == begun
        loud.shutdown()
        assert told.read_text() == f"{begun}ended with hear\n"
        with pytest.raises(PluginCallError, match=r"greet was answered with INTERNAL: \[plugin-stopped\]"):
            loud.greet("Ada")
    assert client.exit_code == 0
    assert told.read_text() == f"{begun}ended with hear\n"
    with pytest.raises(GoPluginError, match="does not run any more"):
        loud.greet("Ada")


def adapted_env() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(adapted.__file__).parent.parent)}


@pytest.fixture(scope="module")
def away(patience: None) -> Iterator[GoPluginClient]:
    with GoPluginClient(ADAPTED, adapted.HANDSHAKE, env=adapted_env()) as client:
        yield client
    assert client.exit_code == 0  # though a call hangs in it


def test_plain_functions_run_at_once_and_streams_go_as_they_are_taken(away: GoPluginClient) -> None:
    plugin = dispense(away, Adapted, "adapted")
    with ThreadPoolExecutor(30) as threads:
        assert sorted(threads.map(plugin.meet, [30] * 30)) == list(range(30))
    plugin.level += 1
    assert plugin.level == 2
    assert list(plugin.count(5)) == [b"0", b"1", b"2", b"3", b"4"]
    with pytest.raises(PluginError, match="three is no number"):
        list(plugin.count(3))
    assert plugin.seen()[-2:] == ["count 5", "count 3"]
    large = plugin.count(10_000, 100_000)
    assert [next(large)[:1], next(large)[:1]] == [b"0", b"1"]
    before = len(plugin.seen())
    large.close()
    until(lambda: len(plugin.seen()) > before)
    assert int(plugin.seen()[-1].split()[1]) < 100  # what the connection holds, and no more


@pytest.mark.parametrize(
    ("what", "kind", "told"),
    [
        ("own word", PluginError, "^not like this$"),
        ("exit", PluginCallError, r"\[call-failed\].* raises was answered with UNKNOWN: SystemExit: 3"),
        ("anything", PluginCallError, r"\[call-failed\].* UNKNOWN: ValueError: anything"),
        ("nothing yet", PluginCallError, r"\[method-missing\].* UNIMPLEMENTED"),
        ("type", PluginCallError, r"\[call-failed\].* INTERNAL: \[reply-wrong\]"),
    ],
)
def test_a_failure_arrives_as_its_caller_knows_it(
    away: GoPluginClient, what: str, kind: type[Exception], told: str
) -> None:
    with pytest.raises(kind, match=told):
        dispense(away, Adapted, "adapted").raises(what)


def test_a_call_that_takes_too_long_is_given_up(away: GoPluginClient) -> None:
    plugin = dispense(away, Adapted, "adapted", timeout=0.2)
    with pytest.raises(GoPluginError, match=r"Hangs: there was no answer within 0.2 s"):
        plugin.hangs()
    assert dispense(away, Adapted, "adapted").level


def test_coroutines_are_awaited_in_any_event_loop(away: GoPluginClient) -> None:
    async def ask(plugin: Adapted) -> None:
        assert await asyncio.gather(*(plugin.asked(f"a{number}") for number in range(20))) == [
            f"A{number}" for number in range(20)
        ]
        assert [number async for number in plugin.counted(4)] == [0, 1, 2, 3]
        items = plugin.counted(1_000_000)
        assert await anext(items) == 0
        await items.aclose()  # type: ignore[attr-defined]
        await asyncio.to_thread(until, lambda: plugin.seen()[-1].startswith("counted "))

    async def host() -> None:
        async with AsyncGoPluginClient(ADAPTED, adapted.HANDSHAKE, env=adapted_env()) as client:
            plugin = await dispense(client, Adapted, "adapted")
            await ask(plugin)
            with pytest.raises(ConfigurationError, match="in the event loop of its client"):
                plugin.meet(1)
            with pytest.raises(GoPluginError, match="contract-unserved"):
                await dispense(client, Other, "adapted")
        with pytest.raises(GoPluginError, match="does not run any more"):
            await plugin.asked("again")

    asyncio.run(host())
    asyncio.run(ask(dispense(away, Adapted, "adapted")))


def test_a_program_that_says_nothing_of_itself_is_refused() -> None:
    with (
        GoPluginClient([sys.executable, peer_plugin.__file__], peer_plugin.HANDSHAKE) as client,
        pytest.raises(GoPluginError, match=r"contract-unserved.*Describe was answered with UNIMPLEMENTED"),
    ):
        dispense(client, Greeter, "english")


def test_a_host_in_go_runs_it(peers: Peers, config: str) -> None:
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        done = peers.ask("ping greet:Ada ping", command("english", "--config", config), {"TMPDIR": folder})
        told = {line.pop("op"): line for line in done if line["op"] != "record"}
        assert "error" not in told["start"] | told["ping"]
        assert told["greet"]["error"]["code"] == "Unimplemented"  # it asks for a service of its own
        assert told["end"]["exit"] == "exit status 0"
        assert not list(Path(folder).iterdir())
