"""An application that uses OpenTelemetry has spans and metrics of its plugins; for others nothing is on a call's way."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

PLUGINS = """
import asyncio, contextlib, json, sys
import pluginapi
from pluginapi import Plugin, PluginError
from pluginhost import PluginHostError, PluginManager
from pluginhost.stubs import Calls

class Deeds(Plugin):
    def add(self, a, b): ...
    def fail(self): ...
    def word(self): ...
    def lie(self): ...
    def ask(self): ...
    async def wait(self): ...
    async def lose(self): ...
    async def items(self, count):
        yield

class Liar(Exception):
    __traceback__ = __class__ = property(lambda self: 1 / 0)
    def __str__(self): raise SystemExit

class Does(Deeds):
    def init(self, host): self.host = host
    def add(self, a, b): return a + b
    def fail(self): raise KeyError("x" * 100_000)
    def word(self): raise PluginError("no")
    def lie(self): raise Liar
    def ask(self): return self.host.get("other", Deeds).add(1, 2)
    async def wait(self):
        await asyncio.sleep(0)
        return self.ask()
    async def lose(self): raise ValueError("lost")
    async def items(self, count):
        for number in range(count):
            self.ask()
            yield number
        if count > 2: raise ValueError("spent")

class Never(Plugin):
    def init(self, host): raise RuntimeError("not today")

class Sore(Plugin):
    def shutdown(self): raise RuntimeError("ouch")
"""

USED = (
    """
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
"""
    + PLUGINS
    + """
exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
metrics.set_meter_provider(MeterProvider([reader]))
own = trace.get_tracer("application")

async def all_of(deeds):
    await deeds.wait()
    with contextlib.suppress(PluginHostError):
        await deeds.lose()
    seen = []
    with own.start_as_current_span("consumer"):
        async for item in deeds.items(2):
            seen.append(trace.get_current_span().name)
            with own.start_as_current_span("between"):
                pass
    items = deeds.items(9)
    await anext(items)
    await items.aclose()
    with contextlib.suppress(PluginHostError):
        async for item in deeds.items(3):
            pass
    return seen

with PluginManager() as manager:
    for name, factory in {"deeds": Does, "other": Does, "never": Never, "sore": Sore}.items():
        manager.register(name, factory)
    deeds = manager.get("deeds", Deeds)
    with own.start_as_current_span("request"):
        assert deeds.add(1, b=2) == 3
        assert deeds.ask() == 3
    raised = {}
    for name in ("fail", "word", "lie"):
        try:
            getattr(deeds, name)()
        except Exception as exc:
            raised[name] = type(exc).__name__
    seen = asyncio.run(all_of(deeds))
    with contextlib.suppress(PluginHostError):
        manager.get("never", Plugin)
    manager.get("sore", Plugin)

spans = exporter.get_finished_spans()
names = {span.context.span_id: span.name for span in spans}
points = {}
for scope in reader.get_metrics_data().resource_metrics[0].scope_metrics:
    for metric in scope.metrics:
        for point in metric.data.data_points:
            key = " ".join(str(value) for _, value in sorted(point.attributes.items()))
            points.setdefault(metric.name, {})[key] = getattr(point, "count", None) or point.value
        points[metric.name]["unit"] = metric.unit
print(json.dumps({
    "raised": raised, "seen": seen, "points": points,
    "spans": [{
        "name": span.name, "kind": span.kind.name, "status": span.status.status_code.name, "of": dict(span.attributes),
        "parent": names.get(span.parent.span_id) if span.parent else None,
        "events": [dict(event.attributes, name=event.name) for event in span.events],
    } for span in spans],
}))
"""
)


def ran(code: str) -> Any:
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def told() -> Any:
    return ran(USED)


def spans(told: Any, name: str, **of: str) -> list[Any]:
    wanted = {f"pluginhost.{key}": value for key, value in of.items()}
    return [span for span in told["spans"] if span["name"] == name and wanted.items() <= span["of"].items()]


def test_each_call_has_a_span_that_says_which_plugin_it_is_of(told: Any) -> None:
    [span] = spans(told, "deeds.add")
    assert (span["kind"], span["status"], span["parent"], span["events"]) == ("INTERNAL", "UNSET", "request", [])
    assert span["of"] == {
        "pluginhost.plugin": "deeds", "pluginhost.distribution": "built-in", "pluginhost.version": "",
        "pluginhost.generation": 1, "pluginhost.method": "add", "pluginhost.outcome": "ok",
    }  # fmt: skip


def test_what_a_plugin_does_in_a_call_is_a_part_of_it(told: Any) -> None:
    assert {span["parent"] for span in spans(told, "other.add")} == {"deeds.ask", "deeds.wait", "deeds.items"}
    assert [span["parent"] for span in spans(told, "pluginhost.start", plugin="other")] == ["deeds.ask"]
    assert {span["parent"] for span in spans(told, "deeds.ask")} == {"request"}
    assert spans(told, "deeds.wait")[0]["status"] == "UNSET"


def test_a_failed_call_has_its_exception_recorded(told: Any) -> None:
    [span] = spans(told, "deeds.fail")
    assert (span["status"], span["of"]["error.type"]) == ("ERROR", "KeyError")
    assert (span["of"]["pluginhost.code"], span["of"]["pluginhost.outcome"]) == ("call-failed", "failed")
    [event] = span["events"]
    assert (event["name"], event["exception.type"]) == ("exception", "KeyError")
    assert len(event["exception.message"]) < 10_000
    assert len(event["exception.stacktrace"]) < 10_000
    [span] = spans(told, "deeds.lose")
    assert (span["status"], span["events"][0]["exception.message"]) == ("ERROR", "lost")
    assert "ValueError: lost" in span["events"][0]["exception.stacktrace"]


def test_an_exception_that_lies_of_itself_is_recorded(told: Any) -> None:
    [span] = spans(told, "deeds.lie")
    assert (span["status"], span["of"]["error.type"]) == ("ERROR", "__main__.Liar")


def test_what_callers_get_is_as_without_it(told: Any) -> None:
    assert told["raised"] == {"fail": "PluginCallError", "word": "PluginError", "lie": "PluginCallError"}


def test_a_plugins_own_word_to_its_caller_is_no_failure(told: Any) -> None:
    [span] = spans(told, "deeds.word")
    assert (span["status"], span["of"]["pluginhost.outcome"], span["events"]) == ("UNSET", "plugin-error", [])


def test_a_stream_has_a_span_until_it_is_exhausted_or_closed(told: Any) -> None:
    assert told["seen"] == ["consumer", "consumer"], "whoever has an item is not in the call"
    streams = spans(told, "deeds.items")
    assert [span["of"]["pluginhost.outcome"] for span in streams] == ["ok", "cancelled", "failed"]
    assert [span["parent"] for span in streams] == ["consumer", None, None]
    assert {span["parent"] for span in spans(told, "between")} == {"consumer"}
    assert [span["events"][0]["exception.message"] for span in streams if span["events"]] == ["spent"]


def test_starts_and_stops_have_spans(told: Any) -> None:
    assert spans(told, "pluginhost.start", plugin="deeds")[0]["status"] == "UNSET"
    [failed] = spans(told, "pluginhost.start", plugin="never")
    assert (failed["status"], failed["of"]["pluginhost.code"]) == ("ERROR", "init-failed")
    assert (failed["of"]["error.type"], failed["events"][0]["exception.message"]) == ("RuntimeError", "not today")
    [sore] = spans(told, "pluginhost.stop", plugin="sore")
    assert (sore["status"], sore["of"]["pluginhost.code"]) == ("ERROR", "shutdown-failed")
    assert [span["of"]["pluginhost.plugin"] for span in spans(told, "pluginhost.stop")] == ["sore", "deeds", "other"]


def test_calls_are_timed_and_failures_counted(told: Any) -> None:
    durations, failures = told["points"]["pluginhost.call.duration"], told["points"]["pluginhost.failures"]
    assert (durations.pop("unit"), failures.pop("unit")) == ("s", "{failure}")
    assert durations["add ok deeds"] == 1
    assert durations["items failed deeds"] == 1
    assert durations["word plugin-error deeds"] == 1
    assert failures == {"call-failed deeds": 4, "init-failed never": 1, "shutdown-failed sore": 1}


def test_without_it_a_stub_calls_the_plugins_own_method() -> None:
    code = """
with PluginManager() as manager:
    manager.register("deeds", Does)
    handle = manager.handle("deeds")
    calls = manager.get("deeds", Deeds)._pluginhost_calls
    plugin = handle.plugin
    own = {name: getattr(calls, f"m_{name}") == getattr(plugin, name) for name in ("add", "wait", "items")}
    print(json.dumps([own, [name for name in sys.modules if name.startswith("opentelemetry")]]))
"""
    assert ran(PLUGINS + code) == [{"add": True, "wait": True, "items": True}, []]


def test_the_api_alone_without_a_sdk_disturbs_nothing() -> None:
    code = """
with PluginManager() as manager:
    manager.register("deeds", Does)
    print(json.dumps([manager.get("deeds", Deeds).add(1, 2), sorted(
        name for name in sys.modules if name.startswith("opentelemetry.sdk"))]))
"""
    assert ran(f"import opentelemetry.trace\n{PLUGINS}{code}") == [3, []]
