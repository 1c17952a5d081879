"""Spans and metrics of OpenTelemetry, for applications that use it; for others nothing is on the way of a call.

The host takes part when `opentelemetry.trace` has been imported by the time that a plugin starts: that it is merely
installed costs nothing. Names are as the semantic conventions have them, and begin with `pluginhost.` where these have
none.
"""

from __future__ import annotations

import contextlib
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any, cast

import pluginapi
from pluginhost import identity
from pluginhost.errors import PluginHostError, describe, escape
from pluginhost.interrupts import is_persons

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from typing import Final, TypeAlias

    from opentelemetry.trace import Span

    from pluginhost.errors import Finding
    from pluginhost.events import About
    from pluginhost.stubs import StubClass

    Blame: TypeAlias = Callable[[str, BaseException], None]

_BOUNDARIES: Final = (0.000_01, 0.000_1, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Of the durations' histogram, in seconds: a call may take microseconds, or wait for another machine."""
_TEXT_LIMIT: Final = 8_000


def is_used() -> bool:
    """Returns whether OpenTelemetry was imported, which an application that uses it does first."""
    return "opentelemetry.trace" in sys.modules


@contextlib.contextmanager
def operation(name: str, about: About) -> Iterator[Callable[[Finding], None]]:
    """Has a span for a plugin's start or end, as long as it lasts.

    Args:
        name: The span's name.
        about: Which plugin's, and which generation.

    Yields:
        What is given each finding of a failure that is not raised.
    """
    if not is_used():
        yield lambda finding: None
        return
    telemetry = Telemetry(about)
    with telemetry.tracer.start_as_current_span(
        name, attributes=attributes(about), record_exception=False, set_status_on_exception=False
    ) as span:

        def fail(error: PluginHostError) -> None:
            telemetry.fail(span, error.finding.code, error.__cause__ or error)
            telemetry.count(error.finding.code)

        try:
            yield lambda finding: fail(PluginHostError(finding))
        except PluginHostError as exc:
            fail(exc)
            raise


class Telemetry:
    """What OpenTelemetry is told about one plugin."""

    __slots__ = ("about", "durations", "failures", "tracer")

    def __init__(self, about: About) -> None:
        from opentelemetry import metrics, trace  # only what is used is imported

        self.about = about
        self.tracer = trace.get_tracer("pluginhost")
        meter = metrics.get_meter("pluginhost")
        self.durations = meter.create_histogram(
            "pluginhost.call.duration", "s", "How long calls of plugins take.",
            explicit_bucket_boundaries_advisory=_BOUNDARIES,
        )  # fmt: skip
        self.failures = meter.create_counter("pluginhost.failures", "{failure}", "What failed in plugins, by code.")

    def wrap(self, method: str, kind: StubClass, function: Callable[..., Any], blame: Blame) -> Callable[..., Any]:
        """Returns a function whose every call has a span and is timed.

        Args:
            method: The method's name.
            kind: The class of the stubs that call it.
            function: What is called.
            blame: Given what it raised, raises what its caller is told; returns where that is told as it is.
        """
        if method in kind.generators:
            return self._iterate(method, function, blame)
        return (self._call_async if method in kind.coroutines else self._call)(method, function, blame)

    def _call(self, method: str, function: Callable[..., Any], blame: Blame) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            with _Call(self, method, blame) as span, _Within(span):
                return function(*args, **named)

        return call

    def _call_async(self, method: str, function: Callable[..., Any], blame: Blame) -> Callable[..., Any]:
        async def call(*args: Any, **named: Any) -> Any:
            with _Call(self, method, blame) as span, _Within(span):
                return await function(*args, **named)

        return call

    def _iterate(self, method: str, function: Callable[..., Any], blame: Blame) -> Callable[..., Any]:
        """Returns an asynchronous generator whose span lasts until it is exhausted or closed."""

        async def iterate(*args: Any, **named: Any) -> AsyncIterator[Any]:
            with _Call(self, method, blame) as span:
                with _Within(span):  # and not while whoever iterates has an item: that is no part of the call
                    given = function(*args, **named)
                    items = aiter(given)
                try:
                    while True:
                        try:
                            with _Within(span):
                                item = await anext(items)
                        except StopAsyncIteration:
                            return
                        yield item
                finally:
                    if hasattr(given, "aclose"):
                        await given.aclose()

        return iterate

    def fail(self, span: Span, code: str, exc: BaseException) -> None:
        """Has a span say what failed."""
        from opentelemetry.trace import StatusCode

        kind = f"{identity.module_of(type(exc))}.{identity.class_name(exc)}".removeprefix("builtins.")
        span.set_status(StatusCode.ERROR, code)
        span.set_attributes({"error.type": kind, "pluginhost.code": code})
        # Not `record_exception`: what a plugin raised may be of any length, and raise where it is printed.
        told = {"type": kind, "message": describe(exc).partition(": ")[2], "stacktrace": _traceback(exc)}
        span.add_event("exception", {f"exception.{name}": _cut(text) for name, text in told.items()})

    def count(self, code: str) -> None:
        """Counts a failure of the plugin."""
        self.failures.add(1, {"pluginhost.plugin": self.about.plugin, "pluginhost.code": code})


class _Call:
    """The span of a call, and its time; it yields the span."""

    __slots__ = ("_began", "_blame", "_method", "_of", "_span")

    def __init__(self, of: Telemetry, method: str, blame: Blame) -> None:
        self._of = of
        self._method = method
        self._blame = blame

    def __enter__(self) -> Span:
        about = self._of.about
        named = attributes(about) | {"pluginhost.method": self._method}
        self._span = self._of.tracer.start_span(f"{about.plugin}.{self._method}", attributes=named)
        self._began = time.perf_counter()
        return self._span

    def __exit__(self, kind: object, exc: BaseException | None, traceback: object) -> None:
        seconds = time.perf_counter() - self._began
        outcome = "ok" if exc is None else self._outcome(exc)
        about = {"pluginhost.plugin": self._of.about.plugin, "pluginhost.method": self._method}
        self._of.durations.record(seconds, about | {"pluginhost.outcome": outcome})
        self._span.set_attribute("pluginhost.outcome", outcome)
        self._span.end()

    def _outcome(self, exc: BaseException) -> str:
        """Returns how a call ended that raised something, and tells of it if the plugin failed."""
        kind = type(exc)
        try:
            self._blame(self._method, exc)
        except PluginHostError as told:
            self._of.fail(self._span, told.finding.code, exc)
            self._of.count(told.finding.code)
            return "failed"
        if issubclass(kind, PluginHostError):
            code = cast("PluginHostError", exc).finding.code
            self._of.fail(self._span, code, exc)
            if getattr(exc, "plugin", "") == self._of.about.plugin:  # it broke what it is held to; else it is another's
                self._of.count(code)
            return "failed"
        if issubclass(kind, pluginapi.PluginError):
            return "plugin-error"
        return "ok" if issubclass(kind, Exception) else "cancelled"  # an answer, such as StopIteration


class _Within:
    """While it lasts, what is told to OpenTelemetry is told as a part of a span."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: Span) -> None:
        self._span = span

    def __enter__(self) -> None:
        from opentelemetry import context, trace

        self._token = context.attach(trace.set_span_in_context(self._span))

    def __exit__(self, *raised: object) -> None:
        from opentelemetry import context

        context.detach(self._token)


def attributes(about: About) -> dict[str, Any]:
    """Returns which plugin a span is about."""
    return {f"pluginhost.{name}": value for name, value in about.fields.items()}


def _traceback(exc: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(exc))
    except BaseException as broken:  # of a class that lies of itself
        if is_persons(broken):
            raise
        return describe(exc)


def _cut(text: str) -> str:
    """Returns text that can be sent; of what is too long its end is kept, which says most."""
    return escape(text if len(text) <= _TEXT_LIMIT else f"…{text[-_TEXT_LIMIT:]}", keep="\n\t")
