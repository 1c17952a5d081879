"""Lets requests through, or answers them itself."""

from pluginapi import Handler, Host, Request, Response

Capabilities = ("filter", "batch")


class Filter(Handler):
    """Refuses bodies that are empty or hold a blocked word, and hands the rest on as they are."""

    def __init__(self) -> None:
        self._blocked: tuple[bytes, ...] = (b"forbidden",)

    def init(self, host: Host) -> None:
        blocked = host.config.get("blocked")
        if isinstance(blocked, list):
            self._blocked = tuple(str(word).encode() for word in blocked)

    def handle(self, request: Request) -> Response:
        if not request.body:
            return Response(400, b"empty body")
        if any(word in request.body for word in self._blocked):
            return Response(403, b"blocked")
        return Response(200, request.body)


def New() -> Filter:
    """Returns the plugin."""
    return Filter()
