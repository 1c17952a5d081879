"""A plugin's host from both ends of the wire, in one process: what the plugin uses, and what the host answers."""

from __future__ import annotations

import itertools
import logging
import math
import socket
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest
from forking import forks, holds_in_copy
from hypothesis import given
from hypothesis import strategies as st
from pluginhost import identity
from pluginhost.errors import (
    ConfigurationError,
    Finding,
    PluginCallError,
    PluginHostError,
    PluginNotFound,
    PluginStopped,
)
from pluginhost.events import About, Events
from pluginhost.host import PluginHost, Services
from pluginhost.isolation import outbox, records
from pluginhost.isolation.back import Back
from pluginhost.isolation.channel import Channel
from pluginhost.isolation.codec import codec_of
from pluginhost.isolation.far import FarHost
from pluginhost.isolation.frames import EVENT, Frame, Message
from pluginhost.isolation.lines import LinuxLine
from pluginhost.isolation.offered import Offered
from pluginhost.isolation.services import (
    TEXT_LIMIT,
    Init,
    Record,
    packed,
    packed_event,
    unpacked_event,
    within,
)
from pluginhost.isolation.services import Services as Asked
from pluginhost.isolation.system import Ends
from waiting import until

import pluginapi
from pluginapi import Event, Greeter, PluginError

ABOUT = About("some (zoo-some 1.2)", "some", "zoo-some", "1.2", 3)
LOGGER = "wire.some"
NUMBERS = itertools.count()


class Counter(pluginapi.Plugin):
    """A contract with all that a contract may have."""

    step: int

    @abstractmethod
    def count(self, to: int) -> Iterator[int]: ...

    @abstractmethod
    def refuse(self, why: str) -> None: ...

    @abstractmethod
    def wrong(self) -> int: ...


class Counting(Counter):
    def __init__(self) -> None:
        self.step = 1
        self.ended = 0

    def count(self, to: int) -> Iterator[int]:
        try:
            yield from range(0, to, self.step)
        finally:
            self.ended += 1

    def refuse(self, why: str) -> None:
        raise {
            "word": PluginError("no"),
            "failed": PluginCallError(Finding("reply-wrong", "m", "h"), plugin="x", version="1", method="y"),
            "own": KeyError("k"),
        }[why]

    def wrong(self) -> int:
        return "no number"  # type: ignore[return-value]


class English(Greeter):
    lang = "English"

    def greet(self, name: str) -> str:
        return f"Hello {name}"


class Hostile:
    def __str__(self) -> str:
        raise SystemExit

    __repr__ = __str__


class Wire:
    """A host, and the far host of it.

    Attributes:
        host: The host.
        offered: What answers.
        far: What the plugin has.
        told: The findings.
        logged: The records that its handlers got.
        opened: How many channels there are.
        may_send: Until it is set, no event gets through.
        is_sending: Is set once one is on its way.
    """

    def __init__(self, folder: Path, config: Mapping[str, object] | None = None) -> None:
        self.told: list[Finding] = []
        self.logged: list[logging.LogRecord] = []
        self.plugins: dict[str, pluginapi.Plugin] = {"english": English(), "counter": Counting()}
        self.events = Events(lambda finding, about: self.told.append(finding))
        services = Services(
            ABOUT, self._get, self._all, self._load, frozenset({"b", "a"}), self.events, lambda kind: folder / kind, "p"
        )
        self.host = PluginHost("wire", "some", config or {"a": [1], "b": {"c": "d"}}, services)
        self.handler = logging.Handler()
        self.handler.emit = self.logged.append  # type: ignore[method-assign]
        logger = logging.getLogger(LOGGER)
        logger.addHandler(self.handler)
        logger.setLevel(logging.INFO)
        self.opened = 0
        self.may_send, self.is_sending = threading.Event(), threading.Event()
        self.may_send.set()
        self.back = Back()
        contracts = identity.import_contracts("pluginapi") | {"Counter": Counter}
        self.offered = Offered(self.host, contracts, self._open, self._send, lambda name: None)
        self.offered.begin()
        self.init = msgspec.msgpack.decode(msgspec.msgpack.encode(self.offered.init()), type=Init)
        # In one process both have the same loggers: here the plugin's has another name.
        self.far = FarHost(self.back, msgspec.structs.replace(self.init, group=f"far{next(NUMBERS)}"))

    def _open(self, answer: Callable[[Channel], object], timeout: float | None = None) -> None:
        ours, theirs = socket.socketpair()
        self.opened += 1
        self.back.take(Ends(LinuxLine(theirs), None))
        channel = Channel(LinuxLine(ours), None, "the child")
        threading.Thread(target=answer, args=(channel,), daemon=True).start()

    def _send(self, message: Message) -> None:
        self.is_sending.set()
        self.may_send.wait(60)
        self.far.deliver(Frame(EVENT, 1, message.flags, message.meta, message.body))

    def _get(self, name: str, contract: Any) -> Any:
        if name not in self.plugins:
            raise PluginNotFound(Finding("plugin-unknown", f"no {name}", "see the list"))
        return self.plugins[name]

    def _all(self, contract: Any, requires: Any) -> Any:
        return {name: plugin for name, plugin in self.plugins.items() if isinstance(plugin, contract) and not requires}

    def _load(self, namespace: str, configuration: Any, contract: Any, undo: Any) -> Any:
        self.loaded = namespace, configuration
        return {key: English() for key in configuration}

    def end(self) -> None:
        self.may_send.set()
        self.far.revoke()
        self.host.revoke()
        self.far._pools.calling.end("the test is over")
        if self.back._asking:
            self.back._asking.close()
        for ends in self.back._came:
            ends.line.close()
        logging.getLogger(LOGGER).removeHandler(self.handler)


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    made = Wire(tmp_path)
    yield made
    made.end()


def refusal(call: Callable[[], object], kind: type[PluginHostError] = PluginCallError) -> PluginHostError:
    with pytest.raises(kind) as raised:
        call()
    assert type(raised.value) is kind
    return raised.value


def test_what_the_plugin_is_told_is_what_it_would_have_in_process(wire: Wire) -> None:
    assert wire.far.config == {"a": [1], "b": {"c": "d"}}
    with pytest.raises(TypeError):
        wire.far.config["a"] = 2  # type: ignore[index]
    assert wire.far.capabilities == {"a", "b"}
    assert wire.init.level == logging.INFO


@dataclass
class Config:
    a: list[int]


def test_config_as_is_checked_with_the_path_of_each_fault(wire: Wire) -> None:
    error = refusal(lambda: wire.far.config_as(Config), ConfigurationError)
    assert "p.b" in str(error)


def test_a_configuration_with_dates_crosses_and_one_with_a_lock_is_told(tmp_path: Path) -> None:
    wire = Wire(tmp_path, {"day": date(2024, 2, 29)})
    assert wire.far.config == {"day": date(2024, 2, 29)}
    wire.end()
    error = refusal(lambda: Wire(tmp_path, {"lock": threading.Lock()}), ConfigurationError)
    assert "does not cross" in str(error)


def test_folders_are_made_by_the_host(wire: Wire) -> None:
    assert wire.far.data_folder == wire.host.data_folder
    assert wire.far.cache_folder.is_dir()


def test_another_plugin_is_called_by_its_contract(wire: Wire) -> None:
    greeter = wire.far.get("english", Greeter)
    assert isinstance(greeter, Greeter)
    assert (greeter.lang, greeter.greet("Ada")) == ("English", "Hello Ada")
    greeter.lang = "en"
    assert wire.plugins["english"].lang == "en"  # type: ignore[attr-defined]
    assert wire.far.all(Greeter) == {"english": greeter}
    assert wire.far.all(Greeter, {"none has it"}) == {}


def test_a_stream_of_another_plugins_ends_there_when_it_is_closed_here(wire: Wire) -> None:
    counter = wire.far.get("counter", Counter)
    assert list(counter.count(3)) == [0, 1, 2]
    items = counter.count(100)
    assert next(items) == 0
    items.close()  # type: ignore[attr-defined]
    assert wire.plugins["counter"].ended == 2  # type: ignore[attr-defined]


def test_errors_arrive_as_what_code_in_process_catches(wire: Wire) -> None:
    counter = wire.far.get("counter", Counter)
    with pytest.raises(PluginError, match=r"^no$"):
        counter.refuse("word")
    failed = refusal(lambda: counter.refuse("failed"))
    assert isinstance(failed, PluginCallError)
    assert (failed.plugin, failed.version, failed.method) == ("x", "1", "y")
    assert (failed.finding.code, failed.finding.message, failed.finding.hint) == ("reply-wrong", "m", "h")
    assert refusal(lambda: counter.refuse("own")).finding.code == "call-failed"
    assert refusal(lambda: counter.wrong()).finding.code == "reply-wrong"
    arguments = refusal(lambda: counter.count("many")).finding  # type: ignore[arg-type]
    assert arguments.code == "arguments-wrong"
    assert arguments.message.startswith("the arguments do not cross")
    unknown = refusal(lambda: wire.far.get("none", Greeter), PluginNotFound).finding
    assert (unknown.code, unknown.message, unknown.hint) == ("plugin-unknown", "no none", "see the list")


def test_a_contract_that_is_none_of_the_apis_is_told(wire: Wire) -> None:
    class Greeter(pluginapi.Plugin):
        """Of the same name."""

    error = refusal(lambda: wire.far.get("english", Greeter), ConfigurationError)
    assert error.finding.code == "configuration-wrong"
    assert "no contract of the API's own" in error.finding.message
    assert "pluginapi.contracts.Greeter" in error.finding.hint
    with pytest.raises(PluginHostError, match="a contract is a class"):
        wire.far.get("english", "Greeter")  # type: ignore[arg-type]


def test_the_same_plugin_is_the_same_object_and_takes_one_range_of_numbers(wire: Wire) -> None:
    first = wire.offered._next
    found = {id(wire.far.get("english", Greeter)) for _ in range(200)}
    assert len(found) == 1
    assert wire.offered._next == first + 3  # greet, and lang to read and to write
    assert wire.far.get("english", pluginapi.Plugin) is not wire.far.get("english", Greeter)
    wire.offered._next = 65_535
    assert wire.far.get("english", Greeter).name
    error = refusal(lambda: wire.far.get("counter", Counter), ConfigurationError)
    assert "more other plugins than it can call" in str(error)


def test_guests_get_their_configuration_and_bear_their_names(wire: Wire) -> None:
    found = wire.far.load("http", {"x": {"n": [1]}, "y": {}}, Greeter)
    assert wire.loaded == ("http", {"x": {"n": [1]}, "y": {}})
    assert [(name, guest.name) for name, guest in found.items()] == [("x", "x"), ("y", "y")]
    assert isinstance(next(iter(wire.far.load("http", {"x": {}}).values())), pluginapi.Plugin)


def deep(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


@pytest.mark.parametrize("field", [object(), deep(70), deep(9000), 1 << 70, "\ud800", Hostile(), {1: {}}.keys()])
def test_what_does_not_cross_is_told_to_the_plugin(wire: Wire, field: object) -> None:
    assert refusal(lambda: wire.far.emit("x", field=field)).finding.code == "arguments-wrong"
    wire.far.emit("x", field=1)


def test_what_a_child_sends_is_looked_at_before_it_is_decoded(wire: Wire) -> None:
    emit = codec_of(Asked).methods["emit"]

    def answer(fields: bytes) -> object:
        message = emit.pack_call(("x", fields), {})
        message = within(0, message)
        frame = Frame(emit.operation, 1, message.flags, message.meta, message.body)
        return wire.offered.answer(frame, None)  # type: ignore[arg-type]

    answer(packed({}))
    for fields in (b"\x91" * 5000 + b"\xc0", b"\x81\xa1a" + b"\x91" * 70 + b"\xc0", b"", b"\x91", packed([1]), b"\xc1"):
        assert refusal(lambda fields=fields: answer(fields)).finding.code == "frame-malformed"  # type: ignore[misc]
    with pytest.raises(TypeError):
        answer(packed({"topic": "y"}))
    for nothing in (Frame(60_000, 1, 0, b"", b""), Frame(60_000, 1, 0, bytes(8), b"")):
        with pytest.raises(PluginCallError, match="frame-malformed"):
            wire.offered.answer(nothing, None)  # type: ignore[arg-type]


def test_an_event_names_the_plugin_as_its_source(wire: Wire) -> None:
    seen: list[Event] = []
    wire.events.subscribe(seen.append)
    wire.far.emit("saved", number=1, words=["a"], table={"k": None})
    assert seen == [Event("saved", "some", {"number": 1, "words": ["a"], "table": {"k": None}})]


def test_events_come_in_their_order_until_they_are_unsubscribed(wire: Wire) -> None:
    seen: list[Event] = []
    undo = wire.far.subscribe(seen.append, "a.")
    others: list[Event] = []
    wire.far.subscribe(others.append)
    for number in range(50):
        wire.events.emit("a.x", "who", {"number": number})
        wire.events.emit("b", "", {})
    until(lambda: len(others) == 100)
    assert seen == [Event("a.x", "who", {"number": number}) for number in range(50)]
    undo()
    undo()
    wire.events.emit("a.x", "who", {})
    until(lambda: len(others) == 101)
    assert len(seen) == 50
    assert not wire.told


def test_a_listener_that_raises_is_told_and_the_others_are_called(wire: Wire) -> None:
    def fail(event: Event) -> None:
        raise SystemExit("no")

    seen: list[Event] = []
    wire.far.subscribe(fail, "a")
    wire.far.subscribe(seen.append, "a")
    wire.events.emit("a", "", {})
    until(lambda: seen)
    assert [finding.code for finding in wire.told] == ["listener-failed"]
    assert wire.told[0].message == f"{ABOUT.text}: a listener for a raised SystemExit: no at a"


def test_what_cannot_listen_is_told(wire: Wire) -> None:
    refusal(lambda: wire.far.subscribe(1), ConfigurationError)  # type: ignore[arg-type]
    refusal(lambda: wire.far.subscribe(print, 1), ConfigurationError)  # type: ignore[arg-type]
    refusal(lambda: wire.far.emit(1), ConfigurationError)  # type: ignore[arg-type]


def test_a_flood_of_events_drops_the_newest_and_says_so_once(wire: Wire) -> None:
    seen: list[Any] = []
    wire.may_send.clear()
    wire.far.subscribe(lambda event: seen.append(event.fields["number"]))
    wire.events.emit("a", "", {"number": 0})
    assert wire.is_sending.wait(60)
    for number in range(1, outbox.MOST + 100):
        wire.events.emit("a", "", {"number": number})
    assert [finding.code for finding in wire.told] == ["events-dropped"]
    wire.may_send.set()
    until(lambda: len(seen) == outbox.MOST + 1)
    wire.events.emit("a", "", {"number": -1})
    until(lambda: seen[-1] == -1)
    assert seen[:-1] == list(range(len(seen) - 1))
    assert len(seen) == outbox.MOST + 2  # those that waited, the one on its way, and the last


def test_events_too_large_together_are_dropped(wire: Wire) -> None:
    wire.may_send.clear()
    wire.far.subscribe(lambda event: None)
    for _ in range(6):
        wire.events.emit("a", "", {"bytes": b"x" * (4 << 20)})
    assert [finding.code for finding in wire.told] == ["events-dropped"]
    wire.may_send.set()


def test_a_child_that_is_gone_is_sent_nothing_more(wire: Wire) -> None:
    def fail(message: Message) -> None:
        raise PluginCallError(Finding("channel-lost", "", ""))

    dropped: list[object] = []
    box = outbox.Outbox(fail, lambda: dropped.append(1))
    box.put(Message(0, b"x", b""))
    until(lambda: not box._is_open)
    for _ in range(outbox.MOST + 1):
        box.put(Message(0, b"x", b""))
    assert not dropped


class Odd(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise ValueError


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
ANY = PLAIN | st.sampled_from([object(), Hostile(), "\ud800", 1 << 80, deep(80), {1, 2}, Odd("x"), {"\udfff": 1}])


@given(st.text(st.characters()), st.text(st.characters()), st.dictionaries(st.text(), PLAIN, max_size=4))
def test_plain_fields_arrive_as_they_are(topic: str, source: str, fields: dict[str, object]) -> None:
    message = packed_event(7, Event(topic, source, fields))
    number, event = unpacked_event(Frame(EVENT, 1, message.flags, message.meta, message.body))
    assert (number, event.fields) == (7, fields)


@given(st.dictionaries(st.text(), ANY, max_size=4))
def test_any_field_crosses_as_itself_or_as_text(fields: dict[str, object]) -> None:
    message = packed_event(7, Event("a", "", fields))
    _, event = unpacked_event(Frame(EVENT, 1, message.flags, message.meta, message.body))
    assert len(event.fields) == len(fields)


def test_a_record_is_handled_as_the_plugins_own(wire: Wire) -> None:
    logger = wire.far.logger
    assert type(logger) is logging.Logger
    assert logger.name.endswith(".some")
    assert not logger.propagate  # what the plugin sets up in its process would print it, too
    assert wire.far.logger is logger
    logger.debug("below the level")
    try:
        raise ValueError("broken")
    except ValueError:
        logger.getChild("sub").exception("at %d %%", 7, stack_info=True)
    (record,) = wire.logged
    assert (record.name, record.levelname, record.getMessage()) == (f"{LOGGER}.sub", "ERROR", "at 7 %")
    assert (record.filename, record.funcName) == (
        "test_services.py",
        "test_a_record_is_handled_as_the_plugins_own",
    )
    assert record.threadName == threading.current_thread().name
    assert {name: getattr(record, name) for name in ABOUT.fields} == ABOUT.fields
    assert abs(record.created - time.time()) < 60
    text = logging.Formatter("%(asctime)s %(message)s").format(record)
    assert "ValueError: broken" in text
    assert "Stack (most recent call last)" in text


def test_a_filter_of_the_applications_holds_in_the_host(wire: Wire) -> None:
    logger = logging.getLogger(LOGGER)
    logger.addFilter(few := lambda record: "no" not in record.getMessage())
    wire.far.logger.warning("no")
    wire.far.logger.warning("yes")
    logger.removeFilter(few)
    assert [record.getMessage() for record in wire.logged] == ["yes"]


@given(st.text(st.characters(), max_size=20), st.integers(0, 1 << 40))
def test_any_text_is_logged(text: str, level: int) -> None:
    made = logging.LogRecord("far.some", level, text, 1, text, (), None, text, text)
    forwarded: list[Record] = []
    handler = records.Forwarding(logging.getLogger("far.some"), forwarded.append)
    handler.handle(made)
    (record,) = forwarded
    method = codec_of(Asked).methods["log"]
    message = method.pack_call((record,), {})
    assert method.unpack_call(Frame(1, 1, message.flags, message.meta, message.body)) == ((record,), {})


def test_a_long_text_is_cut(wire: Wire) -> None:
    wire.far.logger.warning("ü" * TEXT_LIMIT)
    assert wire.logged[0].getMessage() == "ü" * (TEXT_LIMIT // 2)


def test_a_record_that_cannot_be_formatted_does_as_logging_does(wire: Wire, capsys: pytest.CaptureFixture[str]) -> None:
    wire.far.logger.warning("%d", "no number")
    wire.far.logger.log(1 << 70, "level")
    assert capsys.readouterr().err.count("--- Logging error ---") == 2
    assert not wire.logged


def test_the_time_of_a_record_can_be_printed_whatever_a_child_says(wire: Wire) -> None:
    for created in (math.nan, math.inf, -math.inf, 1e300, -5.0):
        records.handle(wire.host.logger, Record("", 30, "x", "", "", 0, "", "", created))
    for record in wire.logged:
        assert logging.Formatter("%(asctime)s").format(record).startswith("20")


def test_after_its_shutdown_the_plugin_has_no_host(wire: Wire) -> None:
    far, seen = wire.far, []
    far.subscribe(seen.append)
    undo = far.subscribe(seen.append)
    logger = far.logger
    far.revoke()
    used: list[Callable[[], object]] = [
        lambda: far.logger,
        lambda: far.config,
        lambda: far.config_as(dict),
        lambda: far.capabilities,
        lambda: far.data_folder,
        lambda: far.cache_folder,
        lambda: far.get("english", Greeter),
        lambda: far.all(Greeter),
        lambda: far.load("x", {}),
        lambda: far.subscribe(print),
        lambda: far.emit("x"),
    ]
    for use in used:
        error = refusal(use, PluginStopped)
        assert error.finding.message == f"{ABOUT.text} uses its host after its shutdown"
    undo()
    assert not any(isinstance(handler, records.Forwarding) for handler in logger.handlers)
    wire.events.emit("a", "", {})
    assert not seen


def test_a_host_that_is_revoked_refuses(wire: Wire) -> None:
    greeter = wire.far.get("english", Greeter)
    wire.far.subscribe(print)
    wire.host.revoke()
    for use in (lambda: wire.far.get("english", Greeter), lambda: wire.far.emit("x"), lambda: wire.far.data_folder):
        assert refusal(use, PluginStopped).finding.code == "host-revoked"
    assert greeter.greet("Ada") == "Hello Ada"
    assert not wire.events._listeners
    until(lambda: "pluginhost: a child's events" not in {thread.name for thread in threading.enumerate()})


def test_another_host_of_the_same_plugin_is_revoked_apart(wire: Wire) -> None:
    other = wire.host.again()
    other.subscribe(print)
    wire.host.revoke()
    assert other.config == {"a": [1], "b": {"c": "d"}}
    assert len(wire.events._listeners) == 1
    other.revoke()
    assert not wire.events._listeners


def test_many_threads_call_at_once_over_few_channels(wire: Wire) -> None:
    greeter = wire.far.get("english", Greeter)
    said: dict[str, str] = {}

    def call(name: int) -> None:
        for number in range(20):
            said[f"{name} {number}"] = greeter.greet(f"{name} {number}")

    threads = [threading.Thread(target=call, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(said) == 160
    assert all(greeting == f"Hello {name}" for name, greeting in said.items())
    assert wire.opened <= 9


def test_a_channel_that_cannot_be_opened_is_told(wire: Wire) -> None:
    def fail(answer: object, timeout: object) -> None:
        raise PluginCallError(Finding("call-timeout", "all of them are in use", "h"))

    wire.offered._open = fail
    error = refusal(lambda: wire.far.emit("x"))
    assert (error.finding.code, error.finding.message) == ("call-timeout", "all of them are in use")


def test_what_came_that_is_no_call_is_told_of_the_plugin(wire: Wire) -> None:
    wire._open(wire.offered._answer_all)
    line = wire.back._came.pop().line
    line.begin(5)
    line.send(b"x" * 40)
    assert line.receive(10) == b""
    line.close()
    until(lambda: wire.told)
    assert wire.told[0].message.startswith(f"{ABOUT.text}: ")
    assert wire.told[0].code in ("frame-malformed", "frame-too-large")


@forks
def test_a_copy_of_the_plugins_process_leaves_its_channels_alone(wire: Wire) -> None:
    """As multiprocessing makes them: an answer to a copy would be one that the plugin waits for."""
    english = wire.far.get("english", Greeter)
    assert english.greet("Ada") == "Hello Ada"

    def leaves_them_alone() -> bool:
        wire.far.logger.error("nobody hears it")
        return refusal(lambda: english.greet("Bob")).finding.code == "channel-lost"

    assert holds_in_copy(leaves_them_alone)
    assert english.greet("Cleo") == "Hello Cleo"
    assert not wire.logged
