"""What a plugin is to its host: the contracts, and what a host gives a plugin in return."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, overload

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from typing_extensions import TypeForm

P = TypeVar("P", bound="Plugin")
T = TypeVar("T")
F = TypeVar("F", bound="Callable[..., object]")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    Attributes:
        topic: What kind of thing. What the host tells of a plugin's life is `plugin.` and the state that it reached.
        source: The plugin that told it; empty when the host or the application did.
        fields: What is to be known of it.
    """

    topic: str
    source: str
    fields: Mapping[str, object]


class Host(ABC):
    """What a plugin may use of the application that runs it, from `init` until its `shutdown` has returned.

    A host hands one to `Plugin.init`. A plugin never makes one. Whoever uses it later gets an error.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def logger(self) -> logging.Logger:
        """The logger named after the plugin."""

    @property
    @abstractmethod
    def config(self) -> Mapping[str, object]:
        """The plugin's own configuration, read-only; empty when there is none."""

    @abstractmethod
    def config_as(self, type: TypeForm[T]) -> T:
        """Returns the plugin's own configuration as an object of a type, which says what may be in it.

        A plugin whose module has that type as `Config`, beside `New`, has its configuration checked before it is made,
        and by `pluginhost config check` without being started.

        Args:
            type: A dataclass, for instance; the fields without a default must be set.

        Raises:
            Exception: The configuration is not of that type; the message has the path of each fault.
        """

    @property
    @abstractmethod
    def capabilities(self) -> frozenset[str]:
        """What the application offers beyond this class, by names that its documentation explains."""

    @property
    @abstractmethod
    def data_folder(self) -> Path:
        """A folder of the plugin's own for what must last; made when it is first asked for, its user's alone."""

    @property
    @abstractmethod
    def cache_folder(self) -> Path:
        """A folder of the plugin's own for what can be made anew; likewise."""

    @abstractmethod
    def get(self, name: str, contract: TypeForm[P]) -> P:
        """Returns another plugin, started if it is not yet; it ends after this one.

        Args:
            name: The other plugin's name.
            contract: The contract that it must implement.

        Raises:
            Exception: It is not there, or does not start; or it is this plugin that it waits for itself.
        """

    @abstractmethod
    def all(self, contract: TypeForm[P], requires: Collection[str] = ()) -> dict[str, P]:
        """Returns every other plugin of a contract, by name, started if it is not yet; those that fail are left out.

        Args:
            contract: The contract that they must implement.
            requires: Capabilities that they must have.
        """

    @overload
    def load(self, namespace: str, configuration: Mapping[str, Mapping[str, object]]) -> dict[str, Plugin]: ...

    @overload
    def load(
        self, namespace: str, configuration: Mapping[str, Mapping[str, object]], contract: TypeForm[P]
    ) -> dict[str, P]: ...

    @abstractmethod
    def load(
        self, namespace: str, configuration: Mapping[str, Mapping[str, object]], contract: object = None
    ) -> Mapping[str, Plugin]:
        """Returns guests: plugins made for this one alone, which are shut down after it.

        After Caddy's modules, whose configuration names the modules that they load:
        https://caddyserver.com/docs/extending-caddy.

        Args:
            namespace: What the guests' names begin with: `http.handlers` for `http.handlers.rate`.
            configuration: By the rest of the name (`rate`), the guest's own configuration. One guest is made of each.
            contract: The contract that they must implement.

        Returns:
            The guests, by the keys of the configuration and in that order.

        Raises:
            Exception: One is not there, or does not start.
        """

    @abstractmethod
    def subscribe(self, listener: Callable[[Event], object], topic: str = "") -> Callable[[], None]:
        """Has a listener called for what happens from now on, until the plugin's shutdown.

        Args:
            listener: Called on the thread on which it happens, so it returns soon.
            topic: What the events' topics begin with; empty for all.

        Returns:
            What undoes it.
        """

    @abstractmethod
    def emit(self, topic: str, **fields: object) -> None:
        """Tells all who have subscribed that something happened; the event names this plugin as its source.

        Args:
            topic: What kind of thing.
            fields: What is to be known of it: numbers, text, and lists and tables of them.
        """


def idempotent(method: F) -> F:
    """Returns a contract's method, marked as one whose second call does no more than the first.

    A plugin may run in a process of its own, which may end while it is called. Such a method is then called once more.

    Args:
        method: A method of a contract; the outermost decorator is this one.
    """
    vars(method)["__idempotent__"] = True
    return method


class Plugin(ABC):
    """The base of all contracts.

    A contract is an abstract subclass in an API distribution; a plugin is a concrete subclass of a contract, in a
    distribution of its own, made by a factory called `New`.

    Attributes:
        name: The plugin's name. The host sets it from the entry point before `init`; a plugin does not.
        concurrency: How many calls at once the plugin takes, where it says so in its class; 1 has them come one after
            the other. `None`: as many as there are.
    """

    # A slot, so that the host can name a plugin whose class has slots or refuses attributes.
    __slots__ = ("__weakref__", "name")

    name: str
    concurrency: int | None = None

    def init(self, host: Host) -> None:  # noqa: B027 - a default that does nothing is the contract
        """Starts the plugin's work; called once, before the first call.

        Args:
            host: What the plugin may use of its host, until `shutdown` returns.

        Raises:
            Exception: Anything raised here refuses the plugin, and the host goes on without it. What the host gave
                out is taken back; what `init` itself began, it ends before it raises, as `__enter__` does.
        """

    def validate(self) -> None:  # noqa: B027 - as above
        """Says whether the plugin is fit to be called; called once, after `init`, and changes nothing.

        Raises:
            Exception: It is not fit. The host calls `shutdown` and goes on without it.
        """

    def shutdown(self) -> None:  # noqa: B027 - as above
        """Ends the plugin's work; called once, after the last call, in the reverse order of `init`.

        It runs on a thread of its own, and is given up when it takes too long.
        """


class Greeter(Plugin):
    """Greets people in one language.

    Attributes:
        lang: The language's own name for itself, such as `English` or `Español`.
    """

    __slots__ = ()

    # An annotated attribute, not an abstract property: type checkers reject a class attribute that overrides one.
    lang: str

    @abstractmethod
    def greet(self, name: str) -> str:
        """Returns a greeting.

        Args:
            name: Whom to greet.

        Returns:
            One line of text in the plugin's language and script.
        """


class Transformer(Plugin):
    """Turns one text into another."""

    __slots__ = ()

    @abstractmethod
    def transform(self, text: str) -> str:
        """Returns the text, transformed.

        Args:
            text: Any text.

        Returns:
            The new text.
        """


class Operation(Plugin):
    """Computes one number from two.

    Attributes:
        symbol: How the operation is written between its operands, such as `+`.
    """

    __slots__ = ()

    symbol: str

    @abstractmethod
    def execute(self, a: float, b: float) -> float:
        """Returns the result of the operation.

        Args:
            a: The left operand.
            b: The right operand.

        Returns:
            The result.

        Raises:
            PluginError: These operands have no result.
        """


@dataclass(frozen=True, slots=True)
class Request:
    """What a `Handler` is given.

    Attributes:
        id: The caller's name for the request.
        body: The content.
    """

    id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """What a `Handler` returns.

    Attributes:
        status: An HTTP status code: 2xx means that the request was handled.
        body: The content.
    """

    status: int
    body: bytes


class Handler(Plugin):
    """Answers requests."""

    __slots__ = ()

    @abstractmethod
    def handle(self, request: Request) -> Response:
        """Returns the answer to a request.

        Args:
            request: What is asked.

        Returns:
            The answer; a status outside 2xx says that the request was not handled, and why.
        """
