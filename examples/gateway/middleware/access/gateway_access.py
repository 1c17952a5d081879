"""Who may send requests, and how many."""

import time
from collections import Counter
from dataclasses import dataclass

from gateway_api import Middleware, Next, PluginError, Request, Response

from pluginapi import Host


@dataclass(frozen=True)
class Config:
    """What must be set for `auth`.

    Attributes:
        keys: What a client may send as `X-Key`.
    """

    keys: frozenset[str] = frozenset()


class Auth(Middleware):
    """Answers 401 itself where there is no key."""

    def init(self, host: Host) -> None:
        self._keys = host.config_as(Config).keys

    async def handle(self, request: Request, next: Next) -> Response:
        if request.headers.get("x-key") in self._keys:
            return await next(request)
        return Response(401, {"content-type": "text/plain"}, b"send a key as X-Key\n")


class Limit(Middleware):
    """Answers 429 itself where a customer has sent more than `per_second` in this second."""

    def __init__(self) -> None:
        self._second, self._sent = 0, Counter[str]()

    async def handle(self, request: Request, next: Next) -> Response:
        most = request.settings.get("per_second")
        if not isinstance(most, int):
            raise PluginError(f"the settings of {request.path} have no whole number as per_second")
        if self._second != int(time.monotonic()):
            self._second, self._sent = int(time.monotonic()), Counter()
        customer = request.headers.get("x-customer", "")
        self._sent[customer] += 1
        if self._sent[customer] <= most:
            return await next(request)
        return Response(429, {"content-type": "text/plain", "retry-after": "1"}, b"too many requests\n")


def NewAuth() -> Auth:
    """Returns the plugin `auth`."""
    return Auth()


def NewLimit() -> Limit:
    """Returns the plugin `limit`."""
    return Limit()
