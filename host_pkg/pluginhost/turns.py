"""One call on its way along a route: who is asked, and who next."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar, cast

import pluginapi
from pluginhost.errors import PluginHostError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from pluginhost.choice import Choice, Plan
    from pluginhost.lifecycle import Handle
    from pluginhost.settings import RouteSettings
    from pluginhost.stubs import StubClass
    from pluginhost.tally import Tally

P = TypeVar("P", bound=pluginapi.Plugin)

_KEPT_OUT: Final = frozenset({"plugin-stopped", "breaker-open", "child-restarting", "child-failing"})
"""The codes with which a call is refused before the plugin hears of it."""


class Road(Protocol[P]):
    """A route, as its calls need it."""

    plan: Plan

    def leg(self, name: str) -> Leg[P]:
        """Returns a plugin as the route calls it, started if it must be."""

    def is_idempotent(self, method: str) -> bool:
        """Returns whether a second call of a method does no more than the first."""

    def static(self, method: str, settings: RouteSettings) -> Any:
        """Returns what stands for a method's answer."""

    def fell_back(self, method: str, name: str, error: PluginHostError, to: str) -> None:
        """Tells that another answers in place of a plugin."""

    def count(self, plan: Plan, choice: Choice, seconds: float, *, is_failure: bool) -> None:
        """Counts a call that says something about the canary."""


class Leg(Generic[P]):
    """A plugin as one route calls it: its calls are counted apart from those of other callers.

    Attributes:
        handle: The plugin.
        methods: What is called, by name.
        of: What stands for the plugin.
        stub: What stands for that, and counts.
        tally: How often, and what came of it.
    """

    __slots__ = ("handle", "methods", "of", "stub", "tally")

    def __init__(self, handle: Handle, kind: StubClass, of: P, tally: Tally) -> None:
        self.handle = handle
        self.of = of
        self.tally = tally
        calls = kind.to(partial(getattr, of), partial(getattr, of), partial(setattr, of), self._note)
        tally.begin(calls, is_numbered=False)
        self.stub = kind.make(handle.name, handle, calls)
        self.methods: dict[str, Callable[..., Any]] = {name: getattr(self.stub, name) for name in kind.methods}

    def keeps_out(self, error: PluginHostError) -> bool:
        """Returns whether a call was refused before the plugin heard of it."""
        return error.finding.code in _KEPT_OUT and getattr(error, "plugin", None) == self.handle.name

    def _note(self, name: str, exc: BaseException) -> None:
        if isinstance(exc, PluginHostError):
            (self.tally.refuse if self.keeps_out(exc) else self.tally.fail)()


class Turn(Generic[P]):
    """One call on its way along a route: who is asked, and who next.

    As a context manager it holds one answer. What is raised it keeps where another may be asked, or a value stands for
    the answer; else its caller gets it.
    """

    __slots__ = ("_began", "_choice", "_errors", "_is_answered", "_is_tried", "_left", "_leg", "_method", "_name",
                 "_plan", "_route")  # fmt: skip

    def __init__(self, route: Road[P], method: str) -> None:
        self._route = route
        self._method = method
        self._plan = route.plan
        self._choice = choice = self._plan.choose()
        self._name: str | None = choice.plugin
        self._is_tried = choice.is_tried
        self._is_answered = False
        self._began = 0.0  # once it is asked
        self._left: list[str] | None = None  # who is asked next, once that is needed
        self._errors: tuple[tuple[str, PluginHostError], ...] = ()

    def next(self) -> Leg[P] | None:
        """Returns who is asked now; `None` when nobody is left."""
        while self._name is not None:
            try:
                self._leg = self._route.leg(self._name)
                if self._errors:
                    self._tell(self._leg.handle.name)
                return self._leg
            except PluginHostError as exc:
                if self._errors and self._name:
                    self._tell(self._name)
                self._count(is_failure=True)
                self._pass_by(self._name, exc)
        return None

    def answered(self) -> None:
        """Notes that the answer has begun to come: no other is asked any more."""
        self._is_answered = True
        self._count(is_failure=False)

    def end(self) -> Any:
        """Returns the value that stands for the answer, since nobody has given one.

        Raises:
            PluginHostError: There is none: what the one that was chosen failed with.
        """
        try:
            if self._method not in self._plan.settings.static:
                raise self._errors[0][1]
            self._tell("")
        finally:
            self._errors = ()
        return self._route.static(self._method, self._plan.settings)

    def __enter__(self) -> None:
        if self._is_tried:
            self._began = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> bool:
        if kind is None or issubclass(kind, pluginapi.PluginError):  # which is an answer
            if self._is_tried:
                self._count(is_failure=False)
            self._errors = ()  # they lead to the frames of this call, and all that it was given
            return False
        if not issubclass(kind, PluginHostError):  # Ctrl-C; its caller was cancelled, or wants no more of a stream
            return False
        error, leg = cast("PluginHostError", exc), self._leg
        self._count(is_failure=True)
        if self._is_answered:
            return False
        self._pass_by(leg.handle.name, error)
        if leg.keeps_out(error) or self._route.is_idempotent(self._method):
            return True
        self._name = None
        return self._method in self._plan.settings.static

    def _pass_by(self, name: str, error: PluginHostError) -> None:
        """Notes that one did not answer, and who is next."""
        self._errors += ((name, error),)
        if self._left is None:
            self._left = self._plan.line(self._choice)
        self._name = self._left.pop(0) if self._left else None

    def _tell(self, name: str) -> None:
        self._route.fell_back(self._method, *self._errors[-1], name)

    def _count(self, *, is_failure: bool) -> None:
        """Counts the answer of the one that was chosen, where that says something about the canary."""
        if self._is_tried:
            self._is_tried = False
            seconds = time.perf_counter() - self._began if self._began else 0.0
            self._route.count(self._plan, self._choice, seconds, is_failure=is_failure)
