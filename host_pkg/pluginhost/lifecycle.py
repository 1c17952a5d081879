"""A plugin's life: its states, and the handle that takes it from one to the next."""

from __future__ import annotations

import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pluginapi
from pluginhost import identity, stubs
from pluginhost.errors import Finding, PluginHostError, PluginStopped, PluginTypeError
from pluginhost.events import About
from pluginhost.status import Status
from pluginhost.symbols import Symbol
from pluginhost.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Final

    from typing_extensions import TypeForm

    from pluginhost.containment import Containment
    from pluginhost.events import Events
    from pluginhost.generations import Generation
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
        candidate: What was discovered.
        containment: What its latest generation is held to; `None` before there is one.
        state: Where it is in its life.
        error: Why it is refused or failed; `None` in every other state.
        generation: How many times it has come to run.
        needs: The handles of the plugins that it uses, which end after it.
        serving: The generation that calls go to; `None` while it does not run.
        last_class: The class of what its factory last returned; it does not hold it.
        settings: What was set for it when it was last started.
        tally: The calls of all its generations.
    """

    __slots__ = (
        "__weakref__", "_began", "_events", "_lock", "_stubs", "candidate", "containment",
        "error", "generation", "last_class", "name", "needs", "serving", "settings", "state", "tally",
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
        self._events = events
        self._began: float | None = None  # its start, or its end
        self._lock = threading.Lock()
        self.settings: PluginSettings | None = None
        self.serving: Generation | None = None
        # The first is that of all its contracts. Replaced and never changed: others may be reading it.
        self._stubs: dict[stubs.StubClass, pluginapi.Plugin] = {}

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
        return cast("P", stub or self._stub_of_more(cls))

    def lookup(self, symbol: str, type: TypeForm[T]) -> Symbol[T]:
        """Returns a symbol of the plugin's module, as Go's `plugin.Lookup` does.

        Args:
            symbol: The module attribute's name.
            type: The type that it must have, such as `int` or `Callable[[], int]`.

        Raises:
            PluginLookupError: There is no such symbol, or it is of another type.
            PluginStopped: The plugin does not run.
        """
        return Symbol(self._running().module, symbol, type, self.candidate)

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
        self.move("running")

    def replace(self, generation: Generation, contracts: Iterable[type], needs: list[Handle]) -> Generation:
        """Lets calls into a generation in place of the one that serves, and returns that one.

        Args:
            generation: What serves from now on; it was started.
            contracts: The host's contracts.
            needs: The handles of the plugins that it uses.
        """
        before = cast("Generation", self.serving)
        self._let_in(generation, contracts)
        self.needs, self.settings = needs, generation.settings
        self._tell("plugin.replaced", before="running")
        return before

    def _let_in(self, generation: Generation, contracts: Iterable[type]) -> None:
        plugin = generation.loaded.plugin
        with self._lock:
            if generation.is_plugin:
                kind = stubs.stub_class(_own_contracts(plugin, contracts))
                stub = self._stubs.get(kind) or kind.make(self.name, self, generation.calls(kind))
                self._stubs = {kind: stub} | self._stubs
            for kind, stub in self._stubs.items():
                if all(identity.is_a(plugin, contract) for contract in kind.contracts):
                    stubs.swap(stub, generation.calls(kind))
                else:
                    stubs.swap(stub, self._refusing(kind))
            self.serving, self.containment = generation, generation.containment
            self.last_class = weakref.ref(type(plugin))
            self.generation += 1

    def end(self, seconds: float) -> list[Finding]:
        """Stops the plugin: lets no call in, waits for those inside, calls `shutdown` once, takes back what it got.

        Args:
            seconds: The deadline of all that; the calls inside have half of it.

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
            found, error = generation.end(seconds)
        except BaseException:  # Ctrl-C: its end has begun, and no second one begins
            self.serving = None
            self.needs = []
            self.give_up(None)
            raise
        self.serving = None
        self.needs = []
        self.move("failed" if error else "stopped", error)
        return found

    def __repr__(self) -> str:
        return f"<Handle {self}: {self.state}>"

    def __str__(self) -> str:
        return str(self.candidate) if self.name == self.candidate.name else f"{self.name}, {self.candidate}"

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
        return kind.to(lambda name: self._refuse, self._refuse, self._refuse, _pass)

    def _refuse(self, *args: Any, **named: Any) -> Any:
        why = f": {self.error.finding.message}" if self.error else ""
        hint = f"mend it, then start it: manager.start({self.name!r})" if why else f"manager.start({self.name!r})"
        raise PluginStopped(Finding("plugin-stopped", f"{self} does not run, it is {self.state}{why}", hint))

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
                self._stubs = self._stubs | {kind: kind.make(self.name, self, generation.calls(kind))}
            return self._stubs[kind]


def require_fit(generation: Generation, contracts: Iterable[type]) -> None:
    """Returns if a generation can be called through stubs.

    Raises:
        ConfigurationError: A contract of it does not do.
    """
    if generation.is_plugin:
        generation.calls(stubs.stub_class(_own_contracts(generation.loaded.plugin, contracts)))


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


def _own_contracts(plugin: object, contracts: Iterable[type]) -> tuple[type, ...]:
    """Returns the contracts that a plugin implements, without those from which others of them derive."""
    known = [*contracts, pluginapi.Plugin]
    own = [cls for cls in identity.real_mro(plugin) if any(cls is contract for contract in known)]
    return tuple(cls for cls in own if not any(cls in other.__mro__[1:] for other in own))


def _pass(name: str, exc: BaseException) -> None:
    """Blames nobody: what refuses has said why."""
