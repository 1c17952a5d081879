"""What the gateway and its plugins share."""

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from pluginapi import Plugin, PluginError, idempotent

__all__ = ["Middleware", "Modifier", "Next", "PluginError", "Request", "Response"]


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for; `dataclasses.replace` makes another of it.

    Attributes:
        method: Such as `GET`.
        path: Such as `/orders/7`, decoded.
        query: What follows the path's question mark, as it was sent.
        headers: By name, in lower case; several of one name are joined by commas.
        body: The content.
        settings: What is set for requests to such a path, for whichever plugin reads it.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    settings: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """What a client gets.

    Attributes:
        status: An HTTP status code.
        headers: By name, in lower case.
        body: The content.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


Next: TypeAlias = Callable[[Request], Awaitable[Response]]
"""Answers a request by all that comes after a middleware; it never raises what the fault of another plugin is."""


class Middleware(Plugin):
    """Stands between the clients and the service, as often as the gateway's configuration says and in that order."""

    @abstractmethod
    async def handle(self, request: Request, next: Next) -> Response:
        """Returns the answer to a request: what `next` returns, as it is or changed, or one of its own.

        Args:
            request: What is asked.
            next: What comes after; it is called once, or not at all.

        Raises:
            PluginError: The request cannot be answered by anybody; the client is told the message, with status 400.
        """


class Modifier(Plugin):
    """Changes what goes to the service, or what comes from it: plain data, so it may have a process of its own.

    After the request and response modifiers of Lura, https://github.com/luraproject/lura. Each overrides what it needs.
    """

    @idempotent
    def modify_request(self, request: Request) -> Request:
        """Returns what the service is asked.

        Raises:
            PluginError: As for `Middleware.handle`.
        """
        return request

    @idempotent
    def modify_response(self, request: Request, response: Response) -> Response:
        """Returns what the client gets.

        Args:
            request: What the service was asked.
            response: What it answered.

        Raises:
            PluginError: As for `Middleware.handle`.
        """
        return response
