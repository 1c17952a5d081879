"""A contract that has whatever may cross: its plugin answers the same in this process and in one of its own.

On the way of this system, and on the portable one. What a child's death means is the only difference there is.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import decimal
import importlib
import logging
import os
import pathlib
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NamedTuple

import pytest
from comparing import same
from forge import ROOT, Forge
from pluginhost import PluginCallError, PluginHostError, PluginInitError, PluginLookupError, PluginManager
from pluginhost.isolation import system
from pluginhost.testing import FakeHost
from waiting import until, until_async

from pluginapi import Event, PluginError

GROUP = "wide.plugins"
CONFIG = {"size": 7, "words": ["a", "ü"]}
WHERE = {"none": None, "process": system.best(), "portable": system.PORTABLE}


class Running(NamedTuple):
    """A plugin that runs, and the same one called directly."""

    manager: PluginManager
    plugin: Any
    direct: Any
    api: Any
    where: str
    events: list[Event]
    records: list[logging.LogRecord]

    def codes(self, *codes: str) -> str:
        """Returns what is expected here, of what differs in this process and in another."""
        return codes[self.where != "none"]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The API, whose wheel is installed and that of a plugin, too."""
    forge, folder = Forge(tmp_path_factory.mktemp("wide")), ROOT / "tests" / "wide"
    files = {name: (folder / f"{name}.py").read_text("utf-8") for name in ("wide_api", "wide_plugin", "wide_hello")}
    provides = {"hook": True, "settings": '[tool.pluginapi]\nprovides = "wide_api"'}
    forge.install(forge.wheel("zoo-wide-api", {"wide_api/__init__.py": files["wide_api"]}, **provides))
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(forge.site))
        entry_points = f'[project.entry-points."{GROUP}"]\nwide = "wide_plugin:New"\nhello = "wide_hello:New"'
        settings = "".join(
            f'\n[tool.pluginapi.plugins."{GROUP}".{name}]\ncontracts = {contracts}\ncapabilities = ["odd", "wide"]'
            for name, contracts in (("wide", ["Wide", "Named"]), ("hello", ["Greeter"]))
        )
        options: dict[str, Any] = {"hook": True, "project": entry_points, "dependencies": ("zoo-wide-api~=1.0",)}
        settings = f'[tool.pluginapi]\napi = "wide_api"{settings}'
        modules = {f"{name}.py": files[name] for name in ("wide_plugin", "wide_hello")}
        forge.install(forge.wheel("zoo-wide", modules, settings=settings, **options))
        yield importlib.import_module("wide_api")
    for name in set(sys.modules) - before:
        if name.startswith("wide_"):
            del sys.modules[name]


def made(where: str, **settings: Any) -> PluginManager:
    """Returns a manager whose plugins are isolated, or not."""
    isolation = "none" if where == "none" else "process"
    of = {"isolation": isolation, "breaker_failures": 1000, **settings}
    plugins = {"wide": {"config": CONFIG, **of}, "hello": of}
    return PluginManager(GROUP, "wide_api", plugins=plugins, probe="never", capabilities={"fast"})


@contextlib.contextmanager
def on(where: str) -> Iterator[None]:
    """Has children served by a system's way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(system, "best", lambda: WHERE[where])
        yield


@pytest.fixture(scope="module", params=WHERE)
def running(request: pytest.FixtureRequest, api: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("folders")
    events: list[Event] = []
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger(GROUP)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    with on(request.param), made(request.param) as manager:
        manager.folder = lambda kind: folder / kind
        manager.subscribe(events.append, "wide.")
        plugin = manager.get("wide", api.Wide)
        direct = importlib.import_module("wide_plugin").New()
        direct.name = "wide"
        direct.init(FakeHost("wide", CONFIG, {"fast"}))
        yield Running(manager, plugin, direct, api, request.param, events, records)
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
    assert [event.topic for event in events if event.source == "wide"][-1] == "wide.ended"


# -- what it is


def test_it_runs_where_it_was_told_to(running: Running) -> None:
    assert (running.plugin.pid() == os.getpid()) == (running.where == "none")


def test_it_is_of_its_contracts_and_named(running: Running) -> None:
    plugin, api = running.plugin, running.api
    assert isinstance(plugin, api.Wide)
    assert isinstance(plugin, api.Named)
    assert plugin.name == "wide"
    assert plugin is running.manager.get("wide", api.Wide)
    named = running.manager.get("wide", api.Named)
    assert (named.named(), named.title) == ("Wide wide", "Wide")
    assert running.manager.handle("wide").capabilities == {"odd", "wide"}
    assert running.manager.get("wide", api.Wide, requires={"odd"}) is plugin
    assert list(running.manager.all(api.Wide, requires={"odd"})) == ["wide"]
    assert list(running.manager.all(api.Greeter)) == ["hello"]


def test_its_attributes_are_read_and_written(running: Running) -> None:
    plugin, api = running.plugin, running.api
    assert (plugin.unit, plugin.limit, plugin.size, plugin.level) == ("mm", 3, 7, api.Level.LOW)
    plugin.level = api.Level.HIGH
    assert plugin.level is api.Level.HIGH
    plugin.level = api.Level.LOW
    plugin.limit = 4
    assert plugin.limit == 4
    plugin.limit = 3
    with pytest.raises(AttributeError):
        plugin.size = 3
    with pytest.raises(PluginError, match=r"^broken$") as raised:
        _ = plugin.broken
    assert type(raised.value) is PluginError
    with pytest.raises(api.Refused, match=r"^3: not to be mended$"):
        plugin.broken = 3


# -- calls

TREE = "Tree(1, [Tree(2, []), Tree(3, [Tree(4, [])])])"
POINT = "Point(1.0, -0.5, 'ü', Colour.BLUE)"
CALLS = [
    "defaults(1)",
    "defaults(1, 5)",
    "defaults(1, 5, 6, d=7)",
    "defaults(1, c=6)",
    "variadic('a')",
    f"variadic('a', 1, 2.5, here={POINT}, there=Point(0.0, 0.5))",
    "inherited()",
    "inherited('some text')",
    "inherited(text='some text')",
    "numbers(1, 2, 3j, True)",
    "numbers(-2**63, 1e300, 1+2j, False)",
    "numbers(2**64 - 1, float('inf'), 0j, False)",
    "data(b'')",
    "data(b'abc')",
    "data(BIG)",
    f"tree({TREE})",
    "moments(MOMENTS)",
    f"nested(Nested({{'a': [(1, {POINT})], '': []}}, frozenset({{1, 2}}), None))",
    "nested(Nested({}, frozenset(), 'text'))",
    f"nested(Nested({{}}, frozenset(), {POINT}))",
    "nested(Nested({}, frozenset(), [Colour.RED]))",
    f"either({POINT})",
    f"either({TREE})",
    "either(3)",
    "either('3')",
    "either(None)",
    "enums(Colour.RED, {Colour.BLUE: Level.HIGH})",
    "path(Path('/a'), [PurePosixPath('b'), PurePosixPath('c.txt')])",
    "anything({'a': [1, 'b', None, {'c': 2.5}]})",
    "nothing()",
    "configured()",
    "__call__(3)",
    "__call__(3, times=2)",
    "__len__()",
    "__getitem__('one')",
    "__contains__('one')",
    "__contains__('two')",
]
MOMENTS = {
    "at": datetime.datetime(2024, 2, 29, 12, 30, 1, 999, datetime.UTC),
    "day": datetime.date(1, 1, 1),
    "time": datetime.time(23, 59, 59),
    "took": datetime.timedelta(days=-1, microseconds=1),
    "amount": decimal.Decimal("1.10"),
    "id": uuid.UUID(int=7),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_call_answers_as_the_plugin_does(running: Running, call: str) -> None:
    """The same values, of the same types."""
    names = vars(running.api) | vars(pathlib) | {"BIG": os.urandom(1 << 20), "MOMENTS": running.api.Moments(**MOMENTS)}
    answer, direct = (eval(f"plugin.{call}", names | {"plugin": each}) for each in (running.plugin, running.direct))
    if isinstance(direct, bytes):
        same(answer, direct)
    assert answer == direct
    assert type(answer) is type(direct)
    if len(repr(direct)) < 1000:
        assert repr(answer) == repr(direct)


def test_pythons_protocols_hold(running: Running) -> None:
    plugin = running.plugin
    assert (plugin(3, times=2), len(plugin), plugin["one"]) == (6, 1, 1)
    plugin["two"] = 2
    assert list(plugin) == ["one", "two"]
    assert "two" in plugin
    assert "three" not in plugin
    with pytest.raises(KeyError, match="three"):
        plugin["three"]


@pytest.mark.parametrize("call", ["data()", "data(wrong=b'')", "nothing(1)", "__len__(1)", "later()"])
def test_arguments_that_no_call_has_are_pythons_error(running: Running, call: str) -> None:
    with pytest.raises(TypeError):
        done(eval(f"plugin.{call}", {"plugin": running.plugin}))


@pytest.mark.parametrize("call", ["defaults()", "defaults(1, b=2)", "defaults(1, 2, 3, 4)", "variadic()"])
def test_where_arguments_have_defaults_the_plugin_refuses_them(running: Running, call: str) -> None:
    exc = failed(lambda: eval(f"plugin.{call}", {"plugin": running.plugin}))
    assert (type(exc), exc.finding.code) == (PluginCallError, "call-failed")
    assert "raised TypeError: " in exc.finding.message


def test_what_is_returned_is_what_the_contract_says(running: Running) -> None:
    """In this process a reply is taken as it is, unless it is to be checked; from another it cannot come."""
    if running.where == "none":
        assert running.plugin.wrong_reply() == "text"
        return
    exc = failed(running.plugin.wrong_reply)
    assert (type(exc), exc.finding.code, exc.method) == (PluginCallError, "reply-wrong", "wrong_reply")


@pytest.mark.parametrize("call", ["data('text')", "tree(3)", "defaults('a')", "moments(None)", "data(object())"])
def test_arguments_of_another_type_do_not_cross(running: Running, call: str) -> None:
    """In this process they are the plugin's to refuse."""
    if running.where == "none":
        return
    exc = failed(lambda: eval(f"plugin.{call}", {"plugin": running.plugin}))
    assert (type(exc), exc.finding.code) == (PluginCallError, "arguments-wrong")
    assert "the arguments do not cross: " in exc.finding.message
    assert exc.finding.hint == "see the annotations of the contract's method"


# -- what goes wrong


def failed(call: Callable[[], object]) -> Any:
    with pytest.raises(BaseException) as raised:  # noqa: PT011 - whatever it is, it is compared
        call()
    return raised.value


@pytest.mark.parametrize("method", ["fail", "fail_later"])
@pytest.mark.parametrize("kind", ["own word", "refused"])
def test_an_error_of_the_api_arrives_as_itself(running: Running, method: str, kind: str) -> None:
    exc = failed(lambda: done(getattr(running.plugin, method)(kind)))
    wanted = failed(lambda: done(getattr(running.direct, method)(kind)))
    assert (type(exc), exc.args, str(exc), vars(exc)) == (type(wanted), wanted.args, str(wanted), vars(wanted))


@pytest.mark.parametrize("method", ["fail", "fail_later"])
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("value", "raised ValueError: a ü, in "),
        ("exit", "raised SystemExit: 3, in "),
        ("interrupt", "raised KeyboardInterrupt, in "),
        ("missing", "raised NotImplementedError: no, in "),
        ("group", "raised ExceptionGroup: "),
        ("large", "raised ValueError: xxxxx"),
    ],
)
def test_what_else_is_raised_is_a_failed_call_that_says_what_and_where(
    running: Running, method: str, kind: str, said: str
) -> None:
    exc = failed(lambda: done(getattr(running.plugin, method)(kind)))
    assert type(exc) is PluginCallError
    assert (exc.finding.code, exc.plugin, exc.version, exc.method) == ("call-failed", "wide", "1.0.0", method)
    assert exc.finding.message.startswith(f"wide (zoo-wide 1.0.0): {method} {said}")
    assert "tell the author of zoo-wide" in exc.finding.hint


def done(value: Any) -> Any:
    """Returns what is returned, also by a coroutine."""
    if not asyncio.iscoroutine(value):
        return value

    async def main() -> Any:
        async with asyncio.timeout(60):
            return await value

    return asyncio.run(main())


# -- streams


def test_a_stream_has_its_items_and_is_closed(running: Running) -> None:
    plugin = running.plugin
    plugin.did()
    assert list(plugin.count(4)) == [0, 1, 2, 3]
    assert plugin.did() == ["begun", "closed"]
    assert list(plugin.count(0)) == []
    plugin.did()


def test_a_stream_ends_with_the_plugins_own_word(running: Running) -> None:
    items: list[int] = []

    def read() -> None:
        items.extend(running.plugin.count(9))

    running.plugin.did()
    exc = failed(read)
    assert (type(exc), exc.code) == (running.api.Refused, 5)
    assert running.plugin.did() == ["begun", "closed"]


@pytest.mark.parametrize("how", ["closed", "dropped", "broken off"])
def test_a_stream_that_is_left_early_is_closed(running: Running, how: str) -> None:
    plugin, told = running.plugin, []
    plugin.did()
    stream = plugin.count(4)
    assert next(stream) == 0
    if how == "closed":
        stream.close()
    elif how == "broken off":
        with contextlib.suppress(KeyError):
            for _ in stream:
                raise KeyError
        stream.close()
    else:
        del stream
    until(lambda: "closed" in (told.extend(plugin.did()) or told))
    assert told == ["begun", "closed"]


def test_two_streams_are_read_in_turns(running: Running) -> None:
    assert list(zip(running.plugin.count(3), running.plugin.count(3), strict=True)) == [(0, 0), (1, 1), (2, 2)]


# -- coroutines


def test_a_coroutine_is_awaited_beside_others(running: Running) -> None:
    points = [running.api.Point(number, 0.5) for number in range(20)]

    async def main() -> list[Any]:
        return await asyncio.gather(*(running.plugin.later(point) for point in points))

    assert done(main()) == points


@pytest.mark.parametrize("how", ["cancelled", "late"])
def test_a_coroutine_is_cancelled_with_its_caller(running: Running, how: str) -> None:
    plugin, told = running.plugin, []
    plugin.did()

    async def until_told(what: str) -> None:
        await until_async(lambda: what in (told.extend(plugin.did()) or told))

    async def main() -> None:
        task = asyncio.create_task(plugin.wait(60))
        await until_told("asleep")
        if how == "late":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(task, 0.1)
        else:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await until_told("cancelled")

    done(main())
    assert told == ["asleep", "cancelled"]


def test_an_asynchronous_stream_has_its_items_and_is_closed_when_it_is_left(running: Running) -> None:
    plugin, api = running.plugin, running.api
    plugin.did()

    async def main() -> None:
        assert [point async for point in plugin.count_later(3)] == [api.Point(each, -each) for each in range(3)]
        assert plugin.did() == ["closed"]
        stream: AsyncIterator[Any] = plugin.count_later(4)
        assert (await anext(stream)).x == 0
        await stream.aclose()  # type: ignore[attr-defined]
        assert plugin.did() == ["closed"]
        with pytest.raises(api.Refused):
            _ = [point async for point in plugin.count_later(9)]

    done(main())


# -- the host's services


def test_its_configuration_is_that_which_is_set(running: Running) -> None:
    assert running.plugin.configured() == [CONFIG, 7, ["a", "ü"], ["fast"]]


def test_what_it_logs_and_emits_is_the_plugins(running: Running) -> None:
    running.records.clear()
    running.plugin.say("hello")
    (record,) = running.records
    assert (record.name, record.levelno, record.getMessage()) == (f"{GROUP}.wide.sub", logging.WARNING, "said hello")
    assert record.funcName == "say"
    assert running.events[0] == Event("wide.began", "wide", {"size": 7})
    assert running.events[-1] == Event("wide.said", "wide", {"text": "hello"})


def test_what_others_tell_reaches_it(running: Running) -> None:
    events = running.manager._runner.registry.events
    before = len(running.plugin.heard())
    for number in range(3):
        events.emit("told.it", "who", {"text": f"{number}"})
    until(lambda: len(running.plugin.heard()) == before + 3)
    assert running.plugin.heard()[before:] == [("told.it", "who", str(number)) for number in range(3)]


def test_its_data_folder_lasts(running: Running) -> None:
    kept = running.plugin.keep("kept")
    assert kept.read_text() == "kept"
    assert kept.parent.parts[-2:] == (GROUP, "wide")


def test_it_calls_other_plugins_by_their_contracts(running: Running) -> None:
    assert running.plugin.ask("hello", "Ada") == "Hello Ada"
    assert running.plugin.greetings() == {"hello": "Hello all"}
    exc = failed(lambda: running.plugin.ask("hello", ""))
    assert (type(exc), exc.args) == (PluginError, ("nobody",))
    exc = failed(lambda: running.plugin.ask("helo", "Ada"))
    assert (type(exc).__name__, exc.finding.code) == ("PluginNotFound", "plugin-unknown")


def test_it_takes_as_many_calls_at_once_as_its_class_says(running: Running) -> None:
    most: list[int] = []
    threads = [threading.Thread(target=lambda: most.append(running.plugin.overlaps())) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(most) == 12
    assert max(most) <= 4


def test_a_symbol_is_looked_up_in_this_process_alone(running: Running) -> None:
    handle = running.manager.handle("wide")
    if running.where == "none":
        assert handle.lookup("Answer", int).get() == 42
        return
    with pytest.raises(PluginLookupError) as raised:
        handle.lookup("Answer", int)
    assert raised.value.finding.code == "lookup-isolated"


# -- its life


@pytest.mark.parametrize("where", WHERE)
def test_it_is_stopped_started_unloaded_and_set_anew(api: Any, where: str) -> None:
    """Each time its shutdown is called once, and nothing is left of what was before."""
    events: list[str] = []
    with on(where), made(where) as manager:
        manager.subscribe(lambda event: events.append(f"{event.topic} {event.fields['size']}"), "wide.")
        plugin = manager.get("wide", api.Wide)
        first = plugin.pid()
        plugin.level = api.Level.HIGH
        manager.stop("wide")
        assert failed(plugin.pid).finding.code == "plugin-stopped"
        manager.start("wide")
        assert plugin.level is api.Level.LOW
        assert (plugin.pid() == first) == (where == "none")
        manager.apply({"plugins": {"wide": {"concurrency": 2}}})
        assert plugin.size == 7
        manager.unload("wide")
        assert failed(plugin.pid).finding.code == "plugin-stopped"
        again = manager.get("wide", api.Wide)
        assert again.size == 7
    began, ended = "wide.began 7", "wide.ended 7"
    assert events == [began, ended, began, began, ended, ended, began, ended]


@pytest.mark.parametrize("where", ["none", "process"])
@pytest.mark.parametrize(
    ("config", "kind", "code", "said"),
    [
        ({"size": -1}, PluginInitError, "validate-failed", "raised ValueError: a size below zero, in "),
        ({"sise": 1}, PluginHostError, "config-wrong", "plugins.wide.config.sise is not a setting"),
    ],
)
def test_a_configuration_that_it_does_not_take_refuses_it(
    api: Any, where: str, config: dict[str, object], kind: type[PluginHostError], code: str, said: str
) -> None:
    isolation = "none" if where == "none" else "process"
    plugins = {"wide": {"config": config, "isolation": isolation}}
    with PluginManager(GROUP, "wide_api", plugins=plugins, probe="never") as manager:
        exc = failed(lambda: manager.get("wide", api.Wide))
    assert isinstance(exc, kind)
    told = [each for each in (exc.finding, *exc.more) if said in each.message]
    assert [each.code for each in told] == [code]


# -- its process


@pytest.fixture(params=["process", "portable"])
def mortal(request: pytest.FixtureRequest, api: Any) -> Iterator[Any]:
    with on(request.param), made(request.param) as manager:
        yield manager.get("wide", api.Wide)


@pytest.mark.parametrize("method", ["survive", "survive_later"])
def test_an_idempotent_method_is_called_once_more_when_its_process_dies(
    mortal: Any, method: str, tmp_path: pathlib.Path
) -> None:
    before = mortal.pid()
    assert done(getattr(mortal, method)(tmp_path / "marker")) == mortal.pid() != before
    exc = failed(lambda: done(getattr(mortal, method)(tmp_path / "nowhere" / "marker")))
    assert exc.finding.code == "call-failed", "what it raises is an answer"


def test_any_other_is_not_called_again_and_the_next_call_finds_another_process(
    mortal: Any, tmp_path: pathlib.Path
) -> None:
    before = mortal.pid()
    exc = failed(lambda: mortal.survive_not(tmp_path / "marker"))
    assert (type(exc), exc.finding.code, exc.plugin) == (PluginCallError, "channel-lost", "wide")
    assert "it was ended by SIGKILL after " in exc.finding.message
    assert mortal.survive_not(tmp_path / "marker") == mortal.pid() != before
