"""Routes: stubs that decide at each call which plugin serves it, and who answers where that one does not."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar, cast

import msgspec

import pluginapi
from pluginhost import identity, stubs, validation
from pluginhost.choice import Plan
from pluginhost.config import Layer, configuration, merged
from pluginhost.errors import Finding, ManagerClosed, PluginHostError, PluginNotFound, wrong
from pluginhost.hints import UNSAID
from pluginhost.settings import RouteSettings
from pluginhost.status import CanaryStatus, LegStatus, RouteStatus
from pluginhost.tally import Tally
from pluginhost.turns import Leg, Turn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping

    from typing_extensions import TypeForm

    from pluginhost.canary import Trial
    from pluginhost.choice import Choice
    from pluginhost.lifecycle import Handle
    from pluginhost.settings import CanarySettings

P = TypeVar("P", bound=pluginapi.Plugin)

_UNFIT_SECONDS: Final = 1.0
"""For how long a plugin is not asked for again that could not be started: each time costs a survey."""
_NOTHING_SET: Final = RouteSettings()


class Plugins(Protocol):
    """The manager, as routes need it."""

    def handle(self, name: str) -> Handle:
        """Returns the handle of a plugin, started at the first call."""

    def get(self, name: str, contract: Any, requires: Collection[str] = ()) -> Any:
        """Returns what stands for a plugin."""

    def serving(self, contract: Any, requires: Collection[str]) -> Iterator[Handle]:
        """Yields the plugins of a contract, each started when it is its turn."""

    def tell(self, finding: Finding) -> None:
        """Logs a finding, once."""


class Route(Generic[P]):
    """Which plugin serves the calls of one stub.

    Attributes:
        name: What it is called.
        contract: The contract of its stub.
        plan: How it decides at present.
        stub: What is called.
        verdict: What became of its last canary, as a sentence; empty before.
    """

    def __init__(
        self, name: str, contract: type[P], of: Plugins, tell: Callable[[str, Mapping[str, object]], None]
    ) -> None:
        self.name = name
        self.contract = contract
        self.verdict = ""
        self._of = of
        self._tell = tell
        self._kind = stubs.stub_class((contract,))
        self._lock = threading.Lock()
        self._legs: dict[str, Leg[P]] = {}  # replaced and never changed, as the next two: others may be reading it
        self._unfit: dict[str, tuple[PluginHostError, float]] = {}
        self._made: dict[str, Leg[P]] = {}  # by plugin
        self._fallbacks = 0
        self.plan = Plan(name, _NOTHING_SET)
        calls = self._kind.to(self._forwarding, self._read, self._write, stubs.blame_nobody)
        self.stub = cast("P", self._kind.make(name, self, calls))

    def require_fit(self, settings: RouteSettings) -> None:
        """Returns if the route may decide by some settings.

        Raises:
            ConfigurationError: A static value is not what the method returns, or what a flag needs is not installed.
        """
        for method in settings.static:
            self.static(method, settings)
        Plan(self.name, settings)

    def follow(self, settings: RouteSettings) -> None:
        """Has the route decide by other settings, which fit, from the next call on."""
        with self._lock:
            self._follow(settings)

    def change(self, values: Mapping[str, object]) -> None:
        """Has the route decide otherwise: what is given is set, the rest stays.

        Raises:
            ConfigurationError: A value is wrong. Nothing is changed.
        """
        with self._lock:  # the end of a trial is not undone
            layers = [Layer("", msgspec.to_builtins(self.plan.settings)), Layer("", values)]
            settings = configuration({"routes": {self.name: merged(layers)}}).routes[self.name]
            self.require_fit(settings)
            self._follow(replace(settings, weights={name: share for name, share in settings.weights.items() if share}))

    def _follow(self, settings: RouteSettings) -> None:
        self.plan = Plan(self.name, settings, self.plan)
        self._legs, self._unfit = {}, {}  # they may lack what is required now

    def leg(self, name: str) -> Leg[P]:
        """Returns a plugin as this route calls it, started if it must be.

        Args:
            name: The plugin's name; empty for the first that implements the contract.

        Raises:
            PluginHostError: It cannot be called: it is unknown, refused, stopped, or lacks a capability.
        """
        leg = self._legs.get(name)
        if leg is not None and leg.handle.state == "running":
            return leg
        error, until = self._unfit.get(name, (None, 0.0))
        if error is not None and time.monotonic() < until:
            raise error.with_traceback(None)
        try:
            return self._found(name)
        except PluginHostError as exc:
            self._unfit = self._unfit | {name: (exc, time.monotonic() + _UNFIT_SECONDS)}
            if not isinstance(exc, ManagerClosed):
                self._of.tell(exc.finding)
            raise

    def _found(self, name: str) -> Leg[P]:
        plan = self.plan
        requires = plan.settings.capabilities
        handle = self._of.handle(name) if name else self._any(requires)
        stub = self._of.get(name or handle.name, self.contract, requires)
        with self._lock:
            leg = self._made.get(handle.name)
            if leg is None or leg.of is not stub:  # it was unloaded meanwhile
                leg = Leg(handle, self._kind, stub, leg.tally if leg else Tally())
                self._made = self._made | {handle.name: leg}
            if self.plan is plan:  # it has what is required now
                self._legs = self._legs | {name: leg}
        return leg

    def _any(self, requires: Collection[str]) -> Handle:
        of = self.plan.settings
        if named := list(filter(None, dict.fromkeys((of.default, *of.order)))):
            what = f"all that may serve the route {self.name} are off: {', '.join(named)}"
            raise PluginNotFound(Finding("route-nowhere", what, f"pluginhost route {self.name} --on {named[0]}"))
        for handle in self._of.serving(self.contract, requires):
            if handle.name not in of.off:
                return handle
        hint = f"install a plugin that implements it, or set routes.{self.name}.default"
        what = f"no installed plugin may serve the route {self.name}, whose contract is {self.contract.__name__}"
        raise PluginNotFound(Finding("route-nowhere", what, hint))

    def is_idempotent(self, method: str) -> bool:
        """Returns whether the contract says that a second call of a method does no more than the first."""
        return getattr(getattr(self.contract, method, None), "__idempotent__", False) is True

    def static(self, method: str, settings: RouteSettings) -> Any:
        """Returns what stands for a method's answer, made anew.

        Raises:
            ConfigurationError: It is not what the method returns.
        """
        path = f"routes.{self.name}.static.{method}"
        if method not in self._kind.methods:
            raise wrong(f"{path} is no method", validation.suggestion(method, self._kind.methods))
        if method in self._kind.waiting - self._kind.coroutines:
            raise wrong(f"{path} stands for a stream", "leave it out: a stream is not one value")
        returns = self._kind.returns(method)
        value = settings.static[method]
        return value if returns is UNSAID else validation.require(value, returns, path)

    def fell_back(self, method: str, name: str, error: PluginHostError, to: str) -> None:
        """Tells that another answers in place of a plugin."""
        with self._lock:
            self._fallbacks += 1
        fields = {"plugin": name, "method": method, "to": to, "error": error.finding.to_dict()}
        self._tell("route.fallback", {"route": self.name, **fields})

    def count(self, plan: Plan, choice: Choice, seconds: float, *, is_failure: bool) -> None:
        """Counts a call that says something about the canary, and ends the trial where that decides."""
        canary, trial = plan.settings.canary, plan.trial
        if canary is None or trial is None:
            return
        verdict = trial.count(choice.plugin == canary.plugin, seconds, is_failure)
        if verdict is not None:
            self.settle(trial, is_good=verdict.is_good, why=verdict.reason)

    def settle(self, trial: Trial, *, is_good: bool, why: str) -> bool:
        """Has the canary serve all calls, or none, and returns whether it did: its trial may be over by now."""
        with self._lock:
            plan = self.plan
            canary = plan.settings.canary
            if plan.trial is not trial or canary is None:
                return False
            was = plan.default
            default = canary.plugin if is_good else plan.settings.default
            self.verdict = f"{canary.plugin} was {'promoted' if is_good else 'rolled back'}: {why}"
            self.plan = Plan(self.name, replace(plan.settings, default=default, canary=None), plan)
        topic = "route.promoted" if is_good else "route.rolled_back"
        self._tell(topic, {"route": self.name, "plugin": canary.plugin, "was": was, "reason": why})
        return True

    def status(self) -> RouteStatus:
        """Returns how the route decides at this moment, and how its calls went."""
        settings, trial = self.plan.settings, self.plan.trial
        return RouteStatus(
            route=self.name,
            contract=f"{self.contract.__module__}.{self.contract.__qualname__}",
            default=self.plan.default or self._name_of_any(),
            order=list(settings.order),
            capabilities=sorted(settings.capabilities),
            key=settings.key,
            rules=list(settings.rules),
            weights=dict(settings.weights),
            off=sorted(settings.off),
            flag=settings.flag,
            canary=_canary_status(settings.canary, trial) if settings.canary and trial else None,
            verdict=self.verdict,
            fallbacks=self._fallbacks,
            plugins=[_leg_status(name, leg.tally) for name, leg in self._made.items()],
        )

    def __str__(self) -> str:
        return f"route {self.name}"

    def _name_of_any(self) -> str:
        leg = self._legs.get("")
        return leg.handle.name if leg else ""

    def _forwarding(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            turn = Turn(self, name)
            while leg := turn.next():
                with turn:
                    return leg.methods[name](*args, **named)
            return turn.end()

        async def call_async(*args: Any, **named: Any) -> Any:
            turn = Turn(self, name)
            while leg := turn.next():
                with turn:
                    return await leg.methods[name](*args, **named)
            return turn.end()

        async def items(*args: Any, **named: Any) -> AsyncIterator[Any]:
            turn = Turn(self, name)
            while leg := turn.next():
                with turn:
                    async with contextlib.aclosing(leg.methods[name](*args, **named)) as found:
                        async for item in found:
                            turn.answered()
                            yield item
                    return
            turn.end()

        return items if name in self._kind.generators else call_async if name in self._kind.coroutines else call

    def _read(self, name: str) -> object:
        turn = Turn(self, "")
        while leg := turn.next():
            with turn:
                return cast("object", getattr(leg.stub, name))
        return turn.end()

    def _write(self, name: str, value: object) -> None:
        turn = Turn(self, "")
        while leg := turn.next():
            with turn:
                setattr(leg.stub, name, value)
                return
        turn.end()


class Routes:
    """The routes of one manager, made when they are asked for.

    Args:
        of: The manager.
        tell: Emits an event of the host's own.
    """

    def __init__(self, of: Plugins, tell: Callable[[str, Mapping[str, object]], None]) -> None:
        self._of = of
        self._tell = tell
        self._lock = threading.Lock()
        self._known: dict[str, Route[Any]] = {}
        self._configured: dict[str, RouteSettings] = {}

    def get(self, contract: TypeForm[P], name: str | None, settings: Mapping[str, RouteSettings]) -> P:
        """Returns the stub of a route, the same each time.

        Args:
            contract: The contract of the stub.
            name: The route's name; `None` for the contract's.
            settings: What is configured, by route.

        Raises:
            ConfigurationError: The route has another contract, or what is set for it does not fit this one.
        """
        cls = identity.contract_class(contract)
        name = name or cls.__name__
        with self._lock:
            route = self._known.get(name)
            if route is None:
                route = Route(name, cls, self._of, self._tell)
                of = settings.get(name, _NOTHING_SET)
                route.require_fit(of)
                route.follow(of)
                self._known, self._configured[name] = self._known | {name: route}, of
            elif route.contract is not cls:
                what = f"the route {name!r} is of {route.contract.__name__}, not of {cls.__name__}"
                raise wrong(what, "give the other one a name of its own: manager.route(contract, name)")
        return cast("P", route.stub)

    def configured(self, settings: Mapping[str, RouteSettings]) -> Callable[[], None]:
        """Returns what has the routes decide by another configuration.

        One that is set as before stays as it is: as its operator, or what became of its canary, has it.

        Args:
            settings: What is configured, by route.

        Raises:
            ConfigurationError: What is set does not fit a route's contract.
        """
        after = {name: settings.get(name, _NOTHING_SET) for name in self._known}
        after = {name: of for name, of in after.items() if of != self._configured[name]}
        for name, of in after.items():
            self._known[name].require_fit(of)

        def follow() -> None:
            self._configured.update(after)
            for name, of in after.items():
                self._known[name].follow(of)

        return follow

    def status(self) -> dict[str, RouteStatus]:
        """Returns how each route is, by name."""
        return {name: route.status() for name, route in sorted(self._known.items())}

    def change(self, name: str, values: Mapping[str, object]) -> None:
        """Has a route decide otherwise until what is configured for it changes.

        Args:
            name: The route's name.
            values: What is set of it; what is left out stays, in tables, too.

        Raises:
            ConfigurationError: There is no such route, or a value is wrong. Nothing is changed.
        """
        self._find(name).change(values)
        self._tell("route.changed", {"route": name, "changed": sorted(values)})

    def settle(self, name: str, *, is_good: bool) -> None:
        """Ends a route's canary: it serves all calls, or none.

        Args:
            name: The route's name.
            is_good: Whether it serves all.

        Raises:
            ConfigurationError: There is no such route, or it tries nobody.
        """
        route = self._find(name)
        trial = route.plan.trial
        if trial is None or not route.settle(trial, is_good=is_good, why="by its operator"):
            said = f": {route.verdict}" if route.verdict else ""
            raise wrong(f"the route {name!r} tries nobody{said}", f"set routes.{name}.canary")

    def _find(self, name: str) -> Route[Any]:
        if name not in self._known:
            raise wrong(f"no route {name!r} has been asked for", validation.suggestion(name, self._known))
        return self._known[name]


def _canary_status(settings: CanarySettings, trial: Trial) -> CanaryStatus:
    figures = trial.figures()
    return CanaryStatus(settings=settings, tried=figures.canary, baseline=figures.baseline)


def _leg_status(name: str, tally: Tally) -> LegStatus:
    latency = tally.latency
    return LegStatus(
        plugin=name,
        calls=tally.calls,
        failures=tally.failures,
        p50=latency and latency.p50,
        p99=latency and latency.p99,
    )
