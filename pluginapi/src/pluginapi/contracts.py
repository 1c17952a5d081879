"""What a plugin is to its host: the contracts, and what a host gives a plugin in return."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping


class Host(ABC):
    """What a plugin may use of the application that runs it.

    A host hands one to `Plugin.init`. A plugin never makes one.
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


class Plugin(ABC):
    """The base of all contracts.

    A contract is an abstract subclass in an API distribution; a plugin is a concrete subclass of a contract, in a
    distribution of its own, made by a factory called `New`.

    Attributes:
        name: The plugin's name. The host sets it from the entry point before `init`; a plugin does not.
    """

    # A slot, so that the host can name a plugin whose class has slots or refuses attributes.
    __slots__ = ("__weakref__", "name")

    name: str

    def init(self, host: Host) -> None:  # noqa: B027 - a default that does nothing is the contract
        """Starts the plugin's work; called once, before the first call.

        Args:
            host: What the plugin may use of its host, until `shutdown` returns.

        Raises:
            Exception: Anything raised here refuses the plugin; the host goes on without it.
        """

    def shutdown(self) -> None:  # noqa: B027 - as above
        """Ends the plugin's work; called once, after the last call, in the reverse order of `init`."""


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
