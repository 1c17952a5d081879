"""Says in each response which version of this middleware it came through."""

from dataclasses import dataclass, replace

from gateway_api import Middleware, Next, Request, Response

from pluginapi import Host

VERSION = "1.0.0"


@dataclass(frozen=True)
class Config:
    """What may be set.

    Attributes:
        mark: Some words that stand after the version.
    """

    mark: str = ""


class Stamp(Middleware):
    """Changes a header of the response."""

    def init(self, host: Host) -> None:
        self._text = f"{VERSION} {host.config_as(Config).mark}".strip()

    async def handle(self, request: Request, next: Next) -> Response:
        response = await next(request)
        return replace(response, headers={**response.headers, "x-stamp": self._text})


def New() -> Stamp:
    """Returns the plugin."""
    return Stamp()
