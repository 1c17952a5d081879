"""A plugin's life: its states, and the handle that takes it from one to the next."""

from __future__ import annotations

import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pluginapi
from pluginhost import identity, stubs
from pluginhost.errors import Finding, PluginHostError, PluginLookupError, PluginStopped, PluginTypeError
from pluginhost.events import About
from pluginhost.gate import Gate
from pluginhost.status import Status
from pluginhost.symbols import Symbol
from pluginhost.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from typing import Final

    from typing_extensions import TypeForm

    from pluginhost.containment import Containment
    from pluginhost.events import Events
    from pluginhost.generations import Generation
    from pluginhost.leftovers import Old
    from pluginhost.loading import Loaded
    from pluginhost.settings import PluginSettings
    from pluginhost.status import State
    from pluginhost.survey import Candidate


P = TypeVar("P", bound=pluginapi.Plugin)
T = TypeVar("T")

TRANSITIONS: Final[Mapping[State, frozenset[State]]] = {
    "discovered": frozenset({"admitted", "refused", "disabled"}),
    "refused": frozenset({"admitted", "disabled"}),
    "disabled": frozenset({"admitted", "refused"}),
    "admitted": frozenset({"loaded", "failed"}),
    "loaded": frozenset({"created", "failed"}),
    "created": frozenset({"running", "failed"}),
    "running": frozenset({"draining"}),
    "draining": frozenset({"stopped", "failed"}),
    "stopped": frozenset({"discovered"}),
    "failed": frozenset({"discovered"}),
}
"""Every way from one state to the next; there is no other."""


class Handle:
    """A plugin as the manager holds it, or one instance of a plugin.

    Attributes:
        name: What it is asked for by.
        before: What served before the last reload: what was discovered, and its copy in the store; `None` at first.
        candidate: What was discovered.
        containment: What its latest generation is held to; `None` before there is one.
        state: Where it is in its life.
        error: Why it is refused or failed; `None` in every other state.
        generation: How many times it has come to run.
        made_of: What its distribution was made of when it was last started or reloaded; empty when that is not known.
        needs: The handles of the plugins that it uses, which end after it.
        old: What is known of its generations that were replaced, and may still be there.
        serving: The generation that calls go to; `None` while it does not run.
        last_class: The class of what its factory last returned; it does not hold it.
        reload_error: Why the last reload left the generation before in place; `None` when it did not.
        reload_seconds: How long the last reload took until calls went to the new generation.
        settings: What was set for it when it was last started.
        tally: The calls of all its generations.
    """

    __slots__ = (
        "__weakref__", "_began", "_events", "_gate", "_lock", "_stubs", "before", "candidate", "containment", "error",
        "generation", "last_class", "made_of", "name", "needs", "old", "reload_error", "reload_seconds", "serving",
        "settings", "state", "tally",
    )  # fmt: skip

    def __init__(self, name: str, candidate: Candidate, events: Events) -> None:
        self.name = name
        self.candidate = candidate
        self.containment: Containment | None = None
        self.tally = Tally()
        self.state: State = "discovered"
        self.error: PluginHostError | None = None
        self.generation = 0
        self.needs: list[Handle] = []
        self.last_class: weakref.ref[type] | None = None
        self.before: tuple[Candidate, str] | None = None
        self.made_of = ""
        self.old: list[Old] = []
        self.reload_error: PluginHostError | None = None
        self.reload_seconds: float | None = None
        self._events = events
        self._began: float | None = None  # its start, or its end
        self._lock = threading.Lock()
        self.settings: PluginSettings | None = None
        self.serving: Generation | None = None
        # The first is that of all its contracts. Replaced and never changed: others may be reading it.
        self._stubs: dict[stubs.StubClass, pluginapi.Plugin] = {}
        self._gate: Gate | None = None  # at which calls wait

    @property
    def about(self) -> About:
        """What a message, an event and a record of the log say that they are about."""
        of = self.candidate.distribution
        return About(str(self), self.name, of.name, of.version, self.generation)

    @property
    def plugin(self) -> Any:
        """What its factory returned, past the stub.

        Raises:
            PluginStopped: It does not run.
        """
        return self._running().plugin

    @property
    def capabilities(self) -> frozenset[str]:
        """What it says it can do beyond its contracts; nothing while it does not run."""
        return self.serving.loaded.capabilities if self.serving else frozenset()

    @property
    def kinds(self) -> list[stubs.StubClass]:
        """The classes of the stubs that stand for the plugin."""
        return list(self._stubs)

    def implements(self, contract: TypeForm[P]) -> bool:
        """Returns whether the plugin runs and its class derives from a contract."""
        wanted = identity.contract_class(contract)
        return self.serving is not None and identity.is_a(self.serving.loaded.plugin, wanted)

    def require(self, contract: TypeForm[P]) -> P:
        """Returns what stands for the plugin as a contract: the same object as long as its contracts stay.

        Raises:
            PluginTypeError: It does not implement it, or it is no contract but a class of the plugin's own.
            PluginStopped: It does not run.
        """
        plugin, cls = self._running().plugin, identity.contract_class(contract)
        if not identity.is_a(plugin, cls):
            raise identity.wrong_contract(plugin, cls, self.candidate)
        if not self._stubs:
            return cast("P", plugin)
        stub = next((stub for stub in self._stubs.values() if identity.is_a(stub, cls)), None)
        return cast("P", stub if stub is not None else self._stub_of_more(cls))

    def lookup(self, symbol: str, type: TypeForm[T]) -> Symbol[T]:
        """Returns a symbol of the plugin's module, as Go's `plugin.Lookup` does.

        Args:
            symbol: The module attribute's name.
            type: The type that it must have, such as `int` or `Callable[[], int]`.

        Raises:
            PluginLookupError: There is no such symbol, or it is of another type; or the plugin is isolated.
            PluginStopped: The plugin does not run.
        """
        module = self._running().module
        if module is None:
            here = "" if self.candidate.program else ', or run it with isolation = "none"'
            hint = f"add a method to its contract{here}"
            what = f"{self}: {symbol!r} is in a process of its own, where no reference can point"
            raise PluginLookupError(Finding("lookup-isolated", what, hint))
        return Symbol(module, symbol, type, self.candidate)

    def move(self, state: State, error: PluginHostError | None = None) -> None:
        """Takes the plugin to its next state, and tells of it."""
        before = self.state
        assert state in TRANSITIONS[before], f"{self} cannot go from {before} to {state}"
        self.state, self.error = state, error
        if state in ("admitted", "draining"):
            self._began = time.monotonic()
        self._tell(f"plugin.{state}", before)
        if state in ("running", "stopped", "failed"):
            self._began = None

    def emit(self, topic: str, fields: Mapping[str, object]) -> None:
        """Tells who listens that something happened to the plugin; the event says which, and which generation."""
        self._events.emit(topic, "", {**self.about.fields, **fields})

    def status(self) -> Status:
        """Returns how the plugin is at this moment, and how its calls went."""
        of, latency, contained = self.candidate.distribution, self.tally.latency, self.containment
        return Status(
            plugin=self.name,
            distribution=of.name,
            version=of.version,
            state=self.state,
            generation=self.generation,
            calls=self.tally.calls,
            failures=self.tally.failures,
            p50=latency and latency.p50,
            p99=latency and latency.p99,
            max=latency and latency.max,
            breaker=contained.breaker if contained and self.serving else "closed",
            abandoned=contained.abandoned if contained else 0,
            error=str(self.error) if self.error else None,
            reload_seconds=self.reload_seconds,
            reload_error=str(self.reload_error) if self.reload_error else None,
        )

    def require_startable(self) -> None:
        """Returns if the plugin may be started by whoever asks for it.

        Raises:
            PluginHostError: What it failed with before, or that it was stopped.
        """
        if self.state == "failed" and self.error:
            raise self.error.with_traceback(None)
        if self.state == "stopped":
            self._refuse()

    def refuse(self, state: State, error: PluginHostError) -> None:
        """Has the plugin refused or disabled; it is looked at anew when it is asked for again."""
        if self.state != state:
            self.move(state, error)
        self.error = error

    def give_up(self, error: PluginHostError | None) -> None:
        """Ends a start that did not succeed; one that nobody failed, as by Ctrl-C, may be tried again."""
        if "failed" in TRANSITIONS[self.state]:
            self.move("failed", error)
        if self.state == "failed" and error is None:
            self.move("discovered")

    def begin(self, generation: Generation, contracts: Iterable[type]) -> None:
        """Lets calls into a generation that was started.

        Args:
            generation: What serves from now on.
            contracts: The host's contracts; the stub is of those that the plugin implements.
        """
        self._let_in(generation, contracts)
        self.reload_error = None  # it is of what ended
        self.move("running")

    def replace(self, generation: Generation, contracts: Iterable[type], needs: list[Handle]) -> Generation:
        """Lets calls into a generation in place of the one that serves, and returns that one.

        Args:
            generation: What serves from now on; it was started.
            contracts: The host's contracts.
            needs: The handles of the plugins that it uses.
        """
        before = cast("Generation", self.serving)
        self.candidate = generation.loaded.candidate
        self._let_in(generation, contracts)
        self.needs, self.settings = needs, generation.settings
        self._tell("plugin.replaced", before="running")
        return before

    def hold(self, inside: Collection[stubs.Calls]) -> None:
        """Has calls wait that come from now on, until `resume` or `replace`; those inside go on.

        Args:
            inside: Where those calls went that must return first; what they call does not wait.
        """
        with self._lock:
            self._gate = gate = Gate(inside)
            for kind, stub in self._stubs.items():
                stubs.swap(stub, gate.calls(kind, stub, self._road(kind, cast("Generation", self.serving))))

    def resume(self) -> None:
        """Lets the calls that wait go to the generation that serves."""
        with self._lock:
            if self.serving is not None:
                for kind, stub in self._stubs.items():
                    stubs.swap(stub, self._road(kind, self.serving))
            self._open()

    def _open(self) -> None:
        if self._gate is not None:
            self._gate.open()
            self._gate = None

    def _let_in(self, generation: Generation, contracts: Iterable[type]) -> None:
        plugin = generation.loaded.plugin
        with self._lock:
            if generation.is_plugin:
                kind = _stub_class(plugin, contracts)
                stub = self._stubs.get(kind)
                if stub is None:  # whether it is true is for the plugin to say: its contract may have a `__len__`
                    stub = kind.make(self.name, self, generation.calls(kind))
                self._stubs = {kind: stub} | self._stubs
            for kind, stub in self._stubs.items():
                stubs.swap(stub, self._road(kind, generation))
            self.serving, self.containment, self.made_of = generation, generation.containment, generation.made_of
            self.last_class = weakref.ref(type(plugin))
            self.generation += 1
            self._open()

    def _road(self, kind: stubs.StubClass, generation: Generation) -> stubs.Calls:
        """Returns where the calls of a stub go while a generation serves that may not implement its contracts."""
        is_fit = all(identity.is_a(generation.loaded.plugin, contract) for contract in kind.contracts)
        return generation.calls(kind) if is_fit else self._refusing(kind)

    def end(self, seconds: float, because: PluginHostError | None = None) -> list[Finding]:
        """Stops the plugin: lets no call in, waits for those inside, calls `shutdown` once, takes back what it got.

        Args:
            seconds: The deadline of all that; the calls inside have half of it.
            because: What it has failed with; `None` where it is just to end.

        Returns:
            What went wrong on the way; the plugin is stopped or failed all the same.
        """
        generation = self.serving
        assert generation is not None
        try:
            self.move("draining")
            with self._lock:
                for kind, stub in self._stubs.items():
                    stubs.swap(stub, self._refusing(kind))
                self._open()
            found, error = generation.end(seconds)
        except BaseException:  # Ctrl-C: its end has begun, and no second one begins
            self.serving = None
            self.needs = []
            self.give_up(None)
            raise
        self.serving = None
        self.needs = []
        error = because or error
        self.move("failed" if error else "stopped", error)
        return [because.finding, *found] if because else found

    def __repr__(self) -> str:
        return f"<Handle {self}: {self.state}>"

    def __str__(self) -> str:
        return titled(self.name, self.candidate)

    def _running(self) -> Loaded:
        if self.serving is None:
            self._refuse()
        return cast("Generation", self.serving).loaded

    def _tell(self, topic: str, before: State) -> None:
        seconds = 0.0 if self._began is None else time.monotonic() - self._began
        more = {"before": before, "error": self.error and self.error.finding.to_dict(), "seconds": seconds}
        self._events.emit(topic, "", self.about.fields | more)

    def busy(self) -> Finding:
        """Returns the finding that the plugin is being started or stopped by somebody else."""
        hint = "try again, once it has come to an end"
        return Finding("plugin-stopped", f"{self} is being started or stopped by another thread", hint)

    def _refusing(self, kind: stubs.StubClass) -> stubs.Calls:
        return kind.to(lambda name: self._refuse, self._refuse, self._refuse, stubs.blame_nobody)

    def _refuse(self, *args: Any, **named: Any) -> Any:
        why = f": {self.error.finding.message}" if self.error else ""
        hint = f"mend it, then start it: manager.start({self.name!r})" if why else f"manager.start({self.name!r})"
        what = f"{self} does not run, it is {self.state}{why}"
        raise PluginStopped(Finding("plugin-stopped", what, hint), plugin=self.name)

    def _stub_of_more(self, contract: type) -> pluginapi.Plugin:
        """Returns a stub of a contract that is none of the API's own."""
        generation = cast("Generation", self.serving)
        package = self.candidate.module.partition(".")[0]
        if self.candidate.distribution.info and contract.__module__.partition(".")[0] == package:
            raise PluginTypeError(
                Finding(
                    "wrong-type",
                    f"{self}: {contract.__module__}.{contract.__qualname__} is the plugin's own class, not a contract",
                    "ask for the contract that it implements; a plugin's own class may be another after a reload",
                    self.candidate.distribution.info,
                )
            )
        kind = stubs.stub_class((contract,))
        with self._lock:
            if self.state != "running":
                self._refuse()
            if kind not in self._stubs:
                calls = generation.calls(kind)
                stub = kind.make(self.name, self, calls)
                if self._gate:
                    stubs.swap(stub, self._gate.calls(kind, stub, calls))
                self._stubs = self._stubs | {kind: stub}
            return self._stubs[kind]


def titled(name: str, candidate: Candidate) -> str:
    """Returns a plugin, or an instance of one, as a message names it."""
    return str(candidate) if name == candidate.name else f"{name}, {candidate}"


def require_fit(generation: Generation, contracts: Iterable[type]) -> None:
    """Returns if a generation can be called through stubs.

    Raises:
        ConfigurationError: A contract of it does not do.
    """
    if generation.is_plugin:
        generation.calls(_stub_class(generation.loaded.plugin, contracts))


def require_kept(generation: Generation, handle: Handle) -> None:
    """Returns if a generation implements all contracts as which callers have the plugin that serves.

    Raises:
        PluginTypeError: It does not, and their calls would fail.
    """
    asked = dict.fromkeys(contract for kind in handle.kinds for contract in kind.contracts)
    lost = [each for each in asked if handle.implements(each) and not identity.is_a(generation.loaded.plugin, each)]
    if lost:
        candidate = generation.loaded.candidate
        names = ", ".join(f"{each.__module__}.{each.__qualname__}" for each in lost)
        what = f"{candidate}: it is no {names} any more, as which the version that serves is called"
        hint = f"its author keeps the contract, or you stop {handle.name} and start it anew"
        raise PluginTypeError(Finding("contract-broken", what, hint, candidate.distribution.info))


def require_own(loaded: Loaded, other: Handle) -> None:
    """Returns if a plugin is not the object that serves already.

    Raises:
        PluginTypeError: It is; the host would name it twice, and shut it down twice.
    """
    if other.serving is not None and loaded.plugin is other.serving.loaded.plugin:
        candidate = loaded.candidate
        raise PluginTypeError(
            Finding(
                "wrong-type",
                f"{candidate}: {candidate.factory}() returned the object that serves as {other}",
                f"{candidate.factory}() returns a new object at each call",
                candidate.distribution.info,
            )
        )


def _stub_class(plugin: object, contracts: Iterable[type]) -> stubs.StubClass:
    """Returns the class of the stub that has all that a plugin implements."""
    return stubs.stub_class(identity.own_contracts(plugin, [*contracts, pluginapi.Plugin]))
